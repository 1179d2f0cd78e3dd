"""Pictures of cameras, whose Exif data says how they are held."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from patterns import moving_pattern
from PIL import Image, ImageOps

from hvgcli.video import examine, probe, timed_frames


@pytest.mark.parametrize(("orientation", "rotation"), [(1, 0), (3, 180), (6, -90), (8, 90)])
def test_a_jpeg_is_upright(tmp_path: Path, orientation: int, rotation: int) -> None:
    path = tmp_path / "a.jpg"
    picture = Image.fromarray(np.repeat(np.repeat(moving_pattern(1, (6, 8))[0], 8, axis=0), 8, axis=1))
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif, quality=95)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
    [frame] = timed_frames(examine(path))
    assert frame.image.shape == expected.shape
    assert np.abs(frame.image - expected).mean() < 4
    assert probe(path).rotation == rotation
