"""Separable attention over time, height and width, an optional block (DVD-GAN appendix A).

Self-attention over all N = T*H*W places of a video needs a table of N^2 weights. Attending over one axis
after the other needs max(H W T^2, H^2 W T, H W^2 T) of them, and still lets every place hear of every other.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hvgcli.layers.layout import as_video_order
from hvgcli.layers.weights import linear

TIME, HEIGHT, WIDTH = 1, 2, 3
"""Axes of a video's memory `(B, T, H, W, C)`, in the order in which they are attended over."""

Matrices = tuple[Tensor, Tensor, Tensor]
"""Q, K and V, each `(C, C)`."""


def self_attention(x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax[XQ (XK)^T] XV for every X `(N, C)` of x `(..., N, C)`; the products are not scaled, as in the paper."""
    scores = (x @ q) @ (x @ k).transpose(-2, -1)  # (..., N, N)
    return scores.softmax(dim=-1) @ (x @ v)


def attend(video: Tensor, axis: int, matrices: Matrices) -> Tensor:
    """Self-attention among the places of one axis that agree in the two others.

    video `(B, T, H, W, C)` -> the same shape; axis: TIME, HEIGHT or WIDTH. The axis is moved beside the
    channels before the leading ones are taken together: the transposition of the paper's footnote 4.
    """
    lines = video.transpose(axis, WIDTH).contiguous()  # (..., N of the axis, C)
    return self_attention(lines, *matrices).transpose(axis, WIDTH)


def separable_attention(video: Tensor, time: Matrices, height: Matrices, width: Matrices) -> Tensor:
    """The module of DVD-GAN appendix A: `(B, T, C, H, W)` -> the same shape.

    Each pass reads what the pass before it made. There is no skip connection and no output projection.
    """
    x = as_video_order(video).permute(0, 1, 3, 4, 2)  # (B, T, H, W, C)
    for axis, matrices in ((TIME, time), (HEIGHT, height), (WIDTH, width)):
        x = attend(x, axis, matrices)
    return x.permute(0, 1, 4, 2, 3)


class AxisWeights(nn.Module):
    """Q, K and V of one axis, orthogonal at first, with spectral norm if asked for."""

    def __init__(self, channels: int, *, spectral: bool) -> None:
        super().__init__()
        self.query, self.key, self.value = (linear(channels, channels, spectral=spectral, bias=False) for _ in range(3))

    def matrices(self) -> Matrices:
        """As the paper writes them: rows are inputs, where the weight of a linear layer has outputs there."""
        return self.query.weight.t(), self.key.weight.t(), self.value.weight.t()


class SeparableAttention(nn.Module):
    """x + gate * separable_attention(x), with a learned scalar gate that begins at zero.

    The gate and the skip connection are our choice, as in self-attention GANs (Zhang et al. 2018): the appendix
    defines only the attention, which alone could not be put into a network without changing all of it at once.
    """

    def __init__(self, channels: int, *, spectral: bool) -> None:
        super().__init__()
        self.time = AxisWeights(channels, spectral=spectral)
        self.height = AxisWeights(channels, spectral=spectral)
        self.width = AxisWeights(channels, spectral=spectral)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, video: Tensor) -> Tensor:
        """`(B, T, C, H, W)` -> the same shape, in B, T, H, W, C memory."""
        passes = (part.matrices() for part in (self.time, self.height, self.width))
        return as_video_order(video) + self.gate * separable_attention(video, *passes)
