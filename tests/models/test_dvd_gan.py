"""DVD-GAN's generator against the paper's lists, and against a loop over frames and stages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import made_up_table, small_hierarchy, small_one_stage
from torch import Tensor, nn

from hvgcli.layers.norm import TimestepNorm
from hvgcli.layers.table import RowLayout
from hvgcli.layers.units import UNITS
from hvgcli.models import build_generator
from hvgcli.models.dvd_gan import DvdGan, Stage
from hvgcli.models.recurrent_generator import RecurrentState
from hvgcli.presets import PRESETS
from hvgcli.sampling.statistics import install, norms

Z, LABELS = 5, torch.tensor([2, 0, 1])


def inputs(batch: int = 3) -> Tensor:
    return torch.randn(batch, Z, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def trained(**changes: Any) -> DvdGan:
    """A small network with made-up standing statistics for any length, in float64."""
    generator = small_hierarchy(small_one_stage(**changes)).generators[0].double()
    assert isinstance(generator, DvdGan)
    install(generator, made_up_table(generator, RowLayout(3, 1)))
    return generator


# ---- sizes and widths (appendix B.2) -------------------------------------------------------------

# Widths of the stages over ch, one after the other: "[8, 8, 8, 4, 2] for 64x64 and [8, 8, 8, 4, 2, 1] for 128x128",
# the first of which is that of the first map and of all layers before the residual network.
STAGES = {
    64: (128, [(4, 8, 8), (8, 8, 8), (16, 8, 4), (32, 4, 2)]),
    128: (96, [(4, 8, 8), (8, 8, 8), (16, 8, 4), (32, 4, 2), (64, 2, 1)]),
}


@pytest.mark.parametrize("resolution", STAGES)
@pytest.mark.parametrize("frames", [12, 48])
def test_stages_have_the_sizes_and_widths_of_the_paper(resolution: int, frames: int) -> None:
    ch, stages = STAGES[resolution]
    config = PRESETS[f"dvd-gan-{frames}x{resolution}"].model
    with torch.device("meta"):
        generator = build_generator(config, 1)
        z, labels = torch.empty(2, 120), torch.empty(2, dtype=torch.long)
    shapes: list[tuple[int, ...]] = []

    def keep(module: nn.Module, given: Any, made: Any) -> None:
        shapes.append(tuple((made[0] if isinstance(made, tuple) else made).shape[1:]))

    generator.first.register_forward_hook(keep)
    for unit in generator.units:
        for layer in (unit.recurrent, unit.block1, unit.block2):
            layer.register_forward_hook(keep)
    video = generator(z, labels)
    expected = [(1, 8 * ch, 4, 4)]
    for size, width, out in stages:
        expected += [(frames, width * ch, size, size), (frames, out * ch, size, size)]
        expected += [(frames, out * ch, 2 * size, 2 * size)]
    assert shapes == expected
    assert video.shape == (2, frames, 3, resolution, resolution)
    assert generator.norm.channels == generator.to_rgb.in_channels == stages[-1][2] * ch
    assert config.num_classes == 600


def test_the_first_map_and_unit_have_a_width_of_their_own() -> None:
    generator = trained(multipliers=(3, 2, 1))
    recurrent = [unit.recurrent.candidate.out_channels for unit in generator.units]
    blocks = [(unit.block1.conv1.in_channels, unit.block1.conv1.out_channels) for unit in generator.units]
    assert generator.first.project.weight.shape == (4 * 4 * 12, Z + 3)
    assert recurrent == [12, 8]
    assert blocks == [(12, 8), (8, 4)]


def test_all_stages_double_and_only_the_second_block_does() -> None:
    for unit in trained().units:
        assert (unit.block1.doubles, unit.block2.doubles) == (False, True)
        assert isinstance(unit.convolution, nn.Identity)  # which the predictors alone have


# ---- the equations -------------------------------------------------------------------------------


def literal(generator: DvdGan, z: Tensor, labels: Tensor, frames: int) -> Tensor:
    """One frame after the other through all stages; the ConvGRU as it is written in appendix B.2."""
    cond = torch.cat((z, generator.condition.embed.weight[labels]), dim=1)
    project = generator.first.project
    flat = cond @ project.weight.t() + project.bias
    first = flat.reshape(len(z), 4, 4, -1).permute(0, 3, 1, 2)  # the [4, 4, ch_0] tensor of the paper
    hidden: list[Tensor | None] = [None] * len(generator.units)
    video = []
    for t in range(frames):
        x, row = first, generator.rows.index(t, 1, frames)
        for number, stage in enumerate(generator.units):
            gru, h = stage.recurrent, hidden[number]
            h = torch.zeros_like(x) if h is None else h
            r, u = (
                torch.sigmoid(F.conv2d(torch.cat((h, x), 1), gate.weight, gate.bias, padding=1))
                for gate in (gru.reset, gru.update)
            )
            c = F.relu(F.conv2d(torch.cat((x, r * h), 1), gru.candidate.weight, gru.candidate.bias, padding=1))
            hidden[number] = h = u * h + (1 - u) * c
            x = stage.block2(stage.block1(h[:, None], cond, row), cond, row)[:, 0]
        x = generator.norm(x[:, None], cond, row)[:, 0]
        video.append(torch.tanh(F.conv2d(x, generator.to_rgb.weight, generator.to_rgb.bias, padding=1)))
    return torch.stack(video, dim=1)


def test_a_video_is_the_loop_over_its_frames() -> None:
    generator, z = trained(), inputs()
    video = generator(z, LABELS, 6)
    assert video.shape == (3, 6, 3, 16, 16)
    torch.testing.assert_close(video, literal(generator, z, LABELS, 6), rtol=0, atol=1e-10)
    assert (video[:, 0] - video[:, 5]).abs().max() > 1e-3


@pytest.mark.parametrize("num_classes", [3, 0], ids=["conditional", "unconditional"])
def test_norms_get_noise_and_class(num_classes: int) -> None:
    generator = trained(num_classes=num_classes)
    seen: dict[str, Tensor] = {}
    for name, norm in norms(generator):
        norm.register_forward_pre_hook(lambda module, args, name=name: seen.__setitem__(name, args[1]))
    z, labels = inputs(), LABELS if num_classes else None
    generator(z, labels)
    expected = torch.cat((z, generator.condition.embed.weight[LABELS]), dim=1) if num_classes else z
    conditional = {name for name, norm in norms(generator) if norm.cond_dim is not None}
    assert {name for name, _ in norms(generator)} - conditional == {"norm"}  # the last one (TrIVD-GAN E.2)
    assert len(conditional) == 4 * len(generator.units)
    assert all(torch.equal(seen[name], expected) for name in conditional)


def test_gain_and_bias_are_functions_of_noise_and_class() -> None:
    norm = trained().units[0].block1.norm1
    assert isinstance(norm, TimestepNorm)
    cond = torch.randn(2, Z + 3, dtype=torch.float64)
    gain, bias = norm.affine(cond)
    torch.testing.assert_close(gain, 1 + cond @ norm.to_gain.weight.t())
    torch.testing.assert_close(bias, cond @ norm.to_bias.weight.t())
    assert norm.to_gain.bias is None


def test_statistics_in_training_are_of_each_timestep() -> None:
    """Not reduced over time (appendix B.2): a frame does not feel the frames after it, not even by the norms."""
    torch.manual_seed(0)
    generator = build_generator(small_one_stage(), 1).double()
    z = inputs()
    torch.testing.assert_close(generator(z, LABELS, 2), generator(z, LABELS, 5)[:, :2], rtol=0, atol=1e-10)


# ---- pieces, batches, seeds ----------------------------------------------------------------------


@pytest.mark.parametrize("unit", UNITS)
@settings(deadline=None, max_examples=4)
@given(pieces=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_pieces_are_the_whole(unit: str, pieces: list[int]) -> None:
    generator, z = trained(unit=unit), inputs(2)
    state, total = RecurrentState(), sum(pieces)
    parts = [generator.advance(z, LABELS[:2], state, count, total) for count in pieces]
    assert state.start == total
    torch.testing.assert_close(torch.cat(parts, dim=1), generator(z, LABELS[:2], total), rtol=0, atol=1e-10)


@pytest.mark.parametrize("unit", UNITS)
def test_a_sample_of_a_batch_is_the_sample_alone(unit: str) -> None:
    generator, z = trained(unit=unit), inputs()
    batch = generator(z, LABELS)
    for i in range(3):
        alone = generator(z[i : i + 1], LABELS[i : i + 1])
        torch.testing.assert_close(batch[i : i + 1], alone, rtol=0, atol=1e-10)
    changed = generator(z, torch.tensor([2, 1, 1]))
    difference = (changed - batch).abs().amax((2, 3, 4))
    assert (difference[1] > 1e-4).all()  # a class changes all frames of its video
    assert difference[[0, 2]].max() < 1e-10


# ---- separable attention (appendix A) ------------------------------------------------------------


def with_attention(generator: DvdGan, resolution: int, gate: float) -> DvdGan:
    """The same network with attention after the stage that ends at `resolution`."""
    made = DvdGan(replace(generator.level, attention=resolution), 3).double()
    missing = made.load_state_dict(generator.state_dict(), strict=False).missing_keys
    assert missing
    assert all(".attention." in key for key in missing)
    for stage in made.units:
        if isinstance(stage, Stage) and not isinstance(stage.attention, nn.Identity):
            nn.init.constant_(stage.attention.gate, gate)
    install(made, made_up_table(made, RowLayout(3, 1)))
    return made


@pytest.mark.parametrize(("resolution", "stage"), [(8, 0), (16, 1)])
def test_attention_is_where_it_is_asked_for_and_begins_as_nothing(resolution: int, stage: int) -> None:
    plain, z = trained(), inputs()
    closed = with_attention(plain, resolution, 0.0)
    has = [not isinstance(unit.attention, nn.Identity) for unit in closed.units]
    assert has == [number == stage for number in range(2)]
    assert torch.equal(closed(z, LABELS), plain(z, LABELS))
    opened = with_attention(plain, resolution, 0.5)
    assert (opened(z, LABELS) - plain(z, LABELS)).abs().max() > 1e-4
    assert not DvdGan(plain.level, 3).whole
    assert opened.whole


def test_attention_hears_of_later_frames() -> None:
    """So a video of another length, or made in pieces, would be another video."""
    plain, z = trained(), inputs()
    open_gate = with_attention(plain, 8, 0.5)
    torch.testing.assert_close(plain(z, LABELS, 3), plain(z, LABELS, 5)[:, :3], rtol=0, atol=1e-10)
    assert (open_gate(z, LABELS, 3) - open_gate(z, LABELS, 5)[:, :3]).abs().max() > 1e-4


def test_frames_differ_by_the_recurrent_states_alone() -> None:
    """z and class are the same at every timestep (appendix B.2): without a state, all frames are one."""
    generator = trained(spectral_norm=False)
    for unit in generator.units:
        for gate in (unit.recurrent.reset, unit.recurrent.update, unit.recurrent.candidate):
            nn.init.zeros_(gate.weight)
            nn.init.zeros_(gate.bias)
    install(generator, made_up_table(generator, RowLayout(0, 1)))  # the same statistics at every timestep
    video = generator(inputs(), LABELS, 4)
    assert (video - video[:, :1]).abs().max() < 1e-12
    assert (video[0] - video[1]).abs().max() > 1e-3
