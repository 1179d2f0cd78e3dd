"""Precision, recall, density and coverage: how two sets of features overlap, by nearest neighbours.

Each set is seen as the union of balls around its points, each ball reaching to its point's k-th nearest
neighbour in the same set (Kynkaanniemi et al. 2019, improved precision and recall; Naeem et al. 2020, density
and coverage).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from hvgcli.errors import DataError
from hvgcli.metrics.frechet import check_pair

NEIGHBOURS = 5  # as Naeem et al. 2020 chose
CHUNK = 512  # rows of a distance matrix held at once

# Two float64 computations of one distance may differ in their last bits; these make them compare as equal.
_TIE = 1 + 1e-9
_ROUNDING = 1e-12


def prdc(real: Tensor, fake: Tensor, k: int = NEIGHBOURS, chunk: int = CHUNK) -> dict[str, float]:
    """Precision, recall, density and coverage of generated features against real ones.

    precision: share of the fake points within some ball of the real ones (2019)
    recall   : share of the real points within some ball of the fake ones (2019)
    density  : number of real balls around a fake point, over k, averaged; it may be above 1 (2020)
    coverage : share of the real balls that hold a fake point (2020)

    For two sets of one distribution density is 1 on average, and coverage near 1 - 2^-k for large equal sets.

    Balls hold their surface, as in the equations, and points that coincide are neighbours of each other.
    Distances are Euclidean, in float64, `chunk` rows at a time: memory is O(chunk * N), time O(N^2 d).

    Args:
        real: (N, d) features, N > k.
        fake: (M, d) features of the same network, M > k.

    Raises:
        DataError: k that is not below the number of points, other shapes, or features that are not finite.
    """
    _check(real, fake, k)
    centre = real.double().mean(0)  # smaller norms, so less is lost in |x|^2 + |y|^2 - 2 x.y
    real, fake = real.double() - centre, fake.double() - centre
    real_radii, fake_radii = _radii(real, k, chunk), _radii(fake, k, chunk)

    precise = balls = 0
    recalled, covered = torch.zeros(2, len(real), dtype=torch.bool)
    for rows, distances in _squared_distances(fake, real, chunk):  # (c, N)
        inside = distances <= real_radii * _TIE
        precise += int(inside.any(1).sum())
        balls += int(inside.sum())
        covered |= inside.any(0)
        recalled |= (distances <= fake_radii[rows, None] * _TIE).any(0)
    return {
        "precision": precise / len(fake),
        "recall": recalled.double().mean().item(),
        "density": balls / (k * len(fake)),
        "coverage": covered.double().mean().item(),
    }


def _radii(points: Tensor, k: int, chunk: int) -> Tensor:
    """(N,): squared distance of each point (N, d) to its k-th nearest neighbour, itself not counted."""
    radii = points.new_empty(len(points))
    for rows, distances in _squared_distances(points, points, chunk):
        within = torch.arange(len(distances))
        distances[within, rows.start + within] = torch.inf
        radii[rows] = distances.kthvalue(k, dim=1).values
    return radii


def _squared_distances(x: Tensor, y: Tensor, chunk: int) -> Iterator[tuple[slice, Tensor]]:
    """(rows, distances (c, M)) for `chunk` rows of x (N, d) at a time, to all of y (M, d).

    By one matrix product; what is left of two equal points is rounding of the norms, and becomes 0.
    """
    norms_x, norms_y = x.square().sum(1), y.square().sum(1)
    for start in range(0, len(x), chunk):
        rows = slice(start, min(start + chunk, len(x)))
        norms = norms_x[rows, None] + norms_y
        distances = norms - 2 * (x[rows] @ y.T)
        yield rows, distances.masked_fill_(distances < _ROUNDING * norms, 0)


def _check(real: Tensor, fake: Tensor, k: int) -> None:
    check_pair(real, fake)
    fewest = min(len(real), len(fake))
    if not 1 <= k < fewest:
        raise DataError(
            f"precision and recall by {k} neighbours need more than {max(k, 1)} videos in each set, and the smaller "
            f"has {fewest}: take more videos or fewer neighbours"
        )
