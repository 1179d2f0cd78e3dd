"""`hvg generate` with models of one clip and of one image: random weights, real files and encoders."""

from __future__ import annotations

import json
import shlex
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from made_files import frames, made, picture
from PIL import Image
from real_models import make_working_model
from single_models import make_single_model
from small_single import image_config

from hvgcli import video
from hvgcli.checkpoints import finish_model
from hvgcli.cli.main import run

pytestmark = pytest.mark.usefixtures("place")

EXACT = ("--format", "png", "--dtype", "fp32")


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """`moving` learned a clip of 5 frames of 16x12, `still` an image; `stopped` finished 2 of its 4 scales."""
    folder = tmp_path_factory.mktemp("single")
    make_single_model(folder / "moving")
    make_single_model(folder / "still", image_config())
    make_single_model(folder / "stopped", scales=2)
    return folder


@pytest.fixture
def single(models, place, capsys):
    """Runs `hvg generate`; returns exit code, stdout and stderr."""

    def call(*args: object, model: str | Path = "moving") -> tuple[int, str, str]:
        code = run(["generate", "--model", str(models / model), *map(str, args)])
        return code, *capsys.readouterr()

    return call


def names() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def close(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal but for rounding in float32."""
    return one.shape == other.shape and int(np.abs(one.astype(int) - other.astype(int)).max()) <= 1


def painted(path: str, size: tuple[int, int] = (24, 18)) -> np.ndarray:
    """Write a picture of (width, height): blue above, orange below, a white spot."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[: size[1] // 2], pixels[size[1] // 2 :] = (40, 80, 200), (230, 150, 40)
    pixels[2:6, 2:6] = 255
    Image.fromarray(pixels).save(path)
    return pixels


# ---- clips -----------------------------------------------------------------------------------------


def test_variations_of_a_clip(single):
    assert made(single("--num", 2, "--seed", 1)) == ["moving_s0001_5f.mp4", "moving_s0002_5f.mp4"]
    found = video.probe(Path("moving_s0001_5f.mp4"))
    assert (found.codec, found.pix_fmt, found.width, found.height) == ("h264", "yuv420p", 16, 12)
    assert (found.rate, found.frames) == (Fraction(24), 5)


def test_size_and_length(single):
    (path,) = made(single("--seed", 1, "--size", "40x20", "--frames", 11))
    assert path == "moving_s0001_11f_40x20.mp4"
    found = video.probe(Path(path))
    assert (found.width, found.height, found.frames, found.rate) == (40, 20, 11, Fraction(24))


def test_a_seed_means_one_video(single):
    made(single("--seed", "1-3", *EXACT, "-o", "a/", "--batch-size", 3))
    made(single("--seed", 2, *EXACT, "-o", "b/", "--batch-size", 1))
    assert close(frames("a/moving_s0002_5f"), frames("b/moving_s0002_5f"))
    assert not close(frames("a/moving_s0001_5f"), frames("a/moving_s0002_5f"))


def test_another_length_has_statistics_of_its_own(single, own_cache):
    args = ("--seed", 1, "--frames", 12, *EXACT)
    _, _, err = single(*args, "--dry-run")
    assert "statistics for 12 frames would be measured" in err
    code, _, err = single(*args, "-o", "a")
    assert code == 0
    assert "measuring standing statistics for 12 frames" in err
    assert [path.name for path in (own_cache / "statistics").rglob("*.*")] == ["single_12_m1.safetensors"]
    _, _, err = single(*args, "-o", "b")
    assert "measuring" not in err
    assert close(frames("a"), frames("b"))


def test_damaged_statistics_are_measured_again(single, own_cache):
    made(single("--seed", 1, "--frames", 8, *EXACT, "-o", "a"))
    (kept,) = (own_cache / "statistics").rglob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-9])
    code, _, err = single("--seed", 1, "--frames", 8, *EXACT, "-o", "b")
    assert code == 0
    assert "measured again" in err
    assert close(frames("a"), frames("b"))


def test_grid_and_sheet(single):
    made(single("--seed", "1-3", *EXACT, "-o", "each/"))
    path, sheet = made(single("--seed", "1-3", "--grid", *EXACT, "-o", "grid", "--batch-size", 2, "--sheet", 3))
    grid = frames(path)
    assert grid.shape == (5, 26, 34, 3)  # two in a row, two pixels between
    assert close(grid[:, :12, 18:], frames("each/moving_s0002_5f"))
    assert close(grid[:, 14:, :16], frames("each/moving_s0003_5f"))
    rows = picture(sheet)
    assert rows.shape == (3 * 14 - 2, 3 * 18 - 2, 3)
    assert close(rows[14:26, 18:34], frames("each/moving_s0002_5f")[2])


def test_odd_sizes_are_told(single):
    (path,) = made(single("--seed", 1, "--size", "21x15", "-o", "odd.mp4"))
    found = video.probe(Path(path))
    assert (found.width, found.height, found.pix_fmt) == (21, 15, "yuv444p")
    assert "not every player" in single("--seed", 1, "--size", "21x15", "-o", "odd.mp4", "--overwrite")[2]


def test_stopped_training(single):
    code, out, err = single("--seed", 1, model="stopped")
    assert (code, out) == (0, "stopped_s0001_2f.mp4\n")
    assert "unfinished: 2 of its 4 scales" in err
    found = video.probe(Path("stopped_s0001_2f.mp4"))
    assert (found.frames, found.rate, found.height, found.width) == (2, Fraction(6), 10, 14)  # 11 is odd


def test_provenance_makes_it_again(single, capsys):
    args = ("--sigma", 0.7, "--frames", 7, "--size", "32x16", "--fps", "30000/1001", "--num", 2, "--crf", 9)
    _, second = made(single("--seed", 8, *args))
    assert run(["info", second, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    told = record["provenance"]
    assert (told["model"], told["seed"], told["frames"], told["size"]) == ("moving", 9, 7, "32x16")
    assert (told["sigma"], told["fps"]) == (0.7, "30000/1001")
    Path("again").mkdir()
    assert run([*shlex.split(record["command"])[1:], "-o", "again/"]) == 0
    assert Path("again", second).read_bytes() == Path(second).read_bytes()


def test_json_and_dry_run(single, own_cache):
    code, out, err = single("--seed", "1-2", "--dry-run", "--json", "--size", "64x32")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [(row["path"], row["size"], row["rate"], row["seed"]) for row in rows] == [
        ("moving_s0001_5f_64x32.mp4", "64x32", "24", 1),
        ("moving_s0002_5f_64x32.mp4", "64x32", "24", 2),
    ]
    assert rows[0]["memory_bytes"] > 1 << 20
    assert rows[0]["measure_statistics"] is False
    assert "MiB" in err
    assert (names(), own_cache.exists()) == ([], False)


def test_existing_files(single):
    Path("moving_s0001_5f.mp4").write_text("mine")
    assert single("--seed", "1-2")[0] == 3
    assert made(single("--seed", "1-2", "--skip-existing")) == ["moving_s0002_5f.mp4"]
    assert Path("moving_s0001_5f.mp4").read_text() == "mine"
    assert made(single("--seed", 1, "--overwrite", "--no-metadata")) == ["moving_s0001_5f.mp4"]
    assert video.provenance(Path("moving_s0001_5f.mp4")) is None


@pytest.mark.parametrize("form", [[], ["--grid"]])
def test_nothing_to_do_is_told_alike_by_both_kinds_of_model(single, tmp_path, form):
    for model in ("moving", make_working_model(tmp_path / "tiny")):
        args = ("--seed", "1-2", "-o", f"of-{Path(model).name}/", *form)
        made(single(*args, model=model))
        for dry in ([], ["--dry-run"], ["--dry-run", "--json"]):
            code, out, err = single(*args, "--skip-existing", *dry, model=model)
            assert (code, out, err) == (0, "", "nothing to do: all files are there\n")


# ---- images ----------------------------------------------------------------------------------------


def test_pictures_are_png_files(single):
    assert made(single("--seed", "1-2", model="still")) == ["still_s0001.png", "still_s0002.png"]
    assert picture("still_s0001.png").shape == (12, 16, 3)
    assert not close(picture("still_s0001.png"), picture("still_s0002.png"))
    assert "fps" not in video.provenance(Path("still_s0001.png"))
    assert made(single("--seed", 1, "--size", "50x21", "-o", "x", "--format", "png", model="still")) == ["x.png"]
    assert picture("x.png").shape == (21, 50, 3)


def test_pictures_in_a_grid(single):
    assert made(single("--seed", "1-4", "--grid", model="still")) == ["still_s0001_grid.png"]
    assert picture("still_s0001_grid.png").shape == (26, 34, 3)


# ---- the user's own --------------------------------------------------------------------------------


def test_from_a_picture(single):
    painted("drawing.png")
    (path,) = made(single("--from", "drawing.png", "--at-scale", 2, "--seed", 1, model="still"))
    assert path == "drawing_at2_s0001.png"
    assert picture(path).shape == (12, 16, 3)  # the model's height, the picture's aspect
    told = video.provenance(Path(path))
    assert (told["from"], told["at_scale"], len(told["from_sha256"])) == ("drawing.png", 2, 64)
    assert "--from drawing.png --at-scale 2" in told["command"]
    (large,) = made(single("--from", "drawing.png", "--at-scale", 0, "--size", "36x27", "--seed", 1, model="still"))
    assert picture(large).shape == (27, 36, 3)


def test_a_mask_keeps_what_is_black(single):
    pixels = painted("drawing.png", (32, 24))
    mask = np.zeros((24, 32), np.uint8)
    mask[:, 20:] = 255
    Image.fromarray(mask).save("mask.png")
    args = ("--from", "drawing.png", "--at-scale", 1, "--size", "32x24", "--seed", 3)
    whole = picture(made(single(*args, "-o", "whole.png", model="still"))[0])
    part = picture(made(single(*args, "--mask", "mask.png", "-o", "part.png", model="still"))[0])
    assert close(part[:, :17], pixels[:, :17])  # the edge is 5 pixels wide
    assert close(part[:, 23:], whole[:, 23:])
    assert not close(whole[:, :17], pixels[:, :17])


def test_a_picture_is_repeated_for_a_clip(single):
    painted("drawing.png")
    code, out, err = single("--from", "drawing.png", "--at-scale", 2, "--seed", 1, *EXACT)
    assert (code, out) == (0, "drawing_at2_s0001_5f\n")
    assert "repeated over 5 frames" in err
    assert frames(out.strip()).shape == (5, 12, 16, 3)


def test_from_a_clip(single):
    with video.VideoWriter(Path("own.mp4"), size=(18, 24), rate=Fraction(48)) as writer:
        writer.write(np.stack([np.full((18, 24, 3), 8 * k, np.uint8) for k in range(20)]))
    code, out, err = single("--from", "own.mp4", "--at-scale", 3, "--seed", 1, *EXACT)
    assert (code, out) == (0, "own_at3_s0001_5f\n")
    assert "its first 5 frames at the model's rate" in err
    code, _, err = single("--from", "own.mp4", "--at-scale", 3, "--frames", 12)
    assert (code, "has 10 frames at 24 frames/s" in err) == (3, True)


def test_seeds_that_make_the_same_are_told(single):
    painted("drawing.png")
    _, _, err = single("--from", "drawing.png", "--at-scale", 1, "--num", 2, "--dry-run", model="stopped")
    assert "all seeds make the same" in err


# ---- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "words", "model"),
    [
        (["--class", "dog"], "--class has no meaning for moving, which learned one clip", "moving"),
        (["--interpolate", "z"], "--interpolate", "moving"),
        (["--levels", 1], "--levels", "moving"),
        (["--passes", 5], "--passes", "moving"),
        (["--piece", 5], "--piece", "still"),
        (["--fps", 5], "--fps is for videos", "still"),
        (["--sheet"], "--sheet is for videos", "still"),
        (["--crf", 5], "--crf is for videos", "still"),
        (["--format", "mp4"], "makes PNG pictures", "still"),
        (["-o", "x.gif"], "makes PNG pictures", "still"),
        (["-o", "x.jpg"], "must end in .png", "still"),
        (["--frames", 3], "makes 1 frame, not 3", "still"),
        (["--frames", 0], "at least 1", "moving"),
        (["--size", "2x2"], "too small for the coarsest scale", "moving"),
        (["--size", "9999x2"], "WIDTHxHEIGHT", "moving"),
        (["--size", "wide"], "WIDTHxHEIGHT", "moving"),
        (["--sigma", 0], "above 0", "moving"),
        (["--at-scale", 1], "goes with --from", "moving"),
        (["--mask", "m.png"], "goes with --from", "moving"),
        (["--from", "drawing.png"], "needs --at-scale", "moving"),
        (["--from", "drawing.png", "--at-scale", 4], "not one of 0..3", "moving"),
        (["--from", "drawing.png", "--at-scale", -1], "not one of 0..3", "moving"),
        (["--from", "own.gif", "--at-scale", 1], "learned an image: give a picture", "still"),
    ],
)
def test_usage(single, args, words, model):
    painted("drawing.png")
    with video.VideoWriter(Path("own.gif"), size=(18, 24), rate=Fraction(25)) as writer:
        writer.write(np.stack([np.full((18, 24, 3), 8 * k, np.uint8) for k in range(3)]))
    code, out, err = single(*args, model=model)
    assert (code, out, names()) == (2, "", ["drawing.png", "own.gif"])
    assert words in err
    assert len(err.splitlines()) == 1


def test_bad_pictures(single):
    painted("drawing.png")
    painted("other.png", (30, 18))
    Image.new("L", (24, 18)).save("black.png")
    Path("text.png").write_text("no picture")
    args = ("--at-scale", 1, "--seed", 1)
    for more, words in (
        (["--from", "none.png"], "none.png"),
        (["--from", "text.png"], "text.png"),
        (["--from", "drawing.png", "--mask", "other.png"], "draw the mask over it"),
        (["--from", "drawing.png", "--mask", "black.png"], "black all over"),
    ):
        code, out, err = single(*args, *more, model="still")
        assert (code, out) == (3, "")
        assert words in err.splitlines()[-1]
    assert not Path("drawing_at1_s0001.png").exists()


def test_a_mask_that_changes_nothing_is_told_before_anything_is_measured(single):
    painted("drawing.png")
    Image.new("L", (24, 18)).save("black.png")
    args = ("--from", "drawing.png", "--at-scale", 1, "--mask", "black.png", "--frames", 7, "--seed", 1)
    code, out, err = single(*args)
    assert (code, out, names()) == (3, "", ["black.png", "drawing.png"])
    assert "black all over" in err
    assert "measuring" not in err


def test_a_picture_too_narrow_or_wide_asks_for_a_size(single):
    for size in ((6, 300), (1200, 2)):
        painted("thin.png", size)
        code, out, err = single("--from", "thin.png", "--at-scale", 1, "--seed", 1, model="still")
        assert (code, out) == (2, "")
        assert "--from thin.png would be" in err
        assert "give a --size" in err
        assert len(err.splitlines()) == 1


def test_a_transparent_picture_is_told(single):
    pixels = np.full((18, 24, 4), 200, np.uint8)
    pixels[:9, :, 3] = 0
    Image.fromarray(pixels).save("pasted.png")
    _, _, err = single("--from", "pasted.png", "--at-scale", 1, "--seed", 1, "--dry-run", model="still")
    assert "black where it is transparent" in err


def test_more_than_this_machine_holds(single):
    code, out, err = single("--seed", 1, "--size", "4096x4096", "--frames", 500_000)
    assert (code, out, names()) == (5, "", [])
    assert "GiB of memory, but this machine has" in err


@pytest.mark.parametrize("option", [["--size", "64x64"], ["--from", "x.png"], ["--at-scale", "1"], ["--mask", "x.png"]])
def test_options_of_single_models_are_refused_by_others(tmp_path, capsys, option):
    folder = make_working_model(tmp_path / "tiny")
    assert run(["generate", "--model", str(folder), *option]) == 2
    assert f"{option[0]} is for models of one clip or image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"height": 13}, "height 13 must be even"),
        ({"width": 4}, "width 4 must be 8..4096 pixels"),
        ({"scales": 40}, "scales 40 must be 1..16"),
        ({"vae_scales": 9}, "vae_scales 9 must be 0..4"),
        ({"window": 0}, "window 0 must be 1..1024 frames"),
        ({"window": 6}, "it must be one more than a multiple of each"),
        ({"volumetric": False}, "an image has a window of 1 frame"),
        ({"colour": "red"}, "unknown field colour"),
    ],
)
@pytest.mark.parametrize("command", [["generate", "--model"], ["info"], ["models", "info"]])
def test_a_fault_of_a_model_folder_is_told_of_the_folder(tmp_path, capsys, command, changes, fault):
    folder = make_single_model(tmp_path / "odd")
    path = folder / "config.json"
    record = json.loads(path.read_text())
    record["levels"][0] |= changes
    path.write_text(json.dumps(record))
    finish_model(folder)  # the checksums are right
    assert run([*command, str(folder)]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"hvg: error: {path}: ")
    assert fault in line
    assert line.endswith(": fetch or train the model again, or update hvg")
    assert "--" not in line


# ---- other commands --------------------------------------------------------------------------------


def test_models_are_described(models, capsys):
    for command in (["info"], ["models", "info"]):
        assert run([*command, str(models / "stopped"), "--json"]) == 0
        record = json.loads(capsys.readouterr().out)
        assert (record["learned"], record["scales"], record["rate"], record["frames"]) == ("clip", "2 of 4", "6", 2)
        assert (record["system"], record["sigma"]) == ("hp-vae-gan", 1.0)
        assert (record["size"], record["scale_sizes"]) == ("14x10", ["2/10x8", "2/14x11"])  # made and trained
    assert run(["info", str(models / "still")]) == 0
    out = capsys.readouterr().out
    assert "image" in out
    assert "16x12" in out


@pytest.mark.parametrize("name", ["moving", "still", "stopped"])
def test_the_described_size_is_the_one_that_is_made(single, models, capsys, name):
    assert run(["info", str(models / name), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    code, out, _ = single("--seed", 1, "--dry-run", "--json", model=name)
    assert code == 0
    assert described["size"] == described["levels"][0]["size"] == json.loads(out)["size"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["upscale", "x.mp4", "--model", "MODEL"], "enlarges no other"),
        (["predict", "x.mp4", "--model", "MODEL"], "use hvg generate"),
        (["stats", "MODEL", "--frames", "8"], "makes variations of one clip"),
    ],
)
def test_other_commands_refuse(models, capsys, command, words):
    assert run([str(models / "moving") if word == "MODEL" else word for word in command]) == 2
    assert words in capsys.readouterr().err
