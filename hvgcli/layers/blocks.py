"""Residual blocks of the generators and discriminators (HVG appendix B)."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvgcli.layers.conv_gru import ConvGRU
from hvgcli.layers.layout import from_timeline, join_time, own_frames, to_frames, to_timeline, to_video, to_volume
from hvgcli.layers.norm import TimestepNorm
from hvgcli.layers.weights import conv2d


class TemporalConv(nn.Module):
    """Convolution over time alone, kernel 3, that can be fed a video piece by piece.

    Frames beyond the ends of the video are zero. A piece that is not the last gives one frame less
    than was fed, because the newest frame still waits for its successor.
    """

    reach = 1  # frames of context on each side

    def __init__(self, channels: int, *, spectral: bool) -> None:
        super().__init__()
        self.conv = conv2d(channels, channels, (3, 1), spectral=spectral)

    def forward(self, video: Tensor, tail: Tensor | None, last: bool) -> tuple[Tensor, Tensor]:
        """New frames `(B, n, C, H, W)` and the kept ones -> finished frames, frames to keep.

        `tail` is what the call before returned, None at the start of a video; it is small and holds
        on to no larger memory.
        """
        if tail is None and last:
            y = F.conv2d(to_timeline(video), self.conv.weight, self.conv.bias, padding=(1, 0))
            return from_timeline(y, (video.shape[-2], video.shape[-1])), own_frames(video[:, :0])
        zero = torch.zeros_like(video[:, :1])
        known = join_time(zero if tail is None else tail, video, *([zero] if last else []))
        if known.shape[1] < 3:
            return video[:, :0], own_frames(known)
        y = F.conv2d(to_timeline(known), self.conv.weight, self.conv.bias)
        return from_timeline(y, (video.shape[-2], video.shape[-1])), own_frames(known[:, -2:])


class SeparableBlock3D(nn.Module):
    """x + spatial3x3(temporal3(relu(norm(x)))): the recurrent layer's stand-in (HVG appendix B.2)."""

    def __init__(self, channels: int, cond_dim: int, *, spectral: bool, hold_edges: bool = False) -> None:
        super().__init__()
        self.norm = TimestepNorm(channels, cond_dim, spectral=spectral)
        self.temporal = TemporalConv(channels, spectral=spectral)
        self.spatial = conv2d(channels, channels, spectral=spectral, hold_edges=hold_edges)

    def forward(self, x: Tensor, cond: Tensor, rows: Tensor | None, state: dict[str, Tensor], last: bool) -> Tensor:
        """New frames `(B, n, C, H, W)` -> the frames now finished; `state` starts empty and is updated."""
        h, state["hidden"] = self.temporal(self.norm(x, cond, rows), state.get("hidden"), last)
        known = x if "skip" not in state else join_time(state["skip"], x)
        done = h.shape[1]
        state["skip"] = own_frames(known[:, done:])
        if done == 0:
            return known[:, :0]
        return known[:, :done] + to_video(self.spatial(to_frames(h)), len(x))


class RecurrentBlock(nn.Module):
    """A ConvGRU where the upsampler has its separable 3D block (HVG appendix C, figure 9).

    Called like `SeparableBlock3D`; it waits for no later frame, and normalises nothing.
    """

    def __init__(self, channels: int, cond_dim: int, *, spectral: bool) -> None:
        super().__init__()
        self.recurrent = ConvGRU(channels, spectral=spectral)

    def forward(self, x: Tensor, cond: Tensor, rows: Tensor | None, state: dict[str, Tensor], last: bool) -> Tensor:
        """New frames `(B, n, C, H, W)` -> as many; `state` starts empty and is updated."""
        states, state["hidden"] = self.recurrent(x, state.get("hidden"))
        return states


def conv_of_doubled(conv: nn.Conv2d, frames: Tensor) -> Tensor:
    """A 3x3 convolution of frames doubled by nearest neighbour, without the doubled frames.

    Each output pixel meets only 2x2 different pixels, so it is the transposed convolution of stride 2 with
    the mirrored kernel summed over 2x2: 16 products a pixel of the input instead of 36. Making the kernel
    takes a while: it is for many frames at once, as in training (measured: half the time, both ways).
    """
    kernel = 4 * F.avg_pool2d(conv.weight.flip(2, 3), 2, stride=1, padding=1)  # (C', C, 4, 4)
    held = conv.padding_mode == "replicate"  # then one more pixel around the map, that is two around the doubled one
    frames = F.pad(frames, (1, 1, 1, 1), mode="replicate") if held else frames
    doubled = F.conv_transpose2d(frames, kernel.transpose(0, 1), stride=2, padding=3 if held else 1)
    # The bias apart: oneDNN takes longer for its gradient in a transposed convolution than for all the rest.
    return doubled.add_(conv.bias.to(doubled.dtype)[:, None, None])


def halve(x: Tensor) -> Tensor:
    """Average pooling over space of frames `(N, C, H, W)` or a volume `(B, C, T, H, W)`."""
    if x.dim() == 4:
        return F.avg_pool2d(x, 2)
    # Frame by frame: pooling in three dimensions would leave bfloat16.
    return to_volume(to_video(F.avg_pool2d(to_frames(x.transpose(1, 2)), 2), len(x)))


def halved_conv(conv: nn.Conv2d | nn.Conv3d, x: Tensor) -> Tensor:
    """A convolution of width 3 and then average pooling, in one: a kernel of width 4 with stride 2 over space.

    16 products where the two steps take 36, and no full-size result.
    """
    if x.dim() == 4:
        return F.conv2d(x, F.avg_pool2d(conv.weight, 2, stride=1, padding=1), conv.bias, stride=2, padding=1)
    kernel = F.avg_pool3d(conv.weight, (1, 2, 2), stride=1, padding=(0, 1, 1))  # (C', C, 3, 4, 4)
    return F.conv3d(x, kernel, conv.bias, stride=(1, 2, 2), padding=1)


class GeneratorBlock(nn.Module):
    """norm-relu-(double)-conv-norm-relu-conv plus skip, on all frames independently."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        cond_dim: int,
        *,
        double: bool,
        spectral: bool,
        hold_edges: bool = False,
    ) -> None:
        super().__init__()
        self.doubles = double
        self.norm1 = TimestepNorm(in_channels, cond_dim, spectral=spectral)
        self.conv1 = conv2d(in_channels, out_channels, spectral=spectral, hold_edges=hold_edges)
        self.norm2 = TimestepNorm(out_channels, cond_dim, spectral=spectral)
        self.conv2 = conv2d(out_channels, out_channels, spectral=spectral, hold_edges=hold_edges)
        learned = double or in_channels != out_channels
        self.skip = conv2d(in_channels, out_channels, 1, spectral=spectral) if learned else nn.Identity()

    def _enlarge(self, frames: Tensor) -> Tensor:
        return F.interpolate(frames, scale_factor=2.0, mode="nearest") if self.doubles else frames

    def _first(self, frames: Tensor, *, training: bool) -> Tensor:
        """The first convolution, of the doubled map where the block doubles."""
        if training and self.doubles:
            return conv_of_doubled(self.conv1, frames)
        return self.conv1(self._enlarge(frames))

    def forward(self, x: Tensor, cond: Tensor, rows: Tensor | None) -> Tensor:
        """`(B, T, C, H, W) -> (B, T, C', H', W')`, H' = 2H when doubling."""
        batch = len(x)
        h = self._first(to_frames(self.norm1(x, cond, rows)), training=rows is None)
        h = self.conv2(to_frames(self.norm2(to_video(h, batch), cond, rows)))
        # A 1x1 convolution and nearest-neighbour doubling commute: convolve the smaller map.
        return to_video(h + self._enlarge(self.skip(to_frames(x))), batch)


class _Conv(Protocol):
    def __call__(self, in_channels: int, out_channels: int, kernel: int = 3) -> nn.Module: ...


class DiscriminatorBlock(nn.Module):
    """relu-conv-relu-conv-(halve) plus skip; the first block of a network starts without the relu.

    The convolution is given: a 2D one for frames `(N, C, H, W)`, a 3D one for volumes `(B, C, T, H, W)`.
    Halving is average pooling over space, never over time (HVG appendix B.1).
    """

    def __init__(self, in_channels: int, out_channels: int, *, conv: _Conv, halve: bool, first: bool) -> None:
        super().__init__()
        self.halve = halve
        self.first = first
        self.conv1 = conv(in_channels, out_channels)
        self.conv2 = conv(out_channels, out_channels)
        learned = halve or in_channels != out_channels
        self.skip = conv(in_channels, out_channels, 1) if learned else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv1(x if self.first else F.relu(x)))
        if not self.halve:
            return self.conv2(h) + self.skip(x)
        # Average pooling and a 1x1 convolution commute: pool the fewer channels of the input.
        return halved_conv(self.conv2, h) + self.skip(halve(x))
