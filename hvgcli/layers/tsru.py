"""Transformation-based spatial recurrent units (TrIVD-GAN section 3.2.2, equations 6-10, figure 6).

All of them warp the past state and mix it with new content:

    theta = f(h, x)        h~ = w(h; theta)        h' = u h~ + (1 - u) c

They differ in what c and u are computed from. The activation of c is ReLU, as in ConvGRU.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvgcli.layers.recurrence import input_parts, shared, split_channels, split_weights, unrolled
from hvgcli.layers.warping import FactorisedKernels, PixelwiseKernels, warp
from hvgcli.layers.weights import conv2d


def mixed(warped: Tensor, candidate: Tensor, update: Tensor) -> Tensor:
    """u h~ + (1 - u) c, with u before its sigmoid (equation 10)."""
    # A copy of its own first: the sigmoid of a slice of channels is up to seven times slower on a processor.
    share = update.clone(memory_format=torch.channels_last).sigmoid_()
    return torch.lerp(candidate, warped, share)


class _TSRU(nn.Module):
    """The layers of every order: f, W_c and W_u."""

    def __init__(
        self,
        channels: int,
        *,
        spectral: bool,
        kernels: type[FactorisedKernels] | type[PixelwiseKernels] = FactorisedKernels,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.kernels = kernels(channels, spectral=spectral)
        self.candidate = conv2d(2 * channels, channels, spectral=spectral)
        self.update = conv2d(2 * channels, channels, spectral=spectral)


class TSRUc(_TSRU):
    """c sees the warped state: c = relu(W_c * [h~; x] + b_c), u = sigmoid(W_u * [h; x] + b_u) (equations 8, 9)."""

    def forward(self, x: Tensor, state: Tensor | None, steps: int | None = None) -> tuple[Tensor, Tensor]:
        """See `hvgcli.layers.units`."""
        channels = self.channels
        on_h, on_x, bias = split_weights((*self.kernels.first, self.update, self.candidate), channels)
        parts = input_parts(x, on_x, bias, steps)
        first, kernels = len(bias) - 2 * channels, self.kernels.ready(parts[0])
        from_h, from_warped = shared(on_h[:-channels], parts[0]), shared(on_h[-channels:], parts[0])

        def step(h: Tensor, part: Tensor) -> Tensor:
            gates_x, c_x = split_channels(part, (first + channels, channels))
            theta, u = split_channels(from_h(h) + gates_x, (first, channels))
            warped = warp(h, kernels(theta))
            return mixed(warped, F.relu(from_warped(warped) + c_x), u)

        return unrolled(step, parts, state, channels)


class TSRUp(_TSRU):
    """theta, c and u in parallel: c = relu(W_c * [h; x] + b_c), u = sigmoid(W_u * [h; x] + b_u)."""

    def forward(self, x: Tensor, state: Tensor | None, steps: int | None = None) -> tuple[Tensor, Tensor]:
        """See `hvgcli.layers.units`."""
        channels = self.channels
        on_h, on_x, bias = split_weights((*self.kernels.first, self.update, self.candidate), channels)
        parts = input_parts(x, on_x, bias, steps)
        sizes = (len(bias) - 2 * channels, channels, channels)
        kernels, from_h = self.kernels.ready(parts[0]), shared(on_h, parts[0])

        def step(h: Tensor, part: Tensor) -> Tensor:
            theta, u, c = split_channels(from_h(h) + part, sizes)
            return mixed(warp(h, kernels(theta)), F.relu(c), u)

        return unrolled(step, parts, state, channels)


class TSRUs(_TSRU):
    """One after the other: c = relu(W_c * [h~; x] + b_c), u = sigmoid(W_u * [h~; c] + b_u)."""

    def forward(self, x: Tensor, state: Tensor | None, steps: int | None = None) -> tuple[Tensor, Tensor]:
        """See `hvgcli.layers.units`."""
        channels = self.channels
        on_h, on_x, bias = split_weights((*self.kernels.first, self.candidate), channels)
        parts = input_parts(x, on_x, bias, steps)
        kernels, from_h = self.kernels.ready(parts[0]), shared(on_h[:-channels], parts[0])
        # what of c and of u comes from the warped state is one convolution
        on_warped, on_c, bias_u = split_weights((self.update,), channels)
        from_warped = shared(torch.cat((on_h[-channels:], on_warped)), parts[0])
        from_c, bias_u = shared(on_c, parts[0]), bias_u.to(parts[0].dtype)[:, None, None]

        def step(h: Tensor, part: Tensor) -> Tensor:
            theta_x, c_x = split_channels(part, (len(bias) - channels, channels))
            warped = warp(h, kernels(from_h(h) + theta_x))
            c, u = split_channels(from_warped(warped), (channels, channels))
            c = F.relu(c + c_x)
            return mixed(warped, c, u + from_c(c) + bias_u)

        return unrolled(step, parts, state, channels)
