"""What is asked of hvg-mini, (a) to (f), each a function of sets that gives JSON values; and the distances of a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hvg_mini_sets import BATCH, CPU, LONG, SHORT, Gathered, Sets, outline_enlarged
from torch import Tensor

from hvgcli.data.pyramid import subsample_time
from hvgcli.metrics.bands import Band, below_top_octave
from hvgcli.metrics.bootstrap import interval, over_takes
from hvgcli.metrics.estimate import Estimate
from hvgcli.metrics.frechet import Projection, frechet_of_features, principal_components
from hvgcli.metrics.kernel import squared_discrepancy
from hvgcli.metrics.manifold import NEIGHBOURS, prdc
from hvgcli.metrics.motion import change_energy, class_means, within_factor
from hvgcli.metrics.nearest import QUANTILES, Nearest, nearest, share_nearer
from hvgcli.metrics.probe import LinearProbe, fit_probe, recalls
from hvgcli.metrics.similarity import ssim
from hvgcli.sampling.grounding import Grounding, GroundingError, grounding_error
from hvgcli.sampling.hierarchy import Hierarchy, Sample, generate, level_frames
from hvgcli.sampling.unroll import join

Found = dict[str, Any]
COMPONENTS = 64
SHOWN = 16  # samples whose nearest training window is listed


def titled(model: str, sigma: float) -> str:
    """How a model at a sigma is named."""
    return f"{Path(model).name}, sigma {sigma:g}"


def listed(estimate: Estimate) -> list[float | None]:
    return [estimate.value, estimate.low, estimate.high]


# ---- distances of a row ----------------------------------------------------------------------------


def comparison(
    score: Callable[[Tensor, Tensor], float], real: Tensor, fake: Tensor
) -> Callable[[Tensor, Tensor], float]:
    """The score of two sets as a function of their rows."""
    return lambda rows, others: score(real[rows], fake[others])


def all_rows(takes: Tensor) -> Tensor:
    return torch.arange(len(takes))


def spaces(real: Gathered, fake: Gathered, axes: Projection) -> dict[str, Callable[[Tensor, Tensor], float]]:
    """Each distance of two sets as a function of rows."""
    a, b = real.table, fake.table
    return {
        "fvd": comparison(frechet_of_features, a["video"], b["video"]),
        "fvd_pca64": comparison(frechet_of_features, axes(a["video"]), axes(b["video"])),
        "kvd": comparison(squared_discrepancy, a["video"], b["video"]),
        "frames": comparison(frechet_of_features, a["frames"], b["frames"]),
    }


def distances(real: Gathered, fake: Gathered, axes: Projection, trials: int) -> Found:
    """The distances of a row, each [value, low, high] with its 95 % interval over takes."""
    found: Found = {}
    for name, score in spaces(real, fake, axes).items():
        value = score(all_rows(real.takes), all_rows(fake.takes))
        found[name] = listed(interval(value, over_takes(score, real.takes, fake.takes, trials=trials)))
    return found


def axes_of(sets: Sets, frames: int) -> Projection:
    """Principal components of the training windows' features."""
    return principal_components(sets.gather(sets.pool(frames)).table["video"], COMPONENTS)


def ratio(first: list[float], second: list[float]) -> list[float | None]:
    """second / first: each the value and then its bootstrap samples, which are pairs."""
    samples = [b / a for a, b in zip(first, second, strict=True)]
    return listed(interval(samples[0], samples[1:]))


def with_samples(score: Callable[[Tensor, Tensor], float], real: Tensor, fake: Tensor, trials: int) -> list[float]:
    """The value, and then its bootstrap samples over the takes."""
    return [score(all_rows(real), all_rows(fake)), *over_takes(score, real, fake, trials=trials)]


# ---- (a) beside a model of one stage ---------------------------------------------------------------


def against(sets: Sets, model: str, other: str, sigma: float, trials: int) -> Found:
    """FVD and its pca64 form of `model` divided by those of `other`, on 48 frames."""
    real, axes = sets.gather(sets.held_out(LONG), parts=True), axes_of(sets, LONG)
    fakes = [sets.gather(sets.generated(name, sigma, LONG), parts=True) for name in (other, model)]
    found: Found = {}
    for key in ("fvd", "fvd_pca64"):
        values = [with_samples(spaces(real, x, axes)[key], real.takes, x.takes, trials) for x in fakes]
        found[key] = ratio(*values)
    return found


# ---- truncation ------------------------------------------------------------------------------------


def truncation(sets: Sets, model: str, sigmas: Sequence[float]) -> Found:
    """The model at several sigma on 48 frames, as DVD-GAN's table 1, and training clips beside it."""
    real, axes = sets.gather(sets.held_out(LONG), parts=True), axes_of(sets, LONG)
    fakes = {f"sigma {sigma:g}": partial(sets.generated, model, sigma, LONG) for sigma in sigmas}
    fakes["training clips"] = partial(sets.training, LONG)
    found: Found = {}
    for name, make in fakes.items():
        fake = sets.gather(make(), parts=True)
        scores, rows = spaces(real, fake, axes), (all_rows(real.takes), all_rows(fake.takes))
        found[name] = {key: scores[key](*rows) for key in ("fvd", "fvd_pca64")}
        near = min(NEIGHBOURS, len(real) - 1, len(fake) - 1)
        found[name] |= prdc(real.table["video"], fake.table["video"], near)
    return found


# ---- (b) classes -----------------------------------------------------------------------------------


def fitted(sets: Sets, frames: int) -> tuple[LinearProbe, tuple[str, ...]]:
    """The classifier of training windows, and the names of its classes."""
    pool = sets.gather(sets.pool(frames))
    names = tuple(sorted(set(pool.names)))
    labels = torch.tensor([names.index(name) for name in pool.names])
    return fit_probe(pool.table["video"], labels, len(names)), names


def named(probe: LinearProbe, names: Sequence[str], videos: Gathered) -> Found:
    """How many videos are named by their class, in all, as a mean over classes, and in each class."""
    labels = torch.tensor([names.index(name) for name in videos.names])
    predicted = probe.predict(videos.table["video"])
    each = dict(zip(names, recalls(predicted, labels, len(names)), strict=True))
    known = [value for value in each.values() if value is not None]
    mistaken = {
        name: names[int(predicted[labels == k][predicted[labels == k] != k].mode().values)]
        for k, name in enumerate(names)
        if each[name] is not None and (predicted[labels == k] != k).any()
    }
    return {
        "videos": len(videos),
        "share": float((predicted == labels).double().mean()),
        "mean_of_classes": sum(known) / len(known),
        "classes": each,
        "mistaken_for": mistaken,
    }


def of_all_classes(sets: Sets, model: str, sigma: float, frames: int) -> Gathered:
    """Videos of every class: those that the held-out windows have, and those that they lack."""
    found = sets.gather(sets.generated(model, sigma, frames), parts=frames == LONG)
    others = sets.others(model, sigma, frames)
    return found if others is None else found.join(sets.gather(others, parts=frames == LONG))


def probed(sets: Sets, models: Sequence[str], sigmas: Sequence[float]) -> Found:
    """(b) for held-out windows and for each model and sigma: of all classes, and of the held-out windows' alone."""
    probe, names = fitted(sets, LONG)
    real = sets.gather(sets.held_out(LONG), parts=True)
    found = {"real held-out windows": named(probe, names, real)}
    for model in models:
        for sigma in sigmas:
            videos = of_all_classes(sets, model, sigma, LONG)
            share = named(probe, names, videos.of_classes(real.names))["share"]
            found[titled(model, sigma)] = named(probe, names, videos) | {"held_out_share": share}
    return found


# ---- (c) unrolling ---------------------------------------------------------------------------------


def late(real: Gathered, fake: Gathered, trials: int) -> Found:
    """Distances of the first and the last 12 of 48 frames to the same real pieces, and their ratio.

    The real pieces are the first and the last 12 frames of the held-out windows, both together.
    """
    pieces = torch.cat((real.table["first"], real.table["last"]))
    takes = real.takes.repeat(2)
    axes = principal_components(pieces, COMPONENTS)
    found: Found = {}
    for key, change in (("fvd", lambda x: x), ("fvd_pca64", axes)):
        both = [
            with_samples(
                comparison(frechet_of_features, change(pieces), change(fake.table[part])), takes, fake.takes, trials
            )
            for part in ("first", "last")
        ]
        found[key] = {"first": both[0][0], "last": both[1][0], "ratio": ratio(*both)}
    return found


def spectra(real: Gathered, fake: Gathered) -> Found:
    """At each frame: the share of frequencies below the top octave at which the mean spectrum is within the real band.

    Besides: the share of single videos' values within (real ones: 90 %), and the largest excess in dB.
    """
    band, kept = Band.of(real.spectra), below_top_octave(real.spectra.shape[2])
    mean = fake.spectra.mean(0)
    return {
        str(number): {
            "within": float(band.holds(mean)[i, kept].double().mean()),
            "videos_within": float(band.holds(fake.spectra)[:, i, kept].double().mean()),
            "excess_db": [float(side) for side in band.excess(mean)[i, kept].aminmax()],
            "below_real_mean_db": [
                float((real.spectra.mean(0) - mean)[i, part].mean()) for part in torch.where(kept)[0].tensor_split(3)
            ],
        }
        for i, number in enumerate(fake.numbers)
    }


# ---- (d) grounding ---------------------------------------------------------------------------------


def grounding(sets: Sets, model: str, sigma: float, each: int = 2) -> Found:
    """Errors of every level above the first against its input, as generated and corrected, `each` videos a class."""
    hierarchy = sets.model(model)
    labels = [label for label in range(hierarchy.config.num_classes) for _ in range(each)]
    samples = [Sample(sets.seed + i, label) for i, label in enumerate(labels)]
    raw, corrected = ({level: GroundingError() for level in range(2, hierarchy.levels + 1)} for _ in range(2))
    for part in (samples[i : i + 2] for i in range(0, len(samples), 2)):
        videos = views(hierarchy, part, sigma)
        for level in raw:
            errors = level_errors(hierarchy, level, videos[level - 2], videos[level - 1])
            raw[level], corrected[level] = raw[level].merge(errors[0]), corrected[level].merge(errors[1])
    return {
        str(level): {"videos": len(samples), "mean": raw[level].mean * 255, "max": raw[level].max * 255}
        | {"corrected_mean": corrected[level].mean * 255}
        for level in raw
    }


def views(hierarchy: Hierarchy, samples: Sequence[Sample], sigma: float) -> list[Tensor]:
    """The output of each level for the same videos of 48 frames."""
    counts = level_frames(hierarchy, LONG, hierarchy.levels)
    make = partial(generate, hierarchy, samples, sigma=sigma)
    return [join(make(frames, levels=level)) for level, frames in enumerate(counts, start=1)]


def level_errors(hierarchy: Hierarchy, level: int, low: Tensor, high: Tensor) -> tuple[GroundingError, GroundingError]:
    """Of the frames of a level that have an input: as they are, and after the correction that `hvg upscale` makes."""
    frames = subsample_time(high, hierarchy.config.times_time(level)).flatten(0, 1)
    inputs = low.flatten(0, 1)
    times = high.shape[-1] // low.shape[-1]
    step = Grounding((inputs.shape[-2], inputs.shape[-1]), times, CPU)
    return grounding_error(frames, inputs), grounding_error(step.correct(frames, inputs), inputs)


# ---- (e) copies ------------------------------------------------------------------------------------


def copies(sets: Sets, models: Sequence[str], sigmas: Sequence[float]) -> Found:
    """How near 12-frame windows are to the nearest of all training windows, in features and in small pictures."""
    pool, held_out = sets.gather(sets.pool(SHORT)), sets.gather(sets.held_out(SHORT))
    known = {space: nearest(held_out.table[space], pool.table[space]) for space in ("video", "small")}
    found: Found = {"quantiles": list(QUANTILES), "pool": len(pool), "held-out": row_of_copies(known, known)}
    for model in models:
        for sigma in sigmas:
            videos = of_all_classes(sets, model, sigma, SHORT)
            near = {space: nearest(videos.table[space], pool.table[space]) for space in known}
            found[titled(model, sigma)] = row_of_copies(near, known)
            if (model, sigma) == (models[0], sigmas[0]):
                found["samples"] = listed_samples(videos, pool, near)
    return found


def row_of_copies(found: dict[str, Nearest], known: dict[str, Nearest]) -> Found:
    """Quantiles of the distances, the least one, and the share below the held-out windows' 5 % quantile."""
    return {
        space: {
            "videos": len(near.distances),
            "quantiles": near.quantiles(),
            "least": float(near.distances.min()),
            "nearer": share_nearer(near, known[space]),
        }
        for space, near in found.items()
    }


def listed_samples(videos: Gathered, pool: Gathered, near: dict[str, Nearest]) -> list[Found]:
    """The first samples of each class in turn, with what they are nearest to."""
    turn: dict[str, int] = {}
    order = []
    for place, name in enumerate(videos.names):
        order.append((turn.setdefault(name, 0), name, place))
        turn[name] += 1
    return [nearest_of(videos, pool, near, place) for *_, place in sorted(order)[:SHOWN]]


def nearest_of(videos: Gathered, pool: Gathered, near: dict[str, Nearest], place: int) -> Found:
    """One sample: distances, similarity of small pictures, and class and take of the nearest training window."""
    found: Found = {"place": place, "class": videos.names[place]}
    for space in ("video", "small"):
        other = int(near[space].places[place])
        found[space] = {
            "distance": float(near[space].distances[place]),
            "window": other,
            "class": pool.names[other],
            "take": int(pool.takes[other]),
            "ssim": float(ssim(small(videos, place), small(pool, other)).mean()),
        }
    return found


def small(videos: Gathered, place: int) -> Tensor:
    """The small copies of a video, uint8 (4, 16, 16, 3)."""
    return videos.table["small"][place].to(torch.uint8).view(-1, 16, 16, 3)


# ---- (f) motion ------------------------------------------------------------------------------------


def motion(sets: Sets, models: Sequence[str], sigmas: Sequence[float], factor: float = 2.0) -> Found:
    """Mean change energy of each class, beside held-out windows, and training windows where there are none."""
    real = class_energies(sets.gather(sets.pool(LONG))) | class_energies(sets.gather(sets.held_out(LONG), parts=True))
    found: Found = {"real": real, "held_out": sorted(set(sets.gather(sets.held_out(LONG), parts=True).names))}
    for model in models:
        for sigma in sigmas:
            made = class_energies(of_all_classes(sets, model, sigma, LONG))
            ratios = {name: value / real[name] for name, value in made.items()}
            within = sum(within_factor(value, factor) for value in ratios.values())
            found[titled(model, sigma)] = {"energy": made, "ratio": ratios, "within": within}
    return found


def outlines_motion(sets: Sets, sides: Sequence[tuple[int, int]]) -> Found:
    """Change energy of enlarged outlines of training windows, by that of the windows themselves, for each class.

    What is missing to 1 is in detail that moves, and can only come from the levels above the outline.
    """
    videos = sets.pool(LONG)
    names: list[str] = []
    energies: dict[tuple[int, int] | None, list[Tensor]] = {None: []} | {side: [] for side in sides}
    for part in videos.batches(BATCH):
        assert part.labels is not None
        names += [videos.classes[label] for label in part.labels.tolist()]
        for side, values in energies.items():
            values.append(change_energy(part.frames if side is None else outline_enlarged(part.frames, *side)))
    means = {side: class_means(torch.cat(values), names) for side, values in energies.items()}
    whole = means[None]
    return {f"{side[0]}x{side[0]}": {name: means[side][name] / whole[name] for name in whole} for side in sides}


def class_energies(videos: Gathered) -> dict[str, float]:
    return class_means(videos.table["motion"][:, 0], videos.names)
