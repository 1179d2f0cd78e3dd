"""The generator of DVD-GAN (Clark et al. 2019, section 3 and appendix B.2), alone and inside the predictors."""

from __future__ import annotations

from torch import Tensor, nn

from hvgcli.config import OneStageConfig
from hvgcli.layers.attention import SeparableAttention
from hvgcli.layers.blocks import GeneratorBlock
from hvgcli.layers.layout import to_frames, to_video
from hvgcli.layers.units import UNITS
from hvgcli.layers.weights import conv2d
from hvgcli.models.code_prior import build_code_prior
from hvgcli.models.condition import Condition, FirstMap
from hvgcli.models.frame_fusion import FrameFusion
from hvgcli.models.recurrent_generator import RecurrentGenerator, RecurrentState, RecurrentUnit


class Stage(RecurrentUnit):
    """A recurrent unit, then two residual blocks on each frame: the first changes the width, the second doubles.

    The predictors have a 3x3 convolution between the two (TrIVD-GAN appendix A). Separable attention, where
    there is some, comes last (DVD-GAN appendix A).
    """

    def __init__(
        self,
        width: int,
        out_width: int,
        cond_dim: int,
        *,
        unit: str,
        convolution: bool,
        attention: bool,
        spectral: bool,
    ) -> None:
        super().__init__()
        self.recurrent = UNITS[unit](width, spectral=spectral)
        self.convolution = conv2d(width, width, spectral=spectral) if convolution else nn.Identity()
        self.block1 = GeneratorBlock(width, out_width, cond_dim, double=False, spectral=spectral)
        self.block2 = GeneratorBlock(out_width, out_width, cond_dim, double=True, spectral=spectral)
        self.attention = SeparableAttention(out_width, spectral=spectral) if attention else nn.Identity()

    def framewise(self, x: Tensor, cond: Tensor, rows: Tensor | None) -> Tensor:
        if not isinstance(self.convolution, nn.Identity):
            x = to_video(self.convolution(to_frames(x)), len(x))
        x = self.block2(self.block1(x, cond, rows), cond, rows)
        return self.attention(x)  # type: ignore[no-any-return]


class DvdGan(RecurrentGenerator):
    """z `(B, z_dim)` and classes -> video `(B, T, 3, D, D)` in [-1, 1], of any length without attention.

    [z; e(y)] becomes a first map by an affine transformation, the input of the first recurrent unit at every
    timestep; each stage doubles the size; a last norm, ReLU, 3x3 convolution and tanh make the frames.
    """

    def __init__(self, level: OneStageConfig, num_classes: int) -> None:
        spectral = level.spectral_norm
        condition = Condition(level.z_dim, level.embed_dim, num_classes, spectral=spectral)
        # the predictors have no spectral norm here (TrIVD-GAN appendix A)
        first = FirstMap(condition.dim, level.first_width, spectral=spectral and not level.predictor, size=level.base)
        widths = (level.first_width, *level.widths)
        stages: list[RecurrentUnit] = [
            Stage(
                widths[i],
                widths[i + 1],
                condition.dim,
                unit=level.unit,
                convolution=level.predictor,
                attention=level.attention == 2 * level.base << i,
                spectral=spectral,
            )
            for i in range(level.doublings)
        ]
        prior = build_code_prior(level.code_components, num_classes, level.z_dim)
        super().__init__(
            condition, first, stages, frames=level.frames, width=widths[-1], spectral=spectral, prior=prior
        )
        self.level = level
        self.fusion = FrameFusion(widths[-1], level.frame_kernel, spectral=spectral) if level.frame_kernel else None

    def paint(self, features: Tensor, state: RecurrentState) -> Tensor:
        video = super().paint(features, state)
        if self.fusion is not None:
            assert state.frame is not None
            video = self.fusion(features, video, state.frame)
            state.frame = video[:, -1]
        return video

    @property
    def whole(self) -> bool:
        """Whether a video can only be made at once: attention looks at all of its frames."""
        return self.level.attention > 0
