"""Convolutional gated recurrent unit (Ballas et al. 2015, as written in DVD-GAN appendix B.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvgcli.layers.layout import to_frames, to_video
from hvgcli.layers.weights import conv2d


class ConvGRU(nn.Module):
    """Keeps the number of channels:

        r = sigmoid(W_r * [h; x] + b_r)        u = sigmoid(W_u * [h; x] + b_u)
        c = relu(W_c * [x; r h] + b_c)         h' = u h + (1 - u) c

    The parts of W_r, W_u, W_c that act on x do not wait for h: they run once for all timesteps.
    """

    def __init__(self, channels: int, *, spectral: bool) -> None:
        super().__init__()
        self.reset = conv2d(2 * channels, channels, spectral=spectral)
        self.update = conv2d(2 * channels, channels, spectral=spectral)
        self.candidate = conv2d(2 * channels, channels, spectral=spectral)

    def forward(self, x: Tensor, h: Tensor | None, steps: int | None = None) -> tuple[Tensor, Tensor]:
        """`(B, T, C, H, W)`, state `(B, C, H, W)` or None (zeros) -> all states `(B, T, C, H, W)`, last state.

        With `steps`, x is `(B, 1, C, H, W)`, the same input for that many timesteps.
        """
        w_r, w_u, w_c = self.reset.weight, self.update.weight, self.candidate.weight
        channels = w_r.shape[0]
        on_x = torch.cat((w_r[:, channels:], w_u[:, channels:], w_c[:, :channels]))
        on_h = torch.cat((w_r[:, :channels], w_u[:, :channels]))
        on_rh = w_c[:, channels:]
        bias = torch.cat((self.reset.bias, self.update.bias, self.candidate.bias))
        inputs = to_video(F.conv2d(to_frames(x), on_x, bias, padding=1), len(x))  # (B, T, 3C, H, W)
        per_step = inputs.unbind(1) if steps is None else [inputs[:, 0]] * steps
        states = []
        for step_input in per_step:
            gates, proposal = step_input.split((2 * channels, channels), dim=1)
            if h is None:  # a zero state: only its input counts
                u, c = torch.sigmoid(gates[:, channels:]), torch.relu(proposal)
                h = c - u * c
            else:
                r, u = torch.sigmoid(gates + F.conv2d(h, on_h, padding=1)).chunk(2, dim=1)
                c = torch.relu(proposal + F.conv2d(r * h, on_rh, padding=1))
                h = torch.lerp(c, h, u)
            states.append(h.permute(0, 2, 3, 1))
        assert h is not None
        return torch.stack(states, dim=1).permute(0, 1, 4, 2, 3), h
