"""Convolutional gated recurrent unit (Ballas et al. 2015, as written in DVD-GAN appendix B.1)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvgcli.layers.layout import to_frames, to_video
from hvgcli.layers.weights import conv2d


def _time_first(video: Tensor) -> Tensor:
    """`(B, T, C, H, W)` -> `(T, B, C, H, W)`, each step dense and channels last."""
    return video.permute(1, 0, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def _batch_first(steps: Tensor) -> Tensor:
    """`(T, B, C, H, W)` -> `(B, T, C, H, W)` in B, T, H, W, C memory."""
    return steps.permute(1, 0, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def _stack(steps: list[Tensor]) -> Tensor:
    """Channels-last maps `(B, C, H, W)` -> `(T, B, C, H, W)`."""
    return torch.stack([step.permute(0, 2, 3, 1) for step in steps]).permute(0, 1, 4, 2, 3)


def _step(inputs: Tensor, h: Tensor, on_h: Tensor, on_rh: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One timestep: the x-parts of [r; u; c] `(B, 3C, H, W)` and h -> r, u, c, h'."""
    channels = h.shape[1]
    r, u = torch.sigmoid(inputs[:, : 2 * channels] + F.conv2d(h, on_h, padding=1)).chunk(2, dim=1)
    c = torch.relu(inputs[:, 2 * channels :] + F.conv2d(r * h, on_rh, padding=1))
    return r, u, c, torch.lerp(c, h, u)


class _Recurrence(torch.autograd.Function):
    """All timesteps at once for training, with the weight gradients of all timesteps in one convolution.

    Autograd of the plain loop computes a weight gradient at every timestep and adds them up; here the
    way back through time only carries the gradient of the state.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, h: Tensor, on_h: Tensor, on_rh: Tensor) -> Tensor:
        """x-parts `(T, B, 3C, H, W)`, first state `(B, C, H, W)` -> states `(T, B, C, H, W)`."""
        saved: list[tuple[Tensor, ...]] = []
        states = []
        for step in inputs.unbind(0):
            previous = h
            r, u, c, h = _step(step, previous, on_h, on_rh)
            saved.append((previous, r, u, c))
            states.append(h)
        ctx.steps = saved
        ctx.save_for_backward(on_h, on_rh)
        return _stack(states)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        on_h, on_rh = ctx.saved_tensors
        # A size-keeping convolution's input gradient is a convolution with the mirrored, transposed kernel.
        back_h, back_rh = (weight.flip(2, 3).transpose(0, 1).contiguous() for weight in (on_h, on_rh))
        dh = torch.zeros_like(grads[0][0])
        d_gates, d_proposals = [], []
        for grad, (previous, r, u, c) in zip(grads[0].flip(0).unbind(0), reversed(ctx.steps), strict=True):
            dh = dh + grad
            d_proposal = torch.ops.aten.threshold_backward(dh * (1 - u), c, 0)
            d_rh = F.conv2d(d_proposal, back_rh, padding=1)
            d_gate = torch.cat((d_rh * previous * r * (1 - r), dh * (previous - c) * u * (1 - u)), dim=1)
            dh = dh * u + d_rh * r + F.conv2d(d_gate, back_h, padding=1)
            d_gates.append(d_gate)
            d_proposals.append(d_proposal)
        gates, proposals = _stack(d_gates[::-1]), _stack(d_proposals[::-1])
        hidden = _stack([previous for previous, *_ in ctx.steps]).flatten(0, 1)
        reset = _stack([r * previous for previous, r, *_ in ctx.steps]).flatten(0, 1)
        d_on_h = torch.nn.grad.conv2d_weight(hidden, on_h.shape, gates.flatten(0, 1), padding=1)
        d_on_rh = torch.nn.grad.conv2d_weight(reset, on_rh.shape, proposals.flatten(0, 1), padding=1)
        return torch.cat((gates, proposals), dim=2), dh, d_on_h, d_on_rh


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
        bias = torch.cat((self.reset.bias, self.update.bias, self.candidate.bias))
        inputs = _time_first(to_video(F.conv2d(to_frames(x), on_x, bias, padding=1), len(x)))  # (T, B, 3C, H, W)
        if steps is not None:
            inputs = inputs.expand(steps, -1, -1, -1, -1)
        if h is None:
            h = torch.zeros_like(inputs[0, :, :channels])
        on_h, on_rh = on_h.to(inputs.dtype), w_c[:, channels:].to(inputs.dtype)
        states = _Recurrence.apply(inputs, h, on_h, on_rh)
        return _batch_first(states), states[-1]
