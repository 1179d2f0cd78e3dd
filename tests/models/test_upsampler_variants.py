"""What HVG's ablations change in a level above the first: recurrent units (figure 9), no matching discriminator."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import small_config, small_hierarchy

from hvgcli.config import TrainingConfig
from hvgcli.errors import ConfigError
from hvgcli.models import build_discriminator, build_generator
from hvgcli.models.upsampler import Upsampler, UpsamplerState
from hvgcli.sampling.measure import measure_any_length
from hvgcli.sampling.noise import latents
from hvgcli.training.distributed import Share
from hvgcli.training.level import LevelBatch, LevelTraining, discriminator_update, generator_update

RECURRENT = small_config((2,), unit="recurrent")


def recurrent_level() -> Upsampler:
    level = small_hierarchy(RECURRENT).generators[1]
    assert isinstance(level, Upsampler)
    return level


def outline(frames: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(2, frames, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_recurrent_pieces_give_what_the_whole_gives(sizes: list[int]) -> None:
    level, low, z, labels = recurrent_level(), outline(sum(sizes)), latents([1, 2], 2, 5), torch.tensor([0, 2])
    state, total, start, parts = UpsamplerState(), 2 * sum(sizes), 0, []
    with torch.inference_mode():
        whole = level(low, z, labels)
        for size in sizes:
            piece = low[:, start : start + size]
            start += size
            parts.append(level.advance(piece, z, labels, state, total, last=start == sum(sizes)))
            assert parts[-1].shape[1] == 2 * size  # it waits for no later frame
    assert whole.std() > 0.05
    assert (torch.cat(parts, dim=1) - whole).abs().max() <= 1e-4


def test_a_recurrent_unit_remembers_and_does_not_look_ahead() -> None:
    level, z, labels = recurrent_level(), latents([1, 2], 2, 5), torch.tensor([0, 2])
    low = outline(6)
    changed = low.clone()
    changed[:, 2] = -changed[:, 2]
    with torch.inference_mode():
        difference = (level(low, z, labels) - level(changed, z, labels)).abs().amax(dim=(0, 2, 3, 4))
    assert difference[:4].max() == 0
    assert difference[4:].min() > 0  # frame 2 of the input is frames 4, 5 of the output, and those after feel it
    assert level.reach == 0


def test_statistics_of_a_recurrent_level_serve_any_length() -> None:
    made = small_hierarchy(RECURRENT)
    table = measure_any_length(made, 2, 1.0, passes=2, batch=2)
    assert (table.layout.period, table.layout.tail) == (2, 0)
    assert table.layout.head == 4 * 8  # the horizon: four times its training length
    assert all(table.serves(1.0, frames) for frames in (1, 8, 1000))


@pytest.mark.parametrize("changes", [{"unit": "recurrent"}, {"match": False}, {"unit": "recurrent", "match": False}])
def test_a_variant_trains(changes: dict[str, object]) -> None:
    config = small_config((2,), **changes)  # type: ignore[arg-type]
    training = TrainingConfig(steps=2, batch_size=2, spatial_frames=2)
    level = LevelTraining(config, 2, training, torch.device("cpu"))
    before = {name: value.clone() for name, value in level.generator.named_parameters()}
    video = torch.rand(2, 4, 3, 16, 16) * 2 - 1
    labels = torch.tensor([0, 1])
    batch = LevelBatch(video, labels, outline(2), outline(2, seed=1), labels, Share(0, 2, 2))
    told = discriminator_update(level, [batch], 0, 0) | generator_update(level, [batch], 0)
    assert all(torch.isfinite(torch.tensor(value)) for value in told.values())
    moved = [name for name, value in level.generator.named_parameters() if not value.equal(before[name])]
    assert any(".block3d." in name for name in moved)


def test_without_the_matching_discriminator_there_is_one_score_a_frame_less() -> None:
    video, low, labels = torch.zeros(2, 4, 3, 16, 16), outline(2), torch.tensor([0, 1])
    counts = []
    for match in (True, False):
        network = build_discriminator(small_config((2,), match=match), 2)
        counts.append(network(video, video[:, :2], labels, low).shape[1])
    assert counts == [2 + 4 + 4, 2 + 4]


def test_a_recurrent_unit_cannot_add_to_the_enlargement() -> None:
    level = RECURRENT.levels[1]
    with pytest.raises(ConfigError, match="output_residual looks a frame ahead"):
        replace(level, output_residual=True)


def test_level_1_is_recurrent_whatever_the_unit() -> None:
    assert build_generator(RECURRENT, 1).recurrent
    assert build_generator(RECURRENT, 2).recurrent
    assert not build_generator(small_config((2,)), 2).recurrent
