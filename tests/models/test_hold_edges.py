"""An upsampler that knows of places only what x^{l-1} tells: edges are repeated, the first map is one value."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import randomise_biases, small_config, small_hierarchy
from torch import Tensor

from hvgcli.config import ModelConfig
from hvgcli.errors import ConfigError
from hvgcli.models.upsampler import Upsampler, UpsamplerState
from hvgcli.sampling.noise import latents

LABELS = torch.tensor([0, 2])


def config(hold: bool = True) -> ModelConfig:
    model = small_config((2,))
    return replace(model, levels=(model.levels[0], replace(model.levels[1], hold_edges=hold)))


@cache
def upsampler(hold: bool = True) -> Upsampler:
    level = small_hierarchy(config(hold)).generators[1]
    assert isinstance(level, Upsampler)
    randomise_biases(level)
    return level.double()


def made(level: Upsampler, low: Tensor) -> Tensor:
    with torch.inference_mode():
        return level(low, latents([1, 2], 2, 5).double(), LABELS)  # type: ignore[no-any-return]


def outline(frames: int, *, rows_only: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    low = torch.rand(2, frames, 3, 8, 1 if rows_only else 8, generator=generator, dtype=torch.float64) * 2 - 1
    return low.expand(-1, -1, -1, -1, 8)


@pytest.mark.parametrize("turned", [False, True])
def test_what_the_input_does_not_tell_apart_is_the_same(turned: bool) -> None:
    """An outline of stripes becomes a video of stripes, up to the edges; zeros beyond them would break that."""
    low = outline(3, rows_only=True)
    low = low.transpose(3, 4) if turned else low
    for hold, told_apart in ((True, False), (False, True)):
        video = made(upsampler(hold), low)
        video = video.transpose(3, 4) if turned else video
        assert video.std() > 0.05
        assert bool(video.std(4).max() > 1e-3) == told_apart


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_pieces_give_what_the_whole_gives(sizes: list[int]) -> None:
    level, low, z = upsampler(), outline(sum(sizes)), latents([1, 2], 2, 5).double()
    whole, state, parts = made(level, low), UpsamplerState(), []
    with torch.inference_mode():
        for number, piece in enumerate(low.split(sizes, dim=1)):
            parts.append(level.advance(piece, z, LABELS, state, 2 * sum(sizes), number == len(sizes) - 1))
    assert (torch.cat(parts, dim=1) - whole).abs().max() <= 1e-9


def test_training_and_inference_enlarge_alike() -> None:
    """Training convolves the doubled map without making it; with one frame's statistics both are the same function."""
    level, low = upsampler(), outline(2)
    block = level.units[0].block2
    frames = torch.randn(2, 1, block.conv1.in_channels, 4, 4, dtype=torch.float64)[:, 0]
    assert torch.allclose(block._first(frames, training=True), block._first(frames, training=False), atol=1e-12)
    assert made(level, low).shape == (2, 4, 3, 16, 16)


def test_only_convolutional_levels_above_the_first_hold_edges() -> None:
    model = config()
    with pytest.raises(ConfigError, match="hold_edges is for the convolutions of separable units"):
        replace(model.levels[1], unit="recurrent")
    with pytest.raises(ConfigError, match="level 1 has no input that tells places apart"):
        replace(model, levels=(replace(model.levels[0], hold_edges=True), model.levels[1]))
