"""Kernel-based warping of a hidden state (TrIVD-GAN section 3.2, appendices B and F.1).

The kernels of a state `(B, C, H, W)` are per-pixel weights `(B, k*k, H, W)`, the same for all channels, each
pixel's weights positive with sum 1: output pixel (i, j) is the weighted mean of the k x k inputs around it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from hvgcli.layers.recurrence import shared, split_channels
from hvgcli.layers.weights import conv2d, linear

KERNEL = 3
"""k, the width and height of the kernels (section 3.2.2)."""
POOLED = 4
"""Width and height of what is left of the features from which the set of kernels is made (F.1)."""


def exact(x: Tensor) -> Tensor:
    """float32 at least: nine products added up in bfloat16 lose digits, and on a processor time."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _padded(x: Tensor, margin: int) -> Tensor:
    """`(B, C, H, W)` -> `(B, H + 2 margin, W + 2 margin, C)`, zeros around."""
    return F.pad(exact(x.permute(0, 2, 3, 1)), (0, 0, margin, margin, margin, margin))


def _shifts(x: Tensor, size: int) -> list[Tensor]:
    """The size * size views `(B, H, W, C)` of x `(B, C, H, W)`, moved against each other: one padded copy."""
    height, width = x.shape[2:]
    padded = _padded(x, size // 2)
    return [padded[:, m : m + height, n : n + width] for m in range(size) for n in range(size)]


def _weighted_sum(h: Tensor, kernels: Tensor) -> Tensor:
    """Equation 11, `(B, C, H, W)` in the type of h: a running sum of shifted products."""
    weights = exact(kernels).unsqueeze(-1)  # (B, k*k, H, W, 1)
    views = _shifts(h, _width(kernels))
    total = views[0] * weights[:, 0]
    for number, view in enumerate(views[1:], start=1):
        total.addcmul_(view, weights[:, number])
    return total.permute(0, 3, 1, 2).to(h.dtype)


def _width(kernels: Tensor) -> int:
    return int(kernels.shape[-3] ** 0.5)


def _mirrored(kernels: Tensor) -> Tensor:
    """The kernels that carry a gradient back: pixel p weighs its neighbour p + d as p + d had weighed p."""
    size, (height, width) = _width(kernels), kernels.shape[2:]
    margin = size // 2
    padded = F.pad(kernels, (margin,) * 4)
    back = [
        padded[:, size * size - 1 - (m * size + n), m : m + height, n : n + width]
        for m in range(size)
        for n in range(size)
    ]
    return torch.stack(back, dim=1)


class _Warp(torch.autograd.Function):
    """Keeps the state and the kernels for the way back, not the k*k copies that autograd would keep."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, kernels: Tensor) -> Tensor:
        ctx.save_for_backward(h, kernels)
        return _weighted_sum(h, kernels)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        h, kernels = ctx.saved_tensors
        d_h = _weighted_sum(grads[0], _mirrored(kernels)) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return d_h, None
        grad = exact(grads[0].permute(0, 2, 3, 1))
        product, d_kernels = torch.empty_like(grad), torch.empty_like(exact(kernels))
        for number, view in enumerate(_shifts(h, _width(kernels))):
            torch.sum(torch.mul(grad, view, out=product), dim=-1, out=d_kernels[:, number])
        return d_h, d_kernels.to(kernels.dtype)


def warp(h: Tensor, kernels: Tensor) -> Tensor:
    """Every pixel becomes the weighted mean of those around it (appendix B, equation 11).

    h `(B, C, H, W)`; kernels `(B, k*k, H, W)`, k odd, weight m*k + n on the pixel m - (k-1)/2 lower and
    n - (k-1)/2 further right; zeros outside, as in every convolution here. Sums are in float32 at least.
    """
    return _Warp.apply(h, kernels)  # type: ignore[no-any-return, no-untyped-call]


def combine(basis: Tensor, selection: Tensor) -> Tensor:
    """Per-pixel weights of a set of kernels and a map of their shares (appendix B, equation 12).

    basis `(B, N, k*k)`, selection `(B, N, H, W)` -> `(B, k*k, H, W)`.
    """
    return torch.bmm(basis.transpose(1, 2), selection.flatten(2)).unflatten(2, selection.shape[2:])


def expected_flow(kernels: Tensor) -> Tensor:
    """Where the kernels say that the content went, in pixels of this resolution (section 4.4, figure 3).

    kernels `(..., k*k, H, W)` -> `(..., 2, H, W)`: motion to the right, motion down. A pixel that takes its
    value from its left neighbour shows content that moved one pixel to the right.
    """
    size = _width(kernels)
    offsets = torch.arange(size, device=kernels.device, dtype=kernels.dtype) - size // 2
    down, right = torch.meshgrid(offsets, offsets, indexing="ij")
    taken_from = torch.stack((right.flatten(), down.flatten()))  # (2, k*k)
    return -torch.einsum("dk,...khw->...dhw", taken_from, kernels)


def refine_flow(coarse: Tensor, fine: Tensor) -> Tensor:
    """A flow of a lower resolution with that of the next one added (section 4.4).

    coarse `(N, 2, h, w)` and fine `(N, 2, H, W)`, each in its own pixels -> `(N, 2, H, W)` in fine pixels.
    """
    up = F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=False)
    factors = up.new_tensor([fine.shape[3] / coarse.shape[3], fine.shape[2] / coarse.shape[2]])
    return up * factors[:, None, None] + fine


def _shares(logits: Tensor) -> Tensor:
    """Softmax over the channels of `(B, K, H, W)`, in float32 at least."""
    return exact(logits).softmax(dim=1)


class FactorisedKernels(nn.Module):
    """f of TSRU and K-TrajGRU: a set of N = k^2 kernels for the sample and each pixel's shares of them (F.1).

    Kernels: 3x3 convolution of [h; x], 4x4 adaptive max-pooling, ReLU, hidden layer, ReLU, N*k*k outputs,
    softmax over each kernel's k*k. (Pooling first is the same as after the ReLU, and less to do.)
    Selection: 3x3 convolution of [h; x], softmax over the N. The hidden layers have half as many channels
    or units as [h; x] has channels: our reading of F.1.
    """

    def __init__(self, channels: int, *, spectral: bool) -> None:
        super().__init__()
        count = taps = KERNEL**2
        self.features = conv2d(2 * channels, channels, spectral=spectral)
        self.selection = conv2d(2 * channels, count, spectral=spectral)
        self.hidden = linear(POOLED**2 * channels, channels, spectral=spectral)
        self.basis = linear(channels, count * taps, spectral=spectral)

    @property
    def first(self) -> tuple[nn.Conv2d, ...]:
        """The convolutions of [h; x], with the outputs of the one before those of the other."""
        return self.features, self.selection

    def ready(self, like: Tensor) -> Callable[[Tensor], Tensor]:
        """A function of the outputs of `first` `(B, C + N, H, W)` of one timestep -> kernels `(B, k*k, H, W)`."""
        hidden, basis = shared(self.hidden.weight, like), shared(self.basis.weight, like)
        biases = [bias.to(like.dtype) for bias in (self.hidden.bias, self.basis.bias)]

        def kernels(first: Tensor) -> Tensor:
            features, selection = split_channels(first, (self.features.out_channels, self.selection.out_channels))
            pooled = F.relu(F.adaptive_max_pool2d(features, POOLED)).flatten(1)  # (B, 16 C)
            logits = basis(F.relu(hidden(pooled) + biases[0])) + biases[1]
            basis_kernels = exact(logits).unflatten(1, (-1, KERNEL**2)).softmax(dim=2)  # (B, N, k*k)
            return combine(basis_kernels, _shares(selection))

        return kernels


class PixelwiseKernels(nn.Module):
    """f of PTSRU: three 3x3 convolutions with ReLU between them, softmax over the k*k weights of each pixel (F.1).

    Both hidden layers have half as many channels as [h; x]: our reading of F.1.
    """

    def __init__(self, channels: int, *, spectral: bool) -> None:
        super().__init__()
        self.features = conv2d(2 * channels, channels, spectral=spectral)
        self.hidden = conv2d(channels, channels, spectral=spectral)
        self.weights = conv2d(channels, KERNEL**2, spectral=spectral)

    @property
    def first(self) -> tuple[nn.Conv2d, ...]:
        """The convolution of [h; x]."""
        return (self.features,)

    def ready(self, like: Tensor) -> Callable[[Tensor], Tensor]:
        """A function of the outputs of `first` `(B, C, H, W)` of one timestep -> kernels `(B, k*k, H, W)`."""
        hidden, weights = shared(self.hidden.weight, like), shared(self.weights.weight, like)
        biases = [bias.to(like.dtype)[:, None, None] for bias in (self.hidden.bias, self.weights.bias)]

        def kernels(first: Tensor) -> Tensor:
            return _shares(weights(F.relu(hidden(F.relu(first)) + biases[0])) + biases[1])

        return kernels
