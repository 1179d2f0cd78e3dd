"""Convolutions of volumes with fewer frames than the kernel: their gradients in bfloat16 are those of float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hvgcli.layers.volume import convolve


def gradients(x: Tensor, weight: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Of half the squared result, at the weight and at x."""
    x, weight = x.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_()
    loss = convolve(x, weight, None).double().square().sum() / 2
    return [gradient.double() for gradient in torch.autograd.grad(loss, (weight, x))]


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("channels", [8, 32])
def test_gradients_in_bfloat16(channels: int, frames: int, kernel: int) -> None:
    torch.manual_seed(frames)
    x = torch.randn(1, channels, frames, 8, 10)
    weight = torch.randn(channels, channels, kernel, kernel, kernel) / (channels * kernel**3) ** 0.5
    for _ in range(3):
        leftover = [torch.full((channels, channels, kernel, kernel, kernel), 1e30) for _ in range(4)]
        del leftover  # what is not written shows what was there
        for ours, exact in zip(gradients(x, weight, torch.bfloat16), gradients(x, weight, torch.float64), strict=True):
            torch.testing.assert_close(ours, exact, atol=0.02 * float(exact.abs().max()), rtol=0)
