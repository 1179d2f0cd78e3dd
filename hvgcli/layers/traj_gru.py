"""K-TrajGRU: TrajGRU with kernel-based warping (TrIVD-GAN appendix F.2, equations 16-22)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hvgcli.layers.recurrence import input_parts, shared, split_channels, split_weights, unrolled
from hvgcli.layers.warping import FactorisedKernels, warp
from hvgcli.layers.weights import conv2d


class KTrajGRU(nn.Module):
    """All gates see the warped state, the last equation the unwarped one:

    theta = f(h, x)        h~ = w(h; theta)
    r = sigmoid(W_r * [h~; x] + b_r)        u = sigmoid(W_u * [h~; x] + b_u)
    c = tanh(W_c * [r h~; x] + b_c)         h' = u h + (1 - u) c
    """

    def __init__(self, channels: int, *, spectral: bool) -> None:
        super().__init__()
        self.channels = channels
        self.kernels = FactorisedKernels(channels, spectral=spectral)
        self.reset = conv2d(2 * channels, channels, spectral=spectral)
        self.update = conv2d(2 * channels, channels, spectral=spectral)
        self.candidate = conv2d(2 * channels, channels, spectral=spectral)

    def forward(self, x: Tensor, state: Tensor | None, steps: int | None = None) -> tuple[Tensor, Tensor]:
        """See `hvgcli.layers.units`."""
        channels = self.channels
        layers = (*self.kernels.first, self.reset, self.update, self.candidate)
        on_h, on_x, bias = split_weights(layers, channels)
        parts = input_parts(x, on_x, bias, steps)
        sizes = (len(bias) - 3 * channels, 2 * channels, channels)
        from_h, from_warped, from_reset = (shared(weight, parts[0]) for weight in on_h.split(sizes))
        kernels = self.kernels.ready(parts[0])

        def step(h: Tensor, part: Tensor) -> Tensor:
            theta_x, gates_x, c_x = split_channels(part, sizes)
            warped = warp(h, kernels(from_h(h) + theta_x))
            r, u = split_channels((from_warped(warped) + gates_x).sigmoid(), (channels, channels))
            c = torch.tanh(from_reset(r * warped) + c_x)
            return torch.lerp(c, h, u)

        return unrolled(step, parts, state, channels)
