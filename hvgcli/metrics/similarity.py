"""SSIM and PSNR of predicted frames, and the best of several predictions (TrIVD-GAN appendix C.1).

A future is not determined by its first frames, so l continuations of each real video are generated, and the one
with the highest SSIM averaged over its frames counts; its scores are reported per frame (Lee et al. 2018, SAVP).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from hvgcli.errors import DataError

WINDOW = 11  # Wang et al. 2004, section III
SIGMA = 1.5
K1, K2 = 0.01, 0.03
PEAK = 255.0


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity of frames: uint8 (..., H, W, C) twice -> float64 (...) in [-1, 1], 1 for equal frames.

    Wang et al. 2004, equation 13, on each channel: a Gaussian window of 11x11 pixels with sigma 1.5, K1 = 0.01,
    K2 = 0.03 and L = 255, variances of the population, only windows that lie wholly within the frame; averaged
    over the positions and the channels. The score of a video is the mean over its frames.

    Raises:
        DataError: shapes that differ, values that are not uint8, or frames smaller than the window.
    """
    _check(x, y)
    if min(x.shape[-3:-1]) < WINDOW:
        raise DataError(f"SSIM compares windows of {WINDOW}x{WINDOW} pixels: {_size(x)} is too small, use PSNR")
    flat = zip(x.flatten(0, -4), y.flatten(0, -4), strict=True) if x.ndim > 3 else [(x, y)]
    return torch.stack([_frame_ssim(a, b) for a, b in flat]).reshape(x.shape[:-3])


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of frames in dB: uint8 (..., H, W, C) twice -> float64 (...).

    10 log10(255^2 / mean squared error over the pixels and channels of a frame); infinite for equal frames.

    Raises:
        DataError: shapes that differ, or values that are not uint8.
    """
    _check(x, y)
    error = (x.double() - y.double()).square().mean((-3, -2, -1))
    return 10 * torch.log10(PEAK**2 / error)


def sample_scores(real: Tensor, samples: Iterable[Tensor], score: Callable[[Tensor, Tensor], Tensor] = ssim) -> Tensor:
    """Scores (l, T) of each frame of l predictions of one real video: uint8 (T, H, W, C) each, read one by one."""
    scores = [score(real, sample) for sample in samples]
    if not scores:
        raise DataError("the best of no predictions was asked: generate at least one")
    return torch.stack(scores)


def best_of(scores: Tensor, count: int) -> Tensor:
    """Scores per frame of the best of the first `count` predictions: (..., l, T) -> (..., T).

    Best is the highest mean over the frames; the first one of equals. For the curve of TrIVD-GAN figure 5, average
    over the real videos.

    Raises:
        DataError: fewer predictions than `count`, or `count` below 1.
    """
    if not 1 <= count <= scores.shape[-2]:
        raise DataError(f"the best of {count} was asked of {scores.shape[-2]} predictions: generate more, or ask fewer")
    best = scores[..., :count, :].mean(-1).argmax(-1)  # (...)
    index = best[..., None, None].expand(*best.shape, 1, scores.shape[-1])
    return scores.gather(-2, index).squeeze(-2)


def expected_best_of(scores: Tensor, count: int) -> Tensor:
    """Mean of `best_of` over all choices of `count` of the l predictions: (..., l, T) -> (..., T).

    Of l predictions every choice of `count` is as good as any other, so this has the expectation of `best_of` and
    less noise; with count = l it is `best_of`, with count = 1 the mean. Of the binomial(l, count) choices, the
    prediction of rank r (0 is the best) is the best one of binomial(l - 1 - r, count - 1).

    Raises:
        DataError: as `best_of`.
    """
    total = scores.shape[-2]
    if not 1 <= count <= total:
        raise DataError(f"the best of {count} was asked of {total} predictions: generate more, or ask fewer")
    order = scores.mean(-1).argsort(dim=-1, descending=True, stable=True)  # (..., l)
    ranked = scores.gather(-2, order[..., None].expand_as(scores))
    found = torch.zeros_like(ranked[..., 0, :])
    for rank in range(total - count + 1):  # a score without weight may be infinite
        found += math.comb(total - 1 - rank, count - 1) / math.comb(total, count) * ranked[..., rank, :]
    return found


NAMES = {"ssim": "SSIM", "psnr": "PSNR"}
SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ssim": ssim, "psnr": psnr}


def _frame_ssim(x: Tensor, y: Tensor) -> Tensor:
    """SSIM () of two frames (H, W, C)."""
    x, y = x.double(), y.double()
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return (luminance * structure).mean()


def _gaussian() -> list[float]:
    weights = [math.exp(-((i - WINDOW // 2) ** 2) / (2 * SIGMA**2)) for i in range(WINDOW)]
    return [weight / sum(weights) for weight in weights]


def _blur(image: Tensor) -> Tensor:
    """Gaussian means of all windows within an image: (H, W, C) -> (H - 10, W - 10, C), one axis after the other."""
    for dim in (0, 1):
        size = image.shape[dim] - WINDOW + 1
        total = torch.zeros_like(image.narrow(dim, 0, size))
        for start, weight in enumerate(_gaussian()):
            total.add_(image.narrow(dim, start, size), alpha=weight)
        image = total
    return image


def _check(x: Tensor, y: Tensor) -> None:
    if x.shape != y.shape:
        raise DataError(f"frames of {tuple(x.shape)} cannot be compared with {tuple(y.shape)}: give equal shapes")
    if x.dtype != torch.uint8 or y.dtype != torch.uint8:
        raise DataError(f"frames are compared as uint8 in 0..255, and got {x.dtype} and {y.dtype}: convert them first")
    if x.ndim < 3 or x.numel() == 0:
        raise DataError(f"frames (..., H, W, C) are compared, and got {tuple(x.shape)}")


def _size(frames: Tensor) -> str:
    return f"{frames.shape[-2]}x{frames.shape[-3]}"
