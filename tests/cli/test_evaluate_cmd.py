"""`hvg evaluate` as people and scripts use it: real files, tiny networks, both ways to name two sets."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hvgcli.checkpoints import load_tensors, save_tensors
from hvgcli.cli.main import run
from hvgcli.metrics.features import cache_folder
from hvgcli.metrics.page.evaluation import read_evaluation
from hvgcli.video import VideoWriter, read_video, write_image

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


class Colours(nn.Module):
    """A feature network of the usual calling convention; its activations are means and deviations of colours."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(5, 6))

    @torch.jit.export
    def features(self, x: Tensor, rescale: bool = False, resize: bool = False) -> Tensor:
        x = x / 255 if rescale else x
        return torch.cat((x.mean((2, 3, 4)), x.std((2, 3, 4))), dim=1)

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        logits = self.features(x, rescale, resize) @ self.weight.T
        return logits if return_features else logits.softmax(1)


class Other(nn.Module):
    def forward(self, frames: Tensor) -> Tensor:
        return frames.mean((2, 3, 4))


@pytest.fixture(scope="module")
def clips(tmp_path_factory, make_clip) -> Path:
    """`val`: 3 clips each of cat and dog, 24 frames of 48x32; `noise` and `short`: others of the same size."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(6):
        name = ("cat", "dog")[number // 3]
        make_clip(folder / "val" / name / f"{number}.mp4", frames=24, size=(32, 48), seed=number)
        _write(
            folder / "noise" / name / f"{number}.mp4", np.random.default_rng(number).integers(0, 256, (24, 32, 48, 3))
        )
    make_clip(folder / "short" / "a.mp4", frames=3, size=(32, 48))
    return folder


def _write(path: Path, frames: np.ndarray) -> None:
    with VideoWriter(path, size=frames.shape[1:3], rate=Fraction(25), crf=8) as writer:
        writer.write(frames.astype(np.uint8))


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("networks") / "My_Colours.pt"
    torch.jit.script(Colours()).save(str(path))
    return path


@pytest.fixture
def evaluate(models, clips, place, capsys):
    """Runs `hvg evaluate` in an empty folder; "VAL", "NOISE", "TINY" ... stand for their paths."""
    places = {"VAL": clips / "val", "NOISE": clips / "noise", "SHORT": clips / "short", "TINY": models / "tiny"}

    def call(*args: object) -> tuple[int, str, str]:
        code = run(["evaluate", *(str(places.get(str(arg), arg)) for arg in args)])
        return code, *capsys.readouterr()

    return call


MODEL = ("--model", "TINY", "--data", "VAL", "--sigma", 0.5, "--num", 6)
FOLDERS = ("--fake", "NOISE", "--real", "VAL")


def numbers(told: str) -> dict[str, float]:
    return {row["name"]: row["value"] for row in json.loads(told)["metrics"]}


# ---- a model against real clips ----------------------------------------------------------------


def test_a_model_end_to_end(evaluate, place):
    code, told, err = evaluate(*MODEL, "--out", "eval", "--json")
    assert code == 0, err
    record = json.loads(told)
    assert {key: record[key] for key in ("schema", "format", "kind", "title")} == {
        "schema": 1, "format": 1, "kind": "hvg-evaluation", "title": "tiny against val"
    }  # fmt: skip
    names = [row["name"] for row in record["metrics"]]
    assert names[:3] == ["FVD[frames]", "FVD_inf[frames]", "KVD[frames]"]
    assert not {"IS[frames]", "FVD", "FID"} & set(names)
    protocol = record["protocol"]
    assert (protocol["frames"], protocol["stride"], protocol["size"], protocol["sigma"]) == (8, 2, "16x16", 0.5)
    assert (protocol["real"]["videos"], protocol["real"]["takes"], protocol["generated"]["videos"]) == (6, 6, 6)
    assert [(row["class"], row["real"], row["generated"]) for row in record["per_class"]] == [
        ("cat", 3, 3),
        ("dog", 3, 3),
    ]
    assert {(c["set"], c["frame"]) for c in record["psd"]["curves"]} == {
        (s, f) for s in ("real", "generated") for f in (1, 8)
    }
    assert any("64 dimensions" in line for line in record["warnings"])
    assert json.loads((place / "eval" / "evaluation.json").read_text()) == {
        k: v for k, v in record.items() if k != "schema"
    }


def test_the_folder_is_what_a_report_reads(evaluate, place):
    assert evaluate(*MODEL, "--out", "eval")[0] == 0
    read = read_evaluation(place / "eval")
    assert read.metrics[0].name == "FVD[frames]"
    assert {(sample.set, sample.label) for sample in read.samples} == {
        (s, c) for s in ("real", "generated") for c in ("cat", "dog")
    }
    assert all(read_video(sample.file).shape == (8, 16, 16, 3) for sample in read.samples)
    assert sorted(sample.seed for sample in read.samples if sample.set == "generated") == [0, 1, 2, 3, 4, 5]
    assert (place / "eval" / "psd.svg").read_text().startswith("<svg")
    assert len((place / "eval" / "psd.csv").read_text().splitlines()) == 1 + 2 * 2 * 8


def test_fewer_frames_are_windows_and_levels_stop(evaluate):
    code, told, _ = evaluate(*MODEL, "--frames", 4, "--levels", 1, "--json")
    protocol = json.loads(told)["protocol"]
    assert (code, protocol["size"], protocol["frames"], protocol["generated"]["levels"]) == (0, "8x8", 4, 1)
    told = evaluate(*MODEL, "--frames", 4, "--json")[1]
    assert json.loads(told)["protocol"]["generated"]["sampler"] == "window"


def test_batch_size_does_not_change_the_numbers_and_the_seed_does(evaluate):
    found = [numbers(evaluate(*MODEL, "--no-cache", "--json", "--batch-size", size)[1]) for size in (1, 4)]
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    other = numbers(evaluate(*MODEL, "--no-cache", "--json", "--seed", 6)[1])
    assert other["FVD[frames]"] != pytest.approx(found[0]["FVD[frames]"], rel=1e-3)


def test_the_second_run_takes_features_from_the_cache(evaluate):
    first = numbers(evaluate(*MODEL, "--json")[1])
    files = {path: path.stat().st_mtime_ns for path in cache_folder().iterdir()}
    assert numbers(evaluate(*MODEL, "--json")[1]) == first
    assert {path: path.stat().st_mtime_ns for path in cache_folder().iterdir()} == files
    for path in files:
        tensors, header = load_tensors(path)
        if header["kind"] == "features" and len(set(tensors["takes"].tolist())) == 6:
            save_tensors(path, tensors | {"logits": tensors["logits"] * 2}, header)
    assert numbers(evaluate(*MODEL, "--json")[1])["FVD[frames]"] == pytest.approx(4 * first["FVD[frames]"], rel=1e-6)
    assert numbers(evaluate(*MODEL, "--json", "--no-cache")[1]) == pytest.approx(first, rel=1e-4)


def test_a_torchscript_network_names_its_numbers(evaluate, network):
    code, told, err = evaluate(*MODEL, "--features", network, "--splits", 2, "--json")
    assert code == 0, err
    found = numbers(told)
    assert {f"{name}[my-colours]" for name in ("FVD", "FVD_inf", "FID", "IS", "KVD", "Recall")} <= set(found)
    assert 1 <= found["IS[my-colours]"] <= 3
    record = json.loads(told)
    assert record["protocol"]["dimensions"] == {"logits": 5, "pooled": 6}
    assert len(record["protocol"]["network_sha256"]) == 64
    assert set(record["per_class"][0]["values"]) == {"IS[my-colours]", "FID[my-colours]"}


# ---- two folders -------------------------------------------------------------------------------


def test_the_same_folder_twice_is_no_distance(evaluate):
    code, told, _ = evaluate("--fake", "VAL", "--real", "VAL", "--json", "--metrics", "fvd,psd,prdc")
    found = numbers(told)
    assert code == 0
    assert found["FVD[frames]"] < 1e-6
    assert found["Precision[frames]"] == found["Coverage[frames]"] == 1
    curves = json.loads(told)["psd"]["curves"]
    half = len(curves) // 2
    assert [c["power"] for c in curves[:half]] == [c["power"] for c in curves[half:]]
    assert json.loads(told)["protocol"]["frames"] == 24
    assert any("6 files are in both sets" in line for line in json.loads(told)["warnings"])


def test_noise_is_far_and_a_copy_is_near(evaluate, clips, place):
    for path in sorted((clips / "val").rglob("*.mp4")):
        _write(place / "brighter" / path.name, np.minimum(read_video(path).astype(int) + 3, 255))
    far = numbers(evaluate(*FOLDERS, "--json")[1])
    near = numbers(evaluate("--fake", "brighter", "--real", "VAL", "--json")[1])
    assert far["FVD[frames]"] > 20 * near["FVD[frames]"] > 0
    assert far["Precision[frames]"] == far["Recall[frames]"] == 0
    assert near["Precision[frames]"] == near["Recall[frames]"] == 1


def test_mixed_sizes_take_a_size(evaluate, make_clip, place):
    make_clip(place / "fakes" / "a.mp4", frames=8, size=(16, 16))
    make_clip(place / "fakes" / "b.mp4", frames=8, size=(16, 16), seed=1)
    code, _, err = evaluate("--fake", "fakes", "--real", "VAL")
    assert (code, err.count("\n")) == (3, 1)
    assert "the real videos are 48x32, the generated ones 16x16: make them one with --size" in err
    code, told, err = evaluate("--fake", "fakes", "--real", "VAL", "--size", "16", "--metrics", "psd", "--json")
    assert (code, json.loads(told)["protocol"]["size"]) == (0, "16x16"), err


def test_what_is_odd_about_the_sets_is_told(evaluate, place, make_clip):
    for number in range(7):
        make_clip(place / "mixed" / f"{number}.mp4", frames=24 if number < 2 else 4, size=(32, 48), seed=number)
    (place / "mixed" / "broken.mp4").write_text("x")
    for cached in (False, True):
        call = ("--fake", "mixed", "--real", "VAL", "--frames", 12, "--stride", 2, "--metrics", "fvd", "--json")
        lines = json.loads(evaluate(*call)[1])["warnings"]
        assert sum("left out of the generated set: " in line for line in lines) == 6, cached
        assert "left out of the generated set: 1 more files" in lines
        assert any("12.5 frames a second, the generated ones 25: is --stride 1 meant?" in line for line in lines)


def test_blank_videos_are_noticed(evaluate, place):
    for number in range(2):
        _write(place / "black" / f"{number}.mp4", np.zeros((8, 32, 48, 3)))
    code, told, _ = evaluate("--fake", "black", "--real", "VAL", "--metrics", "psd", "--json")
    assert code == 0
    assert any("2 of 2 generated videos are of one colour" in line for line in json.loads(told)["warnings"])


# ---- pairs by name -----------------------------------------------------------------------------


@pytest.fixture
def predictions(place, make_clip) -> Path:
    """`true/a.mp4` and `true/b.mp4`, with two samples each: the first is another clip, the second the same one."""
    for seed, name in enumerate("ab"):
        make_clip(place / "true" / f"{name}.mp4", frames=6, size=(24, 24), seed=seed)
        make_clip(place / "made" / f"{name}_0.mp4", frames=6, size=(24, 24), seed=seed + 10)
        make_clip(place / "made" / f"{name}_1.mp4", frames=6, size=(24, 24), seed=seed)
    return place


def test_best_of_the_samples(evaluate, predictions):
    pairs = ("--real", "true", "--fake", "made", "--metrics", "ssim,psnr", "--json")
    code, told, err = evaluate(*pairs)
    assert code == 0, err
    found = numbers(told)
    assert found["SSIM[best of 2]"] == pytest.approx(1)
    assert found["SSIM[best of 1]"] < 0.9
    assert found["PSNR[best of 2]"] is None, "infinite, which JSON has no number for"
    rows = {row["name"]: row for row in json.loads(told)["metrics"]}
    assert rows["PSNR[best of 2]"]["note"].startswith("inf")
    skipped = json.loads(evaluate(*pairs, "--skip-first", 2)[1])
    assert "2 given" in skipped["metrics"][0]["note"]
    assert len(skipped["per_frame"]["SSIM[best of 2]"]) == 4


def test_frechet_distances_inside_pairs(evaluate, predictions, network):
    pairs = ("--real", "true/a.mp4", "--metrics", "svfid", "--json")
    same = numbers(evaluate("--fake", "made/a_1.mp4", *pairs)[1])["SVFID[frames]"]
    other = numbers(evaluate("--fake", "made/a_0.mp4", *pairs)[1])["SVFID[frames]"]
    assert same < 1e-6 < 1e-2 < other
    told = json.loads(evaluate("--fake", "made/a_0.mp4", *pairs, "--features", network)[1])
    assert told["metrics"][0]["name"] == "SVFID[my-colours-crops]"
    assert "75 crops of 4 frames of 12x12, stride 1 frames, 3x3" in told["metrics"][0]["note"]


def test_pictures(evaluate, place):
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    write_image(place / "a.png", frames[0])
    write_image(place / "b.png", frames[1] // 2)
    for fake, far in (("a.png", False), ("b.png", True)):
        found = numbers(evaluate("--real", "a.png", "--fake", fake, "--metrics", "sifid", "--json")[1])
        assert (found["SIFID[frames]"] > 1e-3) is far


# ---- what people read --------------------------------------------------------------------------


def test_people_and_scripts(evaluate, place):
    code, told, err = evaluate(*MODEL, "--metrics", "fvd,per-class")
    assert code == 0
    assert all(text in told for text in ("tiny against val", "FVD[frames]", "6 against 6 videos", "network", "cat"))
    assert "hvg: warning: FVD[frames] is too large" in err
    code, told, _ = evaluate(*MODEL, "--metrics", "fvd", "-q")
    assert [line.split("\t")[0] for line in told.splitlines()] == ["FVD[frames]", "FVD_inf[frames]"]
    assert evaluate(*MODEL, "--metrics", "psd", "-q", "--out", "eval")[1] == "eval\n"


def test_dry_run_computes_nothing(evaluate, place):
    code, told, _ = evaluate(*MODEL, "--dry-run", "--out", "eval", "--json")
    record = json.loads(told)
    assert (code, record["dry_run"], record["metrics"]) == (0, True, [])
    assert record["protocol"]["generated"]["videos"] == 6
    assert not (place / "eval").exists()
    assert not cache_folder().exists()


def test_the_printed_command_does_it_again(evaluate):
    record = json.loads(evaluate(*MODEL, "--metrics", "fvd", "--json")[1])
    import shlex

    words = shlex.split(record["command"])
    assert words[:2] == ["hvg", "evaluate"]
    again = json.loads(evaluate(*words[2:], "--no-cache", "--json")[1])
    assert again["command"] == record["command"]
    assert numbers(json.dumps(again)) == pytest.approx(numbers(json.dumps(record)), rel=1e-4)


def test_overwrite_replaces_an_evaluation_and_nothing_else(evaluate, place):
    call = (*MODEL, "--metrics", "psd", "--out", "eval")
    assert evaluate(*call)[0] == 0
    code, _, err = evaluate(*call)
    assert (code, "not empty" in err) == (3, True)
    (place / "eval" / "notes.txt").write_text("mine")
    assert evaluate(*call, "--num", 2, "--overwrite")[0] == 0
    assert (place / "eval" / "notes.txt").read_text() == "mine"
    assert len(list((place / "eval" / "samples").glob("*.mp4"))) == 4
    assert [path.name for path in place.iterdir()] == ["eval"]


# ---- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ((), 2, "got neither"),
        (("--model", "TINY"), 2, "give --model with --data"),
        (("--model", "TINY", "--data", "VAL", "--real", "VAL"), 2, "got --model, --data, --real"),
        ((*FOLDERS, "--metrics", "fdv"), 2, "did you mean fvd?"),
        ((*FOLDERS, "--metrics", "is"), 2, "frames is no classifier"),
        ((*FOLDERS, "--metrics", "fid"), 2, "FVD[frames] is its distance"),
        ((*FOLDERS, "--metrics", "fvd,ssim"), 2, "two calls"),
        ((*FOLDERS, "--skip-first", -1, "--metrics", "ssim"), 2, "--skip-first -1"),
        ((*FOLDERS, "--size", "big"), 2, "WIDTHxHEIGHT"),
        ((*FOLDERS, "--num", 1), 2, "at least 2 videos"),
        ((*FOLDERS, "--frames", 0), 2, "--frames 0"),
        ((*FOLDERS, "--levels", 1), 2, "--levels is for a model"),
        ((*FOLDERS, "--features", "i4d"), 2, "unknown feature network 'i4d'"),
        ((*FOLDERS, "--features", "no.pt"), 4, "no.pt is missing"),
        ((*FOLDERS, "--features", "i3d"), 4, "not on this machine"),
        ((*FOLDERS, "--features", "other.pt"), 4, "a feature network is called as"),
        ((*FOLDERS, "--features", "text.pt"), 4, "not a TorchScript file"),
        ((*FOLDERS, "--frames", 25), 3, "the longest has 24"),
        (("--fake", "SHORT", "--real", "VAL"), 3, "the generated set has one video"),
        (("--fake", "nowhere", "--real", "VAL"), 3, "no such folder"),
        (("--model", "tinny", "--data", "VAL"), 2, "unknown model"),
        (("--model", "nowhere/", "--data", "VAL"), 4, "no such model folder"),
        (("--model", "TINY", "--data", "foreign"), 2, "does not know the class 'horse'"),
        (("--model", "TINY", "--data", "SHORT"), 3, "the longest has 3"),
        ((*MODEL, "--size", "32"), 2, "a size of their own"),
        ((*MODEL, "--metrics", "ssim"), 2, "give --fake and --real"),
        (("--fake", "VAL", "--real", "SHORT", "--metrics", "ssim"), 3, "has no real video"),
        ((*FOLDERS, "--out", "text.pt"), 3, "is a file"),
    ],
)
def test_one_line_for_each_mistake(evaluate, place, make_clip, args, code, message):
    torch.jit.script(Other()).save(str(place / "other.pt"))
    (place / "text.pt").write_text("x")
    if "foreign" in args:
        make_clip(place / "foreign" / "horse" / "a.mp4", frames=24)
    found, told, err = evaluate(*args)
    assert (found, told, err.count("\n")) == (code, "", 1), err
    assert message in err


def test_a_real_set_without_classes_or_with_fewer(evaluate, clips):
    record = json.loads(evaluate("--model", "TINY", "--data", clips / "val" / "cat", *MODEL[4:], "--json")[1])
    assert any("val has no classes" in line or "cat has no classes" in line for line in record["warnings"])
    assert record["per_class"] == []


def test_few_features_that_are_not_finite_end_in_one_line(evaluate, place):
    class Bad(nn.Module):
        def forward(
            self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
        ) -> Tensor:
            return x.mean((2, 3, 4)) * float("nan")

    torch.jit.script(Bad()).save(str(place / "bad.pt"))
    code, told, err = evaluate(*FOLDERS, "--features", "bad.pt", "--metrics", "fvd")
    assert (code, told, err.count("\n")) == (3, "", 1)
    assert "not finite" in err
