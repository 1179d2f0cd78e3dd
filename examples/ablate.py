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

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

# before torch: it tunes the memory allocation
from ablation_lab import SIGMA, SIZE, STRIDE, Lab, Row, parser, publish, seconds_per_step
from torch import Tensor, from_numpy, inference_mode

from hvgcli.config import (
    DiscriminatorConfig,
    LevelConfig,
    ModelConfig,
    Preset,
    ReconstructionConfig,
    TrainingConfig,
)
from hvgcli.data.pyramid import downsample_space, subsample_time
from hvgcli.layers.layout import join_time
from hvgcli.metrics.generated import GeneratedVideos, labels_like
from hvgcli.sampling.hierarchy import Hierarchy, Sample, generate, level_latents, load, sample_labels
from hvgcli.sampling.render import to_pixels
from hvgcli.sampling.unroll import unroll

FULL = 24  # frames of a full video; windows of 12 are what level 2 was trained on
TIMES = 4  # how much longer than that the video of `quarters` is

# ---- models ------------------------------------------------------------------------------------


def preset(steps: tuple[int, int], classes: int) -> Preset:
    """The hierarchy that the variants differ from. All its numbers are ours."""
    disc = DiscriminatorConfig
    outline = LevelConfig(12, 8, 2 * STRIDE, 16, (8, 4), disc(32, (1, 2)), disc(32, (1, 2)), None, 16, 32, False)
    seen = disc(16, (1, 2, 2, 4)), disc(16, (1, 2, 4)), disc(16, (2, 4))
    upper = LevelConfig(12, SIZE, STRIDE, 16, (4, 4, 2), *seen, 16, 32)
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


@dataclass(frozen=True)
class Hierarchies:
    """The variants in a lab; `steps` are those of level 1 and of level 2."""

    lab: Lab
    steps: tuple[int, int]

    def model(self, variant: str = "base", share: int = 3) -> Path:
        """The model folder of a variant after `share` thirds of its training; trains what is missing."""
        outline, run = self.lab.runs / "level1", self.run(variant)
        for third in range(1, share + 1) if variant in STAGED else (3,):
            made = run / f"model-{third}-of-3"
            if not made.exists():
                self.lab.hvg("train-level", 1, preset=self._preset("base"), run=outline, steps=self.steps[0])
                upper, steps = ("train-level", 2, "--model", outline), self.steps[1] * third // 3
                self.lab.hvg(*upper, preset=self._preset(variant), run=run, steps=steps)
                shutil.copytree(run / "model", made)
        return run / f"model-{share}-of-3"

    def run(self, variant: str) -> Path:
        """The run folder of level 2 of a variant."""
        return self.lab.runs / f"level2-{variant}"

    def _preset(self, variant: str) -> Path:
        known = preset(self.steps, self.lab.classes)
        outline, upper = known.model.levels
        assert isinstance(upper, LevelConfig)
        config = replace(known.model, levels=(outline, VARIANTS[variant](upper)))
        return self.lab.write_preset(variant, replace(known, model=config))

    @property
    def about(self) -> str:
        """How they are trained."""
        outline, upper = self.steps
        return f"Level 1 (12/8x8) trained for {outline} steps of 24 videos, level 2 (24/32x32) for {upper} of 12."


@inference_mode()
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
    wanted = frames if level == 2 else frames // made.config.times_time(2)
    return generate(made, samples, wanted, sigma=SIGMA, levels=level)


# ---- the ablations -----------------------------------------------------------------------------


def matching(models: Hierarchies) -> list[Row]:
    """HVG table 2: the matching discriminator, on the training length and unrolled."""
    rows = [models.lab.reference("matching discriminator", frames) for frames in (FULL // 2, FULL)]
    for variant, name in (("base", "with"), ("no-matching", "without")):
        model = models.model(variant)
        for frames in (FULL // 2, FULL):
            drift = {"distance to the outline, 1/255": grounding(model, frames)}
            rows.append({"matching discriminator": name, "frames": frames} | models.lab.measured(model, frames) | drift)
    return rows


def window(models: Hierarchies) -> list[Row]:
    """HVG table 3: the window that level 2 is trained on."""
    rows = [models.lab.reference("outline frames in training", FULL)]
    for variant, frames in (("window-3", 3), ("base", 6)):
        row: Row = {"outline frames in training": frames, "frames": FULL}
        row |= models.lab.measured(models.model(variant), FULL)
        rows.append(row | {"seconds a step": seconds_per_step(models.run(variant))})
    return rows


def units(models: Hierarchies) -> list[Row]:
    """HVG figure 9: recurrent and separable 3D units in the upsampler, over training."""
    rows = [models.lab.reference("units", FULL)]
    for third in (1, 2, 3):
        for variant, name in (("base", "separable 3D"), ("recurrent", "ConvGRU")):
            row: Row = {"units": name, "frames": FULL, "steps": models.steps[1] * third // 3}
            rows.append(row | models.lab.measured(models.model(variant, third), FULL))
    return rows


def quarters(models: Hierarchies) -> list[Row]:
    """The quarters of a video of four times the training length, each against real windows."""
    lab = models.lab
    videos = lab.generated(load(models.model()), TIMES * FULL, TIMES * FULL)
    rows = [lab.reference("quarter", FULL)]
    for quarter, part in enumerate(lab.stretches(videos, FULL), start=1):
        span = f"{(quarter - 1) * FULL + 1} to {quarter * FULL}"
        rows.append({"quarter": quarter, "frames": span} | lab.scores(part.features, FULL))
    return rows


def standing(models: Hierarchies) -> list[Row]:
    """HVG appendix A: standing statistics, and those of the batch at hand."""
    lab, path = models.lab, models.model()
    rows = [lab.reference("statistics", FULL)]
    rows.append({"statistics": f"standing, {lab.options.passes} passes", "frames": FULL} | lab.measured(path, FULL))
    for batch in (size for size in (2, 8, 32) if size <= lab.num):
        fake = lab.features(_by_batch(lab.generated(load(path), FULL), batch))
        rows.append({"statistics": f"of a batch of {batch}", "frames": FULL} | lab.scores(fake, FULL))
    return rows


@inference_mode()
def _by_batch(videos: GeneratedVideos, size: int) -> Iterator[Tensor]:
    """The same videos, normalised by the statistics of the `size` that are made together."""
    made = videos.hierarchy
    for generator in made.generators:
        generator.train()
    for first in range(0, videos.count - videos.count % size, size):
        samples = videos.samples[first : first + size]
        zs = [level_latents(made, samples, level, SIGMA) for level in (1, 2)]
        whole = join_time(*unroll(made.generators, zs, sample_labels(made, samples), videos.frames, FULL))
        yield from_numpy(to_pixels(whole))


ABLATIONS = {"matching": matching, "window": window, "units": units, "quarters": quarters, "standing": standing}


def main() -> None:
    options = parser(__doc__, ABLATIONS, steps_of="of level 2").parse_args()
    models = Hierarchies(Lab(options, FULL), (options.outline_steps, options.steps))
    ablation = ABLATIONS[options.name]
    rows = ablation(models)
    path = options.out / f"ablation_{options.name}.md"
    publish(path, ablation.__doc__, rows, f"{models.about} {models.lab.protocol}")


if __name__ == "__main__":
    main()
