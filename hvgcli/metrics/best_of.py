"""SSIM and PSNR of the best of l continuations, and what chance alone gains (TrIVD-GAN appendix C.1, figure 5).

Of each real window's l continuations the one with the highest score averaged over its frames counts, and its
scores are reported per frame, as means over the windows. A model whose futures are diverse in a useful way gains
with l more than one that adds noise to a still; a model with z = 0 gains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hvgcli.errors import UsageError
from hvgcli.metrics.estimate import Estimate
from hvgcli.metrics.predicted import NoisyCopy, Predictor
from hvgcli.metrics.results import Metric, metric
from hvgcli.metrics.similarity import NAMES, SCORES, expected_best_of
from hvgcli.metrics.videos import RealVideos
from hvgcli.sampling.noise import seeded
from hvgcli.sampling.render import batches

AT_A_TIME = 16  # continuations of one window that are computed together
DEVIATIONS = (4.0, 8.0, 16.0, 32.0, 64.0, 128.0)  # of the noise that is tried, in steps of 255
CELLS = (1, 8)  # its grain in pixels
TRIED_ON = 4  # windows that decide which noise gains most
RESAMPLED = 1000  # draws of the takes, for intervals

Watch = Callable[[int], None]
"""Called with the number of continuations just scored."""


@dataclass(frozen=True)
class Study:
    """What is scored."""

    real: RealVideos
    """The windows of C + T frames."""
    context: int
    """First frames C of a window that a predictor is given; they are not scored."""
    counts: tuple[int, ...]
    """The values of l, rising."""
    kinds: tuple[str, ...] = ("ssim", "psnr")
    """Keys of `SCORES`."""
    seed: int = 0
    """Continuation j of window i of N has seed + j N + i: no two have the same, whatever the largest l."""

    def __post_init__(self) -> None:
        if not self.counts or min(self.counts) < 1 or list(self.counts) != sorted(set(self.counts)):
            raise UsageError(f"the best of {self.counts} was asked: give rising whole numbers from 1")

    @property
    def most(self) -> int:
        """The largest l."""
        return self.counts[-1]

    def of(self, predictor: Predictor) -> int:
        """Continuations of one window that a predictor has to make: one where all are the same."""
        return 1 if predictor.constant else self.most

    def windows(self) -> Iterator[tuple[int, int, Tensor]]:
        """Number, take and frames uint8 (C + T, H, W, 3) of each window."""
        for number, batch in enumerate(self.real.batches(1)):
            yield number, int(batch.takes[0]), batch.frames[0]


@dataclass(frozen=True)
class Scored:
    """The scores of one predictor's continuations."""

    name: str
    constant: bool
    """All continuations of a window are the same: there is one of each."""
    scores: Mapping[str, Tensor]
    """By kind: float64 (N, l, T)."""
    takes: tuple[int, ...]
    """Of the N windows."""

    def curves(self, kind: str, count: int) -> Tensor:
        """Scores (N, T) of the best of `count` continuations of each window."""
        return expected_best_of(self.scores[kind], 1 if self.constant else count)

    def gain(self, kind: str, counts: Sequence[int]) -> Tensor:
        """What the best of the last count has over that of the first one, (N,): means over the frames."""
        first, last = (self.curves(kind, count).mean(-1) for count in (counts[0], counts[-1]))
        return last - first


# ---- scoring -----------------------------------------------------------------------------------


def score(study: Study, predictors: Sequence[Predictor], watch: Watch | None = None) -> list[Scored]:
    """Continue and score every window with every predictor. Memory grows by the scores alone.

    Raises:
        DataError: no window can be decoded, or frames are too small for SSIM.
    """
    rows: list[dict[str, list[Tensor]]] = [{kind: [] for kind in study.kinds} for _ in predictors]
    takes = []
    for number, take, video in study.windows():
        takes.append(take)
        for predictor, found in zip(predictors, rows, strict=True):
            for kind, scores in _window_scores(study, predictor, number, video).items():
                found[kind].append(scores)
            if watch is not None:
                watch(study.of(predictor))
    return [
        Scored(predictor.name, predictor.constant, {kind: torch.stack(all_) for kind, all_ in found.items()}, (*takes,))
        for predictor, found in zip(predictors, rows, strict=True)
    ]


def _window_scores(study: Study, predictor: Predictor, number: int, video: Tensor) -> dict[str, Tensor]:
    """Scores (l, T) of the continuations of window `number`, by kind."""
    given, truth = video[: study.context], video[study.context :]
    parts: dict[str, list[Tensor]] = {kind: [] for kind in study.kinds}
    for part in batches(study.of(predictor), AT_A_TIME):
        seeds = [study.seed + j * study.real.count + number for j in part]
        made = predictor.predict(given.expand(len(part), *given.shape), seeds, len(truth))
        for kind, scores in parts.items():
            scores.append(SCORES[kind](truth.expand_as(made), made))
    return {kind: torch.cat(scores) for kind, scores in parts.items()}


def some_windows(real: RealVideos, count: int) -> RealVideos:
    """At most `count` windows of a set, as many of each take as can be."""
    sampling = replace(real.sampling, num=min(count, real.sampling.num or count))
    return RealVideos(real.index, sampling, name=real.name, workers=real.workers)


def best_noise(study: Study, watch: Watch | None = None) -> NoisyCopy:
    """The noise on a still whose gain in the first of the study's kinds is largest, tried on a few windows.

    All of `DEVIATIONS` and `CELLS` are tried: the bar that a model's gain has to clear is as high as noise can set it.
    """
    return _best([NoisyCopy(deviation, cell) for cell in CELLS for deviation in DEVIATIONS], study, watch)


def like_noise(study: Study, predictor: Predictor, watch: Watch | None = None) -> NoisyCopy:
    """Noise on a still that is as diverse as a predictor's continuations, in the grain that gains more.

    The strongest noise gains most because a single one of its stills is so bad. This one shows what diversity of
    the model's own size gains without knowing anything of motion.
    """
    deviation = round(spread(study, predictor), 2)
    return _best([NoisyCopy(deviation, cell) for cell in CELLS], study, watch)


def spread(study: Study, predictor: Predictor) -> float:
    """How far apart a predictor's continuations of one window are: their standard deviation, in steps of 255."""
    few, total = replace(study, real=some_windows(study.real, TRIED_ON)), 0.0
    count = min(study.most, AT_A_TIME)
    for number, _, video in few.windows():
        seeds = [study.seed + j * few.real.count + number for j in range(count)]
        given = video[: study.context].expand(count, *video[: study.context].shape)
        made = predictor.predict(given, seeds, len(video) - study.context).double()
        total += made.var(0).mean().item() / few.real.count
    return math.sqrt(total)


def _best(tried: Sequence[NoisyCopy], study: Study, watch: Watch | None) -> NoisyCopy:
    few = replace(study, real=some_windows(study.real, TRIED_ON), kinds=study.kinds[:1])
    gains = [found.gain(few.kinds[0], few.counts).mean().item() for found in score(few, tried, watch)]
    return tried[gains.index(max(gains))]


def noise_work(study: Study) -> int:
    """Continuations that `best_noise` scores."""
    return len(DEVIATIONS) * like_noise_work(study)


def like_noise_work(study: Study) -> int:
    """Continuations that `like_noise` scores."""
    return len(CELLS) * min(TRIED_ON, study.real.count) * study.most


# ---- results -----------------------------------------------------------------------------------


def mean_of_takes(values: Tensor, takes: Sequence[int], *, seed: int = 0) -> Estimate:
    """The mean of values (N,), with its 95 % interval over the takes that they come from (percentile bootstrap).

    Values of one take are not independent, so whole takes are drawn again; one take has no interval.
    """
    groups = torch.tensor([sorted(set(takes)).index(take) for take in takes])
    count = int(groups.max()) + 1
    value = values.mean().item()
    if count < 2 or not math.isfinite(value):
        return Estimate(value)
    sums = torch.zeros(count, dtype=torch.float64).index_add_(0, groups, values.double())
    sizes = torch.bincount(groups).double()
    drawn = torch.randint(count, (RESAMPLED, count), generator=seeded("takes", seed))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Estimate(value, low, high)


def metrics(study: Study, found: Scored) -> list[Metric]:
    """Rows for a model: the score of the best of each l, and the gain from the first to the last."""
    takes = len(set(found.takes))
    note = (
        f"mean over the frames of {len(found.takes)} windows, {study.context} given; 95 % interval over {takes} takes"
    )
    rows = []
    for kind in study.kinds:
        for count in study.counts:
            estimate = mean_of_takes(found.curves(kind, count).mean(-1), found.takes, seed=study.seed)
            rows.append(metric(f"{kind}_best_of_{count}", f"{NAMES[kind]}[best of {count}]", estimate, "higher", note))
        if len(study.counts) > 1:
            estimate = mean_of_takes(found.gain(kind, study.counts), found.takes, seed=study.seed)
            name = f"{NAMES[kind]} gain[best of {study.counts[0]} to {study.most}]"
            rows.append(metric(f"{kind}_gain", name, estimate, "higher", "what diverse futures are worth"))
    return rows


def record(study: Study, found: Sequence[Scored]) -> dict[str, Any]:
    """All predictors as `evaluation.json` has them: a row for each predictor, kind and l (one where all l agree).

    `frames` are the means over the windows at each predicted frame, `value` is their mean; None where not finite.
    """
    rows = [
        _row(scored, kind, count)
        for scored in found
        for kind in study.kinds
        for count in (study.counts if not scored.constant else study.counts[:1])
    ]
    return {
        "counts": list(study.counts),
        "windows": len(found[0].takes),
        "takes": len(set(found[0].takes)),
        "context": study.context,
        "rows": rows,
    }


def _row(scored: Scored, kind: str, count: int) -> dict[str, Any]:
    means = scored.curves(kind, count).mean(0)  # (T,)
    best = None if scored.constant else count
    return {"of": scored.name, "score": kind, "best_of": best, "value": _finite(means.mean().item()),
            "frames": [_finite(value) for value in means.tolist()]}  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
