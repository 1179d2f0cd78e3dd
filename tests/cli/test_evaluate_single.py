"""`hvg evaluate` of a model of one clip or image: against what it learned, and nothing else."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from patterns import moving_pattern
from small_single import TRAINING, small_config

from hvgcli.cli.main import run
from hvgcli.config import ModelConfig
from hvgcli.data.single import fit, read_clip
from hvgcli.metrics.page.evaluation import read_evaluation
from hvgcli.training.single_folder import SingleRun
from hvgcli.training.single_run import Progress, train_single
from hvgcli.video import read_video, write_image

Call = Callable[..., tuple[int, str, str]]
START = Fraction(1, 5)  # seconds: the window begins at frame 5


def learn(source: Path, out: Path, *, stop_after: int = 99, **given: object) -> Path:
    """The model that a training of a moment makes; it stops before scale `stop_after`."""
    clip = read_clip(source, height=16, **({"window": 5} | given))  # type: ignore[arg-type]
    model = fit(ModelConfig("small-single", (small_config(),)), clip)
    reached = [0]

    def watch(progress: Progress) -> None:
        reached[0] = progress.scale

    train_single(
        SingleRun(model, replace(TRAINING, iterations=4), clip, out, source=source.name),  # not by the clock
        device=torch.device("cpu"),
        progress=watch,
        stop=lambda: reached[0] >= stop_after,
    )
    return out / "model"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_clip) -> Path:
    """Clips, a picture, and models: `clip` of frames 5..9 of a.mp4, `whole` of all of it, `image`, `part`."""
    root = tmp_path_factory.mktemp("single")
    make_clip(root / "a.mp4", frames=20, size=(16, 24), seed=1)
    make_clip(root / "high.mp4", frames=20, size=(24, 16), seed=1)
    write_image(root / "picture.png", moving_pattern(1, (16, 24), 2)[0])
    learn(root / "a.mp4", root / "clip", start=START)
    learn(root / "a.mp4", root / "whole", whole=True)
    learn(root / "a.mp4", root / "part", stop_after=2)
    learn(root / "picture.png", root / "image")
    return root


@pytest.fixture
def evaluate(folder, models, place, capsys) -> Call:
    places = {name.upper(): folder / name / "model" for name in ("clip", "whole", "part", "image")}
    places |= {"A": folder / "a.mp4", "HIGH": folder / "high.mp4", "PICTURE": folder / "picture.png"}
    places |= {"TINY": models / "tiny", "FILES": folder}

    def call(*args: object) -> tuple[int, str, str]:
        code = run(["evaluate", *(str(places.get(str(arg), arg)) for arg in args)])
        return code, *capsys.readouterr()

    return call


CLIP = ("--model", "CLIP", "--data", "A", "--start", 0.2, "--num", 4)


def numbers(told: str) -> dict[str, float]:
    return {row["name"]: row["value"] for row in json.loads(told)["metrics"]}


# ---- a clip -----------------------------------------------------------------------------------------


def test_a_clip_end_to_end(evaluate, place, folder):
    code, told, err = evaluate(*CLIP, "--out", "eval", "--json")
    assert code == 0, err
    record = json.loads(told)
    assert list(numbers(told)) == [
        "SVFID[frames]",
        "Diversity[LAB]",
        "Difference[RMS, 1/255]",
        "Reconstruction[RMS, 1/255]",
    ]
    assert all(value > 0 for value in numbers(told).values())
    assert record["title"] == "small-single against a.mp4"
    protocol = record["protocol"]
    assert (protocol["frames"], protocol["size"], protocol["sigma"]) == (5, "24x16", 1.0)
    assert protocol["real"] == {"name": "a.mp4", "windows": 1, "start": "0.2"}
    assert protocol["generated"]["videos"] == 4
    assert {(curve["set"], curve["frame"]) for curve in record["psd"]["curves"]} == {
        (name, frame) for name in ("real", "generated") for frame in (1, 5)
    }
    found = read_evaluation(place / "eval")
    assert [(sample.set, sample.seed) for sample in found.samples] == [
        *(("generated", seed) for seed in range(4)),
        ("real", None),
    ]
    true = read_video(folder / "a.mp4")[5:10].astype(int)
    assert np.abs(read_video(found.samples[-1].file).astype(int) - true).mean() < 8, "the window that it learned"
    assert run(["report", "eval", "--out", "page", "-q"]) == 0
    assert "SVFID[frames]" in (place / "page" / "index.html").read_text()


def test_it_says_where_it_is_not_what_was_learned(evaluate, folder, place):
    assert "not the frames that small-single learned" not in evaluate(*CLIP)[2]
    code, _, err = evaluate("--model", "CLIP", "--data", "A", "--num", 2)
    assert code == 0
    assert "hvg: warning: these are not the frames that small-single learned (a.mp4): --start" in err
    shutil.copytree(folder / "clip" / "model", place / "alone")
    assert "not the frames" not in evaluate("--model", "alone", "--data", "A", "--num", 2)[2], "nobody knows"


def test_a_clip_that_was_learned_in_whole(evaluate):
    code, told, err = evaluate("--model", "WHOLE", "--data", "A", "--whole", "--num", 3, "--json")
    assert code == 0, err
    record = json.loads(told)
    assert record["protocol"]["real"]["windows"] == 4
    assert not any("not the frames" in line for line in record["warnings"])
    assert "--whole" in shlex.split(record["command"])
    one = json.loads(evaluate("--model", "WHOLE", "--data", "A", "--num", 3, "--json")[1])
    assert any("not the frames" in line for line in one["warnings"])


def test_a_training_that_was_stopped_is_measured_at_its_scale(evaluate):
    code, told, err = evaluate("--model", "PART", "--data", "A", "--num", 2, "--json", "--metrics", "diversity")
    assert code == 0, err
    protocol = json.loads(told)["protocol"]
    assert (protocol["frames"], protocol["size"]) == (2, "16x11")
    assert "network" not in protocol
    assert list(numbers(told)) == ["Diversity[LAB]"]


def test_several_sigmas_are_a_curve(evaluate):
    record = json.loads(evaluate(*CLIP, "--sigma", "0.1,0.5,1", "--json")[1])
    curve = record["truncation_curve"]
    assert [point["sigma"] for point in curve] == [0.1, 0.5, 1]
    diversity = [{row["name"]: row["value"] for row in point["metrics"]}["Diversity[LAB]"] for point in curve]
    assert 0 < diversity[0] < diversity[1] < diversity[2]
    assert {row["name"]: row["value"] for row in record["metrics"]}["Diversity[LAB]"] == diversity[2]


def test_the_printed_command_does_it_again(evaluate):
    record = json.loads(evaluate(*CLIP, "--seed", 3, "--metrics", "svfid,diversity", "--json")[1])
    words = shlex.split(record["command"])
    assert words[:2] == ["hvg", "evaluate"]
    again = json.loads(evaluate(*words[2:], "--json")[1])
    assert again["metrics"] == record["metrics"]
    assert again["protocol"] == record["protocol"]


def test_the_printed_command_says_how_many(evaluate):
    for num in (50, 2048):  # the defaults of this and of other models
        record = json.loads(evaluate(*CLIP[:-1], num, "--dry-run", "--json")[1])
        assert f"--num {num}" in record["command"]


def test_a_dry_run_computes_nothing(evaluate, place):
    code, told, _ = evaluate("--model", "CLIP", "--data", "A", "--start", 0.2, "--dry-run", "--out", "eval", "--json")
    record = json.loads(told)
    assert (code, record["dry_run"], record["metrics"]) == (0, True, [])
    assert record["protocol"]["generated"]["videos"] == 50, "as in the paper"
    assert not (place / "eval").exists()


# ---- an image ---------------------------------------------------------------------------------------


def test_an_image_has_a_sifid(evaluate, place):
    code, told, err = evaluate("--model", "IMAGE", "--data", "PICTURE", "--num", 3, "--json", "--out", "eval")
    assert code == 0, err
    assert "SIFID[frames]" in numbers(told)
    assert json.loads(told)["protocol"]["real"] == {"name": "picture.png", "windows": 1}
    assert len(read_evaluation(place / "eval").samples) == 4


# ---- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ((*CLIP, "--frames", 5), 2, "--frames is not for small-single, a model of one clip: leave it out"),
        ((*CLIP, "--stride", 1), 2, "--stride is not for small-single"),
        ((*CLIP, "--levels", 1), 2, "--levels is not for small-single"),
        ((*CLIP, "--sampler", "folder"), 2, "--sampler is not for small-single"),
        ((*CLIP, "--best-of", "1,2"), 2, "--best-of is not for small-single"),
        ((*CLIP, "--baseline", "copy"), 2, "--baseline is not for small-single"),
        ((*CLIP, "--truncation", 1), 2, "--truncation is not for small-single"),
        ((*CLIP, "--skip-first", 1), 2, "--skip-first is not for small-single"),
        ((*CLIP, "--splits", 2), 2, "--splits is not for small-single"),
        (
            (*CLIP, "--metrics", "fvd"),
            2,
            "--metrics fvd is not for small-single, a model of one clip: choose of",
        ),
        ((*CLIP, "--metrics", "sifid"), 2, "choose of svfid,diversity,psd"),
        (("--model", "IMAGE", "--data", "PICTURE", "--metrics", "svfid"), 2, "choose of sifid,diversity,psd"),
        (("--model", "CLIP", "--data", "PICTURE"), 3, "is an image, but small-single learned one clip"),
        (("--model", "IMAGE", "--data", "HIGH"), 3, "is 10x16 at most, small-single learned 24x16"),
        (("--model", "CLIP", "--data", "HIGH"), 3, "is 10x16 at most, small-single learned 24x16"),
        ((*CLIP[:4], "--start", 99), 2, "--start 99 is outside of"),
        ((*CLIP[:4], "--start", 0.7), 3, "but 5 are needed"),
        (("--model", "CLIP", "--data", "nothing.mp4"), 3, "nothing.mp4"),
        (("--model", "TINY", "--data", "FILES", "--start", 1), 2, "--start is for a model of one clip"),
        (("--model", "TINY", "--data", "FILES", "--whole"), 2, "--whole is for a model of one clip"),
        (("--fake", "FILES", "--real", "FILES", "--start", 1), 2, "--start is for a model: leave it out with --fake"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(evaluate, args, code, message):
    got, told, err = evaluate(*args)
    assert (got, told) == (code, ""), err
    assert message in err
    assert err.count("\n") == 1
