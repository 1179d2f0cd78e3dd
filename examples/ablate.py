"""HVG's ablations at a size that two CPU cores train, one command each: trains what is missing, measures, tabulates.

    python examples/ablate.py matching DATA   with and without the matching discriminator (HVG table 2)
    python examples/ablate.py window DATA     level 2 trained on 3 and on 6 outline frames (table 3)
    python examples/ablate.py units DATA      recurrent and separable 3D units in the upsampler (figure 9)
    python examples/ablate.py quarters DATA   quality over the quarters of a video four times as long as in training
    python examples/ablate.py standing DATA   standing statistics, and statistics of the batch at hand

DATA has folders `train` and `val` of class folders of clips with 24 frames or more. The hierarchy is 12/8x8, then
24/32x32. As in the paper, level 2 learns from its discriminators alone: what adds to the enlarged input or
reconstructs clips would ground it without the matching discriminator. Runs are kept in --runs and shared by the
commands; the same command goes on with them. The tables are Markdown, in --out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from hvgcli.runtime import tune_allocator

tune_allocator()  # before torch is imported: video tensors are large

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from hvgcli.config import (  # noqa: E402
    DiscriminatorConfig,
    LevelConfig,
    ModelConfig,
    Preset,
    ReconstructionConfig,
    TrainingConfig,
    to_dict,
)
from hvgcli.data.clips import scan  # noqa: E402
from hvgcli.data.pyramid import downsample_space, subsample_time  # noqa: E402
from hvgcli.layers.layout import join_time  # noqa: E402
from hvgcli.metrics.features import FeatureSet, cache_folder, extract  # noqa: E402
from hvgcli.metrics.frechet import frechet_of_features  # noqa: E402
from hvgcli.metrics.generated import GeneratedVideos, labels_like  # noqa: E402
from hvgcli.metrics.inception import inception_score  # noqa: E402
from hvgcli.metrics.networks import FeatureNetwork, resolve  # noqa: E402
from hvgcli.metrics.videos import RealVideos  # noqa: E402
from hvgcli.metrics.windows import Sampling  # noqa: E402
from hvgcli.sampling.hierarchy import Hierarchy, Sample, level_latents, load, sample_labels  # noqa: E402
from hvgcli.sampling.render import to_pixels  # noqa: E402
from hvgcli.sampling.unroll import unroll  # noqa: E402

SIGMA = 1.0  # HVG appendix H: metrics are taken without truncation
FULL = 24  # frames of a full video; windows of 12 are what level 2 was trained on
TIMES = 4  # how much longer than that the video of `quarters` is
BATCH = 16  # videos generated at a time

Features = tuple[Tensor, Tensor | None]
"""Logits (N, K) and last hidden activations (N, d) of N videos."""


# ---- models ------------------------------------------------------------------------------------


def preset(steps: tuple[int, int], classes: int) -> Preset:
    """The hierarchy that the variants differ from. All its numbers are ours."""
    disc = DiscriminatorConfig
    outline = LevelConfig(12, 8, 2, 16, (8, 4), disc(32, (1, 2)), disc(32, (1, 2)), None, 16, 32, False)
    upper = LevelConfig(12, 32, 1, 16, (4, 4, 2), disc(16, (1, 2, 2, 4)), disc(16, (1, 2, 4)), disc(16, (2, 4)), 16, 32)
    common = TrainingConfig(
        lr_generator=2e-4, lr_discriminator=4e-4, discriminator_updates=1, ema=0.99, precision="bf16"
    )
    aid = ReconstructionConfig(steps[0], 1.0, 1e-3, 0.5, 5.0, nats=24.0)
    training = (
        replace(common, steps=steps[0], batch_size=24, beta1=0.5, reconstruction=aid),
        replace(common, steps=steps[1], batch_size=12, condition_reuse=4, spatial_frames=4),
    )
    return Preset(ModelConfig("hvg-ablation", (outline, upper), classes), training, "ours, for ablations")


VARIANTS: dict[str, Callable[[LevelConfig], LevelConfig]] = {
    "base": lambda level: level,
    "no-matching": lambda level: replace(level, matching=None),
    "window-3": lambda level: replace(level, frames=6),
    "recurrent": lambda level: replace(level, unit="recurrent"),
}
STAGED = ("base", "recurrent")  # whose models are kept after each third of the training


def hvg(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "hvgcli", *map(str, arguments)], check=True)


class Lab:
    """Where runs are kept and measured."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.train, self.val = options.data / "train", options.data / "val"
        self.runs, self.num, self.options = options.runs, options.num, options
        self.steps = (options.outline_steps, options.steps)
        self.passes = ("--passes", options.passes)
        self._network: FeatureNetwork | None = None
        self._real: dict[tuple[Path, int], FeatureSet] = {}

    @property
    def network(self) -> FeatureNetwork:
        self._network = self._network or resolve(self.options.features)
        return self._network

    # -- training

    def model(self, variant: str = "base", share: int = 3) -> Path:
        """The model folder of a variant after `share` thirds of its training; trains what is missing."""
        outline, run = self.runs / "level1", self.runs / f"level2-{variant}"
        for third in range(1, share + 1) if variant in STAGED else (3,):
            made = run / f"model-{third}-of-3"
            if not made.exists():
                self._train(1, self._preset("base"), outline, self.steps[0])
                self._train(2, self._preset(variant), run, self.steps[1] * third // 3, "--model", outline)
                shutil.copytree(run / "model", made)
        return run / f"model-{share}-of-3"

    def _train(self, level: int, preset: Path, run: Path, steps: int, *more: object) -> None:
        hvg(
            "train-level",
            level,
            "--data",
            self.train,
            "--preset",
            preset,
            "--out",
            run,
            "--steps",
            steps,
            *self.passes,
            *more,
        )

    def _preset(self, variant: str) -> Path:
        known = preset(self.steps, len([folder for folder in self.train.iterdir() if folder.is_dir()]))
        outline, upper = known.model.levels
        config = replace(known.model, levels=(outline, VARIANTS[variant](upper)))
        self.runs.mkdir(parents=True, exist_ok=True)
        path: Path = self.runs / f"{variant}.json"
        path.write_text(json.dumps(to_dict(replace(known, model=config)), indent=1) + "\n")
        return path

    # -- features

    def real(self, frames: int, source: Path | None = None) -> FeatureSet:
        """Windows of the real clips (of `val` by default), at the stride and size that the model makes."""
        key = (source or self.val, frames)
        if key not in self._real:
            level = preset(self.steps, 0).model.levels[-1]
            size = (level.resolution, level.resolution)
            sampling = Sampling(frames, level.stride, size, "windows", self.num)
            self._real[key] = extract(
                RealVideos(scan(key[0]), sampling, name=key[0].name), self.network, cache=cache_folder()
            )
        return self._real[key]

    def generated(self, model: Hierarchy, frames: int, full: int = FULL) -> GeneratedVideos:
        """As many videos as the real set has windows, with its classes."""
        known = self.real(FULL)
        counts = (
            {}
            if known.labels is None
            else {name: int((known.labels == label).sum()) for label, name in enumerate(known.classes)}
        )
        return GeneratedVideos(
            model, labels_like(model.config, counts, len(known)), frames=frames, full=full, sigma=SIGMA
        )

    def features(self, videos: Iterable[Tensor]) -> Features:
        """Features of batches of videos, uint8 (B, T, H, W, 3)."""
        parts = [self.network.both(batch) for batch in videos]
        pooled = [part for _, part in parts if part is not None]
        return torch.cat([logits for logits, _ in parts]), torch.cat(pooled) if pooled else None

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
        """`scores` of windows of so many frames; of whole videos for `FULL`."""
        made = extract(self.generated(load(model), frames), self.network, batch=BATCH, cache=cache_folder())
        return self.scores((made.logits, made.pooled), frames)

    def reference(self, frames: int) -> dict[str, float]:
        """What the clips of `train` score: no model that has not learnt them by heart gets below it."""
        train = self.real(frames, self.train)
        return self.scores((train.logits, train.pooled), frames)


@torch.inference_mode()
def grounding(model: Path, frames: int, videos: int = 64) -> float:
    """Mean absolute error, in 1/255, between f_s(f_t(x^2)) and x^1, on windows of `frames` of generated outlines."""
    made = load(model)
    tables = GeneratedVideos(made, labels_like(made.config, {}, videos), frames=frames, full=frames, sigma=SIGMA)
    samples = tables.samples
    low = join_time(*_level(made, samples, frames, 1))
    high = join_time(*_level(made, samples, frames, 2))
    step = made.config.times_time(2)
    error = downsample_space(subsample_time(high, step), low.shape[-1]) - low
    return float(error.abs().mean()) * 127.5


def _level(made: Hierarchy, samples: list[Sample], frames: int, level: int) -> Iterator[Tensor]:
    from hvgcli.sampling.hierarchy import generate

    wanted = frames if level == 2 else frames // made.config.times_time(2)
    return generate(made, samples, wanted, sigma=SIGMA, levels=level)


# ---- the ablations -----------------------------------------------------------------------------

Row = dict[str, object]


def matching(lab: Lab) -> list[Row]:
    """HVG table 2: the matching discriminator, on the training length and unrolled."""
    rows = [_reference_row(lab, "matching discriminator", frames) for frames in (FULL // 2, FULL)]
    for variant, name in (("base", "with"), ("no-matching", "without")):
        model = lab.model(variant)
        for frames in (FULL // 2, FULL):
            drift = {"distance to the outline, 1/255": grounding(model, frames)}
            rows.append({"matching discriminator": name, "frames": frames} | lab.measured(model, frames) | drift)
    return rows


def window(lab: Lab) -> list[Row]:
    """HVG table 3: the window that level 2 is trained on."""
    rows = [_reference_row(lab, "outline frames in training", FULL)]
    for variant, frames in (("window-3", 3), ("base", 6)):
        rows.append({"outline frames in training": frames, "frames": FULL} | lab.measured(lab.model(variant), FULL))
        rows[-1]["seconds a step"] = _seconds_per_step(lab.runs / f"level2-{variant}")
    return rows


def _seconds_per_step(run: Path) -> float:
    """Median of a run's own record."""
    import csv

    with (run / "metrics.csv").open(newline="") as file:
        times = [float(row["seconds"]) for row in csv.DictReader(file)]
    return sorted(times)[len(times) // 2]


def units(lab: Lab) -> list[Row]:
    """HVG figure 9: recurrent and separable 3D units in the upsampler, over training."""
    rows = [_reference_row(lab, "units", FULL)]
    for third in (1, 2, 3):
        for variant, name in (("base", "separable 3D"), ("recurrent", "ConvGRU")):
            row: Row = {"units": name, "frames": FULL, "steps": lab.steps[1] * third // 3}
            rows.append(row | lab.measured(lab.model(variant, third), FULL))
    return rows


def quarters(lab: Lab) -> list[Row]:
    """The quarters of a video of four times the training length, each against real windows."""
    videos = lab.generated(load(lab.model()), TIMES * FULL, TIMES * FULL)
    parts: list[list[Features]] = [[] for _ in range(TIMES)]
    for batch in videos.batches(BATCH):
        for quarter, piece in enumerate(batch.frames.split(FULL, dim=1)):
            parts[quarter].append(lab.network.both(piece))
    rows = [_reference_row(lab, "quarter", FULL)]
    for quarter, part in enumerate(parts):
        pooled = [hidden for _, hidden in part if hidden is not None]
        fake = torch.cat([logits for logits, _ in part]), torch.cat(pooled) if pooled else None
        span = f"{quarter * FULL + 1} to {(quarter + 1) * FULL}"
        rows.append({"quarter": quarter + 1, "frames": span} | lab.scores(fake, FULL))
    return rows


def standing(lab: Lab) -> list[Row]:
    """HVG appendix A: standing statistics, and those of the batch at hand."""
    path = lab.model()
    rows = [_reference_row(lab, "statistics", FULL)]
    rows.append({"statistics": f"standing, {lab.options.passes} passes", "frames": FULL} | lab.measured(path, FULL))
    for batch in (size for size in (2, 8, 32) if size <= lab.num):
        fake = lab.features(_by_batch(lab.generated(load(path), FULL), batch))
        rows.append({"statistics": f"of a batch of {batch}", "frames": FULL} | lab.scores(fake, FULL))
    return rows


@torch.inference_mode()
def _by_batch(videos: GeneratedVideos, size: int) -> Iterator[Tensor]:
    """The same videos, normalised by the statistics of the `size` that are made together."""
    made = videos.hierarchy
    for generator in made.generators:
        generator.train()
    for first in range(0, videos.count - videos.count % size, size):
        samples = videos.samples[first : first + size]
        zs = [level_latents(made, samples, level, SIGMA) for level in (1, 2)]
        whole = join_time(*unroll(made.generators, zs, sample_labels(made, samples), videos.frames, FULL))
        yield torch.from_numpy(to_pixels(whole))


def _reference_row(lab: Lab, column: str, frames: int) -> Row:
    return {column: "(real clips of train)", "frames": frames} | lab.reference(frames)


# ---- the table ---------------------------------------------------------------------------------

ABLATIONS = {"matching": matching, "window": window, "units": units, "quarters": quarters, "standing": standing}


def table(rows: list[Row]) -> str:
    """Rows as Markdown, columns in the order in which they first appear."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join(
        [*lines, *("| " + " | ".join(_cell(row.get(name, "")) for name in columns) + " |" for row in rows)]
    )


def _cell(value: object) -> str:
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 100
        else f"{value:.0f}"
        if isinstance(value, float)
        else str(value)
    )


def report(name: str, lab: Lab, rows: list[Row]) -> str:
    """The table with what must be known to read it."""
    real, network = lab.real(FULL), lab.network
    protocol = (
        f"Level 1 (12/8x8) trained for {lab.steps[0]} steps of 24 videos, level 2 (24/32x32) for {lab.steps[1]} of 12. "
        f"{len(real)} generated videos, sigma {SIGMA}, against as many windows of {len(real.takes.unique())} clips "
        f"(starts at multiples of 8 frames, three crops, mirrored). {network.name}: sha256 {network.sha256[:16]}."
    )
    return f"# {(ABLATIONS[name].__doc__ or name).strip()}\n\n{table(rows)}\n\n{protocol}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=ABLATIONS)
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"), help="where runs are kept")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="where the table goes")
    parser.add_argument("--outline-steps", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=600, help="of level 2")
    parser.add_argument("--passes", type=int, default=200, help="for standing statistics")
    parser.add_argument("--num", type=int, default=720, help="videos, at most")
    parser.add_argument("--features", default="frames", help="frames, i3d, or a TorchScript file")
    options = parser.parse_args()
    lab = Lab(options)
    made = report(options.name, lab, ABLATIONS[options.name](lab))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"ablation_{options.name}.md").write_text(made)
    print(made)


if __name__ == "__main__":
    main()
