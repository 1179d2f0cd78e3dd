"""The only package that reads, writes, probes and joins video files.

Frames are uint8 (H, W, 3) RGB arrays, upright (rotation applied), in the pixels that are stored: a
pixel aspect other than 1 is reported by `probe`, not applied. Reading uses PyAV. Generated clips are
written by the ffmpeg program that imageio-ffmpeg brings, with exact rates, colours and sizes.
"""

from hvgcli.video.encoders import Format
from hvgcli.video.pictures import Frames, tile, write_image
from hvgcli.video.probing import StreamInfo, VideoInfo, probe
from hvgcli.video.reading import count_frames, iter_frames, read_video
from hvgcli.video.tags import provenance, read_metadata
from hvgcli.video.writer import VideoWriter

__all__ = [
    "Format",
    "Frames",
    "StreamInfo",
    "VideoInfo",
    "VideoWriter",
    "count_frames",
    "iter_frames",
    "probe",
    "provenance",
    "read_metadata",
    "read_video",
    "tile",
    "write_image",
]
