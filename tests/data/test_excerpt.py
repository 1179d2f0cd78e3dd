"""The frames of a clip before and after a moment: the right ones, at the right rate, cut and resized as said."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from clip_files import encode, lossless
from hypothesis import given, settings
from hypothesis import strategies as st
from patterns import moving_pattern
from PIL import Image

from hvgcli.data.excerpt import (
    Excerpt,
    check_moment,
    decimal,
    end_moment,
    moment_with_truth,
    nearest_frame,
    square,
)
from hvgcli.data.pyramid import downsample_space
from hvgcli.errors import MediaError, UsageError
from hvgcli.video import TimedFrame, examine
from hvgcli.video.clock import read_clock

Maker = Callable[..., Path]
RATE = Fraction(25, 2)


def marked(path: Path, times: list[int]) -> Path:
    """A lossless clip whose frame n is grey of value n, shown at these milliseconds."""
    frames = np.stack([np.full((8, 8, 3), number, np.uint8) for number in range(len(times))])
    return lossless(path, frames, times)


def seen(excerpt: Excerpt) -> list[int]:
    """Numbers of the frames that are read, by their grey."""
    return [int(frame[0, 0, 0]) for frame in excerpt.read_context(8)]


def truth(excerpt: Excerpt, frames: int) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in excerpt.read_truth(frames, 8)]


def timed(image: np.ndarray, alpha: np.ndarray | None = None) -> TimedFrame:
    return TimedFrame(image, alpha, Fraction(0), Fraction(1))


# ---- which frames ------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(st.sets(st.integers(0, 200), min_size=1, max_size=12), st.integers(-20, 220))
def test_the_nearest_frame(times: set[int], wanted: int) -> None:
    ticks = sorted(times)
    clock = read_clock(np.array(ticks, np.int64), Fraction(1, 100), rate=Fraction(25))
    expected = min(range(len(ticks)), key=lambda number: (abs(ticks[number] - wanted), number))
    assert nearest_frame(clock, Fraction(wanted, 100)) == expected


def test_every_second_frame_up_to_the_last(tmp_path: Path) -> None:
    footage = examine(marked(tmp_path / "in.mkv", [40 * n for n in range(30)]))
    excerpt = Excerpt(footage, RATE, end_moment(footage, RATE), 5)
    assert seen(excerpt) == [21, 23, 25, 27, 29]
    assert not excerpt.repeats
    assert (excerpt.true_frames(11), truth(excerpt, 11)) == (0, [])


def test_from_a_moment_on(tmp_path: Path) -> None:
    footage = examine(marked(tmp_path / "in.mkv", [40 * n for n in range(30)]))
    excerpt = Excerpt(footage, RATE, Fraction("0.8"), 5)
    assert seen(excerpt) == [10, 12, 14, 16, 18]
    assert truth(excerpt, 3) == [20, 22, 24]
    assert excerpt.true_frames(11) == 5
    assert truth(excerpt, 11) == [20, 22, 24, 26, 28]


def test_the_truth_is_the_end_of_the_clip(tmp_path: Path) -> None:
    footage = examine(marked(tmp_path / "in.mkv", [40 * n for n in range(33)]))
    excerpt = Excerpt(footage, RATE, moment_with_truth(footage, RATE, 11), 5)
    assert seen(excerpt) + truth(excerpt, 11) == list(range(2, 33, 2))
    assert excerpt.true_frames(100) == 11


def test_a_clip_that_begins_late(tmp_path: Path) -> None:
    footage = examine(marked(tmp_path / "in.mkv", [5000 + 40 * n for n in range(30)]))
    assert footage.start == 5
    excerpt = Excerpt(footage, RATE, Fraction("0.8"), 5)
    assert (seen(excerpt), truth(excerpt, 2)) == ([10, 12, 14, 16, 18], [20, 22])


def test_a_variable_rate_goes_by_time(tmp_path: Path) -> None:
    times = [0, 10, 20, 30, 100, 170, 240, 250, 260, 320, 400]
    footage = examine(marked(tmp_path / "in.mkv", times))
    assert footage.variable
    excerpt = Excerpt(footage, RATE, Fraction("0.24"), 3)
    assert seen(excerpt) == [0, 4, 5]  # nearest to 0, 80 and 160 ms
    assert truth(excerpt, 3) == [6, 9, 10]  # 240, 320 and 400


def test_a_slower_clip_repeats_frames(tmp_path: Path) -> None:
    footage = examine(marked(tmp_path / "in.mkv", [200 * n for n in range(6)]))
    excerpt = Excerpt(footage, RATE, end_moment(footage, RATE), 5)
    assert seen(excerpt) == [3, 4, 4, 5, 5]  # nearest to 680, 760, 840, 920 and 1000 ms
    assert excerpt.repeats


def test_uneven_rates_stay_within_half_a_frame(tmp_path: Path) -> None:
    rate = Fraction(30000, 1001)
    footage = examine(marked(tmp_path / "in.mkv", [round(1000 * n / rate) for n in range(60)]))
    excerpt = Excerpt(footage, RATE, Fraction(1), 12)
    wanted = [1 - Fraction(k) / RATE for k in range(12, 0, -1)]
    for number, time in zip(excerpt.numbers, wanted, strict=True):
        assert abs(footage.clock.time(number) - time) <= 1 / (2 * rate) + Fraction(1, 1000)


def test_the_end_of_a_long_file_is_read_without_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "in.mp4"
    encode(path, moving_pattern(300, (64, 64)), "-c:v", "libx264", "-g", "25", "-pix_fmt", "yuv420p")
    footage = examine(path)
    expected = Excerpt(footage, RATE, end_moment(footage, RATE), 5).read_context(64)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 2000
    data[start : start + len(data) // 2] = bytes(len(data) // 2)  # no decoder gets past that
    path.write_bytes(data)
    footage = examine(path)
    found = Excerpt(footage, RATE, end_moment(footage, RATE), 5)
    np.testing.assert_array_equal(found.read_context(64), expected)
    with pytest.raises(MediaError):
        Excerpt(footage, RATE, Fraction(5), 5).read_context(64)


# ---- what it refuses ---------------------------------------------------------------------------


def test_too_few_frames(tmp_path: Path) -> None:
    footage = examine(marked(tmp_path / "in.mkv", [40 * n for n in range(8)]))
    excerpt = Excerpt(footage, RATE, end_moment(footage, RATE), 5)
    with pytest.raises(MediaError, match=r"5 frames at 12\.5 frames/s are needed, but it has 4 \(8 in 0\.32 s\)"):
        _ = excerpt.numbers
    assert seen(Excerpt(footage, RATE, end_moment(footage, RATE), 4)) == [1, 3, 5, 7]


def test_a_moment_too_early(tmp_path: Path) -> None:
    footage = examine(marked(tmp_path / "in.mkv", [40 * n for n in range(30)]))
    with pytest.raises(UsageError, match=r"but 2 come before 0\.2 s: begin at 0\.4 s or later"):
        _ = Excerpt(footage, RATE, Fraction("0.2"), 5).numbers
    assert seen(Excerpt(footage, RATE, Fraction("0.4"), 5)) == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("moment", [Fraction(0), Fraction(-1), Fraction("1.3"), Fraction(50)])
def test_a_moment_outside_of_the_clip(tmp_path: Path, moment: Fraction) -> None:
    footage = examine(marked(tmp_path / "in.mkv", [40 * n for n in range(30)]))
    with pytest.raises(UsageError, match=r"outside of .*: it begins at 0 s and ends at 1\.24 s"):
        check_moment(footage, moment, RATE)
    assert check_moment(footage, Fraction("1.24"), RATE) == end_moment(footage, RATE)


# ---- pixels ------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(height=st.integers(1, 40), width=st.integers(1, 40), size=st.sampled_from([4, 16, 32]))
def test_the_centre_resized_as_in_training(height: int, width: int, size: int) -> None:
    image = np.random.default_rng(height * 41 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    crop = torch.from_numpy(image[top : top + side, left : left + side]).permute(2, 0, 1)[None, None].double()
    expected = downsample_space(crop, size)[0, 0].permute(1, 2, 0).numpy()
    assert np.abs(square(timed(image), Fraction(1), size) - expected).max() <= 1.01


def test_wide_pixels_are_shown_square() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    image[:, 5:15] = 255  # what is as wide as high where a pixel is twice as wide
    assert square(timed(image), Fraction(2), 20).min() == 255
    assert square(timed(image.swapaxes(0, 1)), Fraction(1, 2), 20).min() == 255


def test_deep_and_transparent_pixels() -> None:
    deep = np.full((8, 8, 3), 65535, np.uint16)
    assert square(timed(deep), Fraction(1), 8).tolist() == np.full((8, 8, 3), 255).tolist()
    assert int(square(timed(np.full((8, 8, 3), 257 * 100, np.uint16)), Fraction(1), 8)[0, 0, 0]) == 100
    alpha = np.full((8, 8), 128, np.uint8)
    assert square(timed(np.full((8, 8, 3), 200, np.uint8), alpha), Fraction(1), 8).max() == round(200 * 128 / 255)


def test_description(tmp_path: Path, make_clip: Maker) -> None:
    footage = examine(make_clip(tmp_path / "in.mp4", 8, (48, 64)))
    excerpt = Excerpt(footage, RATE, Fraction("0.2"), 1)
    assert excerpt.describe(32) == (
        "64x48 at 25 frames/s, cropped to its centre, resized to 32x32, taken at 12.5 frames/s"
    )
    assert Excerpt(footage, Fraction(25), Fraction("0.2"), 1).describe(48) == (
        "64x48 at 25 frames/s, cropped to its centre, resized to 48x48"
    )
    even = examine(make_clip(tmp_path / "even.mp4", 8, (32, 32)))
    assert Excerpt(even, Fraction(25), Fraction("0.2"), 1).describe(32) == "32x32 at 25 frames/s"


def test_a_picture_is_a_context_of_one(tmp_path: Path) -> None:
    Image.fromarray(moving_pattern(1, (24, 24))[0]).save(tmp_path / "one.png")
    footage = examine(tmp_path / "one.png")
    excerpt = Excerpt(footage, RATE, end_moment(footage, RATE), 1)
    np.testing.assert_array_equal(excerpt.read_context(24)[0], moving_pattern(1, (24, 24))[0])


@pytest.mark.parametrize(
    ("value", "text"), [(Fraction(25, 2), "12.5"), (Fraction(30), "30"), (Fraction(30000, 1001), "29.97")]
)
def test_numbers_for_people(value: Fraction, text: str) -> None:
    assert decimal(value) == text
