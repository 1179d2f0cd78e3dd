"""The recurrent units of the generators, by the names of TrIVD-GAN's table 2, behind one interface.

    unit(x, state, steps=None) -> outputs, state

x `(B, T, C, H, W)`; state `(B, C, H, W)`, or None for zeros; outputs `(B, T, C, H, W)`, the last of which is the
new state: a video made in pieces, with the state carried, is the video made at once. With `steps`, x is
`(B, 1, C, H, W)`, the same input for that many timesteps. Everything that acts on x alone runs once for
all timesteps. Every unit keeps the number of channels and has 3x3 convolutions (k = 3).

Dynamic ConvLSTM (appendix F.4) is left out, as it is from the paper's comparison: its cost grows with the square
of the channels (6.4 s a step in the paper, against 0.35 s of TSRU).
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from hvgcli.layers.conv_gru import ConvGRU
from hvgcli.layers.conv_lstm import ConvLSTM
from hvgcli.layers.traj_gru import KTrajGRU
from hvgcli.layers.tsru import TSRUc, TSRUp, TSRUs
from hvgcli.layers.warping import PixelwiseKernels


class MakeUnit(Protocol):
    """A recurrent unit of so many channels, with or without spectral norm on its weights."""

    def __call__(self, channels: int, *, spectral: bool) -> nn.Module: ...


UNITS: dict[str, MakeUnit] = {
    "ConvGRU": ConvGRU,
    "ConvLSTM": ConvLSTM,
    "K-TrajGRU": KTrajGRU,
    "TSRU_c": TSRUc,
    "TSRU_p": TSRUp,
    "TSRU_s": TSRUs,
    "PTSRU_s": partial(TSRUs, kernels=PixelwiseKernels),
}


def used_kernels(unit: nn.Module, x: Tensor, outputs: Tensor, state: Tensor | None = None) -> Tensor | None:
    """The warping kernels `(B, T, k*k, H, W)` behind outputs that a unit has made, or None if it does not warp.

    x, outputs and the state before them are those of the call. The kernels of a timestep follow from the state
    before it and x, so they are made again here, all at once; making the outputs costs nothing more for it.
    """
    kernels = getattr(unit, "kernels", None)
    if kernels is None:
        return None
    first = torch.zeros_like(outputs[:, :1]) if state is None else state.unsqueeze(1)
    before = torch.cat((first, outputs[:, :-1]), dim=1)
    frames = torch.cat((before, x.expand_as(outputs)), dim=2).flatten(0, 1)
    theta = torch.cat([layer(frames) for layer in kernels.first], dim=1)
    return kernels.ready(theta)(theta).unflatten(0, outputs.shape[:2])  # type: ignore[no-any-return]
