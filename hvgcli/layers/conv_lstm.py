"""Convolutional LSTM (Shi et al. 2015) as the baseline of TrIVD-GAN appendix F.3."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvgcli.layers.recurrence import input_parts, shared, split_channels, split_weights, unrolled
from hvgcli.layers.weights import conv2d


class ConvLSTM(nn.Module):
    """Half of the channels are the hidden state h, half the memory cell m; ReLU where tanh is usual:

        i = sigmoid(W_i * [h; x] + b_i)        f = sigmoid(W_f * [h; x] + b_f)
        o = sigmoid(W_o * [h; x] + b_o)        g = relu(W_g * [h; x] + b_g)
        m' = f m + i g                         h' = o relu(m')

    The state and the outputs are [h; m]. No peepholes: the paper has none in its comparison.
    """

    def __init__(self, channels: int, *, spectral: bool) -> None:
        super().__init__()
        if channels % 2:
            raise ValueError(f"got {channels} channels, expected an even number: half are h and half the memory cell")
        self.channels, half = channels, channels // 2
        self.input = conv2d(half + channels, half, spectral=spectral)
        self.forget = conv2d(half + channels, half, spectral=spectral)
        self.output = conv2d(half + channels, half, spectral=spectral)
        self.candidate = conv2d(half + channels, half, spectral=spectral)

    def forward(self, x: Tensor, state: Tensor | None, steps: int | None = None) -> tuple[Tensor, Tensor]:
        """See `hvgcli.layers.units`."""
        half = self.channels // 2
        layers = (self.input, self.forget, self.output, self.candidate)
        on_h, on_x, bias = split_weights(layers, half)
        parts = input_parts(x, on_x, bias, steps)
        from_h = shared(on_h, parts[0])

        def step(state: Tensor, part: Tensor) -> Tensor:
            h, memory = split_channels(state, (half, half))
            gates, g = split_channels(from_h(h) + part, (3 * half, half))
            i, f, o = split_channels(gates.clone(memory_format=torch.channels_last).sigmoid_(), (half, half, half))
            memory = f * memory + i * F.relu(g)
            return torch.cat((o * F.relu(memory), memory), dim=1)

        return unrolled(step, parts, state, self.channels)
