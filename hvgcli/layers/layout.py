"""The one memory order of the package: a video is `(B, T, C, H, W)`, stored B, T, H, W, C.

Stored so, its frames `(B*T, C, H, W)` are `torch.channels_last` and its volume `(B, C, T, H, W)` is
`torch.channels_last_3d`: the functions here return views of one memory, never copies, when their
input is in that order (and copy once when it is not).
"""

from __future__ import annotations

import torch
from torch import Tensor


def as_video_order(video: Tensor) -> Tensor:
    """The same `(B, T, C, H, W)` video, copied to B, T, H, W, C memory when it is in another order."""
    return video.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def to_frames(video: Tensor) -> Tensor:
    """`(B, T, C, H, W)` -> its frames `(B*T, C, H, W)`, channels last; frames of one video stay together."""
    return as_video_order(video).flatten(0, 1)


def to_video(frames: Tensor, batch: int) -> Tensor:
    """Frames `(B*T, C, H, W)` -> the `(B, T, C, H, W)` video of `batch` samples."""
    memory = frames.permute(0, 2, 3, 1).contiguous()  # (B*T, H, W, C)
    return memory.unflatten(0, (batch, -1)).permute(0, 1, 4, 2, 3)


def to_volume(video: Tensor) -> Tensor:
    """`(B, T, C, H, W)` -> `(B, C, T, H, W)`, channels last."""
    return as_video_order(video).transpose(1, 2)


def to_timeline(video: Tensor) -> Tensor:
    """`(B, T, C, H, W)` -> `(B, C, T, H*W)`, channels last.

    A convolution over time alone is a (k, 1) convolution on this image, which runs on the fast 2D
    path where the equal 3D convolution does not (small batches in float32).
    """
    return as_video_order(video).permute(0, 1, 3, 4, 2).flatten(2, 3).permute(0, 3, 1, 2)


def from_timeline(timeline: Tensor, size: tuple[int, int]) -> Tensor:
    """`(B, C, T, H*W)` -> `(B, T, C, H, W)`; the inverse of `to_timeline`."""
    memory = timeline.permute(0, 2, 3, 1).contiguous()  # (B, T, H*W, C)
    return memory.unflatten(2, size).permute(0, 1, 4, 2, 3)


def join_time(*parts: Tensor) -> Tensor:
    """Videos `(B, n, C, H, W)` one after the other, in B, T, H, W, C memory."""
    return torch.cat([part.permute(0, 1, 3, 4, 2) for part in parts], dim=1).permute(0, 1, 4, 2, 3)


def own_frames(video: Tensor) -> Tensor:
    """A copy `(B, n, C, H, W)` of a few frames that does not keep the memory of the video they are from."""
    memory = video.permute(0, 1, 3, 4, 2).clone(memory_format=torch.contiguous_format)
    return memory.permute(0, 1, 4, 2, 3)
