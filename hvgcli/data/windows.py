"""Training samples: which window of which clip, a pure function of (seed, step, sample).

Nothing is remembered between draws, so a run continues from its step number alone, and a batch can
be split over processes: sample i of step s is the same wherever it is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from hvgcli.data.cache import FrameCache, resize_uint8
from hvgcli.data.clips import Clip, ClipIndex
from hvgcli.data.order import permuted
from hvgcli.errors import DataError, MediaError

MAX_FAILURES = 100  # clips that may fail for one sample before a folder is given up as damaged


@dataclass(frozen=True)
class WindowSpec:
    """What one training sample is."""

    frames: int
    """Frames of the window."""
    stride: int
    """Source frames between two frames of the window."""
    resolution: int
    """Height and width of the sample in pixels."""
    random_scale: tuple[float, float] = (1.0, 1.0)
    """Side of the square crop, as a range of fractions of the clip's short side."""
    balance_classes: bool = False
    """Draw the class first, each as likely, then the clip; without it every epoch has each clip once."""
    flip: bool = True
    """Mirror half of the samples left to right."""
    batch_size: int = 1
    """Samples of a step, all processes together: an epoch is counted in them."""
    random_stride: bool = False
    """Draw half of the windows at half the stride (where it is even)."""


@dataclass(frozen=True)
class Choice:
    """One drawn sample. Pixels are those of the clip as `Clip` states its size."""

    clip_index: int
    start: int
    """Source frame of the window's first frame."""
    stride: int
    """Source frames between two frames; at most the spec's."""
    top: int
    left: int
    side: int
    flip: bool


@dataclass(frozen=True)
class _Table:
    """The eligible clips, and for each group that is drawn evenly its clips with cumulative weights."""

    groups: tuple[tuple[np.ndarray, np.ndarray], ...]
    strides: dict[int, int]
    """clip index -> largest stride that fits."""


def fitting_stride(clip_frames: int, frames: int, stride: int) -> int | None:
    """The largest divisor of `stride` at which `frames` frames fit in the clip, or None when not even 1 fits."""
    divisors = (d for d in range(stride, 0, -1) if stride % d == 0)
    return next((d for d in divisors if (frames - 1) * d < clip_frames), None)


def starts(clip_frames: int, frames: int, stride: int) -> int:
    """Number of start positions of a window in a clip."""
    return clip_frames - (frames - 1) * stride


@lru_cache(maxsize=32)
def _table(index: ClipIndex, spec: WindowSpec, without: frozenset[int]) -> _Table:
    fits = ((i, fitting_stride(clip.frames, spec.frames, spec.stride)) for i, clip in enumerate(index.clips))
    strides = {i: stride for i, stride in fits if stride is not None and i not in without}
    grouped: dict[int | None, list[int]] = {}
    for i in strides:
        grouped.setdefault(index.clips[i].label if spec.balance_classes else None, []).append(i)
    groups = []
    for members in grouped.values():
        weights = [starts(index.clips[i].frames, spec.frames, strides[i]) for i in members]
        groups.append((np.array(members), np.cumsum(weights)))
    return _Table(tuple(groups), strides)


def eligible(index: ClipIndex, spec: WindowSpec) -> int:
    """Number of clips that are long enough for a window, if need be at a smaller stride: the clips of an epoch."""
    return len(_table(index, spec, frozenset()).strides)


def _crop(rng: np.random.Generator, clip: Clip, spec: WindowSpec) -> tuple[int, int, int]:
    """Draw (top, left, side) of a square crop. One smaller than the sample is enlarged to it later."""
    short = min(clip.height, clip.width)
    side = min(short, max(1, round(short * rng.uniform(*spec.random_scale))))
    return int(rng.integers(clip.height - side + 1)), int(rng.integers(clip.width - side + 1)), side


@lru_cache(maxsize=4)
def _epoch(index: ClipIndex, spec: WindowSpec, seed: int, epoch: int) -> np.ndarray:
    numbers = np.array(list(_table(index, spec, frozenset()).strides), np.int64)
    shards = [index.clips[i].shard for i in numbers]
    in_shards = np.array(shards, np.int64) if all(shard is not None for shard in shards) else None
    return permuted(numbers, in_shards, seed, epoch)


def clip_at(index: ClipIndex, spec: WindowSpec, seed: int, step: int, sample: int) -> int:
    """Number of the clip of a sample where classes are not balanced: every epoch has each eligible clip once."""
    epoch, place = divmod(step * spec.batch_size + sample, eligible(index, spec))
    return int(_epoch(index, spec, seed, epoch)[place])


def _draw_clip(table: _Table, rng: np.random.Generator) -> int:
    """Draw a class, if they are balanced, and in it a clip in proportion to its number of start positions."""
    members, cumulative = table.groups[int(rng.integers(len(table.groups)))]
    return int(members[np.searchsorted(cumulative, rng.integers(cumulative[-1]), side="right")])


def choose(
    index: ClipIndex, spec: WindowSpec, seed: int, step: int, sample: int, without: frozenset[int] = frozenset()
) -> Choice:
    """Draw one sample: a pure function of its arguments.

    The clip is the next one of the epoch (`clip_at`). With `balance_classes`, and in the place of one that
    failed, it is drawn: in proportion to its number of start positions, among those of an evenly drawn
    class or among all. A clip too short for the spec's stride gets the largest divisor of it that fits.

    Args:
        seed, step, sample: not negative; `sample` counts over the whole batch, all processes together.
        without: numbers of clips that failed for this sample; another one is drawn in their place.

    Raises:
        DataError: no clip is long enough.
    """
    table = _table(index, spec, without)
    if not table.groups:
        if without:
            raise DataError(f"all {len(without)} clips that are long enough for a training window failed to decode")
        longest = max((clip.frames for clip in index.clips), default=0)
        raise DataError(f"no clip has the {spec.frames} frames of a training window: the longest has {longest}")
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, step, sample, len(without)))))
    drawn = spec.balance_classes or without
    number = _draw_clip(table, rng) if drawn else clip_at(index, spec, seed, step, sample)
    clip, stride = index.clips[number], table.strides[number]
    halved = rng.random() < 0.5  # drawn always, so that options do not shift the draws after it
    if spec.random_stride and halved and spec.stride % 2 == 0 and stride == spec.stride:
        stride //= 2
    start = int(rng.integers(starts(clip.frames, spec.frames, stride)))
    top, left, side = _crop(rng, clip, spec)
    return Choice(number, start, stride, top, left, side, bool(spec.flip and rng.random() < 0.5))


def _window(cache: FrameCache, clip: Clip, choice: Choice, spec: WindowSpec) -> torch.Tensor:
    """The crop of a window, uint8 (T, side', side', 3), as a view of the cached clip; not flipped."""
    last = choice.start + (spec.frames - 1) * choice.stride
    frames = cache.window(clip, range(choice.start, last + 1, choice.stride))
    height, width = frames.shape[1:3]
    scale = min(height, width) / min(clip.height, clip.width)  # below 1 where the cache keeps a smaller copy
    side = max(1, min(round(choice.side * scale), height, width))
    top = min(round(choice.top * scale), height - side)
    left = min(round(choice.left * scale), width - side)
    return frames[:, top : top + side, left : left + side]


def load(cache: FrameCache, index: ClipIndex, choice: Choice, spec: WindowSpec) -> torch.Tensor:
    """The frames of a choice, cropped and flipped: uint8 (T, side, side, 3), not yet resized.

    `side` is the choice's, scaled where the cache keeps smaller frames.

    Raises:
        MediaError: the clip cannot be decoded, or has fewer frames than its header says.
    """
    window = _window(cache, index.clips[choice.clip_index], choice, spec)
    return window.flip(2) if choice.flip else window


def _sample_into(out: torch.Tensor, cache: FrameCache, index: ClipIndex, choice: Choice, spec: WindowSpec) -> None:
    window = _window(cache, index.clips[choice.clip_index], choice, spec)
    resized = resize_uint8(window, (spec.resolution, spec.resolution))
    out.copy_(resized.flip(2) if choice.flip else resized)  # flipped after resizing: fewer bytes


def to_float(frames: torch.Tensor) -> torch.Tensor:
    """uint8 (B, T, H, W, 3) in 0..255 -> float (B, T, 3, H, W) in [-1, 1] in B, T, H, W, C memory order."""
    return frames.float().div_(127.5).sub_(1).permute(0, 1, 4, 2, 3)


def batch(
    cache: FrameCache,
    index: ClipIndex,
    spec: WindowSpec,
    seed: int,
    step: int,
    batch_size: int,
    *,
    first: int = 0,
    on_bad: Callable[[Clip, str], None] | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Samples first .. first + batch_size - 1 of a step.

    Args:
        first: number of the first sample; a process of several takes its part of the global batch.
        on_bad: called with a clip that fails to decode and the reason, each time that it is drawn;
            another clip is then drawn in its place, the same one in every run.

    Returns:
        video: float32 (B, T, 3, R, R) in [-1, 1], in B, T, H, W, C memory order.
        labels: int64 (B,), or None for a folder without classes.

    Raises:
        DataError: no clip is long enough, or too many clips fail.
    """
    size = (batch_size, spec.frames, spec.resolution, spec.resolution, 3)
    frames = torch.empty(size, dtype=torch.uint8)
    labels = [
        _draw_into(frames[i], cache, index, spec, (seed, step, first + i), on_bad).label for i in range(batch_size)
    ]
    return to_float(frames), torch.tensor(labels) if index.classes else None


def _draw_into(
    out: torch.Tensor,
    cache: FrameCache,
    index: ClipIndex,
    spec: WindowSpec,
    key: tuple[int, int, int],
    on_bad: Callable[[Clip, str], None] | None,
) -> Clip:
    """Fill `out` with sample (seed, step, sample) = `key`, drawing again where a clip is bad; return its clip."""
    failed: frozenset[int] = frozenset()
    while len(failed) < MAX_FAILURES:
        choice = choose(index, spec, *key, without=failed)
        clip = index.clips[choice.clip_index]
        try:
            _sample_into(out, cache, index, choice, spec)
        except MediaError as error:
            failed |= {choice.clip_index}
            if on_bad is not None:
                on_bad(clip, str(error))
        else:
            return clip
    raise DataError(f"{MAX_FAILURES} clips drawn one after another failed to decode, the last one {clip.path}")
