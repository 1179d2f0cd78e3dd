"""Nearest training windows by literal loops; copies are found, and the share below a quantile."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.errors import DataError
from hvgcli.metrics.nearest import QUANTILES, ROWS, Nearest, nearest, share_nearer


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(0, 1000))
def test_literal_loops(count: int, pool: int, dimension: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, dimension, generator=generator, dtype=torch.float64)
    y = torch.randn(pool, dimension, generator=generator, dtype=torch.float64)
    found = nearest(x, y)
    for i, a in enumerate(x.tolist()):
        gaps = [math.sqrt(sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) / dimension) for b in y.tolist()]
        assert found.distances[i] == pytest.approx(min(gaps), abs=1e-12)
        assert found.places[i] == gaps.index(min(gaps))


def test_copies_are_at_no_distance_however_large_the_numbers() -> None:
    pool = 1e4 + torch.randn(2 * ROWS + 3, 8, generator=torch.Generator().manual_seed(0)).double()
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(1))
    found = nearest(pool[order], pool)
    assert found.places.tolist() == order.tolist()
    assert found.distances.abs().max() == 0


def test_whole_numbers_of_bytes_are_taken() -> None:
    found = nearest(
        torch.tensor([[0, 255]], dtype=torch.uint8), torch.tensor([[255, 255], [3, 251]], dtype=torch.uint8)
    )
    assert (found.places.item(), found.distances.item()) == (1, math.sqrt((9 + 16) / 2))


def of(distances: list[float]) -> Nearest:
    return Nearest(torch.tensor(distances, dtype=torch.float64), torch.zeros(len(distances), dtype=torch.long))


def test_quantiles_and_the_share_below_one() -> None:
    held_out = of([float(i) for i in range(101)])
    assert held_out.quantiles() == pytest.approx([100 * q for q in QUANTILES])
    assert share_nearer(of([0.0, 1.0, 4.9, 5.1]), held_out) == 0.75
    assert share_nearer(held_out, held_out) == pytest.approx(5 / 101)
    assert share_nearer(of([1.0, 60.0]), held_out, quantile=0.5) == 0.5


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match="at least one"):
        nearest(torch.zeros(0, 2), torch.zeros(3, 2))
    with pytest.raises(DataError, match="dimensions"):
        nearest(torch.zeros(1, 2), torch.zeros(3, 4))
