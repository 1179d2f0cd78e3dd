"""Spectra of single videos add up to those of a set, and bands are quantiles."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.metrics.bands import Band, below_top_octave, video_spectra
from hvgcli.metrics.spectrum import SpectrumSum


def some(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_their_mean_power_is_the_curve_of_the_set() -> None:
    videos = some((4, 5, 8, 6))
    spectra = video_spectra(videos, (1, 4))
    assert spectra.shape == (4, 2, 4)
    whole = SpectrumSum((1, 4))
    whole.update(videos)
    mean = (10 ** (spectra / 10)).mean(0)
    for row, curve in zip(mean.tolist(), whole.curves(), strict=True):
        assert row == pytest.approx(list(curve.power))


def test_a_single_wave_has_its_power_at_its_frequency() -> None:
    """A grey wave 100 + 50 cos(2 pi 2 x / 16): two peaks of (50/255/2)^2 H W each, in a ring of its own width."""
    wave = 100 + 50 * torch.cos(2 * math.pi * 2 * torch.arange(16) / 16)
    video = wave.round().to(torch.uint8).expand(16, 16)[None, None, :, :, None].expand(1, 1, 16, 16, 3)
    found = video_spectra(video, (1,))[0, 0]
    from hvgcli.metrics.spectrum import rings

    members = int((rings(16, 16)[0] == 2).sum())
    assert found.argmax() == 1  # the ring of 2/16 cycles/pixel
    assert 10 ** (found[1] / 10) == pytest.approx(2 * (25 / 255) ** 2 * 256 / members, rel=0.02)


def test_a_frame_of_one_colour_is_at_the_floor() -> None:
    assert video_spectra(torch.full((1, 1, 4, 4, 3), 255, dtype=torch.uint8), (1,)).max() <= -190


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 30), st.integers(0, 1000))
def test_bands_are_quantiles(count: int, seed: int) -> None:
    spectra = torch.randn(count, 2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    band = Band.of(spectra)
    for frame in range(2):
        for ring in range(3):
            values = spectra[:, frame, ring].numpy()
            assert band.low[frame, ring] == pytest.approx(np.quantile(values, 0.05))
            assert band.high[frame, ring] == pytest.approx(np.quantile(values, 0.95))
    middle = spectra.quantile(0.5, dim=0)
    assert band.holds(middle).all()
    assert not band.holds(spectra.max(0).values + 1).any()


def test_excess_says_which_side() -> None:
    band = Band(torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[1.0, 1.0, 1.0]]))
    found = band.excess(torch.tensor([[-2.0, 0.5, 4.0]]))
    assert found.tolist() == [[-2.0, 0.0, 3.0]]


def test_the_top_octave_begins_at_half_of_the_highest_frequency() -> None:
    assert below_top_octave(8).tolist() == [True] * 3 + [False] * 5  # 1/16, 2/16, 3/16; 4/16 = 0.25 is in the octave
