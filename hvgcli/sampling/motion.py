"""Continuations with the motion that the recurrent units' kernels imply (TrIVD-GAN section 4.4, figure 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from hvgcli.config import OneStageConfig
from hvgcli.errors import UsageError
from hvgcli.layers.layout import join_time, own_frames
from hvgcli.layers.units import UNITS
from hvgcli.sampling.flow_colours import flow_colours, largest_motion
from hvgcli.sampling.hierarchy import Hierarchy
from hvgcli.sampling.predict import Draw, deviation, draw_latents, predictor, prepare


def warps(level: OneStageConfig) -> bool:
    """Whether a model's recurrent units warp their state, so that there are motion fields."""
    with torch.device("meta"):
        unit = UNITS[level.unit](level.first_width, spectral=False)
    return hasattr(unit, "kernels")


@torch.inference_mode()
def moving_continuation(
    hierarchy: Hierarchy, context: Tensor, seeds: Sequence[int], frames: int, draw: Draw
) -> Iterator[tuple[Tensor, Tensor]]:
    """The pieces of `predict.continuation`, each `(B, n, 3, D, D)`, with their motion `(B, n, 2, D, D)`.

    Motion is since the frame before, to the right and down, in pixels. Arguments and errors as in
    `continuation`, and `UsageError` for a model whose units do not warp.
    """
    network = predictor(hierarchy)
    if not warps(network.level):
        raise UsageError(f"{hierarchy.config.name} has no motion fields: its unit {network.level.unit} does not warp")
    prepare(hierarchy, deviation(draw))
    device = hierarchy.device
    z = draw_latents(seeds, network.level.z_dim, draw).to(device)
    context = context.to(device, torch.float32)
    for start in range(0, frames, network.level.frames):
        with torch.autocast(device.type, torch.bfloat16, enabled=any(hierarchy.half)):
            video, flow = network.flows(context, z, min(network.level.frames, frames - start))
        context = own_frames(join_time(context, video)[:, -network.context :])
        yield video, flow


class FlowPictures:
    """Motion fields of several videos as pictures, piece by piece.

    Each video has one scale: colours are full at the largest motion of its first piece. So they can be compared
    within a video, and what a seed looks like does not depend on the others.
    """

    def __init__(self) -> None:
        self._largest: list[float] = []

    def __call__(self, flow: Tensor) -> Tensor:
        """Motion `(B, n, 2, H, W)` -> uint8 `(B, n, H, W, 3)`."""
        fields = [field[None] for field in flow]
        self._largest = self._largest or [largest_motion(field) or 1.0 for field in fields]
        pictures = [flow_colours(field, largest) for field, largest in zip(fields, self._largest, strict=True)]
        return torch.cat(pictures)
