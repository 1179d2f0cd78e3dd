"""Changes that the discriminators see in real and generated videos alike (DiffAugment, Zhao et al. 2020).

Not in the papers of the models here: a training aid for few clips. A video is changed as a whole, all of
its frames alike, and its condition x^{l-1} with it, so that a pair that matched still matches. All changes
are differentiable, since the generator learns through them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hvgcli.layers.layout import as_video_order

DRAWS = 7
"""Random numbers a video: brightness, saturation, contrast, translation (y, x), cutout (y, x)."""
LARGEST_SHIFT = 1 / 8  # of the side; this and the next as in the paper's code
CUTOUT_SIDE = 1 / 2


def augment(video: Tensor, low: Tensor | None, kinds: Sequence[str], draws: Tensor) -> tuple[Tensor, Tensor | None]:
    """Change every video and its condition alike, always in the order color, translation, cutout.

    What translation uncovers and cutout removes becomes 0, a middle grey; colors may leave [-1, 1].
    Both move and cut by whole pixels of `low`, so that average pooling of the changed video to the
    size of `low` gives the changed `low` wherever it did before.

    Args:
        video: x^l, float `(B, T, 3, D, D)` in [-1, 1].
        low: x^{l-1}, `(B, t, 3, d, d)` with d a divisor of D, or None where there is none.
        kinds: of `hvgcli.config.AUGMENTATIONS`; none returns the inputs themselves.
        draws: `(B, DRAWS)`, uniform in [0, 1). Each change has its own columns whatever the others are.

    Returns:
        The changed video and condition, each in B, T, H, W, C memory order.

    Raises:
        ValueError: d does not divide D, or `draws` has another shape.
    """
    size = video.shape[-1]
    cells = size if low is None else low.shape[-1]  # places that things can move to, along a side
    if size % cells:
        raise ValueError(f"got a video of {size} pixels and a condition of {cells}: expected a divisor of {size}")
    if draws.shape != (len(video), DRAWS):
        raise ValueError(f"got draws {tuple(draws.shape)}, expected ({len(video)}, {DRAWS}): one row a video")
    if "color" in kinds:
        video, low = _color(video, low, draws[:, 0:3])
    if "translation" in kinds:
        video, low = _translation(video, low, draws[:, 3:5], cells)
    if "cutout" in kinds:
        video, low = _cutout(video, low, draws[:, 5:7], cells)
    return video, low


def _color(video: Tensor, low: Tensor | None, draws: Tensor) -> tuple[Tensor, Tensor | None]:
    """Brightness +b, b in [-1/2, 1/2); saturation s in [0, 2); contrast c in [1/2, 3/2), one after the other.

        x + b  ->  grey(x) + b + s (x - grey(x))  ->  m + b + c (... - m - b)

    where grey is the mean of a pixel's channels and m the mean of the whole video: of all frames, where
    the paper has single images. Saturation changes no mean, so the three together are one affine map,

        x' = c s x + c (1 - s) grey(x) + b + (1 - c) m,

    with constants of the video. A resampling whose weights add up to 1 (f_s, f_t, average pooling)
    commutes with it, so x^{l-1} goes through the same map, with the m of x^l, and stays exactly what
    resampling the changed video would give.
    """
    brightness, saturation, contrast = draws.to(video).t()[:, :, None, None, None, None].unbind()  # (B, 1, 1, 1, 1)
    brightness, saturation, contrast = brightness - 0.5, 2 * saturation, contrast + 0.5
    mean = video.mean((1, 2, 3, 4), keepdim=True)
    shift = brightness + (1 - contrast) * mean

    def change(x: Tensor) -> Tensor:
        grey = torch.addcmul(shift, contrast * (1 - saturation), x.mean(2, keepdim=True))
        return torch.addcmul(grey, contrast * saturation, as_video_order(x))

    return change(video), None if low is None else change(low)


def _choose(draws: Tensor, count: int) -> Tensor:
    """Uniform draws in [0, 1) -> whole numbers 0 .. count - 1, each as likely."""
    return (draws.double() * count).long().clamp(max=count - 1)


def _translation(video: Tensor, low: Tensor | None, draws: Tensor, cells: int) -> tuple[Tensor, Tensor | None]:
    """Move by up to an eighth of the side, down or right where positive."""
    largest = int(LARGEST_SHIFT * cells + 0.5)
    moves = (_choose(draws, 2 * largest + 1) - largest).tolist()  # [(down, right)] in cells
    return _shifted(video, moves, video.shape[-1] // cells), None if low is None else _shifted(low, moves, 1)


def _shifted(video: Tensor, moves: list[list[int]], cell: int) -> Tensor:
    """Each video moved by its (down, right) in steps of `cell` pixels."""
    memory = as_video_order(video).permute(0, 1, 3, 4, 2)  # (B, T, H, W, C)
    moved = [
        F.pad(sample, (0, 0, right * cell, -right * cell, down * cell, -down * cell))
        for sample, (down, right) in zip(memory, moves, strict=True)
    ]
    return torch.stack(moved).permute(0, 1, 4, 2, 3)


def _cutout(video: Tensor, low: Tensor | None, draws: Tensor, cells: int) -> tuple[Tensor, Tensor | None]:
    """Clear a square of half the side; one whose centre is near an edge is cut off by it."""
    side = int(CUTOUT_SIDE * cells + 0.5)
    starts = _choose(draws, cells + 1 - side % 2) - side // 2  # (B, 2): rows, columns
    places = torch.arange(cells) - starts.cpu()[:, :, None]  # (B, 2, cells), counted from the square's corner
    inside = (places >= 0) & (places < side)
    kept = ~(inside[:, 0, :, None] & inside[:, 1, None, :])  # (B, cells, cells)
    mask = kept.to(video)[:, None, None]
    if low is not None:
        low = as_video_order(low) * mask.to(low)
    cell = video.shape[-1] // cells
    return as_video_order(video) * mask.repeat_interleave(cell, 3).repeat_interleave(cell, 4), low
