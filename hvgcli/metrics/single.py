"""Single-video and single-image Frechet distances: is a variation made of the parts of its one real clip?

SVFID (hp-VAE-GAN section 6, appendix A.2) is the Frechet distance between the features at all places of one real
clip and those of one generated clip; SIFID (Shaham et al. 2019, SinGAN) the same of an image. They need
a network that returns a map of features. For one that returns a vector per clip, the features of overlapping
space-time crops stand for the map: this is ours, and a number of it is named `SVFID[net-crops]`, never SVFID.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from hvgcli.errors import DataError
from hvgcli.metrics.frechet import frechet_of_features

Size = tuple[int, int, int]
"""Frames, height, width."""


def svfid(real: Tensor, fake: Tensor) -> float:
    """SVFID of one generated clip: the Frechet distance of its places' features to those of the real clip.

    The paper's network is C3D, on clips resized to 16 frames of 112x112; its mean over 50 generated clips is
    reported. Another network gives another scale: put its name beside the number.

    Args:
        real, fake: (P, d) and (P', d): a vector per place in space-time, or per crop (see `crops`); at least two each.

    Raises:
        DataError: other shapes, fewer than two places, or features that are not finite.
    """
    for name, places in (("real", real), ("generated", fake)):
        if places.ndim != 2 or len(places) < 2:
            raise DataError(
                f"the {name} clip needs features (places, dimensions) of 2 places, got {tuple(places.shape)}"
            )
    return frechet_of_features(real, fake)


def sifid(real: Tensor, fake: Tensor) -> float:
    """SIFID of generated images, averaged: (N, P, d) and (N, P', d), image n against image n.

    SinGAN's text takes the map before the second pooling of Inception v3, its code the 64-dimensional one before
    the first. As for `svfid`, the scale is that of the network.

    Raises:
        DataError: as `svfid`, or numbers of images that differ.
    """
    if real.ndim != 3 or fake.ndim != 3 or len(real) != len(fake) or not len(real):
        raise DataError(
            f"SIFID compares pairs of images (N, P, d), and got {tuple(real.shape)} and {tuple(fake.shape)}"
        )
    return sum(svfid(a, b) for a, b in zip(real, fake, strict=True)) / len(real)


@dataclass(frozen=True)
class CropGrid:
    """Where the crops of a clip lie: on a regular grid, and flush with each far end."""

    size: Size
    stride: Size
    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    """First frames, rows and columns of the crops; a crop lies at each combination."""

    @property
    def count(self) -> int:
        return len(self.starts[0]) * len(self.starts[1]) * len(self.starts[2])

    def __str__(self) -> str:
        """As printed beside the number: `27 crops of 8 frames of 64x48, stride 4 frames, 32x24`."""
        (frames, height, width), (step, down, right) = self.size, self.stride
        return f"{self.count} crops of {frames} frames of {width}x{height}, stride {step} frames, {right}x{down}"


def crop_grid(shape: Size, size: Size, stride: Size | None = None) -> CropGrid:
    """The grid of crops of a clip.

    Args:
        shape : of the clip: frames, height, width.
        size  : of a crop, at most `shape`.
        stride: between crops, from 1 to `size`, so that every voxel is in a crop; half of `size` by default.

    Raises:
        DataError: a size or a stride out of range, or a grid of one crop, which has no distance.
    """
    stride = stride or (max(1, size[0] // 2), max(1, size[1] // 2), max(1, size[2] // 2))
    if any(not 1 <= part <= whole for part, whole in zip(size, shape, strict=True)):
        raise DataError(f"crops of {size} (frames, height, width) do not fit in a clip of {shape}: take smaller crops")
    if any(not 1 <= step <= part for step, part in zip(stride, size, strict=True)):
        raise DataError(f"crops of {size} with stride {stride} leave gaps: take strides from 1 to the size")
    times, rows, columns = (_starts(*axis) for axis in zip(shape, size, stride, strict=True))
    grid = CropGrid(size, stride, (times, rows, columns))
    if grid.count < 2:
        raise DataError(f"a clip of {shape} (frames, height, width) has one crop of {size}: take smaller crops")
    return grid


def crops(video: Tensor, size: Size, stride: Size | None = None) -> Iterator[Tensor]:
    """The crops of a clip: uint8 (T, H, W, 3) -> uint8 views (t, h, w, 3), columns first, then rows, then frames.

    `crop_grid(video.shape[:3], size, stride)` describes them.

    Raises:
        DataError: when the first crop is taken: a video of another kind, or as `crop_grid`.
    """
    if video.dtype != torch.uint8 or video.ndim != 4:
        raise DataError(f"crops are taken of a uint8 video (T, H, W, 3), and got {video.dtype} {tuple(video.shape)}")
    frames, height, width = size
    for t, y, x in product(*crop_grid((video.shape[0], video.shape[1], video.shape[2]), size, stride).starts):
        yield video[t : t + frames, y : y + height, x : x + width]


def _starts(whole: int, part: int, step: int) -> tuple[int, ...]:
    """0, step, 2 step, ... as far as a part fits, and the last place of all."""
    return tuple(sorted({*range(0, whole - part + 1, step), whole - part}))
