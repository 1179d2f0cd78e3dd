"""The first level: an outline of the whole video at low resolution and frame rate (HVG section 3, B.1)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hvgcli.config import LevelConfig
from hvgcli.layers.blocks import GeneratorBlock
from hvgcli.layers.conv_gru import ConvGRU
from hvgcli.layers.layout import to_frames, to_video
from hvgcli.layers.norm import TimestepNorm
from hvgcli.layers.table import RowLayout
from hvgcli.layers.weights import conv2d
from hvgcli.models.condition import Condition, FirstMap, Labels


class OutlineUnit(nn.Module):
    """ConvGRU, then two 2D residual blocks: the first changes the width, the second may double the size."""

    def __init__(self, width: int, out_width: int, cond_dim: int, *, double: bool, spectral: bool) -> None:
        super().__init__()
        self.recurrent = ConvGRU(width, spectral=spectral)
        self.block1 = GeneratorBlock(width, out_width, cond_dim, double=False, spectral=spectral)
        self.block2 = GeneratorBlock(out_width, out_width, cond_dim, double=double, spectral=spectral)


@dataclass
class OutlineState:
    """What the outline keeps between pieces: the recurrent states and the next frame's index."""

    hidden: dict[int, Tensor] = field(default_factory=dict)
    start: int = 0


class Outline(nn.Module):
    """Level-1 generator: z `(B, z_dim)` and classes -> video `(B, T, 3, D, D)` in [-1, 1].

    Any number of frames can be made, in pieces: the recurrent states are all the memory it has.
    """

    recurrent = True

    def __init__(self, level: LevelConfig, num_classes: int) -> None:
        super().__init__()
        self.level = level
        self.condition = Condition(level, num_classes)
        dim = self.condition.dim
        self.first = FirstMap(dim, level)
        widths = (level.widths[0], *level.widths)
        self.units = nn.ModuleList(
            OutlineUnit(widths[i], widths[i + 1], dim, double=i < level.doublings, spectral=level.spectral_norm)
            for i in range(len(level.widths))
        )
        self.norm = TimestepNorm(widths[-1], None, spectral=False)
        self.to_rgb = conv2d(widths[-1], 3, spectral=level.spectral_norm)
        self.rows = RowLayout(level.frames)

    def forward(self, z: Tensor, labels: Labels, frames: int | None = None) -> Tensor:
        """A whole video in one piece; with batch statistics in training mode, standing ones otherwise."""
        frames = frames or self.level.frames
        return self.advance(z, labels, OutlineState(), frames, frames)

    def advance(self, z: Tensor, labels: Labels, state: OutlineState, frames: int, total: int) -> Tensor:
        """The next `frames` frames `(B, frames, 3, D, D)` of a video of `total`; updates `state`."""
        cond = self.condition(z, labels)
        rows = None if self.training else self.rows.index(state.start, frames, total).to(z.device)
        x, steps = self.first(cond), frames  # the first unit's input is the same at every timestep
        for number, unit in enumerate(self.units):
            x, state.hidden[number] = unit.recurrent(x, state.hidden.get(number), steps if number == 0 else None)
            x = unit.block2(unit.block1(x, cond, rows), cond, rows)
        state.start += frames
        rgb = self.to_rgb(to_frames(self.norm(x, cond, rows)))
        return to_video(torch.tanh(rgb.float() if rgb.dtype != torch.float64 else rgb), len(z))
