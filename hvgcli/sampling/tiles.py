"""Tiles of one size that cover a frame of any size, and the feathered way back.

A level above the first is convolutional but for its 4x4 start, which fixes the size of its input. So a
frame is cut into tiles of just that size, as few as cover it, and the enlarged tiles are blended where
they overlap, with weights that sum to one at every pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from hvgcli.errors import UsageError

OVERLAP = 2
"""Least overlap of neighbouring tiles, in input pixels. Measured with hvg-mini: without any, steps at the seams
are 5 to 12 times those elsewhere; from 1 pixel on they are like those elsewhere, and no PSNR is gained by more."""


@dataclass(frozen=True)
class TilePlan:
    """Where the tiles of a frame begin. A frame smaller than a tile lies in its middle: it begins below 0."""

    size: tuple[int, int]
    """Height and width of the frame, in pixels."""
    tile: int
    """Height and width of a tile."""
    overlap: int
    """Least overlap that was asked for."""
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @property
    def corners(self) -> list[tuple[int, int]]:
        """(top, left) of every tile, row by row."""
        return [(top, left) for top in self.tops for left in self.lefts]

    def __str__(self) -> str:
        rows, columns = len(self.tops), len(self.lefts)
        height, width = self.size
        count = f"{columns}x{rows} tiles" if rows * columns > 1 else "1 tile"
        shared = [end for starts in (self.lefts, self.tops) if len(starts) > 1 for end in _shared(starts, self.tile)]
        extent = sorted({min(shared), max(shared)}) if shared else []
        overlap = f", overlapping by {'-'.join(map(str, extent))}" if extent else ""
        mirrored = ", mirrored beyond its edges to fill them" if min(self.size) < self.tile else ""
        return (
            f"{count} of {self.tile}x{self.tile} for a frame of {width}x{height}{mirrored}{overlap}: "
            "the network takes no other size, and fewer tiles would not cover the frame with that overlap"
        )


def _shared(starts: tuple[int, ...], tile: int) -> tuple[int, int]:
    """Least and greatest overlap of neighbouring tiles."""
    overlaps = [tile - (after - before) for before, after in pairwise(starts)]
    return min(overlaps), max(overlaps)


def plan_tiles(size: tuple[int, int], tile: int, overlap: int | None = None) -> TilePlan:
    """As few tiles as cover a frame of `size` (height, width) with at least `overlap` pixels in common, spread evenly.

    overlap: in pixels of the input, 0 to half a tile; None = `OVERLAP`, or half a tile where that is less.
    """
    overlap = min(OVERLAP, tile // 2) if overlap is None else overlap
    if not 0 <= overlap <= tile // 2:
        raise UsageError(f"an overlap of {overlap} pixels does not fit tiles of {tile}: give 0 to {tile // 2}")
    height, width = size
    return TilePlan(size, tile, overlap, _starts(height, tile, overlap), _starts(width, tile, overlap))


def _starts(length: int, tile: int, overlap: int) -> tuple[int, ...]:
    if length <= tile:
        return (-((tile - length) // 2),)
    gaps = -(-(length - tile) // (tile - overlap))  # one less than the tiles
    return tuple(round(number * (length - tile) / gaps) for number in range(gaps + 1))


def mirrored(start: int, count: int, length: int) -> Tensor:
    """Indices of `count` places from `start` on, in a line of `length` mirrored at its ends (they come twice)."""
    place = torch.arange(start, start + count) % (2 * length)
    return torch.minimum(place, 2 * length - 1 - place)


def cut(video: Tensor, plan: TilePlan, corners: list[tuple[int, int]]) -> Tensor:
    """Frames `(T, C, H, W)` -> the tiles at `corners`, `(B, T, C, tile, tile)`."""
    tile = plan.tile
    if plan.size[0] < tile:
        video = video.index_select(2, mirrored(plan.tops[0], tile, plan.size[0]).to(video.device))
    if plan.size[1] < tile:
        video = video.index_select(3, mirrored(plan.lefts[0], tile, plan.size[1]).to(video.device))
    places = [(max(top, 0), max(left, 0)) for top, left in corners]
    return torch.stack([video[:, :, top : top + tile, left : left + tile] for top, left in places])


def ramps(starts: tuple[int, ...], tile: int, length: int, times: int) -> Tensor:
    """Weights `(tiles, tile * times)` of the tiles along one axis of an enlarged frame, float64.

    A raised cosine over each overlap: sin^2 rising in one tile where cos^2 falls in its neighbour, divided
    by the sum over all tiles where more than two meet. Outside the frame the weight is 0.
    """
    weights = torch.ones(len(starts), tile * times, dtype=torch.float64)
    for number, (before, after) in enumerate(pairwise(starts)):
        common = (before + tile - after) * times
        rise = torch.sin(torch.pi / 2 * (torch.arange(common, dtype=torch.float64) + 0.5) / common).square()
        weights[number + 1, :common] *= rise
        weights[number, tile * times - common :] *= rise.flip(0)
    line = torch.zeros(length * times, dtype=torch.float64)
    inside = [_inside(start, tile, length, times) for start in starts]
    for weight, (place, part) in zip(weights, inside, strict=True):
        line[place] += weight[part]
    for weight, (place, part) in zip(weights, inside, strict=True):
        kept = weight[part] / line[place]
        weight.zero_()[part] = kept
    return weights


def _inside(start: int, tile: int, length: int, times: int) -> tuple[slice, slice]:
    """The part of an enlarged line that a tile covers: its place in the line, and in the tile."""
    first, last = max(start, 0), min(start + tile, length)
    return slice(first * times, last * times), slice((first - start) * times, (last - start) * times)


class Blend:
    """Enlarged tiles -> enlarged frames."""

    def __init__(self, plan: TilePlan, times: int, device: torch.device) -> None:
        """times: how much larger the enlarged tiles are, in height and width."""
        self.plan, self.times = plan, times
        self._rows = ramps(plan.tops, plan.tile, plan.size[0], times).to(device, torch.float32)
        self._columns = ramps(plan.lefts, plan.tile, plan.size[1], times).to(device, torch.float32)

    def canvas(self, frames: int) -> Tensor:
        """Empty frames to add tiles to: zeros `(T, H * times, W * times, C)`."""
        height, width = self.plan.size
        return torch.zeros(frames, height * self.times, width * self.times, 3, device=self._rows.device)

    def add(self, canvas: Tensor, tiles: Tensor, corners: list[tuple[int, int]]) -> None:
        """Add enlarged tiles `(B, T, C, D, D)` to the frames, each with its weight."""
        for tile, (top, left) in zip(tiles, corners, strict=True):
            (height, width), side = self.plan.size, self.plan.tile
            y, part_y = _inside(top, side, height, self.times)
            x, part_x = _inside(left, side, width, self.times)
            row = self._rows[self.plan.tops.index(top), part_y]
            column = self._columns[self.plan.lefts.index(left), part_x]
            weight = (row[:, None] * column)[:, :, None]  # (h, w, 1)
            canvas[:, y, x].addcmul_(tile.permute(0, 2, 3, 1)[:, part_y, part_x].float(), weight)
