"""The feature network that is none: colour, texture and motion statistics of a video, 64 numbers.

It needs nothing downloaded. It knows nothing of what a video shows: two sets with the same colours,
edges and motion are equal to it. Numbers made with it carry its name, as FVD[frames].

Frames are x in [0, 1]; o = (L, A, B) are opponent channels, L = (R + G + B) / 3, A = R - G,
B = (R + G) / 2 - B. Every dimension is divided by about its standard deviation over natural clips
(`SCALES`), so that none rules a distance by its unit alone.

    0..2    means of L, A, B
    3..5    standard deviations of L, A, B
    6..8    skewness of L, A, B
    9..24   mean L in a 4x4 grid, row by row, less the mean of L
    25..32  square roots of the histogram of L in 8 bins (so that distances are Hellinger distances)
    33..38  colourfulness in 6 sectors of hue: mean of hypot(A, B) of the pixels whose hue is in it
    39..44  log mean absolute gradient of L, across and down, at full, half and quarter resolution
    45..47  log of root mean square over mean of those gradients: how sparse edges are, at each resolution
    48..53  log mean absolute change of L over 1, 2, 4 frames, at full and at quarter resolution
    54      log mean absolute second difference of L over frames: jerkiness
    55..56  log standard deviation over frames of a frame's mean L and of its standard deviation: flicker
    57..60  log mean absolute change over 1 frame in a 2x2 grid, less that of the whole frame
    61..62  mean velocity across and down (pixels a frame), one least-squares flow for the whole video
    63      log mean absolute change of L from the first frame to the last

A video shorter than a lag has no change over it: those dimensions are at the logarithm's floor.
"""

from __future__ import annotations

import hashlib
import math

import torch
import torch.nn.functional as F
from torch import Tensor

NAME = "frames"
VERSION = "frames/1"
DIMENSIONS = 64
FLOOR = 0.25 / 255  # added before a logarithm: a quarter of the least step of a pixel
PATCH_FRAMES, PATCH_SIDE = 4, 8  # of a place of `locations`

SCALES: tuple[tuple[str, int, float], ...] = (
    ("mean", 3, 0.12),
    ("deviation", 3, 0.05),
    ("skewness", 3, 1.0),
    ("grid", 16, 0.13),
    ("histogram", 8, 0.2),
    ("hue", 6, 0.04),
    ("gradient", 6, 0.7),
    ("sparseness", 3, 0.2),
    ("change", 6, 0.8),
    ("jerk", 1, 0.8),
    ("flicker", 2, 0.8),
    ("grid change", 4, 0.7),
    ("velocity", 2, 0.4),
    ("drift", 1, 0.7),
)
"""Name, dimensions and scale of each group, in order: rounded standard deviations over windows of natural clips."""


def opponent(frames: Tensor) -> Tensor:
    """uint8 (T, H, W, 3) RGB -> float32 (T, 3, H, W): L in [0, 1], A and B in [-1, 1].

    Whole numbers until the division: a grey pixel has A = B = 0 exactly, and no rounding decides its hue.
    """
    red, green, blue = frames.permute(3, 0, 1, 2).float()
    light, a, b = (red + green + blue) / 765, (red - green) / 255, (red + green - 2 * blue) / 510
    return torch.stack((light, a, b), dim=1)


def video_statistics(frames: Tensor) -> Tensor:
    """The 64 numbers of one video, uint8 (T, H, W, 3), as the module's docstring lists them: float32 (64,)."""
    channels = opponent(frames)
    light = channels[:, 0]
    scales = [light]
    for _ in range(2):
        scales.append(_halved(scales[-1]))
    groups = (
        *_moments(channels),
        _grid(light, 4) - light.mean(),
        _histogram(light),
        _hue(channels),
        _log(torch.stack([part for level in scales for part in _gradients(level)])),
        torch.stack([_sparseness(level) for level in scales]),
        _log(torch.stack([_change(level, lag) for level in (scales[0], scales[2]) for lag in (1, 2, 4)])),
        _log(_jerk(light))[None],
        _log(torch.stack((_spread(light.mean((1, 2))), _spread(light.flatten(1).std(1, unbiased=False))))),
        _grid_change(light),
        velocity(light),
        _log(_change(light, len(light) - 1))[None],
    )
    scaled = [group / scale for group, (_, _, scale) in zip(groups, SCALES, strict=True)]
    return torch.cat(scaled)


def _log(value: Tensor) -> Tensor:
    return (value + FLOOR).log()


def _halved(light: Tensor) -> Tensor:
    """(T, H, W) averaged over 2x2 pixels, as far as it can be halved."""
    step = (2 if light.shape[1] > 1 else 1, 2 if light.shape[2] > 1 else 1)
    return F.avg_pool2d(light[:, None], step)[:, 0]


def _moments(channels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, standard deviation and skewness of each of (T, 3, H, W)'s channels: three times (3,)."""
    flat = channels.transpose(0, 1).flatten(1)
    mean = flat.mean(1)
    away = flat - mean[:, None]
    deviation = away.square().mean(1).sqrt()
    return mean, deviation, away.pow(3).mean(1) / (deviation + FLOOR).pow(3)


def _grid(light: Tensor, cells: int) -> Tensor:
    """Means of (T, H, W) in a grid, row by row: (cells * cells,)."""
    return F.adaptive_avg_pool2d(light.mean(0)[None], cells).flatten()


def _histogram(light: Tensor) -> Tensor:
    bins = (light * 8).long().clamp_(max=7).flatten()
    return (torch.bincount(bins, minlength=8) / bins.numel()).sqrt()


def _hue(channels: Tensor) -> Tensor:
    a, b = channels[:, 1].flatten(), channels[:, 2].flatten()
    sector = ((torch.atan2(b, a) + math.pi) * (6 / (2 * math.pi))).long().clamp_(max=5)
    return torch.zeros(6, dtype=torch.float64).index_add_(0, sector, torch.hypot(a, b).double()).float() / a.numel()


def _gradients(light: Tensor) -> tuple[Tensor, Tensor]:
    """Mean absolute gradient of (T, H, W) across and down."""
    return _mean_size(light.diff(dim=2)), _mean_size(light.diff(dim=1))


def _mean_size(values: Tensor) -> Tensor:
    return values.abs().mean() if values.numel() else values.new_zeros(())


def _sparseness(light: Tensor) -> Tensor:
    steps = torch.cat((light.diff(dim=2).flatten(), light.diff(dim=1).flatten()))
    if not steps.numel():
        return light.new_zeros(())
    return ((steps.square().mean().sqrt() + FLOOR) / (steps.abs().mean() + FLOOR)).log()


def _change(light: Tensor, lag: int) -> Tensor:
    """Mean absolute change of (T, H, W) over `lag` frames; 0 where there are not so many."""
    return _mean_size(light[lag:] - light[:-lag]) if 0 < lag < len(light) else light.new_zeros(())


def _jerk(light: Tensor) -> Tensor:
    return _mean_size(light.diff(n=2, dim=0)) if len(light) > 2 else light.new_zeros(())


def _spread(values: Tensor) -> Tensor:
    return values.std(unbiased=False)


def _grid_change(light: Tensor) -> Tensor:
    if len(light) < 2:
        return light.new_zeros(4)
    steps = light.diff(dim=0).abs()
    return _log(_grid(steps, 2)) - _log(steps.mean())


def velocity(light: Tensor) -> Tensor:
    """(across, down) in pixels a frame of (T, H, W): the least-squares solution of dx u + dy v + dt = 0.

    Derivatives are central differences, of every frame but the last two rows and columns at the border; a
    weak pull to 0 decides where there is no edge. (Lucas and Kanade 1981, one window for the whole video.)
    """
    if len(light) < 2 or min(light.shape[1:]) < 3:
        return light.new_zeros(2)
    between = (light[1:] + light[:-1]) / 2
    across = (between[:, 1:-1, 2:] - between[:, 1:-1, :-2]) / 2
    down = (between[:, 2:, 1:-1] - between[:, :-2, 1:-1]) / 2
    change = light.diff(dim=0)[:, 1:-1, 1:-1]
    pull = 1e-5
    xx, yy, xy = across.square().mean() + pull, down.square().mean() + pull, (across * down).mean()
    xt, yt = (across * change).mean(), (down * change).mean()
    return torch.stack((xy * yt - yy * xt, xy * xt - xx * yt)) / (xx * yy - xy.square())


def place_statistics(frames: Tensor) -> Tensor:
    """What one video, uint8 (T, H, W, 3), looks like at each place: float32 (P, 9).

    A place is 8x8 pixels over 4 frames (over all frames, rows or columns where there are fewer); places do
    not overlap, and what is left over at the far ends is not used. Its numbers: means of L, A, B, their
    standard deviations, and the mean absolute differences of L across, down and over a frame, in 0..1.
    """
    channels = opponent(frames)
    light = channels[:, :1]
    steps = [_same_size(light.diff(dim=axis), axis) for axis in (3, 2, 0)]
    maps = torch.cat([channels, channels.square(), *(step.abs() for step in steps)], dim=1)  # (T, 9, H, W)
    patch = [min(PATCH_FRAMES, light.shape[0]), min(PATCH_SIDE, light.shape[2]), min(PATCH_SIDE, light.shape[3])]
    means = F.avg_pool3d(maps.transpose(0, 1)[None], patch)[0].flatten(1)  # (9, P)
    deviations = (means[3:6] - means[:3].square()).clamp_(min=0).sqrt()
    return torch.cat((means[:3], deviations, means[6:])).T.contiguous()


def _same_size(steps: Tensor, axis: int) -> Tensor:
    """Differences along an axis with a 0 after the last, so that maps keep their size."""
    padding = [0] * (2 * steps.ndim)
    padding[2 * (steps.ndim - 1 - axis) + 1] = 1
    return F.pad(steps, padding)


class FrameStatistics:
    """The statistics as a `FeatureNetwork`; each video by itself, so that no batch changes them."""

    name = NAME
    sha256 = hashlib.sha256(VERSION.encode()).hexdigest()
    classifier = False
    """Its numbers are not scores of classes: an inception score of them means nothing."""
    has_pooled = False

    def logits(self, video: Tensor) -> Tensor:
        """uint8 (N, T, H, W, 3) -> float32 (N, 64)."""
        return torch.stack([video_statistics(frames) for frames in video])

    def pooled(self, video: Tensor) -> Tensor | None:
        return None

    def both(self, video: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.logits(video), None

    def locations(self, video: Tensor) -> Tensor | None:
        """uint8 (N, T, H, W, 3) -> float32 (N, P, 9): `place_statistics` of each video."""
        return torch.stack([place_statistics(frames) for frames in video])
