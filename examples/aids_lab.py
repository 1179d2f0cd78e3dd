"""What `ablate_aids.py` does with one arm: train it, or take it from a run that is there, and measure its videos.

Runs are kept in RUNS/STEPS/ARM for the first phase and in RUNS/STEPS+ADVERSARY_STEPS/ARM for the second, as those of
`hvg train-level`. A finished one is not trained again, one that was cut off goes on, one that diverged says why.
"""

from __future__ import annotations

import csv
import hashlib
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

# before torch: it tunes the memory allocation
from ablation_lab import BATCH, Lab, step_seconds
from torch import Tensor, cat, stack

from hvgcli.checkpoints import CHECKSUMS, load_tensors, save_tensors
from hvgcli.config import LevelConfig, Preset, ReconstructionConfig, TrainingConfig
from hvgcli.data.clips import ClipIndex, scan
from hvgcli.errors import TrainingError
from hvgcli.metrics.features import cache_folder, extract
from hvgcli.metrics.networks import FeatureNetwork, LogitsOnly
from hvgcli.metrics.videos import RealVideos, Videos
from hvgcli.metrics.windows import subset, take_numbers
from hvgcli.runtime import choose_device
from hvgcli.sampling import statistics_cache
from hvgcli.sampling.hierarchy import load
from hvgcli.training.finish import finish
from hvgcli.training.level import Metrics
from hvgcli.training.loop import RunOptions, train_level
from hvgcli.training.plan import Run, plan
from hvgcli.training.run_state import states

ALWAYS = 10**9  # steps of reconstruction in a training that the discriminators never join
PROBE = 20  # first steps by which the speeds of two trainings are compared
DIVERGED = "diverged.txt"  # in the folder of a run that did: the error that ended it
VERSION = 1  # of what `Looks` adds: another one makes other keys in the cache


# ---- arms --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """How level 1 is built and trained."""

    level: LevelConfig
    training: TrainingConfig

    @property
    def aid(self) -> ReconstructionConfig:
        assert self.training.reconstruction is not None
        return self.training.reconstruction

    def of_level(self, **changes: Any) -> Recipe:
        return replace(self, level=replace(self.level, **changes))

    def of_training(self, **changes: Any) -> Recipe:
        return replace(self, training=replace(self.training, **changes))

    def of_aid(self, **changes: Any) -> Recipe:
        return self.of_training(reconstruction=replace(self.aid, **changes))


@dataclass(frozen=True)
class Arm:
    """One training that is compared with the base of its phase."""

    name: str
    phase: int
    """1: reconstruction alone, from fresh weights. 2: after the base of phase 1, with the discriminators."""
    why: str
    """What differs, and what that would show."""
    change: Callable[[Recipe], Recipe] = lambda recipe: recipe
    share: float = 1.0
    """Of the steps of its phase."""
    same_time: bool = False
    """Whether it takes the time of its base, whatever number of steps that is."""
    alone: bool = False
    """Whether the discriminators stay away in phase 2, too."""
    without: str = ""
    """Trains nothing: it is the base without the tensors of its state whose names hold this."""
    seed: int = 0
    """Of its training, among those of its phase."""


def recipe(preset: Preset, arm: Arm, steps: int) -> Recipe:
    """Level 1 of a preset as an arm trains it for `steps` steps."""
    level, training = preset.model.hierarchy[0], preset.training[0]
    reconstruction = ALWAYS if arm.phase == 1 or arm.alone else 0
    return arm.change(Recipe(level, training).of_training(steps=steps).of_aid(steps=reconstruction))


# ---- training ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trainings:
    """The arms in a lab."""

    lab: Lab
    preset: Preset
    """Whose level 1 it is."""
    steps: tuple[int, int]
    """Of the phases."""
    arms: Mapping[str, Arm]
    bases: tuple[str, str]
    """The arm of each phase that the others are compared with."""

    def base(self, phase: int) -> Arm:
        return self.arms[self.bases[phase - 1]]

    def folder(self, arm: Arm) -> Path:
        """The run folder of an arm."""
        runs: Path = self.lab.runs
        return runs / "+".join(map(str, self.steps[: arm.phase])) / arm.name

    def trained(self, arm: Arm) -> bool:
        """Whether the model of an arm is there."""
        return (self.folder(arm) / "model" / CHECKSUMS).is_file()

    def ended(self, arm: Arm) -> bool:
        """Whether an arm is trained, or has diverged."""
        return self.trained(arm) or (self.folder(arm) / DIVERGED).is_file()

    def model(self, arm: Arm) -> Path:
        """The model folder of an arm; what is missing is trained.

        Errors: `TrainingError` where the arm, or one that it is made from, has diverged.
        """
        folder = self.folder(arm)
        if not self.ended(arm):
            for other in self._needs(arm):
                self.model(other)
            self._make(arm, folder / DIVERGED)
        if not self.trained(arm):
            raise TrainingError((folder / DIVERGED).read_text().strip())
        return folder / "model"

    def _needs(self, arm: Arm) -> Iterator[Arm]:
        """Arms that have to be there first."""
        if arm.phase == 2 or arm.without:
            yield self.base(1)
        if arm.same_time:
            yield self.base(arm.phase)

    def _make(self, arm: Arm, diverged: Path) -> None:
        try:
            run, index = self.planned(arm, self._steps(arm))
            if arm.without:
                take_over(self.folder(self.base(1)), run.out, arm.without)
            else:
                self._train(run, index)
            finish(run, index, device=choose_device("auto"), passes=self.lab.options.passes)
        except TrainingError as error:
            diverged.write_text(f"{error}\n")

    def planned(self, arm: Arm, steps: int, out: Path | None = None) -> tuple[Run, ClipIndex]:
        """The run of an arm for `steps` steps, in its folder or in `out`, and its clips; nothing is written.

        The phases have different seeds: the second sees other windows than the first ones of phase 1 again.
        """
        made = recipe(self.preset, arm, steps)
        model = replace(self.preset.model, levels=(made.level,), num_classes=self.lab.classes, classes=())
        start = self.folder(self.base(1)) if arm.phase == 2 else None
        seed = arm.phase - 1 + 2 * arm.seed
        preset = Preset(model, (made.training,), self.preset.source)
        return plan(preset, 1, self.lab.train, out or self.folder(arm), None, {}, seed, start=start)

    def _train(self, run: Run, index: ClipIndex) -> None:
        device = choose_device("auto")
        options = RunOptions(save_every=50, device=str(device), command="examples/ablate_aids.py")
        train_level(run, index, options, progress=_reporter(run), warn=say)

    # -- steps of equal time

    def _steps(self, arm: Arm) -> int:
        """Steps of an arm; of one that takes the time of its base by the speed of the first steps of both.

        Those of the base are taken again, beside the arm's: the machine may have been busier when it was trained.
        """
        steps = max(1, round(self.steps[arm.phase - 1] * arm.share))
        if not arm.same_time:
            return steps
        probe, folder = min(PROBE, steps), self.folder(arm)
        again = folder.with_name(f"{arm.name}-pace")
        self._train(*self.planned(self.base(arm.phase), probe, again))
        self._train(*self.planned(arm, probe))
        return max(probe, round(steps * pace(again, probe) / pace(folder, probe)))


def take_over(base: Path, folder: Path, without: str) -> None:
    """Fill a run folder with the last state of the run `base`, but for tensors whose names hold `without`."""
    path = states(base)[-1][1]
    tensors, header = load_tensors(path)
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / path.name, {name: value for name, value in tensors.items() if without not in name}, header)
    shutil.copy(base / "metrics.csv", folder)


def pace(run: Path, steps: int) -> float:
    """Median seconds of the first `steps` steps of a run, those of waiting for clips not counted."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[:steps]
    return median(float(row["seconds"]) - float(row["data_seconds"]) for row in rows)


def spent(run: Path) -> tuple[int, float]:
    """Steps of a run, and the seconds that they took in all; none where it did not begin."""
    times = step_seconds(run) if (run / "metrics.csv").is_file() else []
    return len(times), sum(times)


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _reporter(run: Run) -> Callable[[int, Metrics], None]:
    """A line now and then."""

    def report(step: int, metrics: Metrics) -> None:
        if step % 50 == 0 or step == run.training.steps:
            told = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            say(f"{run.out.name}: step {step} of {run.training.steps}: {told}")

    return report


# ---- measuring ---------------------------------------------------------------------------------


def motions(frames: Tensor) -> Tensor:
    """Mean absolute change from frame to frame of each video: uint8 (B, T, H, W, 3) -> float32 (B,), in 1/255."""
    return frames.float().diff(dim=1).abs().mean((1, 2, 3, 4))


def details(frames: Tensor) -> Tensor:
    """Energy of the differences between neighbouring pixels, down and across, of each video.

    uint8 (B, T, H, W, 3) -> float32 (B,): the sum of both mean squares, in (1/255)^2.
    """
    down, across = (frames.float().diff(dim=axis).square().mean((1, 2, 3, 4)) for axis in (2, 3))
    return down + across


class Looks(LogitsOnly):
    """`motions` and `details` of each video, then the features of a network: one pass gives them, the cache keeps them.

    A feature network, without last hidden activations.
    """

    classifier = False

    def __init__(self, network: FeatureNetwork) -> None:
        self.network, self.name = network, network.name
        self.sha256 = hashlib.sha256(f"looks {VERSION} {network.sha256}".encode()).hexdigest()

    def logits(self, video: Tensor) -> Tensor:
        """uint8 (N, T, H, W, 3) -> float32 (N, 2 + K)."""
        return cat((stack((motions(video), details(video)), dim=1), self.network.logits(video)), dim=1)


@dataclass(frozen=True, eq=False)
class Measured:
    """A set of N videos, equal to itself only."""

    features: Tensor
    """float32 (N, K)."""
    takes: Tensor
    """int64 (N,): the source file of each; of a generated video its place."""
    motion: float
    """Mean of `motions`."""
    detail: float
    """Mean of `details`."""


@dataclass(frozen=True)
class Meter:
    """Sets of videos of a lab, measured. Each is measured once, and kept in the cache of features."""

    lab: Lab
    known: dict[str, Measured] = field(default_factory=dict)

    @cached_property
    def looks(self) -> Looks:
        return Looks(self.lab.network)

    def measured(self, videos: Videos) -> Measured:
        if videos.key not in self.known:
            found = extract(videos, self.looks, batch=BATCH, cache=cache_folder(), pooled=False, warn=say)
            motion, detail = found.logits[:, :2].double().mean(0).tolist()
            self.known[videos.key] = Measured(found.logits[:, 2:], found.takes, motion, detail)
        return self.known[videos.key]

    @cached_property
    def held_out(self) -> Measured:
        """What all else is compared with: windows of the clips of `val`."""
        return self.measured(self.lab.windows(self.lab.full))

    @cached_property
    def training_clips(self) -> Measured:
        """Windows of the clips of `train`, as many of each class as are held out."""
        known = self.lab.windows(self.lab.full)
        videos = RealVideos(scan(self.lab.train), replace(known.sampling, num=None), name="train")
        keep(videos, known.class_counts or {"": known.count})
        return self.measured(videos)

    def generated(self, model: Path, sigma: float | None = None) -> Measured:
        """Videos of a model, of the classes of the held-out windows; statistics that it lacks are measured."""
        hierarchy = load(model)
        videos = self.lab.generated(hierarchy, self.lab.full, sigma=sigma)
        what = (hierarchy, self.lab.full, videos.sigma, 1)
        passes = self.lab.options.passes
        if statistics_cache.attach(*what, passes=passes, warn=say):
            statistics_cache.measure_missing(*what, passes=passes, warn=say)
        return self.measured(videos)


def keep(videos: RealVideos, counts: Mapping[str, int]) -> None:
    """Leave so many windows of each class, evenly over its takes; all where there are fewer. Without classes: of ""."""
    takes = take_numbers(videos.index)
    names = [videos.classes[label] for label in videos.labels] if videos.labels is not None else [""] * videos.count
    groups = {name: [w for w, own in zip(videos.windows, names, strict=True) if own == name] for name in counts}
    chosen = [subset(group, takes, counts[name], 0) for name, group in groups.items() if group and counts[name]]
    videos.windows = [window for group in chosen for window in group]
