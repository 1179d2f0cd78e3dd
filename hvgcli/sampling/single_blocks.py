"""Large outputs of hp-VAE-GAN: a scale computed block by block, so that memory does not grow with its hidden maps.

In inference mode a patch generator is made of convolutions and of operations on single places, so what it
gives at a place depends on `halo` places around it only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from math import prod

import torch
from torch import Tensor, nn

from hvgcli.layers.volume import VolumeNorm
from hvgcli.models.hp_vae_gan import PatchGenerator

BLOCK_VALUES = 1 << 25
"""Values of a hidden map of one block, over all samples of the batch."""

Span = tuple[int, int]
"""From a place up to, not including, another one."""


def cuts(length: int, parts: int) -> list[Span]:
    """0 .. length in `parts` spans of nearly equal length."""
    edges = [length * part // parts for part in range(parts + 1)]
    return list(pairwise(edges))


def count_parts(size: Sequence[int], halo: Sequence[int], limit: int) -> list[int]:
    """Into how many parts to cut each axis of `size`, so that a part with its halo has at most `limit` places.

    The axis that is longest for its halo is cut first; none below its halo on both sides, even if parts stay
    above the limit.
    """
    parts = [1] * len(size)

    def side(axis: int) -> int:
        return -(-size[axis] // parts[axis])

    def grown(axis: int) -> int:
        return min(size[axis], side(axis) + 2 * halo[axis])

    while prod(map(grown, range(len(size)))) > limit:
        axis = max(range(len(size)), key=lambda axis: side(axis) / max(1, halo[axis]))
        if side(axis) <= max(1, 2 * halo[axis]):
            break
        parts[axis] += 1
    return parts


def halo_of(generator: PatchGenerator) -> tuple[int, int, int]:
    """Frames, rows and columns on each side of a place that its output depends on."""
    time, height, width = (sum(side // 2 for side in axis) for axis in zip(*kernels(generator), strict=True))
    return time, height, width


def kernels(generator: PatchGenerator) -> list[tuple[int, ...]]:
    """(frames, rows, columns) of each convolution."""
    return [tuple(weight.shape[2:]) for weight in generator.parameters() if weight.dim() == 5]


class Blockwise(nn.Module):
    """A patch generator that computes large volumes in overlapping blocks: the same output, but for rounding.

    Where its norms take the statistics of what they get (`own_statistics`), it computes the whole at once.
    """

    def __init__(self, generator: PatchGenerator, values: int = BLOCK_VALUES) -> None:
        super().__init__()
        self.generator, self.values = generator, values
        self.halo = halo_of(generator)
        self.width = max(weight.shape[0] for weight in generator.parameters())

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        parts = count_parts(size, self.halo, max(1, self.values // (len(x) * self.width)))
        if max(parts) == 1 or any(part.training for part in self.modules() if isinstance(part, VolumeNorm)):
            whole: Tensor = self.generator(x)
            return whole
        out = x.new_empty((len(x), 3, *size), dtype=torch.float32)
        for block in product(*map(cuts, size, parts)):
            self._compute(x, out, block)
        return out

    def _compute(self, x: Tensor, out: Tensor, block: Sequence[Span]) -> None:
        """Put the output of one block in its place."""
        lows = [max(0, start - halo) for (start, _), halo in zip(block, self.halo, strict=True)]
        highs = [end + halo for (_, end), halo in zip(block, self.halo, strict=True)]
        made = self.generator(_part(x, list(zip(lows, highs, strict=True))))
        kept = [(start - low, end - low) for low, (start, end) in zip(lows, block, strict=True)]
        _part(out, block).copy_(_part(made, kept))


def _part(x: Tensor, block: Sequence[Span]) -> Tensor:
    """The view of a volume `(B, C, T, H, W)` that a block is."""
    for axis, (start, end) in enumerate(block, start=2):
        x = x.narrow(axis, start, min(end, x.shape[axis]) - start)
    return x


def largest_block(size: Sequence[int], halo: Sequence[int], width: int, batch: int, values: int = BLOCK_VALUES) -> int:
    """Values of the largest hidden map of `width` channels that a volume of `size` needs, for a batch."""
    parts = count_parts(size, halo, max(1, values // (batch * width)))
    sides = [min(side, -(-side // part) + 2 * edge) for side, part, edge in zip(size, parts, halo, strict=True)]
    return batch * width * prod(sides)


def in_blocks(generators: nn.ModuleList) -> Iterator[Blockwise]:
    """The generators of a network, each computing block by block."""
    for generator in generators:
        assert isinstance(generator, PatchGenerator)
        yield Blockwise(generator)
