"""Frames of video files by their numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from hvgcli.errors import MediaError
from hvgcli.video.opening import decoded, opened
from hvgcli.video.pictures import Frames
from hvgcli.video.pixels import upright_rgb
from hvgcli.video.seeking import SEEK_FROM, FrameIndex, frames_from, packet_index


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
    index = _index_of(path) if seek and data is None and start >= SEEK_FROM else None
    shape: tuple[int, ...] | None = None
    with contextlib.closing(frames_from(path, index, start, data=data)) as frames:
        for number, frame in frames:
            if number >= start:
                array = upright_rgb(frame)
                shape = shape or array.shape
                if array.shape != shape:
                    raise MediaError(f"{path}: changes its size at frame {number}: split it there first")
                yield array
            if stop is not None and number + 1 >= stop:
                return


@lru_cache(maxsize=256)
def _index(path: Path, size: int, changed: int) -> FrameIndex | None:
    """The packets of a file of that many bytes, changed at that time."""
    return packet_index(path)


def _index_of(path: Path) -> FrameIndex | None:
    """The frames of a file that has not changed since they were looked for."""
    if not path.is_file():
        return None
    state = path.stat()
    return _index(path, state.st_size, state.st_mtime_ns)


def read_video(path: Path) -> Frames:
    """All frames of a file as uint8 (T, H, W, 3) RGB. Holds them all in memory: meant for short clips.

    Raises:
        MediaError: as `iter_frames`, and for a file without frames.
    """
    frames = list(iter_frames(path))
    if not frames:
        raise MediaError(f"{path}: has no frames")
    return np.stack(frames)
