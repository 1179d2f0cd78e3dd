"""Numbers of single videos: predictions and variations, each compared with the one real video of its name."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from hvgcli.data.cache import resize_uint8
from hvgcli.data.sources import SUFFIXES, natural_key
from hvgcli.errors import DataError
from hvgcli.metrics.estimate import spread
from hvgcli.metrics.networks import FeatureNetwork
from hvgcli.metrics.places import Places, places_of
from hvgcli.metrics.results import Metric, metric
from hvgcli.metrics.similarity import NAMES, SCORES, best_of, sample_scores
from hvgcli.metrics.single import Size, svfid
from hvgcli.video import read_video

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True)
class Pair:
    """One real video and the samples that are compared with it."""

    name: str
    real: Path
    samples: tuple[Path, ...]


@dataclass(frozen=True)
class Reading:
    """How the frames of a pair are made."""

    frames: int | None = None
    """At most so many, from the first on; None: as many as all videos of the pair have."""
    size: tuple[int, int] | None = None
    """(height, width) that whole frames are resized to; None: as they are."""
    skip: int = 0
    """First frames that are left out: those that a prediction was given."""


# ---- which videos ------------------------------------------------------------------------------


def find_pairs(real: Path, fake: Path) -> list[Pair]:
    """A file against a file (or a folder of samples of it), or the files of two folders by their names.

    The samples of `NAME.mp4` are `NAME.mp4`, and every `NAME` followed by anything but a letter or digit:
    `NAME_0.mp4`, `NAME-seed1.mp4`. Class folders are part of the name. The longest fitting name counts.

    Raises:
        DataError: a real video without a sample, a sample without a real video, or nothing there.
    """
    reals, fakes = _files(real), _files(fake)
    if real.is_file():
        return [Pair(real.stem, real, tuple(fakes.values()))]
    by_name: dict[str, list[Path]] = {name: [] for name in reals}
    for name, path in fakes.items():
        fitting = [known for known in reals if re.match(re.escape(known) + r"(?![^\W_])", name)]
        if not fitting:
            raise DataError(f"{path} has no real video: expected one in {real} whose name it begins with")
        by_name[max(fitting, key=len)].append(path)
    if missing := [name for name, found in by_name.items() if not found]:
        raise DataError(f"{len(missing)} of {len(reals)} real videos have no sample in {fake} (first: {missing[0]})")
    return [Pair(name, reals[name], tuple(found)) for name, found in by_name.items()]


def _files(place: Path) -> dict[str, Path]:
    """Videos and pictures of a folder and its folders, by their names without suffix; or the one file."""
    if place.is_file():
        return {place.stem: place}
    if not place.is_dir():
        raise DataError(f"{place}: no such file or folder")
    found = [path for path in place.rglob("*") if path.suffix.lower() in (*SUFFIXES, *PICTURES)]
    visible = [path for path in found if not any(part.startswith(".") for part in path.relative_to(place).parts)]
    names = {path: path.relative_to(place).with_suffix("").as_posix() for path in visible if path.is_file()}
    if not names:
        raise DataError(f"{place}: has no videos or pictures")
    return {names[path]: path for path in sorted(names, key=lambda path: natural_key(names[path]))}


# ---- their frames ------------------------------------------------------------------------------


def read(path: Path, reading: Reading) -> Tensor:
    """uint8 `(T, H, W, 3)`. Errors: `MediaError`, or `DataError` where nothing is left of it."""
    frames = torch.from_numpy(read_video(path))
    kept = frames[reading.skip :][: reading.frames]
    if not len(kept):
        raise DataError(f"{path}: has {len(frames)} frames, nothing is left without the first {reading.skip}")
    return kept if reading.size is None else resize_uint8(kept, reading.size)


def _fitted(pair: Pair, reading: Reading) -> tuple[Tensor, Iterator[Tensor]]:
    """The real video and its samples, one by one, over the frames that all of them have."""
    lengths = [len(read(path, reading)) for path in (pair.real, *pair.samples)]
    least = min(lengths)
    real = read(pair.real, reading)[:least]
    return real, (_same_size(real, read(path, reading)[:least], path) for path in pair.samples)


def _same_size(real: Tensor, fake: Tensor, path: Path) -> Tensor:
    if fake.shape != real.shape:
        sizes = f"{fake.shape[2]}x{fake.shape[1]} pixels, its real video {real.shape[2]}x{real.shape[1]}"
        raise DataError(f"{path}: has {sizes}: make them one with --size WIDTHxHEIGHT")
    return fake


# ---- similarity --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Similarity:
    """SSIM or PSNR of predictions."""

    metrics: list[Metric]
    """Means over frames and real videos."""
    per_frame: dict[str, list[float | None]]
    """Means over the real videos at each frame, by name (TrIVD-GAN figure 5)."""


def similarity(pairs: Sequence[Pair], kind: str, reading: Reading, seen: Callable[[int], None]) -> Similarity:
    """SSIM or PSNR of the best of l samples of each real video (TrIVD-GAN C.1), and of its first sample.

    l is the number of samples that every real video has. seen is called with 1 after each pair.
    """
    count = min(len(pair.samples) for pair in pairs)
    scores = []
    for pair in pairs:
        scores.append(sample_scores(*_fitted(pair, reading), SCORES[kind])[:count])  # (l, T)
        seen(1)
    note = f"mean over the frames of {len(pairs)} real videos" + (f", {reading.skip} given" if reading.skip else "")
    found = Similarity([], {})
    for best in dict.fromkeys((count, 1)):
        name = f"{NAMES[kind]}[best of {best}]"
        curves = [best_of(of_pair, best) for of_pair in scores]
        value = fmean(curve.mean().item() for curve in curves)
        found.metrics.append(metric(kind if best == count else f"{kind}_first", name, value, "higher", note))
        found.per_frame[name] = _mean_curve(curves)
    return found


def _mean_curve(curves: Sequence[Tensor]) -> list[float | None]:
    """Over the frames that all of them have; None where the mean is not finite."""
    least = min(len(curve) for curve in curves)
    means = torch.stack([curve[:least] for curve in curves]).mean(0)
    return [value if math.isfinite(value) else None for value in means.tolist()]


# ---- Frechet distances inside a pair -----------------------------------------------------------


def inner_distance(
    pairs: Sequence[Pair],
    kind: str,
    network: FeatureNetwork,
    reading: Reading,
    seen: Callable[[int], None],
) -> Metric:
    """SVFID of clips, or SIFID of pictures: the mean over all samples, with one standard deviation.

    seen is called with 1 after each pair.
    """
    values: list[float] = []
    ways: dict[Size, Places] = {}
    for pair in pairs:
        real = read(pair.real, reading)
        of_real = _places(network, real, ways)
        for path in pair.samples:
            fake = read(path, reading)
            _check_kind(kind, path, min(len(real), len(fake)))
            values.append(svfid(of_real, _places(network, fake, ways)))
        seen(1)
    way = next(iter(ways.values()))
    note = f"{len(values)} samples of {len(pairs)} real videos, {way}"
    return metric(kind, f"{kind.upper()}[{way.name}]", spread(values), "lower", note)


def _places(network: FeatureNetwork, video: Tensor, ways: dict[Size, Places]) -> Tensor:
    """Features `(P, d)` of the places of one video. ways: those of the shapes that have come."""
    shape = (video.shape[0], video.shape[1], video.shape[2])
    if shape not in ways:
        ways[shape] = places_of(network, shape)
    return ways[shape](video)


def _check_kind(kind: str, path: Path, frames: int) -> None:
    if kind == "sifid" and frames > 1:
        raise DataError(f"{path}: has {frames} frames: SIFID compares pictures, use --metrics svfid")
    if kind == "svfid" and frames < 2:
        raise DataError(f"{path}: has one frame: SVFID compares clips, use --metrics sifid")
