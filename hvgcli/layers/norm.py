"""Batch norm with its statistics per timestep, conditional or not, and standing statistics.

In training the mean and variance are taken over (B, H, W) for each timestep and channel (HVG
appendix A: "per-frame mean and standard deviation"). At inference each frame is normalised by a row
of a table recorded over many passes (`hvgcli.sampling.statistics`); a missing table is an error,
never a silent fallback to the statistics of the batch.

Where a batch is spread over processes, `synchronised` makes the statistics those of the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hvgcli.errors import WeightsError
from hvgcli.layers.layout import as_video_order
from hvgcli.layers.weights import full_precision, linear

EPS = 1e-5


def _rows(video: Tensor) -> Tensor:
    """`(B, T, C, H, W)` -> its memory `(B, T, H*W, C)`."""
    return as_video_order(video).permute(0, 1, 3, 4, 2).flatten(2, 3)


def _wide(x: Tensor) -> Tensor:
    """In the precision that sums are taken in: at least float32."""
    return x if x.dtype == torch.float64 else x.float()


def _total(sums: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """`sums` added up over the processes, in place; without a group they are the total already."""
    if group is not None:
        dist.all_reduce(sums, group=group)
    return sums


def _count(rows: Tensor, group: dist.ProcessGroup | None) -> int:
    """Values for each (t, c) of `(B, T, P, C)` in all processes, which have equally many."""
    return rows.shape[0] * rows.shape[2] * (1 if group is None else group.size())


def moments(video: Tensor, group: dist.ProcessGroup | None = None) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance `(T, C)` of `(B, T, C, H, W)` over B, H, W, in float32 or wider.

    With a `group`, over the videos of all its processes, each of which must call this with equally many.
    """
    wide = _wide(_rows(video))
    count = _count(wide, group)
    mean = _total(wide.sum(2).sum(0), group) / count
    # Shifted by the mean before squaring: E[x^2] - E[x]^2 cancels where |mean| >> std.
    centred = wide - mean[None, :, None]
    return mean, _total(centred.square_().sum(2).sum(0), group) / count


def _affine(x: Tensor, scale: Tensor, shift: Tensor, width: int) -> Tensor:
    """x * scale + shift for memory `(B, T, P, C)`, with `scale` and `shift` `(b, T, C)`, b = B or 1.

    The parameters are repeated over a row of `width` pixels first: with a few channels alone, the inner
    loops are too short to be fast (measured for 16 channels: 11.6 ms, and 1.1 ms so).
    """

    def row(parameter: Tensor) -> Tensor:
        return parameter.to(x.dtype).repeat(1, 1, width)[:, :, None]  # (b, T, 1, W*C)

    lines = x.reshape(*x.shape[:2], -1, width * x.shape[-1])  # (B, T, H, W*C)
    return torch.addcmul(row(shift), lines, row(scale)).reshape(x.shape)


class _TimestepNorm(torch.autograd.Function):
    """max(0, gain * (x - mean_t) / std_t + bias) in one piece, with its closed-form gradient.

    Autograd of the same formula keeps four video-sized tensors and passes over memory nine times;
    this keeps the input and the output.
    """

    @staticmethod
    def forward(
        ctx: Any, video: Tensor, gain: Tensor, bias: Tensor, group: dist.ProcessGroup | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = _rows(video)  # (B, T, P, C)
        mean, var = moments(video, group)
        inverse = torch.rsqrt(var + EPS)  # (T, C)
        scale = gain[:, None] * inverse  # (B, T, C)
        y = _affine(x, scale, bias[:, None] - mean * scale, video.shape[-1]).relu_()
        ctx.save_for_backward(x, y, gain, mean, inverse)
        ctx.size, ctx.group = video.shape[-2:], group
        ctx.mark_non_differentiable(mean, var)
        return y.unflatten(2, ctx.size).permute(0, 1, 4, 2, 3), mean, var

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, y, gain, mean, inverse = ctx.saved_tensors
        g = torch.ops.aten.threshold_backward(_rows(grads[0]), y, 0)
        sum_g, sum_gx = _wide(g).sum(2), _wide(g * x).sum(2)  # (B, T, C)
        sum_gn = (sum_gx - mean * sum_g) * inverse  # sums of g times the normalised x
        # What each process's loss feels of the shared mean and variance is felt by the inputs of all of them.
        on_moments = torch.stack(((gain[:, None] * sum_g).sum(0), (gain[:, None] * sum_gn).sum(0)))
        mean_g, mean_gn = _total(on_moments, ctx.group) / _count(x, ctx.group)  # (T, C) each
        # d/dx of the normalised value: inverse * (gain*g - mean_g - normalised * mean_gn)
        on_x = -inverse.square() * mean_gn
        rest = inverse * (mean * inverse * mean_gn - mean_g)
        width = ctx.size[1]
        on_g = _affine(g, gain[:, None] * inverse, torch.zeros_like(rest)[None], width)
        grad = _affine(x, on_x[None], rest[None], width).add_(on_g)
        grad = grad.unflatten(2, ctx.size).permute(0, 1, 4, 2, 3)
        return grad, sum_gn.sum(1).to(gain.dtype), sum_g.sum(1).to(gain.dtype), None


class TimestepNorm(nn.Module):
    """Batch norm per timestep, then ReLU; gain and bias from a condition, or learned without one.

    Conditional: gain = 1 + W_g c, bias = W_b c with c = [z; e(y)] (HVG appendix B.1).

    Every norm of the networks here is followed by a ReLU, so the ReLU is part of it.
    """

    def __init__(self, channels: int, cond_dim: int | None, *, spectral: bool) -> None:
        """`cond_dim`: size of the condition, or None for an unconditional norm."""
        super().__init__()
        self.channels = channels
        self.cond_dim = cond_dim
        if cond_dim is None:
            self.weight = nn.Parameter(torch.ones(channels))
            self.bias = nn.Parameter(torch.zeros(channels))
        else:
            self.to_gain = linear(cond_dim, channels, spectral=spectral, bias=False)
            self.to_bias = linear(cond_dim, channels, spectral=spectral, bias=False)
        self.table: tuple[Tensor, Tensor] | None = None  # mean, var (rows, C)
        self.observe: Any = None  # callback(mean (T, C), var (T, C)) while statistics are recorded
        self.group: dist.ProcessGroup | None = None  # set by `synchronised` alone

    def affine(self, cond: Tensor) -> tuple[Tensor, Tensor]:
        """Gain and bias `(B, C)` for the condition `(B, cond_dim)`, in the parameters' precision."""
        if self.cond_dim is None:
            return self.weight.expand(len(cond), -1), self.bias.expand(len(cond), -1)
        with full_precision(cond):
            return 1 + self.to_gain(cond), self.to_bias(cond)

    def forward(self, video: Tensor, cond: Tensor, rows: Tensor | None) -> Tensor:
        """`(B, T, C, H, W) -> (B, T, C, H, W)`.

        `cond` is `(B, cond_dim)`; `rows` `(T,)` are the rows of the standing table for these frames,
        or None to use the statistics of this batch.
        """
        gain, bias = self.affine(cond)
        if rows is None:
            y, mean, var = _TimestepNorm.apply(video, gain, bias, self.group)
            if self.observe is not None:
                self.observe(mean, var)
            return y
        if self.table is None:
            raise WeightsError("these weights have no standing statistics: run `hvg stats MODEL` first")
        mean, var = (part.index_select(0, rows) for part in self.table)  # (T, C)
        scale = gain[:, None] * torch.rsqrt(var + EPS)  # (B, T, C)
        y = _affine(_rows(video), scale, bias[:, None] - mean * scale, video.shape[-1]).relu_()
        return y.unflatten(2, video.shape[-2:]).permute(0, 1, 4, 2, 3)


@contextmanager
def synchronised(module: nn.Module, group: dist.ProcessGroup | None) -> Iterator[None]:
    """Within, the norms of `module` take their batch statistics over all processes of `group`, gradient included.

    All processes must then run the module forward and backward together, each on equally many videos.
    It ends with the block, so that what one process does alone later (samples, standing statistics)
    waits for nobody. Without a group nothing is changed.
    """
    norms = [part for part in module.modules() if isinstance(part, TimestepNorm)] if group is not None else []
    for norm in norms:
        norm.group = group
    try:
        yield
    finally:
        for norm in norms:
            norm.group = None
