"""Sets of videos to measure: windows of real clips, decoded in the background and handed out in batches."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from hvgcli.data.ahead import Ahead
from hvgcli.data.cache import iter_clip, resize_uint8
from hvgcli.data.clips import Clip, ClipIndex
from hvgcli.errors import DataError, MediaError
from hvgcli.metrics.windows import (
    START_STEP,
    Sampling,
    Window,
    crop_corners,
    crop_size,
    subset,
    take_numbers,
    windows_of,
)

BLOCK_BYTES = 16 << 20  # resized frames that one thread makes at a time
GAP = 64  # source frames without a window after which decoding goes on at a key frame, not frame by frame
KEY_VERSION = 1  # of the preprocessing: another one makes other keys


@dataclass(frozen=True)
class VideoBatch:
    """Some videos of a set."""

    frames: Tensor
    """uint8 (B, T, H, W, 3), RGB."""
    labels: Tensor | None
    """int64 (B,), into the set's `classes`; None without classes."""
    takes: Tensor
    """int64 (B,): number of the source file (of a generated video: its place in the set)."""


class Videos(Protocol):
    """A set of videos of one length and size, in a fixed order."""

    @property
    def count(self) -> int:
        """Videos of the set; a few less come out where files turn out to be damaged (`left_out`)."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels; empty without classes."""

    @property
    def key(self) -> str:
        """Digest of all that the frames depend on, for caches; "" = do not cache."""

    @property
    def described(self) -> dict[str, Any]:
        """JSON values that a protocol states: videos, takes, frames, stride, size, sampler ..."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """One line with the reason for each file that is left out; complete after `batches`."""

    def batches(self, size: int) -> Iterator[VideoBatch]:
        """All videos in order, at most `size` at a time."""


# ---- their frames ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Decoded:
    """The frames of a block of windows, each decoded and resized once."""

    crops: dict[tuple[int, int], Tensor]
    """(top, left) -> uint8 (n, H, W, 3)."""
    places: dict[int, int]
    """Number of a source frame -> its place among those n."""
    count: int
    """How many of the n could be decoded."""
    failure: str = ""

    def window(self, window: Window, sampling: Sampling) -> Tensor | None:
        """uint8 (T, H, W, 3); None where its last frame could not be decoded."""
        rows = [self.places[window.start + step * sampling.stride] for step in range(sampling.frames)]
        if rows[-1] >= self.count:
            return None
        frames = self.crops[window.top, window.left][rows]
        return frames.flip(2) if window.mirror else frames


def _decode(clip: Clip, windows: Sequence[Window], sampling: Sampling) -> _Decoded:
    """Decode what the windows of one clip need. A failure is kept, with the frames before it."""
    steps = range(0, sampling.span, sampling.stride)
    wanted = sorted({start + step for start in {window.start for window in windows} for step in steps})
    places = {number: place for place, number in enumerate(wanted)}
    height, width = crop_size(clip, sampling.size)
    shape = (len(wanted), *(sampling.size or (height, width)), 3)
    crops = {(window.top, window.left): torch.empty(shape, dtype=torch.uint8) for window in windows}
    every = math.gcd(*(number - wanted[0] for number in wanted)) or 1
    numbers, count = range(wanted[0], wanted[-1] + 1, every), 0
    try:
        for number, frame in zip(numbers, iter_clip(clip, numbers), strict=False):
            if number not in places:
                continue
            count = places[number] + 1
            for (top, left), made in crops.items():
                part = torch.from_numpy(frame)[None, top : top + height, left : left + width]
                made[count - 1] = resize_uint8(part, shape[1:3])[0]
    except MediaError as error:
        return _Decoded(crops, places, count, str(error))
    short = f"{clip.path}: has fewer frames than the {clip.frames} that its header says"
    return _Decoded(crops, places, count, short if count < len(wanted) else "")


def _blocks(windows: Sequence[Window], clips: Sequence[Clip], sampling: Sampling) -> list[range]:
    """Ranges of neighbouring windows of one clip that are decoded together, of at most `BLOCK_BYTES` or one start."""
    blocks, first = [], 0
    for last in range(1, len(windows) + 1):
        if last == len(windows) or not _together(windows, first, last, clips, sampling):
            blocks.append(range(first, last))
            first = last
    return blocks


def _together(windows: Sequence[Window], first: int, new: int, clips: Sequence[Clip], sampling: Sampling) -> bool:
    begin, before, after = windows[first], windows[new - 1], windows[new]
    if after.clip != begin.clip:
        return False
    if after.start == begin.start:
        return True
    clip = clips[begin.clip]
    height, width = sampling.size or (clip.height, clip.width)
    crops = len(crop_corners(clip, sampling.size, sampling.sampler))
    frames = (after.start - begin.start + sampling.span) // math.gcd(sampling.stride, START_STEP)
    return after.start - before.start - sampling.span < GAP and frames * crops * height * width * 3 <= BLOCK_BYTES


class RealVideos:
    """Windows of the clips of a data source (`data.clips.scan`), as `Videos`.

    Memory does not grow with their number: each thread holds one block of resized frames.

    Args:
        index: the clips.
        sampling: which windows.
        name: how messages and the protocol name the source.
        workers: threads that decode; 0 decodes in the calling thread.

    Raises:
        DataError: no clip is long enough, or, without a size, the clips have different ones.
    """

    def __init__(self, index: ClipIndex, sampling: Sampling, *, name: str, workers: int = 2) -> None:
        self.index, self.sampling, self.name, self.workers = index, sampling, name, workers
        self.classes = index.classes
        self._takes = take_numbers(index)
        self._left_out = {str(path): reason for path, reason in index.skipped}
        every = [windows_of(number, clip, sampling) for number, clip in enumerate(index.clips)]
        self._note_short(every)
        windows = [window for of_clip in every for window in of_clip]
        if sampling.num is not None and sampling.num < len(windows):
            windows = subset(windows, self._takes, sampling.num, sampling.seed)
        self.windows = windows
        self.available = sum(map(len, every))
        self.size = self._one_size()

    def _note_short(self, every: Sequence[list[Window]]) -> None:
        need = f"{self.sampling.span} frames ({self.sampling.frames} at stride {self.sampling.stride})"
        for clip, windows in zip(self.index.clips, every, strict=True):
            if not windows:
                self._left_out[str(clip.path)] = f"{clip.path}: has {clip.frames} frames, a window needs {need}"
        if not any(every):
            longest = max((clip.frames for clip in self.index.clips), default=0)
            raise DataError(f"{self.name}: no video has {need}, the longest has {longest}: use fewer --frames")

    def _one_size(self) -> tuple[int, int]:
        """(height, width) of all videos."""
        if self.sampling.size is not None:
            return self.sampling.size
        clips = [self.index.clips[number] for number in dict.fromkeys(window.clip for window in self.windows)]
        first = clips[0]
        for clip in clips:
            if (clip.height, clip.width) != (first.height, first.width):
                sizes = " and ".join(f"{c.width}x{c.height} ({c.path.name})" for c in (first, clip))
                raise DataError(f"{self.name}: has videos of mixed sizes, {sizes}: make them one with --size")
        return first.height, first.width

    @property
    def count(self) -> int:
        return len(self.windows)

    @property
    def left_out(self) -> tuple[str, ...]:
        return tuple(self._left_out.values())

    @property
    def labels(self) -> list[int] | None:
        """Class of each window; None without classes."""
        return [self.index.clips[window.clip].label or 0 for window in self.windows] if self.classes else None

    @property
    def class_counts(self) -> dict[str, int]:
        """Windows of each class, in the order of `classes`; classes without any are 0."""
        counts = Counter(self.labels or ())
        return {name: counts[label] for label, name in enumerate(self.classes)}

    @property
    def described(self) -> dict[str, Any]:
        height, width = self.size
        many = self.sampling.sampler == "windows"
        return {
            "name": self.name,
            "videos": self.count,
            "takes": len({self._takes[window.clip] for window in self.windows}),
            "available": self.available,
            "sampler": self.sampling.sampler,
            "frames": self.sampling.frames,
            "stride": self.sampling.stride,
            "size": f"{width}x{height}",
            "crop": "none" if self.sampling.size is None else "left, middle, right" if many else "middle",
            "mirrored": many,
            "start_step": START_STEP if many else 0,
            "left_out": len(self._left_out),
        }

    @property
    def key(self) -> str:
        clips = {number: self._identity(number) for number in {window.clip for window in self.windows}}
        what = [KEY_VERSION, sorted(clips.items()), asdict(self.sampling), self.classes, self.windows]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()

    def _identity(self, number: int) -> list[object]:
        """What changes when a clip does: path, size and time of its file, or the checksum of its shard."""
        clip = self.index.clips[number]
        common = [clip.label, self._takes[number], clip.start, clip.frames]
        if clip.member is not None:
            return [clip.member.shard.sha256, clip.member.spans, *common]
        try:
            state = clip.path.stat()
        except OSError as error:
            raise MediaError(f"{clip.path}: cannot be read ({error.strerror})") from error
        return [str(Path(clip.path).resolve()), state.st_size, state.st_mtime_ns, *common]

    def batches(self, size: int) -> Iterator[VideoBatch]:
        """All windows in order, at most `size` at a time; those that cannot be decoded are left out.

        Raises:
            DataError: none can be decoded.
        """
        waiting: list[tuple[Window, Tensor]] = []
        found = False
        for window, frames in self._decoded():
            waiting.append((window, frames))
            if len(waiting) == size:
                yield self._batch(waiting)
                found, waiting = True, []
        if waiting:
            yield self._batch(waiting)
        elif not found:
            raise DataError(f"{self.name}: none of its videos can be decoded (first: {self.left_out[0]})")

    def _decoded(self) -> Iterator[tuple[Window, Tensor]]:
        blocks = _blocks(self.windows, self.index.clips, self.sampling)
        with Ahead(
            lambda number: self._load(blocks[number]),
            lambda number: number + 1 if number + 1 < len(blocks) else None,
            workers=self.workers,
            depth=self.workers,
        ) as load:
            for number, block in enumerate(blocks):
                decoded = load(number)
                for window in (self.windows[i] for i in block):
                    frames = decoded.window(window, self.sampling)
                    if frames is not None:
                        yield window, frames
                if decoded.failure:
                    path = self.index.clips[self.windows[block[0]].clip].path
                    self._left_out.setdefault(str(path), decoded.failure)

    def _load(self, block: range) -> _Decoded:
        windows = [self.windows[i] for i in block]
        return _decode(self.index.clips[windows[0].clip], windows, self.sampling)

    def _batch(self, part: Sequence[tuple[Window, Tensor]]) -> VideoBatch:
        clips = [window.clip for window, _ in part]
        labels = torch.tensor([self.index.clips[number].label for number in clips]) if self.classes else None
        takes = torch.tensor([self._takes[number] for number in clips])
        return VideoBatch(torch.stack([frames for _, frames in part]), labels, takes)
