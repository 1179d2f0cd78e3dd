"""Continuing a video from its first frames with DVD-GAN-FP or TrIVD-GAN-FP, and two baselines without a network.

A predictor makes as many frames as it was trained on, its horizon. Beyond it, the last frames that it made
are its next context: this is ours, the papers stop at the horizon.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hvgcli.config import OneStageConfig
from hvgcli.errors import UsageError, WeightsError
from hvgcli.layers.layout import as_video_order, join_time, own_frames
from hvgcli.layers.units import UNITS
from hvgcli.models.frame_prediction import FramePredictor
from hvgcli.sampling import statistics
from hvgcli.sampling.hierarchy import Hierarchy
from hvgcli.sampling.noise import seeded

# ---- z -------------------------------------------------------------------------------------------

_NARROW = 1e-4  # a normal distribution cut off at this many sigmas is uniform
_WIDE = 12.0  # and at this many it is whole, to the last digit of a float64


@dataclass(frozen=True)
class Draw:
    """How the entries of z are drawn: from N(0, sigma^2), cut off at a threshold."""

    sigma: float = 1.0
    truncation: float | None = None
    """Entries with |z| above it are drawn again (TrIVD-GAN D.1: 0.8). 0: z is zero. None: all are kept."""

    def __post_init__(self) -> None:
        for name, value in (("sigma", self.sigma), ("truncation", self.truncation)):
            if value is not None and not (0 <= value < math.inf):
                raise UsageError(f"got a {name} of {value}, expected 0 or more: give another --{name}")

    @property
    def constant(self) -> bool:
        """Whether z is zero, whatever the seed."""
        return self.sigma == 0 or self.truncation == 0


def _within(bound: float, uniform: Tensor) -> Tensor:
    """Standard normal numbers of [-bound, bound], from uniform ones of [0, 1): the inverse of their distribution."""
    share = math.erf(bound / math.sqrt(2))
    return (math.sqrt(2) * torch.erfinv((2 * uniform - 1) * share)).clamp(-bound, bound)


def _draw(seed: int, z_dim: int, draw: Draw) -> Tensor:
    """z `(z_dim,)` of one seed."""
    generator = seeded("z", seed, 1)
    z = torch.randn(z_dim, generator=generator).double()
    if draw.truncation is not None:
        bound = min(draw.truncation / draw.sigma, _WIDE)
        # Drawing again and again until it fits ends with the distribution of what fits: one draw from it will do.
        again = _within(bound, torch.rand(z_dim, generator=generator, dtype=torch.float64))
        z = torch.where(z.abs() > bound, again, z)
    return (draw.sigma * z).float()


def draw_latents(seeds: Sequence[int], z_dim: int, draw: Draw) -> Tensor:
    """z `(B, z_dim)`, float32, on the CPU; row i depends on seeds[i] and `draw` only.

    Without truncation it is sigma times `noise.latents` of level 1; truncation changes the entries above it alone.
    """
    if draw.constant:
        return torch.zeros(len(seeds), z_dim)
    return torch.stack([_draw(seed, z_dim, draw) for seed in seeds])


def deviation(draw: Draw) -> float:
    """Standard deviation of an entry of z: that of a normal distribution cut off at a = truncation / sigma.

    sigma^2 (1 - 2 a phi(a) / (2 Phi(a) - 1)), phi and Phi the density and distribution of N(0, 1).
    """
    if draw.constant or draw.truncation is None:
        return 0.0 if draw.constant else draw.sigma
    a = min(draw.truncation / draw.sigma, _WIDE)
    if a < _NARROW:
        return draw.truncation / math.sqrt(3)
    density = math.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    return draw.sigma * math.sqrt(1 - 2 * a * density / math.erf(a / math.sqrt(2)))


# ---- the network ---------------------------------------------------------------------------------


def predictor(hierarchy: Hierarchy) -> FramePredictor:
    """The network of a predictor; `UsageError` for a model of another family."""
    network = hierarchy.generators[0]
    if not isinstance(network, FramePredictor):
        raise UsageError(
            f"{hierarchy.config.name} makes videos from nothing, expected a predictor: give --model trivd-gan-fp-mini"
        )
    return network


def prepare(hierarchy: Hierarchy, deviation: float) -> None:
    """Install the standing statistics that were measured with the z nearest to this standard deviation.

    Errors: `UsageError` when the model is no predictor, `WeightsError` when it has no statistics for its horizon.
    """
    network = predictor(hierarchy)
    horizon = network.level.frames
    fitting = [table for table in hierarchy.tables[0] if table.serves(table.sigma, horizon)]
    if not fitting:
        raise WeightsError(
            f"{hierarchy.config.name} has no standing statistics for its {horizon} frames: "
            "they are measured at the end of its training, so finish that or pull the model again"
        )
    statistics.install(network, min(fitting, key=lambda table: (abs(table.sigma - deviation), table.sigma)))


def _check(network: FramePredictor, context: Tensor, seeds: Sequence[int], frames: int) -> None:
    size = network.level.resolution
    if frames < 1:
        raise UsageError(f"got {frames} frames to predict, expected at least 1: give another --frames")
    if context.ndim != 5 or context.shape[2:] != (3, size, size):
        raise UsageError(
            f"got a context of shape {tuple(context.shape)}, expected (B, C, 3, {size}, {size}): resize it"
        )
    if context.shape[1] != network.context:
        raise UsageError(
            f"got {context.shape[1]} context frames, expected {network.context}: as many as it was trained on"
        )
    if len(seeds) != len(context):
        raise UsageError(f"got {len(seeds)} seeds for {len(context)} contexts: give one seed a context")


def _last(context: Tensor, video: Tensor) -> Tensor:
    """The last frames of both, as many as the context has."""
    return own_frames(join_time(context, video)[:, -context.shape[1] :])


def continuation(
    hierarchy: Hierarchy, context: Tensor, seeds: Sequence[int], frames: int, draw: Draw, *, half: bool | None = None
) -> Iterator[Tensor]:
    """What follows each context, in pieces `(B, n, 3, D, D)` in [-1, 1] that together have `frames` frames.

    context: `(B, C, 3, D, D)` in [-1, 1], C and D those of the model. seeds: one a context. A piece is one horizon
    long, the last one shorter. Beyond the horizon the last C frames are the next context, with the same z.
    half: compute in bfloat16 (None: where `hierarchy.half` says so). What one context becomes depends neither
    on those beside it nor on `frames`, and memory does not grow with `frames`.

    Errors: those of `prepare`; `UsageError` when context, seeds or frames do not fit the model.
    """
    for video, _ in _pieces(hierarchy, context, seeds, frames, draw, half, motion=False):
        yield video


def moving_continuation(
    hierarchy: Hierarchy, context: Tensor, seeds: Sequence[int], frames: int, draw: Draw, *, half: bool | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """The pieces of `continuation`, each with the motion `(B, n, 2, D, D)` that the recurrent units warp by.

    It is since the frame before, to the right and down, in pixels (TrIVD-GAN section 4.4). Errors: as
    `continuation`, and `UsageError` for a model whose units do not warp.
    """
    level = predictor(hierarchy).level
    if not warps(level):
        raise UsageError(f"{hierarchy.config.name} has no motion fields: its unit {level.unit} does not warp")
    for video, flow in _pieces(hierarchy, context, seeds, frames, draw, half, motion=True):
        assert flow is not None
        yield video, flow


def warps(level: OneStageConfig) -> bool:
    """Whether a model's recurrent units warp their state, or it its frames, so that there are motion fields."""
    if level.frame_kernel:
        return True
    with torch.device("meta"):
        unit = UNITS[level.unit](level.first_width, spectral=False)
    return hasattr(unit, "kernels")


@torch.inference_mode()
def _pieces(
    hierarchy: Hierarchy,
    context: Tensor,
    seeds: Sequence[int],
    frames: int,
    draw: Draw,
    half: bool | None,
    *,
    motion: bool,
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The pieces of `continuation`, with their motion if it is wanted."""
    network = predictor(hierarchy)
    _check(network, context, seeds, frames)
    prepare(hierarchy, deviation(draw))
    device = hierarchy.device
    half = any(hierarchy.half) if half is None else half
    z = draw_latents(seeds, network.level.z_dim, draw).to(device)
    context = context.to(device, torch.float32)
    for start in range(0, frames, network.level.frames):
        count = min(network.level.frames, frames - start)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            video, flow = network.flows(context, z, count) if motion else (network.predict(context, z, count), None)
        context = _last(context, video)
        yield video, flow


# ---- baselines -----------------------------------------------------------------------------------


def _check_baseline(context: Tensor, frames: int) -> None:
    if frames < 1 or context.shape[1] < 1:
        raise UsageError(f"got {frames} frames to predict from {context.shape[1]}, expected at least 1 from at least 1")


def copy_last(context: Tensor, frames: int) -> Tensor:
    """The last frame of `(B, C, 3, H, W)`, again and again: `(B, frames, 3, H, W)`."""
    _check_baseline(context, frames)
    return as_video_order(context[:, -1:].expand(-1, frames, -1, -1, -1))


def extrapolate(context: Tensor, frames: int) -> Tensor:
    """Every pixel goes on as it went from the frame before the last to the last, within [-1, 1].

    context `(B, C, 3, H, W)` in [-1, 1] -> `(B, frames, 3, H, W)`. From one frame alone it is `copy_last`.
    """
    still = copy_last(context, frames)
    if context.shape[1] == 1:
        return still
    steps = torch.arange(1, frames + 1, device=context.device, dtype=context.dtype)[:, None, None, None]
    return as_video_order((still + steps * (context[:, -1:] - context[:, -2:-1])).clamp(-1, 1))
