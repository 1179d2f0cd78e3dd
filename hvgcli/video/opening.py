"""Opening and decoding of video files with PyAV: the errors of damaged files, upright frames, rates."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from hvgcli.errors import MediaError
from hvgcli.video.files import reason
from hvgcli.video.pictures import Frames

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

THREADED_PIXELS = 640 * 360  # smaller frames decode with less work in total on one thread
EXACT_RGB = 0x4 | 0x2000 | 0x40000  # swscale: bicubic chroma, full resolution, exact rounding; else 1/255 too dark
INTACT_TAIL = 3  # frames that may be missing at the end before a file counts as cut off


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first video stream that is not a cover picture."""
    for stream in container.streams.video:
        if "attached_pic" not in str(stream.disposition) and stream.codec_context is not None:
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
    try:
        container = av.open(source, "r", format=kind, options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path}: cannot be read as a video ({reason(error)})") from error
    with container:
        stream = _video_stream(container, path)
        stream.thread_type = "AUTO" if stream.width * stream.height >= THREADED_PIXELS else "NONE"
        yield container, stream


def _missing(stream: VideoStream, container: InputContainer, end: float) -> bool:
    """Whether a stream that ended at `end` (seconds) was promised to be longer by more than a few frames."""
    promised = [container.duration / 1_000_000] if container.duration else []
    if stream.duration is not None and stream.time_base is not None:
        promised.append(float(stream.duration * stream.time_base))
    elif "DURATION" in stream.metadata:  # Matroska, "00:00:02.002000000"
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        promised.append(int(hours) * 3600 + int(minutes) * 60 + float(seconds))
    else:
        return False
    return min(promised) - end > INTACT_TAIL / rate_of(stream)


def _lacks_trailer(path: Path) -> bool:
    """Whether the last byte of a gif, padding aside, is not the one that ends it."""
    with path.open("rb") as file:
        file.seek(-min(512, path.stat().st_size), os.SEEK_END)
        return not file.read().rstrip(b"\0").endswith(b";")


def decoded(container: InputContainer, stream: VideoStream, path: Path) -> Generator[VideoFrame, None, None]:
    """All frames of a stream in the order of display; MediaError where the file is damaged or ends early."""
    import av

    reached, end = 0, 0.0
    try:
        for packet in container.demux(stream):
            for frame in packet.decode():
                yield frame
                reached += 1
                if frame.pts is not None and frame.time_base is not None:
                    end = float((frame.pts - (stream.start_time or 0) + (frame.duration or 0)) * frame.time_base)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path}: is damaged or cut off at frame {reached} ({reason(error)})") from error
    if reached and _missing(stream, container, end):
        raise MediaError(f"{path}: is cut off at frame {reached} (it ends before the time that its header says)")
    if container.format.name == "gif" and _lacks_trailer(path):
        raise MediaError(f"{path}: is cut off at frame {reached} (the mark that ends a gif is missing)")


def quarter_turn(frame: VideoFrame) -> int:
    """Rotation of a frame to the nearest quarter, counterclockwise: 0, 90, 180 or -90."""
    turn = round(frame.rotation / 90) % 4 * 90
    return turn - 360 if turn == 270 else turn


def upright_rgb(frame: VideoFrame) -> Frames:
    """A frame as upright uint8 (H, W, 3), by the colour matrix and range that it is tagged with."""
    array = cast(Frames, frame.to_ndarray(format="rgb24", interpolation=EXACT_RGB))
    turn = quarter_turn(frame)
    return np.ascontiguousarray(np.rot90(array, turn // 90)) if turn else array


def rate_of(stream: VideoStream) -> Fraction:
    """Frames per second. A GIF counts in 1/100 s: its rate is the usual one that gives its length, or the average."""
    if stream.codec_context.name == "gif" and stream.frames > 1 and stream.duration and stream.time_base:
        seconds, usual = stream.duration * stream.time_base, stream.guessed_rate
        fits = usual and abs(stream.frames / usual - seconds) <= stream.time_base
        return usual if usual and fits else stream.frames / seconds
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return rate or Fraction(25)
