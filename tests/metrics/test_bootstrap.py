"""Bootstraps over takes: whole takes, pairs, and an interval that covers the mean as often as it says."""

from __future__ import annotations

from collections import Counter
from statistics import stdev

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.metrics.bootstrap import drawn_rows, interval, over_takes, rows_of_takes


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.integers(0, 1000))
def test_takes_are_drawn_whole(takes: list[int], seed: int) -> None:
    rows = drawn_rows(rows_of_takes(torch.tensor(takes)), torch.Generator().manual_seed(seed))
    times = Counter(rows.tolist())
    draws = 0
    for take in set(takes):
        counts = {times[row] for row, own in enumerate(takes) if own == take}
        assert len(counts) == 1
        draws += counts.pop()
    assert draws == len(set(takes))


def test_trials_draw_the_same_real_takes_beside_any_other_set() -> None:
    real = torch.arange(12) // 3
    seen: list[list[int]] = []

    def note(rows: torch.Tensor, others: torch.Tensor) -> float:
        seen.append(rows.tolist())
        return float(len(others))

    over_takes(note, real, torch.arange(5), trials=4)
    over_takes(note, real, torch.arange(50) // 7, trials=4)
    assert seen[:4] == seen[4:]
    assert len({tuple(rows) for rows in seen[:4]}) > 1
    over_takes(note, real, torch.arange(5), trials=4, seed=1)
    assert seen[:4] != seen[8:]


def test_the_interval_of_a_mean_over_takes() -> None:
    """A mean over n takes of variance 1 has the standard error 1 / sqrt(n), however many rows a take has."""
    values = torch.randn(100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    takes = torch.arange(100).repeat_interleave(3)
    rows = values.repeat_interleave(3)
    samples = over_takes(lambda real, fake: float(rows[real].mean()), takes, torch.arange(2), trials=300)
    assert stdev(samples) == pytest.approx(float(values.std()) / 10, rel=0.15)
    found = interval(float(rows.mean()), samples)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * stdev(samples))
    assert found.low < 0 < found.high


def test_one_sample_has_no_interval() -> None:
    assert interval(3.0, [2.0]).low is None
