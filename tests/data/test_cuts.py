"""Cuts are found where two clips meet, and nowhere in one clip: not at a flash, in noise, in a fade, in fast motion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from patterns import moving_pattern

from hvgcli.data.cuts import find_cuts
from hvgcli.video import Frames

SIZE = (64, 64)


def scene(seed: int, frames: int = 5) -> Frames:
    return moving_pattern(frames, SIZE, seed)


def still(seed: int, frames: int = 5) -> Frames:
    return np.repeat(scene(seed, 1), frames, axis=0)


def panned(step: int, frames: int = 5) -> Frames:
    """A camera over a wide picture with large shapes, `step` pixels a frame."""
    rng = np.random.default_rng(1)
    wide = np.kron(rng.integers(0, 256, (8, 32, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    return np.stack([wide[:, step * t : step * t + SIZE[1]] for t in range(frames)])


def noise(seed: int, strength: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).integers(-strength, strength + 1, shape)


@settings(deadline=None, max_examples=25)
@given(first=st.integers(0, 50), second=st.integers(0, 50), place=st.integers(1, 4))
def test_a_cut_is_found_where_it_is(first: int, second: int, place: int) -> None:
    one, other = still(first), still(second)
    apart = np.abs(one[0].astype(float) - other[0]).mean() / 255
    assume(first != second and apart > 0.2)
    assert find_cuts(np.concatenate([one[:place], other[place:]])) == [place]


@pytest.mark.parametrize("place", [1, 2, 3, 4])
@pytest.mark.parametrize("strength", [0, 30])
def test_a_cut_between_moving_scenes_with_noise(place: int, strength: int) -> None:
    left, right = panned(1), panned(1)[:, ::-1, ::-1]
    frames = np.concatenate([left[:place], right[place:]])
    noisy = np.clip(frames + noise(place, strength, frames.shape), 0, 255).astype(np.uint8)
    assert find_cuts(noisy) == [place]


def test_several_cuts() -> None:
    frames = np.concatenate([still(1, 3), panned(0, 3), still(2, 3)])
    assert find_cuts(frames) == [3, 6]


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000))
def test_one_moving_scene_has_none(seed: int) -> None:
    assert find_cuts(scene(seed)) == []


@pytest.mark.parametrize("step", [0, 2, 5, 10, 30])
def test_a_pan_has_none(step: int) -> None:
    assert find_cuts(panned(step)) == []


@pytest.mark.parametrize("place", [1, 2, 3])
@pytest.mark.parametrize("frames", [still(3), panned(2)])
def test_a_flash_is_none(frames: Frames, place: int) -> None:
    flashed = frames.copy()
    flashed[place] = np.clip(flashed[place].astype(int) + 170, 0, 255)
    assert find_cuts(flashed) == []


def test_a_change_of_the_light_is_none() -> None:
    frames = (still(3) // 2).astype(np.uint8)
    frames[2:] += 100
    assert find_cuts(frames) == []


def test_noise_is_none() -> None:
    for seed in range(10):
        assert find_cuts((noise(seed, 127, (5, *SIZE, 3)) + 127).astype(np.uint8)) == []


@pytest.mark.parametrize("frames", [still(1, 1), still(1, 2), np.zeros((5, 1, 1, 3), np.uint8)])
def test_short_and_small_clips(frames: Frames) -> None:
    assert find_cuts(frames) == []


def test_two_frames_of_two_scenes() -> None:
    assert find_cuts(np.concatenate([panned(0, 1), panned(0, 1)[:, ::-1, ::-1]])) == [1]
