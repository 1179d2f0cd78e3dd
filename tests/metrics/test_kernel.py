"""Kernel distance: against a literal double loop, without bias, and over subsets."""

from __future__ import annotations

from statistics import fmean, stdev

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hvgcli.errors import DataError
from hvgcli.metrics.kernel import kernel_distance, squared_discrepancy


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(count: int, dimension: int, seed: int) -> Tensor:
    return torch.randn(count, dimension, generator=rng(seed))


def literal(real: Tensor, fake: Tensor, degree: int) -> float:
    """Three double loops over k(x, y) = (x . y / d + 1)^degree."""
    x, y = real.double().numpy(), fake.double().numpy()

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float(sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** degree

    within_x = [kernel(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]
    within_y = [kernel(y[i], y[j]) for i in range(len(y)) for j in range(len(y)) if i != j]
    between = [kernel(a, b) for a in x for b in y]
    return fmean(within_x) + fmean(within_y) - 2 * fmean(between)


@settings(deadline=None, max_examples=15)
@given(st.integers(2, 8), st.integers(2, 8), st.integers(1, 5), st.integers(1, 4), st.integers(0, 99))
def test_the_discrepancy_is_that_of_double_loops(n: int, m: int, d: int, degree: int, seed: int) -> None:
    real, fake = normal(n, d, seed), normal(m, d, seed + 1) * 2 + 1
    assert squared_discrepancy(real, fake, degree) == pytest.approx(literal(real, fake, degree), rel=1e-9, abs=1e-9)


def test_a_linear_kernel_measures_the_means() -> None:
    """With degree 1 the expectation is |m1 - m2|^2 / d; here over sets that are drawn again and again."""
    values = [squared_discrepancy(normal(20, 4, s), normal(30, 4, 500 + s) + 0.5, degree=1) for s in range(200)]
    assert abs(fmean(values) - 0.25) < 3 * stdev(values) / 200**0.5 < 0.05


def test_no_bias_between_sets_of_one_distribution() -> None:
    values = [squared_discrepancy(normal(15, 6, s), normal(10, 6, 900 + s)) for s in range(200)]
    assert abs(fmean(values)) < 3 * stdev(values) / 200**0.5
    assert min(values) < 0 < max(values)


def test_subsets_are_averaged_with_their_deviation() -> None:
    real, fake = normal(40, 5, 0), normal(30, 5, 1) + 1
    result = kernel_distance(real, fake, subset=10, subsets=7, generator=rng(3))
    again = rng(3)
    values = []
    for _ in range(7):
        x, y = real[torch.randperm(40, generator=again)[:10]], fake[torch.randperm(30, generator=again)[:10]]
        values.append(literal(x, y, 3))
    assert result.value == pytest.approx(fmean(values), rel=1e-9)
    assert result.low == pytest.approx(fmean(values) - stdev(values), rel=1e-9)
    assert result.high == pytest.approx(fmean(values) + stdev(values), rel=1e-9)


def test_subsets_of_a_small_set_still_differ() -> None:
    real, fake = normal(12, 5, 0), normal(9, 5, 1)
    result = kernel_distance(real, fake, generator=rng())
    assert result == kernel_distance(real, fake, generator=rng())
    assert result == kernel_distance(real, fake, subset=4, generator=rng())
    assert result.low is not None
    assert result.low < result.value
    assert kernel_distance(real, real + 2, generator=rng()).value > 10 * abs(result.value)


def test_bad_features_are_refused() -> None:
    good = normal(9, 3, 0)
    with pytest.raises(DataError, match="got a set of 3 vectors, expected at least 4"):
        kernel_distance(good, good[:3], generator=rng())
    with pytest.raises(DataError, match="got 3 and 2 dimensions"):
        kernel_distance(good, good[:, :2], generator=rng())
    with pytest.raises(DataError, match="the generated features: got NaN or infinity in 9 of 9"):
        kernel_distance(good, good / 0, generator=rng())
