"""A loaded model: its levels with their weights and standing statistics, ready to sample from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from hvgcli.checkpoints import level_metadata, load_strict, model_sha, read_level, read_model_config
from hvgcli.config import ModelConfig
from hvgcli.errors import UsageError, WeightsError
from hvgcli.layers.weights import bake_spectral_norm
from hvgcli.models import Generator, build_generator
from hvgcli.models.code_prior import CodePrior
from hvgcli.models.recurrent_generator import RecurrentGenerator
from hvgcli.models.upsampler import Upsampler
from hvgcli.sampling import statistics
from hvgcli.sampling.noise import choices, latents
from hvgcli.sampling.statistics import StandingTable
from hvgcli.sampling.unroll import unroll

Progress = Callable[[int], None]
"""Called with the number of frames (or passes) just finished."""


@dataclass(frozen=True)
class Sample:
    """One video to make. A walk goes from (seed, label) to (to_seed, to_label); `blend` is where on it."""

    seed: int
    label: int | None = None
    to_seed: int | None = None
    to_label: int | None = None
    blend: float = 0.0


@dataclass
class Hierarchy:
    """Levels 1..n of a model, in inference mode."""

    config: ModelConfig
    generators: list[Generator]
    tables: list[list[StandingTable]]
    """Standing statistics known for each level."""
    sha: str = ""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    half: tuple[bool, ...] = ()
    """Which levels compute their convolutions in bfloat16."""

    @property
    def levels(self) -> int:
        return len(self.generators)


def load(folder: Path, *, levels: int | None = None, device: torch.device | None = None) -> Hierarchy:
    """Levels 1..`levels` (all by default) of a model folder, float32. `WeightsError` on any damage."""
    config = read_model_config(folder)
    levels = levels or len(config.levels)
    if not 1 <= levels <= len(config.levels):
        raise UsageError(f"level {levels} is not in this model: it has levels 1..{len(config.levels)}")
    device = device or torch.device("cpu")
    generators, tables = [], []
    for number in range(1, levels + 1):
        generator, known = _read(folder, config, number, device)
        generators.append(generator)
        tables.append(known)
    return Hierarchy(config, generators, tables, model_sha(folder), device)


def _read(
    folder: Path, config: ModelConfig, number: int, device: torch.device
) -> tuple[Generator, list[StandingTable]]:
    """The network of one level, ready to sample from, and its standing statistics."""
    tensors, known = statistics.from_tensors(
        read_level(folder, number, config=config), level_metadata(folder, number).get("statistics")
    )
    with torch.device("meta"):
        generator = build_generator(config, number)
        bake_spectral_norm(generator)
    load_strict(generator, tensors, f"level {number} of {folder}")
    return generator.to(device).eval().requires_grad_(False), known


@dataclass
class Level:
    """One level above the first, alone: to enlarge clips that are already there."""

    config: ModelConfig
    number: int
    """2..L."""
    generator: Upsampler
    tables: list[StandingTable]
    sha: str = ""
    """Of the model that it is from."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def load_level(folder: Path, number: int | None = None, *, device: torch.device | None = None) -> Level:
    """Level `number` (the last by default) of a model folder, float32, without reading the others.

    Errors: `UsageError` for level 1 and for one that is not there, `WeightsError` on any damage.
    """
    config = read_model_config(folder)
    number = len(config.levels) if number is None else number
    if not 2 <= number <= len(config.levels):
        raise UsageError(
            f"level {number} enlarges nothing: levels 2..{len(config.levels)} of this model do"
            if len(config.levels) > 1
            else "this model has one level only, which enlarges nothing: choose another --model"
        )
    device = device or torch.device("cpu")
    generator, tables = _read(folder, config, number, device)
    assert isinstance(generator, Upsampler)
    return Level(config, number, generator, tables, model_sha(folder), device)


def level_latents(hierarchy: Hierarchy, samples: Sequence[Sample], level: int, sigma: float) -> Tensor:
    """z `(B, z_dim)` of one level; a walk keeps the variance of z (a circle, not a chord).

    Where the level has a prior of codes, it walks on the chord from one code to the other.
    """
    if code_prior(hierarchy.generators[level - 1]) is not None:
        return _walked_codes(hierarchy, samples, level, sigma)
    z_dim = hierarchy.config.levels[level - 1].z_dim
    start = latents([sample.seed for sample in samples], level, z_dim)
    if any(sample.to_seed is not None for sample in samples):
        end = latents([s.seed if s.to_seed is None else s.to_seed for s in samples], level, z_dim)
        blend = torch.tensor([s.blend if s.to_seed is not None else 0.0 for s in samples])[:, None]
        start = (start * (1 - blend) + end * blend) / ((1 - blend).square() + blend.square()).sqrt()
    return (sigma * start).to(hierarchy.device)


def _walked_codes(hierarchy: Hierarchy, samples: Sequence[Sample], level: int, sigma: float) -> Tensor:
    """Codes `(B, z_dim)` between that of (seed, label) and that of (to_seed, to_label)."""
    conditional = hierarchy.config.conditional
    labels = torch.tensor([sample.label for sample in samples]) if conditional else None
    start = seed_codes(hierarchy, [sample.seed for sample in samples], level, sigma, labels)
    if all(sample.to_seed is None and sample.to_label is None for sample in samples):
        return start
    ends = torch.tensor([s.label if s.to_label is None else s.to_label for s in samples]) if conditional else None
    seeds = [sample.seed if sample.to_seed is None else sample.to_seed for sample in samples]
    end = seed_codes(hierarchy, seeds, level, sigma, ends)
    return torch.lerp(start, end, torch.tensor([[sample.blend] for sample in samples]).to(start))


def seed_codes(hierarchy: Hierarchy, seeds: Sequence[int], level: int, sigma: float, labels: Tensor | None) -> Tensor:
    """What the generator of a level takes for these seeds `(B, z_dim)`: sigma z, or the code of it.

    labels: classes `(B,)`, which a prior of codes asks for.
    """
    z = (sigma * latents(seeds, level, hierarchy.config.levels[level - 1].z_dim)).to(hierarchy.device)
    prior = code_prior(hierarchy.generators[level - 1])
    if prior is None:
        return z
    codes: Tensor = prior(z, choices(seeds), None if labels is None else labels.to(hierarchy.device))
    return codes


def code_prior(generator: Generator) -> CodePrior | None:
    """The prior of codes that a generator has; None where z is N(0, I)."""
    return generator.prior if isinstance(generator, RecurrentGenerator) else None


def sample_labels(hierarchy: Hierarchy, samples: Sequence[Sample]) -> Tensor | None:
    """Classes `(B,)`, or weights of a mixture of classes `(B, num_classes)` when a walk changes the class."""
    if not hierarchy.config.conditional:
        if any(sample.label is not None for sample in samples):
            raise UsageError("this model has no classes: leave out --class")
        return None
    if any(sample.label is None for sample in samples):
        raise UsageError("this model needs a class: give --class NAME, INDEX or random")
    labels = torch.tensor([sample.label for sample in samples])
    if all(sample.to_label is None for sample in samples):
        return labels.to(hierarchy.device)
    ends = torch.tensor([s.label if s.to_label is None else s.to_label for s in samples])
    blend = torch.tensor([s.blend for s in samples])[:, None]
    one_hot = torch.eye(hierarchy.config.num_classes)
    return ((1 - blend) * one_hot[labels] + blend * one_hot[ends]).to(hierarchy.device)


def missing_statistics(hierarchy: Hierarchy, frames: int, sigma: float, levels: int | None = None) -> list[int]:
    """Levels without standing statistics for a video of `frames` frames at level `levels` (all by default)."""
    levels = levels or hierarchy.levels
    totals = level_frames(hierarchy, frames, levels)
    return [
        number
        for number in range(1, levels + 1)
        if statistics.choose(hierarchy.tables[number - 1], sigma, totals[number - 1]) is None
    ]


def level_frames(hierarchy: Hierarchy, frames: int, levels: int) -> list[int]:
    """Frames of each level 1..levels for a video of `frames` frames at level `levels`."""
    factor = hierarchy.config.frame_factor
    outline = -(-frames // factor(levels))
    return [outline * factor(number) for number in range(1, levels + 1)]


def prepare(hierarchy: Hierarchy, frames: int, sigma: float, levels: int) -> None:
    """Install the standing statistics of levels 1..levels.

    Errors: `WeightsError` when some are missing, `ConfigError` where the model does not make this length.
    """
    hierarchy.config.require_length(frames)
    for number, total in enumerate(level_frames(hierarchy, frames, levels), start=1):
        table = statistics.choose(hierarchy.tables[number - 1], sigma, total)
        if table is None:
            raise WeightsError(
                f"no standing statistics for {total} frames of level {number} at sigma {sigma}: "
                f"run `hvg stats MODEL --frames {frames} --sigma {sigma}`"
            )
        statistics.install(hierarchy.generators[number - 1], table)


@torch.inference_mode()
def generate(
    hierarchy: Hierarchy,
    samples: Sequence[Sample],
    frames: int,
    *,
    sigma: float,
    levels: int | None = None,
    piece: int = 12,
) -> Iterator[Tensor]:
    """Videos of a batch of samples, in pieces `(B, n, 3, D, D)` in [-1, 1] that together have `frames` frames.

    levels: stop after this level (all by default). piece: outline frames at a time; it changes memory, not the result.
    """
    levels = levels or hierarchy.levels
    if frames < 1:
        raise UsageError(f"got {frames} frames, expected at least 1")
    prepare(hierarchy, frames, sigma, levels)
    labels = sample_labels(hierarchy, samples)
    zs = [level_latents(hierarchy, samples, number, sigma) for number in range(1, levels + 1)]
    yield from unroll(hierarchy.generators[:levels], zs, labels, frames, piece, hierarchy.half[:levels])
