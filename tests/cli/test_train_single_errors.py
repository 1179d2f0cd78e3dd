"""Bad input of `hvg train-single`: each is one clear line with its exit code, or a warning, and nothing is written."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clip_files import encode, lossless
from patterns import moving_pattern
from PIL import Image
from programs import end, start
from small_single import small_config

from hvgcli.cli.main import run
from hvgcli.config import ModelConfig, SinglePreset, SingleTrainingConfig, to_dict
from hvgcli.data.single import read_clip
from hvgcli.presets import SINGLE_PRESETS

Call = Callable[..., tuple[int, str, str]]
PRESET = SinglePreset(ModelConfig("small", (small_config(),)), SingleTrainingConfig(iterations=1), "for tests")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, make_clip: Callable[..., Path]) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=8, size=(24, 32), rate=Fraction(24))


@pytest.fixture
def hvg(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """`hvg train-single` of the small preset; returns exit code, stdout and stderr."""
    (tmp_path / "small.json").write_text(json.dumps(to_dict(PRESET)))

    def call(*args: object, learned: object = clip) -> tuple[int, str, str]:
        common = ["--preset", tmp_path / "small.json", "--out", tmp_path / "run", "--device", "cpu", "--log", "none"]
        code = run(["train-single", *map(str, [learned, *common, "--precision", "fp32", *args])])
        return code, *capsys.readouterr()

    return call


def film(path: Path, frames: np.ndarray, rate: int = 24) -> Path:
    lossless(path, frames, [round(1000 * n / rate) for n in range(len(frames))])
    return path


def one_line(errors: str) -> str:
    [line] = [line for line in errors.splitlines() if line.startswith("hvg: error: ")]
    return line.removeprefix("hvg: error: ")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--frames", 9], 3, "has 8 frames at 24 frames/s from 0 s on, but 9 are needed: give a longer clip"),
        (["--start", "0.25"], 3, "has 2 frames at 24 frames/s from 0.25 s on, but 5 are needed"),
        (["--start", "9"], 2, "--start 9 is outside of"),
        (["--start", "soon"], 2, "--start 'soon' must be seconds"),
        (["--fps", "0"], 2, "--fps 0 must be"),
        (["--fps", "2"], 3, "has 1 frames at 2 frames/s from 0 s on, but 5 are needed"),
        (["--vae-scales", 5], 2, "vae_scales 5 must be 0..4: change --vae-scales"),
        (["--scales", 40], 2, "scales 40 must be 1..16: change --scales"),
        (["--scales", 1, "--vae-scales", 2], 2, "vae_scales 2 must be 0..1"),
        (["--height", 13], 2, "height 13 must be even: change --height"),
        (["--height", 4], 2, "height 4 must be 8..4096 pixels: change --height"),
        (["--frames", 5000], 2, "window 5000 must be 1..1024 frames: change --frames"),
        (["--minutes", 1, "--iterations", 5], 2, "two budgets: give one of them"),
        (["--minutes", 0], 2, "--minutes 0 must be above 0"),
        (["--minutes", "nan"], 2, "--minutes nan must be above 0"),
        (["--iterations", 10**10], 2, "change --iterations"),
        (["--preset", "hp-vae"], 2, "did you mean hp-vae-gan"),
        (["--preset", "hvg-mini"], 2, "preset hvg-mini learns many clips: give one of hp-vae-gan"),
        (["--preset", "none.json"], 2, "none.json is missing"),
        (["--device", "cuda:77"], 5, "cuda:77"),
        (["--log", "wandb"], 2, "--log 'wandb'"),
    ],
)
def test_requests_that_cannot_be_are_one_line_and_write_nothing(
    hvg: Call, tmp_path: Path, arguments: list[object], code: int, message: str
) -> None:
    found, printed, errors = hvg(*arguments)
    assert (found, printed) == (code, ""), errors
    assert message in one_line(errors)
    assert not (tmp_path / "run").exists()


def test_frames_that_end_on_no_rate_are_refused_with_a_number_that_does(hvg: Call, tmp_path: Path) -> None:
    record = to_dict(PRESET)
    record["model"]["levels"][0]["rates"] = [2, 4]
    (tmp_path / "even.json").write_text(json.dumps(record))
    code, _, errors = hvg("--preset", tmp_path / "even.json", "--frames", 6)
    assert code == 2
    assert "--frames 6 ends on no rate of 2, 4: it must be one more than a multiple of one of them, like 7" in errors


def test_a_fault_of_a_preset_file_is_told_of_the_file(hvg: Call, tmp_path: Path) -> None:
    record = to_dict(PRESET)
    record["model"]["levels"][0]["height"] = 13
    (tmp_path / "odd.json").write_text(json.dumps(record))
    code, _, errors = hvg("--preset", tmp_path / "odd.json", "--height", 12)
    assert code == 2
    assert one_line(errors) == f"{tmp_path / 'odd.json'}: height 13 must be even: change it there"


def test_frames_that_end_on_few_rates_are_learned_with_a_warning(hvg: Call) -> None:
    code, _, errors = hvg("--frames", 6, "--dry-run")
    assert code == 0
    assert "a window of 6 frames does not end on every 2 or 4 frames" in errors
    assert "--frames 9 would" in errors


# ---- files ------------------------------------------------------------------------------------------------


def test_files_that_are_no_clip_are_one_line(hvg: Call, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:300])
    for name in ("text.mp4", "empty", "cut.mp4", "nowhere.mp4"):
        code, printed, errors = hvg(learned=tmp_path / name)
        assert (code, printed) == (3, ""), errors
        assert name in one_line(errors)
    assert not (tmp_path / "run").exists()


def test_several_videos_are_refused(hvg: Call, tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    (tmp_path / "many").mkdir()
    for name in "ab":
        make_clip(tmp_path / "many" / f"{name}.mp4", frames=5, size=(24, 32))
    code, _, errors = hvg(learned=tmp_path / "many")
    assert (code, "has 2 videos, and one is learned: name it" in one_line(errors)) == (2, True)


def test_one_frame_is_learned_as_an_image_and_it_says_so(
    hvg: Call, tmp_path: Path, make_clip: Callable[..., Path]
) -> None:
    still = make_clip(tmp_path / "still.mp4", frames=1, size=(24, 32), rate=Fraction(24))
    for arguments, path in (([], still), (["--frames", 1], None)):
        code, printed, errors = hvg("--dry-run", "--json", *arguments, **({} if path is None else {"learned": path}))
        assert code == 0, errors
        assert json.loads(printed)["image"]
        assert "as an image" in errors
    code, _, errors = hvg("--start", "1", learned=still)
    assert (code, "which has one frame: leave it out" in one_line(errors)) == (2, True)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_a_picture_needs_no_remark(hvg: Call, tmp_path: Path, suffix: str) -> None:
    Image.fromarray(moving_pattern(1, (24, 32))[0]).save(tmp_path / f"a{suffix}")
    code, printed, errors = hvg("--dry-run", "--json", learned=tmp_path / f"a{suffix}")
    assert (code, errors) == (0, "")
    assert json.loads(printed)["output"] == "1/16x12"


def test_what_is_odd_about_a_clip_is_a_warning(hvg: Call, tmp_path: Path) -> None:
    cut = moving_pattern(8, (32, 32)) // 8
    cut[3:, :, 16:] += 160
    clear = np.full((24, 24, 4), 200, np.uint8)
    clear[:, 12:] = [90, 90, 90, 0]
    Image.fromarray(clear).save(tmp_path / "clear.png")
    still = np.repeat(moving_pattern(1, (24, 24)), 6, axis=0)
    low = moving_pattern(6, (10, 16))
    for path, message in (
        (film(tmp_path / "cut.mkv", cut), "is cut at 0.125 s: choose a --start without one"),
        (tmp_path / "clear.png", "is transparent in places, which become black"),
        (film(tmp_path / "still.mkv", still), "does not move"),
        (film(tmp_path / "low.mkv", low), "is 10 pixels high: nothing finer than 10 can be learned"),
    ):
        code, _, errors = hvg("--dry-run", learned=path)
        assert code == 0, errors
        assert any(line.startswith("hvg: warning: ") and message in line for line in errors.splitlines()), errors


def test_one_even_colour_is_refused(hvg: Call, tmp_path: Path) -> None:
    path = film(tmp_path / "even.mkv", np.full((6, 24, 24, 3), 90, np.uint8))
    code, _, errors = hvg(learned=path)
    assert (code, "is one even colour: there is nothing to learn" in one_line(errors)) == (3, True)


def test_huge_frames_are_reduced_one_by_one(tmp_path: Path) -> None:
    frames = np.repeat(moving_pattern(1, (1080, 1920)), 13, axis=0)
    path = encode(tmp_path / "huge.mp4", frames, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
    tracemalloc.start()
    try:
        clip = read_clip(path, height=96)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert clip.size == (96, 170)
    assert peak < 4 * frames[0].nbytes  # of 13


# ---- where it goes ------------------------------------------------------------------------------------------


def test_an_out_that_is_a_file_is_one_line(hvg: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        code, _, errors = hvg("--out", out)
        assert (code, "is a file: --out takes a folder" in one_line(errors)) == (3, True)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_of_another_command_is_refused(hvg: Call, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"level": 1, "model": {}}')
    code, _, errors = hvg()
    assert (code, "holds a run of another command: give a new --out" in one_line(errors)) == (2, True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"precision": None}}, "has no training.precision, expected fp32 or bf16"),
        ({"training": {"precision": ["fp32"]}}, "training.precision ['fp32'], expected fp32 or bf16"),
        ({"training": [1]}, "training [1], expected an object"),
        ({"model": None}, "has no model, expected an object"),
        ({"clip": None}, "holds a run of another command"),
        ({"seed": None}, "its seed differs"),
    ],
)
def test_a_run_json_with_missing_or_odd_values_is_one_line(
    hvg: Call, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    """None: without it."""
    assert hvg()[0] == 0
    path = tmp_path / "run" / "run.json"
    path.write_text(json.dumps(changed(json.loads(path.read_text()), changes)))
    before = path.read_bytes()
    for arguments in ([], ["--dry-run"]):
        code, printed, errors = hvg(*arguments)
        assert (code, printed) == (2, "")
        assert message in one_line(errors)
        assert one_line(errors).endswith("give a new --out folder")
    assert path.read_bytes() == before


def changed(record: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`record` with the `changes`, also those within objects; None takes a value away."""
    result = {key: value for key, value in record.items() if changes.get(key, value) is not None}
    for key, value in changes.items():
        if value is not None:
            result[key] = changed(record[key], value) if isinstance(value, dict) else value
    return result


@pytest.mark.parametrize("content", ["", "{", "[" * 9000, '{"seed": NaN}'])
def test_a_run_json_that_cannot_be_read_is_one_line(hvg: Call, tmp_path: Path, content: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(content)
    code, printed, errors = hvg()
    assert (code, printed) == (3, "")
    assert "run.json is not valid JSON" in one_line(errors)
    assert one_line(errors).endswith("give a new --out folder")


def test_a_full_disk_is_one_line(clip: Path, hvg: Call, tmp_path: Path) -> None:
    command = ["train-single", clip, "--preset", tmp_path / "small.json", "--out", tmp_path / "run"]
    code, printed, errors = end(start(*command, "--device", "cpu", "--log", "none", limit_file_bytes=4096))
    assert (code, printed) == (3, ""), errors
    assert "cannot write" in one_line(errors)
    assert not list((tmp_path / "run").glob(".*"))


# ---- presets of one clip elsewhere --------------------------------------------------------------------------


def test_presets_of_one_clip_are_listed_and_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "list", "--presets", "-q"]) == 0
    assert set(SINGLE_PRESETS) <= set(capsys.readouterr().out.split())
    assert run(["models", "info", "hp-vae-gan", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["system"], record["source"]) == ("hp-vae-gan", SINGLE_PRESETS["hp-vae-gan"].source)


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (["generate", "--model", "hp-vae-gan"], 4, "train it with: hvg train-single IN --preset hp-vae-gan"),
        (["generate", "--model", "hp-vae-gam"], 2, "did you mean hp-vae-gan"),
        (["train-level", "1", "--data", ".", "--out", "x", "--preset", "hp-vae-gan"], 2, "use hvg train-single IN"),
    ],
)
def test_other_commands_point_to_train_single(
    command: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command) == code
    assert message in one_line(capsys.readouterr().err)


def test_the_folder_of_a_training_names_its_model(
    hvg: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hvg()[0] == 0
    for command in (["generate", "--model"], ["info"]):
        assert run([*command, str(tmp_path / "run")]) == 4
        assert f"is the folder of a training: its model is {tmp_path / 'run' / 'model'}" in capsys.readouterr().err
