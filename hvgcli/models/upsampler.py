"""The levels above the first: enlarge a video in space and time, conditioned on it (HVG section 3, B.2)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvgcli.config import BASE_RESOLUTION, LevelConfig
from hvgcli.layers.blocks import GeneratorBlock, RecurrentBlock, SeparableBlock3D, TemporalConv
from hvgcli.layers.layout import to_frames, to_video
from hvgcli.layers.norm import TimestepNorm
from hvgcli.layers.table import RowLayout
from hvgcli.layers.weights import conv2d
from hvgcli.models.condition import Condition, FirstMap, Labels

OVER_TIME = {"separable": SeparableBlock3D, "recurrent": RecurrentBlock}


class UpsamplerUnit(nn.Module):
    """A block over time, then two 2D residual blocks; x^{l-1} is added after each block it is not smaller than."""

    def __init__(
        self,
        width: int,
        out_width: int,
        cond_dim: int,
        size: int,
        input_size: int,
        *,
        double: bool,
        spectral: bool,
        over_time: type[SeparableBlock3D | RecurrentBlock] = SeparableBlock3D,
        hold_edges: bool = False,
    ) -> None:
        """`size`: resolution that the unit receives; `input_size`: resolution of x^{l-1}."""
        super().__init__()
        held = {"hold_edges": True} if hold_edges else {}
        self.block3d = over_time(width, cond_dim, spectral=spectral, **held)
        self.block1 = GeneratorBlock(width, out_width, cond_dim, double=False, spectral=spectral, **held)
        self.block2 = GeneratorBlock(out_width, out_width, cond_dim, double=double, spectral=spectral, **held)
        sizes = (size, size, size * (2 if double else 1))
        self.residuals = nn.ModuleList(
            conv2d(3, channels, 1, spectral=spectral) if side <= input_size else nn.Identity()
            for channels, side in zip((width, out_width, out_width), sizes, strict=True)
        )

    def add(self, index: int, x: Tensor, low: Tensor) -> Tensor:
        """Add x^{l-1} `(B, T, 3, h, w)`, resized by nearest neighbour, to the output of block `index`."""
        residual = self.residuals[index]
        if isinstance(residual, nn.Identity):
            return x
        resized = F.interpolate(to_frames(low), size=x.shape[-2:], mode="nearest")
        return x + to_video(residual(resized), len(x))


@dataclass
class UpsamplerState:
    """What a level keeps between pieces: inputs of each temporal convolution, and recent input frames."""

    units: list[dict[str, Tensor]] = field(default_factory=list)
    low: Tensor | None = None
    low_start: int = 0
    """Index of the first kept input frame."""
    fed: int = 0
    """Output frames whose input was given."""
    done: int = 0
    """Output frames finished."""


class Upsampler(nn.Module):
    """Generator of a level above the first: x^{l-1} `(B, t, 3, d, d)` -> x^l `(B, s t, 3, D, D)` in [-1, 1]."""

    def __init__(self, level: LevelConfig, num_classes: int, *, input_size: int, times_time: int) -> None:
        """`input_size`: resolution d of x^{l-1}; `times_time`: s, output frames for one input frame."""
        super().__init__()
        self.level = level
        self.input_size = input_size
        self.times_time = times_time
        self.condition = Condition(level.z_dim, level.embed_dim, num_classes, spectral=level.spectral_norm)
        dim = self.condition.dim
        # one value all over, or one for each place
        start = 1 if level.hold_edges else BASE_RESOLUTION
        self.first = FirstMap(dim, level.widths[0], spectral=level.spectral_norm, size=start)
        widths = (level.widths[0], *level.widths)
        units = []
        size = BASE_RESOLUTION
        for i in range(len(level.widths)):
            double = i < level.doublings
            units.append(
                UpsamplerUnit(
                    widths[i],
                    widths[i + 1],
                    dim,
                    size,
                    input_size,
                    double=double,
                    spectral=level.spectral_norm,
                    over_time=OVER_TIME[level.unit],
                    hold_edges=level.hold_edges,
                )
            )
            size *= 2 if double else 1
        self.units = nn.ModuleList(units)
        self.norm = TimestepNorm(widths[-1], None, spectral=False)
        self.to_rgb = conv2d(widths[-1], 3, spectral=level.spectral_norm, hold_edges=level.hold_edges)
        if level.output_residual and not level.spectral_norm and self.to_rgb.weight.device.type != "meta":
            nn.init.zeros_(self.to_rgb.weight)  # begins as the plain enlargement
        self.rows = RowLayout(level.frames)

    @property
    def recurrent(self) -> bool:
        """Whether a frame depends on all before it, and on none after it."""
        return self.level.unit == "recurrent"

    @property
    def reach(self) -> int:
        """Output frames of context on each side of an output frame: the sum over its temporal convolutions."""
        return sum(module.reach for module in self.modules() if isinstance(module, TemporalConv))

    def forward(self, low: Tensor, z: Tensor, labels: Labels) -> Tensor:
        """The whole video in one piece; batch statistics in training mode, standing ones otherwise."""
        total = low.shape[1] * self.times_time
        return self.advance(low, z, labels, UpsamplerState(), total, last=True)

    def advance(
        self,
        low: Tensor,
        z: Tensor,
        labels: Labels,
        state: UpsamplerState,
        total: int,
        last: bool,
        *,
        detail: float = 1.0,
    ) -> Tensor:
        """Feed new input frames `(B, n, 3, d, d)`; returns the output frames now finished, perhaps none.

        `total` is the number of output frames of the whole video, `last` says that no input follows. Where the
        level adds to the plain enlargement (`output_residual`), `detail` is the share that is added, 1 as trained.
        Each unit is one frame behind the one below it until the end, so the calls together return
        what one call with the whole video returns.
        """
        if tuple(low.shape[-3:]) != (3, self.input_size, self.input_size):
            raise ValueError(f"got input {tuple(low.shape)}, expected (B, T, 3, {self.input_size}, {self.input_size})")
        cond = self.condition(z, labels)
        state.units = state.units or [{} for _ in self.units]
        state.low = low if state.low is None else torch.cat((state.low, low), dim=1)
        count = low.shape[1] * self.times_time
        x = self.first(cond).expand(-1, count, -1, BASE_RESOLUTION, BASE_RESOLUTION)
        start = state.fed  # index of the first frame of x
        state.fed += count
        for unit, unit_state in zip(self.units, state.units, strict=True):
            if x.shape[1] == 0:
                break
            behind = unit_state["skip"].shape[1] if "skip" in unit_state else 0
            x = unit.block3d(x, cond, self._rows(start, x, total), unit_state, last)
            start -= behind
            x = self._two_dimensional(unit, x, cond, start, total, state)
        if x.shape[1] == 0:
            return low.new_zeros((len(low), 0, 3, self.level.resolution, self.level.resolution))
        base = self._enlarged(state, start, x.shape[1], last) if self.level.output_residual else None
        state.done += x.shape[1]
        self._forget(state)
        rgb = self.to_rgb(to_frames(self.norm(x, cond, self._rows(start, x, total))))
        video = to_video(torch.tanh(rgb.float() if rgb.dtype != torch.float64 else rgb), len(low))
        if base is not None:
            video = (base + detail * video).clamp(-1, 1)
        return video

    def _rows(self, start: int, x: Tensor, total: int) -> Tensor | None:
        return None if self.training else self.rows.index(start, x.shape[1], total).to(x.device)

    def _two_dimensional(
        self, unit: nn.Module, x: Tensor, cond: Tensor, start: int, total: int, state: UpsamplerState
    ) -> Tensor:
        """The part of a unit that sees each frame alone: residual, block, residual, block, residual."""
        if x.shape[1] == 0:
            return x
        assert state.low is not None
        rows = self._rows(start, x, total)
        frames = torch.arange(start, start + x.shape[1], device=x.device) // self.times_time - state.low_start
        low = state.low.index_select(1, frames)  # repeated to the output rate
        x = unit.add(0, x, low)
        x = unit.add(1, unit.block1(x, cond, rows), low)
        return unit.add(2, unit.block2(x, cond, rows), low)

    def _enlarged(self, state: UpsamplerState, start: int, count: int, last: bool) -> Tensor:
        """x^{l-1} enlarged to frames start .. start+count-1 of x^l, linearly in time and space."""
        assert state.low is not None
        frames = torch.arange(start, start + count, device=state.low.device)
        before = frames // self.times_time - state.low_start
        after = before + (frames % self.times_time > 0)
        assert last or int(after.max()) < state.low.shape[1]  # the units are far enough behind
        after = after.clamp(max=state.low.shape[1] - 1)
        share = (frames % self.times_time)[None, :, None, None, None] / self.times_time
        low = torch.lerp(state.low.index_select(1, before), state.low.index_select(1, after), share.to(state.low.dtype))
        size = (self.level.resolution, self.level.resolution)
        return to_video(F.interpolate(to_frames(low), size=size, mode="bilinear", align_corners=False), len(low))

    def _forget(self, state: UpsamplerState) -> None:
        """Drop input frames that no unfinished output frame needs."""
        assert state.low is not None
        needed = state.done // self.times_time
        state.low = state.low[:, needed - state.low_start :]
        state.low_start = needed
