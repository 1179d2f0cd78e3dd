"""Residual blocks: against plain formulas, and fed piece by piece; videos keep one memory order."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hvgcli.layers.blocks import (
    DiscriminatorBlock,
    GeneratorBlock,
    SeparableBlock3D,
    TemporalConv,
    conv_of_doubled,
    halve,
    halved_conv,
)
from hvgcli.layers.layout import from_timeline, to_frames, to_timeline, to_video, to_volume
from hvgcli.layers.norm import EPS, TimestepNorm
from hvgcli.layers.weights import conv2d, conv3d

C, DIM = 4, 3


def randomise(module: nn.Module) -> None:
    """Biases that are not zero, so that a bias at the wrong place shows."""
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.5)


def video(batch: int, frames: int, channels: int = C, size: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, frames, channels, size, size, generator=generator, dtype=torch.float64)


splits = st.lists(st.integers(1, 4), min_size=1, max_size=9).map(
    lambda sizes: [size for i, size in enumerate(sizes) if sum(sizes[: i + 1]) <= 9] or [1]
)


def pieces(whole: Tensor, sizes: list[int]) -> list[tuple[int, Tensor, bool]]:
    """(first frame, piece, is it the last)."""
    parts, start = whole.split(sizes, dim=1), 0
    found = []
    for number, part in enumerate(parts):
        found.append((start, part, number == len(parts) - 1))
        start += part.shape[1]
    return found


@settings(deadline=None, max_examples=40)
@given(splits)
def test_temporal_convolution_in_pieces_is_the_whole(sizes: list[int]) -> None:
    torch.manual_seed(0)
    layer = TemporalConv(C, spectral=False).double()
    randomise(layer)
    x = video(2, sum(sizes))
    weight = layer.conv.weight.unsqueeze(-1)  # (C, C, 3, 1, 1)
    expected = F.conv3d(x.transpose(1, 2), weight, layer.conv.bias, padding=(1, 0, 0)).transpose(1, 2)
    tail, out = None, []
    for _, part, last in pieces(x, sizes):
        y, tail = layer(part, tail, last)
        out.append(y)
    torch.testing.assert_close(torch.cat(out, dim=1), expected, rtol=1e-12, atol=1e-12)


def separable(norm_rows: int = 9) -> SeparableBlock3D:
    torch.manual_seed(0)
    block = SeparableBlock3D(C, DIM, spectral=False).double().eval()
    randomise(block)
    block.norm.table = (
        torch.randn(norm_rows, C, dtype=torch.float64),
        torch.rand(norm_rows, C, dtype=torch.float64) + 0.5,
    )
    return block


@settings(deadline=None, max_examples=40)
@given(splits)
def test_separable_block_in_pieces_is_the_whole(sizes: list[int]) -> None:
    block = separable()
    x, cond = video(2, sum(sizes)), torch.randn(2, DIM, dtype=torch.float64)
    rows = torch.arange(sum(sizes))
    weight = block.temporal.conv.weight.unsqueeze(-1)
    h = block.norm(x, cond, rows).transpose(1, 2)
    h = F.conv3d(h, weight, block.temporal.conv.bias, padding=(1, 0, 0))
    h = F.conv3d(h, block.spatial.weight.unsqueeze(2), block.spatial.bias, padding=(0, 1, 1))
    expected = x + h.transpose(1, 2)
    state: dict[str, Tensor] = {}
    out = [
        block(part, cond, rows[start : start + part.shape[1]], state, last) for start, part, last in pieces(x, sizes)
    ]
    torch.testing.assert_close(torch.cat(out, dim=1), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(block(x, cond, rows, {}, True), expected, rtol=1e-12, atol=1e-12)


def test_a_piece_waits_for_its_successor() -> None:
    block = separable()
    x, cond = video(1, 3), torch.zeros(1, DIM, dtype=torch.float64)
    state: dict[str, Tensor] = {}
    counts = [block(x[:, t : t + 1], cond, torch.tensor([t]), state, t == 2).shape[1] for t in range(3)]
    assert counts == [0, 1, 2]


def plain_norm(norm: TimestepNorm, x: Tensor, cond: Tensor) -> Tensor:
    mean = x.mean((0, 3, 4), keepdim=True)
    var = x.var((0, 3, 4), unbiased=False, keepdim=True)
    gain = (1 + cond @ norm.to_gain.weight.t())[:, None, :, None, None]
    bias = (cond @ norm.to_bias.weight.t())[:, None, :, None, None]
    return gain * (x - mean) / torch.sqrt(var + EPS) + bias


def frame_by_frame(function: nn.Module, x: Tensor) -> Tensor:
    return torch.stack([function(x[:, t]) for t in range(x.shape[1])], dim=1)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("out_channels", [C, 6])
def test_generator_block_is_norm_act_up_conv_norm_act_conv_and_skip(double: bool, out_channels: int) -> None:
    torch.manual_seed(0)
    block = GeneratorBlock(C, out_channels, DIM, double=double, spectral=False).double()
    randomise(block)
    x, cond = video(2, 3), torch.randn(2, DIM, dtype=torch.float64)
    up = nn.Upsample(scale_factor=2, mode="nearest") if double else nn.Identity()
    h = frame_by_frame(up, torch.relu(plain_norm(block.norm1, x, cond)))
    h = frame_by_frame(block.conv1, h)
    h = frame_by_frame(block.conv2, torch.relu(plain_norm(block.norm2, h, cond)))
    skip = frame_by_frame(block.skip, frame_by_frame(up, x))  # doubled first, as the papers draw it
    out = block(x, cond, None)
    assert out.shape == (2, 3, out_channels, 8 if double else 4, 8 if double else 4)
    torch.testing.assert_close(out, h + skip, rtol=1e-10, atol=1e-10)
    assert isinstance(block.skip, nn.Identity) == (not double and out_channels == C)


@pytest.mark.parametrize("volumetric", [False, True], ids=["2d", "3d"])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("halve", [False, True])
def test_discriminator_block_is_act_conv_act_conv_pool_and_skip(volumetric: bool, first: bool, halve: bool) -> None:
    torch.manual_seed(0)
    conv = partial(conv3d if volumetric else conv2d, spectral=False)
    block = DiscriminatorBlock(C, 6, conv=conv, halve=halve, first=first).double()
    randomise(block)
    x = torch.randn((2, C, 3, 8, 8) if volumetric else (5, C, 8, 8), dtype=torch.float64)

    def pool(y: Tensor) -> Tensor:
        if not halve:
            return y
        *rest, height, width = y.shape
        return y.reshape(*rest, height // 2, 2, width // 2, 2).mean((-3, -1))

    convolve = F.conv3d if volumetric else F.conv2d
    h = convolve(x if first else torch.relu(x), block.conv1.weight, block.conv1.bias, padding=1)
    h = convolve(torch.relu(h), block.conv2.weight, block.conv2.bias, padding=1)
    expected = pool(h) + pool(convolve(x, block.skip.weight, block.skip.bias))
    out = block(x)
    assert out.shape[-1] == (4 if halve else 8)
    assert out.shape[2:-2] == x.shape[2:-2]  # time is not pooled
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)


def in_order(frames: int = 3) -> Tensor:
    """A video in B, T, H, W, C memory."""
    return torch.randn(2, frames, 4, 6, C).permute(0, 1, 4, 2, 3)


def test_views_of_an_ordered_video_are_not_copies() -> None:
    x = in_order()
    frames, volume, timeline = to_frames(x), to_volume(x), to_timeline(x)
    assert frames.data_ptr() == volume.data_ptr() == timeline.data_ptr() == x.data_ptr()
    assert frames.is_contiguous(memory_format=torch.channels_last)
    assert volume.is_contiguous(memory_format=torch.channels_last_3d)
    assert timeline.is_contiguous(memory_format=torch.channels_last)
    assert to_video(frames, 2).data_ptr() == x.data_ptr()
    assert from_timeline(timeline, (4, 6)).data_ptr() == x.data_ptr()
    assert torch.equal(to_video(frames, 2), x)
    assert torch.equal(from_timeline(timeline, (4, 6)), x)


def test_a_video_in_another_order_is_copied_right() -> None:
    x = torch.randn(2, 3, C, 4, 6)
    assert torch.equal(to_frames(x), x.reshape(6, C, 4, 6))
    assert torch.equal(to_volume(x), x.transpose(1, 2))
    assert torch.equal(from_timeline(to_timeline(x), (4, 6)), x)
    assert to_frames(x).data_ptr() != x.data_ptr()


@pytest.mark.parametrize("double", [False, True])
def test_outputs_of_blocks_are_in_order(double: bool) -> None:
    x, cond = in_order(), torch.randn(2, DIM)
    block = GeneratorBlock(C, C, DIM, double=double, spectral=False)
    out = block(x, cond, None)
    assert to_frames(out).data_ptr() == out.data_ptr()
    out = SeparableBlock3D(C, DIM, spectral=False)(x, cond, None, {}, True)
    assert to_frames(out).data_ptr() == out.data_ptr()


def assert_same_with_gradients(ours: Tensor, theirs: Tensor, inputs: list[Tensor]) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1), dtype=ours.dtype)
    for got, wanted in zip(*(torch.autograd.grad(y, inputs, weights) for y in (ours, theirs)), strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("hold_edges", [False, True])
def test_convolution_of_the_doubled_map_without_the_doubled_map(hold_edges: bool) -> None:
    conv = conv2d(4, 6, spectral=False, hold_edges=hold_edges).double()
    randomise(conv)
    frames = video(1, 3, size=5).flatten(0, 1).requires_grad_()
    expected = conv(F.interpolate(frames, scale_factor=2.0, mode="nearest"))
    assert_same_with_gradients(conv_of_doubled(conv, frames), expected, [frames, conv.weight, conv.bias])


def test_convolution_and_pooling_in_one() -> None:
    plane, solid = conv2d(4, 6, spectral=False).double(), conv3d(4, 6, spectral=False).double()
    randomise(plane)
    randomise(solid)
    frames = video(1, 3, size=6).flatten(0, 1).requires_grad_()
    volume = to_volume(video(2, 3, size=6)).requires_grad_()
    expected = F.avg_pool2d(plane(frames), 2)
    assert_same_with_gradients(halved_conv(plane, frames), expected, [frames, plane.weight, plane.bias])
    expected = F.avg_pool3d(solid(volume), (1, 2, 2))
    assert_same_with_gradients(halved_conv(solid, volume), expected, [volume, solid.weight, solid.bias])
    assert_same_with_gradients(halve(volume), F.avg_pool3d(volume, (1, 2, 2)), [volume])


def test_a_doubling_block_is_the_same_in_training_and_at_inference() -> None:
    """Training convolves the small map, inference the doubled one; with the same moments they agree."""
    block = GeneratorBlock(C, 6, DIM, double=True, spectral=False).double()
    randomise(block)
    x, cond = video(2, 3), torch.randn(2, DIM, dtype=torch.float64)
    tables: list[tuple[TimestepNorm, tuple[Tensor, Tensor]]] = []
    for norm in (block.norm1, block.norm2):
        norm.observe = lambda mean, var, norm=norm: tables.append((norm, (mean, var)))
    trained = block(x, cond, None)
    for norm, table in tables:
        norm.table = table
    torch.testing.assert_close(block(x, cond, torch.arange(3)), trained, rtol=0, atol=1e-12)
