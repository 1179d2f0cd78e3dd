"""Motion fields of several videos as pictures, piece by piece."""

from __future__ import annotations

import torch
from torch import Tensor

from hvgcli.sampling.flow_colours import flow_colours, largest_motion


class FlowPictures:
    """Pictures of the motion in videos that come in pieces.

    Each video has one scale: colours are full at the largest motion of its first piece. So they can be compared
    within a video, and what a seed looks like does not depend on the others.
    """

    def __init__(self) -> None:
        self._largest: list[float] = []

    def __call__(self, flow: Tensor) -> Tensor:
        """The next piece's motion `(B, n, 2, H, W)` -> uint8 `(B, n, H, W, 3)`."""
        fields = [field[None] for field in flow]
        self._largest = self._largest or [largest_motion(field) or 1.0 for field in fields]
        return torch.cat([flow_colours(field, largest) for field, largest in zip(fields, self._largest, strict=True)])
