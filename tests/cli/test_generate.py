"""`hvg generate`, with a tiny working model and the real encoders."""

import json
import shlex
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from made_files import frames, made, picture
from real_models import make_working_model

from hvgcli import runtime, video
from hvgcli.cli.generate import with_sheet_number
from hvgcli.cli.main import run
from hvgcli.sampling.noise import random_labels

pytestmark = pytest.mark.usefixtures("place")


def names(folder: object = ".") -> list[str]:
    return sorted(path.name for path in Path(str(folder)).iterdir())


def close(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal but for rounding in float32: other batch sizes may take other convolution routines."""
    return one.shape == other.shape and int(np.abs(one.astype(int) - other.astype(int)).max()) <= 1


EXACT = ("--format", "png", "--dtype", "fp32")


# ---- files ---------------------------------------------------------------------------------------


def test_default(hvg):
    code, out, err = hvg("--class", "dog", "--seed", 7)
    assert (code, out, names()) == (0, "dog_s0007_8f.mp4\n", ["dog_s0007_8f.mp4"])
    assert "device cpu" in err
    found = video.probe(Path("dog_s0007_8f.mp4"))
    assert (found.codec, found.pix_fmt, found.width, found.height) == ("h264", "yuv420p", 16, 16)
    assert (found.rate, found.frames) == (Fraction(25, 2), 8)


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "h264"), ("webm", "vp9"), ("gif", "gif"), ("png", "png")])
def test_formats(hvg, kind, codec):
    by_option, by_name = "clip.png" if kind == "png" else f"dog_s0001_8f.{kind}", f"clip.{kind}"
    made(hvg("--class", "dog", "--seed", 1, "--format", kind))
    path = Path(made(hvg("--class", "dog", "--seed", 1, "-o", by_name))[0])
    if kind == "png":
        assert len(list(path.iterdir())) == 8
        assert path.name == "clip"
        assert names() == ["clip", "dog_s0001_8f"]
        return
    assert names() == sorted([by_option, by_name])
    assert video.probe(path).codec == codec
    assert video.count_frames(path) == 8


def test_one_png_frame_is_a_file(hvg):
    assert made(hvg("--frames", 1, "--seed", 1, "--class", 0, "-o", "one.png")) == ["one.png"]
    assert picture("one.png").shape == (16, 16, 3)


@pytest.mark.parametrize("output", ["new/", "there", "there/"])
def test_folder(hvg, output):
    Path("there").mkdir()
    paths = made(hvg("--seed", "1,3", "--class", "cat", "-o", output))
    assert paths == [f"{output.rstrip('/')}/cat_s0001_8f.mp4", f"{output.rstrip('/')}/cat_s0003_8f.mp4"]
    assert all(Path(path).is_file() for path in paths)


def test_template(hvg):
    paths = made(
        hvg("--class", "all", "--seed", "5-6", "-o", "{model}/{index:02d}_{class}_{seed}_{frames}_{sigma:.1f}")
    )
    assert paths == [
        "tiny/00_cat_5_8_0.5.mp4",
        "tiny/01_cat_6_8_0.5.mp4",
        "tiny/02_dog_5_8_0.5.mp4",
        "tiny/03_dog_6_8_0.5.mp4",
    ]
    assert names("tiny") == [Path(path).name for path in paths]
    assert made(hvg("--seed", 1, "-o", "{{x}}.gif")) == ["{x}.gif"]


def test_class_cannot_lead_out_of_the_folder(hvg, tmp_path, models, capsys):
    folder = make_working_model(tmp_path / "odd", name="odd", classes=("../../up", "a/b c,d"))
    assert run(["generate", "--model", str(folder), "--class", "all", "--seed", "1"]) == 0
    assert names() == ["a_b_c_d_s0001_8f.mp4", "up_s0001_8f.mp4"]
    command = video.provenance(Path("up_s0001_8f.mp4"))["command"]
    assert "--class 0 " in command  # the name could be misread


def test_existing_files(hvg):
    Path("dog_s0002_8f.mp4").write_text("mine")
    args = ("--class", "dog", "--seed", "1-3")
    code, out, err = hvg(*args)
    assert (code, out) == (3, "")
    assert "dog_s0002_8f.mp4 is already there" in err
    assert names() == ["dog_s0002_8f.mp4"]
    assert made(hvg(*args, "--skip-existing")) == ["dog_s0001_8f.mp4", "dog_s0003_8f.mp4"]
    assert Path("dog_s0002_8f.mp4").read_text() == "mine"
    code, out, err = hvg(*args, "--skip-existing")
    assert (code, out) == (0, "")
    assert "nothing to do" in err
    assert len(made(hvg(*args, "--overwrite"))) == 3
    assert video.count_frames(Path("dog_s0002_8f.mp4")) == 8


def test_existing_png_folder(hvg):
    made(hvg("--seed", 1, "-o", "x.png"))
    assert hvg("--seed", 1, "-o", "x.png")[0] == 3
    assert made(hvg("--seed", 1, "-o", "x.png", "--overwrite")) == ["x"]
    Path("x/other.txt").write_text("mine")
    assert hvg("--seed", 1, "-o", "x.png", "--overwrite")[0] == 3
    assert Path("x/other.txt").exists()


# ---- what is made --------------------------------------------------------------------------------


def test_a_seed_means_one_video(hvg):
    made(hvg("--class", "dog", "--seed", "1-5", *EXACT, "-o", "a/"))
    assert len(made(hvg("--class", "dog", "--seed", 1, "--num", 5, *EXACT, "-o", "b/", "--batch-size", 2))) == 5
    made(hvg("--class", "dog", "--seed", 3, *EXACT, "-o", "c/", "--piece", 1, "--batch-size", 1))
    for seed in range(1, 6):
        assert close(frames(f"a/dog_s{seed:04d}_8f"), frames(f"b/dog_s{seed:04d}_8f"))
    assert close(frames("a/dog_s0003_8f"), frames("c/dog_s0003_8f"))
    assert not close(frames("a/dog_s0003_8f"), frames("a/dog_s0002_8f"))


def test_a_seed_means_one_video_in_bfloat16(hvg):
    made(hvg("--seed", "1-3", "--class", 0, "--dtype", "bf16", "--format", "png", "-o", "a/", "--batch-size", 3))
    made(hvg("--seed", 3, "--class", 0, "--dtype", "bf16", "--format", "png", "-o", "b/", "--piece", 1))
    difference = frames("a/cat_s0003_8f").astype(int) - frames("b/cat_s0003_8f")
    assert np.abs(difference).mean() < 1


def test_the_same_command_gives_the_same_frames(hvg):
    made(hvg("--class", "cat", "--seed", 1, "-o", "a.mp4"))
    made(hvg("--class", "cat", "--seed", 1, "-o", "b.mp4"))
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()


def test_random_class_depends_on_the_seed_only(hvg):
    drawn = [("cat", "dog")[label] for label in random_labels(range(1, 7), 2).tolist()]
    assert len(set(drawn)) == 2
    expected = [f"{name}_s{seed:04d}_8f.mp4" for seed, name in enumerate(drawn, start=1)]
    assert made(hvg("--seed", "1-6")) == expected
    assert made(hvg("--seed", 4, "--class", "random", "--overwrite")) == [expected[3]]


def test_class_by_number(hvg):
    assert made(hvg("--class", 1, "--seed", 1)) == ["dog_s0001_8f.mp4"]


def test_random_seed_is_told_and_makes_it_again(hvg):
    _, out, err = hvg("--class", "dog", "--num", 2)
    seeds = next(line for line in err.splitlines() if line.startswith("seed ")).removeprefix("seed ")
    assert out.splitlines() == [f"dog_s{int(seed):04d}_8f.mp4" for seed in seeds.split("-")]


def test_model_without_classes(hvg):
    assert made(hvg("--seed", 1, model="free")) == ["free_s0001_8f.mp4"]
    assert video.provenance(Path("free_s0001_8f.mp4"))["class"] is None


@pytest.mark.parametrize("count", [1, 3, 8, 21])
def test_frames(hvg, count):
    made(hvg("--frames", count, "--seed", 1, "--format", "png", "-o", "x"))
    assert len(frames("x")) == count


def test_levels_stop_at_the_outline(hvg):
    path = Path(made(hvg("--levels", 1, "--seed", 1, "-o", "low.mp4"))[0])
    found = video.probe(path)
    assert (found.width, found.frames, found.rate) == (8, 4, Fraction(25, 4))
    assert "--levels 1" in video.provenance(path)["command"]


def test_rate_and_quality(hvg):
    low, high = (
        Path(made(hvg("--seed", 1, "--crf", crf, "--fps", "24000/1001", "-o", f"{crf}.mp4"))[0]) for crf in (51, 1)
    )
    assert video.probe(low).rate == Fraction(24000, 1001)
    assert low.stat().st_size < high.stat().st_size
    made(hvg("--seed", 1, "--fps", 5, "-o", "n.mp4"))
    assert video.probe(Path("n.mp4")).rate == 5


def test_sigma_changes_the_video_and_measures_what_is_missing(hvg, own_cache):
    made(hvg("--seed", 1, "--class", 0, *EXACT, "-o", "a"))
    args = ("--seed", 1, "--class", 0, "--sigma", 0.9, "--passes", 4, *EXACT)
    code, _, err = hvg(*args, "-o", "b")
    assert code == 0
    assert "measuring standing statistics for sigma 0.9" in err
    assert "sigma 0.5" in err
    assert len(list((own_cache / "statistics").rglob("*.safetensors"))) == 2
    _, _, err = hvg(*args, "-o", "c")
    assert "measuring" not in err
    assert not close(frames("a"), frames("b"))
    assert close(frames("b"), frames("c"))


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "auto"])
def test_precision(hvg, dtype):
    made(hvg("--seed", 1, "--class", 0, "--dtype", dtype, "-o", "x.png"))
    made(hvg("--seed", 1, "--class", 0, "--dtype", "fp32", "-o", "y.png"))
    assert np.abs(frames("x").astype(int) - frames("y")).mean() < 3
    assert video.provenance(Path("x"))["dtype"] in (dtype, "fp32")


def test_choice_of_precision():
    import torch

    cpu = torch.device("cpu")
    fast = runtime.has_fast_bfloat16(cpu)
    assert runtime.choose_half("auto", cpu, 3) == (False, fast, fast)
    assert runtime.choose_half("fp32", cpu, 2) == (False, False)
    assert runtime.choose_half("bf16", cpu, 2) == (True, True)


# ---- grid, sheet, walks --------------------------------------------------------------------------


def test_grid(hvg):
    made(hvg("--class", "all", "--seed", "1-3", *EXACT, "-o", "each/"))
    path = made(hvg("--class", "all", "--seed", "1-3", "--grid", *EXACT, "-o", "grid", "--batch-size", 2))[0]
    grid = frames(path)
    assert grid.shape == (8, 34, 52, 3)  # a row a class, two pixels between
    for row, name in enumerate(("cat", "dog")):
        for column in range(3):
            part = grid[:, row * 18 : row * 18 + 16, column * 18 : column * 18 + 16]
            assert close(part, frames(f"each/{name}_s{column + 1:04d}_8f"))
    made_by = video.provenance(Path(path))
    assert (made_by["seed"], made_by["class"]) == ("1-3", "cat,dog")


def test_grid_name(hvg):
    assert made(hvg("--class", "dog", "--seed", "1-2", "--grid")) == ["dog_s0001_8f_grid.mp4"]
    assert made(hvg("--class", "all", "--seed", "1-2", "--grid")) == ["mixed_s0001_8f_grid.mp4"]


def test_sheet(hvg):
    paths = made(hvg("--class", "dog", "--seed", "1-2", "--format", "png", "--sheet", 3))
    assert paths[-1] == "dog_s0001_8f_sheet.png"
    sheet = picture(paths[-1])
    assert sheet.shape == (34, 52, 3)
    for row, path in enumerate(paths[:2]):
        for column, number in enumerate((0, 4, 7)):  # round(3.5) = 4
            part = sheet[row * 18 : row * 18 + 16, column * 18 : column * 18 + 16]
            assert np.array_equal(part, frames(path)[number])
    told = video.provenance(Path(paths[-1]))
    assert told["seed"] == "1-2"
    assert told["command"].endswith("--sheet 3")


def test_sheet_without_its_number(hvg):
    assert with_sheet_number(["--sheet", "--seed", "1", "--sheet"]) == ["--sheet", "8", "--seed", "1", "--sheet", "8"]
    assert with_sheet_number(["--sheet", "3"]) == ["--sheet", "3"]
    assert made(hvg("--seed", 1, "-o", "x.mp4", "--sheet")) == ["x.mp4", "x_sheet.png"]
    assert picture("x_sheet.png").shape == (16, 8 * 18 - 2, 3)
    made(hvg("--seed", 1, "-o", "y.mp4", "--sheet", 50))
    assert picture("y_sheet.png").shape == (16, 8 * 18 - 2, 3)
    assert hvg("--seed", 1, "-o", "x.gif", "--sheet")[0] == 3  # the sheet is there


def test_walk_between_seeds(hvg):
    walk = made(hvg("--class", "dog", "--seed", "1,4,9", "--interpolate", "z", "--num", 5, *EXACT, "-o", "w/"))
    assert [Path(path).name for path in walk] == [f"dog_s0001_8f_w{index:03d}" for index in range(5)]
    made(hvg("--class", "dog", "--seed", "1,4,9", *EXACT, "-o", "p/"))
    for step, seed in ((0, 1), (2, 4), (4, 9)):
        assert close(frames(walk[step]), frames(f"p/dog_s{seed:04d}_8f"))
    assert not close(frames(walk[1]), frames(walk[0]))
    assert not close(frames(walk[1]), frames(walk[2]))
    half_way = video.provenance(Path(walk[1]))
    assert (half_way["seed"], half_way["to_seed"], half_way["blend"]) == (1, 4, 0.5)
    assert "--seed 1,4,9 --interpolate z --num 5" in half_way["command"]


def test_walk_between_classes(hvg):
    walk = made(hvg("--class", "dog,cat", "--seed", 3, "--interpolate", "class", "--num", 3, *EXACT, "-o", "w/"))
    assert [Path(path).name for path in walk] == [f"dog-to-cat_s0003_8f_w{index:03d}" for index in range(3)]
    made(hvg("--class", "all", "--seed", 3, *EXACT, "-o", "p/"))
    assert close(frames(walk[0]), frames("p/dog_s0003_8f"))
    assert close(frames(walk[2]), frames("p/cat_s0003_8f"))
    assert not close(frames(walk[1]), frames(walk[0]))
    assert not close(frames(walk[1]), frames(walk[2]))


def test_walk_without_numbers(hvg):
    assert len(made(hvg("--interpolate", "z", "--levels", 1))) == 8
    assert len(made(hvg("--interpolate", "class", "--class", "all", "--levels", 1, "--grid", "--frames", 2))) == 1


# ---- records -------------------------------------------------------------------------------------


def test_provenance_makes_it_again(hvg, models, capsys):
    args = ("--sigma", 0.5, "--frames", 5, "--fps", "30000/1001", "--num", 2, "--crf", 10, "--batch-size", 2)
    _, second = made(hvg("--seed", 8, *args))
    assert run(["info", second, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    told = record["provenance"]
    assert {"model", "sha", "version", "class", "label", "seed", "sigma", "frames", "fps", "levels", "dtype"} <= set(
        told
    )
    assert (told["model"], told["seed"], told["frames"], told["fps"]) == ("tiny", 9, 5, "30000/1001")
    Path("again").mkdir()
    assert run([*shlex.split(record["command"])[1:], "-o", "again"]) == 0
    assert Path("again", second).read_bytes() == Path(second).read_bytes()


def test_no_metadata(hvg):
    made(hvg("--seed", 1, "-o", "x.mp4", "--no-metadata", "--sheet"))
    assert video.provenance(Path("x.mp4")) is None
    assert video.provenance(Path("x_sheet.png")) is None


def test_json_and_quiet(hvg):
    _, out, _ = hvg("--class", "dog", "--seed", "1-2", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["schema"], row["path"], row["seed"], row["class"]) for row in rows] == [
        (1, "dog_s0001_8f.mp4", 1, "dog"),
        (1, "dog_s0002_8f.mp4", 2, "dog"),
    ]
    assert (rows[0]["size"], rows[0]["rate"], rows[0]["frames"]) == ("16x16", "25/2", 8)
    code, out, err = hvg("--class", "dog", "--seed", 3, "-q")
    assert (code, out, err) == (0, "dog_s0003_8f.mp4\n", "")


def test_dry_run_writes_nothing(hvg, own_cache):
    code, out, err = hvg("--class", "dog", "--seed", "1-2", "--dry-run", "--sheet", "-o", "new/", "--sigma", 0.9)
    assert (code, names(), own_cache.exists()) == (0, [], False)
    assert [line.split(":")[0] for line in out.splitlines()] == [
        "would write new/dog_s0001_8f.mp4",
        "would write new/dog_s0002_8f.mp4",
        "would write new/dog_s0001_8f_sheet.png",
    ]
    assert "8 frames of 16x16 at 25/2" in out
    assert "MiB" in err
    assert "levels [1, 2]" in err
    _, out, _ = hvg("--class", "dog", "--seed", "1-4", "--grid", "-n", "--json", "--frames", 20)
    row = json.loads(out)
    assert (row["size"], row["frames"], row["dry_run"], row["measure_levels"]) == ("34x34", 20, True, [])
    assert row["memory_bytes"] > 1 << 20
    assert names() == []


# ---- cost ----------------------------------------------------------------------------------------


def test_nothing_needless_is_imported(models):
    script = (
        "import sys\n"
        "from hvgcli.cli.main import run\n"
        f"code = run(['generate', '--model', {str(models / 'tiny')!r}, '--seed', '1', '-q'])\n"
        "heavy = ('torch._dynamo', 'sympy', 'torch.onnx', 'tensorboard', 'huggingface_hub', 'av', 'rich.progress')\n"
        "print([name for name in heavy if name in sys.modules], code)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"
