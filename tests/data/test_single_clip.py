"""Reading the one clip or image that is learned, and its pyramid."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from clip_files import lossless
from patterns import moving_pattern
from PIL import Image

from hvgcli.config import ModelConfig, SingleConfig
from hvgcli.data.single import SingleClip, fit, read_clip, scale_pyramid
from hvgcli.errors import MediaError, UsageError

MODEL = ModelConfig("single", (SingleConfig(scales=3, vae_scales=1),))


def film(path: Path, frames: np.ndarray, rate: int = 24) -> Path:
    return lossless(path, frames, [round(1000 * n / rate) for n in range(len(frames))])


def test_a_window_of_a_clip(tmp_path: Path) -> None:
    frames = moving_pattern(30, (48, 64))
    path = film(tmp_path / "clip.mkv", frames)
    clip = read_clip(path, start=Fraction(1, 2), height=48)
    assert clip.frames.shape == (1, 13, 48, 64, 3)
    np.testing.assert_array_equal(clip.frames[0].numpy(), frames[12:25])
    assert (clip.size, clip.image, clip.notes) == ((48, 64), False, ())


def test_a_long_clip_is_cut_into_parts(tmp_path: Path) -> None:
    frames = moving_pattern(30, (48, 64))
    clip = read_clip(film(tmp_path / "clip.mkv", frames), height=48, whole=True)
    assert clip.frames.shape == (2, 13, 48, 64, 3)
    np.testing.assert_array_equal(clip.frames.flatten(0, 1).numpy(), frames[:26])


@pytest.mark.parametrize(("rate", "taken"), [(24, 24), (25, 25), (30, 30), (48, 24), (60, 30), (12, 12)])
def test_the_rate_is_the_clips_own_or_an_even_part_of_it_near_24(tmp_path: Path, rate: int, taken: int) -> None:
    clip = read_clip(film(tmp_path / "clip.mkv", moving_pattern(40, (16, 16)), rate), window=5, height=16)
    assert float(clip.rate) == pytest.approx(taken, rel=0.01)


def test_a_given_rate_is_taken_by_times(tmp_path: Path) -> None:
    frames = moving_pattern(40, (16, 16))
    path = film(tmp_path / "clip.mkv", frames, 50)
    clip = read_clip(path, window=5, height=16, rate=Fraction(10))
    np.testing.assert_array_equal(clip.frames[0].numpy(), frames[:25:5])
    twice = read_clip(path, window=5, height=16, rate=Fraction(100))
    np.testing.assert_array_equal(twice.frames[0, ::2].numpy(), frames[:3])
    assert any("shown twice" in note for note in twice.notes)


def test_huge_frames_are_reduced_and_the_aspect_is_kept(tmp_path: Path) -> None:
    clip = read_clip(film(tmp_path / "clip.mkv", moving_pattern(5, (96, 150))), window=5, height=33)
    assert clip.size == (32, 50)


def test_small_frames_are_not_enlarged_and_it_says_so(tmp_path: Path) -> None:
    clip = read_clip(film(tmp_path / "clip.mkv", moving_pattern(5, (18, 24))), window=5, height=256)
    assert clip.size == (18, 24)
    assert any("nothing finer than 18" in note for note in clip.notes)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_an_image(tmp_path: Path, name: str) -> None:
    Image.fromarray(moving_pattern(1, (24, 32))[0]).save(tmp_path / name)
    clip = read_clip(tmp_path / name, height=24)
    assert clip.image
    assert clip.frames.shape == (1, 1, 24, 32, 3)
    assert not clip.notes
    config = fit(MODEL, clip).single
    assert config is not None
    assert (config.window, config.rates, config.volumetric) == (1, (1,), False)


def test_a_clip_of_one_frame_is_learned_as_an_image(tmp_path: Path) -> None:
    clip = read_clip(film(tmp_path / "clip.mkv", moving_pattern(1, (24, 32))), height=24)
    assert clip.image
    assert any("as an image" in note for note in clip.notes)


def test_alpha_becomes_black_and_it_says_so(tmp_path: Path) -> None:
    pixels = np.full((16, 16, 4), 200, np.uint8)
    pixels[..., 3] = 255
    pixels[:, 8:, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    clip = read_clip(tmp_path / "a.png", height=16)
    assert int(clip.frames[0, 0, :, 8:].max()) == 0
    assert int(clip.frames[0, 0, :, :8].min()) == 200
    assert any("transparent" in note for note in clip.notes)


def test_a_cut_in_the_window_is_told_with_its_time(tmp_path: Path) -> None:
    frames = moving_pattern(14, (32, 32)) // 8
    frames[6:, :, 16:] += 160
    clip = read_clip(film(tmp_path / "clip.mkv", frames), height=32)
    assert any("is cut at 0.25 s" in note for note in clip.notes)


def test_a_still_clip_is_told_and_an_even_one_refused(tmp_path: Path) -> None:
    still = np.repeat(moving_pattern(1, (16, 16)), 5, axis=0)
    clip = read_clip(film(tmp_path / "still.mkv", still), window=5, height=16)
    assert any("does not move" in note for note in clip.notes)
    with pytest.raises(MediaError, match="one even colour"):
        read_clip(film(tmp_path / "even.mkv", np.full_like(still, 90)), window=5, height=16)


def test_a_clip_that_is_too_short_is_refused(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    path = film(tmp_path / "clip.mkv", moving_pattern(14, (16, 16)))
    with pytest.raises(MediaError, match=r"has 2 frames .* from 0.5 s on, but 13 are needed"):
        read_clip(path, start=Fraction(1, 2), height=16)
    with pytest.raises(UsageError, match="--start 9 is outside"):
        read_clip(path, start=Fraction(9), height=16)
    with pytest.raises(MediaError, match="at least 8"):
        read_clip(make_clip(tmp_path / "low.mp4", frames=5, size=(6, 32)), window=5)


def test_a_clip_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hvgcli.data.single.MAX_BYTES", 1000)
    with pytest.raises(UsageError, match="too many"):
        read_clip(film(tmp_path / "clip.mkv", moving_pattern(14, (16, 16))), height=16)


def test_the_pyramid_keeps_the_ends_of_the_window_and_the_mean_of_the_picture() -> None:
    pixels = torch.from_numpy(moving_pattern(13, (64, 96)))[None]
    clip = SingleClip(pixels, Fraction(24))
    config = fit(MODEL, clip).single
    assert config is not None
    levels = scale_pyramid(clip, config)
    assert [tuple(x.shape[2:]) for x in levels] == list(config.sizes)
    whole = levels[-1]
    torch.testing.assert_close(whole, pixels.float().permute(0, 4, 1, 2, 3) / 127.5 - 1)
    for x, step in zip(levels, config.steps, strict=True):
        assert x.shape[:2] == (1, 3)
        torch.testing.assert_close(x.mean((0, 1, 3, 4)), whole[:, :, ::step].mean((0, 1, 3, 4)), atol=0.02, rtol=0)


def test_rates_that_the_window_does_not_end_on_are_left_out() -> None:
    model = fit(MODEL, SingleClip(torch.zeros(1, 9, 16, 16, 3, dtype=torch.uint8), Fraction(30000, 1001)))
    assert model.single is not None
    assert model.single.rates == (1, 2, 4)
    assert model.source_rate == "30000/1001"
