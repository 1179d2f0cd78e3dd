"""Runs of two processes by torchrun: they end together, whatever one of them meets."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from programs import end, launch, rows, start, until
from tiny_training import PRESET, QUIET, TRAINING, last_state, train, write_preset

from hvgcli.training.run_state import states

LONG = replace(PRESET, training=(TRAINING, replace(TRAINING, steps=100_000)))


def damaged(data: Path, folder: Path, *names: str) -> Path:
    """The clips, of which those named can be listed but not decoded."""
    shutil.copytree(data, folder)
    for name in names:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) * 9 // 10])
    return folder


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    return write_preset(tmp_path / "tiny.json", LONG)


def test_two_processes_skip_a_bad_clip_end_on_ctrl_c_and_go_on_as_one(
    data: Path, model1: Path, preset: Path, tmp_path: Path
) -> None:
    out, clips = tmp_path / "run", damaged(data, tmp_path / "clips", "cats/0.mp4")
    kept = ["--save-every", 1000, "--samples-every", 2, "--device", "cpu"]
    program = start(
        "train-level", 2, "--data", clips, "--preset", preset, "--model", model1, "--out", out, *kept, processes=2
    )
    assert until(lambda: rows(out) >= 8, program)
    os.killpg(program.pid, signal.SIGINT)  # as a terminal sends it: to torchrun and both processes
    code, printed, errors = end(program)
    assert code != 0
    assert printed == ""
    [(step, _)] = states(out)
    assert step == rows(out) >= 8
    warnings = [line for line in errors.splitlines() if "skipped a clip" in line]
    assert warnings
    assert len(warnings) == len(set(warnings)) <= 2  # once a process
    assert all("process 0: " in line or "process 1: " in line for line in warnings)
    before = last_state(out)["networks/generator.to_rgb.bias"]
    made = train(clips, out, 2, model1, preset=LONG, options=QUIET, steps=step + 2)
    assert made.steps == [step + 1, step + 2]
    assert not before.equal(made.state()["networks/generator.to_rgb.bias"])
    code, printed, errors = end(
        start(
            *("train-level", 2, "--data", clips, "--preset", preset, "--model", model1, "--out", out, *kept),
            *("--steps", step + 4, "--passes", 1),
            processes=2,
        )
    )
    assert (code, printed.strip()) == (0, str(out / "model")), errors
    assert states(out)[-1][0] == step + 4


def test_an_error_of_one_process_ends_both_with_one_message(data: Path, preset: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "clips0")
    bad = [f"{name}/{number}.mp4" for name in ("cats", "dogs") for number in (0, 1)]
    damaged(data, tmp_path / "clips1", *bad)
    # each process has a folder of its own, as two machines have, and that of the second is damaged
    script = f"exec {sys.executable} -m hvgcli train-level 1 --data {tmp_path}/clips$RANK --preset {preset} --out "
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    code, printed, errors = end(launch([*launcher, "bash", "-c", script + f"{tmp_path}/run --device cpu"]))
    assert code != 0
    assert printed == ""
    messages = [line for line in errors.splitlines() if line.startswith("hvg: error")]
    assert len(messages) == 1, errors
    assert "failed to decode" in messages[0]
