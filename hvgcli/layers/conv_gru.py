"""Convolutional gated recurrent unit (Ballas et al. 2015, as written in DVD-GAN appendix B.1)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvgcli.layers.recurrence import batch_first, mirrored, time_first
from hvgcli.layers.weights import conv2d


def _unfilled(like: Tensor, steps: int, channels: int) -> Tensor:
    """`(steps, B, channels, H, W)` of the size of `(T, B, C, H, W)`, each step dense and channels last."""
    _, batch, _, height, width = like.shape
    return like.new_empty((steps, batch, height, width, channels)).permute(0, 1, 4, 2, 3)


class _Recurrence(torch.autograd.Function):
    """All timesteps at once for training, with the weight gradients of all timesteps in one convolution.

    Autograd of the plain loop computes a weight gradient at every timestep and adds them up; here the
    way back through time only carries the gradient of the state. Every step writes its part of one
    T, B, H, W, C memory for all steps, so nothing is stacked afterwards.
    """

    @staticmethod
    def forward(ctx: Any, gates_x: Tensor, candidate_x: Tensor, h: Tensor, on_h: Tensor, on_rh: Tensor) -> Tensor:
        """x-parts of [r; u] `(T, B, 2C, H, W)` and c `(T, B, C, H, W)`, first state `(B, C, H, W)` -> all states."""
        steps, channels = candidate_x.shape[0], candidate_x.shape[2]
        states = _unfilled(candidate_x, steps + 1, channels)  # with the first one
        gates, candidates = _unfilled(candidate_x, steps, 2 * channels), _unfilled(candidate_x, steps, channels)
        states[0].copy_(h)
        for t in range(steps):
            h, gate, c = states[t], gates[t], candidates[t]
            torch.add(F.conv2d(h, on_h, padding=1), gates_x[t], out=gate).sigmoid_()
            r, u = gate.chunk(2, dim=1)
            torch.add(F.conv2d(r * h, on_rh, padding=1), candidate_x[t], out=c).relu_()
            torch.lerp(c, h, u, out=states[t + 1])
        ctx.save_for_backward(states, gates, candidates, on_h, on_rh)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        states, gates, candidates, on_h, on_rh = ctx.saved_tensors
        back_h, back_rh = (mirrored(weight) for weight in (on_h, on_rh))
        channels = candidates.shape[2]
        d_gates, d_candidates = torch.empty_like(gates), torch.empty_like(candidates)
        dh = torch.zeros_like(states[0])
        for t in reversed(range(len(candidates))):
            h, c, d_gate, d_c = states[t], candidates[t], d_gates[t], d_candidates[t]
            r, u = gates[t].chunk(2, dim=1)
            dh = dh + grads[0][t]
            kept = dh * u
            torch.ops.aten.threshold_backward.grad_input(dh - kept, c, 0, grad_input=d_c)
            d_rh = F.conv2d(d_c, back_rh, padding=1)
            torch.ops.aten.sigmoid_backward.grad_input(d_rh * h, r, grad_input=d_gate[:, :channels])
            torch.ops.aten.sigmoid_backward.grad_input(dh * (h - c), u, grad_input=d_gate[:, channels:])
            dh = F.conv2d(d_gate, back_h, padding=1).addcmul_(d_rh, r).add_(kept)
        before = states[:-1]
        reset = (gates[:, :, :channels] * before).flatten(0, 1)
        d_on_h = torch.nn.grad.conv2d_weight(before.flatten(0, 1), on_h.shape, d_gates.flatten(0, 1), padding=1)
        d_on_rh = torch.nn.grad.conv2d_weight(reset, on_rh.shape, d_candidates.flatten(0, 1), padding=1)
        return d_gates, d_candidates, dh, d_on_h, d_on_rh


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
        on_h = torch.cat((w_r[:, :channels], w_u[:, :channels]))
        gates_on_x = torch.cat((w_r[:, channels:], w_u[:, channels:]))
        frames = time_first(x).flatten(0, 1)
        parts = []  # (T, B, 2C, H, W) of the gates, (T, B, C, H, W) of the candidate
        gates_bias = torch.cat((self.reset.bias, self.update.bias))
        for weight, bias in ((gates_on_x, gates_bias), (w_c[:, :channels], self.candidate.bias)):
            part = F.conv2d(frames, weight, bias, padding=1).unflatten(0, (-1, len(x)))
            parts.append(part if steps is None else part.expand(steps, -1, -1, -1, -1))
        if h is None:
            h = torch.zeros_like(parts[1][0])
        h = h.to(parts[1].dtype)  # a state from outside an autocast region
        # Channels last as the states are: wide convolutions gain up to a quarter on a processor.
        on_h, on_rh = (w.to(h.dtype, memory_format=torch.channels_last) for w in (on_h, w_c[:, channels:]))
        states = _Recurrence.apply(*parts, h, on_h, on_rh)
        return batch_first(states), states[-1]
