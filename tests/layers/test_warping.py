"""Kernel-based warping against appendix B of TrIVD-GAN, pixel by pixel in float64, and its properties."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from literal_warp import literal_kernels, literal_warp, literal_weights
from torch import Tensor

from hvgcli.layers.warping import (
    FactorisedKernels,
    PixelwiseKernels,
    combine,
    expected_flow,
    refine_flow,
    warp,
)

sizes = st.integers(1, 6)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kernels_of(batch: int, height: int, width: int, seed: int = 1) -> Tensor:
    return rand(batch, 9, height, width, seed=seed).softmax(dim=1)


def one_hot_kernels(tap: int, height: int, width: int) -> Tensor:
    """All pixels take the value at the one place of the kernel."""
    kernels = torch.zeros(1, 9, height, width, dtype=torch.float64)
    kernels[:, tap] = 1
    return kernels


@settings(deadline=None, max_examples=12)
@given(height=sizes, width=sizes, channels=st.integers(1, 3), seed=st.integers(0, 99))
def test_every_pixel_is_that_of_equation_11(height: int, width: int, channels: int, seed: int) -> None:
    h, kernels = rand(2, channels, height, width, seed=seed), kernels_of(2, height, width, seed + 100)
    expected = torch.stack([literal_warp(*sample) for sample in zip(h, kernels, strict=True)])
    torch.testing.assert_close(warp(h, kernels), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_the_memory_order_does_not_matter(memory: torch.memory_format) -> None:
    h, kernels = rand(2, 3, 4, 5), kernels_of(2, 4, 5)
    torch.testing.assert_close(warp(h.contiguous(memory_format=memory), kernels), warp(h, kernels))


@settings(deadline=None, max_examples=8)
@given(height=sizes, width=sizes, seed=st.integers(0, 99))
def test_gradients_of_state_and_kernels_are_those_of_equation_11(height: int, width: int, seed: int) -> None:
    h, kernels = rand(1, 2, height, width, seed=seed), rand(1, 9, height, width, seed=seed + 1)
    inputs = [h.requires_grad_(), kernels.requires_grad_()]
    weight = rand(1, 2, height, width, seed=seed + 2)
    expected = torch.autograd.grad((literal_warp(h[0], kernels[0]) * weight[0]).sum(), inputs)
    got = torch.autograd.grad((warp(h, kernels) * weight).sum(), inputs)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_gradcheck() -> None:
    h, kernels = rand(2, 2, 3, 4).requires_grad_(), kernels_of(2, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(warp, (h, kernels))
    assert torch.autograd.gradcheck(lambda h: warp(h, kernels.detach()), (h,))
    assert torch.autograd.gradcheck(lambda k: warp(h.detach(), k), (kernels,))


def test_the_identity_kernel_changes_nothing() -> None:
    h = rand(1, 3, 5, 4)
    assert torch.equal(warp(h, one_hot_kernels(4, 5, 4)), h)


@pytest.mark.parametrize("tap", range(9))
def test_a_kernel_with_one_weight_moves_the_picture(tap: int) -> None:
    h = rand(1, 2, 5, 6)
    down, right = tap // 3 - 1, tap % 3 - 1
    expected = torch.zeros_like(h)
    for i in range(5):
        for j in range(6):
            if 0 <= i + down < 5 and 0 <= j + right < 6:
                expected[:, :, i, j] = h[:, :, i + down, j + right]
    assert torch.equal(warp(h, one_hot_kernels(tap, 5, 6)), expected)


@settings(deadline=None, max_examples=10)
@given(height=sizes, width=sizes, chosen=st.integers(0, 3), seed=st.integers(0, 99))
def test_a_constant_selection_is_a_plain_convolution(height: int, width: int, chosen: int, seed: int) -> None:
    h, basis = rand(1, 3, height, width, seed=seed), rand(1, 4, 9, seed=seed + 1)
    selection = F.one_hot(torch.full((1, height, width), chosen), 4).permute(0, 3, 1, 2).double()
    filters = basis[0, chosen].view(1, 1, 3, 3).expand(3, -1, -1, -1)
    expected = F.conv2d(h, filters, padding=1, groups=3)
    torch.testing.assert_close(warp(h, combine(basis, selection)), expected, rtol=1e-12, atol=1e-12)


def test_per_pixel_weights_are_those_of_equation_12() -> None:
    basis, selection = rand(2, 9, 9), rand(2, 9, 3, 4, seed=1)
    expected = torch.stack([literal_weights(*sample) for sample in zip(basis, selection, strict=True)])
    torch.testing.assert_close(combine(basis, selection), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    h, kernels = rand(2, 8, 5, 4).to(dtype), kernels_of(2, 5, 4).float()
    got = warp(h, kernels)
    assert got.dtype == dtype
    assert torch.equal(got, warp(h.float(), kernels).to(dtype))


@pytest.mark.parametrize(("make", "factorised"), [(FactorisedKernels, True), (PixelwiseKernels, False)])
@pytest.mark.parametrize(("height", "width"), [(5, 7), (8, 8), (2, 3)])
def test_kernels_are_those_of_appendix_f1(
    make: type[FactorisedKernels] | type[PixelwiseKernels], factorised: bool, height: int, width: int
) -> None:
    torch.manual_seed(0)
    network = make(2, spectral=False).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    frames = rand(3, 4, height, width)
    first = torch.cat([layer(frames) for layer in network.first], dim=1)
    got = network.ready(first)(first)
    layers = dict(network.named_parameters())
    expected = torch.stack([literal_kernels(factorised, layers, sample) for sample in frames])
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)
    assert (got > 0).all()
    torch.testing.assert_close(got.sum(dim=1), torch.ones(3, height, width, dtype=torch.float64))


def test_flow_points_where_the_content_goes() -> None:
    from_the_left, from_above, still = (one_hot_kernels(tap, 2, 3)[0] for tap in (3, 1, 4))
    right, down = expected_flow(torch.stack((from_the_left, from_above, still))).unbind(dim=1)
    assert right[:, 0, 0].tolist() == [1, 0, 0]
    assert down[:, 0, 0].tolist() == [0, 1, 0]


def test_flow_is_the_mean_over_the_places_of_the_kernel() -> None:
    kernels = kernels_of(2, 3, 4)
    flow = expected_flow(kernels)
    assert flow.shape == (2, 2, 3, 4)
    for i in range(3):
        for j in range(4):
            weights = kernels[1, :, i, j]
            right = sum(-(place % 3 - 1) * weights[place] for place in range(9))
            down = sum(-(place // 3 - 1) * weights[place] for place in range(9))
            torch.testing.assert_close(flow[1, :, i, j], torch.stack((right, down)), rtol=1e-12, atol=1e-12)  # type: ignore[arg-type]


def test_a_coarse_flow_counts_in_finer_pixels() -> None:
    coarse = torch.zeros(1, 2, 2, 3)
    coarse[:, 0], coarse[:, 1] = 0.5, -0.25
    fine = torch.full((1, 2, 4, 9), 0.125)
    refined = refine_flow(coarse, fine)
    torch.testing.assert_close(refined[:, 0], torch.full((1, 4, 9), 0.5 * 3 + 0.125))
    torch.testing.assert_close(refined[:, 1], torch.full((1, 4, 9), -0.25 * 2 + 0.125))
