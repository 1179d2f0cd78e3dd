"""`hvg evaluate` of a predictor, of what it must beat, and over several sigmas."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from predictor_models import make_predictor

from hvgcli.cli.main import run
from hvgcli.metrics.features import cache_folder
from hvgcli.metrics.page.evaluation import read_evaluation
from hvgcli.video import read_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_clip) -> Path:
    """`fp`: a predictor of 3 + 4 frames of 16x16; `val`: 3 clips each of cat and dog; `short`: 12 frames."""
    root = tmp_path_factory.mktemp("prediction")
    make_predictor(root / "fp")
    for number in range(6):
        make_clip(root / "val" / ("cat", "dog")[number // 3] / f"{number}.mp4", frames=24, size=(24, 32), seed=number)
    make_clip(root / "short" / "a.mp4", frames=12, size=(24, 32))
    return root


@pytest.fixture
def evaluate(folder, models, place, capsys):
    places = {name.upper(): folder / name for name in ("fp", "val", "short")} | {"TINY": models / "tiny"}

    def call(*args: object) -> tuple[int, str, str]:
        code = run(["evaluate", *(str(places.get(str(arg), arg)) for arg in args)])
        return code, *capsys.readouterr()

    return call


FP = ("--model", "FP", "--data", "VAL", "--num", 8)
BEST = ("--best-of", "1,2,3", "--clips", 3)


def numbers(record: dict) -> dict[str, float]:
    return {row["name"]: row["value"] for row in record["metrics"]}


def test_a_predictor_end_to_end(evaluate, place):
    code, told, err = evaluate(*FP, "--truncation", 0.8, "--out", "eval", "--json")
    assert code == 0, err
    record = json.loads(told)
    assert record["title"] == "fp against val"
    assert {"FVD[frames]", "KVD[frames]", "Precision[frames]"} <= set(numbers(record))
    assert "FVD_inf[frames]" not in numbers(record), "the sets are not independent"
    protocol = record["protocol"]
    stated = {key: protocol[key] for key in ("frames", "context", "stride", "size", "sigma", "truncation")}
    assert stated == {"frames": 7, "context": 3, "stride": 2, "size": "16x16", "sigma": 1.0, "truncation": 0.8}
    assert (protocol["real"]["videos"], protocol["real"]["takes"]) == (8, 6)
    generated = protocol["generated"]
    assert (generated["videos"], generated["takes"], generated["predicted"]) == (8, 6, 4)
    assert {row["class"] for row in record["per_class"]} == {"cat", "dog"}
    found = read_evaluation(place / "eval")
    pairs = [[s for s in found.samples if s.set == name] for name in ("real", "generated")]
    assert [sample.seed for sample in pairs[1]] == list(range(8))
    for true, made in zip(*pairs, strict=True):
        videos = [read_video(sample.file).astype(int) for sample in (true, made)]
        assert videos[0].shape == videos[1].shape == (7, 16, 16, 3)
        assert abs(videos[0][:2] - videos[1][:2]).mean() < abs(videos[0][3:] - videos[1][3:]).mean() / 2


def test_best_of_beside_what_it_must_beat(evaluate, place):
    code, told, err = evaluate(*FP, *BEST, "--metrics", "ssim,psnr", "--out", "eval", "--json")
    assert code == 0, err
    record = json.loads(told)
    found = numbers(record)
    assert found["SSIM[best of 1]"] < found["SSIM[best of 2]"] < found["SSIM[best of 3]"]
    assert found["PSNR gain[best of 1 to 3]"] > 0
    assert "FVD[frames]" not in found
    best = record["best_of"]
    assert (best["counts"], best["windows"], best["context"]) == ([1, 2, 3], 3, 3)
    flat = {row["of"] for row in best["rows"] if row["best_of"] is None}
    assert flat == {"tiny-fp, z = 0", "copy-last-frame", "linear-extrapolation"}
    noises = {row["of"] for row in best["rows"]} - flat - {"tiny-fp"}
    assert len(noises) == 2  # the one that gains most, and one as diverse as the model
    assert all(noise.startswith("copy + noise, ") for noise in noises)
    assert all(len(row["frames"]) == 4 for row in best["rows"])
    own = [row for row in best["rows"] if row["of"] == "tiny-fp" and row["score"] == "ssim"]
    assert [row["value"] for row in own] == pytest.approx([found[f"SSIM[best of {count}]"] for count in (1, 2, 3)])
    assert read_evaluation(place / "eval").best_of[0].of == "tiny-fp"
    code = run(["report", "eval", "--out", "page", "-q"])
    assert code == 0
    assert "SSIM per frame" in (place / "page" / "index.html").read_text()


def test_one_number_of_continuations_has_no_noise_and_no_gain(evaluate):
    record = json.loads(evaluate(*FP, "--metrics", "ssim", "--clips", 2, "--json")[1])
    assert list(numbers(record)) == ["SSIM[best of 1]"]
    assert not any("noise" in row["of"] for row in record["best_of"]["rows"])


@pytest.mark.parametrize("metrics", ["ssim", "ssim,fvd"])
def test_files_that_are_left_out_are_told_once(evaluate, place, make_clip, metrics):
    for number in range(3):
        make_clip(place / "mixed" / f"{number}.mp4", frames=4 if number == 1 else 24, size=(24, 32), seed=number)
    record = json.loads(evaluate("--model", "FP", "--data", "mixed", "--metrics", metrics, "--json")[1])
    (line,) = [line for line in record["warnings"] if line.startswith("left out")]
    assert "1.mp4: has 4 frames, a window needs 14 frames (7 at stride 2)" in line
    assert record["best_of"]["takes"] == 2


def test_at_z_of_zero_nothing_is_gained(evaluate):
    record = json.loads(evaluate(*FP, *BEST, "--truncation", 0, "--metrics", "ssim", "--json")[1])
    found = numbers(record)
    assert found["SSIM gain[best of 1 to 3]"] == 0
    assert found["SSIM[best of 1]"] == found["SSIM[best of 3]"]
    assert [row["of"] for row in record["best_of"]["rows"]].count("tiny-fp") == 1


@pytest.mark.parametrize(("which", "name"), [("copy", "copy-last-frame"), ("linear", "linear-extrapolation")])
def test_a_baseline_in_the_models_place(evaluate, which, name):
    code, told, err = evaluate(*FP, "--baseline", which, "--json", "--metrics", "fvd,ssim")
    assert code == 0, err
    record = json.loads(told)
    model = json.loads(evaluate(*FP, *BEST, "--metrics", "fvd,ssim", "--json", "--clips", 32)[1])
    assert record["title"] == f"{name} against val"
    assert record["protocol"]["generated"]["name"] == name
    assert record["protocol"]["real"] == model["protocol"]["real"], "on the same windows"
    assert not {"sigma", "truncation"} & set(record["protocol"])
    assert numbers(record)["FVD[frames]"] != pytest.approx(numbers(model)["FVD[frames]"], rel=0.01)
    (beside,) = [row["value"] for row in model["best_of"]["rows"] if (row["of"], row["score"]) == (name, "ssim")]
    assert numbers(record)["SSIM[best of 1]"] == pytest.approx(beside)


def test_frames_of_a_predictor_are_those_it_adds(evaluate):
    record = json.loads(evaluate(*FP, "--frames", 6, "--metrics", "fvd", "--json")[1])
    assert (record["protocol"]["frames"], record["protocol"]["generated"]["predicted"]) == (9, 6)


def test_the_second_run_takes_features_from_the_cache(evaluate):
    call = (*FP, "--metrics", "fvd", "--json")
    first = numbers(json.loads(evaluate(*call)[1]))
    files = {path: path.stat().st_mtime_ns for path in cache_folder().iterdir()}
    assert numbers(json.loads(evaluate(*call)[1])) == first
    assert {path: path.stat().st_mtime_ns for path in cache_folder().iterdir()} == files
    assert numbers(json.loads(evaluate(*call, "--truncation", 0)[1])) != first


def test_the_printed_command_does_it_again(evaluate):
    call = (*FP, *BEST, "--sigma", "0.5,1", "--truncation", 0.9, "--metrics", "fvd,ssim", "--json")
    record = json.loads(evaluate(*call)[1])
    again = json.loads(evaluate(*shlex.split(record["command"])[2:], "--json")[1])
    assert again["command"] == record["command"]
    assert numbers(again) == pytest.approx(numbers(record))
    base = json.loads(evaluate(*FP, "--baseline", "copy", "--metrics", "fvd", "--json")[1])
    assert "--baseline copy" in base["command"]


# ---- several sigmas ----------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["TINY", "FP"])
def test_one_row_of_numbers_a_sigma(evaluate, place, which):
    call = ("--model", which, "--data", "VAL", "--num", 6, "--metrics", "fvd,psd", "--json")
    code, told, err = evaluate(*call, "--sigma", "1,0.5", "--out", "eval")
    assert code == 0, err
    record = json.loads(told)
    curve = record["truncation_curve"]
    assert [point["sigma"] for point in curve] == [0.5, 1.0]
    assert record["protocol"]["sigma"] == 1.0
    assert record["metrics"] == curve[1]["metrics"]
    assert record["psd"]
    for point in curve:
        alone = numbers(json.loads(evaluate(*call, "--sigma", point["sigma"])[1]))
        assert alone == pytest.approx(numbers(point), rel=1e-4)
    assert numbers(curve[0]) != pytest.approx(numbers(curve[1]), rel=1e-3)
    assert [point.sigma for point in read_evaluation(place / "eval").truncation_curve] == [0.5, 1.0]


def test_what_people_read(evaluate):
    code, told, _ = evaluate(*FP, *BEST, "--sigma", "0.5,1", "--metrics", "fvd,ssim")
    assert code == 0
    for text in ("SSIM[3]", "tiny-fp, z = 0", "linear-extrapolation", "SSIM gain[best of 1 to 3]", "truncation", "0.5"):
        assert text in told
    (flat,) = [line.split() for line in told.splitlines() if line.strip().startswith("linear-extrapolation")]
    assert len(flat) == 4
    assert len(set(flat[1:])) == 1, "its one score stands for all l"


def test_dry_run(evaluate):
    code, told, _ = evaluate(*FP, *BEST, "--dry-run", "--json")
    record = json.loads(told)
    assert (code, record["metrics"], record["protocol"]["context"]) == (0, [], 3)
    assert not cache_folder().exists()


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--model", "TINY", "--data", "VAL", "--truncation", 0.8), 2, "--truncation is for a predictor"),
        (("--model", "TINY", "--data", "VAL", "--baseline", "copy"), 2, "--baseline is for a predictor"),
        (("--model", "TINY", "--data", "VAL", "--best-of", "1,2"), 2, "--best-of is for a predictor"),
        (("--fake", "VAL", "--real", "VAL", "--best-of", "1"), 2, "--best-of is for a model"),
        (("--fake", "VAL", "--real", "VAL", "--truncation", 1), 2, "--truncation is for a model"),
        (("--fake", "VAL", "--real", "VAL", "--sigma", "0.5,1"), 2, "several --sigma are for a model"),
        ((*FP, "--baseline", "copy", "--best-of", "1,2"), 2, "--baseline has one continuation"),
        ((*FP, "--truncation", -1), 2, "truncation of -1.0"),
        ((*FP, "--sigma", "much"), 2, "--sigma 'much'"),
        ((*FP, "--best-of", "1,x"), 2, "--best-of '1,x'"),
        ((*FP, "--best-of", "0"), 2, "--best-of 0"),
        ((*FP, "--best-of", "1", "--clips", 0), 2, "--clips 0"),
        ((*FP, "--best-of", "1", "--metrics", "fvd"), 2, "--best-of is for ssim and psnr"),
        ((*FP, "--clips", 5), 2, "--clips 5 is for --best-of"),
        ((*FP, "--metrics", "svfid"), 2, "give --fake and --real"),
        (("--model", "FP", "--data", "SHORT"), 3, "the longest has 12"),
    ],
)  # fmt: skip
def test_one_line_for_each_mistake(evaluate, args, code, message):
    found, told, err = evaluate(*args)
    assert (found, told, err.count("\n")) == (code, "", 1), err
    assert message in err
