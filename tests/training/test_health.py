"""Losses that are not finite or explode, weights that are not finite, early stopping."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_training import PRESET, QUIET, TRAINING, metric_rows, train

from hvgcli.errors import TrainingError
from hvgcli.training.health import ENOUGH, EXPLOSION, Health, Watch, check_finite
from hvgcli.training.run_state import states


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_is_named_with_its_step(value: float) -> None:
    with pytest.raises(TrainingError, match=r"step 12: loss_g is .*state of step 10 is kept.*--precision fp32"):
        Health().check(12, {"loss_d": 1.0, "loss_g": value}, 10)


def test_a_loss_explodes_when_it_leaves_all_measure() -> None:
    health = Health()
    for step in range(1, 50):
        health.check(step, {"loss_d": 2.0, "kl": 10.0 + step, "reconstruction": 0.0}, 0)
    health.check(50, {"loss_d": 2.0 * EXPLOSION, "reconstruction": EXPLOSION}, 0)
    with pytest.raises(TrainingError, match=r"step 51: loss_d exploded to .*usually about 2.*no state was saved"):
        health.check(51, {"loss_d": -2.1 * EXPLOSION}, 0)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=60), st.floats(-3, 3))
def test_losses_within_four_decades_never_explode(values: list[float], power: float) -> None:
    """Any jumps up to 1e4, and any slow growth: the median goes with it."""
    health = Health()
    for step, value in enumerate(values, start=1):
        health.check(step, {"loss_g": value}, 0)
    health = Health()
    for step in range(1, 300):
        health.check(step, {"loss_g": step**power}, 0)


def test_the_first_losses_are_compared_with_nothing() -> None:
    health = Health()
    for step in range(1, ENOUGH + 1):
        health.check(step, {"kl": 1e30 if step == 1 else 1.0}, 0)
    with pytest.raises(TrainingError, match="exploded"):
        health.check(ENOUGH + 1, {"kl": 1e30}, 0)


def test_weights_that_are_not_finite_are_named() -> None:
    good = torch.ones(3)
    check_finite([("a", good), ("steps", torch.tensor(3))], 1, 0)
    bad = good.clone()
    bad[2] = math.nan
    with pytest.raises(TrainingError, match=r"step 7: b is not finite.*state of step 5"):
        check_finite([("a", good), ("b", bad)], 7, 5)


def test_a_run_that_diverges_stops_and_keeps_its_last_good_state(data: Path, tmp_path: Path) -> None:
    """Real divergence: a learning rate at which the first update ruins the weights."""
    options = replace(QUIET, save_every=1)
    whole = train(data, tmp_path / "run", options=options, steps=2).state()
    with pytest.raises(TrainingError, match=r"step \d+: .*the state of step 2 is kept"):
        train(data, tmp_path / "run", options=replace(QUIET, save_every=100), steps=8, lr_generator=1e30)
    assert [step for step, _ in states(tmp_path / "run")] == [1, 2]
    again = train(data, tmp_path / "run", options=options, steps=3)  # with the learning rate that was good
    assert again.steps == [3]
    assert set(again.state()) == set(whole)
    assert all(tensor.isfinite().all() for tensor in again.state().values() if tensor.is_floating_point())


# ---- early stopping ------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=60), st.integers(0, 60), st.integers(1, 10), st.integers(0, 5))
def test_a_watch_that_was_put_away_decides_as_one_that_was_not(
    values: list[float], cut: int, patience: int, start: int
) -> None:
    whole, part = (Watch("reconstruction", patience, start) for _ in range(2))
    for step, value in enumerate(values, start=1):
        whole.see(step, {"reconstruction": value})
        if step == cut:
            record = json.loads(json.dumps(part.record()))
            part = Watch("reconstruction", patience, start)
            part.restore(record)
        part.see(step, {"reconstruction": value})
        assert part.over == whole.over
    assert part == whole


def test_a_watch_is_over_when_its_patience_is() -> None:
    watch = Watch("reconstruction", 5, start=2)
    for step, value in enumerate([9.0, 9.0, 3.0, 2.0, 2.5, 2.5, 2.5, 2.5], start=1):
        watch.see(step, {"reconstruction": value})
        assert not watch.over
    watch.see(9, {"kl": 7.0})  # a step without the metric does not count
    assert not watch.over
    watch.see(10, {"reconstruction": 3.0 + 1})
    assert watch.best_step == 8  # smoothed: still falling from 3.0
    for step in range(11, 14):
        watch.see(step, {"reconstruction": 9.0})
    assert watch.over


def test_a_run_stops_early_and_a_resumed_one_at_the_same_step(data: Path, tmp_path: Path) -> None:
    preset = replace(PRESET, training=(replace(TRAINING, steps=60, reconstruction=replace(
        TRAINING.reconstruction, steps=60)), TRAINING))  # fmt: skip
    options = replace(QUIET, patience=3, watch="kl", save_every=4)
    whole = train(data, tmp_path / "whole", preset=preset, options=options)
    assert whole.ended is not None
    assert whole.ended.reason == "early"
    assert 4 <= whole.ended.step < 60
    assert whole.ended.finished
    assert states(whole.run.out)[-1][0] == whole.ended.step
    train(data, tmp_path / "parts", preset=preset, options=options, until=whole.ended.step - 2)
    parts = train(data, tmp_path / "parts", preset=preset, options=options)
    assert parts.ended == whole.ended
    assert len(metric_rows(parts.run.out)) == whole.ended.step
    assert train(data, tmp_path / "parts", preset=preset, options=options).steps == []
