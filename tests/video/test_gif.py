"""Gifs as browsers show them, against a literal reading of the specification."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from clip_files import encode, images, pattern, psnr, read
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.errors import MediaError
from hvgcli.video import read_video
from hvgcli.video.footage import examine
from hvgcli.video.gif import gif_frames

PALETTE = [(0, 0, 0), (250, 10, 10), (10, 250, 10), (10, 10, 250), (255, 255, 255), (9, 9, 9), (77, 0, 0), (0, 77, 0)]


class Part(NamedTuple):
    top: int
    left: int
    pixels: np.ndarray
    disposal: int = 0
    transparent: int | None = None
    delay: int = 4
    interlaced: bool = False


def compressed(pixels: np.ndarray) -> bytes:
    """LZW of 3-bit pixels that clears its table before it grows: every code has 4 bits."""
    codes = [8]
    for count, value in enumerate(pixels.ravel().tolist()):
        codes += [8] if count and count % 5 == 0 else []
        codes.append(value)
    codes.append(9)
    codes += [0] * (len(codes) % 2)
    data = bytes(low | high << 4 for low, high in zip(codes[::2], codes[1::2], strict=True))
    blocks = [data[at : at + 255] for at in range(0, len(data), 255)]
    return b"\3" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def gif(path: Path, size: tuple[int, int], parts: list[Part], background: int = 1) -> Path:
    data = b"GIF89a" + struct.pack("<HHBBB", size[1], size[0], 0xF2, background, 0) + bytes(sum(PALETTE, ()))
    for part in parts:
        flags = part.disposal << 2 | (part.transparent is not None)
        data += b"!\xf9\4" + struct.pack("<BHB", flags, part.delay, part.transparent or 0) + b"\0"
        height, width = part.pixels.shape
        data += b"," + struct.pack("<HHHHB", part.left, part.top, width, height, 0x40 * part.interlaced)
        rows = [row for first, step in ((0, 8), (4, 8), (2, 4), (1, 2)) for row in range(first, height, step)]
        data += compressed(part.pixels[rows] if part.interlaced else part.pixels)
    path.write_bytes(data + b";")
    return path


def literal(size: tuple[int, int], parts: list[Part]) -> list[list[list[tuple[int, ...]]]]:
    """The frames as (red, green, blue, alpha), pixel by pixel."""
    screen = [[(0, 0, 0, 0)] * size[1] for _ in range(size[0])]
    frames = []
    for part in parts:
        before = [row.copy() for row in screen]
        inside = [
            (row, column, part.top + row, part.left + column)
            for row in range(part.pixels.shape[0])
            for column in range(part.pixels.shape[1])
            if part.top + row < size[0] and part.left + column < size[1]
        ]
        for row, column, y, x in inside:
            index = int(part.pixels[row, column])
            if index != part.transparent:
                screen[y][x] = (*PALETTE[index], 255)
        frames.append([row.copy() for row in screen])
        if part.disposal == 2:
            for _, _, y, x in inside:
                screen[y][x] = (0, 0, 0, 0)
        elif part.disposal == 3:
            screen = before
    return frames


@st.composite
def parts(draw: st.DrawFn) -> Part:
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 9))
    pixels = np.random.default_rng(draw(st.integers(0, 999))).integers(0, 8, (height, width), np.uint8)
    transparent = draw(st.none() | st.integers(0, 7))
    top, left, disposal = draw(st.integers(0, 6)), draw(st.integers(0, 6)), draw(st.integers(0, 3))
    return Part(top, left, pixels, disposal, transparent, interlaced=draw(st.booleans()))


@given(stored=st.lists(parts(), min_size=1, max_size=5), height=st.integers(6, 12), width=st.integers(6, 9))
@settings(deadline=None, max_examples=60)
def test_frames_are_put_together_as_the_specification_says(
    tmp_path_factory: pytest.TempPathFactory, stored: list[Part], height: int, width: int
) -> None:
    path = gif(tmp_path_factory.mktemp("gif") / "a.gif", (height, width), stored)
    shown = [np.dstack([frame.image, frame.alpha]).tolist() for frame in gif_frames(path)]
    expected = [[[list(pixel) for pixel in row] for row in frame] for frame in literal((height, width), stored)]
    assert shown == expected


def whole(value: int, **options: int) -> Part:
    return Part(0, 0, np.full((4, 6), value, np.uint8), **options)


def test_footage_of_a_gif_with_transparency(tmp_path: Path) -> None:
    dot = Part(1, 1, np.full((2, 2), 3, np.uint8))
    footage = examine(gif(tmp_path / "a.gif", (4, 6), [whole(2, disposal=2, delay=10), dot]))
    assert (footage.kind, footage.size, footage.frames, footage.alpha) == ("gif", (4, 6), 2, True)
    first, second = read(footage)
    assert first.alpha is not None
    assert second.alpha is not None
    assert first.alpha.min() == 255
    assert (second.alpha == 255).sum() == 4
    assert (second.image[1:3, 1:3] == PALETTE[3]).all()


def test_transparent_pixels_that_only_save_bytes_are_no_alpha(tmp_path: Path) -> None:
    change = Part(0, 0, np.array([[5, 3]], np.uint8), transparent=5)
    footage = examine(gif(tmp_path / "a.gif", (4, 6), [whole(2), change]))
    assert not footage.alpha
    assert read(footage)[1].alpha is None
    assert read(footage, 1)[0].image[0, :2].tolist() == [list(PALETTE[2]), list(PALETTE[3])]


def test_delays_are_those_of_browsers(tmp_path: Path) -> None:
    delays = [4, 0, 1, 2, 7]
    footage = examine(gif(tmp_path / "a.gif", (4, 6), [whole(n, delay=delay) for n, delay in enumerate(delays)]))
    found = read(footage)
    assert [frame.duration * 100 for frame in found] == [4, 10, 10, 2, 7]
    assert [frame.time * 100 for frame in found] == [0, 4, 14, 24, 26]
    assert footage.variable
    assert footage.duration == Fraction(33, 100)
    assert footage.rate == 5 / Fraction(33, 100)


def test_a_gif_of_ffmpeg_is_as_ffmpeg_reads_it(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.gif", pattern(10), rate="24")
    footage = examine(path)
    assert np.array_equal(images(footage), read_video(path))
    assert psnr(images(footage), pattern(10)) > 18
    assert (footage.frames, footage.variable, footage.alpha) == (10, False, False)
    assert abs(10 / footage.rate - Fraction(10, 24)) <= Fraction(1, 100)


def test_damaged_gifs(tmp_path: Path) -> None:
    data = gif(tmp_path / "a.gif", (4, 6), [whole(2), whole(3), whole(4)]).read_bytes()
    second = data.index(b"!\xf9", data.index(b"!\xf9") + 1)
    for changed, message in {
        data[:-1]: "cut off at frame 3",
        data[: second + 20]: "cut off at frame 1",
        data[:second] + b"\x99" + data[second:]: "damaged at frame 1",
    }.items():
        (tmp_path / "a.gif").write_bytes(changed)
        with pytest.raises(MediaError, match=message):
            list(gif_frames(tmp_path / "a.gif"))
