"""The same command continues: to the same weights bit by bit, from the newest state that is whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_training import PRESET, QUIET, assert_same, metric_rows, train

from hvgcli.training.loop import train_level
from hvgcli.training.plan import plan
from hvgcli.training.run_state import states


@pytest.mark.parametrize("level", [1, 2])
def test_a_resumed_run_is_the_uninterrupted_one_bit_by_bit(
    data: Path, model1: Path, tmp_path: Path, level: int
) -> None:
    below = model1 if level == 2 else None
    whole = train(data, tmp_path / "whole", level, below, steps=4)
    first = train(data, tmp_path / "parts", level, below, steps=4, until=2)
    assert first.steps == [1, 2]
    torch.manual_seed(99)  # whatever happens in between
    second = train(data, tmp_path / "parts", level, below, steps=4)
    assert second.steps == [3, 4]
    assert second.warnings == []
    assert_same(whole.state(), second.state())
    rows = [metric_rows(tmp_path / name) for name in ("whole", "parts")]
    for row in (*rows[0], *rows[1]):
        del row["seconds"], row["data_seconds"]
    assert rows[0] == rows[1]
    assert train(data, tmp_path / "parts", level, below, steps=4).steps == []  # nothing is left to do


def test_another_seed_is_another_run(data: Path, tmp_path: Path) -> None:
    first, second = (train(data, tmp_path / str(seed), seed=seed, steps=1).state() for seed in (0, 1))
    assert not torch.equal(first["networks/generator.to_rgb.bias"], second["networks/generator.to_rgb.bias"])


def test_ctrl_c_saves_the_state(data: Path, tmp_path: Path) -> None:
    run, index = plan(PRESET, 1, data, tmp_path / "run", None, {"steps": 4}, 0)

    def interrupt(step: int, metrics: dict[str, float]) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_level(run, index, QUIET, progress=interrupt, warn=lambda message: None)
    assert [step for step, _ in states(run.out)] == [2]
    assert_same(train(data, tmp_path / "run", steps=4).state(), train(data, tmp_path / "whole", steps=4).state())


def test_the_last_states_are_kept(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "run", steps=5, options=replace(QUIET, save_every=1, keep=2))
    assert [step for step, _ in states(tmp_path / "run")] == [4, 5]


@pytest.mark.parametrize("damage", ["cut off", "empty", "noise"])
def test_a_damaged_state_falls_back_to_the_one_before(data: Path, tmp_path: Path, damage: str) -> None:
    options = replace(QUIET, save_every=1)
    whole = train(data, tmp_path / "run", options=options).state()
    last = states(tmp_path / "run")[-1][1]
    content = last.read_bytes()
    last.write_bytes({"cut off": content[: len(content) // 2], "empty": b"", "noise": b"\x07" * 1000}[damage])
    again = train(data, tmp_path / "run", options=options)
    assert again.steps == [3]
    assert len(again.warnings) == 1
    assert last.name in again.warnings[0]
    assert_same(whole, again.state())


