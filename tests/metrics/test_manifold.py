"""Precision, recall, density and coverage against a loop over all pairs, and where they are known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.errors import DataError
from hvgcli.metrics.manifold import prdc


def gaussian(count: int, dimensions: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return shift + torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed))


def loop_prdc(real: torch.Tensor, fake: torch.Tensor, k: int) -> dict[str, float]:
    """The equations of the papers, pair by pair."""
    reals, fakes = real.double().tolist(), fake.double().tolist()

    def radius(points: list[list[float]], i: int) -> float:
        return sorted(math.dist(points[i], points[j]) for j in range(len(points)) if j != i)[k - 1]

    def within(distance: float, limit: float) -> bool:
        return distance <= limit * (1 + 1e-9)

    real_radii = [radius(reals, i) for i in range(len(reals))]
    fake_radii = [radius(fakes, j) for j in range(len(fakes))]
    in_real = [[within(math.dist(f, r), limit) for r, limit in zip(reals, real_radii, strict=True)] for f in fakes]
    in_fake = [[within(math.dist(r, f), limit) for f, limit in zip(fakes, fake_radii, strict=True)] for r in reals]
    return {
        "precision": sum(any(row) for row in in_real) / len(fakes),
        "recall": sum(any(row) for row in in_fake) / len(reals),
        "density": sum(sum(row) for row in in_real) / (k * len(fakes)),
        "coverage": sum(any(row[i] for row in in_real) for i in range(len(reals))) / len(reals),
    }


@settings(deadline=None, max_examples=25)
@given(
    counts=st.tuples(st.integers(5, 14), st.integers(5, 14)),
    dimensions=st.integers(1, 4),
    k=st.integers(1, 4),
    chunk=st.sampled_from([1, 3, 512]),
    shift=st.sampled_from([0.0, 1.0, 1000.0]),
    seed=st.integers(0, 1000),
)
def test_equal_to_the_loop(
    counts: tuple[int, int], dimensions: int, k: int, chunk: int, shift: float, seed: int
) -> None:
    real, fake = gaussian(counts[0], dimensions, seed), gaussian(counts[1], dimensions, seed + 1, shift / 1000)
    expected = loop_prdc(real + shift, fake + shift, k)
    assert prdc(real + shift, fake + shift, k, chunk) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 3), min_size=12, max_size=24), st.integers(1, 3))
def test_equal_to_the_loop_where_points_coincide_and_distances_tie(values: list[int], k: int) -> None:
    points = torch.tensor(values[: len(values) // 2 * 2], dtype=torch.float32).reshape(-1, 1)
    real, fake = points.tensor_split(2)
    assert prdc(real, fake, k) == pytest.approx(loop_prdc(real, fake, k), abs=1e-12)


def test_equal_to_the_loop_far_from_the_origin() -> None:
    """Where |x|^2 + |y|^2 - 2 x.y alone would lose all digits of the distances."""
    real, fake = (gaussian(20, 3, seed).double() + 1e7 for seed in (0, 1))
    assert prdc(real, fake, 3) == pytest.approx(loop_prdc(real, fake, 3), abs=1e-12)


def test_copies_are_neighbours_at_distance_zero() -> None:
    """Each of 4 points 6 times: balls of radius 0, which rounding must not empty."""
    real = gaussian(4, 64, 0).repeat(6, 1)
    fake = torch.cat((real[:2].repeat(5, 1), gaussian(10, 64, 1)))
    scores = prdc(real, fake)
    assert (scores["precision"], scores["coverage"]) == (0.5, 0.5)
    assert scores == pytest.approx(loop_prdc(real, fake, 5), abs=1e-12)


def test_one_set_twice_is_perfect() -> None:
    real = gaussian(60, 8, 0)
    scores = prdc(real, real.flip(0))
    assert (scores["precision"], scores["recall"], scores["coverage"]) == (1.0, 1.0, 1.0)
    assert scores["density"] == pytest.approx(6 / 5)  # a ball of 5 neighbours holds its own centre too


def test_two_sets_of_one_distribution_have_the_expected_density_and_coverage() -> None:
    """Naeem et al. 2020: E[density] = 1, E[coverage] = 1 - (N-1)...(N-k) / ((N+M-1)...(N+M-k))."""
    count, k, trials = 60, 3, 40
    scores = [prdc(gaussian(count, 4, 2 * t), gaussian(count, 4, 2 * t + 1), k) for t in range(trials)]
    expected = {"density": 1.0, "coverage": 1 - math.prod((count - i) / (2 * count - i) for i in range(1, k + 1))}
    for name, value in expected.items():
        found = torch.tensor([score[name] for score in scores], dtype=torch.float64)
        assert abs(found.mean().item() - value) < 3 * found.std().item() / math.sqrt(trials)


def test_sets_far_apart_share_nothing() -> None:
    scores = prdc(gaussian(40, 8, 0), gaussian(40, 8, 1, shift=100))
    assert scores == {"precision": 0.0, "recall": 0.0, "density": 0.0, "coverage": 0.0}


def test_a_collapsed_set_is_precise_but_covers_little() -> None:
    real = gaussian(100, 2, 0)
    fake = real[:1] + 1e-3 * gaussian(100, 2, 1)
    scores = prdc(real, fake)
    assert scores["precision"] == 1
    assert scores["recall"] <= 0.02
    assert scores["coverage"] < 0.2
    assert scores["density"] >= 1


def test_one_outlier_in_the_real_set_inflates_precision_but_not_density() -> None:
    """Why density exists (Naeem et al. 2020): a far real point has a huge ball."""
    real = torch.cat((gaussian(100, 2, 0), torch.tensor([[30.0, 0.0]])))
    fake = gaussian(100, 2, 1) + torch.tensor([15.0, 0.0])
    scores = prdc(real, fake)
    assert scores["precision"] == 1
    assert scores["density"] <= 0.2


@pytest.mark.parametrize(
    ("real", "fake", "k", "message"),
    [
        (torch.zeros(5, 2), torch.zeros(9, 2), 5, "the smaller has 5"),
        (torch.zeros(9, 2), torch.zeros(5, 2), 5, "the smaller has 5"),
        (torch.zeros(9, 2), torch.zeros(9, 2), 0, "0 neighbours"),
        (torch.zeros(9, 2), torch.zeros(9, 3), 5, "2 and 3 dimensions"),
        (torch.zeros(9), torch.zeros(9), 5, "(9,)"),
        (torch.zeros(9, 2), torch.full((9, 2), float("nan")), 5, "generated features"),
        (torch.full((9, 2), float("inf")), torch.zeros(9, 2), 5, "real features"),
    ],
)
def test_bad_features_are_one_line(real: torch.Tensor, fake: torch.Tensor, k: int, message: str) -> None:
    with pytest.raises(DataError) as raised:
        prdc(real, fake, k)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
