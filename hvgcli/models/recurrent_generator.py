"""What HVG's first level and DVD-GAN share: a recurrent unit and residual blocks at every resolution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hvgcli.layers.layout import to_frames, to_video
from hvgcli.layers.norm import TimestepNorm
from hvgcli.layers.table import RowLayout
from hvgcli.layers.weights import conv2d
from hvgcli.models.code_prior import CodePrior
from hvgcli.models.condition import Condition, FirstMap, Labels


class RecurrentUnit(nn.Module, ABC):
    """A recurrent layer over time, then work on each frame alone. What subclasses are made of."""

    recurrent: nn.Module
    """Called as the units of `hvgcli.layers.units`."""

    @abstractmethod
    def framewise(self, x: Tensor, cond: Tensor, rows: Tensor | None) -> Tensor:
        """The recurrent layer's outputs `(B, T, C, H, W)` -> what the next unit gets."""


@dataclass
class RecurrentState:
    """What a generator keeps between pieces: the recurrent states and the next frame's index."""

    hidden: dict[int, Tensor] = field(default_factory=dict)
    start: int = 0
    frame: Tensor | None = None
    """The last frame `(B, 3, D, D)` so far, where a predictor makes the next one from it."""


class RecurrentGenerator(nn.Module):
    """z `(B, z_dim)` and classes -> video `(B, T, 3, D, D)` in [-1, 1], of any number of frames.

    Where it has a `prior`, the z that it takes are codes that come from that. Frames can be made in pieces: the
    recurrent states are all the memory there is.
    """

    recurrent = True
    whole = False
    """Whether a video can only be made at once, not in pieces."""

    def __init__(
        self,
        condition: Condition,
        first: FirstMap,
        units: list[RecurrentUnit],
        *,
        frames: int,
        width: int,
        spectral: bool,
        prior: CodePrior | None = None,
    ) -> None:
        """`frames`: of a video in training; `width`: channels of the last unit's output; `prior`: None for N(0, I)."""
        super().__init__()
        self.condition = condition
        self.first = first
        self.units = nn.ModuleList(units)
        self.norm = TimestepNorm(width, None, spectral=False)
        self.to_rgb = conv2d(width, 3, spectral=spectral)
        self.frames = frames
        self.prior = prior
        self.rows = RowLayout(frames)

    def forward(self, z: Tensor, labels: Labels, frames: int | None = None) -> Tensor:
        """A whole video in one piece; with batch statistics in training mode, standing ones otherwise."""
        frames = frames or self.frames
        return self.advance(z, labels, RecurrentState(), frames, frames)

    def advance(self, z: Tensor, labels: Labels, state: RecurrentState, frames: int, total: int) -> Tensor:
        """The next `frames` frames `(B, frames, 3, D, D)` of a video of `total`; updates `state`."""
        cond = self.condition(z, labels)
        rows = None if self.training else self.rows.index(state.start, frames, total).to(z.device)
        x, steps = self.first(cond), frames  # the first unit's input is the same at every timestep
        for number, unit in enumerate(self.units):
            assert isinstance(unit, RecurrentUnit)
            x, state.hidden[number] = unit.recurrent(x, state.hidden.get(number), steps if number == 0 else None)
            x = unit.framewise(x, cond, rows)
        state.start += frames
        return self.paint(self.norm(x, cond, rows), state)

    def paint(self, features: Tensor, state: RecurrentState) -> Tensor:
        """The last features `(B, T, C, D, D)` -> frames `(B, T, 3, D, D)`."""
        rgb = self.to_rgb(to_frames(features))
        return to_video(torch.tanh(rgb.float() if rgb.dtype != torch.float64 else rgb), len(features))
