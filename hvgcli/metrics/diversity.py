"""Diversity of the variations of one clip (hp-VAE-GAN section 6, measure C2; Shaham et al. 2019, SinGAN).

The standard deviation of each voxel's values in CIELAB over many generated videos, averaged over all voxels and
divided by the standard deviation of the values of the training video. The paper averages it over 25 training
videos with 50 variations each.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from hvgcli.errors import DataError

# IEC 61966-2-1: linear sRGB -> XYZ, rows X, Y, Z, for the white point D65 (2 degrees).
_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
_KNEE = 6 / 29  # CIE 15: below it, the cube root of lightness is a straight line


def srgb_to_lab(colours: Tensor) -> Tensor:
    """CIELAB of sRGB colours: uint8 (..., 3) -> float64 (..., 3).

    L* lies in [0, 100], a* and b* within about [-108, 99] over all sRGB colours. White point D65.
    """
    encoded = colours.double() / 255
    linear = torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    matrix = torch.tensor(_XYZ, dtype=torch.float64)
    # White is (1, 1, 1), so the rows' sums are the white point: every grey has a* = b* = 0 exactly.
    relative = linear @ (matrix / matrix.sum(1, keepdim=True)).T
    line = relative / (3 * _KNEE**2) + 4 / 29
    x, y, z = torch.where(relative > _KNEE**3, relative.clamp(min=0) ** (1 / 3), line).unbind(-1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim=-1)


def lab_diversity(videos: Iterable[Tensor], real: Tensor) -> float:
    """0 for copies of one video; about 1 for videos of independent voxels with the spread of the real one.

    The paper says "intensity values (in LAB space)": here the deviations of L*, a* and b* are taken one by one
    and averaged, over the generated videos and over the real one alike (our reading; for grey videos it is that
    of L* alone). Deviations are of the population (ddof=0). The videos are read once; memory is two videos in
    float64, whatever their number.

    Args:
        videos: at least two generated uint8 (T, H, W, 3) of one shape: an iterator, or a stack (N, T, H, W, 3).
        real  : uint8 (T', H', W', 3): the clip that they are variations of; it may have another shape.

    Raises:
        DataError: fewer than two videos, shapes that differ, values that are not uint8, or a real clip of one colour.
    """
    spread = _deviation(real).mean().item()
    if spread == 0:
        raise DataError("the real clip has one colour only: diversity is measured against its own variation")
    return _deviation_over_videos(videos).mean().item() / spread


def _deviation(video: Tensor) -> Tensor:
    """(3,): over all voxels, per channel of CIELAB."""
    _check(video)
    return srgb_to_lab(video).flatten(0, -2).std(0, unbiased=False)


def _deviation_over_videos(videos: Iterable[Tensor]) -> Tensor:
    """(T, H, W, 3): of each voxel's L*, a*, b* over the videos, in one pass (Welford 1962)."""
    mean = squares = torch.zeros(())
    count = 0
    for video in videos:
        _check(video)
        if count and video.shape != mean.shape:
            raise DataError(
                f"diversity needs videos of one shape, and got {tuple(mean.shape)} and {tuple(video.shape)}"
            )
        values = srgb_to_lab(video)
        count += 1
        change = values - mean
        mean = mean + change / count
        squares = squares + change * (values - mean)
    if count < 2:
        raise DataError(f"diversity needs at least 2 generated videos, and got {count}: generate more")
    return (squares / count).sqrt()


def _check(video: Tensor) -> None:
    if video.dtype != torch.uint8 or video.ndim < 2 or video.shape[-1] != 3 or video.numel() == 0:
        raise DataError(f"diversity needs uint8 videos (T, H, W, 3), and got {video.dtype} {tuple(video.shape)}")
