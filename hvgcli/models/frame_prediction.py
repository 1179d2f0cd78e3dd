"""DVD-GAN-FP and TrIVD-GAN-FP: a video from its first frames (DVD-GAN appendix B.4, TrIVD-GAN appendix A)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvgcli.config import OneStageConfig
from hvgcli.layers.blocks import DiscriminatorBlock
from hvgcli.layers.layout import to_frames, to_video
from hvgcli.layers.table import RowLayout
from hvgcli.layers.units import used_kernels
from hvgcli.layers.warping import expected_flow, refine_flow
from hvgcli.layers.weights import conv2d
from hvgcli.models.dvd_gan import DvdGan
from hvgcli.models.frame_fusion import FrameFusion
from hvgcli.models.recurrent_generator import RecurrentState, RecurrentUnit


class ContextEncoder(nn.Module):
    """Conditioning frames -> the first state of every recurrent unit.

    The spatial discriminator's residual network sees each frame alone. The features of each resolution, stacked
    over the frames in channels, become a state by a 3x3 convolution and ReLU. Blocks below the resolution of
    the coarsest unit would feed nothing, so they are not there.
    """

    def __init__(self, level: OneStageConfig) -> None:
        super().__init__()
        conv = partial(conv2d, spectral=level.spectral_norm)
        features = (3, *level.discriminator.widths[: level.doublings])
        states = (level.first_width, *level.widths[:-1])  # of the stages, coarsest first
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(features[i], features[i + 1], conv=conv, halve=True, first=i == 0)
            for i in range(level.doublings)
        )
        self.states = nn.ModuleList(
            conv(level.context * width, state) for width, state in zip(features[:0:-1], states, strict=True)
        )

    def forward(self, context: Tensor) -> dict[int, Tensor]:
        """`(B, C, 3, D, D)` -> state `(B, width, size, size)` of each stage, by its number from 0, coarsest."""
        batch = len(context)
        x, features = to_frames(context), []
        for block in self.blocks:
            x = block(x)
            features.append(to_video(x, batch).flatten(1, 2))  # (B, C * width, size, size)
        pairs = zip(self.states, reversed(features), strict=True)
        return {number: F.relu(state(stacked)) for number, (state, stacked) in enumerate(pairs)}


class FramePredictor(nn.Module):
    """Context `(B, C, 3, D, D)` and z `(B, z_dim)` -> the frames that follow `(B, T, 3, D, D)`, in [-1, 1].

    DVD-GAN's generator, started from the context's states; y is 0 for all samples.
    """

    def __init__(self, level: OneStageConfig) -> None:
        super().__init__()
        self.level = level
        self.encoder = ContextEncoder(level)
        self.generator = DvdGan(level, num_classes=1)

    @property
    def context(self) -> int:
        """C, the conditioning frames that it needs."""
        return self.level.context

    @property
    def rows(self) -> RowLayout:
        """Layout of the standing statistics in use."""
        return self.generator.rows

    @rows.setter
    def rows(self, layout: RowLayout) -> None:
        self.generator.rows = layout

    def forward(self, context: Tensor, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """As many frames as in training; labels, for the interface of the levels above the first, must be None."""
        if labels is not None:
            raise ValueError("labels were given to a predictor, which has no classes: pass None")
        return self.predict(context, z, self.level.frames)

    def begin(self, context: Tensor) -> RecurrentState:
        """The state before the first frame that follows the context; ValueError where the context does not fit."""
        shape = (self.context, 3, self.level.resolution, self.level.resolution)
        if tuple(context.shape[1:]) != shape:
            raise ValueError(f"got context {tuple(context.shape)}, expected (B, {', '.join(map(str, shape))})")
        return RecurrentState(self.encoder(context), frame=context[:, -1])

    def predict(self, context: Tensor, z: Tensor, frames: int) -> Tensor:
        """The first `frames` of the frames that follow."""
        return self.generator.advance(z, self._zeros(z), self.begin(context), frames, frames)

    def _zeros(self, z: Tensor) -> Tensor:
        return torch.zeros(len(z), dtype=torch.long, device=z.device)

    def flows(self, context: Tensor, z: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        """Predicted frames and where the units' kernels say that their content came from (section 4.4, figure 3).

        The flow `(B, frames, 2, D, D)` is motion to the right and down since the frame before, in pixels of the
        video: each unit's expected flow, from the coarsest to the finest, enlarged and added up; where the frames
        themselves are warped (`frame_kernel`), that of their own kernels.
        Raises `ValueError` where nothing warps.
        """
        found: list[Tensor] = []
        fusion = self.generator.fusion
        units = [stage.recurrent for stage in self.generator.units if isinstance(stage, RecurrentUnit)]
        hooks = (
            [unit.register_forward_hook(_keep_flow(found)) for unit in units]
            if fusion is None
            else [fusion.register_forward_hook(_keep_frame_flow(found))]
        )
        try:
            video = self.predict(context, z, frames)
        finally:
            for hook in hooks:
                hook.remove()
        flow = found[0]
        for finer in found[1:]:
            flow = refine_flow(flow, finer)
        if fusion is None:
            flow = refine_flow(flow, flow.new_zeros(len(flow), 2, self.level.resolution, self.level.resolution))
        return video, flow.unflatten(0, (len(context), -1))


def _keep_flow(found: list[Tensor]) -> Callable[..., None]:
    """A forward hook of a recurrent unit that appends its expected flow `(B*T, 2, h, w)` to `found`."""

    def keep(unit: nn.Module, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, Tensor]) -> None:
        x, state, _ = inputs
        kernels = used_kernels(unit, x, outputs[0], state)
        if kernels is None:
            raise ValueError(f"the recurrent unit {type(unit).__name__} does not warp, so it has no motion fields")
        found.append(expected_flow(kernels.float()).flatten(0, 1))

    return keep


def _keep_frame_flow(found: list[Tensor]) -> Callable[..., None]:
    """The same of a `FrameFusion`, whose kernels move the frames themselves: `(B*T, 2, D, D)`."""

    def keep(fusion: FrameFusion, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.append(expected_flow(fusion.weights(inputs[0]).float()).flatten(0, 1))

    return keep
