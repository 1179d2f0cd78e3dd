"""Frechet distances: closed forms, literal numpy, both forms, extrapolation with its interval, small sets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hvgcli.errors import DataError
from hvgcli.metrics.frechet import (
    extrapolation_parts,
    frechet_distance,
    frechet_infinity,
    frechet_of_features,
    frechet_random_features,
    principal_components,
)
from hvgcli.metrics.moments import Moments


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(count: int, dimension: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, dimension, generator=rng(seed), dtype=dtype)


def correlated(count: int, dimension: int, seed: int) -> Tensor:
    """Vectors whose mean and covariance depend on the seed."""
    return normal(count, dimension, seed) @ normal(dimension, dimension, seed + 1) + normal(1, dimension, seed + 2)


def of_covariances(first: np.ndarray, second: np.ndarray, count: int = 5) -> float:
    """The distance of two Gaussians of mean 0 and the given covariances."""
    moments = [Moments(count, torch.zeros(len(s)), torch.from_numpy(s) * (count - 1)) for s in (first, second)]
    return frechet_distance(*moments)


def literal(real: Tensor, fake: Tensor, ddof: int) -> float:
    """The definition, with the eigenvalues of the unsymmetric product S1 S2."""
    x, y = real.double().numpy(), fake.double().numpy()
    s1, s2 = (np.cov(z, rowvar=False, ddof=ddof) for z in (x, y))
    overlap = np.sqrt(np.linalg.eigvals(s1 @ s2).real.clip(min=0)).sum()
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * overlap)


# ---- closed forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("ddof", "expected"), [(1, 65.7427236504), (0, 65.6165037104)])
def test_the_pair_of_the_reference_implementation(ddof: int, expected: float) -> None:
    state = np.random.RandomState(0)
    real, fake = (torch.from_numpy(state.randn(512, 256).astype(np.float32)) for _ in "rf")
    assert frechet_of_features(real, fake, ddof) == pytest.approx(expected, abs=1e-9)
    assert frechet_distance(Moments.of(fake), Moments.of(real), ddof) == pytest.approx(expected, abs=1e-9)


def test_two_covariances_of_two_dimensions() -> None:
    first, second = np.array([[2, 1], [1, 3.0]]), np.array([[1, -0.5], [-0.5, 2]])
    assert of_covariances(first, second) == pytest.approx(0.8122104140147179, abs=1e-12)


def test_a_known_transport_map() -> None:
    """N(0, S) carried to N(0, T S T) by x -> T x, T symmetric and positive: the cost is tr((T - I) S (T - I))."""
    state, eye = np.random.RandomState(2), np.eye(50)
    g, h = state.randn(50, 50), state.randn(50, 50)
    s, t = g @ g.T / 50, h @ h.T / 50 + 0.1 * eye
    expected = np.trace((t - eye) @ s @ (t - eye))
    assert expected == pytest.approx(60.69001846961692, abs=1e-10)
    assert of_covariances(s, t @ s @ t) == pytest.approx(expected, rel=1e-9)
    assert of_covariances(t @ s @ t, s) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [20, 500])
def test_constants_are_apart_by_the_square_of_their_distance(count: int) -> None:
    assert frechet_of_features(torch.zeros(count, 400), torch.ones(count, 400)) == 400


@pytest.mark.parametrize(("count", "dead"), [(30, 0), (64, 0), (65, 0), (500, 0), (500, 40), (30, 40)])
def test_identical_sets_are_at_distance_zero(count: int, dead: int) -> None:
    """In the nuclear-norm form (N <= 64) and by eigenvalues, with and without features that never change."""
    features = correlated(count, 64, 1)
    features[:, 64 - dead :] = 1.5
    trace = float(Moments.of(features).covariance().trace())
    assert frechet_of_features(features, features) <= 1e-9 * trace
    assert frechet_of_features(features, features[torch.randperm(count, generator=rng())]) <= 1e-9 * trace


def test_mean_and_spread_over_pairs_of_standard_normal_sets() -> None:
    """N(0, I_d) twice: about (2d + d(d+1)/2) / N, and 0 once it is extrapolated."""
    d, n = 8, 1600
    plain, extrapolated = [], []
    for seed in range(40):
        real, fake = normal(n, d, 2 * seed), normal(n, d, 2 * seed + 1)
        plain.append(frechet_of_features(real, fake))
        extrapolated.append(frechet_infinity(real, fake, trials=0, generator=rng(seed)).value)
    error = np.std(plain, ddof=1) / 40**0.5
    expected = (2 * d + d * (d + 1) / 2) / n
    assert abs(np.mean(plain) - expected) < 3 * error < 0.3 * expected
    error = np.std(extrapolated, ddof=1) / 40**0.5
    assert abs(np.mean(extrapolated)) < 3 * error < 0.3 * expected


# ---- both forms -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 14), st.integers(2, 14), st.integers(2, 9), st.sampled_from([0, 1]), st.integers(0, 99))
def test_any_two_sets(n1: int, n2: int, d: int, ddof: int, seed: int) -> None:
    """Literal numpy, and both forms, agree; the distance has no order and does not see a rotation or a shift.

    Where a covariance is singular, eigenvalues of 0 are known to the rounding of the largest: roots, to its root.
    """
    real, fake = correlated(n1, d, seed), correlated(n2, d, seed + 50)
    scale = sum(float(Moments.of(x).covariance(ddof).trace()) for x in (real, fake))
    near = 1e-10 if min(n1, n2) > d + 1 else 2e-6
    value = frechet_of_features(real, fake, ddof)
    assert value >= 0
    assert abs(value - literal(real, fake, ddof)) < 2e-6 * scale
    assert abs(value - frechet_distance(Moments.of(real), Moments.of(fake), ddof)) < near * scale
    assert abs(value - frechet_of_features(fake, real, ddof)) < near * scale
    turn = torch.linalg.qr(normal(d, d, seed))[0]
    assert abs(value - frechet_of_features(real @ turn + 7, fake @ turn + 7, ddof)) < near * scale


def test_few_vectors_of_many_dimensions_in_float16() -> None:
    """Two vectors a set: the closed form is that of two segments."""
    real, fake = (normal(2, 300, seed).half() for seed in (0, 1))
    p, q = (x.double()[0] - x.double()[1] for x in (real, fake))
    means = (real.double().mean(0) - fake.double().mean(0)).square().sum()
    expected = float(means + (p @ p) / 2 + (q @ q) / 2 - (p @ q).abs())
    assert frechet_of_features(real, fake) == pytest.approx(expected, rel=1e-12)


# ---- extrapolation --------------------------------------------------------------------------------


def test_sizes_stay_above_the_dimension() -> None:
    assert extrapolation_parts(4000, 3000, 600, 3) == (1, 2, 4)
    assert extrapolation_parts(4000, 2400, 600, 3) == (1, 2)
    assert extrapolation_parts(4000, 3000, 600, 2) == (1, 2)
    assert extrapolation_parts(50, 40, 600, 3) == (1, 2)


@pytest.mark.parametrize(("n1", "n2", "d", "sizes"), [(40, 24, 3, 3), (12, 10, 8, 2), (12, 8, 20, 2)])
def test_the_line_is_that_of_polyfit_over_one_by_n(n1: int, n2: int, d: int, sizes: int) -> None:
    real, fake = correlated(n1, d, 0), correlated(n2, d, 10)
    value = frechet_infinity(real, fake, trials=0, generator=rng(5)).value
    again = rng(5)
    x, y = real[torch.randperm(n1, generator=again)], fake[torch.randperm(n2, generator=again)]
    distances = [
        np.mean([literal(x[k * n1 // p :][: n1 // p], y[k * n2 // p :][: n2 // p], 1) for k in range(p)])
        for p in (1, 2, 4)[:sizes]
    ]
    line = np.polyfit([p / n1 for p in (1, 2, 4)[:sizes]], distances, 1)
    assert value == pytest.approx(line[1], rel=1e-5)


def test_the_bias_of_small_sets_goes() -> None:
    """Two Gaussians at a known distance: the plain number is far above it, the extrapolated one is near."""
    d, truth = 24, 24 * 0.5**2 + 24 * (1.5 - 1) ** 2
    values = []
    for seed in range(6):
        real, fake = normal(240, d, seed), 1.5 * normal(200, d, 90 + seed) + 0.5
        values.append((frechet_of_features(real, fake), frechet_infinity(real, fake, trials=0, generator=rng()).value))
    plain, extrapolated = np.mean(values, axis=0)
    assert plain - truth > 1.5
    assert abs(extrapolated - truth) < 0.5 * (plain - truth)


def test_the_bias_of_few_takes_goes() -> None:
    """Windows that are alike within a take: the line over takes nears the truth, the line over windows does not."""
    d, takes = 4, torch.arange(40).repeat_interleave(10)
    by_take, by_window = [], []
    for seed in range(12):
        real, fake = (
            normal(40, d, 2 * seed + k).repeat_interleave(10, dim=0) + 0.1 * normal(400, d, 100 + k) for k in (0, 1)
        )
        shared = {"real_takes": takes, "fake_takes": takes, "trials": 0}
        by_take.append(frechet_infinity(real, fake, generator=rng(seed), **shared).value)
        by_window.append(frechet_infinity(real, fake, trials=0, generator=rng(seed)).value)
    assert abs(np.mean(by_take)) < 0.3 * np.mean(by_window)


def test_the_interval_comes_from_takes_and_the_generator() -> None:
    """Ten windows of each take, nearly alike, are no ten times the evidence."""
    d, takes = 3, torch.arange(12).repeat_interleave(10)
    real = normal(12, d, 0).repeat_interleave(10, dim=0) + 0.01 * normal(120, d, 1)
    fake, order = normal(100, d, 2), torch.randperm(120, generator=rng(3))

    def interval(real: Tensor, takes: Tensor | None, seed: int = 0) -> tuple[float, float, float]:
        result = frechet_infinity(real, fake, real_takes=takes, points=2, trials=25, generator=rng(seed))
        assert result.low is not None
        assert result.high is not None
        return result.low, result.value, result.high

    by_take, by_window = interval(real, takes), interval(real, None)
    assert by_take[0] < by_take[1] < by_take[2]
    assert by_take[2] - by_take[0] > 1.5 * (by_window[2] - by_window[0])
    assert interval(real, takes) == by_take
    assert interval(real, takes, 1) != by_take
    # Neither the order of the windows nor the numbers of their takes matter.
    mixed = interval(real[order], takes[order] * 7 - 3)
    assert mixed == pytest.approx(by_take, rel=1e-9)


def test_uneven_takes_and_their_samples() -> None:
    """A take of 60 windows beside takes of one: every sample has as many vectors as the set."""
    real, fake = normal(70, 3, 0), normal(40, 3, 1)
    takes = torch.cat([torch.zeros(60), torch.arange(1, 11)]).long()
    result = frechet_infinity(real, fake, real_takes=takes, points=4, trials=20, generator=rng())
    assert result.low is not None
    assert np.isfinite([result.low, result.value, result.high]).all()


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """And it is about as wide as the values spread."""
    d, truth, hits, values, widths = 3, 3 * 1.0, 0, [], []
    for seed in range(30):
        real, fake = normal(150, d, seed), normal(150, d, 50 + seed) + 1
        result = frechet_infinity(real, fake, points=2, trials=15, generator=rng(seed))
        assert result.low is not None
        assert result.high is not None
        hits += result.low <= truth <= result.high
        values.append(result.value)
        widths.append(result.high - result.low)
    assert hits >= 25
    assert 0.7 < np.mean(widths) / (2 * 1.96 * np.std(values, ddof=1)) < 1.4


def test_no_interval_from_a_single_take() -> None:
    real, fake = normal(20, 3, 0), normal(20, 3, 1)
    for takes in ({"real_takes": torch.zeros(20).long()}, {"fake_takes": torch.zeros(20).long()}):
        result = frechet_infinity(real, fake, **takes, generator=rng())
        assert result.low is None
        assert result.high is None
    with pytest.raises(DataError, match=r"takes: got shape \(3,\), expected \(20,\)"):
        frechet_infinity(real, fake, real_takes=torch.arange(3), generator=rng())


# ---- small sets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "expected"), [(200, 5), (12, 5), (4, 3)])
def test_principal_components_are_those_of_an_svd(count: int, expected: int) -> None:
    real, fake = correlated(count, 20, 0), correlated(30, 20, 9)
    projection = principal_components(real, 5)
    assert projection.count == expected  # four vectors span three dimensions
    centred = (real - real.mean(0)).numpy()
    _, roots, axes = np.linalg.svd(centred, full_matrices=False)
    coordinates = (fake - real.mean(0)).numpy() @ axes[:expected].T
    np.testing.assert_allclose(projection(fake).abs().numpy(), np.abs(coordinates), atol=1e-8)
    assert projection.explained == pytest.approx((roots[:expected] ** 2).sum() / (roots**2).sum())


def test_projected_distance_is_the_full_one_within_the_reference_plane() -> None:
    """Sets in a common plane of 6 dimensions: nothing is lost, and no rank is invented."""
    plane = normal(6, 40, 0)
    real, fake = correlated(100, 6, 1) @ plane, correlated(90, 6, 5) @ plane
    projection = principal_components(real)
    assert projection.count == 6
    projected = frechet_of_features(projection(real.float()), projection(fake.float()))
    assert projected == pytest.approx(frechet_of_features(real, fake), rel=1e-5)
    with pytest.raises(DataError, match="all vectors are equal"):
        principal_components(torch.ones(9, 3))


def test_random_features_are_a_mean_over_choices() -> None:
    real, fake = correlated(30, 6, 0), correlated(25, 6, 7)
    result = frechet_random_features(real, fake, features=2, trials=9, generator=rng(4))
    again = rng(4)
    choices = [torch.randperm(6, generator=again)[:2] for _ in range(9)]
    values = [literal(real[:, chosen], fake[:, chosen], 1) for chosen in choices]
    assert result.value == pytest.approx(np.mean(values), rel=1e-8)
    assert result.high == pytest.approx(np.mean(values) + np.std(values, ddof=1), rel=1e-8)
    assert result.low == pytest.approx(np.mean(values) - np.std(values, ddof=1), rel=1e-8)
    everything = frechet_random_features(real, fake, features=50, trials=3, generator=rng())
    assert everything.value == pytest.approx(frechet_of_features(real, fake), rel=1e-9)


# ---- what is refused ------------------------------------------------------------------------------


def test_bad_features_are_refused_in_one_line() -> None:
    good, spoilt = normal(9, 3, 0), normal(9, 3, 1)
    spoilt[4, 1] = float("nan")
    damaged = Moments(9, torch.zeros(3).double(), -torch.eye(3).double())
    cases = {
        "the real features: got NaN or infinity in 1 of 9 vectors": lambda: frechet_of_features(spoilt, good),
        "the generated features: got NaN": lambda: frechet_infinity(good, spoilt, generator=rng()),
        "got a set of 3 vectors, expected at least 4": lambda: frechet_infinity(good, good[:3], generator=rng()),
        "the generated features: got 1 vector, ": lambda: frechet_of_features(good, good[:1]),
        "got 3 and 2 dimensions": lambda: frechet_random_features(good, good[:, :2], generator=rng()),
        "got 3 and 4 dimensions": lambda: principal_components(good)(normal(5, 4, 0)),
        "got 1 vector, expected at least 2": lambda: frechet_distance(Moments.of(good[:1]), Moments.of(good)),
        "got the eigenvalue -0.125, expected none below 0": lambda: frechet_distance(damaged, Moments.of(good)),
        "got the eigenvalue -0.2": lambda: frechet_distance(Moments.of(good), damaged),
    }
    for message, call in cases.items():
        with pytest.raises(DataError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
