"""f_s, f_t and the pyramid of a video: the views of one clip that the levels of a hierarchy learn (HVG section 2).

A video is float (B, T, C, H, W) in [-1, 1], held in memory in the order B, T, H, W, C: its frames
(B*T, C, H, W) are a `channels_last` view of that memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from hvgcli.config import ModelConfig


def frames_of(video: torch.Tensor) -> torch.Tensor:
    """The frames (B*T, C, H, W) of a video (B, T, C, H, W), as a channels_last view.

    A video in another memory order is copied once.
    """
    batch, time, channels, height, width = video.shape
    memory = video.permute(0, 1, 3, 4, 2).contiguous()  # (B, T, H, W, C)
    return memory.view(batch * time, height, width, channels).permute(0, 3, 1, 2)


def video_of(frames: torch.Tensor, batch: int) -> torch.Tensor:
    """The video (B, T, C, H, W) of frames (B*T, C, H, W): the inverse of `frames_of`."""
    total, channels, height, width = frames.shape
    memory = frames.permute(0, 2, 3, 1).contiguous()  # (B*T, H, W, C)
    return memory.view(batch, total // batch, height, width, channels).permute(0, 1, 4, 2, 3)


def downsample_space(video: torch.Tensor, size: int | tuple[int, int]) -> torch.Tensor:
    """f_s: resize every frame, bilinear with antialiasing (HVG section 2).

    Args:
        video: float (B, T, C, H, W).
        size: height and width of the result in pixels; one number for a square.

    Returns:
        float (B, T, C, *size) in B, T, H, W, C memory order; `video` itself where the size is already that.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if (height, width) == tuple(video.shape[-2:]):
        return video
    frames = frames_of(video)
    if width == 1:  # torch 2.13 mixes up the rows of some maps that it resizes to a width of 1, never to a height of 1
        return video_of(_resized(frames.mT, (1, height)).mT, video.shape[0])
    return video_of(_resized(frames, (height, width)), video.shape[0])


def _resized(frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(frames, size=size, mode="bilinear", antialias=True, align_corners=False)


def subsample_time(video: torch.Tensor, step: int) -> torch.Tensor:
    """f_t: keep frames 0, step, 2 step, ... of a video (B, T, C, H, W), as a view (HVG section 2)."""
    return video[:, ::step]


def pyramid(video: torch.Tensor, config: ModelConfig, level: int) -> list[torch.Tensor]:
    """All views of a clip from level 1 up to `level`: x^l = f_s(f_t(x^{l+1})) (HVG section 2).

    Args:
        video: x^level, float (B, T, C, R, R) at that level's resolution and frame rate.
        config: the hierarchy, which gives strides and resolutions.
        level: 1..L, the level of `video`.

    Returns:
        [x^1, ..., x^level]; the last one is `video` itself.
    """
    views = [video]
    for upper in range(level, 1, -1):
        below = subsample_time(views[0], config.times_time(upper))
        views.insert(0, downsample_space(below, config.levels[upper - 2].resolution))
    return views
