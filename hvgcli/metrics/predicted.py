"""Predicted videos to measure: the first frames of real windows, and what a predictor makes of them.

As in TrIVD-GAN, a measured video is the context and its continuation, C + T frames, against real videos of as many
frames (section 4.1). Two baselines without a network, and a still with noise, are predictors like the others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from hvgcli import __version__
from hvgcli.data.windows import to_float
from hvgcli.errors import UsageError
from hvgcli.layers.layout import join_time
from hvgcli.metrics.videos import RealVideos, VideoBatch
from hvgcli.sampling.hierarchy import Hierarchy
from hvgcli.sampling.noise import seeded
from hvgcli.sampling.predict import Draw, continuation, copy_last, extrapolate
from hvgcli.sampling.render import to_pixels


class Predictor(Protocol):
    """Continues videos from their first frames."""

    @property
    def name(self) -> str:
        """What tables call it."""

    @property
    def constant(self) -> bool:
        """Whether its continuations are the same for all seeds."""

    @property
    def described(self) -> dict[str, Any]:
        """JSON values that a protocol states of it: its model and how z is drawn."""

    @property
    def key(self) -> str:
        """Names all that its frames depend on, for caches; "" = do not cache."""

    def predict(self, context: Tensor, seeds: Sequence[int], frames: int) -> Tensor:
        """uint8 (B, C, H, W, 3) -> uint8 (B, frames, H, W, 3); row i depends on context i and seed i only."""


def stated(truncation: float | None) -> float | str:
    """How a protocol states a truncation: "none" is none, where nothing at all would be a method without z."""
    return "none" if truncation is None else truncation


# ---- predictors --------------------------------------------------------------------------------


class ModelPredictor:
    """A loaded predictor (DVD-GAN-FP, TrIVD-GAN-FP) and how its z is drawn.

    Args:
        hierarchy: the model, with the standing statistics that its folder has.
        draw: sigma and truncation of z.
        name: how tables call it; its config's name by default.
    """

    def __init__(self, hierarchy: Hierarchy, draw: Draw, *, name: str = "") -> None:
        self.hierarchy, self.draw = hierarchy, draw
        self.name = name or hierarchy.config.name

    @property
    def constant(self) -> bool:
        return self.draw.constant

    @property
    def described(self) -> dict[str, Any]:
        draw = self.draw
        return {
            "name": self.name,
            "sha": self.hierarchy.sha,
            "sigma": draw.sigma,
            "truncation": stated(draw.truncation),
        }

    @property
    def key(self) -> str:
        arithmetic = [__version__, list(self.hierarchy.half), self.hierarchy.device.type]
        return json.dumps([self.described, arithmetic]) if self.hierarchy.sha else ""

    def predict(self, context: Tensor, seeds: Sequence[int], frames: int) -> Tensor:
        video = join_time(*continuation(self.hierarchy, to_float(context), seeds, frames, self.draw))
        return torch.from_numpy(to_pixels(video))


@dataclass(frozen=True)
class Baseline:
    """A continuation that needs no network."""

    name: str
    rule: Callable[[Tensor, int], Tensor]
    """(B, C, 3, H, W) in [-1, 1] and a number of frames -> (B, frames, 3, H, W)."""
    constant: bool = True

    @property
    def described(self) -> dict[str, Any]:
        return {"name": self.name}

    @property
    def key(self) -> str:
        return json.dumps([self.name, __version__])

    def predict(self, context: Tensor, seeds: Sequence[int], frames: int) -> Tensor:
        return torch.from_numpy(to_pixels(self.rule(to_float(context), frames)))


BASELINES = {"copy": Baseline("copy-last-frame", copy_last), "linear": Baseline("linear-extrapolation", extrapolate)}


@dataclass(frozen=True)
class NoisyCopy:
    """The last frame with one pattern of noise, held: diversity that knows nothing of motion."""

    deviation: float
    """Standard deviation of the noise, in steps of 255."""
    cell: int = 1
    """Pixels from one draw to the next, in height and width; bilinear between them. 1 is a draw for each pixel."""
    constant: bool = False

    @property
    def name(self) -> str:
        grain = "" if self.cell == 1 else f" over {self.cell} px"
        return f"copy + noise, {self.deviation:g}/255{grain}"

    @property
    def described(self) -> dict[str, Any]:
        return {"name": self.name, "deviation": self.deviation, "cell": self.cell}

    @property
    def key(self) -> str:
        return json.dumps([self.described, __version__])

    def predict(self, context: Tensor, seeds: Sequence[int], frames: int) -> Tensor:
        last = context[:, -1].float()  # (B, H, W, 3)
        noise = torch.stack([self._noise(seed, (last.shape[1], last.shape[2])) for seed in seeds])
        noisy = (last + self.deviation * noise).round().clamp(0, 255).byte()
        return noisy[:, None].expand(-1, frames, -1, -1, -1)

    def _noise(self, seed: int, size: tuple[int, int]) -> Tensor:
        """(H, W, 3), of variance 1 where it was drawn."""
        grid = [max(side // self.cell, 1) for side in size]
        drawn = torch.randn(1, 3, *grid, generator=seeded("noise", seed))
        return F.interpolate(drawn, size, mode="bilinear", align_corners=False)[0].permute(1, 2, 0)


# ---- the set -----------------------------------------------------------------------------------


class PredictedVideos:
    """The windows of a real set, each with its own first frames and a predicted rest, as `Videos`.

    Args:
        real: the windows, of C + T frames at the predictor's stride and size.
        predictor: what continues them.
        context: first frames C that it is given.
        seed: of the first video; video i has seed + i.

    Raises:
        UsageError: no frame of a window is left to predict.
    """

    def __init__(self, real: RealVideos, predictor: Predictor, *, context: int, seed: int = 0) -> None:
        self.real, self.predictor, self.context, self.seed = real, predictor, context, seed
        self.predicted = real.sampling.frames - context
        if context < 1 or self.predicted < 1:
            total = real.sampling.frames
            raise UsageError(f"got windows of {total} frames for a context of {context}: at least 1 is to be predicted")

    @property
    def count(self) -> int:
        return self.real.count

    @property
    def classes(self) -> tuple[str, ...]:
        return self.real.classes

    @property
    def left_out(self) -> tuple[str, ...]:
        """Nothing more than the real set has left out."""
        return ()

    @property
    def described(self) -> dict[str, Any]:
        of_real = {key: self.real.described[key] for key in ("videos", "takes", "sampler", "size")}
        frames = {"frames": self.context + self.predicted, "context": self.context, "predicted": self.predicted}
        seed = {} if self.predictor.constant else {"seed": self.seed}
        return {**self.predictor.described, **of_real, **frames, **seed}

    @property
    def key(self) -> str:
        if not (self.real.key and self.predictor.key):
            return ""
        what = ["predicted", self.real.key, self.predictor.key, self.context, self.seed]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()

    def batches(self, size: int) -> Iterator[VideoBatch]:
        """All videos in order, at most `size` at a time.

        Raises:
            DataError: no window can be decoded.
            WeightsError: the model has no standing statistics.
        """
        seed = self.seed
        for batch in self.real.batches(size):
            given = batch.frames[:, : self.context]
            seeds = range(seed, seed + len(given))
            video = torch.cat((given, self.predictor.predict(given, seeds, self.predicted)), dim=1)
            yield VideoBatch(video, batch.labels, batch.takes)
            seed = seeds.stop
