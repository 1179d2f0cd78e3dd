"""Motion fields as pictures: the hue tells the direction, the strength of the colour the size (TrIVD-GAN figure 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hvgcli.errors import UsageError


def largest_motion(flow: Tensor) -> float:
    """Size in pixels of the largest motion in a field `(B, t, 2, H, W)`."""
    return float(flow.float().norm(dim=2).max()) if flow.numel() else 0.0


def _hue_colours(hue: Tensor, saturation: Tensor) -> Tensor:
    """Hue in turns and saturation in [0, 1], both `(...)` -> RGB `(..., 3)` in [0, 1] at full brightness.

    Each channel falls from 1 to 1 - saturation on the sixths of the wheel that are opposite to it.
    """
    place = (6 * hue.unsqueeze(-1) + hue.new_tensor((5.0, 3.0, 1.0))) % 6
    return 1 - saturation.unsqueeze(-1) * torch.minimum(place, 4 - place).clamp(0, 1)


def flow_colours(flow: Tensor, largest: float | None = None) -> Tensor:
    """A motion field `(B, t, 2, H, W)` in pixels, to the right and down -> uint8 pictures `(B, t, H, W, 3)`.

    Right is red; clockwise from there, down is between yellow and green, left is cyan, up is between blue and
    magenta (the hues of HSV). White is no motion; a colour is full where the motion is `largest` pixels or more.
    largest: above 0; None takes the largest motion of this field, which makes the colours independent of its scale.
    Pieces of one video need the same number to be comparable.
    """
    if flow.ndim != 5 or flow.shape[2] != 2:
        raise UsageError(f"got a motion field of shape {tuple(flow.shape)}, expected (B, t, 2, H, W)")
    if largest is not None and not 0 < largest < math.inf:
        raise UsageError(f"got {largest} pixels as the largest motion, expected more than 0")
    largest = largest or largest_motion(flow) or 1.0  # in a field without motion all is white, whatever the scale
    right, down = flow.float().unbind(dim=2)
    hue = torch.atan2(down, right) / (2 * math.pi) % 1
    saturation = (torch.hypot(right, down) / largest).clamp(max=1)
    return (255 * _hue_colours(hue, saturation)).round().to(torch.uint8)


def wheel(size: int) -> Tensor:
    """A legend, uint8 `(size, size, 3)`: a disc that shows each motion where it would lead from the centre."""
    if size < 1:
        raise UsageError(f"got a colour wheel of {size} pixels, expected at least 1")
    offset = (torch.arange(size) + 0.5) * 2 / size - 1  # of the pixels' centres; 1 is the rim
    down, right = torch.meshgrid(offset, offset, indexing="ij")
    motion = torch.stack((right, down))
    inside = torch.hypot(right, down) <= 1
    return flow_colours((motion * inside)[None, None], largest=1.0)[0, 0]
