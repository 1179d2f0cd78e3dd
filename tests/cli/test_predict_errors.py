"""`hvg predict` with bad input, and other commands that are given a predictor: one line, and nothing is written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from clip_files import ffmpeg, lossless
from patterns import moving_pattern
from predictor_models import make_predictor
from tiny_models import flip_last_bit

from hvgcli.cli.main import run

Predict = Callable[..., tuple[int, str]]


@pytest.fixture(scope="session")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_predictor(tmp_path_factory.mktemp("predictors") / "tiny-fp")


@pytest.fixture
def predict(predictor: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> Predict:
    """Runs `hvg predict in.mkv`; returns exit code and stderr, after looking that no file was made."""
    lossless(place / "in.mkv", moving_pattern(30, (16, 16)), [40 * number for number in range(30)])

    def call(*args: object, source: str = "in.mkv", model: Path = predictor) -> tuple[int, str]:
        before = sorted(place.rglob("*"))
        code = run(["predict", source, "--model", str(model), *map(str, args)])
        out, err = capsys.readouterr()
        assert (out, sorted(place.rglob("*"))) == ("", before)
        return code, err

    return call


def last_line(err: str) -> str:
    lines = err.splitlines()
    assert [line.startswith("hvg: error: ") for line in lines].count(True) == 1
    assert lines[-1].startswith("hvg: error: ")
    return lines[-1]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--context", "2"], "--context 2: tiny-fp continues from 3 frames: give that or more"),
        (["--context", "0"], "continues from 3 frames"),
        (["--context", "9999"], "1..1024"),
        (["--at", "-1"], "must be seconds"),
        (["--at", "soon"], "must be seconds"),
        (["--at", "0"], "--at 0 is outside of in.mkv: it begins at 0 s and ends at 1.24 s"),
        (["--at", "7"], "--at 7 is outside of in.mkv"),
        (["--at", "0.1"], "3 frames at 12.5 frames/s are needed before the continuation, but 1 come before 0.1 s"),
        (["--at", "1.24", "--compare"], "ends before 1.24 s: give an earlier --at"),
        (["--frames", "0"], "at least 1"),
        (["--frames", "99999999999"], "at most"),
        (["--num", "0"], "--num 0"),
        (["--num", "3", "--seed", "1,2"], "contradicts"),
        (["--seed", "x"], "whole numbers"),
        (["--sigma", "0"], "above 0"),
        (["--truncation", "-0.5"], "--truncation -0.5 must be 0..100"),
        (["--truncation", "nan"], "--truncation nan"),
        (["--fps", "fast"], "--fps"),
        (["--fps", "60", "--format", "gif"], "at most 50"),
        (["--crf", "52"], "0..51"),
        (["--crf", "5", "--format", "png"], "no meaning"),
        (["--batch-size", "0"], "--batch-size"),
        (["-o", "x"], "names no format"),
        (["-o", "x.avi"], "must end in"),
        (["-o", "{class}.mp4"], "{class} is not one of {name}, {model}, {seed}"),
        (["-o", "{model}.mp4", "--num", "2"], "cannot all be tiny-fp.mp4"),
        (["-o", "x.mp4", "--format", "gif"], "ends in .mp4"),
        (["-o", "-", "--format", "png"], "standard output holds one video"),
        (["-o", "-", "--flow"], "standard output holds one video"),
        (["--overwrite", "--skip-existing"], "contradict each other"),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_options(predict: Predict, args: list[str], words: str, dry: list[str]) -> None:
    code, err = predict(*args, *dry)
    assert code == 2
    assert words in last_line(err)


def test_too_short_a_clip(predict: Predict, place: Path) -> None:
    lossless(place / "short.mkv", moving_pattern(4, (16, 16)), [40 * number for number in range(4)])
    code, err = predict(source="short.mkv")
    assert code == 3
    assert "3 frames at 12.5 frames/s are needed, but it has 2 (4 in 0.16 s): give a longer clip" in last_line(err)


def test_too_short_for_the_truth(predict: Predict) -> None:
    code, err = predict("--compare", "--frames", 13)
    assert code == 3
    expected = (
        "in.mkv: has 1.2 s, but --compare takes 3 + 13 frames at 12.5 frames/s, 1.28 s: give a longer clip or fewer"
    )
    assert expected in last_line(err)


def test_just_long_enough_for_the_truth(predictor: Path, place: Path) -> None:
    lossless(place / "in.mkv", moving_pattern(29, (16, 16)), [40 * number for number in range(29)])
    arguments = ["predict", "in.mkv", "--model", str(predictor), "--compare", "--frames"]
    assert run([*arguments, "12"]) == 0
    assert run([*arguments, "13"]) == 3


def test_not_a_video(predict: Predict, place: Path) -> None:
    assert predict(source="missing.mp4")[0] == 3
    (place / "text.mp4").write_text("this is no video")
    code, err = predict(source="text.mp4")
    assert (code, "cannot be read as a video" in last_line(err)) == (3, True)
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", str(place / "sound.m4a"))
    code, err = predict(source="sound.m4a")
    assert (code, "has no video stream" in last_line(err)) == (3, True)


def test_a_damaged_video(predict: Predict, place: Path) -> None:
    data = (place / "in.mkv").read_bytes()
    (place / "cut.mkv").write_bytes(data[: len(data) * 2 // 3])
    code, err = predict(source="cut.mkv")
    assert (code, "cut off" in last_line(err)) == (3, True)


def test_folders(predict: Predict, place: Path) -> None:
    (place / "empty").mkdir()
    code, err = predict(source="empty")
    assert (code, "no PNG frames and no videos" in last_line(err)) == (3, True)
    (place / "videos").mkdir()
    for name in ("a.mkv", "b.mkv"):
        (place / "videos" / name).write_bytes((place / "in.mkv").read_bytes())
    code, err = predict(source="videos")
    assert (code, "holds 2 videos, one is continued at a time" in last_line(err)) == (2, True)


def test_the_output_is_not_the_input(predict: Predict, place: Path) -> None:
    ffmpeg("-i", str(place / "in.mkv"), str(place / "in.mp4"))
    code, err = predict("-o", "in.mp4", "--overwrite", source="in.mp4")
    assert (code, "in.mp4: is the input: name another output" in last_line(err)) == (2, True)


def test_flow_needs_a_unit_that_warps(predict: Predict, tmp_path: Path) -> None:
    model = make_predictor(tmp_path / "gru", unit="ConvGRU")
    for dry in ([], ["--dry-run"]):
        code, err = predict("--flow", *dry, model=model)
        assert code == 2
        assert "the recurrent unit of tiny-fp, ConvGRU, does not warp: leave --flow out" in last_line(err)


def test_other_models(predict: Predict, models: Path, tmp_path: Path) -> None:
    code, err = predict(model=models / "tiny")
    assert code == 2
    assert "makes videos from classes: use hvg generate, or choose --model trivd-gan-fp-mini" in last_line(err)
    code, err = predict(model=models / "free")
    assert (code, "makes videos from nothing" in last_line(err)) == (2, True)
    code, err = predict(model=Path("hvg-mni"))
    assert (code, "did you mean hvg-mini" in last_line(err)) == (2, True)
    damaged = make_predictor(tmp_path / "damaged")
    flip_last_bit(damaged / "level1.safetensors")
    assert predict(model=damaged)[0] == 4


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["generate", "--model"], "continues clips: use hvg predict IN --model"),
        (["upscale", "in.mkv", "--model"], "has one stage, which enlarges nothing: choose --model hvg-mini"),
        (["stats", "--frames", "8"], "is a predictor: its statistics are measured in training"),
    ],
)
def test_a_predictor_for_another_command(
    predictor: Path, place: Path, capsys: pytest.CaptureFixture[str], command: list[str], words: str
) -> None:
    lossless(place / "in.mkv", moving_pattern(4, (16, 16)), [0, 40, 80, 120])
    assert run([*command, str(predictor)]) == 2
    assert words in last_line(capsys.readouterr().err)


def test_no_device(predict: Predict) -> None:
    assert predict("--device", "tpu")[0] == 5


def test_an_interrupted_call_leaves_nothing(predictor: Path, place: Path) -> None:
    lossless(place / "in.mkv", moving_pattern(30, (16, 16)), [40 * number for number in range(30)])
    command = [sys.executable, "-m", "hvgcli", "predict", "in.mkv", "--model", str(predictor), "--frames", "1000000"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        deadline = time.monotonic() + 60
        while len(list(place.iterdir())) < 2 and time.monotonic() < deadline:  # the part of the file
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, last_line(err)) == (130, "hvg: error: interrupted")
    assert [path.name for path in place.iterdir()] == ["in.mkv"]
