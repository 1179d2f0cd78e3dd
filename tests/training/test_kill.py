"""Runs that are killed at any moment, asked to end, or meet a full disk: nothing is lost, nothing is half-written."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from programs import end, rows, start, until
from tiny_training import PRESET, TRAINING, assert_same, last_state, metric_rows, write_preset

from hvgcli.training.run_state import states

STEPS = 30


@pytest.fixture(scope="module")
def command(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """`hvg train-level 1` of the tiny preset from a file; --out is to be added."""
    preset = replace(PRESET, training=(replace(TRAINING, steps=STEPS), TRAINING))
    path = write_preset(tmp_path_factory.mktemp("preset") / "tiny.json", preset)
    kept = ["--save-every", 1, "--samples-every", 1000, "--passes", 1, "--log", "csv", "--device", "cpu"]
    return ["train-level", 1, "--data", data, "--preset", path, *kept]


@pytest.fixture(scope="module")
def whole(command: list[object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    code, printed, errors = end(start(*command, "--out", out))
    assert (code, printed.strip()) == (0, str(out / "model")), errors
    return out


def half_written(out: Path) -> bool:
    return any(out.glob(".*"))


def test_a_run_killed_at_random_moments_ends_with_the_same_weights(
    command: list[object], whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    rng = random.Random(7)
    for number in range(3):
        program = start(*command, "--out", out)
        target = rows(out) + rng.randrange(3, 7)
        assert until(lambda target=target: rows(out) >= target, program)
        if number == 1:  # in the middle of writing a state
            assert until(lambda: half_written(out), program)
        else:
            time.sleep(rng.random() * 0.05)
        os.kill(program.pid, signal.SIGKILL)
        program.communicate()
    assert 0 < states(out)[-1][0] < STEPS
    code, _, errors = end(start(*command, "--out", out))
    assert (code, "warning" in errors) == (0, False), errors
    assert not list(out.glob(".*"))
    assert_same(last_state(whole), last_state(out))
    told = [[{k: row[k] for k in row if "seconds" not in k} for row in metric_rows(run)] for run in (whole, out)]
    assert told[0] == told[1]
    files = [(run / "model" / "level1.safetensors").read_bytes() for run in (whole, out)]
    assert files[0][-4096:] == files[1][-4096:]  # the header has the seconds, which differ


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_run_that_is_asked_to_end_saves_its_state(
    command: list[object], tmp_path: Path, number: signal.Signals, expected: int
) -> None:
    out = tmp_path / "run"
    program = start(*command, "--save-every", 1000, "--out", out)
    assert until(lambda: rows(out) >= 3, program)
    program.send_signal(number)
    code, _, errors = end(program)
    assert code == expected, errors
    assert [step for step, _ in states(out)] == [rows(out)]
    assert rows(out) < STEPS
    assert "the same command goes on" in errors or number == signal.SIGTERM


def test_a_full_disk_keeps_the_states_so_far(command: list[object], tmp_path: Path) -> None:
    out = tmp_path / "run"
    program = start(*command, "--out", out, "--steps", 2)
    assert end(program)[0] == 0
    before = {path.name: path.read_bytes() for _, path in states(out)}
    # no file may grow beyond half a state, as on a disk with as much space left
    limit = states(out)[-1][1].stat().st_size // 2
    code, _, errors = end(start(*command, "--out", out, limit_file_bytes=limit))
    assert code == 3
    [line] = [line for line in errors.splitlines() if "error" in line]
    assert "kept up to step 2" in line
    assert {path.name: path.read_bytes() for _, path in states(out)} == before
    assert not list(out.glob(".*"))
