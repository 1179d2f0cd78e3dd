"""The same command continues: to the same weights bit by bit, from the newest state that is whole."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_training import PRESET, QUIET, assert_same, metric_rows, train

from hvgcli.training.level import LevelTraining
from hvgcli.training.loop import train_level
from hvgcli.training.plan import plan
from hvgcli.training.run_state import load_state, resume, save_state, states


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


def flip(path: Path, bit: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[bit // 8] ^= 1 << bit % 8
    path.write_bytes(raw)


def test_a_single_flipped_bit_anywhere_falls_back_to_the_state_before(data: Path, tmp_path: Path) -> None:
    made = train(data, tmp_path / "run", options=replace(QUIET, save_every=1))
    (_, before), (_, last) = states(tmp_path / "run")
    level = LevelTraining(made.run.config, 1, made.run.training, torch.device("cpu"))
    size = 8 * last.stat().st_size
    header = 8 * (8 + int.from_bytes(last.read_bytes()[:8], "little"))
    rng = random.Random(0)
    bits = [0, header - 1, header, size - 1, *(rng.randrange(header) for _ in range(3)), *rng.sample(range(size), 5)]
    for bit in bits:
        flip(last, bit)
        warnings: list[str] = []
        assert resume(tmp_path / "run", level, warnings.append)["step"] == 2, bit
        assert len(warnings) == 1
        assert last.name in warnings[0]
        flip(last, bit)
    assert resume(tmp_path / "run", level, warnings.append)["step"] == 3  # whole again
    sidecar = last.with_suffix(".json")
    for bit in rng.sample(range(8 * sidecar.stat().st_size), 20):
        flip(sidecar, bit)
        try:
            found = resume(tmp_path / "run", level, lambda message: None)["step"]
        finally:
            flip(sidecar, bit)
        assert found in (2, 3)  # 3 where the bit means nothing: in a space, the step, the case of a name
    assert before.exists()


def test_states_of_early_runs_have_no_checksum_and_load(data: Path, tmp_path: Path) -> None:
    options = replace(QUIET, save_every=1)
    whole = train(data, tmp_path / "run", options=options, steps=4).state()
    for step, path in states(tmp_path / "run"):
        path.with_suffix(".json").unlink()
        if step == 4:
            path.unlink()
    again = train(data, tmp_path / "run", options=options, steps=4)
    assert (again.steps, again.warnings) == ([4], [])
    assert_same(whole, again.state())


def test_what_a_killed_process_left_is_removed(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "run", steps=1)
    left = [tmp_path / "run" / name for name in (".state-2.part", ".tmp7IfQlZ", "state-00000002.json")]
    for path in left:
        path.write_text("{}")
    assert train(data, tmp_path / "run", steps=1).warnings == []
    assert not any(path.exists() for path in left)


def test_torchs_random_state_travels_with_the_run(data: Path, tmp_path: Path) -> None:
    made = train(data, tmp_path / "run", steps=1)
    level = LevelTraining(made.run.config, 1, made.run.training, torch.device("cpu"))
    torch.manual_seed(5)
    torch.randn(3)
    path = save_state(tmp_path / "run", level, 2, keep=1)
    expected = torch.randn(4)
    assert [found for _, found in states(tmp_path / "run")] == [path]  # the other was dropped, with its checksum
    assert len(list((tmp_path / "run").glob("state-*"))) == 2
    torch.manual_seed(6)
    load_state(path, level)
    assert torch.equal(torch.randn(4), expected)


def test_a_half_done_step_is_not_saved(data: Path, tmp_path: Path) -> None:
    """Ctrl-C within a step leaves the last whole state: a half-done step could not be continued exactly."""
    clips = tmp_path / "clips"
    shutil.copytree(data, clips)
    content = (clips / "cats" / "0.mp4").read_bytes()
    (clips / "cats" / "0.mp4").write_bytes(content[: len(content) * 9 // 10])
    run, index = plan(PRESET, 1, clips, tmp_path / "run", None, {"steps": 40}, 0)

    def interrupt(message: str) -> None:
        raise KeyboardInterrupt  # where a bad clip is met: while a batch is loaded

    options = replace(QUIET, save_every=1, workers=0)
    with pytest.raises(KeyboardInterrupt):
        train_level(run, index, options, progress=lambda *what: None, warn=interrupt)
    done = states(run.out)[-1][0] if states(run.out) else 0
    assert done == len(metric_rows(run.out)) < 40
    whole = train(clips, tmp_path / "whole", steps=done + 2).state()
    assert_same(whole, train(clips, tmp_path / "run", steps=done + 2).state())


def test_metrics_of_a_version_with_fewer_columns_are_kept(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "run", steps=2)
    path = tmp_path / "run" / "metrics.csv"
    rows = metric_rows(tmp_path / "run")
    names = [name for name in rows[0] if name != "data_seconds"]
    lines = [",".join(names), *(",".join(row[name] for name in names) for row in rows), "3,0.1"]
    path.write_text("\n".join(lines))
    train(data, tmp_path / "run", steps=3)
    now = metric_rows(tmp_path / "run")
    assert [row["step"] for row in now] == ["1", "2", "3"]
    assert [row["data_seconds"] for row in now[:2]] == ["", ""]
    assert float(now[2]["data_seconds"]) <= float(now[2]["seconds"])


@pytest.mark.parametrize("workers", [0, 3])
def test_the_number_of_workers_changes_nothing(data: Path, tmp_path: Path, workers: int) -> None:
    states_of = [
        train(data, tmp_path / str(count), options=replace(QUIET, workers=count), steps=2).state()
        for count in (1, workers)
    ]
    assert_same(*states_of)
