"""Hierarchies that are small enough to run in a test, with standing tables made up or measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from hvgcli.config import DiscriminatorConfig, LevelConfig, ModelConfig, OneStageConfig
from hvgcli.layers.table import RowLayout
from hvgcli.models import Generator, build_generator
from hvgcli.models.upsampler import Upsampler
from hvgcli.sampling.hierarchy import Hierarchy
from hvgcli.sampling.statistics import StandingTable, install, norms


def small_config(
    times: Sequence[int] = (2,),
    *,
    sizes: Sequence[int] = (8, 16, 32),
    num_classes: int = 3,
    frames: int = 4,
    spectral: bool = False,
    unit: str = "separable",
    match: bool = True,
) -> ModelConfig:
    """Levels of `sizes` pixels; `times`: what each level above the first multiplies the frames by.

    `unit` and `match` (a matching discriminator) are of the levels above the first.
    """
    widths = DiscriminatorConfig(4, (1, 2))
    stride = 1
    for factor in times:
        stride *= factor
    levels = []
    for number, size in enumerate(sizes[: len(times) + 1]):
        stride //= times[number - 1] if number else 1
        multipliers = (2, 1, 1, 1)[: max(2, size.bit_length() - 3)]
        matching = widths if number and match else None
        level = LevelConfig(frames, size, stride, 4, multipliers, widths, widths, matching, 5, 3, spectral)
        levels.append(replace(level, unit=unit) if number else level)
    return ModelConfig("small", tuple(levels), num_classes)


def small_one_stage(name: str = "small-dvd-gan", *, num_classes: int = 3, **changes: Any) -> ModelConfig:
    """DVD-GAN of 4 frames of 16 pixels in two stages; `changes` are of its level."""
    level = OneStageConfig(
        4,
        resolution=16,
        stride=1,
        channels=4,
        multipliers=(2, 2, 1),
        discriminator=DiscriminatorConfig(4, (1, 2)),
        z_dim=5,
        embed_dim=3,
    )
    return ModelConfig(name, (replace(level, **changes),), num_classes)


def small_predictor(unit: str = "TSRU_p", *, context: int = 3, frames: int = 4, **changes: Any) -> ModelConfig:
    """A predictor of 16 pixels in two stages, from `context` frames to `frames` more; `changes` are of its level."""
    values = {"decomposition": "stronger", "projection": "mixed", "unit": unit, "context": context, "frames": frames}
    return small_one_stage("small-predictor", num_classes=0, **(values | changes))


def randomise_biases(network: nn.Module, seed: int = 0) -> None:
    """Biases and final gains that are not their start values, so that a misplaced one shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))


def made_up_table(generator: Generator, layout: RowLayout, seed: int = 0) -> StandingTable:
    """Random means and variances, a different one for each row."""
    rng = torch.Generator().manual_seed(seed)
    moments = {
        name: (
            0.3 * torch.randn(layout.size, norm.channels, generator=rng),
            0.5 + torch.rand(layout.size, norm.channels, generator=rng),
        )
        for name, norm in norms(generator)
    }
    return StandingTable(1.0, 0, layout, moments)


def small_hierarchy(config: ModelConfig, *, tables: bool = True, seed: int = 0) -> Hierarchy:
    """Fresh networks; with `tables`, made-up standing statistics for any length are installed."""
    torch.manual_seed(seed)
    generators, known = [], []
    for number in range(1, len(config.levels) + 1):
        generator = build_generator(config, number)
        randomise_biases(generator, seed + number)
        tail = generator.reach if isinstance(generator, Upsampler) else 0
        table = made_up_table(generator, RowLayout(3, config.frame_factor(number), tail), seed + number)
        if tables:
            install(generator, table)
        generators.append(generator.eval().requires_grad_(False))
        known.append([table] if tables else [])
    return Hierarchy(config, generators, known)
