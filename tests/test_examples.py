"""The examples in Python do what they say, run as a reader would run them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
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


@pytest.mark.slow
def test_ablations_make_their_tables(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    for part, seed in (("train", 0), ("val", 50)):
        for number, label in enumerate(("calm", "wild", "calm", "wild")):
            (tmp_path / part / label).mkdir(parents=True, exist_ok=True)
            make_clip(tmp_path / part / label / f"{number}.mp4", frames=30, size=(36, 36), seed=seed + number)
    tiny = ["--outline-steps", "2", "--steps", "3", "--num", "12", "--passes", "2"]
    places = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "tables")]
    for name in ("matching", "standing"):
        script = [sys.executable, str(EXAMPLES / "ablate.py"), name, str(tmp_path), *tiny, *places]
        done = subprocess.run(script, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        rows = [line for line in (tmp_path / "tables" / f"ablation_{name}.md").read_text().splitlines() if "|" in line]
        assert len(rows) >= 5
        assert all("FVD[frames]" in rows[0] and row.count("|") == rows[0].count("|") for row in rows)
