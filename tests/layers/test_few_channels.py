"""Convolutions to and from a few channels, against torch's own and a slow loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hvgcli.layers import few_channels
from hvgcli.layers.few_channels import to_few, weight_gradient
from hvgcli.layers.volume import convolve

SIDES = st.sampled_from([(3, 3, 3), (1, 3, 3), (1, 1, 1), (3, 5, 5), (5, 7, 7)])
SIZES = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))


def reference(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv3d(x, weight, None, padding=[side // 2 for side in weight.shape[2:]])


def literal_weight_gradient(x: np.ndarray, g: np.ndarray, sides: tuple[int, int, int]) -> np.ndarray:
    """One sample, x `(I, T, H, W)` and g `(O, T, H, W)`: each product that meets each weight."""
    half = [side // 2 for side in sides]
    padded = np.pad(x, ((0, 0), *((h, h) for h in half)))
    gradient = np.zeros((len(g), len(x), *sides))
    for t, y, z in np.ndindex(*g.shape[1:]):
        patch = padded[:, t : t + sides[0], y : y + sides[1], z : z + sides[2]]
        gradient += g[:, None, t, y, z][..., None, None, None] * patch
    return gradient


@settings(deadline=None, max_examples=30)
@given(SIDES, SIZES, st.integers(1, 2), st.integers(1, 3), st.integers(1, 4), st.sampled_from([1, 200, 1 << 25]))
def test_sums_of_shifted_planes_are_the_convolution_in_whatever_parts(
    sides: tuple[int, int, int], size: tuple[int, int, int], batch: int, outputs: int, inputs: int, planes: int
) -> None:
    x, weight = torch.randn(batch, inputs, *size).double(), torch.randn(outputs, inputs, *sides).double()
    g = torch.randn(batch, outputs, *size).double()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(few_channels, "PLANES", planes)
        y, gradient = to_few(x, weight), weight_gradient(x, g, sides)
    torch.testing.assert_close(y, reference(x, weight))
    expected = sum(literal_weight_gradient(a.numpy(), b.numpy(), sides) for a, b in zip(x, g, strict=True))
    np.testing.assert_allclose(gradient.numpy(), expected, atol=1e-10)


@pytest.mark.parametrize(("inputs", "outputs"), [(5, 3), (3, 5), (5, 1), (1, 5), (2, 2)])
@pytest.mark.parametrize("sides", [(3, 3, 3), (1, 3, 3)])
def test_first_and_second_derivatives_are_those_of_torch(
    inputs: int, outputs: int, sides: tuple[int, int, int]
) -> None:
    x, weight = torch.randn(2, inputs, 2, 4, 3).double(), torch.randn(outputs, inputs, *sides).double()
    bias, at = torch.randn(outputs).double(), torch.randn(2, outputs, 2, 4, 3).double()
    found = []
    for function in (convolve, lambda x, weight, bias: reference(x, weight) + bias.view(-1, 1, 1, 1)):
        leaves = [leaf.clone().requires_grad_() for leaf in (x, weight, bias)]
        first = torch.autograd.grad((function(*leaves).tanh() * at).sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum(part.square().sum() for part in first), leaves)
        found.append((*first, *second))
    torch.testing.assert_close(*found)


def test_bfloat16_gives_sums_in_float32_nearer_than_rounded_ones() -> None:
    x, weight = torch.randn(1, 32, 3, 8, 8).bfloat16(), torch.randn(3, 32, 3, 3, 3).bfloat16()
    exact = reference(x.double(), weight.double())
    y = convolve(x, weight, None)
    assert y.dtype == torch.float32
    error = (y - exact).square().mean()
    assert 0 < error < (reference(x.float(), weight.float()).bfloat16() - exact).square().mean() * 2
    assert error.sqrt() < 0.01 * exact.std()


def test_gradients_have_the_types_of_what_they_belong_to() -> None:
    x, weight = torch.randn(1, 3, 2, 4, 4).bfloat16().requires_grad_(), torch.randn(6, 3, 3, 3, 3).requires_grad_()
    y = convolve(convolve(x, weight, None), torch.randn(2, 6, 3, 3, 3), None)
    y.sum().backward()
    assert x.grad is not None
    assert weight.grad is not None
    assert (x.grad.dtype, weight.grad.dtype) == (torch.bfloat16, torch.float32)
