"""One training step of a one-stage model with changed parts, for the benchmarks that compare such parts."""

from __future__ import annotations

import resource
import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hvgcli.presets import find_preset
from hvgcli.training.distributed import Share
from hvgcli.training.level import LevelBatch, LevelTraining, discriminator_update, generator_update


def training(preset: str, batch: int, precision: str = "bf16", **parts: Any) -> LevelTraining:
    """Networks and optimizers of a one-stage preset, adversarial alone, with `parts` of its config replaced."""
    torch.manual_seed(0)
    model = find_preset(preset).model
    model = replace(model, levels=(replace(model.levels[0], **parts),))
    settings = replace(
        find_preset(preset).training[0], batch_size=batch, reconstruction=None, precision=precision, ema=0.0
    )
    return LevelTraining(model, 1, settings, torch.device("cpu"))


def noise_batch(level: LevelTraining) -> LevelBatch:
    """A batch of the right shapes; what is in it changes no time."""
    spec, count = level.config.levels[0], level.training_config.batch_size
    video = noise(count, spec.frames, spec.resolution)
    low = noise(count, level.config.context, spec.resolution) if level.config.predictor else None
    labels = torch.zeros(count, dtype=torch.long) if level.config.conditional else None
    return LevelBatch(video, labels, low, low, labels, Share.whole(count))


def noise(count: int, frames: int, size: int) -> Tensor:
    """Videos `(count, frames, 3, size, size)` in the house's memory order."""
    return (2 * torch.rand(count, frames, size, size, 3) - 1).permute(0, 1, 4, 2, 3)


def step(level: LevelTraining, batch: LevelBatch, number: int) -> float:
    """Processor seconds of two updates of the discriminators and one of the generator (TrIVD-GAN appendix E.3)."""
    start = time.process_time()
    for update in range(2):
        discriminator_update(level, [batch], number, update)
    generator_update(level, [batch], number)
    return time.process_time() - start


def peak_bytes() -> int:
    """The most memory that this process has had."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
