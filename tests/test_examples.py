"""The examples in Python do what they say, run as a reader would run them."""

from __future__ import annotations

import subprocess
import sys
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
