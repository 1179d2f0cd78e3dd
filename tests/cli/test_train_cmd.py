"""`hvg train` as people type it: one-stage models from clips to a model folder, their options and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from predictor_models import tiny_predictor
from programs import end, start
from tiny_training import PRESET, TRAINING, assert_same, make_data, write_preset

from hvgcli.cli.families import SYSTEMS
from hvgcli.cli.main import run
from hvgcli.config import Preset
from hvgcli.config.one_stage import DECOMPOSITIONS, RECURRENT_UNITS
from hvgcli.models.dvd_gan import DvdGan
from hvgcli.models.frame_prediction import FramePredictor
from hvgcli.sampling.hierarchy import load
from hvgcli.training.run_state import states

Call = Callable[..., tuple[int, str, str]]
PLAIN = {"decomposition": "dvd-gan", "projection": "sum", "unit": "ConvGRU"}
MODELS = {
    "dvd-gan": replace(tiny_predictor(stride=1, context=0, **PLAIN), num_classes=2, name="tiny-dvd"),
    "dvd-gan-fp": tiny_predictor(stride=1, **PLAIN),
    "trivd-gan-fp": tiny_predictor(stride=1),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, make_clip: Callable[..., Path]) -> Path:
    return make_data(tmp_path_factory.mktemp("clips"), make_clip)


@pytest.fixture
def hvg(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """`hvg train SYSTEM` of the tiny preset of that system; returns exit code, stdout and stderr."""
    for name, model in MODELS.items():
        write_preset(tmp_path / f"{name}.json", Preset(model, (replace(TRAINING, steps=2),), "for tests"))

    def call(system: str, *args: object, clips: object = data) -> tuple[int, str, str]:
        common = ["--data", clips, "--preset", tmp_path / f"{system}.json", "--out", tmp_path / "run"]
        code = run(["train", *map(str, [system, *common, "--device", "cpu", "--passes", 1, "--log", "csv", *args])])
        return code, *capsys.readouterr()

    return call


def plan(hvg: Call, system: str, *args: object) -> dict[str, Any]:
    code, printed, errors = hvg(system, "--dry-run", "--json", *args)
    assert code == 0, errors
    return json.loads(printed)  # type: ignore[no-any-return]


def one_line(errors: str) -> str:
    [line] = [line for line in errors.splitlines() if line.startswith("hvg: error: ")]
    return line.removeprefix("hvg: error: ")


# ---- from clips to videos -----------------------------------------------------------------------


@pytest.mark.parametrize("system", ["dvd-gan-fp", "trivd-gan-fp"])
def test_a_trained_predictor_continues_a_clip(hvg: Call, system: str, tmp_path: Path, data: Path) -> None:
    code, printed, errors = hvg(system, "-q")
    assert (code, printed.strip()) == (0, str(tmp_path / "run" / "model")), errors
    model = load(tmp_path / "run" / "model")
    assert isinstance(model.generators[0], FramePredictor)
    assert model.config.levels == MODELS[system].levels
    assert model.config.classes == ()
    arguments = ["predict", data / "cats" / "0.mp4", "--model", tmp_path / "run" / "model", "-o", tmp_path / "next.mp4"]
    assert run([str(part) for part in [*arguments, "--device", "cpu", "-q"]]) == 0
    assert (tmp_path / "next.mp4").stat().st_size > 0


def test_a_trained_dvd_gan_makes_videos_of_a_class(hvg: Call, tmp_path: Path) -> None:
    assert hvg("dvd-gan")[0] == 0
    model = load(tmp_path / "run" / "model")
    assert isinstance(model.generators[0], DvdGan)
    assert model.config.classes == ("cats", "dogs")
    arguments = ["generate", "--model", tmp_path / "run" / "model", "--class", "dogs", "-o", tmp_path / "dogs.mp4"]
    assert run([str(part) for part in [*arguments, "--device", "cpu", "-q"]]) == 0
    assert (tmp_path / "dogs.mp4").stat().st_size > 0


def test_the_same_command_goes_on(hvg: Call, tmp_path: Path) -> None:
    assert hvg("trivd-gan-fp", "--steps", 1)[0] == 0
    code, printed, errors = hvg("trivd-gan-fp", "--steps", 3, "--json")
    assert (code, json.loads(printed)["steps"]) == (0, 3), errors
    assert (tmp_path / "run" / "metrics.csv").read_text().count("\n") == 1 + 3
    code, _, errors = hvg("trivd-gan-fp", "--unit", "TSRU_c")
    assert code == 2
    assert "holds another run (its model differs)" in one_line(errors)


def test_two_processes_train_a_predictor(data: Path, tmp_path: Path) -> None:
    preset = write_preset(tmp_path / "fp.json", Preset(MODELS["trivd-gan-fp"], (TRAINING,), "for tests"))
    command = ["train", "trivd-gan-fp", "--data", data, "--preset", preset, "--out", tmp_path / "run"]
    code, printed, errors = end(start(*command, "--steps", 2, "--passes", 1, "--device", "cpu", processes=2))
    assert (code, printed.strip()) == (0, str(tmp_path / "run" / "model")), errors
    assert states(tmp_path / "run")[-1][0] == 2
    code, printed, errors = end(start(*command, "--unit", "nope", processes=2))
    assert code != 0
    assert "--unit 'nope' is not known" in errors


# ---- what is planned ----------------------------------------------------------------------------


def test_options_change_the_networks_and_the_plan_shows_them(hvg: Call, tmp_path: Path) -> None:
    options = ["--frames", 5, "--context", 2, "--unit", "ConvLSTM", "--decomposition", "dvd-gan"]
    told = plan(hvg, "trivd-gan-fp", *options, "--spatial-frames", 3, "--batch-size", 4, "--steps", 7)
    assert (told["system"], told["output"], told["context"]) == ("trivd-gan-fp", "5/16x16", 2)
    assert (told["unit"], told["decomposition"], told["projection"]) == ("ConvLSTM", "dvd-gan", "mixed")
    level = told["preset"]["model"]["levels"][0]
    assert (level["frames"], level["context"], level["unit"]) == (5, 2, "ConvLSTM")
    assert (told["training"]["spatial_frames"], told["training"]["batch_size"], told["steps"]) == (3, 4, 7)
    assert not (tmp_path / "run").exists()


def test_the_preset_of_a_plan_can_be_given_back(hvg: Call, tmp_path: Path) -> None:
    told = plan(hvg, "dvd-gan-fp", "--unit", "TSRU_s", "--frames", 3, "--steps", 9, "--ema", 0)
    (tmp_path / "again.json").write_text(json.dumps(told["preset"]))
    assert plan(hvg, "dvd-gan-fp", "--preset", tmp_path / "again.json") == told
    assert told["training"]["steps"] == 9


def test_the_preset_is_the_mini_one_of_the_system_by_default(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--data", str(data), "--out", str(tmp_path / "run"), "--dry-run", "--json"]
    assert run(["train", "dvd-gan-fp", *command, "--frames", "3", "--context", "2"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["system"], told["preset"]["model"]["name"]) == ("dvd-gan-fp", "dvd-gan-fp-mini")
    assert run(["train", "dvd-gan", *command]) == 3
    assert "no clip has the 48 frames" in one_line(capsys.readouterr().err)


def test_units_differ_in_what_they_weigh(hvg: Call) -> None:
    plans = {unit: plan(hvg, "dvd-gan", "--unit", unit) for unit in ("ConvGRU", "K-TrajGRU", "PTSRU_s")}
    assert all(told["unit"] == unit for unit, told in plans.items())
    assert len({told["generator_parameters"] for told in plans.values()}) == 3


def test_decompositions_differ_in_what_is_judged(hvg: Call) -> None:
    names = ("clip", "faster", "stronger", "phi-4x4")
    sizes = {name: plan(hvg, "trivd-gan-fp", "--decomposition", name) for name in names}
    networks = {name: told["discriminator_parameters"] for name, told in sizes.items()}
    assert networks["stronger"] > networks["faster"] > networks["clip"] > 0
    assert all(told["decomposition"] == name for name, told in sizes.items())


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "arguments", "code", "message"),
    [
        ("trivd-gan-fp", ["--unit", "tsru_q"], 2, "--unit 'tsru_q' is not known: did you mean TSRU_"),
        ("trivd-gan-fp", ["--unit", "zzz"], 2, "give one of ConvGRU, ConvLSTM"),
        ("trivd-gan-fp", ["--decomposition", "strong"], 2, "did you mean stronger"),
        ("dvd-gan", ["--context", 5], 2, "leave out --context"),
        ("trivd-gan-fp", ["--context", 5000], 2, "context 5000 must be"),
        ("trivd-gan-fp", ["--frames", 70_000], 2, "frames 70000 must be"),
        ("trivd-gan-fp", ["--frames", 11], 3, "no clip has the 14 frames of a training window, the longest has 12"),
        ("dvd-gan", ["--frames", 13], 3, "or a smaller --frames"),
        ("dvd-gan-fp", ["--decomposition", "clip", "--spatial-frames", 4], 2, "clip judges no single frames"),
        ("dvd-gan-fp", ["--decomposition", "mocogan-8", "--spatial-frames", 4], 2, "mocogan-8 always judges 8"),
        ("dvd-gan-fp", ["--preset", "hvg-mini"], 2, "is a hierarchy: use hvg train-level 1 --preset hvg-mini"),
        ("dvd-gan", ["--preset", "dvd-gan-fp-mini"], 2, "is not of dvd-gan: use hvg train dvd-gan-fp --preset"),
        ("dvd-gan-fp", ["--preset", "trivd-gan-fp"], 2, "use hvg train trivd-gan-fp --preset trivd-gan-fp"),
        ("trivd-gan-fp", ["--preset", "dvd-gan-mini"], 2, "use hvg train dvd-gan --preset dvd-gan-mini"),
        ("trivd-gan-fp", ["--preset", "trivd-gan"], 2, "did you mean trivd-gan-fp"),
        ("trivd-gan-fp", ["--patience", 1, "--watch", "loss_d", "--steps", 1], 2, "--watch loss_d"),
        ("trivd-gan-fp", ["--batch-size", 1], 2, "change --batch-size"),
        ("trivd-gan-fp", ["--augment", "colour"], 2, "--augment 'colour'"),
        ("trivd-gan-fp", ["--from", "nowhere/at/all"], 4, "nowhere/at/all"),
        ("trivd-gan-fp", ["--from", "hvg-minni"], 2, "did you mean hvg-mini"),
        ("trivd-gan-fp", ["--from", "."], 4, "is neither a run nor a model"),
    ],
)
def test_requests_that_cannot_be_are_one_line_and_write_nothing(
    hvg: Call, tmp_path: Path, system: str, arguments: list[object], code: int, message: str
) -> None:
    found, printed, errors = hvg(system, *arguments)
    assert (found, printed) == (code, ""), errors
    assert message in one_line(errors)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("system", "message"), [("hvg", "use hvg train-level 1"), ("trivd-gan", "did you mean trivd-gan-fp"), ("x", "give")]
)
def test_an_unknown_system_is_one_line(
    data: Path, tmp_path: Path, system: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", system, "--data", str(data), "--out", str(tmp_path / "run")]) == 2
    assert message in one_line(capsys.readouterr().err)


@pytest.mark.parametrize(("preset", "system"), [("dvd-gan-mini", "dvd-gan"), ("trivd-gan-fp-bair", "trivd-gan-fp")])
def test_train_level_points_to_hvg_train(
    data: Path, tmp_path: Path, preset: str, system: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train-level", "1", "--data", str(data), "--out", str(tmp_path / "run"), "--preset", preset]
    assert run(command) == 2
    assert f"is no hierarchy: use hvg train {system} --preset {preset}" in one_line(capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_the_help_groups_its_options_and_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for word in ("Data and model", "Networks", "Machine", "What is kept", "--from", "--spatial-frames", "torchrun"):
        assert word in text
    for name in (*SYSTEMS, *RECURRENT_UNITS, *DECOMPOSITIONS):
        assert name in text


# ---- the networks of another run ----------------------------------------------------------------


def test_from_is_recorded_and_read_once(hvg: Call, tmp_path: Path) -> None:
    assert hvg("trivd-gan-fp", "--out", tmp_path / "first")[0] == 0
    told = plan(hvg, "trivd-gan-fp", "--from", tmp_path / "first")
    assert told["from"] == str(tmp_path / "first")
    code, _, errors = hvg("trivd-gan-fp", "--from", tmp_path / "first", "--frames", 2, "--steps", 1, "-q")
    assert (code, errors) == (0, "")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["start"] == str((tmp_path / "first").resolve())
    (tmp_path / "first").rename(tmp_path / "elsewhere")
    code, _, errors = hvg("trivd-gan-fp", "--from", tmp_path / "first", "--frames", 2, "--steps", 2, "-q")
    assert (code, errors) == (0, "")  # a run that goes on needs it no more


def test_from_a_run_of_other_widths_is_one_line_and_writes_nothing(hvg: Call, tmp_path: Path) -> None:
    wide = Preset(tiny_predictor(stride=1, channels=6), (TRAINING,), "for tests")
    arguments = ["--preset", write_preset(tmp_path / "wide.json", wide), "--out", tmp_path / "wide", "--steps", 1]
    assert hvg("trivd-gan-fp", *arguments)[0] == 0
    for begin in (tmp_path / "wide", tmp_path / "wide" / "model"):
        code, _, errors = hvg("trivd-gan-fp", "--from", begin)
        assert code == 4
        assert "cannot be the start of this run" in one_line(errors)
    assert not (tmp_path / "run").exists()


def test_from_a_model_by_its_folder_and_by_its_name(hvg: Call, tmp_path: Path) -> None:
    assert hvg("trivd-gan-fp", "--out", tmp_path / "first", "--steps", 1)[0] == 0
    assert run(["models", "pull", str(tmp_path / "first" / "model"), "-q"]) == 0
    for number, begin in enumerate((tmp_path / "first" / "model", "tiny-fp")):
        code, _, errors = hvg("trivd-gan-fp", "--from", begin, "--out", tmp_path / f"run{number}", "--steps", 1)
        assert code == 0, errors
        assert "the others begin afresh" in errors
    first, second = (load(tmp_path / f"run{number}" / "model").generators[0].state_dict() for number in (0, 1))
    assert_same(dict(first), dict(second))


def test_train_level_begins_with_another_run_too(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = write_preset(tmp_path / "tiny.json", PRESET)
    common = ["--data", data, "--preset", preset, "--device", "cpu", "--passes", 1, "--log", "none", "-q"]

    def train(out: str, *args: object) -> tuple[int, str]:
        code = run([str(part) for part in ["train-level", 1, *common, "--out", tmp_path / out, *args]])
        return code, capsys.readouterr().err

    assert train("first") == (0, "")
    assert train("second", "--from", tmp_path / "first", "--window", 2, "--steps", 1) == (0, "")
    assert json.loads((tmp_path / "second" / "run.json").read_text())["start"] == str((tmp_path / "first").resolve())
