"""`hvg predict`, as its files are seen from outside: which frames they hold, borders, grids, the truth, motion."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from clip_files import lossless
from patterns import moving_pattern
from PIL import Image
from predictor_models import make_predictor

from hvgcli.cli.main import run
from hvgcli.cli.predicting.pictures import MADE, REAL
from hvgcli.data.windows import to_float
from hvgcli.sampling.hierarchy import Hierarchy, load
from hvgcli.sampling.predict import Draw, draw_latents, predictor, prepare
from hvgcli.sampling.render import to_pixels
from hvgcli.video import Frames, VideoWriter, probe, provenance

Predict = Callable[..., tuple[int, str, str]]
CONTEXT, MADE_FRAMES, SIZE = 3, 4, 16  # of the tiny predictor
WHITE = 255


@pytest.fixture(scope="session")
def predictors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictors `tiny-fp` (which warps) and `gru` (which does not)."""
    folder = tmp_path_factory.mktemp("predictors")
    make_predictor(folder / "tiny-fp")
    make_predictor(folder / "gru", unit="ConvGRU")
    return folder


@pytest.fixture
def predict(predictors: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> Predict:
    """Runs `hvg predict` with the tiny predictor; returns exit code, stdout and stderr."""

    def call(*args: object, model: str = "tiny-fp") -> tuple[int, str, str]:
        code = run(["predict", "--model", str(predictors / model), *map(str, args)])
        return code, *capsys.readouterr()

    return call


def clip(path: Path, frames: int = 30, size: tuple[int, int] = (SIZE, SIZE), seed: int = 0) -> Frames:
    """A lossless clip of 25 frames a second; its frames."""
    pattern = moving_pattern(frames, size, seed)
    lossless(path, pattern, [40 * number for number in range(frames)])
    return pattern


def pictures(folder: str | Path) -> Frames:
    """The frames of a folder of PNG."""
    files = sorted(Path(folder).glob("*.png"))
    return np.stack([np.asarray(Image.open(file)) for file in files])


def made(result: tuple[int, str, str]) -> list[str]:
    """The paths on stdout of a call that went well."""
    code, out, err = result
    assert code == 0, err
    return out.splitlines()


def names(folder: str | Path = ".") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def by_hand(hierarchy: Hierarchy, context: Frames, seed: int, frames: int, draw: Draw | None = None) -> Frames:
    """The continuation, horizon after horizon, as uint8 (frames, D, D, 3)."""
    draw, network = draw or Draw(hierarchy.config.sigma), predictor(hierarchy)
    prepare(hierarchy, draw.sigma)
    z = draw_latents([seed], network.level.z_dim, draw)
    video = to_float(torch.from_numpy(context)[None])
    with torch.inference_mode():
        while video.shape[1] < CONTEXT + frames:
            video = torch.cat([video, network.predict(video[:, -CONTEXT:], z, MADE_FRAMES)], dim=1)
    return to_pixels(video)[0, CONTEXT : CONTEXT + frames]


# ---- what is made ------------------------------------------------------------------------------


def test_default(predict: Predict, place: Path) -> None:
    clip(place / "in.mkv", size=(24, 40))
    code, out, err = predict("in.mkv", "--seed", 7)
    assert (code, out) == (0, "in_s0007_4f.mp4\n")
    assert "40x24 at 25 frames/s, cropped to its centre, resized to 16x16, taken at 12.5 frames/s" in err
    assert "3 frames up to 1.24 s, then 4 new ones" in err
    assert "warning" not in err
    found = probe(place / "in_s0007_4f.mp4")
    assert (found.codec, found.width, found.height, found.frames) == ("h264", SIZE + 4, SIZE + 4, 7)
    assert found.rate == Fraction(25, 2)


def test_the_context_and_what_follows(predict: Predict, place: Path, predictors: Path) -> None:
    source = clip(place / "in.mkv")
    made(predict("in.mkv", "--seed", 3, "--plain", "-o", "x.png"))
    frames = pictures("x")
    context = source[25::2]  # up to the last frame
    np.testing.assert_array_equal(frames[:CONTEXT], context)
    expected = by_hand(load(predictors / "tiny-fp"), context, 3, MADE_FRAMES)
    np.testing.assert_array_equal(frames[CONTEXT:], expected)


def test_at_a_moment(predict: Predict, place: Path, predictors: Path) -> None:
    source = clip(place / "in.mkv")
    made(predict("in.mkv", "--seed", 3, "--plain", "-o", "x.png", "--at", "0:00.8"))
    context = source[14:20:2]
    np.testing.assert_array_equal(pictures("x")[:CONTEXT], context)
    expected = by_hand(load(predictors / "tiny-fp"), context, 3, MADE_FRAMES)
    np.testing.assert_array_equal(pictures("x")[CONTEXT:], expected)


@pytest.mark.parametrize("frames", [1, 2, 4, 5, 11])
def test_any_length_is_the_last_frames_fed_back(predict: Predict, place: Path, predictors: Path, frames: int) -> None:
    source = clip(place / "in.mkv")
    made(predict("in.mkv", "--seed", 3, "--plain", "-o", "x.png", "--frames", frames))
    expected = by_hand(load(predictors / "tiny-fp"), source[25::2], 3, frames)
    found = pictures("x")[CONTEXT:]
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1  # a last horizon that is cut short rounds differently


def test_more_context_is_shown_but_not_seen(predict: Predict, place: Path) -> None:
    source = clip(place / "in.mkv")
    made(predict("in.mkv", "--seed", 3, "--plain", "-o", "short.png"))
    made(predict("in.mkv", "--seed", 3, "--plain", "-o", "long.png", "--context", 8))
    np.testing.assert_array_equal(pictures("long")[5:], pictures("short"))
    np.testing.assert_array_equal(pictures("long")[:8], source[15::2])


def test_a_seed_means_one_continuation(predict: Predict, place: Path) -> None:
    clip(place / "in.mkv")
    options = ("--plain", "--format", "png")
    assert len(made(predict("in.mkv", "--seed", 1, "--num", 5, "-o", "a/", *options))) == 5
    made(predict("in.mkv", "--seed", "3,9", "-o", "b/", "--batch-size", 1, *options))
    one, other, third = (pictures(f"{place}/in_s{seed:04d}_4f") for place, seed in (("a", 3), ("b", 3), ("b", 9)))
    assert np.abs(one.astype(int) - other).max() <= 1
    assert np.abs(one.astype(int) - third).max() > 1


def test_sigma_and_truncation(predict: Predict, place: Path, predictors: Path) -> None:
    source = clip(place / "in.mkv")
    context, hierarchy = source[25::2], load(predictors / "tiny-fp")

    def frames(name: str, seed: int, *args: object) -> Frames:
        made(predict("in.mkv", "--seed", seed, "--plain", "-o", f"{name}.png", *args))
        return pictures(name)[CONTEXT:]

    wide = frames("wide", 1, "--sigma", 1)
    np.testing.assert_array_equal(wide, by_hand(hierarchy, context, 1, MADE_FRAMES, Draw(1.0)))
    assert not np.array_equal(wide, frames("cut", 1, "--sigma", 1, "--truncation", 0.3))
    np.testing.assert_array_equal(frames("zero", 1, "--truncation", 0), frames("zero2", 2, "--truncation", 0))


# ---- borders, grids, the truth -----------------------------------------------------------------


def test_the_border_is_around_the_frame(predict: Predict, place: Path) -> None:
    clip(place / "in.mkv")
    made(predict("in.mkv", "--seed", 3, "-o", "framed.png"))
    made(predict("in.mkv", "--seed", 3, "-o", "plain.png", "--plain"))
    framed, plain = pictures("framed"), pictures("plain")
    np.testing.assert_array_equal(framed[:, 2:-2, 2:-2], plain)
    for frame, colour in zip(framed, [REAL] * CONTEXT + [MADE] * MADE_FRAMES, strict=True):
        edge = np.concatenate([frame[:2].reshape(-1, 3), frame[-2:].reshape(-1, 3), frame[:, :2].reshape(-1, 3)])
        assert (edge == colour).all()
        assert (frame[:, -2:] == colour).all()


def test_a_grid_holds_all(predict: Predict, place: Path) -> None:
    clip(place / "in.mkv")
    assert made(predict("in.mkv", "--seed", 1, "--num", 5, "-o", "grid.png", "--batch-size", 2)) == ["grid"]
    made(predict("in.mkv", "--seed", 1, "--num", 5, "-o", "each/", "--format", "png", "--batch-size", 2))
    grid, cell = pictures("grid"), SIZE + 4
    assert grid.shape == (7, 2 * cell + 2, 3 * cell + 4, 3)
    for number in range(5):
        top, left = number // 3 * (cell + 2), number % 3 * (cell + 2)
        one = pictures(f"each/in_s{number + 1:04d}_4f")
        np.testing.assert_array_equal(grid[:, top : top + cell, left : left + cell], one)
    assert (grid[:, cell + 2 :, 2 * (cell + 2) :] == WHITE).all()


def test_a_grid_by_name(predict: Predict, place: Path) -> None:
    clip(place / "in.mkv")
    assert made(predict("in.mkv", "--seed", 1, "--num", 2, "--grid")) == ["in_s0001_4f_grid.mp4"]
    assert probe(place / "in_s0001_4f_grid.mp4").width == 2 * (SIZE + 4) + 2


def test_the_truth_beside_it(predict: Predict, place: Path) -> None:
    source = clip(place / "in.mkv")
    code, out, err = predict("in.mkv", "--seed", 3, "--compare", "--plain", "-o", "x.png", "--json")
    assert code == 0, err
    assert "up to 0.92 s, then 4 new ones beside the last of the clip" in err
    assert json.loads(out)["true_frames"] == 4
    frames = pictures("x")
    assert frames.shape == (7, SIZE, 2 * SIZE + 2, 3)
    np.testing.assert_array_equal(frames[:, :, :SIZE], source[17::2])
    np.testing.assert_array_equal(frames[:CONTEXT, :, SIZE + 2 :], source[17:23:2])
    made(predict("in.mkv", "--seed", 3, "--at", 0.92, "--plain", "-o", "y.png"))
    np.testing.assert_array_equal(frames[CONTEXT:, :, SIZE + 2 :], pictures("y")[CONTEXT:])


def test_a_truth_that_ends_is_black(predict: Predict, place: Path) -> None:
    source = clip(place / "in.mkv")
    code, _, err = predict("in.mkv", "--seed", 3, "--compare", "--at", 1, "--frames", 6, "-o", "x.png")
    assert code == 0
    assert "warning: in.mkv: ends 3 frames after --at" in err
    true = pictures("x")[:, :, : SIZE + 4]
    np.testing.assert_array_equal(true[:6, 2:-2, 2:-2], source[19::2])
    assert (true[:6, 0] == REAL).all()
    assert (true[6:] == 0).all()


def test_the_truth_is_the_first_cell_of_a_grid(predict: Predict, place: Path) -> None:
    source = clip(place / "in.mkv")
    made(predict("in.mkv", "--seed", 1, "--num", 3, "--compare", "--plain", "-o", "x.png"))
    grid = pictures("x")
    assert grid.shape == (7, 2 * SIZE + 2, 2 * SIZE + 2, 3)
    np.testing.assert_array_equal(grid[:, :SIZE, :SIZE], source[17::2])


# ---- motion ------------------------------------------------------------------------------------


def test_motion(predict: Predict, place: Path, predictors: Path) -> None:
    source = clip(place / "in.mkv")
    out = made(predict("in.mkv", "--seed", "1,2", "--flow", "--frames", 6, "--plain", "--format", "png", "-o", "x/"))
    assert out == ["x/in_s0001_6f", "x/in_s0001_6f_flow", "x/in_s0002_6f", "x/in_s0002_6f_flow"]
    flow = pictures("x/in_s0001_6f_flow")
    assert flow.shape == (CONTEXT + 6, SIZE, SIZE, 3)
    np.testing.assert_array_equal(flow[:CONTEXT], source[25::2])
    made(predict("in.mkv", "--seed", 1, "--frames", 6, "--plain", "-o", "y.png"))
    assert np.abs(pictures("x/in_s0001_6f").astype(int) - pictures("y")).max() <= 1
    hierarchy = load(predictors / "tiny-fp")
    prepare(hierarchy, hierarchy.config.sigma)
    network = predictor(hierarchy)
    z = draw_latents([1], network.level.z_dim, Draw(hierarchy.config.sigma))
    context = to_float(torch.from_numpy(source[25::2].copy())[None])
    with torch.inference_mode():
        _, field = network.flows(context, z, MADE_FRAMES)
    size = field[0].norm(dim=1).numpy()
    strength = 1 - flow[CONTEXT : CONTEXT + MADE_FRAMES].min(axis=-1) / 255  # saturation of a full-bright colour
    assert np.abs(strength - size / size.max()).max() < 0.01


def test_a_grid_of_motion(predict: Predict, place: Path) -> None:
    clip(place / "in.mkv")
    assert made(predict("in.mkv", "--seed", "1-4", "--flow", "-o", "x.mp4", "-q")) == ["x.mp4", "x_flow.mp4"]
    assert probe(place / "x_flow.mp4").width == 2 * (SIZE + 4) + 2
    assert provenance(place / "x_flow.mp4")["shows"] == "motion"  # type: ignore[index]


# ---- inputs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["mp4", "webm", "gif"])
def test_other_files(predict: Predict, place: Path, suffix: str) -> None:
    with VideoWriter(place / f"in.{suffix}", size=(20, 30), rate=Fraction(25)) as writer:
        writer.write(moving_pattern(12, (20, 30)))
    assert made(predict(f"in.{suffix}", "--seed", 1)) == ["in_s0001_4f.mp4"]


def test_a_folder_of_frames(predict: Predict, place: Path) -> None:
    source = moving_pattern(12, (SIZE, SIZE))
    (place / "frames").mkdir()
    for number, frame in enumerate(source):
        Image.fromarray(frame).save(place / "frames" / f"{number:03d}.png")
    assert made(predict("frames", "--seed", 1, "--plain", "--format", "png")) == ["frames_s0001_4f"]
    np.testing.assert_array_equal(pictures("frames_s0001_4f")[:CONTEXT], source[7::2])


def test_pipes(predictors: Path, place: Path) -> None:
    clip(place / "in.mkv")
    command = [sys.executable, "-m", "hvgcli", "predict", "-", "--model", str(predictors / "tiny-fp"), "--seed", "1"]
    with (place / "in.mkv").open("rb") as source, (place / "out.mp4").open("wb") as target:
        subprocess.run(command, stdin=source, stdout=target, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert probe(place / "out.mp4").frames == 7
    assert names() == ["in.mkv", "out.mp4"]
    assert provenance(place / "out.mp4")["source"] == "stdin"  # type: ignore[index]


def test_a_cut_in_the_context_warns(predict: Predict, place: Path) -> None:
    one, other = moving_pattern(1, (SIZE, SIZE), 1), moving_pattern(1, (SIZE, SIZE), 2)
    frames = np.concatenate([one] * 8 + [other] * 3)
    lossless(place / "in.mkv", frames, [40 * number for number in range(11)])
    _, _, err = predict("in.mkv", "--seed", 1)
    assert err.count("warning: in.mkv: frame 2 of the 3 to go on from is unlike those before it (a cut?)") == 1
    code, _, err = predict("in.mkv", "--seed", 1, "--overwrite", "--at", 0.3)
    assert (code, "warning" in err) == (0, False)


def test_a_slow_clip_warns(predict: Predict, place: Path) -> None:
    lossless(place / "in.mkv", moving_pattern(6, (SIZE, SIZE)), [200 * number for number in range(6)])
    code, _, err = predict("in.mkv", "--seed", 1)
    assert (code, "fewer frames a second than the model's 12.5" in err) == (0, True)


# ---- names, records ----------------------------------------------------------------------------


def test_beside_the_input(predict: Predict, place: Path) -> None:
    (place / "there").mkdir()
    clip(place / "there" / "my clip.mkv")
    assert made(predict("there/my clip.mkv", "--seed", 1)) == ["there/my clip_s0001_4f.mp4"]
    assert made(predict("there/my clip.mkv", "--seed", 1, "-o", "new/")) == ["new/my clip_s0001_4f.mp4"]


def test_template(predict: Predict, place: Path) -> None:
    clip(place / "in.mkv")
    template = "{name}/{model}_{index:02d}_{seed}_{frames}_{context}_{sigma:.1f}.gif"
    out = made(predict("in.mkv", "--seed", "5,6", "-o", template))
    assert out == ["in/tiny-fp_00_5_4_3_0.5.gif", "in/tiny-fp_01_6_4_3_0.5.gif"]


def test_existing_files(predict: Predict, place: Path) -> None:
    clip(place / "in.mkv")
    (place / "in_s0001_4f_flow.mp4").write_text("mine")
    code, out, err = predict("in.mkv", "--seed", "1,2", "--flow")
    assert (code, out) == (3, "")
    assert "in_s0001_4f_flow.mp4 is already there" in err
    kept = made(predict("in.mkv", "--seed", "1,2", "--flow", "--skip-existing"))
    assert kept == ["in_s0001_4f.mp4", "in_s0002_4f.mp4", "in_s0002_4f_flow.mp4"]
    assert (place / "in_s0001_4f_flow.mp4").read_text() == "mine"
    assert "nothing to do" in predict("in.mkv", "--seed", "1,2", "--flow", "--skip-existing")[2]
    assert len(made(predict("in.mkv", "--seed", "1,2", "--flow", "--overwrite"))) == 4


def test_json(predict: Predict, place: Path, predictors: Path) -> None:
    clip(place / "in.mkv", size=(24, 40))
    code, out, err = predict("in.mkv", "--seed", "1,2", "--json", "--frames", 5, "--truncation", 0.8, "--at", 1)
    assert code == 0, err
    first, second = (json.loads(line) for line in out.splitlines())
    assert first == {
        "schema": 1,
        "path": "in_s0001_5f.mp4",
        "model": "tiny-fp",
        "sha": load(predictors / "tiny-fp").sha,
        "source": "in.mkv",
        "seed": 1,
        "sigma": 0.5,
        "truncation": 0.8,
        "context": 3,
        "at": 1.0,
        "frames": 5,
        "shows": "frames",
        "context_frames": [19, 21, 23],
        "total_frames": 8,
        "size": "20x20",
        "rate": "25/2",
    }
    assert (second["seed"], second["path"]) == (2, "in_s0002_5f.mp4")


def test_provenance_makes_it_again(
    predict: Predict, place: Path, predictors: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip(place / "in.mkv")
    arguments = "--seed 7 --at 0:01 --frames 6 --sigma 1 --truncation 0.8 --context 4 --compare --format png --fps 5"
    made(predict("in.mkv", "-o", "first.png", *arguments.split()))
    found = provenance(place / "first")
    assert found is not None
    assert found["source_sha256"] == hashlib.sha256((place / "in.mkv").read_bytes()).hexdigest()
    assert (found["seed"], found["context"], found["at"], found["truncation"]) == (7, 4, 1.0, 0.8)
    assert run(["info", "first"]) == 0
    shown = capsys.readouterr().out
    assert "made with source sha256" in shown
    again = shlex.split(found["command"])
    assert f"again: {found['command']}" in " ".join(shown.split())
    assert run([*again[1:], "-o", "second.png"]) == 0
    np.testing.assert_array_equal(pictures("first"), pictures("second"))


def test_provenance_of_a_grid(predict: Predict, place: Path) -> None:
    clip(place / "in.mkv")
    made(predict("in.mkv", "--seed", 4, "--num", 3, "-o", "x.mp4"))
    found = provenance(place / "x.mp4")
    assert found is not None
    assert found["seed"] == "4-6"
    assert found["command"].endswith("--seed 4-6 --sigma 0.5 --dtype fp32 --grid")
    made(predict("in.mkv", "--seed", 4, "-o", "y.mp4", "--no-metadata"))
    assert provenance(place / "y.mp4") is None


def test_dry_run(predict: Predict, place: Path) -> None:
    clip(place / "in.mkv")
    code, out, _ = predict("in.mkv", "--seed", "1,2", "--dry-run", "--flow")
    assert code == 0
    assert out.splitlines()[0] == "would write in_s0001_4f.mp4: 7 frames of 20x20 at 25/2 frames/s, seed 1"
    assert (len(out.splitlines()), names()) == (4, ["in.mkv"])
    assert json.loads(predict("in.mkv", "--seed", 1, "-n", "--json")[1])["dry_run"] is True


def test_quiet(predict: Predict, place: Path) -> None:
    clip(place / "in.mkv")
    assert predict("in.mkv", "--seed", 1, "-q") == (0, "in_s0001_4f.mp4\n", "")


def test_a_seed_is_drawn_and_printed(predict: Predict, place: Path) -> None:
    clip(place / "in.mkv")
    _, out, err = predict("in.mkv")
    seed = int(err.splitlines()[0].removeprefix("seed "))
    assert out == f"in_s{seed:04d}_4f.mp4\n"
