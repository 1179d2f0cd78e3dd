"""What a run refuses before anything is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from tiny_training import PRESET, QUIET, finish_run, train

from hvgcli.checkpoints import read_model_config
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


def test_a_run_that_an_older_version_began_goes_on(data: Path, tmp_path: Path) -> None:
    """Its run.json has no fields that came later."""
    train(data, tmp_path / "run", steps=1)
    path = tmp_path / "run" / "run.json"
    record = json.loads(path.read_text())
    for level in record["model"]["levels"]:
        del level["code_components"], level["unit"]
        for name in ("spatial", "temporal"):
            del level[name]["patches"], level[name]["detail"]
    del record["training"]["reconstruction"]["judged"]
    path.write_text(json.dumps(record))
    gone_on = train(data, tmp_path / "run", steps=2)
    assert (gone_on.steps, gone_on.warnings) == ([2], [])


@pytest.mark.parametrize("record", [[], {}, {"model": {}}, {"model": {"levels": [7]}}, {"model": None, "level": 1}])
def test_a_run_json_of_something_else_is_refused_with_its_name(data: Path, tmp_path: Path, record: object) -> None:
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match=r"run\.json is not of a run of .*: give a new --out folder"):
        train(data, tmp_path, steps=1)
    assert json.loads((tmp_path / "run.json").read_text()) == record


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


def test_clips_without_classes_make_a_model_without_classes(data: Path, model1: Path, tmp_path: Path) -> None:
    run, index = plan(PRESET, 1, data / "cats", tmp_path / "run", None, {}, 0)
    assert not run.config.conditional
    assert len(index.clips) == 2
    with pytest.raises(UsageError, match="knows 2 classes"):
        plan(PRESET, 2, data / "cats", tmp_path / "run", model1, {}, 0)


def test_requests_that_do_not_fit_are_refused(data: Path, model1: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for level, below, message in ((0, None, "1..2"), (3, model1, "1..2"), (1, model1, "--model"), (2, None, "--model")):
        with pytest.raises(UsageError, match=message):
            plan(PRESET, level, data, out, below, {}, 0)
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


# ---- windows -------------------------------------------------------------------------------------


def test_a_level_is_trained_on_another_window_and_the_next_one_on_top_of_it(data: Path, tmp_path: Path) -> None:
    first = train(data, tmp_path / "one", window=3)
    below = finish_run(first)
    assert read_model_config(below).levels[0].frames == 3
    second = train(data, tmp_path / "two", 2, below, window=2)
    assert [level.frames for level in second.run.config.levels] == [3, 2]
    assert [level.frames for level in read_model_config(finish_run(second)).levels] == [3, 2]
    with pytest.raises(UsageError, match="model differs"):
        train(data, tmp_path / "two", 2, below, window=4)


@pytest.mark.parametrize(("window", "message"), [(3, "not a multiple of 2: change --window"), (10, "of 8 frames")])
def test_windows_that_do_not_fit_are_refused(
    data: Path, model1: Path, tmp_path: Path, window: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plan(PRESET, 2, data, tmp_path / "run", model1, {}, 0, window=window)


def test_a_window_longer_than_every_clip_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no clip has the 64 frames of a training window, the longest has 12: .*--win"):
        plan(PRESET, 1, data, tmp_path / "run", None, {}, 0, window=64)


def test_one_clip_is_enough(data: Path, tmp_path: Path) -> None:
    (tmp_path / "clips" / "cats").mkdir(parents=True)
    (tmp_path / "clips" / "dogs").mkdir()
    shutil.copy(data / "cats" / "0.mp4", tmp_path / "clips" / "cats")
    made = train(tmp_path / "clips", tmp_path / "run", steps=2)
    assert made.run.config.classes == ("cats",)
    assert made.steps == [1, 2]


def test_clips_of_any_size_and_rate_are_mixed(data: Path, tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    shutil.copytree(data, tmp_path / "clips")
    make_clip(tmp_path / "clips" / "cats" / "wide.mp4", frames=20, size=(16, 96), rate=Fraction(30000, 1001))
    make_clip(tmp_path / "clips" / "dogs" / "tall.mp4", frames=9, size=(64, 20), rate=Fraction(10))
    assert train(tmp_path / "clips", tmp_path / "run", steps=3, batch_size=6).steps == [1, 2, 3]


@pytest.mark.parametrize(("processes", "changes"), [(3, {}), (2, {"batch_size": 4, "accumulate": 4}), (4, {})])
def test_a_batch_that_cannot_be_shared_is_refused(
    data: Path, tmp_path: Path, processes: int, changes: dict[str, object]
) -> None:
    with pytest.raises(UsageError, match="--batch-size"):
        plan(PRESET, 1, data, tmp_path / "run", None, changes, 0, processes=processes)


def test_a_preset_that_does_not_fit_the_model_below_is_refused(data: Path, model1: Path, tmp_path: Path) -> None:
    wider = replace(PRESET.model.levels[0], channels=5)
    other = replace(PRESET, model=replace(PRESET.model, levels=(wider, PRESET.model.levels[1])))
    with pytest.raises(UsageError, match="another level 1 than preset small"):
        plan(other, 2, data, tmp_path / "run", model1, {}, 0)
