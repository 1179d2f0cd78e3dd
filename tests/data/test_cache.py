"""Decoded clips in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hvgcli import video
from hvgcli.data.cache import FrameCache, decode, fitted_size
from hvgcli.data.clips import Clip, scan
from hvgcli.errors import MediaError

Maker = Callable[..., Path]
CLIP_BYTES = 8 * 48 * 64 * 3


@pytest.fixture
def clips(tmp_path: Path, make_clip: Maker) -> tuple[Clip, ...]:
    for number in range(3):
        make_clip(tmp_path / f"{number}.mp4", seed=number)
    return scan(tmp_path).clips


def test_frames_are_those_of_the_file(clips: tuple[Clip, ...]) -> None:
    cache = FrameCache(10 * CLIP_BYTES)
    frames = cache.frames(clips[0])
    assert frames.dtype == torch.uint8
    assert torch.equal(frames, torch.from_numpy(video.read_video(clips[0].path)))
    assert cache.frames(clips[0]) is frames


def test_the_least_recently_used_clip_is_dropped(clips: tuple[Clip, ...]) -> None:
    cache = FrameCache(2 * CLIP_BYTES)
    first, second = cache.frames(clips[0]), cache.frames(clips[1])
    assert cache.frames(clips[0]) is first
    cache.frames(clips[2])
    assert (len(cache), cache.bytes) == (2, 2 * CLIP_BYTES)
    assert cache.frames(clips[0]) is first
    assert cache.frames(clips[1]) is not second


def test_a_clip_larger_than_the_cache_is_not_kept(clips: tuple[Clip, ...]) -> None:
    cache = FrameCache(CLIP_BYTES - 1)
    assert cache.frames(clips[0]).nbytes == CLIP_BYTES
    assert (len(cache), cache.bytes) == (0, 0)


def test_short_side(clips: tuple[Clip, ...]) -> None:
    small = FrameCache(CLIP_BYTES, short_side=24).frames(clips[0])
    assert small.shape == (8, 24, 32, 3)
    whole = decode(clips[0]).float()
    means = whole.view(8, 24, 2, 32, 2, 3).mean((2, 4))
    assert (small.float() - means).abs().mean() < 4


def test_a_clip_that_fails_is_tried_once(clips: tuple[Clip, ...]) -> None:
    data = clips[0].path.read_bytes()
    clips[0].path.write_bytes(data[: len(data) * 3 // 4])
    cache = FrameCache(10 * CLIP_BYTES)
    with pytest.raises(MediaError, match="frame"):
        cache.frames(clips[0])
    clips[0].path.write_bytes(data)
    with pytest.raises(MediaError, match="frame"):
        cache.frames(clips[0])
    assert FrameCache(CLIP_BYTES).frames(clips[0]).shape[0] == 8


def test_headers_that_lie(clips: tuple[Clip, ...]) -> None:
    assert decode(replace(clips[0], frames=12)).shape[0] == 8
    assert decode(replace(clips[0], frames=5)).shape[0] == 5
    with pytest.raises(MediaError, match="the file has changed"):
        decode(replace(clips[0], height=50))


def test_missing_file() -> None:
    with pytest.raises(MediaError, match="no such file"):
        decode(Clip(Path("/nowhere/a.mp4"), None, 8, Fraction(25), 48, 64))


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 500))
def test_fitted_size(height: int, width: int, short: int) -> None:
    fitted = fitted_size(height, width, short)
    assert min(fitted) == min(height, width, short)
    assert fitted_size(height, width, None) == (height, width)
    assert abs(fitted[0] * width - fitted[1] * height) <= max(height, width)
