"""Sets of generated videos to measure: made in batches as they are asked for, never kept.

Video i has seed s + i, so it is the same in any batch. Where fewer frames are measured than a full video
has, they are a window of it: the outline is made in full, a random part of it is cut out, and the levels
above enlarge just that part, as they were trained (HVG section 5.2).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hvgcli import __version__
from hvgcli.config import ModelConfig
from hvgcli.errors import UsageError
from hvgcli.layers.layout import join_time
from hvgcli.metrics.videos import VideoBatch
from hvgcli.models.recurrent_generator import RecurrentGenerator
from hvgcli.models.upsampler import Upsampler
from hvgcli.sampling import statistics
from hvgcli.sampling.hierarchy import (
    Hierarchy,
    Sample,
    generate,
    level_frames,
    level_latents,
    prepare,
    sample_labels,
)
from hvgcli.sampling.noise import seeded
from hvgcli.sampling.render import batches, to_pixels
from hvgcli.sampling.unroll import outline_pieces, upsample_pieces

PIECE = 12  # outline frames that are computed at a time
GENERATED_AT_A_TIME = 4  # videos: more are hardly faster on a CPU


def labels_like(config: ModelConfig, counts: Mapping[str, int], num: int) -> list[int | None]:
    """Classes of `num` generated videos in the proportions of a real set: any first part of them has these too.

    Args:
        config: the model; one without classes gets None for every video.
        counts: videos of each class of the real set, by name. Without any, all classes of the model are equal.
        num: how many.

    Raises:
        UsageError: the real set has a class that the model does not know.
    """
    if not config.conditional:
        return [None] * num
    names = config.class_names()
    wanted = {name: count for name, count in counts.items() if count} or dict.fromkeys(names, 1)
    if unknown := [name for name in wanted if name not in names]:
        known = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        raise UsageError(f"the model does not know the class {unknown[0]!r} of the real videos: it has {known}")
    labels = [names.index(name) for name in wanted]
    return [labels[i] for i in _interleaved(list(wanted.values()), num)]


def _interleaved(counts: Sequence[int], num: int) -> Iterator[int]:
    """Places 0 .. len(counts) - 1 in turn, always the one that is furthest behind its share."""
    total, given = sum(counts), [0] * len(counts)
    for done in range(1, num + 1):
        behind = [count * done - given[i] * total for i, count in enumerate(counts)]
        place = behind.index(max(behind))
        given[place] += 1
        yield place


class GeneratedVideos:
    """Videos of a model as `Videos`: seeds seed .. seed + len(labels) - 1.

    Args:
        hierarchy: the model, with standing statistics for `lengths` at sigma (`statistics_cache.attach`).
        labels: class of each video; None in a model without classes.
        frames: frames T of a measured video.
        sigma: standard deviation of z.
        seed: of the first video.
        levels: stop after this level; all by default.
        full: frames of a full video; the model's own by default. Where `frames` is less, windows are measured.
        name: how the protocol names the model; its config's name by default.

    Raises:
        UsageError: no videos, no frames, or a label that the model does not have.
    """

    def __init__(
        self,
        hierarchy: Hierarchy,
        labels: Sequence[int | None],
        *,
        frames: int,
        sigma: float,
        seed: int = 0,
        levels: int | None = None,
        full: int | None = None,
        name: str = "",
    ) -> None:
        self.hierarchy, self.frames, self.sigma, self.seed = hierarchy, frames, sigma, seed
        self.levels = levels or hierarchy.levels
        config = hierarchy.config
        self.full = full or config.levels[0].frames * config.frame_factor(self.levels)
        self.name = name or config.name
        self.samples = [Sample(seed + i, label) for i, label in enumerate(labels)]
        self.classes = config.class_names()
        if not self.samples or frames < 1:
            raise UsageError(f"got {len(self.samples)} videos of {frames} frames, expected at least 1 of each")
        sample_labels(hierarchy, self.samples[:1])

    @property
    def windowed(self) -> bool:
        """Whether windows of full videos are measured."""
        return self.frames < self.full

    @property
    def lengths(self) -> tuple[int, ...]:
        """Frames at the last level that standing statistics are needed for."""
        if not self.windowed:
            return (self.frames,)
        return (self.full, self.frames) if self.levels > 1 else (self.full,)

    @property
    def size(self) -> tuple[int, int]:
        side = self.hierarchy.config.levels[self.levels - 1].resolution
        return side, side

    @property
    def count(self) -> int:
        return len(self.samples)

    @property
    def left_out(self) -> tuple[str, ...]:
        return ()

    @property
    def class_counts(self) -> dict[str, int]:
        """Videos of each class, in the order of `classes`."""
        counts = Counter(sample.label for sample in self.samples)
        return {name: counts[label] for label, name in enumerate(self.classes)}

    @property
    def described(self) -> dict[str, Any]:
        height, width = self.size
        return {
            "name": self.name,
            "sha": self.hierarchy.sha,
            "videos": self.count,
            "takes": self.count,
            "sampler": "window" if self.windowed else "whole",
            "frames": self.frames,
            "full_frames": max(self.full, self.frames),
            "size": f"{width}x{height}",
            "sigma": self.sigma,
            "seed": self.seed,
            "levels": self.levels,
            "left_out": 0,
        }

    @property
    def key(self) -> str:
        if not self.hierarchy.sha:
            return ""
        labels = [sample.label for sample in self.samples]
        arithmetic = [__version__, list(self.hierarchy.half), self.hierarchy.device.type]
        what = [self.described, labels, arithmetic, self._tables()]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()

    def _tables(self) -> list[str]:
        """Digests of the standing statistics in use: they may have been measured on this machine."""
        digests = []
        for number, total in enumerate(self._level_frames(), start=1):
            table = statistics.choose(self.hierarchy.tables[number - 1], self.sigma, total)
            moments = sorted(table.moments.items()) if table is not None else []
            parts = [name.encode() + t.cpu().numpy().tobytes() for name, pair in moments for t in pair]
            digests.append(hashlib.sha256(b"".join(parts)).hexdigest())
        return digests

    def _level_frames(self) -> list[int]:
        """Frames of each level: with windows, a full outline, and windows above it."""
        above = level_frames(self.hierarchy, self.frames, self.levels)[1:]
        return [level_frames(self.hierarchy, max(self.full, self.frames), self.levels)[0], *above]

    def batches(self, size: int) -> Iterator[VideoBatch]:
        """All videos in order, at most `size` at a time.

        Raises:
            WeightsError: standing statistics are missing.
        """
        for numbers in batches(self.count, size):
            parts = [
                self._pixels(numbers[i : i + GENERATED_AT_A_TIME]) for i in range(0, len(numbers), GENERATED_AT_A_TIME)
            ]
            labels = [self.samples[number].label for number in numbers]
            known = torch.tensor(labels) if self.classes else None
            yield VideoBatch(torch.cat(parts), known, torch.tensor(list(numbers)))

    def _pixels(self, numbers: Sequence[int]) -> Tensor:
        """uint8 (n, T, H, W, 3) of the videos of those numbers."""
        samples = [self.samples[number] for number in numbers]
        if self.windowed:
            video = self._windows(samples)
        else:
            video = join_time(*generate(self.hierarchy, samples, self.frames, sigma=self.sigma, levels=self.levels))
        return torch.from_numpy(to_pixels(video))

    def window_start(self, sample: Sample, outline: int, window: int) -> int:
        """First outline frame of a video's window of `window` out of `outline` frames, drawn by its seed."""
        return int(torch.randint(outline - window + 1, (1,), generator=seeded("window", sample.seed)))

    @torch.inference_mode()
    def _windows(self, samples: Sequence[Sample]) -> Tensor:
        """Windows of full videos, (B, T, 3, D, D) in [-1, 1]: cut from the outline, then enlarged."""
        hierarchy, levels = self.hierarchy, self.levels
        total, *above = self._level_frames()
        if levels > 1:  # otherwise the window is cut from frames that are finished
            prepare(hierarchy, self.frames, self.sigma, levels)
        prepare(hierarchy, total, self.sigma, 1)
        half = [*hierarchy.half, *[False] * levels][:levels]
        zs = [level_latents(hierarchy, samples, number, self.sigma) for number in range(1, levels + 1)]
        labels = sample_labels(hierarchy, samples)
        first, *others = hierarchy.generators[:levels]
        assert isinstance(first, RecurrentGenerator)
        outline = join_time(*(piece for piece, _ in outline_pieces(first, zs[0], labels, total, PIECE, half[0])))
        window = level_frames(hierarchy, self.frames, levels)[0]
        starts = [self.window_start(sample, total, window) for sample in samples]
        cut = torch.stack([video[start : start + window] for video, start in zip(outline, starts, strict=True)])
        pieces: Iterator[tuple[Tensor, bool]] = iter([(cut, True)])
        for level, z, frames, low in zip(others, zs[1:], above, half[1:], strict=True):
            assert isinstance(level, Upsampler)
            pieces = upsample_pieces(level, pieces, z, labels, frames, low)
        return join_time(*(piece for piece, _ in pieces))[:, : self.frames]
