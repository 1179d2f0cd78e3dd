"""The only package that reads, writes, probes and joins video files.

Frames are uint8 (H, W, 3) RGB arrays, upright (rotation applied), in the pixels that are stored: a
pixel aspect other than 1 is reported by `probe`, not applied. `examine` and `timed_frames` also keep
depth, alpha and the time of each frame. Reading uses PyAV. Generated clips are written by the ffmpeg
program that imageio-ffmpeg brings, with exact rates, colours and sizes.
"""

from hvgcli.video.encoders import Format
from hvgcli.video.footage import Footage, TimedFrame, examine, timed_frames
from hvgcli.video.pictures import Frames, tile, write_image
from hvgcli.video.probing import StreamInfo, VideoInfo, probe
from hvgcli.video.reading import count_frames, iter_frames, read_video
from hvgcli.video.tags import provenance, read_metadata
from hvgcli.video.writer import VideoWriter

__all__ = [
    "Footage",
    "Format",
    "Frames",
    "StreamInfo",
    "TimedFrame",
    "VideoInfo",
    "VideoWriter",
    "count_frames",
    "examine",
    "iter_frames",
    "probe",
    "provenance",
    "read_metadata",
    "read_video",
    "tile",
    "timed_frames",
    "write_image",
]
