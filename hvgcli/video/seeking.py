"""Where the frames of a video are: their times, counted without decoding where that is exact, and the way to them."""

from __future__ import annotations

import contextlib
import itertools
from array import array
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hvgcli.errors import MediaError
from hvgcli.video.clock import UNKNOWN, Ticks
from hvgcli.video.limits import check_count
from hvgcli.video.opening import alpha_decoder, check_end, decoded, opened

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

SEEK_FROM = 64  # frames that are decoded and dropped in less time than a key frame is looked for
# Codecs that show one frame a packet. Not VP8, which has hidden frames, nor MPEG-4 part 2, which may pack two.
ONE_EACH = ("h264", "hevc", "vp9", "av1", "mjpeg", "prores", "dnxhd", "ffv1", "png", "qtrle", "rawvideo")


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """The frames of a video in the order of display."""

    times: Ticks
    """Time of each frame as its decoder gives it, or `UNKNOWN`."""
    keys: Ticks
    """Numbers of the frames at which decoding can begin."""
    base: Fraction
    """Seconds a tick."""
    last: int
    """Ticks for which the last frame is shown; 0 where the file does not say."""
    reordered: bool = False
    """Whether times belong to the frames in another order than they stand: AVI knows only that of decoding."""

    @property
    def shown(self) -> Ticks:
        """Times in the order of display, as true as the file tells."""
        return np.sort(self.times) if self.reordered else self.times

    @property
    def seekable(self) -> bool:
        """Whether each frame is known by its time."""
        return not self.reordered and bool(np.all(self.times != UNKNOWN) and np.all(np.diff(self.times) > 0))


def index_frames(path: Path) -> FrameIndex:
    """All frames of a video: by its packets where they tell, else by decoding it.

    Raises:
        MediaError: no video, damaged, cut off, without frames.
    """
    return packet_index(path) or _decoded_index(path)


def packet_index(path: Path) -> FrameIndex | None:
    """The frames of a video by its packets, without decoding; None where that may not be exact.

    That is so in other containers than MP4 and Matroska, codecs with hidden frames, and where times are
    missing or repeated or the first packets give no frames.

    Raises:
        MediaError: no video, or cut off.
    """
    with opened(path) as (container, stream):
        if container.format.name.split(",")[0] not in ("mov", "matroska") or stream.time_base is None:
            return None
        if stream.codec_context.name not in ONE_EACH:
            return None
        index = _read_packets(container, stream, path)
    if index is None:
        return None
    with opened(path) as (container, stream), contextlib.closing(decoded(container, stream, path)) as frames:
        first = next(frames, None)
    return index if first is not None and first.pts == index.times[0] else None


def _read_packets(container: InputContainer, stream: VideoStream, path: Path) -> FrameIndex | None:
    """Sorted times of the packets that are shown; None where one has no time or that of another."""
    times, keys, lengths = array("q"), array("q"), array("q")
    for packet in container.demux(stream):
        if not packet.size or packet.is_discard:
            continue
        if packet.pts is None:
            return None
        times.append(packet.pts)
        lengths.append(packet.duration or 0)
        if packet.is_keyframe:
            keys.append(packet.pts)
        check_count(path, len(times))
    stamps = np.array(times, np.int64)
    if not len(stamps) or len(np.unique(stamps)) < len(stamps) or stream.time_base is None:
        return None
    final = int(stamps.argmax())
    end = times[final] + lengths[final] - (stream.start_time or 0)
    check_end(container, stream, path, len(times), end * stream.time_base)
    stamps.sort()
    return FrameIndex(stamps, np.searchsorted(stamps, sorted(keys)), stream.time_base, lengths[final])


def _decoded_index(path: Path) -> FrameIndex:
    """All frames of a video by decoding it."""
    times, keys, last = array("q"), array("q"), 0
    with opened(path) as (container, stream), contextlib.closing(decoded(container, stream, path)) as frames:
        for frame in frames:
            if frame.key_frame:
                keys.append(len(times))
            times.append(UNKNOWN if frame.pts is None else frame.pts)
            last = frame.duration or 0
            check_count(path, len(times))
        base, reordered = stream.time_base or Fraction(1, 1000), container.format.name == "avi"
    if not times:
        raise MediaError(f"{path}: has no frames")
    stamps = np.array(times, np.int64)
    reordered = reordered and len(np.unique(stamps)) == len(stamps) and UNKNOWN not in stamps
    return FrameIndex(stamps, np.array(keys, np.int64), base, last, reordered and bool(np.any(np.diff(stamps) < 0)))


def _beginnings(index: FrameIndex | None, start: int) -> list[int]:
    """Frames at which to try to begin decoding on the way to frame `start`, the nearest first, the first frame last."""
    if index is None or start < SEEK_FROM or start >= len(index.times) or not index.seekable:
        return [0]
    before = index.keys[index.keys <= start][-2:]  # one further back where the nearest is not reached
    return [*(number for number in before[::-1].tolist() if number), 0]


def frames_from(
    path: Path, index: FrameIndex | None, start: int, *, data: bytes | None = None, alpha: bool = False
) -> Generator[tuple[int, VideoFrame], None, None]:
    """Numbers and frames of a video in the order of display, from `start` or some frames before it, to the end.

    Args:
        index: of this file; None to decode from the first frame.
        data: the bytes of an mp4 file to read instead.
        alpha: whether to decode alpha that stands beside the frames (VP8, VP9).

    Raises:
        MediaError: the file is damaged or cut off; it names the frame reached.
    """
    for number in _beginnings(index, start):
        with opened(path, data) as (container, stream):
            decoder = alpha_decoder(stream) if alpha else None
            with contextlib.closing(decoded(container, stream, path, decoder)) as frames:
                found: Iterator[VideoFrame] | None = frames
                if number and index is not None:
                    found = _after_seek(container, stream, frames, int(index.times[number]))
                if found is not None:
                    yield from enumerate(found, start=number)
                    return


def _after_seek(
    container: InputContainer, stream: VideoStream, frames: Iterator[VideoFrame], time: int
) -> Iterator[VideoFrame] | None:
    """The frames from that of `time` on; None where a seek does not bring it, with none of those after it missing."""
    import av

    try:
        container.seek(time, stream=stream, backward=True)
        first = next((frame for frame in frames if frame.pts is None or frame.pts >= time), None)
    except (av.FFmpegError, OSError, MediaError):
        return None
    return itertools.chain([first], frames) if first is not None and first.pts == time else None
