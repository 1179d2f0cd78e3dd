"""Frechet distance between two sets of feature vectors, by symmetric eigenvalues, and its variants for small sets.

Each set is described by a Gaussian; the distance is the squared 2-Wasserstein distance of the two (Dowson & Landau
1982; as FID, Heusel et al. 2017, equation 6; as FVD, Unterthiner et al. 2018):

    D = |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1^1/2 S2 S1^1/2)^1/2).

No matrix square root is ever formed: the last trace is the sum of the roots of the eigenvalues of a symmetric matrix,
or, for sets of at most as many vectors as dimensions, a sum of singular values. Everything is float64 on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, linear_regression, stdev

import torch
from torch import Tensor

from hvgcli.errors import DataError
from hvgcli.metrics.estimate import Estimate, spread
from hvgcli.metrics.moments import Moments, same_dimension, vectors

EPS = torch.finfo(torch.float64).eps
SIGMAS = 1.96
"""Standard errors on each side of a value: 95 % of a normal distribution."""


def frechet_distance(real: Moments, fake: Moments, ddof: int = 1) -> float:
    """Squared Frechet distance of the Gaussians with these means and covariances.

    With S1 = A^T A, A = Lambda^1/2 V^T from the eigenvectors of S1, the matrix A S2 A^T has the eigenvalues of
    S1^1/2 S2 S1^1/2. A has a row for each eigenvalue of S1 that is above its rounding, so directions in which the
    first set does not vary at all (dead features) add nothing, instead of roots of rounding errors. Where only the
    second set has such directions, those roots remain: about 1e-8 of the traces.

    Cost: about 11 d^3 operations, of which most find the eigenvectors.

    Args:
        real, fake: moments of d-dimensional features, of at least 2 vectors each.
        ddof: what is taken from the count in the covariance's denominator, 1 or 0.

    Raises:
        DataError: different dimensions, fewer than 2 vectors, or numbers that are no moments.
    """
    same_dimension(real.dimension, fake.dimension)
    first, second = real.covariance(ddof), fake.covariance(ddof)
    values, axes = torch.linalg.eigh(first)
    _check_positive(values, values.abs().max())
    kept = values > real.dimension * EPS * values.max()
    root = axes[:, kept] * values[kept].sqrt()  # (d, r): A^T
    product = torch.linalg.eigvalsh(root.T @ second @ root)
    _check_positive(product, first.trace() * second.trace())
    return _distance(real.mean, fake.mean, first.trace() + second.trace(), product.clamp(min=0).sqrt().sum())


def _check_positive(values: Tensor, scale: Tensor) -> None:
    """Negative eigenvalues are clipped where rounding explains them; others mean damaged moments."""
    if (values < -max(len(values), 1) * EPS * scale).any():
        raise DataError(
            f"a covariance: got the eigenvalue {values.min():.3g}, expected none below 0: compute the moments again"
        )


def _distance(real_mean: Tensor, fake_mean: Tensor, traces: Tensor, overlap: Tensor) -> float:
    """The four terms together; a sum below 0 is rounding."""
    return max(0.0, float((real_mean - fake_mean).square().sum() + traces - 2 * overlap))


def frechet_of_features(real: Tensor, fake: Tensor, ddof: int = 1) -> float:
    """Squared Frechet distance of two sets of vectors, in the cheaper and more exact of two forms.

    With N <= d vectors the covariances are singular, and roots of their zero eigenvalues would be roots of rounding
    errors. Let A (N1, d) and B (N2, d) hold the centred vectors divided by sqrt(N - ddof), so that S1 = A^T A and
    S2 = B^T B. The eigenvalues of S1^1/2 S2 S1^1/2 are those of S1 S2 = A^T (A B^T B), hence, but for zeros, those
    of (A B^T)(A B^T)^T; the trace of its root is the sum of the singular values of the N1 x N2 matrix A B^T, its
    nuclear norm. This form is taken when both sets have at most d vectors, and `frechet_distance` otherwise.

    Args:
        real, fake: (N1, d) and (N2, d) of any floating type.
        ddof: as in `frechet_distance`.

    Raises:
        DataError: different dimensions, fewer than 2 vectors, NaN or infinity.
    """
    check_pair(real, fake)
    if max(len(real), len(fake)) > real.shape[1]:
        return frechet_distance(Moments.of(real), Moments.of(fake), ddof)
    first, second = _centred(real, ddof), _centred(fake, ddof)
    traces = first.square().sum() + second.square().sum()
    overlap = torch.linalg.svdvals(first @ second.T).sum()
    return _distance(real.double().mean(dim=0), fake.double().mean(dim=0), traces, overlap)


def _centred(features: Tensor, ddof: int) -> Tensor:
    x = features.to("cpu", torch.float64)
    centred: Tensor = x - x.mean(dim=0)
    return centred / math.sqrt(len(x) - ddof)


def check_pair(real: Tensor, fake: Tensor) -> None:
    """Raise `DataError` unless both are sets of at least 2 finite vectors of one dimension."""
    vectors(real, "the real features")
    vectors(fake, "the generated features")
    same_dimension(real.shape[1], fake.shape[1])


# ---- extrapolation to infinitely many vectors -----------------------------------------------------


def extrapolation_parts(real: int, fake: int, dimension: int, points: int = 3) -> tuple[int, ...]:
    """Into how many parts `frechet_infinity` cuts both sets: 1, 2, 4, ... for at most `points` sizes.

    The distance is close to a line over 1/N only while N > d. Sizes at which a part has at most d takes are left
    out, as long as two sizes remain. With at most d takes in all the result is rough, and too high.

    Args:
        real, fake: how many takes the sets have (vectors, where each is a take of its own).
        dimension: d.
        points: how many sizes, at least 2.
    """
    return tuple(2**k for k in range(max(points, 2)) if k < 2 or min(real, fake) // 2**k > dimension)


def frechet_infinity(
    real: Tensor,
    fake: Tensor,
    *,
    real_takes: Tensor | None = None,
    fake_takes: Tensor | None = None,
    points: int = 3,
    trials: int = 30,
    generator: torch.Generator,
) -> Estimate:
    """The Frechet distance that infinitely many takes would have, by a line over 1/N (Chong & Forsyth 2020).

    The takes (source files) of both sets are shuffled, and each set is cut into p equal parts, p = 1, 2, 4, ...; D(p)
    is the mean distance of a part of one set to a part of the other. The bias of the distance is a/N1 + b/N2 at first
    order, so D is a line in p, and its value at p = 0, by least squares, is the estimate. It can be below 0 when the
    truth is near 0. Windows of one take stay in one part, because they are no independent evidence: with windows
    shuffled one by one, the bias that comes from few takes would stay.

    The interval is the value -+ 1.96 standard errors. They are the standard deviation of the estimate over `trials`
    bootstrap samples, each of whole takes of either set. It is None with fewer than 2 takes in a set, or fewer than
    2 trials.

    Cost: the moments of the smallest parts are computed once, those of larger parts are merged from them; then
    (1 + 2 + 4) * (1 + trials) distances for three points, (1 + 2) * (1 + trials) for two. On one core a distance takes
    about 0.1 s at d = 600, 4 s at d = 2048.

    Args:
        real, fake: (N1, d) and (N2, d) of any floating type, at least 4 vectors each.
        real_takes, fake_takes: (N1,) and (N2,) int64, the take that each vector comes from; None: one take each.
        points: how many sizes at most, at least 2; see `extrapolation_parts`.
        trials: bootstrap samples.
        generator: of the CPU; the result depends on its state and the arguments alone.

    Raises:
        DataError: as `frechet_of_features`, fewer than 4 vectors in a set, or takes of another number.
    """
    check_pair(real, fake)
    least = min(len(real), len(fake))
    if least < 4:
        raise DataError(f"a distance over 1/N: got a set of {least} vectors, expected at least 4: give more videos")
    takes = _takes(len(real), real_takes), _takes(len(fake), fake_takes)
    parts = extrapolation_parts(len(takes[0]), len(takes[1]), real.shape[1], points)

    def extrapolated(real_order: list[Tensor], fake_order: list[Tensor]) -> float:
        first, second = real[_shuffled(real_order, generator)], fake[_shuffled(fake_order, generator)]
        return _intercept(parts, _distances(first, second, parts))

    value = extrapolated(*takes)
    if trials < 2 or min(len(takes[0]), len(takes[1])) < 2:
        return Estimate(value)
    samples = [extrapolated(_resampled(takes[0], generator), _resampled(takes[1], generator)) for _ in range(trials)]
    error = SIGMAS * stdev(samples)
    return Estimate(value, value - error, value + error)


def _intercept(parts: Sequence[int], distances: Sequence[float]) -> float:
    """The value at 0 of the least-squares line through the distances."""
    return linear_regression(parts, distances).intercept


def _distances(real: Tensor, fake: Tensor, parts: Sequence[int]) -> list[float]:
    """For each p of 1, 2, 4, ...: the mean distance between the p parts of both sets."""
    if max(len(real), len(fake)) <= real.shape[1]:
        cut = [zip(real.tensor_split(p), fake.tensor_split(p), strict=True) for p in parts]
        return [fmean(frechet_of_features(a, b) for a, b in pairs) for pairs in cut]
    first, second = ([Moments.of(part) for part in x.tensor_split(max(parts))] for x in (real, fake))
    distances = []
    for _ in parts:
        distances.append(fmean(frechet_distance(a, b) for a, b in zip(first, second, strict=True)))
        first, second = _halved(first), _halved(second)
    return distances[::-1]


def _halved(moments: list[Moments]) -> list[Moments]:
    return [a.merge(b) for a, b in zip(moments[::2], moments[1::2], strict=False)]


def _takes(count: int, takes: Tensor | None) -> list[Tensor]:
    """The numbers of the vectors of each take."""
    takes = torch.arange(count) if takes is None else takes.cpu()
    if takes.shape != (count,):
        raise DataError(f"takes: got shape {tuple(takes.shape)}, expected ({count},): give one number a vector")
    ordered, order = takes.sort(stable=True)
    starts = (ordered.diff() != 0).nonzero().flatten() + 1
    return list(order.tensor_split(starts))


def _shuffled(takes: list[Tensor], generator: torch.Generator) -> Tensor:
    """Numbers of all vectors, those of a take side by side, the takes in random order."""
    return torch.cat([takes[i] for i in torch.randperm(len(takes), generator=generator).tolist()])


def _resampled(takes: list[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Takes drawn with replacement until they have as many vectors as `takes` together, the last one cut to that."""
    left = sum(len(take) for take in takes)
    drawn = []
    while left > 0:
        for pick in torch.randint(len(takes), (len(takes),), generator=generator).tolist():
            drawn.append(takes[pick][:left])
            left -= len(drawn[-1])
    return [take for take in drawn if len(take)]


# ---- variants for small sets ----------------------------------------------------------------------


@dataclass(frozen=True)
class Projection:
    """Principal axes of a reference set; called with (N, d) features it gives (N, count) float64 coordinates."""

    mean: Tensor
    """(d,) float64: mean of the reference."""
    axes: Tensor
    """(d, count) float64: orthonormal columns, by falling variance."""
    explained: float
    """Share of the reference's variance along the axes, 0..1."""

    @property
    def count(self) -> int:
        """How many components there are: fewer than asked where the reference has a lower rank."""
        return self.axes.shape[1]

    def __call__(self, features: Tensor) -> Tensor:
        same_dimension(len(self.mean), features.shape[-1])
        return (features.to("cpu", torch.float64) - self.mean) @ self.axes


def principal_components(real: Tensor, count: int = 64) -> Projection:
    """The first principal components of the reference features, on which both sets are then compared (`,pca64`).

    Fitted on the reference alone, so that the number does not depend on what it is compared with. Covariances of
    64 components have full rank from 65 vectors on; what the generated set does outside of them is not seen.

    Args:
        real: (N, d) of any floating type; from its singular values where N <= d, from its covariance otherwise.
        count: components at most; there are as many as the rank of the reference where that is lower.

    Raises:
        DataError: as `frechet_of_features`, or all vectors are equal.
    """
    vectors(real, "the real features")
    if len(real) <= real.shape[1]:
        _, roots, axes = torch.linalg.svd(_centred(real, 1), full_matrices=False)
        variances, axes = roots.square(), axes.T
    else:
        variances, axes = (x.flip(-1) for x in torch.linalg.eigh(Moments.of(real).covariance()))
    rank = int((variances > max(real.shape) * EPS * variances[0]).sum())
    if rank == 0:
        raise DataError("the real features: all vectors are equal, expected some that differ: give other videos")
    kept = min(count, rank)
    explained = float(variances[:kept].sum() / variances.clamp(min=0).sum())
    return Projection(real.double().mean(dim=0).cpu(), axes[:, :kept], explained)


def frechet_random_features(
    real: Tensor, fake: Tensor, *, features: int = 50, trials: int = 50, generator: torch.Generator
) -> Estimate:
    """Mean Frechet distance over random choices of a few features (hp-VAE-GAN, appendix A.3).

    For sets that are smaller than the dimension, such as 50 clips of 512 features: each trial chooses `features` of
    the d features at random, without replacement, and takes the distance on those. To be compared only with numbers
    of the same two counts.

    Args:
        real, fake: (N1, d) and (N2, d) of any floating type.
        features: how many of the d features a trial sees; all where d is not larger.
        trials: how many choices, at least 1.
        generator: of the CPU, for the choices.

    Returns:
        The mean; `low` and `high` are one standard deviation of the trials below and above it.

    Raises:
        DataError: as `frechet_of_features`.
    """
    check_pair(real, fake)
    first, second = Moments.of(real), Moments.of(fake)
    values = []
    for _ in range(trials):
        chosen = torch.randperm(real.shape[1], generator=generator)[:features]
        values.append(frechet_distance(first.select(chosen), second.select(chosen)))
    return spread(values)
