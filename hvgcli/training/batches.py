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
from hvgcli.training.distributed import ALONE, Share, World
from hvgcli.training.level import LevelBatch

TRAINING_SIGMA = 1.0  # the levels below are sampled as training samples them


def window_spec(config: ModelConfig, level: int, training: TrainingConfig) -> windows.WindowSpec:
    """What is cut out of the clips for level `level`: its frames, at its stride, at the *last* level's size.

    A predictor's windows are its context and what follows. In a hierarchy every x^l is made from x^L by f_s
    and f_t (HVG section 2), so the crop is the last level's also where a
    lower one is trained. f_t is a choice of frames: the frames it drops are never decoded.
    """
    spec = config.levels[level - 1]
    return windows.WindowSpec(
        frames=config.context + spec.frames,
        stride=spec.stride,
        resolution=config.resolution,
        random_scale=training.random_scale,
        balance_classes=training.balance_classes,
        random_stride=training.random_stride,
        batch_size=training.batch_size,
        flip=True,
    )


def real_pair(config: ModelConfig, level: int, video: Tensor) -> tuple[Tensor, Tensor | None]:
    """x^l and x^{l-1} `(B, T, 3, D, D)` from crops `(B, T, 3, R, R)` of x^L at the rate of level l.

    Of a predictor: what follows the context, and the context.
    """
    if config.predictor:
        return video[:, config.context :], video[:, : config.context]
    for number in range(len(config.levels) - 1, level - 1, -1):
        video = pyramid.downsample_space(video, config.levels[number - 1].resolution)
    if level == 1:
        return video, None
    low = pyramid.subsample_time(video, config.times_time(level))
    return video, pyramid.downsample_space(low, config.levels[level - 2].resolution)


@dataclass
class Conditions:
    """Generated x^{l-1} windows with their classes, from the frozen levels below.

    A batch of full videos is made once for `reuse` steps, which cut different windows out of it. Seeds, classes
    and windows are drawn for the whole batch; only the videos of the shares that are asked for are made.
    """

    hierarchy: Hierarchy
    level: int
    """The level that is trained."""
    batch: int
    """Samples of a step, all processes together."""
    reuse: int
    seed: int
    class_weights: Tensor | None
    """How often each class is drawn; None without classes."""
    _number: int | None = field(default=None, repr=False)
    _made: dict[Share, Tensor] = field(default_factory=dict, repr=False)

    def windows(
        self, step: int, use: str, device: torch.device, share: Share | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """x^{l-1} `(B, t, 3, d, d)` and labels of a share (by default all) for one update of step `step`."""
        share = share or Share.whole(self.batch)
        seeds, labels = self._drawn(step // self.reuse)
        videos = self._videos(step // self.reuse, seeds, labels, share)
        config = self.hierarchy.config
        count = config.levels[self.level - 1].frames // config.times_time(self.level)
        drawn = torch.randint(
            videos.shape[1] - count + 1, (self.batch,), generator=seeded("condition", self.seed, step, use)
        )
        starts = share.of(drawn).tolist()
        cut = torch.stack([video[start : start + count] for video, start in zip(videos, starts, strict=True)])
        return cut.to(device), None if labels is None else share.of(labels).to(device)

    def _drawn(self, number: int) -> tuple[Tensor, Tensor | None]:
        """Seeds and labels `(batch,)` of the whole batch `number`."""
        generator = seeded("conditions", self.seed, number)
        seeds = torch.randint(2**62, (self.batch,), generator=generator)
        if self.class_weights is None:
            return seeds, None
        return seeds, torch.multinomial(self.class_weights, self.batch, True, generator=generator)

    def _videos(self, number: int, seeds: Tensor, labels: Tensor | None, share: Share) -> Tensor:
        """Full videos `(B, F, 3, d, d)` of a share of batch `number`, made when they are first asked for."""
        if self._number != number:
            self._number, self._made = number, {}
        if share not in self._made:
            classes: Sequence[int | None] = [None] * share.count if labels is None else share.of(labels).tolist()
            samples = [Sample(seed, label) for seed, label in zip(share.of(seeds).tolist(), classes, strict=True)]
            frames = self.hierarchy.config.levels[0].frames * self.hierarchy.config.frame_factor(self.level - 1)
            self._made[share] = join(generate(self.hierarchy, samples, frames, sigma=TRAINING_SIGMA)).clone()
        return self._made[share]


Loaded = list[tuple[Tensor, Tensor | None]]
"""Crops of x^L at the rate of the level, and labels, of every part of one update that this process has."""


@dataclass
class BatchSource:
    """Makes the batches of any update from (seed, step, number) alone, so that a resumed run sees the same."""

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
    """Told of clips that fail, in the thread that loads."""
    world: World = ALONE

    @property
    def shares(self) -> list[Share]:
        """What this process has of each part of a batch."""
        return self.world.shares(self.training.batch_size, self.training.accumulate)

    def load(self, step: int, number: int) -> Loaded:
        """The data of update `number` of step `step`, on the CPU: for `batches`, from any thread and ahead of time.

        Raises:
            DataError: no clip is long enough, or too many clips fail.
        """
        spec = window_spec(self.config, self.level, self.training)
        draw = step * (self.training.discriminator_updates + 1) + number
        return [
            windows.batch(
                self.cache, self.index, spec, self.seed, draw, share.count, first=share.first, on_bad=self.on_bad
            )
            for share in self.shares
        ]

    def batches(
        self, step: int, number: int, loaded: Loaded | None = None, *, conditions: bool = True
    ) -> list[LevelBatch]:
        """The parts of update `number` of step `step`; without `conditions` only real videos are made.

        `loaded` is what `load` gave for the same update; it is loaded now when left out.
        """
        loaded = self.load(step, number) if loaded is None else loaded
        made = []
        for share, (crops, labels) in zip(self.shares, loaded, strict=True):
            video, low = real_pair(self.config, self.level, crops.to(self.device))
            labels = None if labels is None or not self.config.conditional else labels.to(self.device)
            fake_low, fake_labels = low, labels
            if self.conditions is not None and conditions:
                fake_low, fake_labels = self.conditions.windows(step, f"{number}", self.device, share)
            made.append(LevelBatch(video, labels, low, fake_low, fake_labels, share))
        return made


def class_weights(index: ClipIndex, training: TrainingConfig, config: ModelConfig) -> Tensor | None:
    """How often each class is seen in training: equally when balanced, else by its number of clips."""
    if not config.conditional:
        return None
    if training.balance_classes:
        present = {clip.label for clip in index.clips}
        return torch.tensor([1.0 if label in present else 0.0 for label in range(config.num_classes)])
    return torch.bincount(torch.tensor([clip.label for clip in index.clips]), minlength=config.num_classes).float()
