"""`hvg train-level` as people type it: options, plans, refusals and their exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from tiny_training import PRESET, TRAINING, make_data, write_preset

from hvgcli.cli.main import run
from hvgcli.config import TrainingConfig

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, make_clip: Callable[..., Path]) -> Path:
    return make_data(tmp_path_factory.mktemp("clips"), make_clip)


@pytest.fixture
def hvg(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """`hvg train-level LEVEL` of the tiny preset; returns exit code, stdout and stderr."""
    preset = write_preset(tmp_path / "tiny.json")

    def call(level: int, *args: object, clips: object = data) -> tuple[int, str, str]:
        common = ["--data", clips, "--preset", preset, "--out", tmp_path / "run", "--device", "cpu", "--passes", 1]
        code = run(["train-level", *map(str, [level, *common, *args])])
        return code, *capsys.readouterr()

    return call


def one_line(errors: str) -> str:
    [line] = [line for line in errors.splitlines() if line.startswith("hvg: error: ")]
    return line.removeprefix("hvg: error: ")


def test_a_run_from_a_preset_file_to_a_model_and_what_it_leaves(hvg: Call, tmp_path: Path) -> None:
    code, printed, _ = hvg(1, "--json", "--log", "csv", "--ema", 0.9, "--augment", "color,cutout", "--accumulate", 1)
    out = tmp_path / "run"
    assert code == 0
    assert json.loads(printed) == {
        "schema": 1, "run": str(out), "steps": 3, "of": 3, "model": str(out / "model")
    }  # fmt: skip
    record = json.loads((out / "run.json").read_text())
    assert record["training"]["augment"] == ["color", "cutout"]
    assert record["training"]["ema"] == 0.9
    machine = record["machine"]
    assert machine["command"].split()[0] == "hvg"
    assert (machine["device"], machine["processes"]) == ("cpu", 1)
    assert set(machine) >= {"threads", "torch", "cores", "python"}
    assert (out / "metrics.csv").read_text().startswith("step,seconds,data_seconds,")
    assert not list(out.glob("events.*"))


def test_none_is_a_choice_of_log_and_augmentation(hvg: Call, tmp_path: Path) -> None:
    assert hvg(1, "--log", "none", "--augment", "none", "--ema", 0, "--steps", 1, "-q")[0] == 0
    assert not (tmp_path / "run" / "metrics.csv").exists()
    training = json.loads((tmp_path / "run" / "run.json").read_text())["training"]
    assert (training["augment"], training["ema"], training["steps"]) == ([], 0, 1)


def test_a_dry_run_says_the_cost_and_writes_nothing(hvg: Call, tmp_path: Path, data: Path, make_clip) -> None:
    clips = make_data(tmp_path / "clips", make_clip)
    make_clip(clips / "cats" / "short.mp4", frames=2, size=(24, 32), rate=Fraction(25))
    code, printed, errors = hvg(1, "--dry-run", "--json", "--batch-size", 4, "--window", 3, clips=clips)
    assert code == 0
    plan = json.loads(printed)
    assert (plan["clips"], plan["usable_clips"], plan["too_short"]) == (5, 4, 1)
    assert plan["output"] == "3/8x8"
    assert plan["steps_per_epoch"] == 0.5
    assert plan["samples_per_process"] == 4
    assert plan["generator_parameters"] > 0 < plan["discriminator_parameters"]
    assert plan["bytes"]["memory"] == plan["bytes"]["networks"] + plan["bytes"]["activations"]
    assert errors.count("1 of 5 clips are shorter than a window of 3 frames") == 1
    assert not (tmp_path / "run").exists()


def test_the_preset_of_a_dry_run_can_be_given_as_a_file(hvg: Call, tmp_path: Path) -> None:
    plan = json.loads(hvg(1, "--dry-run", "--json")[1])
    (tmp_path / "again.json").write_text(json.dumps(plan["preset"]))
    again = json.loads(hvg(1, "--dry-run", "--json", "--preset", tmp_path / "again.json")[1])
    assert again["preset"] == plan["preset"]
    assert hvg(1, "--dry-run")[1].count("\n") > 10  # for people: a list


def test_a_preset_may_leave_out_what_keeps_its_default(hvg: Call, tmp_path: Path) -> None:
    path = tmp_path / "tiny.json"
    record = json.loads(path.read_text())
    record["training"] = [{"steps": 5, "batch_size": 2}, {}]
    del record["source"]
    path.write_text(json.dumps(record))
    training = json.loads(hvg(1, "--dry-run", "--json")[1])["training"]
    expected = TrainingConfig(steps=5, batch_size=2)
    assert training == json.loads(json.dumps(expected.__dict__))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be an object"),
        (lambda r: r | {"modell": 1}, "modell"),
        (lambda r: r | {"training": r["training"][:1]}, "2 levels, but training for 1"),
        (lambda r: r | {"training": "fast"}, "training: a list"),
        (lambda r: r | {"training": [{"stepps": 1}, {}]}, "unknown field stepps"),
        (lambda r: r | {"training": [{"steps": "many"}, {}]}, "steps is 'many'"),
        (lambda r: r | {"training": [{"steps": 2.5}, {}]}, "steps is 2.5"),
        (lambda r: r | {"training": [{"balance_classes": 1}, {}]}, "balance_classes is 1"),
        (lambda r: r | {"training": [{"random_scale": [1, 1, 1]}, {}]}, "random_scale"),
        (lambda r: r | {"training": [{"augment": "color"}, {}]}, "augment is 'color'"),
        (lambda r: r | {"training": [7, {}]}, "training must be an object"),
        (lambda r: r | {"model": r["model"] | {"name": "../x"}}, "name must be"),
        (lambda r: r | {"model": None}, "levels"),
    ],
)
def test_a_preset_file_that_does_not_fit_is_one_line(hvg: Call, tmp_path: Path, change: object, message: str) -> None:
    path = tmp_path / "tiny.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(change(record)) if callable(change) else str(change))
    code, _, errors = hvg(1)
    assert code == 2
    assert message in one_line(errors)
    assert str(path) in one_line(errors)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--preset", "hvg-minni"], 2, "did you mean hvg-mini"),
        (["--preset", "none.json"], 2, "none.json is missing"),
        (["--augment", "colour"], 2, "--augment 'colour'"),
        (["--log", "wandb"], 2, "--log 'wandb'"),
        (["--ema", 1], 2, "change --ema"),
        (["--precision", "fp16"], 2, "change --precision"),
        (["--accumulate", 3], 2, "--accumulate"),
        (["--window", 40], 3, "no clip has the 40 frames"),
        (["--patience", 5, "--watch", "loss_d", "--steps", 1], 2, "--watch loss_d"),
        (["--device", "cuda:77"], 5, "cuda:77"),
        (["--model", "nowhere"], 4, "nowhere"),
        (["--data", "nowhere"], 3, "nowhere"),
        (["--notes", "nowhere.txt"], 3, "nowhere.txt"),
    ],
)
def test_requests_that_cannot_be_are_one_line_and_write_nothing(
    hvg: Call, tmp_path: Path, arguments: list[object], code: int, message: str
) -> None:
    found, printed, errors = hvg(1, *arguments)
    assert (found, printed) == (code, ""), errors
    assert message in one_line(errors)
    assert not (tmp_path / "run").exists()


def test_an_empty_folder_is_one_line(hvg: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, errors = hvg(1, clips=tmp_path / "empty")
    assert code == 3
    assert "empty" in one_line(errors)


def test_a_run_folder_of_another_preset_is_refused_and_stays(hvg: Call, tmp_path: Path) -> None:
    assert hvg(1, "--steps", 1, "--log", "csv")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    other = replace(PRESET, training=(replace(TRAINING, steps=1), TRAINING))
    wider = replace(other.model.levels[0], channels=5)
    other = replace(other, model=replace(other.model, levels=(wider, other.model.levels[1])))
    code, _, errors = hvg(1, "--preset", write_preset(tmp_path / "other.json", other))
    assert code == 2
    assert "holds another run (its model differs): give a new --out" in one_line(errors)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_early_stopping_ends_in_a_model(hvg: Call, tmp_path: Path) -> None:
    code, printed, errors = hvg(1, "--steps", 60, "--patience", 2, "--watch", "loss_g", "--log", "csv", "--json")
    assert code == 0
    record = json.loads(printed)
    assert 3 <= record["steps"] < record["of"] == 60
    assert "stopped early" in errors
    assert (tmp_path / "run" / "model" / "checksums.json").exists()


def test_the_help_groups_its_options_and_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train-level", "--help"]) == 0
    text = capsys.readouterr().out
    for word in ("Data and model", "Training", "Machine", "What is kept", "--window", "--compile", "torchrun"):
        assert word in text
