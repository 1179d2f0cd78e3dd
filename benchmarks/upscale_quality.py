"""How near enlarged clips are to the true ones: PSNR, SSIM, Frechet distances and grounding of several methods.

The truth is a window of a real clip, square and 128x128, every frame; the input is f_s and f_t of it, by the
factors of the level, rounded to 8 bits. Every method sees the same input and is measured on all frames, before any
encoding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor
from upscale_factors import BETWEEN, OURS, UNGROUNDED, WHOLE, Factors
from upscale_peer import bilinear, grounded, lanczos, minterpolate_between

from hvgcli.data.clips import scan
from hvgcli.data.pyramid import downsample_space, subsample_time
from hvgcli.errors import DataError
from hvgcli.hub import resolve
from hvgcli.metrics.frechet import frechet_of_features, principal_components
from hvgcli.metrics.networks import FeatureNetwork
from hvgcli.metrics.similarity import psnr, ssim
from hvgcli.metrics.videos import RealVideos, VideoBatch
from hvgcli.metrics.windows import Sampling
from hvgcli.runtime import has_fast_bfloat16
from hvgcli.sampling.grounding import GroundingError, grounding_error
from hvgcli.sampling.hierarchy import Level, load_level
from hvgcli.sampling.upscale import Enlarger, Images, from_pixels, to_pixels

SIZE = 128
BATCH = 8  # windows that a feature network sees at a time
RESAMPLINGS = 200
COMPONENTS = 64
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Options:
    """What is measured."""

    model: str
    level: int
    windows: int
    """Windows of each set."""
    every: int
    """PSNR and SSIM are taken of every so many windows."""
    frames: int
    """Frames of a window, at the clip's own rate."""
    variants: bool
    """Whether other settings of ours are measured too."""
    seed: int = 0


Make = Callable[[Images, int | None], Images]
"""(input uint8 (T, H, W, 3), class or None) -> (tT, sH, sW, 3)."""


@dataclass
class Method:
    """One way to enlarge, and what was measured of it so far."""

    make: Make
    error: GroundingError = field(default_factory=GroundingError)
    scores: dict[str, list[float]] = field(default_factory=dict)
    features: list[list[Tensor]] = field(default_factory=list)
    """Of each network, by batches."""


# ---- methods --------------------------------------------------------------------------------------


def enlarge(enlarger: Enlarger, low: Images) -> Images:
    """All frames of one clip."""
    made = enlarger.enlarge(low, range(len(low)), len(low))
    return np.concatenate([part.images for part in made])


def ours(level: Level, **settings: object) -> Make:
    """hvg, with the precision that the command would choose."""
    precision = torch.bfloat16 if has_fast_bfloat16(level.device) else torch.float32
    enlarger = Enlarger(level, precision=precision, **settings)  # type: ignore[arg-type]
    return lambda low, label: enlarge(enlarger, low)


def by_class(level: Level) -> Make:
    """hvg, told what each clip shows."""
    each = [ours(level, labels=[label]) for label in range(level.config.num_classes)]

    def make(low: Images, label: int | None) -> Images:
        assert label is not None
        return each[label](low, None)

    return make


def all_methods(level: Level, classes: bool, variants: bool) -> dict[str, Method]:
    """By name, in the order of the table. classes: whether the clips have the model's classes."""
    times = Factors.of(level.config, level.number)
    methods = own_methods(level, times, classes, variants) | other_methods(times, variants)
    return {name: Method(make) for name, make in methods.items()}


def own_methods(level: Level, times: Factors, classes: bool, variants: bool) -> dict[str, Make]:
    methods = {OURS: ours(level), UNGROUNDED: ours(level, ground=False)}
    if Enlarger(level).detail < 1:
        methods[WHOLE] = ours(level, detail=1)
    if times.time > 1:
        methods[BETWEEN] = lambda low, label: minterpolate_between(methods[OURS](low, None), times)
    if classes:
        methods["ours, --class of the clip"] = by_class(level)
    if variants:
        known = {table.sigma for table in level.tables}
        methods |= {f"ours, --sigma {sigma:g}": ours(level, sigma=sigma) for sigma in known - {level.config.sigma}}
    return methods


def other_methods(times: Factors, variants: bool) -> dict[str, Make]:
    methods: dict[str, Make] = {}
    if variants and times.time > 1:
        methods["minterpolate, then lanczos"] = lambda low, label: lanczos(low, times, enlarge_first=False)
    methods[times.peer] = lambda low, label: lanczos(low, times)
    methods[f"{times.peer}, grounded"] = lambda low, label: grounded(lanczos(low, times), low, times)
    methods[times.plain] = lambda low, label: bilinear(low, times)
    methods[f"{times.plain}, grounded"] = lambda low, label: grounded(bilinear(low, times), low, times)
    return methods


# ---- one set --------------------------------------------------------------------------------------


def low_of(truth: Tensor, times: Factors) -> Images:
    """uint8 (T, H, W, 3) -> its f_s and f_t, rounded to uint8 (T/t, H/s, W/s, 3)."""
    video = subsample_time(from_pixels(truth.numpy(), CPU)[None], times.time)
    return to_pixels(downsample_space(video, truth.shape[1] // times.space)[0], np.dtype(np.uint8))


def score(method: Method, truth: Tensor, made: Tensor, times: Factors) -> None:
    """PSNR and SSIM of one window; where there are frames between, of them and of those with an input apart."""
    at_input = torch.arange(len(truth)) % times.time == 0
    parts = {"": torch.ones_like(at_input)}
    if times.time > 1:
        parts |= {" at input": at_input, " between": ~at_input}
    for name, values in (("psnr", psnr(truth, made)), ("ssim", ssim(truth, made))):
        for part, chosen in parts.items():
            method.scores.setdefault(name + part, []).append(values[chosen].mean().item())


class SetMeasurement:
    """One set of clips: the methods, and what is known of them and of the truth so far."""

    def __init__(self, folder: Path, name: str, level: Level, networks: list[FeatureNetwork], options: Options) -> None:
        sampling = Sampling(options.frames, 1, (SIZE, SIZE), "windows", options.windows, options.seed)
        self.videos = RealVideos(scan(folder), sampling, name=name, workers=1)
        self.networks, self.every, self.times = networks, options.every, Factors.of(level.config, level.number)
        self.known = level.config.class_names() if level.config.conditional else ()
        self.classes = bool(self.videos.classes) and set(self.videos.classes) <= set(self.known)
        self.methods = all_methods(level, self.classes, options.variants)
        for method in self.methods.values():
            method.features = [[] for _ in networks]
        self.truth: list[list[Tensor]] = [[] for _ in networks]
        self.takes: list[Tensor] = []
        self.done, self.added = 0, 0.0

    def run(self, say: Callable[[str], None]) -> dict[str, Any]:
        """All windows; the results as JSON values."""
        for batch in self.videos.batches(BATCH):
            self._add(batch)
            say(f"{self.videos.name}: {self.done} of {self.videos.count} windows")
        takes = torch.cat(self.takes)
        return {
            "set": self.videos.described,
            "scored": len(self.methods[OURS].scores["psnr"]),
            "network to plain interpolation, mean 1/255": self.added / self.done,
            "methods": {key: _summary(method) for key, method in self.methods.items()},
            "frechet": [
                _distances(network, torch.cat(self.truth[number]), self.methods, number, takes)
                for number, network in enumerate(self.networks)
            ],
        }

    def _add(self, batch: VideoBatch) -> None:
        lows, labels = [low_of(frames, self.times) for frames in batch.frames], self._labels(batch)
        for part, network in zip(self.truth, self.networks, strict=True):
            part.append(network.logits(batch.frames))
        made = {}
        for name, method in self.methods.items():
            results = [torch.from_numpy(method.make(low, label)) for low, label in zip(lows, labels, strict=True)]
            made[name] = torch.stack(results)
            self._note(method, batch.frames, made[name], lows)
        difference = made[UNGROUNDED].float() - made[self.times.plain].float()
        self.added += difference.abs().mean((1, 2, 3, 4)).sum().item()
        self.takes.append(batch.takes)
        self.done += len(batch.frames)

    def _labels(self, batch: VideoBatch) -> list[int | None]:
        """The model's number of the class of each clip, where it knows all classes."""
        if batch.labels is None or not self.classes:
            return [None] * len(batch.frames)
        return [self.known.index(self.videos.classes[label]) for label in batch.labels.tolist()]

    def _note(self, method: Method, truth: Tensor, made: Tensor, lows: list[Images]) -> None:
        """Add the windows of one batch to what is known of a method."""
        for part, network in zip(method.features, self.networks, strict=True):
            part.append(network.logits(made))
        for result, low in zip(made, lows, strict=True):
            anchors = from_pixels(result[:: self.times.time].numpy(), CPU)
            method.error = method.error.merge(grounding_error(anchors, from_pixels(low, CPU)))
        for number in range(-self.done % self.every, len(made), self.every):
            score(method, truth[number], made[number], self.times)


def _summary(method: Method) -> dict[str, float]:
    means = {name: fmean(values) for name, values in method.scores.items()}
    return means | {"grounding, 1/255": 255 * method.error.mean, "grounding max, 1/255": 255 * method.error.max}


def _distances(
    network: FeatureNetwork, real: Tensor, methods: dict[str, Method], number: int, takes: Tensor
) -> dict[str, Any]:
    """Frechet distances to the truth, whole and of its principal components, and how sure the order is.

    real: features of the truth; number: which of the networks.
    """
    made = {name: torch.cat(method.features[number]) for name, method in methods.items()}
    whole = {name: frechet_of_features(real, features) for name, features in made.items()}
    projection = principal_components(real, COMPONENTS)
    seen, shown = projection(real), {name: projection(features) for name, features in made.items()}
    few = {name: frechet_of_features(seen, features) for name, features in shown.items()}
    return {
        "network": network.name,
        "sha256": network.sha256,
        "dimensions": real.shape[1],
        "components": projection.count,
        "explained": projection.explained,
        "distance": whole,
        "distance of components": few,
        "share of resamplings in which ours is nearer": {
            name: _wins(seen, shown[OURS], features, takes) for name, features in shown.items() if name != OURS
        },
    }


def _wins(real: Tensor, first: Tensor, second: Tensor, takes: Tensor) -> float:
    """Share of bootstrap samples of whole takes, the same for all three sets, in which `first` is nearer to `real`.

    Equal distances are half a win.
    """
    generator = torch.Generator().manual_seed(0)
    groups = [torch.nonzero(takes == take).flatten() for take in takes.unique()]
    wins = 0.0
    for _ in range(RESAMPLINGS):
        drawn = torch.randint(len(groups), (len(groups),), generator=generator).tolist()
        rows = torch.cat([groups[i] for i in drawn])
        a, b = (frechet_of_features(real[rows], other[rows]) for other in (first, second))
        wins += 0.5 if a == b else float(a < b)
    return wins / RESAMPLINGS


def measure(
    folders: dict[str, Path], networks: list[FeatureNetwork], options: Options, say: Callable[[str], None]
) -> dict[str, Any]:
    """All sets by their names."""
    level = load_level(resolve(options.model), options.level)
    times = Factors.of(level.config, level.number)
    if SIZE % times.space or options.frames % times.time:
        raise DataError(
            f"level {level.number} enlarges {times.words}: windows of {options.frames} frames, {SIZE}x{SIZE}, "
            "are no multiple of that: choose another number of --frames, or another --level"
        )
    return {name: SetMeasurement(folder, name, level, networks, options).run(say) for name, folder in folders.items()}
