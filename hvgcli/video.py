"""Reads, writes and probes video files; the writers themselves are in `encoders`.

Frames are uint8 (H, W, 3) RGB arrays, upright (rotation applied), in the pixels that are stored: a
pixel aspect other than 1 is reported by `probe`, not applied. Reading uses PyAV. Generated clips are
written by the ffmpeg program that imageio-ffmpeg brings, with exact rates, colours and sizes.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from hvgcli.encoders import FIRST_FRAME, Format, Frames, VideoWriter, reason, write_image
from hvgcli.errors import MediaError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

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

Times = np.ndarray[Any, np.dtype[np.int64]]

THREADED_PIXELS = 640 * 360  # smaller frames decode with less work in total on one thread
EXACT_RGB = 0x4 | 0x2000 | 0x40000  # swscale: bicubic chroma, full resolution, exact rounding; else 1/255 too dark
SEEK_FROM = 64  # frames that are decoded and dropped in less time than the list of all frames is read
SEEKABLE = ("h264", "hevc", "mpeg4", "vp9", "av1", "mjpeg")  # codecs that show one frame a packet
INTACT_TAIL = 3  # frames that may be missing at the end before a file counts as cut off


@dataclass(frozen=True)
class StreamInfo:
    """A stream of a file other than its video."""

    index: int
    kind: str
    """"audio", "subtitle", "data" or "attachment"."""
    codec: str | None
    language: str | None


@dataclass(frozen=True)
class VideoInfo:
    """What a file says about its first video stream."""

    path: Path
    container: str
    """Names of the container format, as ffmpeg has them ("mov,mp4,m4a,3gp,3g2,mj2")."""
    duration: float | None
    """Seconds; None where the file does not say."""
    width: int
    """Pixels as displayed, after rotation and before the pixel aspect."""
    height: int
    coded_size: tuple[int, int]
    """(height, width) of the stored frames, before rotation."""
    rate: Fraction
    """Frames per second; the average of a file with a variable rate."""
    frames: int | None
    """Frames by the file's header; None where it does not say (see `count_frames`)."""
    rotation: int
    """Degrees, counterclockwise, that make a stored frame upright: 0, 90, 180 or -90."""
    sample_aspect_ratio: Fraction
    """Width of a pixel over its height."""
    codec: str
    pix_fmt: str | None
    colour: tuple[int, int, int, int]
    """Matrix, primaries, transfer and range by the codes of ISO/IEC 23091-2 (1 = BT.709, 2 = unknown);
    range 0 = unknown, 1 = limited, 2 = full."""
    streams: tuple[StreamInfo, ...]
    metadata: dict[str, str]
    """Tags of the container, keys in lower case."""


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first video stream that is not a cover picture."""
    for stream in container.streams.video:
        if "attached_pic" not in str(stream.disposition) and stream.codec_context is not None:
            return stream
    raise MediaError(f"{path}: has no video stream")


@contextlib.contextmanager
def _opened(path: Path, data: bytes | None = None) -> Iterator[tuple[InputContainer, VideoStream]]:
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
    return min(promised) - end > INTACT_TAIL / _rate(stream)


def _lacks_trailer(path: Path) -> bool:
    """Whether the last byte of a gif, padding aside, is not the one that ends it."""
    with path.open("rb") as file:
        file.seek(-min(512, path.stat().st_size), os.SEEK_END)
        return not file.read().rstrip(b"\0").endswith(b";")


def _decoded(container: InputContainer, stream: VideoStream, path: Path) -> Generator[VideoFrame, None, None]:
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


def _quarter_turn(frame: VideoFrame) -> int:
    """Rotation of a frame to the nearest quarter, counterclockwise: 0, 90, 180 or -90."""
    turn = round(frame.rotation / 90) % 4 * 90
    return turn - 360 if turn == 270 else turn


def _rgb(frame: VideoFrame) -> Frames:
    """A frame as upright uint8 (H, W, 3), by the colour matrix and range that it is tagged with."""
    array = cast(Frames, frame.to_ndarray(format="rgb24", interpolation=EXACT_RGB))
    turn = _quarter_turn(frame)
    return np.ascontiguousarray(np.rot90(array, turn // 90)) if turn else array


def _rate(stream: VideoStream) -> Fraction:
    """Frames per second. A GIF counts in 1/100 s: its rate is the usual one that gives its length, or the average."""
    if stream.codec_context.name == "gif" and stream.frames > 1 and stream.duration and stream.time_base:
        seconds, usual = stream.duration * stream.time_base, stream.guessed_rate
        fits = usual and abs(stream.frames / usual - seconds) <= stream.time_base
        return usual if usual and fits else stream.frames / seconds
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return rate or Fraction(25)


def _other_streams(container: InputContainer) -> tuple[StreamInfo, ...]:
    others = (stream for stream in container.streams if stream.type != "video")
    return tuple(
        StreamInfo(s.index, s.type, s.codec_context.name if s.codec_context else None, s.metadata.get("language"))
        for s in others
    )


def probe(path: Path) -> VideoInfo:
    """Read what a video file says about itself; decodes one frame, for the rotation.

    Raises:
        MediaError: the file is missing, a folder, unreadable, without video, or its first frame is damaged.
    """
    with _opened(path) as (container, stream), contextlib.closing(_decoded(container, stream, path)) as frames:
        first = next(frames, None)
        if first is None:
            raise MediaError(f"{path}: has no frames")
        turn, context, aspect = _quarter_turn(first), stream.codec_context, stream.sample_aspect_ratio
        height, width = first.height, first.width
        colour = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
        return VideoInfo(
            path=path,
            container=container.format.name,
            duration=container.duration / 1_000_000 if container.duration else None,
            width=height if turn in (90, -90) else width,
            height=width if turn in (90, -90) else height,
            coded_size=(height, width),
            rate=_rate(stream),
            frames=stream.frames or None,
            rotation=turn,
            sample_aspect_ratio=Fraction(aspect) if aspect else Fraction(1),
            codec=context.name,
            pix_fmt=context.pix_fmt,
            colour=(int(colour[0]), int(colour[1]), int(colour[2]), int(colour[3])),
            streams=_other_streams(container),
            metadata={key.lower(): value for key, value in container.metadata.items()},
        )


def count_frames(path: Path) -> int:
    """Count the frames of a file exactly, whatever its header says.

    MP4 and Matroska keep one frame a packet, so their packets are counted; other files are decoded.

    Raises:
        MediaError: as `probe`, and for a file that is damaged or cut off.
    """
    with _opened(path) as (container, stream):
        if container.format.name.split(",")[0] in ("mov", "matroska"):
            return sum(1 for packet in container.demux(stream) if packet.size and not packet.is_discard)
        return sum(1 for _ in _decoded(container, stream, path))


def iter_frames(
    path: Path, *, start: int = 0, stop: int | None = None, seek: bool = False, data: bytes | None = None
) -> Iterator[Frames]:
    """Frames start .. stop - 1 (to the last by default) as upright uint8 (H, W, 3) RGB arrays.

    Counts frames, not times: each stored frame comes once, also where the rate varies. Frames before
    `start` are decoded and dropped, so that numbers are exact.

    Args:
        seek: for a `start` far into a long MP4 or Matroska file, decode from the key frame before it
            instead. Numbers stay exact: they come from a list of the times of all frames, read once
            from the file without decoding; where that list is no use, decoding starts at the first frame.
        data: the bytes of an mp4 file to read instead of a file; `path` is then only its name in messages.

    Raises:
        MediaError: the file cannot be opened, is damaged or cut off (it names the frame reached), or
            changes its size on the way.
    """
    if stop is not None and stop <= start:
        return
    entry = _entry(path, start) if seek and data is None and start >= SEEK_FROM else None
    with _opened(path, data) as (container, stream):
        first = 0
        if entry is not None:
            first = entry.number
            container.seek(entry.time, stream=stream, backward=True)
        shape: tuple[int, ...] | None = None
        for number, frame in enumerate(_from(_decoded(container, stream, path), entry), start=first):
            if number >= start:
                array = _rgb(frame)
                shape = shape or array.shape
                if array.shape != shape:
                    raise MediaError(f"{path}: changes its size at frame {number}: split it there first")
                yield array
            if stop is not None and number + 1 >= stop:
                return


class _Entry(NamedTuple):
    """A key frame at which decoding can begin."""

    number: int
    """Its number in the order of display."""
    time: int
    """Its presentation time, in the stream's time base."""


def _from(frames: Iterator[VideoFrame], entry: _Entry | None) -> Iterator[VideoFrame]:
    """The frames from `entry` on: those before it, which a seek may bring, are dropped."""
    if entry is None:
        return frames
    return itertools.dropwhile(lambda frame: frame.pts is not None and frame.pts < entry.time, frames)


def _entry(path: Path, start: int) -> _Entry | None:
    """The last key frame at or before frame `start` that a seek reaches; None to decode from the first frame."""
    if not path.is_file():
        return None
    state = path.stat()
    times, keys = _frame_times(path, state.st_size, state.st_mtime_ns)
    if start >= len(times):
        return None
    numbers = np.searchsorted(times, keys[keys <= times[start]])
    for number in reversed(numbers[-2:].tolist()):  # one key frame further back where the nearest is not reached
        if number and _reaches(path, int(times[number])):
            return _Entry(number, int(times[number]))
    return None


def _reaches(path: Path, time: int) -> bool:
    """Whether decoding after a seek to `time` gives the frame of that time, with none of those after it missing."""
    with _opened(path) as (container, stream):
        container.seek(time, stream=stream, backward=True)
        with contextlib.closing(_decoded(container, stream, path)) as frames:
            found = next((frame.pts for frame in frames if frame.pts is None or frame.pts >= time), None)
    return found == time


@lru_cache(maxsize=256)
def _frame_times(path: Path, size: int, changed: int) -> tuple[Times, Times]:
    """Sorted presentation times of all frames of a file, and those of its key frames.

    Both are empty where the times do not number the frames: in other containers and codecs than those
    that keep one shown frame a packet, and where times are missing or the first frames are not shown.
    """
    nothing = np.empty(0, np.int64), np.empty(0, np.int64)
    with _opened(path) as (container, stream):
        one_each = container.format.name.split(",")[0] in ("mov", "matroska")
        if not one_each or stream.codec_context.name not in SEEKABLE:
            return nothing
        packets = [(p.pts, p.is_keyframe) for p in container.demux(stream) if p.size and not p.is_discard]
    times = [time for time, _ in packets if time is not None]
    if len(times) < len(packets) or len(set(times)) < len(times):
        return nothing
    with _opened(path) as (container, stream), contextlib.closing(_decoded(container, stream, path)) as frames:
        first = next(frames, None)
    if first is None or first.pts != min(times):
        return nothing
    keys = sorted(time for time, key in packets if key and time is not None)
    return np.array(sorted(times), np.int64), np.array(keys, np.int64)


def read_video(path: Path) -> Frames:
    """All frames of a file as uint8 (T, H, W, 3) RGB. Holds them all in memory: meant for short clips.

    Raises:
        MediaError: as `iter_frames`, and for a file without frames.
    """
    frames = list(iter_frames(path))
    if not frames:
        raise MediaError(f"{path}: has no frames")
    return np.stack(frames)


def _picture_tags(path: Path) -> dict[str, str]:
    """Text chunks of a PNG, or the comment of a GIF."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            tags = dict(image.info)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MediaError(f"{path}: cannot be read as a picture ({reason(error)})") from error
    text = {key: value.decode("utf-8", "replace") if isinstance(value, bytes) else value for key, value in tags.items()}
    return {str(key).lower(): value for key, value in text.items() if isinstance(value, str)}


def read_metadata(path: Path) -> dict[str, str]:
    """The tags of a file, keys in lower case: of the container, the text chunks of a PNG, or the comment of a GIF.

    For a folder of frames, those of its first frame.

    Raises:
        MediaError: the file is missing or cannot be read.
    """
    first = path / FIRST_FRAME
    if first.is_file():
        path = first
    if path.suffix.lower() in (".png", ".gif") and path.is_file():
        return _picture_tags(path)
    with _opened(path) as (container, _):
        return {key.lower(): value for key, value in container.metadata.items()}


def provenance(path: Path) -> dict[str, Any] | None:
    """What `VideoWriter` or `write_image` was given as `metadata`, or None where a file carries none.

    It comes from the file as it is: treat it as untrusted.

    Raises:
        MediaError: as `read_metadata`.
    """
    try:
        found = json.loads(read_metadata(path).get("comment", ""))
    except (ValueError, RecursionError):
        return None
    made = found.get("hvg") if isinstance(found, dict) else None
    return made if isinstance(made, dict) else None


def tile(frames: Frames, columns: int, gap: int = 2) -> Frames:
    """Lay frames out in rows, as a contact sheet.

    Args:
        frames: uint8 (N, H, W, 3).
        columns: frames in a row; the last row may be shorter.
        gap: white pixels between neighbours.

    Returns:
        uint8 (rows * (H + gap) - gap, columns * (W + gap) - gap, 3).
    """
    count, height, width, _ = frames.shape
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for number, frame in enumerate(frames):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        sheet[top : top + height, left : left + width] = frame
    return sheet
