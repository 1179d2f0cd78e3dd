"""The two sets of videos that `hvg evaluate` is asked to compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch

from hvgcli.checkpoints import read_model_config
from hvgcli.cli import values
from hvgcli.cli.evaluating.request import Request, short_name
from hvgcli.cli.output import Output
from hvgcli.config import ModelConfig
from hvgcli.data.clips import ClipIndex, scan
from hvgcli.errors import DataError, UsageError
from hvgcli.hub import available, resolve
from hvgcli.metrics.generated import GeneratedVideos, labels_like
from hvgcli.metrics.predicted import BASELINES, ModelPredictor, PredictedVideos, Predictor
from hvgcli.metrics.videos import RealVideos, Videos
from hvgcli.metrics.windows import Sampling
from hvgcli.runtime import choose_half
from hvgcli.sampling import statistics_cache
from hvgcli.sampling.hierarchy import Hierarchy, load
from hvgcli.sampling.predict import Draw
from hvgcli.sampling.statistics import PASSES, Passes

RATES_APART = Fraction(3, 2)  # from which on the rates of both sets are told
WORKERS = 2  # threads that decode real clips
LISTED = 5  # files that were left out and are named


# ---- the two sets ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sets:
    """The videos that are compared."""

    real: RealVideos
    fakes: tuple[Videos, ...]
    """Of a model: one set for each sigma, rising."""
    stride: int
    """Source frames of the real videos for one frame."""
    rate: Fraction
    """Frames per second of both, for sample clips."""
    warnings: tuple[str, ...] = ()

    @property
    def fake(self) -> Videos:
        """What all but the truncation curve is measured on."""
        return self.fakes[-1]

    @property
    def predicted(self) -> PredictedVideos | None:
        """The fake set, where it is of a predictor or of a baseline."""
        return self.fake if isinstance(self.fake, PredictedVideos) else None

    @property
    def frames(self) -> int:
        return self.real.sampling.frames

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.real.size


def find_sets(request: Request, device: torch.device, output: Output) -> Sets:
    """Scan and load what the request names; nothing is decoded or generated yet.

    Raises:
        DataError: a source without usable videos, videos that are too short, mixed sizes.
        WeightsError, UsageError: a model that is missing or does not know a class of the real videos.
    """
    return _of_folders(request, output) if request.model is None else _of_model(request, device, output)


def _scanned(source: str, output: Output) -> ClipIndex:
    with output.progress("looking at the videos") as advance:
        return scan(source, progress=lambda done, total: advance(1))


def _of_folders(request: Request, output: Output) -> Sets:
    if request.fake is None:
        raise UsageError("give --fake with --real")
    indices = [_scanned(source, output) for source in (request.real, request.fake)]
    stride = request.stride or 1
    lengths = [
        min((clip.frames - 1) // step + 1 for clip in i.clips) for i, step in zip(indices, (stride, 1), strict=True)
    ]
    frames = request.frames or min(lengths)
    real, fake = (
        RealVideos(
            index,
            Sampling(frames, step, request.size, request.sampler, request.num, request.seed),
            name=short_name(source),
            workers=WORKERS,
        )
        for index, step, source in zip(indices, (stride, 1), (request.real, request.fake), strict=True)
    )
    if real.size != fake.size:
        sizes = f"{real.size[1]}x{real.size[0]}, the generated ones {fake.size[1]}x{fake.size[0]}"
        raise DataError(f"the real videos are {sizes}: make them one with --size WIDTHxHEIGHT")
    rates = [usual_rate(index) for index in indices]
    warnings = [*_rate_warnings(rates[0], stride, rates[1]), *_shared_warnings(*indices)]
    return Sets(real, (fake,), stride, rates[0] / stride, tuple(warnings))


def _shared_warnings(real: ClipIndex, fake: ClipIndex) -> list[str]:
    """A line where both sets are cut from the same files, so that they are not independent."""
    files = [{str(clip.path.resolve()) for clip in index.clips} for index in (real, fake)]
    if not (shared := files[0] & files[1]):
        return []
    return [f"{len(shared)} files are in both sets: distances come out too small, and FVD_inf may be far below 0"]


def _of_model(request: Request, device: torch.device, output: Output) -> Sets:
    folder = resolve(str(request.model))
    config = read_model_config(folder)
    level = values.parse_levels(request.levels, config)
    own = config.levels[level - 1]
    added = request.frames or config.levels[0].frames * config.frame_factor(level)
    stride = request.stride or own.stride
    size = (own.resolution,) * 2
    sampling = Sampling(config.context + added, stride, size, request.sampler, request.num, request.seed)
    real = RealVideos(_scanned(request.real, output), sampling, name=short_name(request.real), workers=WORKERS)
    make = _predicted if config.predictor else _generated
    fakes = make(request, Source(folder, config, level, device), real)
    rates = _rate_warnings(usual_rate(real.index), stride, config.rate(level))
    return Sets(real, fakes, stride, config.rate(level), (*_class_warnings(config, real), *rates))


@dataclass(frozen=True)
class Source:
    """The model that is measured."""

    folder: Path
    config: ModelConfig
    level: int
    device: torch.device

    def load(self) -> Hierarchy:
        hierarchy = load(self.folder, levels=self.level, device=self.device)
        hierarchy.half = choose_half("auto", self.device, self.level)
        return hierarchy

    def name(self, request: Request) -> str:
        return str(request.model) if request.model in available() else self.config.name


def _generated(request: Request, source: Source, real: RealVideos) -> tuple[Videos, ...]:
    for option, value in {"--truncation": request.truncation, "--baseline": request.baseline}.items():
        if value is not None:
            raise UsageError(f"{option} is for a predictor, and {source.config.name} is none: leave it out")
    labels = labels_like(source.config, real.class_counts, request.num)
    hierarchy, name = source.load(), source.name(request)
    return tuple(
        GeneratedVideos(
            hierarchy,
            labels,
            frames=real.sampling.frames,
            sigma=sigma,
            seed=request.seed,
            levels=source.level,
            name=name,
        )
        for sigma in request.sigmas
    )


def _predicted(request: Request, source: Source, real: RealVideos) -> tuple[Videos, ...]:
    predictors: list[Predictor]
    if request.baseline:
        predictors = [BASELINES[request.baseline]]
    else:
        hierarchy, name = source.load(), source.name(request)
        predictors = [ModelPredictor(hierarchy, Draw(s, request.truncation), name=name) for s in request.sigmas]
    context = source.config.context
    return tuple(PredictedVideos(real, predictor, context=context, seed=request.seed) for predictor in predictors)


def usual_rate(index: ClipIndex) -> Fraction:
    """Frames per second of the middle clip, by rate."""
    return sorted(clip.rate for clip in index.clips)[len(index.clips) // 2]


def _rate_warnings(source: Fraction, stride: int, fake: Fraction) -> list[str]:
    """A line where real and generated videos clearly have other speeds."""
    if fake / RATES_APART <= source / stride <= fake * RATES_APART:
        return []
    return [
        f"the real videos have {float(source / stride):.4g} frames a second, the generated ones {float(fake):.4g}: "
        f"is --stride {max(1, round(source / fake))} meant?"
    ]


def _class_warnings(config: ModelConfig, real: RealVideos) -> list[str]:
    """What the real set does not say about the model's classes."""
    if not config.conditional:
        return []
    if not any(real.class_counts.values()):
        return [f"{real.name} has no classes: the videos are of all {config.num_classes} classes of the model alike"]
    missing = [name for name in config.class_names() if not real.class_counts.get(name)]
    if not missing:
        return []
    return [f"classes of the model without real videos are not evaluated: {', '.join(missing)}"]


def left_out_lines(name: str, left_out: Sequence[str]) -> list[str]:
    """Warnings of the files that were left out of the set of that name."""
    lines = [f"left out of the {name} set: {reason}" for reason in left_out[:LISTED]]
    if (more := len(left_out) - LISTED) > 0:
        lines.append(f"left out of the {name} set: {more} more files")
    return lines


def prepare(sets: Sets, output: Output) -> None:
    """Find the standing statistics that a model needs for these videos, or measure them."""
    for fake in sets.fakes:
        if isinstance(fake, GeneratedVideos):
            for frames in fake.lengths:
                _attach(fake.hierarchy, frames, fake.sigma, fake.levels, output)


def _attach(hierarchy: Hierarchy, frames: int, sigma: float, levels: int, output: Output) -> None:
    missing = statistics_cache.attach(hierarchy, frames, sigma, levels, warn=output.warn)
    if not missing:
        return
    output.note(f"measuring standing statistics for sigma {sigma}, once for all")
    with output.progress("statistics", total=sum(Passes.of(PASSES, level).total for level in missing)) as advance:
        statistics_cache.measure_missing(hierarchy, frames, sigma, levels, warn=output.warn, progress=advance)
