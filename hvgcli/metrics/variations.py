"""What variations of one clip or image are worth: how real, how different, how much a copy (hp-VAE-GAN section 4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
from hvgcli.sampling.single import Single, generate, own_statistics

NUM = 50
"""Variations that the paper measures of each clip."""


@dataclass(frozen=True)
class VariationScores:
    """Measures of the variations of one clip."""

    distance: Estimate | None
    """Mean SVFID (of an image: SIFID) to the real clip, and 1.96 standard errors on each side; None without `Places`.
    Lower is better."""
    diversity: float
    """`lab_diversity`: 0 for copies of one video. Higher is more diverse."""
    difference: Estimate
    """Root mean square difference to the real clip (of several parts: to the nearest), in 1/255, and 1.96 standard
    errors: 0 for copies of the clip itself."""
    count: int


def measure_variations(samples: Iterable[Tensor], real: Tensor, places: Places | None) -> VariationScores:
    """Scores of variations, each read once.

    Args:
        samples: at least two, uint8 (T, H, W, 3) each.
        real: uint8 (P, T, H, W, 3), the parts that were learned: their places are one set.
        places: for clips of that shape (`places_of`); None for no distance.

    Raises:
        DataError: fewer than two samples, other shapes, or as those of `Places`.
    """
    known = torch.cat([places(part) for part in real]) if places else real.new_zeros(0)
    distances: list[float] = []
    differences: list[float] = []

    def measured() -> Iterator[Tensor]:
        for sample in samples:
            differences.append(nearest_difference(sample, real))
            if places:
                distances.append(svfid(known, places(sample)))
            yield sample

    diversity = lab_diversity(measured(), real)
    return VariationScores(
        _mean(distances) if distances else None, diversity, _mean(differences), count=len(differences)
    )


def nearest_difference(sample: Tensor, real: Tensor) -> float:
    """Root mean square difference, in 1/255, of uint8 (T, H, W, 3) to the nearest of the parts (P, T, H, W, 3)."""
    if sample.shape != real.shape[1:]:
        raise DataError(f"a variation has the shape {tuple(sample.shape)}, the clip {tuple(real.shape[1:])}")
    return min(root_mean_square(sample, part) for part in real)


def root_mean_square(x: Tensor, y: Tensor) -> float:
    """Of the difference of two uint8 tensors of one shape, in 1/255."""
    return float((x.float() - y.float()).square().mean().sqrt())


def _mean(values: Sequence[float]) -> Estimate:
    """The mean, and 1.96 standard errors on each side."""
    value, error = fmean(values), SIGMAS * stdev(values) / len(values) ** 0.5
    return Estimate(value, value - error, value + error)


# ---- the model's videos ----------------------------------------------------------------------------


def learned_frames(single: Single, clip: SingleClip) -> Tensor:
    """The clip as the model's finest scale learned it: uint8 (P, T, H, W, 3).

    clip: read at the size that the model was fitted to. Of a training that was stopped, it is a coarser scale.
    """
    volumes = scale_pyramid(clip, single.config)[single.config.built - 1]
    return torch.from_numpy(to_pixels(volumes.transpose(1, 2)))


def variations(single: Single, seeds: Sequence[int], *, sigma: float = 1.0, batch: int = 1) -> Iterator[Tensor]:
    """The model's videos of these seeds, uint8 (T, H, W, 3) each; `batch` of them are computed at a time."""
    for start in range(0, len(seeds), batch):
        yield from torch.from_numpy(to_pixels(generate(single, seeds[start : start + batch], sigma=sigma)))


@torch.no_grad()
def reconstructions(single: Single, clip: SingleClip) -> Tensor | None:
    """What the model makes of the clip itself by way of its encoder (equation 6), as `learned_frames`.

    z is its mean. None for a model without an encoder.
    """
    network, config = single.network, single.config
    if network.encoder is None:
        return None
    made = []
    with own_statistics(network):
        for coarse in scale_pyramid(clip, config)[0].to(single.device):
            mean, _ = network.encoder(coarse[None])
            made.append(network.grow(network.first(mean), range(1, config.built), config.sizes))
    return torch.from_numpy(to_pixels(torch.cat(made).transpose(1, 2)))
