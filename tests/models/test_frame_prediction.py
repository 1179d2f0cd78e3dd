"""Predictors: the encoder against a literal loop, the states it gives, motion fields, fusion with the last frame."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_networks import randomise_biases, small_hierarchy, small_predictor
from torch import Tensor, nn

from hvgcli.layers.blocks import DiscriminatorBlock
from hvgcli.layers.table import RowLayout
from hvgcli.layers.units import UNITS
from hvgcli.models import build_generator
from hvgcli.models.frame_fusion import FrameFusion
from hvgcli.models.frame_prediction import FramePredictor
from hvgcli.presets import PRESETS

C, T, SIZE = 3, 4, 16


def predictor(unit: str = "TSRU_p", **changes: Any) -> FramePredictor:
    """A small network with made-up standing statistics, in float64."""
    network = small_hierarchy(small_predictor(unit, **changes)).generators[0].double()
    assert isinstance(network, FramePredictor)
    return network


def clips(batch: int = 2) -> Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.rand(batch, C, 3, SIZE, SIZE, generator=rng, dtype=torch.float64) * 2 - 1


def noise(batch: int = 2) -> Tensor:
    return torch.randn(batch, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


# ---- the encoder (DVD-GAN appendix B.4, TrIVD-GAN appendix A) ------------------------------------


def literal_block(block: DiscriminatorBlock, x: Tensor) -> Tensor:
    """Figure 7 of DVD-GAN, right: both paths are convolved and then average-pooled."""

    def conv(layer: nn.Conv2d, given: Tensor) -> Tensor:
        return F.conv2d(given, layer.weight, layer.bias, padding=layer.kernel_size[0] // 2)

    h = conv(block.conv2, F.relu(conv(block.conv1, x if block.first else F.relu(x))))
    return F.avg_pool2d(h, 2) + F.avg_pool2d(conv(block.skip, x), 2)


def test_the_encoder_is_the_loop_over_frames_and_blocks() -> None:
    network, context = predictor(), clips()
    found: list[list[Tensor]] = [[] for _ in network.encoder.blocks]
    for c in range(C):
        x = context[:, c]
        for number, block in enumerate(network.encoder.blocks):
            x = literal_block(block, x)
            found[number].append(x)
    states = network.encoder(context)
    assert list(states) == [0, 1]
    for number, stacked in enumerate(reversed(found)):  # the smallest features are the first stage's
        conv = network.encoder.states[number]
        expected = F.relu(F.conv2d(torch.cat(stacked, dim=1), conv.weight, conv.bias, padding=1))
        torch.testing.assert_close(states[number], expected, rtol=0, atol=1e-10)
    assert [tuple(state.shape[1:]) for state in states.values()] == [(8, 4, 4), (8, 8, 8)]


def test_the_encoder_of_the_published_size_reaches_every_stage() -> None:
    """64x64 in three stages from 8x8, widths of the discriminator: 2 ch, 4 ch and 8 ch at 32, 16 and 8 pixels."""
    config = PRESETS["trivd-gan-fp"].model
    with torch.device("meta"):
        network = build_generator(config, 1)
        states = network.encoder(torch.empty(1, 5, 3, 64, 64))
    assert [tuple(state.shape[1:]) for state in states.values()] == [(960, 8, 8), (960, 16, 16), (480, 32, 32)]
    assert [conv.in_channels for conv in network.encoder.states] == [5 * 1024, 5 * 512, 5 * 256]
    assert network.generator.first.project.weight.shape == (960 * 8 * 8, 256)


def test_the_states_are_those_that_the_units_begin_with() -> None:
    network, context = predictor(), clips()
    seen: list[Tensor] = []
    for unit in network.generator.units:
        unit.recurrent.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    network(context, noise())
    expected = network.encoder(context)
    assert len(seen) == len(expected)
    assert all(torch.equal(ours, expected[number]) for number, ours in enumerate(seen))


def test_a_convolution_stands_between_the_recurrent_unit_and_the_blocks() -> None:
    network = predictor()
    made: dict[str, Tensor] = {}
    stage = network.generator.units[0]
    stage.recurrent.register_forward_hook(lambda module, args, output: made.__setitem__("states", output[0]))
    stage.block1.register_forward_pre_hook(lambda module, args: made.__setitem__("given", args[0]))
    network(clips(), noise())
    conv = stage.convolution
    assert conv.kernel_size == (3, 3)
    expected = F.conv2d(made["states"].flatten(0, 1), conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(made["given"].flatten(0, 1), expected, rtol=0, atol=1e-10)


# ---- what follows the context --------------------------------------------------------------------


@pytest.mark.parametrize("unit", UNITS)
def test_the_frames_that_follow(unit: str) -> None:
    network, context, z = predictor(unit), clips(), noise()
    video = network(context, z)
    assert video.shape == (2, T, 3, SIZE, SIZE)
    assert video.abs().max() <= 1
    first = network.predict(context, z, 2)
    torch.testing.assert_close(first, video[:, :2], rtol=0, atol=1e-10)
    alone = network(context[1:], z[1:])
    torch.testing.assert_close(alone, video[1:], rtol=0, atol=1e-10)


@pytest.mark.parametrize("unit", ["ConvGRU", "TSRU_p"])
def test_the_order_of_the_context_and_each_of_its_frames_count(unit: str) -> None:
    network, context, z = predictor(unit), clips(), noise()
    video = network(context, z)
    assert (network(context.flip(1), z) - video).abs().amax((1, 2, 3, 4)).min() > 1e-4
    for c in range(C):
        changed = context.clone()
        changed[0, c] = -changed[0, c]
        difference = (network(changed, z) - video).abs().amax((2, 3, 4))
        assert (difference[0] > 1e-6).all()  # all frames of that clip
        assert difference[1].max() < 1e-10
    assert (network(context, -z) - video).abs().max() > 1e-4


def test_a_predictor_has_no_classes() -> None:
    """The class of all samples is 0, so e(0) joins z in every conditional norm (DVD-GAN appendix B.4)."""
    network = predictor()
    with pytest.raises(ValueError, match="no classes"):
        network(clips(), noise(), torch.tensor([0, 0]))
    seen: list[Tensor] = []
    stage = network.generator.units[0]
    stage.block1.norm1.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    network(clips(), noise())
    embedding = network.generator.condition.embed.weight
    assert embedding.shape == (1, 3)
    assert torch.equal(seen[0], torch.cat((noise(), embedding.expand(2, -1)), dim=1))


@pytest.mark.parametrize("shape", [(2, C - 1, 3, SIZE, SIZE), (2, C, 1, SIZE, SIZE), (2, C, 3, SIZE, 8)])
def test_a_context_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"expected \(B, {C}, 3, {SIZE}, {SIZE}\)"):
        predictor()(torch.zeros(shape, dtype=torch.float64), noise())


def test_the_table_of_statistics_is_the_generators() -> None:
    network = predictor()
    network.rows = RowLayout(2, 1)
    assert network.generator.rows == RowLayout(2, 1)
    assert network.context == C


# ---- motion fields (section 4.4) -----------------------------------------------------------------


def point_kernels(unit: nn.Module, tap: int) -> None:
    """Make all kernels of a unit take the pixel `tap` = 3 m + n of the nine around."""
    with torch.no_grad():
        unit.kernels.basis.weight.zero_()
        unit.kernels.basis.bias.zero_()
        unit.kernels.basis.bias.unflatten(0, (9, 9))[:, tap] = 1000


@pytest.mark.parametrize(("coarse", "fine"), [((0, 1), (1, 0)), ((2, 2), (1, 1)), ((1, 2), (0, 0))])
def test_known_kernels_have_a_known_flow(coarse: tuple[int, int], fine: tuple[int, int]) -> None:
    """A pixel from above has moved down. Units work at a quarter and a half of the video's size."""
    network = predictor(spectral_norm=False)
    for stage, (m, n) in zip(network.generator.units, (coarse, fine), strict=True):
        point_kernels(stage.recurrent, 3 * m + n)
    video, flow = network.flows(clips(), noise(), T)
    right, down = (4 * (1 - coarse[axis]) + 2 * (1 - fine[axis]) for axis in (1, 0))
    assert flow.shape == (2, T, 2, SIZE, SIZE)
    expected = torch.tensor([right, down]).to(flow)[:, None, None].expand_as(flow)
    torch.testing.assert_close(flow, expected, rtol=0, atol=1e-6)
    assert torch.equal(video, network.predict(clips(), noise(), T))


def test_hooks_are_gone_after_flows() -> None:
    network = predictor()
    network.flows(clips(), noise(), 2)
    assert not any(stage.recurrent._forward_hooks for stage in network.generator.units)


def test_units_that_do_not_warp_have_no_flow() -> None:
    network = predictor("ConvGRU")
    with pytest.raises(ValueError, match="ConvGRU does not warp"):
        network.flows(clips(), noise(), 2)
    assert not any(stage.recurrent._forward_hooks for stage in network.generator.units)


# ---- fusion with the frame before (ours) ---------------------------------------------------------


def test_fusion_is_the_loop_over_frames_and_pixels() -> None:
    """x_t = u w(x_{t-1}; theta) + (1 - u) c, the first x the last frame of the context."""
    torch.manual_seed(0)
    fusion = FrameFusion(2, 3, spectral=False).double()
    randomise_biases(fusion)
    features, content = torch.randn(1, 2, 2, 4, 4).double(), torch.randn(1, 2, 3, 4, 4).double()
    frame = torch.randn(1, 3, 4, 4).double()
    made = fusion(features, content, frame)
    for t in range(2):
        kernels = fusion.kernels(features[:, t]).softmax(1)[0]
        update = torch.sigmoid(fusion.update(features[:, t]))[0, 0]
        padded, expected = F.pad(frame, (1,) * 4)[0], torch.empty(3, 4, 4).double()
        for y in range(4):
            for x in range(4):
                around = padded[:, y : y + 3, x : x + 3].flatten(1)
                warped = around @ kernels[:, y, x]
                expected[:, y, x] = update[y, x] * warped + (1 - update[y, x]) * content[0, t, :, y, x]
        torch.testing.assert_close(made[0, t], expected, rtol=0, atol=1e-10)
        frame = expected[None]


def test_fusion_begins_with_the_last_frame() -> None:
    network, context, z = predictor(frame_kernel=5, spectral_norm=False), clips(), noise()
    fusion = network.generator.fusion
    with torch.no_grad():
        for layer in (fusion.kernels, fusion.update):
            layer.weight.zero_()
        fusion.kernels.bias.zero_()
        fusion.kernels.bias[12] = 1000  # every pixel from itself
        fusion.update.bias.fill_(1000)  # and nothing new
    video = network(context, z)
    torch.testing.assert_close(video, context[:, -1:].expand_as(video), rtol=0, atol=1e-8)


def test_flow_of_fused_frames_is_that_of_their_own_kernels() -> None:
    network = predictor("ConvGRU", frame_kernel=5, spectral_norm=False)
    fusion = network.generator.fusion
    with torch.no_grad():
        fusion.kernels.weight.zero_()
        fusion.kernels.bias.zero_()
        fusion.kernels.bias[5 * 4 + 1] = 1000  # from two pixels below and one to the left
    video, flow = network.flows(clips(), noise(), T)
    expected = torch.tensor([1.0, -2.0]).to(flow)[:, None, None].expand_as(flow)
    torch.testing.assert_close(flow, expected, rtol=0, atol=1e-6)
    assert torch.equal(video, network.predict(clips(), noise(), T))
    torch.testing.assert_close(network.predict(clips(), noise(), 2), video[:, :2], rtol=0, atol=1e-10)
