"""Decoded planes as RGB, against the equations of the standards."""

from __future__ import annotations

import av
import numpy as np
import pytest

from hvgcli.video.colour import WEIGHTS, coded_planes
from hvgcli.video.pixels import bits_of, full_rgb, has_alpha

FULL = 2


def frame_of(planes: list[np.ndarray], form: str, matrix: int, colour_range: int) -> av.VideoFrame:
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, form)
    frame.colorspace, frame.color_range = matrix, colour_range
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
        rows[:, : values.shape[1]] = values
        plane.update(rows.tobytes())
    return frame


def literal(codes: tuple[int, int, int], matrix: int, full: bool, bits: int) -> list[float]:
    """ITU-R BT.709, section 3, turned round: R, G, B in [0, 1]."""
    red, blue = WEIGHTS.get(matrix, WEIGHTS[5])
    top, unit = 2**bits - 1, 2 ** (bits - 8)
    y = codes[0] / top if full else (codes[0] - 16 * unit) / (219 * unit)
    cb, cr = ((code - 128 * unit) / (top if full else 224 * unit) for code in codes[1:])
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    return [min(max(value, 0.0), 1.0) for value in (r, (y - red * r - blue * b) / (1 - red - blue), b)]


@pytest.mark.parametrize("matrix", [1, 2, 5, 6, 7, 9])
@pytest.mark.parametrize("colour_range", [0, 1, FULL])
@pytest.mark.parametrize(("form", "bits"), [("yuv444p", 8), ("yuv444p10le", 10), ("yuv444p12le", 12)])
def test_equals_the_equations(form: str, bits: int, matrix: int, colour_range: int) -> None:
    kind, unit = (np.uint8, 1) if bits == 8 else (np.uint16, 2 ** (bits - 8))
    rng = np.random.default_rng(matrix)
    planes = [rng.integers(20 * unit, 235 * unit, (4, 16)).astype(kind) for _ in range(3)]
    image, alpha = full_rgb(frame_of(planes, form, matrix, colour_range))
    assert alpha is None
    assert image.dtype == (np.uint8 if bits == 8 else np.uint16)
    peak = np.iinfo(image.dtype).max
    for row, column in ((0, 0), (1, 7), (3, 15)):
        codes = tuple(int(plane[row, column]) for plane in planes)
        expected = np.array(literal(codes, matrix, colour_range == FULL, bits)) * peak
        assert np.abs(image[row, column] - expected).max() <= (0.6 if bits == 8 else 0.51)


@pytest.mark.parametrize(("bits", "full"), [(10, False), (10, True), (12, False), (16, False)])
def test_there_and_back_gives_the_same_codes(bits: int, full: bool) -> None:
    image = np.random.default_rng(1).integers(0, 65536, (8, 16, 3)).astype(np.uint16)
    planes = coded_planes(image, matrix=9, full=full, bits=bits, halved=False)
    back, _ = full_rgb(frame_of(list(planes), f"yuv444p{bits}le", 9, FULL if full else 1))
    again = coded_planes(back, matrix=9, full=full, bits=bits, halved=False)
    worst = max(np.abs(a.astype(int) - b.astype(int)).max() for a, b in zip(planes, again, strict=True))
    assert worst <= (0 if bits < 16 else 1)


@pytest.mark.parametrize("form", ["yuv420p10le", "yuv422p10le", "p010le", "gbrp10le", "gray10le"])
def test_deep_formats_reach_white(form: str) -> None:
    planar = np.full((8, 16), 1023 if form[:4] in ("gbrp", "gray") else 940, np.uint16)
    frame = frame_of([planar, *[np.full((8, 16), 512, np.uint16)] * 2], "yuv444p10le", 1, 1)
    if form in ("gbrp10le", "gray10le"):
        frame = frame_of([planar] * (3 if form == "gbrp10le" else 1), form, 0, FULL)
    else:
        frame = frame.reformat(format=form)
    image, _ = full_rgb(frame)
    assert bits_of(frame.format) == 10
    assert image.min() >= 65535 - 40


def test_alpha_of_ten_bits() -> None:
    planes = [np.full((4, 16), value, np.uint16) for value in (500, 512, 512)] + [np.full((4, 16), 600, np.uint16)]
    frame = frame_of(planes, "yuva444p10le", 1, 1)
    assert has_alpha(frame.format)
    image, alpha = full_rgb(frame)
    assert alpha is not None
    assert (alpha == 600 >> 2).all()
    assert np.ptp(image) == 0
