"""Convolutions, norm and enlarging of volumes, against torch's own and slow loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hvgcli.errors import WeightsError
from hvgcli.layers.volume import EPS, VolumeNorm, convolve, enlarge, require_statistics, transposed


def literal_convolution(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """One sample `(I, T, H, W)`, loop by loop, with zeros around it."""
    out, _, t, k, w = weight.shape
    padded = np.pad(x, ((0, 0), (t // 2,) * 2, (k // 2,) * 2, (w // 2,) * 2))
    y = np.zeros((out, *x.shape[1:]))
    for o, a, b, c in np.ndindex(*y.shape):
        y[o, a, b, c] = bias[o] + (weight[o] * padded[:, a : a + t, b : b + k, c : c + w]).sum()
    return y


@pytest.mark.parametrize("sides", [(3, 3, 3), (1, 3, 3), (1, 1, 1), (3, 5, 5)])
def test_convolution_is_the_literal_one(sides: tuple[int, int, int]) -> None:
    x, weight, bias = torch.randn(1, 2, 3, 4, 5).double(), torch.randn(3, 2, *sides).double(), torch.randn(3).double()
    expected = literal_convolution(x[0].numpy(), weight.numpy(), bias.numpy())
    np.testing.assert_allclose(convolve(x, weight, bias)[0].numpy(), expected, atol=1e-12)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 5), st.integers(1, 2), st.sampled_from([3, 5]))
def test_small_float32_samples_in_halves_are_convolved_as_whole_ones(
    frames: int, height: int, width: int, batch: int, kernel: int
) -> None:
    x, weight, bias = torch.randn(batch, 2, frames, height, width), torch.randn(4, 2, 3, kernel, kernel), torch.randn(4)
    expected = F.conv3d(x, weight, bias, padding=(1, kernel // 2, kernel // 2))
    torch.testing.assert_close(convolve(x, weight, bias), expected, atol=1e-4, rtol=1e-4)


@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 4),
    st.sampled_from([(2, 5), (5, 2), (3, 5), (5, 4)]),
    st.sampled_from([3, 5]),
    st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
)
def test_ends_are_held(frames: int, widths: tuple[int, int], kernel: int, dtype: torch.dtype) -> None:
    """Against torch's own padding, values and gradients; few channels and many, which take other ways."""
    into, out = widths
    x, weight = torch.randn(1, into, frames, 6, 7), torch.randn(out, into, kernel, kernel, kernel)
    bias, g = torch.randn(out), torch.randn(1, out, frames, 6, 7)
    margin = kernel // 2

    def gradients(held: bool) -> list[Tensor]:
        leaves = [part.clone().to(dtype if held else torch.float64).requires_grad_() for part in (x, weight, bias)]
        if held:
            y = convolve(*leaves, hold_ends=True)
        else:
            longer = F.pad(leaves[0], (0, 0, 0, 0, margin, margin), mode="replicate")
            y = F.conv3d(longer, leaves[1], leaves[2], padding=(0, margin, margin))
        y.backward(g.to(y.dtype))
        return [y.detach().double(), *(leaf.grad.double() for leaf in leaves if leaf.grad is not None)]

    tolerance = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 0.5}[dtype]
    for ours, expected in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(ours, expected, atol=tolerance, rtol=0.05 if dtype == torch.bfloat16 else 1e-4)


@pytest.mark.parametrize("sides", [(3, 3, 3), (1, 3, 3), (5, 3, 3)])
@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("hold_ends", [False, True])
def test_transposed_is_the_adjoint(sides: tuple[int, int, int], frames: int, hold_ends: bool) -> None:
    x, g = torch.randn(1, 2, frames, 5, 4).double(), torch.randn(1, 3, frames, 5, 4).double()
    weight = torch.randn(3, 2, *sides).double()
    made, back = convolve(x, weight, None, hold_ends=hold_ends), transposed(g, weight, hold_ends=hold_ends)
    torch.testing.assert_close((made * g).sum(), (x * back).sum())


def test_the_norm_has_statistics_of_the_batch_in_training_and_standing_ones_after() -> None:
    norm = VolumeNorm(2).double().train()
    norm.begin_recording()
    passes = [torch.randn(1, 2, 3, 4, 5).double() * (n + 1) + n for n in range(3)]
    for x in passes:
        y = norm(x)
        torch.testing.assert_close(y.mean((0, 2, 3, 4)), torch.zeros(2).double(), atol=1e-9, rtol=0)
        torch.testing.assert_close(y.var((0, 2, 3, 4), correction=0), torch.ones(2).double(), atol=1e-4, rtol=0)
    norm.end_recording(3)
    everything = torch.cat(passes).transpose(0, 1).flatten(1)
    mean, var = everything.mean(1), everything.var(1, correction=0)
    expected = (passes[0] - mean.view(2, 1, 1, 1)) / (var + EPS).sqrt().view(2, 1, 1, 1)
    torch.testing.assert_close(norm.eval()(passes[0]), expected, atol=1e-6, rtol=1e-6)
    assert int(norm.passes) == 3


def test_weights_without_standing_statistics_are_refused() -> None:
    with pytest.raises(WeightsError, match="no standing statistics"):
        require_statistics(VolumeNorm(2))


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 6))
def test_the_first_and_the_last_frame_stay(before: int, after: int, side: int) -> None:
    x = torch.randn(1, 3, before, side, side)
    y = enlarge(x, (after, side, side))
    torch.testing.assert_close(y[:, :, 0], x[:, :, 0])
    if after > 1:
        torch.testing.assert_close(y[:, :, -1], x[:, :, -1])


def test_enlarging_is_linear_over_time_and_keeps_the_place_of_areas_in_space() -> None:
    ramp = torch.arange(4.0).view(1, 1, 4, 1, 1)
    torch.testing.assert_close(enlarge(ramp, (7, 1, 1)).flatten(), torch.arange(7.0) / 2)
    across = torch.arange(4.0).view(1, 1, 1, 1, 4)
    finer = enlarge(across, (1, 1, 8)).flatten()
    torch.testing.assert_close(finer.view(4, 2).mean(1)[1:-1], torch.tensor([1.0, 2.0]))
