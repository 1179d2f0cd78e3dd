"""How much moves in videos: the mean square of what changes from a frame to the next."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hvgcli.errors import DataError


def change_energy(frames: Tensor) -> Tensor:
    """uint8 (B, T, H, W, 3) -> float64 (B,): mean of (x[t + 1] - x[t])^2 over frames, pixels and colours, 8-bit units.

    Raises:
        DataError: other values, or a single frame.
    """
    if frames.dtype != torch.uint8 or frames.ndim != 5 or frames.shape[1] < 2:
        raise DataError(
            f"motion is measured on uint8 videos (B, T, H, W, 3) of 2 frames or more, and got {frames.dtype} "
            f"{tuple(frames.shape)}"
        )
    return torch.stack([video.float().diff(dim=0).square().mean(dtype=torch.float64) for video in frames])


def class_means(values: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Mean of (N,) values of each class, by name, in alphabetical order."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    return {name: float(values[places[name]].double().mean()) for name in sorted(places)}


def within_factor(ratio: float, factor: float) -> bool:
    """Whether a ratio is between 1 / factor and factor."""
    return 1 / factor <= ratio <= factor
