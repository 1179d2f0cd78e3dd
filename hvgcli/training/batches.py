"""The videos of each update: real pairs from data, generated conditions from the frozen levels below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hvgcli.config import ModelConfig, TrainingConfig
from hvgcli.data import pyramid, windows
from hvgcli.data.cache import FrameCache
from hvgcli.data.clips import Clip, ClipIndex
from hvgcli.sampling.hierarchy import Hierarchy, Sample, generate
from hvgcli.sampling.noise import seeded
from hvgcli.sampling.unroll import join
from hvgcli.training.level import LevelBatch

TRAINING_SIGMA = 1.0  # the levels below are sampled as training samples them


def window_spec(config: ModelConfig, level: int, training: TrainingConfig) -> windows.WindowSpec:
    """What is cut out of the clips for level `level`: its frames, at its stride, at the *last* level's size.

    Every x^l is made from x^L by f_s and f_t (HVG section 2), so the crop is the last level's also where
    a lower one is trained. f_t is a choice of frames: the frames it drops are never decoded.
    """
    spec = config.levels[level - 1]
    return windows.WindowSpec(
        frames=spec.frames,
        stride=spec.stride,
        resolution=config.resolution,
        random_scale=training.random_scale,
        balance_classes=training.balance_classes,
        flip=True,
    )


def real_pair(config: ModelConfig, level: int, video: Tensor) -> tuple[Tensor, Tensor | None]:
    """x^l and x^{l-1} `(B, T, 3, D, D)` from crops `(B, T, 3, R, R)` of x^L at the rate of level l."""
    for number in range(len(config.levels) - 1, level - 1, -1):
        video = pyramid.downsample_space(video, config.levels[number - 1].resolution)
    if level == 1:
        return video, None
    low = pyramid.subsample_time(video, config.times_time(level))
    return video, pyramid.downsample_space(low, config.levels[level - 2].resolution)


@dataclass
class Conditions:
    """Generated x^{l-1} windows with their classes, from the frozen levels below.

    A batch of full videos is made once for `reuse` steps, which cut different windows out of it.
    """

    hierarchy: Hierarchy
    level: int
    """The level that is trained."""
    batch: int
    reuse: int
    seed: int
    class_weights: Tensor | None
    """How often each class is drawn; None without classes."""
    _made: tuple[int, Tensor, Tensor | None] | None = field(default=None, repr=False)

    def windows(self, step: int, use: str, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """x^{l-1} `(B, t, 3, d, d)` and labels for one update of step `step`."""
        videos, labels = self._videos(step // self.reuse)
        config = self.hierarchy.config
        count = config.levels[self.level - 1].frames // config.times_time(self.level)
        starts = torch.randint(
            videos.shape[1] - count + 1, (self.batch,), generator=seeded("condition", self.seed, step, use)
        )
        cut = torch.stack([video[start : start + count] for video, start in zip(videos, starts.tolist(), strict=True)])
        return cut.to(device), None if labels is None else labels.to(device)

    def _videos(self, number: int) -> tuple[Tensor, Tensor | None]:
        if self._made is None or self._made[0] != number:
            generator = seeded("conditions", self.seed, number)
            seeds = torch.randint(2**62, (self.batch,), generator=generator).tolist()
            labels: Sequence[int | None] = [None] * self.batch
            if self.class_weights is not None:
                labels = torch.multinomial(self.class_weights, self.batch, True, generator=generator).tolist()
            samples = [Sample(seed, label) for seed, label in zip(seeds, labels, strict=True)]
            frames = self.hierarchy.config.levels[0].frames * self.hierarchy.config.frame_factor(self.level - 1)
            videos = join(generate(self.hierarchy, samples, frames, sigma=TRAINING_SIGMA)).clone()
            self._made = (number, videos, None if self.class_weights is None else torch.tensor(labels))
        return self._made[1], self._made[2]


@dataclass
class BatchSource:
    """Makes the batch of any update from (seed, step, number) alone, so that a resumed run sees the same."""

    config: ModelConfig
    level: int
    training: TrainingConfig
    index: ClipIndex
    cache: FrameCache
    conditions: Conditions | None
    """None at level 1."""
    seed: int
    device: torch.device
    on_bad: Callable[[Clip, str], None]

    def batch(self, step: int, number: int, *, conditions: bool = True) -> LevelBatch:
        """Batch of update `number` of step `step`; without `conditions` only real videos are made."""
        spec = window_spec(self.config, self.level, self.training)
        updates = self.training.discriminator_updates + 1
        crops, labels = windows.batch(
            self.cache,
            self.index,
            spec,
            self.seed,
            step * updates + number,
            self.training.batch_size,
            on_bad=self.on_bad,
        )
        if not self.config.conditional:
            labels = None
        video, low = real_pair(self.config, self.level, crops.to(self.device))
        labels = None if labels is None else labels.to(self.device)
        if self.conditions is None or not conditions:
            return LevelBatch(video, labels, low, low, labels)
        fake_low, fake_labels = self.conditions.windows(step, f"{number}", self.device)
        return LevelBatch(video, labels, low, fake_low, fake_labels)


def class_weights(index: ClipIndex, training: TrainingConfig, config: ModelConfig) -> Tensor | None:
    """How often each class is seen in training: equally when balanced, else by its number of clips."""
    if not config.conditional:
        return None
    if training.balance_classes:
        present = {clip.label for clip in index.clips}
        return torch.tensor([1.0 if label in present else 0.0 for label in range(config.num_classes)])
    return torch.bincount(
        torch.tensor([clip.label for clip in index.clips]), minlength=config.num_classes
    ).float()
