"""The examples in Python do what they say, run as a reader would run them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from real_models import make_working_model

from hvgcli.video import count_frames, probe

EXAMPLES = Path(__file__).parents[1] / "examples"
CAPTION, GAP = 18, 2  # of the sheet, in pixels


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `upscale_clip.py` writes with a tiny model, which enlarges by 2 in space and time."""
    folder = tmp_path_factory.mktemp("example")
    model = make_working_model(folder / "tiny")
    script = [sys.executable, "-W", "error", str(EXAMPLES / "upscale_clip.py")]
    done = subprocess.run([*script, str(folder / "out"), "--model", str(model)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_the_enlarged_clip_has_twice_the_size_and_rate(made: Path) -> None:
    small, large = probe(made / "small.mp4"), probe(made / "large.mp4")
    assert (small.width, small.height, small.rate) == (64, 48, Fraction(12))
    assert (large.width, large.height, large.rate) == (128, 96, Fraction(24))
    assert count_frames(made / "large.mp4") == 2 * count_frames(made / "small.mp4") == 72


def test_the_sheet_shows_input_and_result_of_the_same_moment(made: Path) -> None:
    with Image.open(made / "before_after.png") as picture:
        sheet = np.asarray(picture)
    assert sheet.shape == (CAPTION + 3 * 96 + 2 * GAP, 4 * 128 + 3 * GAP, 3)
    nearest, _, ours, drawn = (sheet[CAPTION : CAPTION + 96, left : left + 128] for left in range(0, 520, 130))
    shown = nearest[::2, ::2]
    np.testing.assert_array_equal(nearest, shown.repeat(2, axis=0).repeat(2, axis=1))
    for enlarged in (ours, drawn):  # the first row is of an input frame, so both are that frame again when reduced
        reduced = Image.fromarray(enlarged).resize((64, 48), Image.Resampling.BILINEAR)
        assert np.abs(np.asarray(reduced).astype(float) - shown).mean() < 1


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, make_clip: Callable[..., Path]) -> Path:
    """What the ablations are given: `train` and `val`, of two classes each."""
    folder = tmp_path_factory.mktemp("ablations")
    for part, seed in (("train", 0), ("val", 50)):
        for number, label in enumerate(("calm", "wild", "calm", "wild")):
            (folder / part / label).mkdir(parents=True, exist_ok=True)
            make_clip(folder / part / label / f"{number}.mp4", frames=30, size=(36, 36), seed=seed + number)
    return folder


def ablate(script: str, name: str, clips: Path, folder: Path, *more: str) -> list[list[str]]:
    """The table that a command with tiny numbers makes, as cells; `folder` gets runs and tables."""
    tiny = ["--outline-steps", "2", "--steps", "3", "--num", "12", "--passes", "2", *more]
    places = ["--runs", str(folder / "runs"), "--out", str(folder / "tables")]
    command = [sys.executable, str(EXAMPLES / script), name, str(clips), *tiny, *places]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [page] = (folder / "tables").glob(f"ablation_*{name}.md")
    lines = [line for line in page.read_text().splitlines() if line.startswith("|")]
    return [[part.strip() for part in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


@pytest.mark.slow
def test_ablations_make_their_tables(clips: Path, tmp_path: Path) -> None:
    for name in ("matching", "standing"):
        head, *rows = ablate("ablate.py", name, clips, tmp_path)
        assert "FVD[frames]" in head
        assert len(rows) >= 3
        assert all(len(row) == len(head) for row in rows)


@pytest.mark.slow
def test_ablations_of_dvd_gan_make_their_tables(clips: Path, tmp_path: Path) -> None:
    tables = {name: ablate("ablate_dvd_gan.py", name, clips, tmp_path) for name in ("phi", "k", "horizon")}
    for head, *rows in tables.values():
        assert all(len(row) == len(head) for row in rows)
        assert all(float(row[head.index("FVD[frames]")]) >= 0 for row in rows if "val" not in row[0])
    runs = {path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()}
    phis = {f"{name}-k8-seed0" for name in ("dvd-gan", "phi-identity", "phi-4x4", "phi-crop")}
    assert runs == {
        *phis,
        *(f"dvd-gan-k{k}-seed0" for k in (1, 2, 10)),
        "level1",
        "level2-base",
    }  # shared, not repeated
    (_, *phi), (_, *k), (_, *horizon) = tables.values()
    assert [row[0] for row in phi[1:]] == [
        "identity",
        "2x2 average pooling",
        "4x4 average pooling",
        "random half-size crop",
    ]
    assert phi[2][1:] == k[3][1:]  # the same model
    assert [row[0] for row in k[1:]] == ["1", "2", "8", "10"]
    quarters = ["1 to 12", "13 to 24", "25 to 36", "37 to 48"]
    assert [row[:2] for row in horizon[2:]] == [[name, span] for name in ("DVD-GAN", "HVG") for span in quarters]
    assert len({tuple(row[2:]) for row in horizon}) == len(horizon)


def test_pixels_judged_are_those_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    from ablate_dvd_gan import judged_pixels

    assert judged_pixels("dvd-gan", 8, 48, 128) == 327_680  # DVD-GAN section 3.1, of a video of 786432
    assert judged_pixels("phi-identity", 8, 48, 128) - 8 * 128**2 == 786_432
    assert judged_pixels("phi-crop", 8, 48, 128) == judged_pixels("dvd-gan", 8, 48, 128)  # section 4.3
    assert judged_pixels("dvd-gan", 20, 12, 32) == judged_pixels("dvd-gan", 12, 12, 32)  # no frame twice


def test_scores_of_several_seeds_become_mean_and_deviation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    from ablate_dvd_gan import over_seeds

    assert over_seeds([{"FVD": 3.0}]) == {"FVD": 3.0}
    assert over_seeds([{"FVD": 1.0, "IS": 200.0}, {"FVD": 2.0, "IS": 300.0}, {"FVD": 3.0, "IS": 400.0}]) == {
        "FVD": "2 ± 1",
        "IS": "300 ± 100",
    }


def test_motion_is_the_change_between_frames_of_one_video(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    from ablation_lab import motion

    still = torch.full((1, 5, 4, 4, 3), 200, dtype=torch.uint8)
    ramp = (10 + 3 * torch.arange(5, dtype=torch.uint8)).view(1, 5, 1, 1, 1).expand_as(still)
    assert motion(still) == 0
    assert motion(ramp) == motion(ramp.flip(1)) == 3
    assert motion(torch.cat((still, ramp))) == 1.5
