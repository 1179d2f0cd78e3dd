"""What `hvg evaluate` is asked for, and the two sets of videos that this means."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from hvgcli.checkpoints import read_model_config
from hvgcli.cli import values
from hvgcli.cli.output import Output
from hvgcli.config import ModelConfig
from hvgcli.data.clips import ClipIndex, scan
from hvgcli.errors import DataError, UsageError
from hvgcli.hub import available, resolve
from hvgcli.metrics.generated import GeneratedVideos, labels_like
from hvgcli.metrics.videos import RealVideos, Videos
from hvgcli.metrics.windows import SamplerName, Sampling
from hvgcli.runtime import choose_half
from hvgcli.sampling import statistics_cache
from hvgcli.sampling.hierarchy import Hierarchy, load
from hvgcli.sampling.statistics import PASSES, long_passes

NUM = 2048  # videos of each set, as usual for FVD
BATCH = 8
SPLITS = 10
SIGMA = 1.0  # HVG appendix H: pictures are drawn with less
LARGEST_SIDE = 4096
RATES_APART = Fraction(3, 2)  # from which on the rates of both sets are told
WORKERS = 2  # threads that decode real clips


@dataclass(frozen=True)
class Request:
    """The options of one call. Exactly one of `model` and `fake` is there."""

    model: str | None
    real: str
    fake: str | None
    sampler: SamplerName
    num: int = NUM
    frames: int | None = None
    stride: int | None = None
    size: tuple[int, int] | None = None
    """(height, width)."""
    sigma: float = SIGMA
    seed: int = 0
    levels: int | None = None
    metrics: tuple[str, ...] | None = None
    features: str = "frames"
    fetch: bool = False
    splits: int = SPLITS
    skip_first: int = 0
    out: Path | None = None
    overwrite: bool = False
    cache: bool = True
    batch: int = BATCH
    device: str = "auto"

    def __post_init__(self) -> None:
        values.check_count("--num", self.num)
        values.check_count("--batch-size", self.batch)
        values.check_count("--splits", self.splits)
        values.check_sigma(self.sigma)
        if self.num < 2:
            raise UsageError(f"--num {self.num}: a set has at least 2 videos")
        if not 0 <= self.seed <= values.MAX_SEED - self.num:
            raise UsageError(f"--seed {self.seed} must be a whole number from 0")
        if self.skip_first < 0:
            raise UsageError(f"--skip-first {self.skip_first} must be at least 0")
        if self.frames is not None:
            values.check_frames(self.frames)
        if self.stride is not None:
            values.check_count("--stride", self.stride)
        if self.model is not None and self.size is not None:
            raise UsageError("--size is for folders of videos: those of a model have a size of their own")
        if self.model is None and self.levels is not None:
            raise UsageError("--levels is for a model: leave it out with --fake")

    @property
    def title(self) -> str:
        """What is compared with what, in a few words."""
        return f"{_name(self.model or self.fake or '')} against {_name(self.real)}"

    @property
    def command(self) -> str:
        """The command line that does the same again."""
        sets = (
            {"--model": self.model, "--data": self.real} if self.model else {"--fake": self.fake, "--real": self.real}
        )
        size = None if self.size is None else f"{self.size[1]}x{self.size[0]}"
        given: dict[str, tuple[Any, Any]] = {
            "--num": (self.num, NUM),
            "--frames": (self.frames, None),
            "--stride": (self.stride, None),
            "--size": (size, None),
            "--sampler": (self.sampler, "folder" if self.model is None else "windows"),
            "--sigma": (self.sigma, SIGMA),
            "--seed": (self.seed, 0),
            "--levels": (self.levels, None),
            "--metrics": (",".join(self.metrics or ()) or None, None),
            "--features": (self.features, "frames"),
            "--splits": (self.splits, SPLITS),
            "--skip-first": (self.skip_first, 0),
        }
        words = [word for option, place in sets.items() for word in (option, str(place))]
        words += [word for option, (value, usual) in given.items() if value != usual for word in (option, str(value))]
        return shlex.join(["hvg", "evaluate", *words])


def _name(place: str) -> str:
    return Path(place).name or place


def parse_size(text: str) -> tuple[int, int]:
    """ "128" or "160x120" (width x height) -> (height, width) in pixels."""
    match = re.fullmatch(r"([0-9]{1,4})(?:x([0-9]{1,4}))?", text.strip().lower())
    width, height = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
        raise UsageError(f"--size {text!r} must be a number of pixels or WIDTHxHEIGHT, each 1..{LARGEST_SIDE}")
    return height, width


# ---- the two sets ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sets:
    """The videos that are compared."""

    real: RealVideos
    fake: Videos
    stride: int
    """Source frames of the real videos for one frame."""
    rate: Fraction
    """Frames per second of both, for sample clips."""
    warnings: tuple[str, ...] = ()

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
            name=_name(source),
            workers=WORKERS,
        )
        for index, step, source in zip(indices, (stride, 1), (request.real, request.fake), strict=True)
    )
    if real.size != fake.size:
        sizes = f"{real.size[1]}x{real.size[0]}, the generated ones {fake.size[1]}x{fake.size[0]}"
        raise DataError(f"the real videos are {sizes}: make them one with --size WIDTHxHEIGHT")
    rates = [usual_rate(index) for index in indices]
    warnings = [*_rate_warnings(rates[0], stride, rates[1]), *_shared_warnings(*indices)]
    return Sets(real, fake, stride, rates[0] / stride, tuple(warnings))


def _shared_warnings(real: ClipIndex, fake: ClipIndex) -> list[str]:
    """A line where both sets are cut from the same files, so that they are not independent."""
    files = [{str(clip.path.resolve()) for clip in index.clips} for index in (real, fake)]
    if not (shared := files[0] & files[1]):
        return []
    return [f"{len(shared)} files are in both sets: distances come out too small, and FVD_inf may be far below 0"]


def _of_model(request: Request, device: torch.device, output: Output) -> Sets:
    model = str(request.model)
    folder = resolve(model)
    config = read_model_config(folder)
    level = values.parse_levels(request.levels, config)
    own = config.levels[level - 1]
    frames = request.frames or config.levels[0].frames * config.frame_factor(level)
    stride = request.stride or own.stride
    sampling = Sampling(frames, stride, (own.resolution,) * 2, request.sampler, request.num, request.seed)
    real = RealVideos(_scanned(request.real, output), sampling, name=_name(request.real), workers=WORKERS)
    labels = labels_like(config, real.class_counts, request.num)
    hierarchy = load(folder, levels=level, device=device)
    hierarchy.half = choose_half("auto", device, level)
    fake = GeneratedVideos(
        hierarchy,
        labels,
        frames=frames,
        sigma=request.sigma,
        seed=request.seed,
        levels=level,
        name=model if model in available() else config.name,
    )
    rates = _rate_warnings(usual_rate(real.index), stride, config.rate(level))
    return Sets(real, fake, stride, config.rate(level), (*_class_warnings(config, real), *rates))


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


def prepare(sets: Sets, request: Request, output: Output) -> None:
    """Find the standing statistics that a model needs for these videos, or measure them."""
    if isinstance(sets.fake, GeneratedVideos):
        for frames in sets.fake.lengths:
            _attach(sets.fake.hierarchy, frames, request.sigma, sets.fake.levels, output)


def _attach(hierarchy: Hierarchy, frames: int, sigma: float, levels: int, output: Output) -> None:
    missing = statistics_cache.attach(hierarchy, frames, sigma, levels, warn=output.warn)
    if not missing:
        return
    output.note(f"measuring standing statistics for sigma {sigma}, once for all")
    with output.progress("statistics", total=len(missing) * long_passes(PASSES)) as advance:
        statistics_cache.measure_missing(hierarchy, frames, sigma, levels, warn=output.warn, progress=advance)
