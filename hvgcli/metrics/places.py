"""Features at the places of a clip or an image, which single-video distances compare (`hvgcli.metrics.single`).

A network with a map of features gives one vector a place. Of a network that gives one vector a clip, the
features of overlapping crops stand for the map: half of the height and of the width each, and for a clip 3/5 of
its frames, on a grid whose number of places is the same for all clips of 20 pixels or more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hvgcli.errors import DataError
from hvgcli.metrics.networks import FeatureNetwork
from hvgcli.metrics.single import CropGrid, Size, crop_grid, crops

CLIP_STARTS, IMAGE_STARTS = (3, 5, 5), (1, 9, 9)
"""Crops along frames, height and width: 75 and 81, where the clip has as many starts."""
CLIP_SHARES, IMAGE_SHARES = (0.6, 0.5, 0.5), (1.0, 0.5, 0.5)
"""Sizes of a crop over those of the clip."""
LENGTHS = (16, 32)
"""Frames that a network may need at least: shorter crops are repeated to them (16 is what the paper resizes to)."""
AT_A_TIME = 8  # crops: of MoViNet, 25 at a time take a quarter longer


@dataclass(frozen=True)
class Places:
    """How features of places are taken of clips of one shape. Made by `places_of`.

    Figures made with it carry its `name`, because neither networks nor crops can be exchanged.
    """

    network: FeatureNetwork
    grid: CropGrid | None
    """Where the crops are; None where the network has a map of its own."""
    frames: int
    """Frames that the network is given."""

    @property
    def name(self) -> str:
        return self.network.name if self.grid is None else f"{self.network.name}-crops"

    def __str__(self) -> str:
        if self.grid is None:
            return f"the map of {self.network.name}"
        repeated = f", each shown to the network as {self.frames} frames" if self.frames > self.grid.size[0] else ""
        return f"{self.grid}{repeated}"

    def __call__(self, video: Tensor) -> Tensor:
        """uint8 (T, H, W, 3) -> (P, d) float32. Errors as those of the network."""
        if self.grid is None:
            found = self.network.locations(video[None])
            assert found is not None
            return found[0]
        pieces = torch.stack([stretched(crop, self.frames) for crop in crops(video, self.grid.size, self.grid.stride)])
        return torch.cat([self._features(part) for part in torch.split(pieces, AT_A_TIME)])

    def _features(self, pieces: Tensor) -> Tensor:
        """The last hidden activations, as in FID; the logits of a network that does not give them."""
        pooled = self.network.pooled(pieces)
        return self.network.logits(pieces) if pooled is None else pooled


def places_of(network: FeatureNetwork, shape: Size) -> Places:
    """Where and how `network` looks at clips of `shape` (frames, height, width), or at images, which have one frame.

    Raises:
        DataError: fewer than two places, or a network that takes no clip of such a length.
    """
    blank = torch.zeros((1, *shape, 3), dtype=torch.uint8)
    found = network.locations(blank)
    if found is not None:
        if found.shape[1] < 2:
            raise DataError(f"{network.name} has one place in a clip of {shape} (frames, height, width): take a larger")
        return Places(network, None, shape[0])
    image = shape[0] == 1
    grid = _grid(shape, IMAGE_SHARES if image else CLIP_SHARES, IMAGE_STARTS if image else CLIP_STARTS)
    return Places(network, grid, _length(network, grid.size))


def _grid(shape: Size, shares: tuple[float, ...], starts: tuple[int, ...]) -> CropGrid:
    """Crops of so much of the clip each, so many along each axis, or fewer where there are no other places."""
    sides = [max(1, round(share * whole)) for share, whole in zip(shares, shape, strict=True)]
    steps = [
        max(1, min(side, -(-(whole - side) // max(1, count - 1))))
        for side, whole, count in zip(sides, shape, starts, strict=True)
    ]
    return crop_grid(shape, (sides[0], sides[1], sides[2]), (steps[0], steps[1], steps[2]))


def _length(network: FeatureNetwork, size: Size) -> int:
    """The crop's own frames, if the network takes so few, or the first of `LENGTHS` that it takes."""
    *lengths, last = (size[0], *(length for length in LENGTHS if length > size[0]))
    for length in lengths:
        try:
            network.logits(torch.zeros((1, length, *size[1:], 3), dtype=torch.uint8))
        except DataError:
            continue
        return length
    network.logits(torch.zeros((1, last, *size[1:], 3), dtype=torch.uint8))
    return last


def stretched(video: Tensor, frames: int) -> Tensor:
    """(T, H, W, 3) with `frames` frames: each of its own for about as long, in order; a view where it has them."""
    own = len(video)
    return video if own == frames else video[torch.arange(frames) * own // frames]
