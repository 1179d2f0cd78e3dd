"""Planes of codecs against the equations of the standards, written as loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.video.colour import WEIGHTS, coded_planes


def literal(pixel: np.ndarray, red: float, blue: float, full: bool, bits: int) -> list[float]:
    """Y, Cb, Cr codes of one RGB pixel in [0, 1], not rounded."""
    r, g, b = (float(value) for value in pixel)
    luma = red * r + (1 - red - blue) * g + blue * b
    cb, cr = (b - luma) / (2 - 2 * blue), (r - luma) / (2 - 2 * red)
    unit = 1 << (bits - 8)
    if full:
        return [(2**bits - 1) * luma, (2**bits - 1) * cb + 128 * unit, (2**bits - 1) * cr + 128 * unit]
    return [unit * (16 + 219 * luma), unit * (128 + 224 * cb), unit * (128 + 224 * cr)]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("matrix", [1, 2, 5, 6, 7, 9])
def test_equals_the_equations(matrix: int, bits: int, full: bool) -> None:
    kind = np.uint8 if bits == 8 else np.uint16
    image = np.random.default_rng(matrix).integers(0, np.iinfo(kind).max + 1, (5, 7, 3)).astype(kind)
    planes = coded_planes(image, matrix=matrix, full=full, bits=bits, halved=False)
    red, blue = WEIGHTS.get(matrix, (0.299, 0.114))
    for row in range(5):
        for column in range(7):
            expected = literal(image[row, column] / np.iinfo(kind).max, red, blue, full, bits)
            for plane, value in zip(planes, expected, strict=True):
                assert abs(plane[row, column] - min(value, 2**bits - 1)) < 0.501


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 7), width=st.integers(1, 7), seed=st.integers(0, 99))
def test_halved_chroma_is_sited_at_even_columns_between_two_lines(height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    whole = [np.empty((height, width)) for _ in range(3)]
    for row in range(height):
        for column in range(width):
            for plane, value in zip(whole, literal(image[row, column] / 255, *WEIGHTS[1], False, 8), strict=True):
                plane[row, column] = value
    planes = coded_planes(image, matrix=1, full=False, bits=8, halved=True)
    assert planes[0].shape == (height, width)
    for plane, source in zip(planes[1:], whole[1:], strict=True):
        assert plane.shape == (-(-height // 2), -(-width // 2))
        for row in range(plane.shape[0]):
            for column in range(plane.shape[1]):
                total = 0.0
                for line in (2 * row, min(2 * row + 1, height - 1)):
                    for place, weight in ((2 * column - 1, 1), (2 * column, 2), (2 * column + 1, 1)):
                        total += weight * source[line, min(max(place, 0), width - 1)]
                assert abs(plane[row, column] - total / 8) < 0.501


def test_black_white_and_grey_have_no_colour() -> None:
    for value, luma in ((0, 16), (255, 235)):
        planes = coded_planes(np.full((2, 2, 3), value, np.uint8), matrix=1, full=False, bits=8, halved=True)
        assert [int(plane[0, 0]) for plane in planes] == [luma, 128, 128]
