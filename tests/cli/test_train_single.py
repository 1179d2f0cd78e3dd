"""`hvg train-single` as people type it: from a clip or a picture to a model, plans, budgets, going on and stopping."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from patterns import moving_pattern
from PIL import Image
from programs import DEADLINE, end, rows, start, until
from small_single import small_config

from hvgcli.checkpoints import load_tensors, read_model_config, verify
from hvgcli.cli.main import run
from hvgcli.cli.training.single_request import UNLIMITED, model_name
from hvgcli.config import ModelConfig, SinglePreset, SingleTrainingConfig, to_dict
from hvgcli.sampling.single import generate, load_single
from hvgcli.training.run_state import states

Call = Callable[..., tuple[int, str, str]]
PRESET = SinglePreset(ModelConfig("small", (small_config(),)), SingleTrainingConfig(iterations=2), "for tests")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, make_clip: Callable[..., Path]) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "My clip.mp4", frames=12, size=(24, 32), rate=Fraction(24))


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    path = tmp_path / "small.json"
    path.write_text(json.dumps(to_dict(PRESET)))
    return path


@pytest.fixture
def hvg(clip: Path, preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """`hvg train-single` of the small preset; returns exit code, stdout and stderr."""

    def call(*args: object, learned: object = clip) -> tuple[int, str, str]:
        common = ["--preset", preset, "--out", tmp_path / "run", "--device", "cpu", "--log", "csv"]
        code = run(["train-single", *map(str, [learned, *common, "--precision", "fp32", *args])])
        return code, *capsys.readouterr()

    return call


def plan(hvg: Call, *args: object, **more: object) -> dict[str, Any]:
    code, printed, errors = hvg("--dry-run", "--json", *args, **more)
    assert code == 0, errors
    return json.loads(printed)  # type: ignore[no-any-return]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_tensors(out / "model" / "level1.safetensors")[0]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[key], b[key]) for key in a)


# ---- from a clip to variations -------------------------------------------------------------------------


def test_a_clip_becomes_a_model_and_what_a_run_leaves(hvg: Call, tmp_path: Path) -> None:
    code, printed, errors = hvg()
    out = tmp_path / "run"
    assert (code, printed) == (0, f"{out / 'model'}\n"), errors
    assert [line for line in errors.splitlines() if "is finished" in line] == [
        f"scale {n}/3 is finished, {size}: {out / 'samples' / f'scale-0{n}.png'}"
        for n, size in enumerate(
            ("2 frames of 10x8", "2 frames of 14x11", "3 frames of 16x12", "5 frames of 16x12")
        )
    ]  # fmt: skip
    assert f"hvg generate --model {out / 'model'} --num 8" in errors
    assert all(check.ok for check in verify(out / "model"))
    assert read_model_config(out / "model").name == "single-My-clip"
    assert generate(load_single(out / "model"), [1, 2], size=(12, 40), frames=9).shape == (2, 9, 3, 12, 40)
    assert "My clip.mp4, 5 frames at 24 frames/s from 0 s on" in (out / "model" / "README.md").read_text()
    assert rows(out) == 8
    record = json.loads((out / "run.json").read_text())
    assert record["machine"]["command"].split()[0] == "hvg"
    assert record["training"]["precision"] == "fp32"


def test_json_and_quiet(hvg: Call, tmp_path: Path) -> None:
    code, printed, _ = hvg("--json", "--log", "none")
    out = tmp_path / "run"
    assert code == 0
    expected = {"schema": 1, "run": str(out), "scales": 4, "of": 4, "model": str(out / "model")}
    assert json.loads(printed) == expected
    assert not (out / "metrics.csv").exists()
    code, printed, errors = hvg("-q", "--log", "none")
    assert (code, printed, errors) == (0, f"{out / 'model'}\n", "")


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_picture_becomes_a_model_of_pictures(hvg: Call, tmp_path: Path, name: str) -> None:
    Image.fromarray(moving_pattern(1, (24, 32))[0]).save(tmp_path / name)
    code, _, errors = hvg(learned=tmp_path / name)
    assert code == 0, errors
    assert "as an image" not in errors  # nobody doubts it
    config = read_model_config(tmp_path / "run" / "model").single
    assert config is not None
    assert (config.window, config.volumetric) == (1, False)
    assert generate(load_single(tmp_path / "run" / "model"), [1]).shape == (1, 1, 3, 12, 16)


def test_a_clip_is_learned_in_bfloat16(hvg: Call, tmp_path: Path) -> None:
    code, _, errors = hvg("--precision", "bf16")  # its coarse scales have 2 frames, fewer than a kernel
    assert code == 0, errors
    assert bool(torch.isfinite(generate(load_single(tmp_path / "run" / "model"), [1])).all())


def test_all_windows_of_a_long_clip_are_learned(hvg: Call) -> None:
    told = plan(hvg, "--whole")
    assert (told["windows"], told["output"]) == (2, "5/16x12")
    assert "2 windows of 5 frames" in told["learned"]
    code, _, errors = hvg("--whole", "--iterations", 1, "--start", "0.1")
    assert code == 0, errors


def test_standard_input(preset: Path, clip: Path, tmp_path: Path) -> None:
    options = ["--preset", preset, "--out", tmp_path / "run", "--device", "cpu", "--dry-run", "--json"]
    command = [sys.executable, "-m", "hvgcli", "train-single", "-", *map(str, options)]
    done = subprocess.run(command, input=clip.read_bytes(), capture_output=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["learned"] == "stdin, 5 frames at 24 frames/s from 0 s on"
    empty = subprocess.run(command, input=b"", capture_output=True, timeout=DEADLINE, check=False)
    assert (empty.returncode, b"standard input is empty" in empty.stderr) == (3, True)


# ---- what is planned -----------------------------------------------------------------------------------


def test_a_plan_tells_the_scales_and_writes_nothing(hvg: Call, tmp_path: Path) -> None:
    told = plan(hvg, "--minutes", 6)
    assert [(row["kind"], row["frames"], row["size"]) for row in told["scales"]] == [
        ("patch-VAE", 2, "10x8"),
        ("patch-VAE", 2, "14x11"),
        ("patch-GAN", 3, "16x12"),
        ("patch-GAN", 5, "16x12"),
    ]
    assert sum(row["minutes"] for row in told["scales"]) == pytest.approx(6, abs=0.03)
    assert told["generator_parameters"] > told["discriminator_parameters"] > 0
    assert (told["minutes"], told["iterations"], told["precision"]) == (6, None, "fp32")
    assert not (tmp_path / "run").exists()
    code, printed, _ = hvg("--dry-run")
    assert code == 0
    assert "patch-GAN" in printed
    assert "minutes" not in printed  # of a scale: there is no budget


def test_the_preset_of_a_plan_can_be_given_back(hvg: Call, tmp_path: Path) -> None:
    changes = ["--frames", 9, "--height", 16, "--scales", 3, "--vae-scales", 1, "--iterations", 7]
    told = plan(hvg, *changes)
    (tmp_path / "again.json").write_text(json.dumps(told["preset"]))
    assert plan(hvg, "--preset", tmp_path / "again.json") == told
    assert (len(told["scales"]), told["vae_scales"], told["iterations"]) == (3, 1, 7)
    assert told["output"] == "9/22x16"


def test_a_preset_may_leave_out_what_keeps_its_default(hvg: Call, preset: Path) -> None:
    record = json.loads(preset.read_text())
    del record["source"], record["training"]
    record["model"]["levels"][0] = {"family": "hp-vae-gan", "scales": 2, "vae_scales": 1}
    preset.write_text(json.dumps(record))
    assert plan(hvg, "--frames", 5)["training"] == json.loads(json.dumps(to_dict(SingleTrainingConfig())))


def test_the_presets_are_as_the_help_says(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train-single", str(clip), "--out", str(tmp_path / "run"), "--frames", "9", "-n", "--json"]
    told = {}
    for arguments in ([], ["--preset", "hp-vae-gan"]):
        assert run([*command, *arguments]) == 0
        record = json.loads(capsys.readouterr().out)
        numbers = record["minutes"], record["iterations"], len(record["scales"]), record["channels"]
        told[record["preset"]["model"]["name"]] = (*numbers, record["preset"]["model"]["levels"][0]["height"])
    assert told == {"hp-vae-gan-mini": (30, None, 5, 32, 96), "hp-vae-gan": (None, 20_000, 10, 64, 256)}
    assert run(["train-single", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in ("height 96, 5 scales of 32 channels, 30 minutes", "height 256, 10 scales of 64 channels, 20,000"):
        assert words in text


def test_a_budget_takes_the_place_of_the_presets(hvg: Call, preset: Path) -> None:
    assert plan(hvg, "--minutes", 3)["training"]["iterations"] == UNLIMITED
    record = json.loads(preset.read_text())
    record["training"]["minutes"] = 5
    preset.write_text(json.dumps(record))
    assert plan(hvg)["minutes"] == 5
    told = plan(hvg, "--iterations", 4)
    assert (told["minutes"], told["iterations"], told["training"]["minutes"]) == (None, 4, 0)


def test_the_same_budget_is_the_same_run_by_default_and_given(hvg: Call, preset: Path) -> None:
    mini = ("--preset", "hp-vae-gan-mini", "--frames", 9)
    assert plan(hvg, *mini) == plan(hvg, *mini, "--minutes", 30)
    record = json.loads(preset.read_text())
    record["training"]["minutes"] = 5
    preset.write_text(json.dumps(record))
    assert plan(hvg) == plan(hvg, "--minutes", 5)


def test_auto_is_bfloat16_where_that_is_fast(hvg: Call) -> None:
    from hvgcli.runtime import has_fast_bfloat16

    fast = has_fast_bfloat16(torch.device("cpu"))
    assert plan(hvg, "--precision", "auto")["precision"] == ("bf16" if fast else "fp32")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("clip.mp4", "single-clip"), ("Ähm (2).mov", "single-hm-2"), ("...", "single-clip"), ("a" * 200, None)],
)
def test_a_model_is_named_after_its_clip(name: str, expected: str | None) -> None:
    assert model_name(name) == (expected or "single-" + "a" * 89)


# ---- going on ------------------------------------------------------------------------------------------


def test_the_same_command_goes_on_to_the_weights_of_an_uninterrupted_run(
    clip: Path, preset: Path, tmp_path: Path
) -> None:
    common = [
        "train-single",
        clip,
        "--preset",
        preset,
        "--precision",
        "fp32",
        "--device",
        "cpu",
        "--log",
        "csv",
        "--iterations",
        4,
    ]
    code, _, errors = end(start(*common, "--out", tmp_path / "whole"))
    assert code == 0, errors
    out = tmp_path / "parts"
    program = start(*common, "--out", out, "--save-every", 0)
    assert until(lambda: rows(out) >= 6, program)
    os.kill(program.pid, signal.SIGKILL)
    program.communicate()
    assert rows(out) < 16
    code, printed, errors = end(start(*common, "--out", out))
    assert (code, printed) == (0, f"{out / 'model'}\n"), errors
    assert same(weights(out), weights(tmp_path / "whole"))


def training(clip: Path, preset: Path, out: Path, *more: object) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    fixed = ("--precision", "fp32", "--device", "cpu", "--log", "csv")
    return start("train-single", clip, "--preset", preset, *fixed, "--out", out, *more)


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_run_that_is_asked_to_end_leaves_a_model_of_the_finished_scales(
    clip: Path, preset: Path, tmp_path: Path, number: signal.Signals, expected: int
) -> None:
    out = tmp_path / "run"
    program = training(clip, preset, out, "--iterations", 300, "--save-every", 1000)
    assert until(lambda: rows(out) >= 303, program)
    program.send_signal(number)
    code, printed, errors = end(program)
    assert code == expected, errors
    assert states(out)[-1][0] == rows(out)
    assert "the same command goes on" in (printed if expected == 0 else errors)
    assert "finished can be used: hvg generate --model" in errors
    single = load_single(out / "model")
    assert 1 <= single.config.finished < 4
    assert generate(single, [1]).shape[3:] == single.config.sizes[single.config.finished - 1][1:]


def test_a_stop_before_the_first_scale_is_finished_says_that_there_is_no_model(
    clip: Path, preset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    program = training(clip, preset, out, "--iterations", 10**6, "--json")
    assert until(lambda: rows(out) >= 1, program)
    program.send_signal(signal.SIGTERM)
    code, printed, errors = end(program)
    record = json.loads(printed)
    assert (code, record["scales"], record["model"]) == (0, 0, None)
    assert "there is no model" in errors


def test_another_budget_goes_on_and_a_finished_run_says_so(hvg: Call, tmp_path: Path) -> None:
    assert hvg("--iterations", 1)[0] == 0
    code, printed, errors = hvg("--iterations", 5)
    assert (code, printed) == (0, f"{tmp_path / 'run' / 'model'}\n")
    assert "was finished before: give a new --out folder to train longer" in errors
    assert rows(tmp_path / "run") == 4


def test_a_model_that_has_gone_is_made_again(hvg: Call, tmp_path: Path) -> None:
    assert hvg()[0] == 0
    before = weights(tmp_path / "run")
    for path in (tmp_path / "run" / "model").iterdir():
        path.unlink()
    code, _, errors = hvg()
    assert code == 0, errors
    assert same(weights(tmp_path / "run"), before)


def test_another_run_in_the_folder_is_refused_and_stays(
    hvg: Call, tmp_path: Path, make_clip: Callable[..., Path]
) -> None:
    assert hvg()[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    other = make_clip(tmp_path / "other.mp4", frames=12, size=(24, 32), rate=Fraction(24), seed=5)
    for arguments, message in (
        (["--vae-scales", 1], "(its model differs: vae_scales): give a new --out"),
        (["--seed", 1], "(its seed differs)"),
        (["--start", "0.2"], "holds a run with another clip"),
    ):
        for dry in ([], ["--dry-run"]):
            code, printed, errors = hvg(*arguments, *dry)
            assert (code, printed) == (2, "")
            assert message in errors
    assert hvg(learned=other)[0] == 2
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_another_precision_goes_on_with_a_warning(hvg: Call) -> None:
    assert hvg("--iterations", 1)[0] == 0
    code, _, errors = hvg("--precision", "bf16")
    assert code == 0
    assert "goes on with another precision" in errors
