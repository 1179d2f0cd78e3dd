"""What the ablations share: runs made by `hvg`, measured against held-out clips, and written as Markdown tables.

DATA has folders `train` and `val` of class folders of clips. All models of a lab make videos of one size and stride:
of `SIZE` pixels, `STRIDE` source frames apart, in `ablate.py`, which is about HVG, and `ablate_dvd_gan.py`, about
DVD-GAN; those of level 1 of hvg-mini in `ablate_aids.py`, which is about its training aids.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hvgcli.runtime import tune_allocator

tune_allocator()  # before torch is imported: video tensors are large

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from hvgcli.config import Preset, to_dict  # noqa: E402
from hvgcli.data.clips import scan  # noqa: E402
from hvgcli.metrics.features import FeatureSet, cache_folder, extract  # noqa: E402
from hvgcli.metrics.frechet import frechet_of_features  # noqa: E402
from hvgcli.metrics.generated import GeneratedVideos, labels_like  # noqa: E402
from hvgcli.metrics.inception import inception_score  # noqa: E402
from hvgcli.metrics.networks import FeatureNetwork, resolve  # noqa: E402
from hvgcli.metrics.videos import RealVideos  # noqa: E402
from hvgcli.metrics.windows import Sampling  # noqa: E402
from hvgcli.sampling.hierarchy import Hierarchy, load  # noqa: E402
from hvgcli.sampling.statistics import PASSES  # noqa: E402

SIGMA = 1.0  # HVG appendix H: metrics are taken without truncation
SIZE, STRIDE = 32, 1  # of the videos that all models of a lab make, where it is not told otherwise
BATCH = 16  # videos generated at a time

Row = dict[str, object]
Features = tuple[Tensor, Tensor | None]
"""Logits (N, K) and last hidden activations (N, d) of N videos."""


@dataclass(frozen=True)
class Stretch:
    """Successive frames of many videos, as they are measured."""

    features: Features
    motion: float
    """Mean absolute difference of successive frames, in 1/255."""


class Lab:
    """Where runs are kept and measured. options: as of `add_common`; full: frames of a whole generated video.

    size, stride: of the videos that its models make, in pixels and source frames. sigma: what they are measured at.
    """

    def __init__(
        self, options: argparse.Namespace, full: int, *, size: int = SIZE, stride: int = STRIDE, sigma: float = SIGMA
    ) -> None:
        self.train, self.val = options.data / "train", options.data / "val"
        self.runs, self.num, self.options, self.full = options.runs, options.num, options, full
        self.size, self.stride, self.sigma = size, stride, sigma
        self._network: FeatureNetwork | None = None
        self._real: dict[tuple[Path, int], FeatureSet] = {}

    @property
    def network(self) -> FeatureNetwork:
        self._network = self._network or resolve(self.options.features)
        return self._network

    # -- training

    @property
    def classes(self) -> int:
        """How many classes the clips have."""
        return len([folder for folder in self.train.iterdir() if folder.is_dir()])

    def write_preset(self, name: str, preset: Preset) -> Path:
        self.runs.mkdir(parents=True, exist_ok=True)
        path: Path = self.runs / f"{name}.json"
        path.write_text(json.dumps(to_dict(preset), indent=1) + "\n")
        return path

    def hvg(self, *command: object, preset: Path, run: Path, steps: int) -> None:
        """A training of `hvg` on the clips of `train`."""
        given = ("--data", self.train, "--preset", preset, "--out", run, "--steps", steps)
        arguments = (*command, *given, "--passes", self.options.passes)
        subprocess.run([sys.executable, "-m", "hvgcli", *map(str, arguments)], check=True)

    # -- videos

    def windows(self, frames: int, source: Path | None = None) -> RealVideos:
        """Windows of the real clips (of `val` by default), at the stride and size that the models make."""
        folder = source or self.val
        sampling = Sampling(frames, self.stride, (self.size, self.size), "windows", self.num)
        return RealVideos(scan(folder), sampling, name=folder.name)

    def generated(
        self, model: Hierarchy, frames: int, full: int | None = None, sigma: float | None = None
    ) -> GeneratedVideos:
        """As many videos as the real set has windows, with its classes; at the lab's sigma unless told otherwise."""
        known = self.windows(self.full)
        labels = labels_like(model.config, known.class_counts, known.count)
        at = self.sigma if sigma is None else sigma
        return GeneratedVideos(model, labels, frames=frames, full=full or self.full, sigma=at)

    # -- features

    def real(self, frames: int, source: Path | None = None) -> FeatureSet:
        """Features of `windows`."""
        key = (source or self.val, frames)
        if key not in self._real:
            self._real[key] = extract(self.windows(frames, source), self.network, cache=cache_folder())
        return self._real[key]

    def features(self, videos: Iterable[Tensor]) -> Features:
        """Features of batches of videos, uint8 (B, T, H, W, 3)."""
        return joined([self.network.both(batch) for batch in videos])

    def stretches(self, videos: GeneratedVideos, frames: int) -> list[Stretch]:
        """Every `frames` frames of the videos, from the first to the last."""
        parts: list[list[Features]] = [[] for _ in range(videos.frames // frames)]
        moved = [0.0] * len(parts)
        for batch in videos.batches(BATCH):
            for number, piece in enumerate(batch.frames.split(frames, dim=1)):
                parts[number].append(self.network.both(piece))
                moved[number] += motion(piece) * len(piece) / videos.count
        return [Stretch(joined(part), mean) for part, mean in zip(parts, moved, strict=True)]

    def real_motion(self, frames: int, source: Path | None = None) -> float:
        """`motion` of `windows`."""
        batches = [(motion(batch.frames), len(batch.frames)) for batch in self.windows(frames, source).batches(BATCH)]
        return sum(mean * count for mean, count in batches) / sum(count for _, count in batches)

    # -- scores

    def scores(self, fake: Features, frames: int) -> dict[str, float]:
        """The distances to real windows of so many frames, and the inception score where it has a meaning."""
        real, name = self.real(frames), self.network.name
        told = {f"FVD[{name}]": frechet_of_features(real.logits, fake[0])}
        if real.pooled is not None and fake[1] is not None:
            told[f"FID[{name}]"] = frechet_of_features(real.pooled, fake[1])
        if self.network.classifier:
            told[f"IS[{name}]"] = inception_score(fake[0]).value
        return told

    def measured(self, model: Path, frames: int) -> dict[str, float]:
        """`scores` of windows of so many frames; of whole videos for `full`."""
        made = extract(self.generated(load(model), frames), self.network, batch=BATCH, cache=cache_folder())
        return self.scores((made.logits, made.pooled), frames)

    def reference(self, column: str, frames: int) -> Row:
        """What the clips of `train` score: no model that has not learnt them by heart gets below it."""
        train = self.real(frames, self.train)
        return {column: "(real clips of train)", "frames": frames} | self.scores((train.logits, train.pooled), frames)

    @property
    def protocol(self) -> str:
        """What must be known to read the scores."""
        real, network = self.real(self.full), self.network
        return (
            f"{len(real)} generated videos, sigma {self.sigma}, against as many windows of "
            f"{len(real.takes.unique())} clips (starts at multiples of 8 frames, three crops, mirrored). "
            f"{network.name}: sha256 {network.sha256[:16]}."
        )


def joined(parts: list[Features]) -> Features:
    """Features of several batches as those of one."""
    pooled = [hidden for _, hidden in parts if hidden is not None]
    return torch.cat([logits for logits, _ in parts]), torch.cat(pooled) if pooled else None


def motion(frames: Tensor) -> float:
    """Mean absolute difference of successive frames of uint8 (B, T, H, W, 3), in 1/255."""
    return float(frames.float().diff(dim=1).abs().mean())


def step_seconds(run: Path) -> list[float]:
    """What each step of a run took, by its own record."""
    with (run / "metrics.csv").open(newline="") as file:
        return [float(row["seconds"]) for row in csv.DictReader(file)]


def seconds_per_step(run: Path) -> float:
    """Median of a run's own record."""
    times = step_seconds(run)
    return sorted(times)[len(times) // 2]


# ---- the table ---------------------------------------------------------------------------------


def table(rows: list[Row]) -> str:
    """Rows as Markdown, columns in the order in which they first appear."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(cell(row.get(name, "")) for name in columns) + " |" for row in rows)])


def cell(value: object) -> str:
    """A number with three digits or all before the point, and anything else as it is."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def publish(path: Path, title: str | None, rows: list[Row], about: str) -> None:
    """Write the table with what must be known to read it, and print it."""
    made = f"# {(title or path.stem).strip()}\n\n{table(rows)}\n\n{about}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made)
    print(made)


def parser(about: str | None, names: Iterable[str], *, steps_of: str) -> argparse.ArgumentParser:
    """The command line of the ablations of whole models: NAME DATA and their options."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("name", choices=list(names))
    add_common(made, runs="runs/ablation", num=720)
    made.add_argument("--outline-steps", type=int, default=1000, help="of level 1 of the hierarchy")
    made.add_argument("--steps", type=int, default=600, help=steps_of)
    return made


def add_common(made: argparse.ArgumentParser, *, runs: str, num: int) -> None:
    """DATA and the options that a `Lab` reads, with these defaults."""
    made.add_argument("data", type=Path)
    made.add_argument("--runs", type=Path, default=Path(runs), help="where runs are kept")
    made.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="where the table goes")
    made.add_argument("--passes", type=int, default=PASSES, help="for standing statistics")
    made.add_argument("--num", type=int, default=num, help="videos, at most")
    made.add_argument("--features", default="frames", help="frames, i3d, or a TorchScript file")
