"""`--compile`: the same numbers but for rounding where there is a compiler, one line where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_training import QUIET, train, write_preset

from hvgcli.cli.training.run import check_compiler
from hvgcli.errors import ResourceError


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's compiler about itself
def test_a_compiled_run_has_the_losses_of_the_plain_one(data: Path, tmp_path: Path) -> None:
    try:
        check_compiler(torch.device("cpu"))
    except ResourceError as error:
        pytest.skip(str(error))
    plain = train(data, tmp_path / "plain", steps=2)
    compiled = train(data, tmp_path / "compiled", steps=2, options=replace(QUIET, compiled=True))
    for ours, theirs in zip(compiled.metrics, plain.metrics, strict=True):
        names = [name for name in theirs if "seconds" not in name]
        assert [ours[name] for name in names] == pytest.approx([theirs[name] for name in names], rel=1e-3)


def test_without_a_compiler_the_option_is_refused_in_one_line(data: Path, tmp_path: Path) -> None:
    preset, out = write_preset(tmp_path / "tiny.json"), tmp_path / "run"
    command = ["train-level", "1", "--data", data, "--preset", preset, "--out", out, "--device", "cpu", "--compile"]
    done = subprocess.run(
        [sys.executable, "-m", "hvgcli", *map(str, command)],
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": str(tmp_path), "CXX": "/nonexistent", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 5
    [line] = [line for line in done.stderr.splitlines() if line.startswith("hvg: error: ")]
    assert "--compile does not work here" in line
    assert not out.exists()
