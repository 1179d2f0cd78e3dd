"""The first level: an outline of the whole video at low resolution and frame rate (HVG section 3, B.1)."""

from __future__ import annotations

from torch import Tensor

from hvgcli.config import LevelConfig
from hvgcli.layers.blocks import GeneratorBlock
from hvgcli.layers.conv_gru import ConvGRU
from hvgcli.models.code_prior import build_code_prior
from hvgcli.models.condition import Condition, FirstMap
from hvgcli.models.recurrent_generator import RecurrentGenerator, RecurrentUnit


class OutlineUnit(RecurrentUnit):
    """ConvGRU, then two 2D residual blocks: the first changes the width, the second may double the size."""

    def __init__(self, width: int, out_width: int, cond_dim: int, *, double: bool, spectral: bool) -> None:
        super().__init__()
        self.recurrent = ConvGRU(width, spectral=spectral)
        self.block1 = GeneratorBlock(width, out_width, cond_dim, double=False, spectral=spectral)
        self.block2 = GeneratorBlock(out_width, out_width, cond_dim, double=double, spectral=spectral)

    def framewise(self, x: Tensor, cond: Tensor, rows: Tensor | None) -> Tensor:
        return self.block2(self.block1(x, cond, rows), cond, rows)  # type: ignore[no-any-return]


class Outline(RecurrentGenerator):
    """Level-1 generator: z `(B, z_dim)` and classes -> video `(B, T, 3, D, D)` in [-1, 1].

    It starts at 4x4 and its first log2(resolution / 4) units double the size.
    """

    def __init__(self, level: LevelConfig, num_classes: int) -> None:
        condition = Condition(level.z_dim, level.embed_dim, num_classes, spectral=level.spectral_norm)
        widths = (level.widths[0], *level.widths)
        first = FirstMap(condition.dim, widths[0], spectral=level.spectral_norm)
        units: list[RecurrentUnit] = [
            OutlineUnit(
                widths[i], widths[i + 1], condition.dim, double=i < level.doublings, spectral=level.spectral_norm
            )
            for i in range(len(level.widths))
        ]
        prior = build_code_prior(level.code_components, num_classes, level.z_dim)
        super().__init__(
            condition, first, units, frames=level.frames, width=widths[-1], spectral=level.spectral_norm, prior=prior
        )
        self.level = level
