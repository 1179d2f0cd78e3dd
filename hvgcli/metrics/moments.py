"""Mean and covariance of feature vectors as a stream: float64, in blocks, mergeable across processes.

Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979): two parts
with counts n1, n2, means m1, m2 and scatter matrices S1, S2 (sums of products about the own mean) make the whole

    m = m1 + (m2 - m1) n2 / n,    S = S1 + S2 + (m2 - m1)(m2 - m1)^T n1 n2 / n,    n = n1 + n2,

without the cancellation of "sum of squares minus square of the sum". Memory is d x d, whatever the number of vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hvgcli.errors import DataError

BLOCK = 2048
"""Vectors that are promoted to float64 at a time: 32 MiB at d = 2048."""


def vectors(features: Tensor, name: str = "the features") -> Tensor:
    """`features` itself, once it is known to be a set of vectors that a distance can be computed of.

    Args:
        features: (N, d) of any floating type.
        name: what the message calls them.

    Raises:
        DataError: it is not (N, d), N < 2, or a number in it is NaN or infinite.
    """
    if features.ndim != 2 or features.shape[1] == 0:
        raise DataError(f"{name}: got shape {tuple(features.shape)}, expected (N, d): give one vector a video")
    if len(features) < 2:
        raise DataError(f"{name}: got {_vectors(len(features))}, expected at least 2: give more videos")
    return _finite(features, name)


def _vectors(count: int) -> str:
    return f"{count} vector{'' if count == 1 else 's'}"


def _finite(features: Tensor, name: str) -> Tensor:
    bad = sum([int((~block.isfinite()).any(dim=1).sum()) for block in torch.split(features, BLOCK)])
    if bad:
        raise DataError(
            f"{name}: got NaN or infinity in {bad} of {_vectors(len(features))}, expected finite numbers: "
            "check the feature network and the range of the frames it was given"
        )
    return features


@dataclass
class Moments:
    """How many vectors of dimension d were seen, their mean, and their scatter matrix.

    `Moments.empty(d)` or `Moments.of(features)` makes one; `update` adds vectors in place, `merge` joins two.
    """

    count: int
    mean: Tensor
    """(d,) float64."""
    scatter: Tensor
    """(d, d) float64: the sum of (x - mean)(x - mean)^T over all vectors, not divided by anything."""

    @classmethod
    def empty(cls, dimension: int) -> Moments:
        """Moments of no vectors, on the CPU."""
        float64 = torch.float64
        return cls(0, torch.zeros(dimension, dtype=float64), torch.zeros(dimension, dimension, dtype=float64))

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """Moments of (N, d) features."""
        moments = cls.empty(features.shape[-1])
        moments.update(features)
        return moments

    @property
    def dimension(self) -> int:
        return len(self.mean)

    def update(self, features: Tensor) -> None:
        """Add vectors.

        Args:
            features: (n, d) of any floating type and device, n >= 0; promoted to float64 block by block.

        Raises:
            DataError: they are of another dimension than those before, or not finite.
        """
        if features.ndim != 2 or features.shape[1] != self.dimension:
            got = tuple(features.shape)
            raise DataError(f"features: got shape {got}, expected (n, {self.dimension}): use one feature network")
        for block in torch.split(_finite(features, "features"), BLOCK):
            self._add(block.to("cpu", torch.float64))

    def _add(self, block: Tensor) -> None:
        n, total = len(block), self.count + len(block)
        if n == 0:
            return
        centre = block.mean(dim=0)
        centred, delta = block - centre, centre - self.mean
        self.scatter.addmm_(centred.T, centred)
        self.scatter.addr_(delta, delta, alpha=self.count * n / total)
        self.mean.add_(delta, alpha=n / total)
        self.count = total

    def merge(self, other: Moments) -> Moments:
        """Moments of both sets together, as new tensors.

        Raises:
            DataError: the dimensions differ.
        """
        same_dimension(self.dimension, other.dimension)
        total = max(self.count + other.count, 1)
        delta = other.mean - self.mean
        scatter = (self.scatter + other.scatter).addr_(delta, delta, alpha=self.count * other.count / total)
        return Moments(self.count + other.count, self.mean + delta * (other.count / total), scatter)

    def covariance(self, ddof: int = 1) -> Tensor:
        """(d, d) float64 covariance: the scatter divided by count - ddof.

        Args:
            ddof: 1 for the unbiased estimate (numpy.cov), 0 for that of maximum likelihood.

        Raises:
            DataError: fewer than 2 vectors were seen.
        """
        if self.count < 2:
            raise DataError(f"a covariance: got {_vectors(self.count)}, expected at least 2: give more videos")
        return self.scatter / (self.count - ddof)

    def select(self, features: Tensor) -> Moments:
        """Moments of the same vectors cut down to some features: `features` (k,) int64 are their numbers."""
        return Moments(self.count, self.mean[features], self.scatter[features][:, features])

    def packed(self) -> Tensor:
        """(1 + d + d*d,) float64: count, mean, scatter in one tensor, to send to another process or to a file."""
        count = torch.tensor([self.count], dtype=torch.float64)  # exact up to 2^53
        return torch.cat([count, self.mean, self.scatter.flatten()])

    @classmethod
    def unpacked(cls, packed: Tensor, dimension: int) -> Moments:
        """What `packed` made of moments of this dimension, as tensors of its own."""
        count, mean, scatter = torch.split(packed, [1, dimension, dimension**2])
        return cls(int(count), mean.clone(), scatter.reshape(dimension, dimension).clone())


def same_dimension(real: int, fake: int) -> None:
    """Raise `DataError` where two sets have features of different dimensions."""
    if real != fake:
        raise DataError(
            f"two sets of features: got {real} and {fake} dimensions, expected equal ones: "
            "compute both with one feature network"
        )
