"""Which windows of real clips are measured.

Two samplers choose them. `folder` takes one window a clip, from its first frame: what folders of
generated videos and published test sets are measured with. `windows` takes all that a few long clips
have: every start at a multiple of 8 source frames, three crops and the mirror of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from hvgcli.data.clips import Clip, ClipIndex
from hvgcli.errors import UsageError

START_STEP = 8  # source frames between two starts of the `windows` sampler

SamplerName = Literal["folder", "windows"]


@dataclass(frozen=True)
class Sampling:
    """Which windows of real clips are measured, and how their frames are made."""

    frames: int
    """Frames T of a window."""
    stride: int = 1
    """Source frames between two of them (f_t)."""
    size: tuple[int, int] | None = None
    """(height, width): the largest crop of this shape, resized by f_s. None: whole frames as they are."""
    sampler: SamplerName = "folder"
    num: int | None = None
    """At most this many windows, spread evenly over the takes; None = all."""
    seed: int = 0
    """Of the choice of those."""

    def __post_init__(self) -> None:
        for name in ("frames", "stride"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} {getattr(self, name)} must be at least 1")
        if self.num is not None and self.num < 1:
            raise UsageError(f"--num {self.num} must be at least 1")

    @property
    def span(self) -> int:
        """Source frames that a window takes: `stride` for each of its frames."""
        return self.frames * self.stride


class Window(NamedTuple):
    """One window of one clip; its crop has the size that `crop_size` gives."""

    clip: int
    """Number of the clip in the index."""
    start: int
    """Source frame of its first frame."""
    top: int
    left: int
    mirror: bool


def crop_size(clip: Clip, size: tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) of the largest part of the clip's frames that has the shape of `size`."""
    if size is None:
        return clip.height, clip.width
    height, width = size
    if clip.height * width <= clip.width * height:
        return clip.height, max(1, round(clip.height * width / height))
    return max(1, round(clip.width * height / width)), clip.width


def crop_corners(clip: Clip, size: tuple[int, int] | None, sampler: SamplerName) -> list[tuple[int, int]]:
    """(top, left) of the crops of a clip: the middle, or left, middle, right (top, middle, bottom in portrait).

    Frames that already have the shape of `size` have one crop.
    """
    height, width = crop_size(clip, size)
    down, across = clip.height - height, clip.width - width
    parts = (0, 1, 2) if sampler == "windows" else (1,)
    return list(dict.fromkeys((down * part // 2, across * part // 2) for part in parts))


def windows_of(number: int, clip: Clip, sampling: Sampling) -> list[Window]:
    """All windows of a clip, by start, crop and mirror; none where it is too short."""
    last = clip.frames - sampling.span
    if last < 0:
        return []
    many = sampling.sampler == "windows"
    return [
        Window(number, start, top, left, mirror)
        for start in (range(0, last + 1, START_STEP) if many else (0,))
        for top, left in crop_corners(clip, sampling.size, sampling.sampler)
        for mirror in ((False, True) if many else (False,))
    ]


def take_numbers(index: ClipIndex) -> list[int]:
    """For each clip the number of its source file: parts of one file, also in shards, share theirs."""
    sources = [str(clip.path) if clip.member is None else clip.member.source for clip in index.clips]
    numbers = {source: number for number, source in enumerate(dict.fromkeys(sources))}
    return [numbers[source] for source in sources]


def even_quotas(sizes: Sequence[int], total: int, rng: np.random.Generator) -> list[int]:
    """How many to take of groups of these sizes, `total` in all: equal where the sizes allow it.

    Who gets the one more where it does not divide is drawn.
    """
    quotas = [0] * len(sizes)
    left = min(total, sum(sizes))
    while left:
        open_groups = [i for i, size in enumerate(sizes) if quotas[i] < size]
        share = left // len(open_groups)
        if not share:
            open_groups, share = rng.permutation(open_groups)[:left].tolist(), 1
        for i in open_groups:
            more = min(share, sizes[i] - quotas[i])
            quotas[i], left = quotas[i] + more, left - more
    return quotas


def subset(windows: list[Window], takes: Sequence[int], num: int, seed: int) -> list[Window]:
    """`num` of the windows in their order, as many of each take (`takes[clip]`) as can be; drawn by `seed`."""
    groups: dict[int, list[int]] = {}
    for i, window in enumerate(windows):
        groups.setdefault(takes[window.clip], []).append(i)
    rng = np.random.default_rng(seed)
    quotas = even_quotas([len(group) for group in groups.values()], num, rng)
    drawn = [rng.choice(group, quota, replace=False) for group, quota in zip(groups.values(), quotas, strict=True)]
    return [windows[i] for i in np.sort(np.concatenate(drawn)).tolist()]
