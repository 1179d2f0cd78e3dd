"""What a run refuses before anything is written."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_training import PRESET, QUIET, train

from hvgcli.errors import DataError, UsageError, WeightsError
from hvgcli.training.loop import train_level
from hvgcli.training.plan import plan


def test_another_run_in_the_same_folder_is_refused(data: Path, model1: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "run", steps=1)
    wider = replace(PRESET.model.levels[0], channels=5)
    other = replace(PRESET, model=replace(PRESET.model, levels=(wider, PRESET.model.levels[1])))
    with pytest.raises(UsageError, match="model differs"):
        train(data, tmp_path / "run", preset=other, steps=2)
    with pytest.raises(UsageError, match="seed differs"):
        train(data, tmp_path / "run", seed=1, steps=2)
    with pytest.raises(UsageError, match="another run"):
        train(data, tmp_path / "run", 2, model1, steps=2)
    assert train(data, tmp_path / "run", steps=2).steps == [2]  # more steps of the same run are welcome


def test_other_classes_than_before_are_refused(data: Path, model1: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed"
    shutil.copytree(data, renamed)
    train(renamed, tmp_path / "run", steps=1)
    (renamed / "dogs").rename(renamed / "wolves")
    with pytest.raises(UsageError, match="another run"):
        train(renamed, tmp_path / "run", steps=2)
    with pytest.raises(UsageError, match="classes"):
        plan(PRESET, 2, renamed, tmp_path / "two", model1, {}, 0)
    assert not (tmp_path / "two").exists()


def test_requests_that_do_not_fit_are_refused(data: Path, model1: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for level, below, message in ((0, None, "1..2"), (3, model1, "1..2"), (1, model1, "--model"), (2, None, "--model")):
        with pytest.raises(UsageError, match=message):
            plan(PRESET, level, data, out, below, {}, 0)
    with pytest.raises(UsageError, match="folder a class"):
        plan(PRESET, 1, data / "cats", out, None, {}, 0)
    with pytest.raises(UsageError, match="--batch-size"):
        plan(PRESET, 1, data, out, None, {"batch_size": 1}, 0)
    with pytest.raises(DataError, match="no such folder"):
        plan(PRESET, 1, data / "none", out, None, {}, 0)
    with pytest.raises(WeightsError):
        plan(PRESET, 2, data, out, tmp_path, {}, 0)
    assert not out.exists()


def test_two_processes_do_not_train_in_one_folder(data: Path, tmp_path: Path) -> None:
    refused: list[str] = []

    def meanwhile(step: int, metrics: dict[str, float]) -> None:
        with pytest.raises(UsageError, match="being trained") as caught:
            train(data, tmp_path / "run", steps=2)
        refused.append(str(caught.value))

    run, index = plan(PRESET, 1, data, tmp_path / "run", None, {"steps": 2}, 0)
    assert train_level(run, index, QUIET, progress=meanwhile, warn=refused.append).step == 2
    assert len(refused) == 2
    assert train(data, tmp_path / "run", steps=3).steps == [3]  # free again


