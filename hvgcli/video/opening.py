"""Opening and decoding of video files with PyAV, and the errors of files that are damaged or cut off."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hvgcli.errors import MediaError
from hvgcli.video.files import reason
from hvgcli.video.limits import MAX_PIXELS

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

THREADED_PIXELS = 640 * 360  # smaller frames decode with less work in total on one thread
INTACT_TAIL = 3  # frames that may be missing at the end before a file counts as cut off


def is_cover(stream: Stream) -> bool:
    """Whether a video stream is a picture that stands for the file."""
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first video stream that is not a cover picture."""
    for stream in container.streams.video:
        if not is_cover(stream) and stream.codec_context is not None:
            return stream
    raise MediaError(f"{path}: has no video stream")


@contextlib.contextmanager
def opened(path: Path, data: bytes | None = None) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a local file for reading, or the mp4 file whose bytes are `data`; nothing that it refers to is followed."""
    import av

    if data is None and not path.exists():
        raise MediaError(f"{path}: no such file")
    if data is None and path.is_dir():
        raise MediaError(f"{path}: is a folder, not a video file")
    source, kind = (f"file:{path}", None) if data is None else (io.BytesIO(data), "mp4")
    options = {"protocol_whitelist": "file", "max_pixels": str(MAX_PIXELS)}
    try:
        container = av.open(source, "r", format=kind, options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path}: cannot be read as a video ({reason(error)})") from error
    with container:
        stream = _video_stream(container, path)
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        stream.thread_type = "AUTO" if stream.width * stream.height >= THREADED_PIXELS else "NONE"
        yield container, stream


def _said(stream: VideoStream) -> Fraction | None:
    """Seconds that Matroska's tags give the stream ("00:00:02.002000000"), or None."""
    said = re.fullmatch(r"(\d{1,6}):(\d\d):(\d\d(?:\.\d{1,9})?)", stream.metadata.get("DURATION", ""), re.ASCII)
    return int(said[1]) * 3600 + int(said[2]) * 60 + Fraction(said[3]) if said else None


def promised_length(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Seconds that a file promises its video stream to have, the least where it says several; None for none.

    ffmpeg cuts the other lengths of an AVI to what is there, but not its number of frames. Matroska and
    FLV give the time of the end, not the length.
    """
    name = container.format.name.split(",")[0]
    if name == "avi" and stream.frames:
        return stream.frames / rate_of(stream)
    base = stream.time_base or Fraction(0)
    late = (stream.start_time or 0) * base if name in ("matroska", "flv") else Fraction(0)
    own = stream.duration * base if stream.duration else _said(stream)
    whole = Fraction(container.duration, 1_000_000) if container.duration else None
    if own is None:  # the whole may be the length of the sound
        own = whole if name in ("matroska", "flv") and len(container.streams) == 1 else None
    return None if own is None else min(own, whole or own) - late


def check_end(container: InputContainer, stream: VideoStream, path: Path, reached: int, end: Fraction) -> None:
    """MediaError where a stream whose last of `reached` frames ends at `end` (seconds) was promised to be longer."""
    length = promised_length(container, stream)
    usual = max(1 / rate_of(stream), end / reached)  # of a frame: an AVI may give the rate of its clock instead
    if length is not None and length - end > INTACT_TAIL * usual:
        raise MediaError(f"{path}: is cut off at frame {reached} (it ends before the time that its header says)")


def _lacks_trailer(path: Path) -> bool:
    """Whether the last byte of a gif, padding aside, is not the one that ends it."""
    with path.open("rb") as file:
        file.seek(-min(512, path.stat().st_size), os.SEEK_END)
        return not file.read().rstrip(b"\0").endswith(b";")


def alpha_decoder(stream: VideoStream) -> VideoCodecContext | None:
    """A decoder of VP8 or VP9 that also gives alpha, which is beside the frames; None for a stream without."""
    import av

    if stream.metadata.get("alpha_mode") != "1" or stream.codec_context.name not in ("vp8", "vp9"):
        return None
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}[stream.codec_context.name]
    try:
        return cast("VideoCodecContext", av.CodecContext.create(name, "r"))
    except ValueError:  # a PyAV built without it
        return None


def decoded(
    container: InputContainer, stream: VideoStream, path: Path, decoder: VideoCodecContext | None = None
) -> Generator[VideoFrame, None, None]:
    """All frames of a stream in the order of display, from where the container stands.

    Args:
        decoder: what to decode with instead of the stream's own decoder.

    Raises:
        MediaError: the file is damaged or ends early; or its frames are too large to read.
    """
    import av

    reached, end = 0, Fraction(0)
    try:
        for packet in container.demux(stream):
            for frame in packet.decode() if decoder is None else decoder.decode(packet if packet.size else None):
                yield frame
                reached += 1
                if frame.pts is not None and frame.time_base is not None:
                    end = (frame.pts - (stream.start_time or 0) + (frame.duration or 0)) * frame.time_base
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path}: is damaged or cut off at frame {reached} ({reason(error)})") from error
    if reached:
        check_end(container, stream, path, reached, end)
    if container.format.name == "gif" and _lacks_trailer(path):
        raise MediaError(f"{path}: is cut off at frame {reached} (the mark that ends a gif is missing)")


def rate_of(stream: VideoStream) -> Fraction:
    """Frames per second. A GIF counts in 1/100 s: its rate is the usual one that gives its length, or the average."""
    if stream.codec_context.name == "gif" and stream.frames > 1 and stream.duration and stream.time_base:
        seconds, usual = stream.duration * stream.time_base, stream.guessed_rate
        fits = usual and abs(stream.frames / usual - seconds) <= stream.time_base
        return usual if usual and fits else stream.frames / seconds
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return rate or Fraction(25)
