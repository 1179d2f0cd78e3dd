"""Frames of video files by their numbers."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hvgcli.errors import MediaError
from hvgcli.video.opening import decoded, opened, upright_rgb
from hvgcli.video.pictures import Frames

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

Times = np.ndarray[Any, np.dtype[np.int64]]

SEEK_FROM = 64  # frames that are decoded and dropped in less time than the list of all frames is read
SEEKABLE = ("h264", "hevc", "mpeg4", "vp9", "av1", "mjpeg")  # codecs that show one frame a packet


def count_frames(path: Path) -> int:
    """Count the frames of a file exactly, whatever its header says.

    MP4 and Matroska keep one frame a packet, so their packets are counted; other files are decoded.

    Raises:
        MediaError: as `probe`, and for a file that is damaged or cut off.
    """
    with opened(path) as (container, stream):
        if container.format.name.split(",")[0] in ("mov", "matroska"):
            return sum(1 for packet in container.demux(stream) if packet.size and not packet.is_discard)
        return sum(1 for _ in decoded(container, stream, path))


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
    with opened(path, data) as (container, stream):
        first = 0
        if entry is not None:
            first = entry.number
            container.seek(entry.time, stream=stream, backward=True)
        shape: tuple[int, ...] | None = None
        for number, frame in enumerate(_from(decoded(container, stream, path), entry), start=first):
            if number >= start:
                array = upright_rgb(frame)
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
    with opened(path) as (container, stream):
        container.seek(time, stream=stream, backward=True)
        with contextlib.closing(decoded(container, stream, path)) as frames:
            found = next((frame.pts for frame in frames if frame.pts is None or frame.pts >= time), None)
    return found == time


@lru_cache(maxsize=256)
def _frame_times(path: Path, size: int, changed: int) -> tuple[Times, Times]:
    """Sorted presentation times of all frames of a file, and those of its key frames.

    Both are empty where the times do not number the frames: in other containers and codecs than those
    that keep one shown frame a packet, and where times are missing or the first frames are not shown.
    """
    nothing = np.empty(0, np.int64), np.empty(0, np.int64)
    with opened(path) as (container, stream):
        one_each = container.format.name.split(",")[0] in ("mov", "matroska")
        if not one_each or stream.codec_context.name not in SEEKABLE:
            return nothing
        packets = [(p.pts, p.is_keyframe) for p in container.demux(stream) if p.size and not p.is_discard]
    times = [time for time, _ in packets if time is not None]
    if len(times) < len(packets) or len(set(times)) < len(times):
        return nothing
    with opened(path) as (container, stream), contextlib.closing(decoded(container, stream, path)) as frames:
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
