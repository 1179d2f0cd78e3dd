"""An upsampler that adds to the linear enlargement of its input."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import small_config, small_hierarchy

from hvgcli.config import ModelConfig
from hvgcli.errors import ConfigError
from hvgcli.models.upsampler import Upsampler, UpsamplerState

TIMES = 2


def config(units: int = 4) -> ModelConfig:
    model = small_config((TIMES,), num_classes=0)
    upper = replace(model.levels[1], multipliers=(2, 1, 1, 1)[:units], output_residual=True)
    return replace(model, levels=(model.levels[0], upper))


def upsampler(trained: bool) -> Upsampler:
    level = small_hierarchy(config()).generators[1]
    assert isinstance(level, Upsampler)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        level.to_rgb.bias.zero_()
        if trained:
            level.to_rgb.weight.normal_(std=0.1, generator=generator)
    return level


def clip(frames: int) -> torch.Tensor:
    return 2 * torch.rand(1, frames, 3, 8, 8, generator=torch.Generator().manual_seed(2)) - 1


def test_it_begins_as_the_linear_enlargement() -> None:
    low = clip(3)
    made = upsampler(trained=False)(low, torch.zeros(1, 5), None)
    assert made.shape == (1, 6, 3, 16, 16)
    for t in range(6):
        before, share = divmod(t, TIMES)
        after = min(before + 1, 2)
        mixed = low[0, before] * (1 - share / TIMES) + low[0, after] * (share / TIMES)
        wanted = F.interpolate(mixed[None], size=(16, 16), mode="bilinear", align_corners=False)[0]
        assert torch.allclose(made[0, t], wanted, atol=1e-6)


def test_detail_is_the_share_that_is_added() -> None:
    low, z = clip(3) / 4, torch.ones(1, 5)
    trained = upsampler(trained=True)
    trained.to_rgb.weight.data.mul_(0.1)  # nothing is clamped

    def made(detail: float) -> torch.Tensor:
        return trained.advance(low, z, None, UpsamplerState(), 6, last=True, detail=detail)

    plain, whole = upsampler(trained=False)(low, z, None), trained(low, z, None)
    assert whole.abs().max() < 1
    assert (whole - plain).abs().mean() > 0.01
    for detail in (0, 0.3, 1):
        assert torch.allclose(made(detail), plain + detail * (whole - plain), atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_pieces_give_what_the_whole_gives(sizes: list[int]) -> None:
    level, low, z = upsampler(trained=True), clip(sum(sizes)), torch.ones(1, 5)
    whole = level(low, z, None)
    state, made = UpsamplerState(), []
    for number, part in enumerate(low.split(sizes, dim=1)):
        last = number == len(sizes) - 1
        made.append(level.advance(part, z, None, state, low.shape[1] * TIMES, last))
    assert torch.allclose(torch.cat(made, dim=1), whole, atol=1e-4)
    assert whole.abs().max() <= 1


def test_too_few_units_to_look_a_frame_ahead_are_refused() -> None:
    with pytest.raises(ConfigError, match="output_residual needs 4 units"):
        config(units=2)


def test_level_1_has_nothing_to_enlarge() -> None:
    model = config()
    with pytest.raises(ConfigError, match="level 1 has nothing to enlarge"):
        replace(model, levels=(replace(model.levels[0], output_residual=True), model.levels[1]))
