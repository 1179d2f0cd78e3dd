"""Kernel distance between two sets of feature vectors: the unbiased squared maximum mean discrepancy."""

from __future__ import annotations

import torch
from torch import Tensor

from hvgcli.errors import DataError
from hvgcli.metrics.estimate import Estimate, spread
from hvgcli.metrics.frechet import check_pair


def polynomial_kernel(x: Tensor, y: Tensor, degree: int = 3) -> Tensor:
    """k(x, y) = (x . y / d + 1)^degree for all pairs: (N, d) and (M, d) to (N, M)."""
    return (x @ y.T / x.shape[1] + 1) ** degree


def squared_discrepancy(real: Tensor, fake: Tensor, degree: int = 3) -> float:
    """Unbiased MMD^2 of two sets of vectors, below 0 about half of the time when they have one distribution.

    Mean kernel over pairs of two different real vectors, plus that over pairs of two different generated ones, minus
    twice that over pairs of one of each (Gretton et al. 2012, equation 3).

    Args:
        real, fake: (N, d) and (M, d) floating, N, M >= 2; computed in float64.
    """
    x, y = real.to("cpu", torch.float64), fake.to("cpu", torch.float64)
    between = polynomial_kernel(x, y, degree).mean()
    return float(_mean_of_different(x, degree) + _mean_of_different(y, degree) - 2 * between)


def _mean_of_different(x: Tensor, degree: int) -> Tensor:
    kernel = polynomial_kernel(x, x, degree)
    return (kernel.sum() - kernel.trace()) / (len(x) * (len(x) - 1))


def kernel_distance(
    real: Tensor,
    fake: Tensor,
    *,
    subset: int = 1000,
    subsets: int = 50,
    degree: int = 3,
    generator: torch.Generator,
) -> Estimate:
    """Mean of the unbiased MMD^2 over random subsets of both sets (KID, Binkowski et al. 2018; on videos, KVD).

    It has no bias at any number of vectors, unlike the Frechet distance, and so needs no extrapolation.

    Args:
        real, fake: (N1, d) and (N2, d) of any floating type, at least 4 vectors each.
        subset: vectors of each set in one subset, drawn without replacement; half of the smaller set where that is
            less, because subsets that are the whole set would not differ.
        subsets: how many subsets, at least 1. Cost: 6 * subset^2 * d operations each.
        degree: of the polynomial kernel (x . y / d + 1)^degree.
        generator: of the CPU, for the subsets.

    Returns:
        The mean; `low` and `high` are one standard deviation of the subsets below and above it.

    Raises:
        DataError: as `frechet_of_features`, or fewer than 4 vectors in a set.
    """
    check_pair(real, fake)
    least = min(len(real), len(fake))
    if least < 4:
        raise DataError(f"a kernel distance: got a set of {least} vectors, expected at least 4: give more videos")
    size = max(2, min(subset, least // 2))
    values = []
    for _ in range(subsets):
        x, y = (_drawn(features, size, generator) for features in (real, fake))
        values.append(squared_discrepancy(x, y, degree))
    return spread(values)


def _drawn(features: Tensor, size: int, generator: torch.Generator) -> Tensor:
    return features[torch.randperm(len(features), generator=generator)[:size]]
