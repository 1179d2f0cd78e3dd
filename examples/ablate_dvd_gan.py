"""DVD-GAN's ablations at a size that two CPU cores train, one command each, as those of HVG in `ablate.py`.

    python examples/ablate_dvd_gan.py phi DATA      what the temporal discriminator sees (DVD-GAN figure 6, left)
    python examples/ablate_dvd_gan.py k DATA        how many frames the spatial one sees (DVD-GAN figure 6, right)
    python examples/ablate_dvd_gan.py horizon DATA  trained on 12 frames and run to 48, beside HVG (HVG figure 4)

DATA has folders `train` and `val` of class folders of clips with 12 frames or more, for `horizon` with 24. The models
are 12/32x32 and learn from the hinge losses alone, with two updates of the discriminators for one of the generator, as
in the paper; widths, rates and steps are ours. With `--seeds 3` every model is trained three times, as there. Runs are
kept in --runs, beside those of `ablate.py`, whose hierarchy `horizon` takes. The tables are Markdown, in --out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

# before torch: it tunes the memory allocation
from ablate import Hierarchies
from ablation_lab import SIZE, STRIDE, Lab, Row, cell, parser, publish, seconds_per_step

from hvgcli.checkpoints import level_metadata
from hvgcli.config import DiscriminatorConfig, ModelConfig, OneStageConfig, Preset, TrainingConfig
from hvgcli.models.decompositions import DECOMPOSITIONS
from hvgcli.sampling.hierarchy import load

FRAMES = 12  # of a video in training
TIMES = 4  # how much longer than that the video of `horizon` is
K = 8  # single frames that are judged, where that is not what is compared
BATCH = 12

PHI = {
    "identity": "phi-identity",
    "2x2 average pooling": "dvd-gan",
    "4x4 average pooling": "phi-4x4",
    "random half-size crop": "phi-crop",
}
"""Choices of phi in section 4.3, and the decompositions that have them."""


# ---- models ------------------------------------------------------------------------------------


def preset(steps: int, classes: int) -> Preset:
    """The model that the variants differ from: DVD-GAN's parts and losses, all numbers ours."""
    level = OneStageConfig(
        FRAMES, SIZE, STRIDE, 16, (8, 4, 4, 2), DiscriminatorConfig(16, (1, 2, 4, 4)), z_dim=16, embed_dim=32
    )
    training = TrainingConfig(
        steps=steps,
        batch_size=BATCH,
        lr_generator=2e-4,
        lr_discriminator=4e-4,
        spatial_frames=K,
        ema=0.99,
        precision="bf16",
    )
    return Preset(ModelConfig("dvd-gan-ablation", (level,), classes), (training,), "ours, for ablations")


@dataclass(frozen=True)
class OneStageModels:
    """DVD-GANs in a lab, each trained for `steps` steps, once for every seed."""

    lab: Lab
    steps: int
    seeds: int

    def run(self, decomposition: str, k: int, seed: int) -> Path:
        """The run folder of a variant."""
        return self.lab.runs / f"{decomposition}-k{k}-seed{seed}"

    def model(self, decomposition: str = "dvd-gan", k: int = K, seed: int = 0) -> Path:
        """The model folder of a variant; it is trained where it is missing or has had other steps."""
        run = self.run(decomposition, k, seed)
        if not _has_steps(run / "model", self.steps):
            base = self.lab.write_preset("dvd-gan", preset(self.steps, self.lab.classes))
            variant = ("--decomposition", decomposition, "--spatial-frames", k, "--seed", seed)
            self.lab.hvg("train", "dvd-gan", *variant, preset=base, run=run, steps=self.steps)
        return run / "model"

    def compared(self, decomposition: str = "dvd-gan", k: int = K) -> Row:
        """What a variant costs, and the scores of its whole videos over all seeds."""
        found = []
        for seed in range(self.seeds):
            scores = self.lab.measured(self.model(decomposition, k, seed), FRAMES)
            found.append(scores | {"seconds a step": seconds_per_step(self.run(decomposition, k, seed))})
        return {"frames": FRAMES, "pixels judged": judged_pixels(decomposition, k, FRAMES, SIZE)} | over_seeds(found)

    @property
    def about(self) -> str:
        """How they are trained."""
        times = f", with {self.seeds} seeds (mean ± standard deviation)" if self.seeds > 1 else ""
        return f"DVD-GAN (12/32x32) trained for {self.steps} steps of {BATCH} videos{times}."


def _has_steps(model: Path, steps: int) -> bool:
    return model.is_dir() and level_metadata(model, 1)["steps"] == steps


def judged_pixels(decomposition: str, k: int, frames: int, size: int) -> int:
    """Pixels of a video that the discriminators see in all (section 3.1): k H W + T phi(H) phi(W)."""
    return sum(
        (min(view.count or k, frames) if view.single else frames) * (size // view.factor) ** 2
        for view in DECOMPOSITIONS[decomposition].values()
    )


def over_seeds(found: Iterable[Mapping[str, float]]) -> Row:
    """The one score of each name; of several their mean ± standard deviation."""
    rows = list(found)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    if len(rows) == 1:
        return {name: values[0] for name, values in columns.items()}
    return {name: f"{cell(mean(values))} ± {cell(stdev(values))}" for name, values in columns.items()}


# ---- the ablations -----------------------------------------------------------------------------


def phi(models: OneStageModels) -> list[Row]:
    """DVD-GAN figure 6, left: phi, what the temporal discriminator sees of the whole video."""
    variants: list[Row] = [{"phi": name} | models.compared(how) for name, how in PHI.items()]
    return [models.lab.reference("phi", FRAMES), *variants]


def k(models: OneStageModels) -> list[Row]:
    """DVD-GAN figure 6, right: k, how many single frames the spatial discriminator sees."""
    variants: list[Row] = [{"k": count} | models.compared(k=count) for count in (1, 2, 8, 10)]
    return [models.lab.reference("k", FRAMES), *variants]


def horizon(models: OneStageModels) -> list[Row]:
    """HVG figure 4: the quarters of videos of 48 frames, by DVD-GAN and by HVG, each against real windows."""
    lab = models.lab
    rows = [
        lab.reference("model", FRAMES) | _moves(lab.real_motion(FRAMES, lab.train)),
        {"model": "(real clips of val)", "frames": FRAMES} | _moves(lab.real_motion(FRAMES)),
    ]
    for name, model in (("DVD-GAN", models.model()), ("HVG", _hierarchies(lab).model())):
        videos = lab.generated(load(model), TIMES * FRAMES, TIMES * FRAMES)
        for quarter, part in enumerate(lab.stretches(videos, FRAMES)):
            span = f"{quarter * FRAMES + 1} to {(quarter + 1) * FRAMES}"
            rows.append({"model": name, "frames": span} | lab.scores(part.features, FRAMES) | _moves(part.motion))
    return rows


def _moves(value: float) -> Row:
    return {"change from frame to frame, 1/255": value}


def _hierarchies(lab: Lab) -> Hierarchies:
    return Hierarchies(lab, (lab.options.outline_steps, lab.options.steps))


ABLATIONS = {"phi": phi, "k": k, "horizon": horizon}


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; `arguments` are the program's own by default."""
    made = parser(__doc__, ABLATIONS, steps_of="of DVD-GAN, and of level 2 of the hierarchy")
    made.add_argument("--seeds", type=int, default=1, help="trainings of each DVD-GAN of phi and k")
    return made.parse_args(arguments)


def main() -> None:
    options = options_of()
    ablation = ABLATIONS[options.name]
    models = OneStageModels(Lab(options, FRAMES), options.steps, 1 if ablation is horizon else options.seeds)
    rows = ablation(models)
    about = [models.about, models.lab.protocol]
    if ablation is horizon:
        reach = "Of one video DVD-GAN and level 2 of HVG saw 12 frames in training, and HVG's outline spanned 24."
        about[1:1] = [_hierarchies(models.lab).about, reach]
    publish(options.out / f"ablation_dvd_gan_{options.name}.md", ablation.__doc__, rows, " ".join(about))


if __name__ == "__main__":
    main()
