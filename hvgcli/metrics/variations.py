"""What variations of one clip or image are worth: how real, how different, how much a copy (hp-VAE-GAN section 4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import fmean, stdev

import torch
from torch import Tensor

from hvgcli.data.single import SingleClip, scale_pyramid
from hvgcli.errors import DataError
from hvgcli.metrics.diversity import lab_diversity
from hvgcli.metrics.estimate import Estimate
from hvgcli.metrics.frechet import SIGMAS
from hvgcli.metrics.places import Places
from hvgcli.metrics.single import svfid
from hvgcli.sampling.render import to_pixels
from hvgcli.sampling.single import Single, generate

NUM = 50
"""Variations that the paper measures of each clip."""


@dataclass(frozen=True)
class VariationScores:
    """Measures of the variations of one clip."""

    distance: Estimate
    """Mean SVFID (of an image: SIFID) to the real clip, and 1.96 standard errors on each side. Lower is better."""
    diversity: float
    """`lab_diversity`: 0 for copies of one video. Higher is more diverse."""
    difference: Estimate
    """Root mean square difference to the real clip (of several parts: to the nearest), in 1/255, and 1.96 standard
    errors: 0 for copies of the clip itself."""
    count: int


def learned_frames(single: Single, clip: SingleClip) -> Tensor:
    """The clip as the model's finest scale learned it: uint8 (P, T, H, W, 3).

    clip: read at the size that the model was fitted to. Of a training that was stopped, it is a coarser scale.
    """
    volumes = scale_pyramid(clip, single.config)[single.config.built - 1]
    return torch.from_numpy(to_pixels(volumes.transpose(1, 2)))


def variations(single: Single, seeds: Iterable[int], *, sigma: float = 1.0) -> Iterator[Tensor]:
    """The model's videos of these seeds, uint8 (T, H, W, 3) each, one at a time."""
    for seed in seeds:
        yield torch.from_numpy(to_pixels(generate(single, [seed], sigma=sigma))[0])


def measure_variations(samples: Iterable[Tensor], real: Tensor, places: Places) -> VariationScores:
    """Scores of variations, each read once.

    Args:
        samples: at least two, uint8 (T, H, W, 3) each.
        real: uint8 (P, T, H, W, 3), the parts that were learned: their places are one set.
        places: for clips of that shape (`places_of`).

    Raises:
        DataError: fewer than two samples, other shapes, or as those of `Places`.
    """
    known = torch.cat([places(part) for part in real])
    distances: list[float] = []
    differences: list[float] = []

    def measured() -> Iterator[Tensor]:
        for sample in samples:
            distances.append(svfid(known, places(sample)))
            differences.append(nearest_difference(sample, real))
            yield sample

    diversity = lab_diversity(measured(), real)
    return VariationScores(_mean(distances), diversity, _mean(differences), len(distances))


def nearest_difference(sample: Tensor, real: Tensor) -> float:
    """Root mean square difference, in 1/255, of uint8 (T, H, W, 3) to the nearest of the parts (P, T, H, W, 3)."""
    if sample.shape != real.shape[1:]:
        raise DataError(f"a variation has the shape {tuple(sample.shape)}, the clip {tuple(real.shape[1:])}")
    return min(float((sample.float() - part.float()).square().mean().sqrt()) for part in real)


def _mean(values: list[float]) -> Estimate:
    """The mean, and 1.96 standard errors on each side."""
    value, error = fmean(values), SIGMAS * stdev(values) / len(values) ** 0.5
    return Estimate(value, value - error, value + error)
