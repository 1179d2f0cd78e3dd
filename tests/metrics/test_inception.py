"""The inception score: closed forms, a literal loop, its range, and small sets."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.errors import DataError
from hvgcli.metrics.inception import inception_score, small_sample


def some_logits(videos: int, classes: int, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(videos, classes, generator=torch.Generator().manual_seed(seed))


def loop_score(logits: torch.Tensor) -> float:
    """exp(mean KL) by the definition, one probability at a time."""
    rows = []
    for row in logits.double().tolist():
        total = sum(math.exp(value) for value in row)
        rows.append([math.exp(value) / total for value in row])
    marginal = [sum(row[c] for row in rows) / len(rows) for c in range(len(rows[0]))]
    divergences = [sum(p * math.log(p / q) for p, q in zip(row, marginal, strict=True)) for row in rows]
    return math.exp(sum(divergences) / len(rows))


def test_one_hot_over_ten_classes_is_ten() -> None:
    """Certain to 1e-400 or so: probabilities that are 0 in float64 make no NaN."""
    logits = 1000 * torch.eye(10).repeat(20, 1)
    score = inception_score(logits, splits=1)
    assert score.value == pytest.approx(10, rel=1e-12)
    assert (score.low, score.high) == (score.value, score.value)


def test_uniform_is_one() -> None:
    score = inception_score(torch.full((200, 10), -3.0))
    assert score.value == pytest.approx(1, rel=1e-12)
    assert score.high == pytest.approx(1, rel=1e-12)


def test_splits_are_parts_of_the_drawn_order() -> None:
    logits = some_logits(23, 6)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(5)).tolist()
    parts = [order[:6], order[6:12], order[12:18], order[18:]]  # one more in each of the first 23 % 4 parts
    scores = [loop_score(logits[part]) for part in parts]
    mean = sum(scores) / 4
    deviation = math.sqrt(sum((score - mean) ** 2 for score in scores) / 4)
    score = inception_score(logits, splits=4, seed=5)
    assert score.value == pytest.approx(mean, rel=1e-12)
    assert score.low == pytest.approx(mean - deviation, rel=1e-12)
    assert score.high == pytest.approx(mean + deviation, rel=1e-12)


def test_a_set_sorted_by_class_scores_as_a_shuffled_one() -> None:
    """In the order given, each tenth of a sorted set would hold one class and score 1."""
    logits = 50 * torch.eye(10).repeat_interleave(100, 0)
    assert inception_score(logits).value > 9


@settings(deadline=None, max_examples=20)
@given(
    videos=st.integers(2, 12),
    classes=st.integers(2, 6),
    seed=st.integers(0, 100),
    scale=st.sampled_from([0.1, 1.0, 300.0]),
)
def test_it_lies_between_one_and_the_smaller_of_videos_and_classes(
    videos: int, classes: int, seed: int, scale: float
) -> None:
    value = inception_score(scale * some_logits(videos, classes, seed), splits=1).value
    assert 1 - 1e-9 <= value <= min(videos, classes) * (1 + 1e-9)


def test_small_sets_are_told() -> None:
    assert small_sample(4000, 400) is None
    told = small_sample(2048, 400)
    assert told is not None
    assert "2048 videos in 10 splits" in told
    assert "4000" in told


@pytest.mark.parametrize(
    ("logits", "splits", "message"),
    [
        (torch.zeros(19, 4), 10, "19 videos"),
        (torch.zeros(4, 4), 0, "0 splits"),
        (torch.zeros(20), 1, "(videos, classes)"),
        (torch.zeros(20, 1), 1, "(videos, classes)"),
        (torch.full((20, 4), float("nan")), 1, "NaN or infinity"),
        (torch.full((20, 4), float("inf")), 1, "NaN or infinity"),
    ],
)
def test_bad_logits_are_one_line(logits: torch.Tensor, splits: int, message: str) -> None:
    with pytest.raises(DataError) as raised:
        inception_score(logits, splits)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
