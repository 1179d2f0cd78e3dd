"""Training on the clips of HVG_DATA, a folder of class folders of real videos."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hvgcli.cli.main import run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("HVG_DATA" not in os.environ, reason="set HVG_DATA to a folder of class folders of clips"),
]


def test_two_levels_from_a_folder_to_a_video(tmp_path: Path, capsys) -> None:
    data = os.environ["HVG_DATA"]
    common = ["--data", data, "--steps", "2", "--batch-size", "2", "--passes", "1", "--json"]
    assert run(["train-level", "1", "--out", str(tmp_path / "one"), *common]) == 0
    assert run(["train-level", "2", "--model", str(tmp_path / "one"), "--out", str(tmp_path / "two"), *common]) == 0
    model = json.loads(capsys.readouterr().out.splitlines()[-1])["model"]
    video = tmp_path / "out.mp4"
    assert run(["generate", "--model", model, "--levels", "2", "--seed", "1", "-o", str(video)]) == 0
    assert video.stat().st_size > 0
