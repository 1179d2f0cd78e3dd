"""Are samples copies? How far each is from its nearest training window, beside held-out windows of the same scenes.

A distance is the root mean square of the differences of all numbers of two vectors: in the units of one of them,
whatever their count.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hvgcli.errors import DataError
from hvgcli.metrics.moments import same_dimension

ROWS = 64  # queries at a time
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Nearest:
    """The nearest vector of a pool to each of some vectors."""

    distances: Tensor
    """(N,) float64."""
    places: Tensor
    """int64 (N,), in the pool; the first of equals."""

    def quantiles(self) -> list[float]:
        """Of the distances, at `QUANTILES`."""
        found: list[float] = self.distances.quantile(torch.tensor(QUANTILES, dtype=torch.float64)).tolist()
        return found


def nearest(vectors: Tensor, pool: Tensor) -> Nearest:
    """The nearest of (M, d) `pool` to each of (N, d) `vectors`, both of any type.

    Distances are found from |a|^2 + |b|^2 - 2 a b in float64, and that of the nearest again from the differences:
    a copy has the distance 0.

    Raises:
        DataError: an empty set, or different dimensions.
    """
    if not len(vectors) or not len(pool):
        raise DataError(f"the nearest of {len(pool)} vectors to {len(vectors)}: give at least one of each")
    same_dimension(pool.shape[1], vectors.shape[1])
    pool = pool.double()
    squares = pool.square().sum(1)
    parts = [_of_part(part.double(), pool, squares) for part in vectors.split(ROWS)]
    return Nearest(torch.cat([part.distances for part in parts]), torch.cat([part.places for part in parts]))


def _of_part(x: Tensor, pool: Tensor, squares: Tensor) -> Nearest:
    places = (squares - 2 * x @ pool.T).argmin(1)  # |x|^2 is the same for all of the pool
    return Nearest((x - pool[places]).square().mean(1).sqrt(), places)


def share_nearer(found: Nearest, held_out: Nearest, quantile: float = 0.05) -> float:
    """Share of samples that are nearer to training windows than that quantile of the held-out windows is.

    Held-out windows of the same takes are as near as new videos of these scenes can be expected to come: about
    `quantile` of samples that are no copies and as good as real ones lie below, many more where there are copies.
    """
    return float((found.distances < held_out.distances.quantile(quantile)).double().mean())
