"""What each training aid of hvg-mini does: its level 1, trained a short time with one of them taken away or added.

    python examples/ablate_aids.py DATA                               all arms, each trained where it is missing
    python examples/ablate_aids.py DATA --arms base,no-structure      some; the table has all that are there

DATA has folders `train` and `val` of class folders of clips, long enough for an outline (24 frames, 4 apart). None of
the aids is in the papers. Training has two phases: reconstruction alone, for --steps; then, from the weights of its
`base`, discriminators beside it, for --adversary-steps. Each arm changes one thing in one of them. Videos have the
classes of the held-out windows. Runs are kept in --runs: the same command goes on with them. The table is
ablation_aids.md, in --out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ablation_lab import SIGMA, Lab, Row, add_common, cell, publish, table  # before torch: tunes the memory allocation
from aids_lab import Arm, Measured, Meter, Recipe, Trainings, spent
from torch import Tensor, arange

from hvgcli.config import DiscriminatorConfig, Preset
from hvgcli.errors import TrainingError
from hvgcli.metrics.bootstrap import TRIALS, interval, over_takes
from hvgcli.metrics.estimate import Estimate
from hvgcli.metrics.frechet import frechet_of_features
from hvgcli.metrics.manifold import prdc
from hvgcli.presets import find_preset

SIGMAS = (0.25, 0.5, 0.75, 1.0)  # as in DVD-GAN's table 1
FRAMES_WHOLE = DiscriminatorConfig(32, (1, 2, 4))  # discriminators of whole frames that learn as fast


# ---- arms --------------------------------------------------------------------------------------


def half_the_nats(recipe: Recipe) -> Recipe:
    return recipe.of_aid(nats=recipe.aid.nats / 2)


def wider(recipe: Recipe) -> Recipe:
    return recipe.of_level(channels=recipe.level.channels * 3 // 2)


def twice_the_batch(recipe: Recipe) -> Recipe:
    training = recipe.training
    return recipe.of_training(batch_size=2 * training.batch_size, accumulate=2 * training.accumulate)


def whole_frames(recipe: Recipe) -> Recipe:
    return recipe.of_level(spatial=FRAMES_WHOLE, temporal=FRAMES_WHOLE)


ARMS = {
    arm.name: arm
    for arm in (
        # -- reconstruction alone, from fresh weights
        Arm("base", 1, "as the preset"),
        Arm("base-again", 1, "another seed: how far does chance alone carry a row?", seed=1),
        Arm(
            "no-balance",
            1,
            "clips drawn as often as they are, not class by class: do classes of few clips need it?",
            lambda recipe: recipe.of_training(balance_classes=False),
        ),
        Arm(
            "no-structure",
            1,
            "no error of structure functions: do they bring back texture and change that a mean error blurs?",
            lambda recipe: recipe.of_aid(structure_weight=0.0),
        ),
        Arm(
            "no-motion",
            1,
            "no error of frame differences: do videos stand still without it?",
            lambda recipe: recipe.of_aid(motion_weight=0.0),
        ),
        Arm("half-code", 1, "codes that tell half as many nats of a clip: can they be drawn better?", half_the_nats),
        Arm(
            "random-crops",
            1,
            "crops of 75 to 100 % of the height, not of all of it: is zoom worth a part of the code?",
            lambda recipe: recipe.of_training(random_scale=(0.75, 1.0)),
        ),
        Arm(
            "random-stride",
            1,
            "half of the windows at half the stride: do more speeds teach motion?",
            lambda recipe: recipe.of_training(random_stride=True),
        ),
        Arm(
            "wider",
            1,
            "half as many channels again, for the time of base: is the network too small?",
            wider,
            same_time=True,
        ),
        # -- the weights of base: nothing is trained
        Arm(
            "normal-codes",
            1,
            "weights of base, codes from N(0, I), not from Gaussians fitted to each class: do they need fitting?",
            lambda recipe: recipe.of_level(code_components=0),
            without=".prior.",
        ),
        Arm(
            "last-weights",
            1,
            "last weights of base, not their moving average: does averaging help?",
            lambda recipe: recipe.of_training(ema=0.0),
            without="networks/average.",
        ),
        # -- discriminators, from the weights of base
        Arm("adversary", 2, "as the preset: discriminators of patches judge reconstructions"),
        Arm("adversary-again", 2, "another seed", seed=1),
        Arm(
            "alone",
            2,
            "reconstruction alone for the time of adversary: is it the discriminators, or just the time?",
            same_time=True,
            alone=True,
        ),
        Arm(
            "whole-frames", 2, "discriminators give a score a frame, not one a patch: are patches better?", whole_frames
        ),
        Arm(
            "augmented",
            2,
            "discriminators see colours and places changed (DiffAugment): do they learn the clips by heart?",
            lambda recipe: recipe.of_training(augment=("color", "translation")),
        ),
        Arm(
            "large-batch",
            2,
            "twice the batch, in two parts, for half the steps: is the batch too small?",
            twice_the_batch,
            share=0.5,
        ),
        Arm(
            "orthogonal",
            2,
            "weights of the generator are drawn to orthogonal rows (1e-4, TrIVD-GAN): does that steady it?",
            lambda recipe: recipe.of_training(orthogonal_penalty=1e-4),
        ),
        Arm(
            "no-reconstruction",
            2,
            "no reconstruction error beside the discriminators: does it hold them?",
            lambda recipe: recipe.of_aid(weight=0.0),
        ),
    )
}
BASES = ("base", "adversary")


# ---- scores ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scores:
    """Sets of videos against the held-out one."""

    meter: Meter
    trials: int
    """Bootstrap samples of an interval."""
    known: dict[Measured, list[float]] = field(default_factory=dict)
    """`distances`."""

    def distances(self, made: Measured) -> list[float]:
        """The Frechet distance, then its bootstrap samples over takes: those of two sets are pairs."""
        if made not in self.known:
            real = self.meter.held_out

            def score(rows: Tensor, others: Tensor) -> float:
                return frechet_of_features(real.features[rows], made.features[others])

            whole = score(arange(len(real.takes)), arange(len(made.takes)))
            self.known[made] = [whole, *over_takes(score, real.takes, made.takes, trials=self.trials)]
        return self.known[made]

    @property
    def column(self) -> str:
        return f"FVD[{self.meter.lab.network.name}]"

    def row(self, made: Measured, base: Measured | None) -> Row:
        """The scores of a set, and its distance by that of the base of its phase."""
        values, real = self.distances(made), self.meter.held_out
        row: Row = {self.column: told(values), "by base": ""}
        if base is not None and base is not made:
            row["by base"] = told([own / other for own, other in zip(values, self.distances(base), strict=True)])
        shares = prdc(real.features, made.features)
        row |= {name: shares[name] for name in ("precision", "recall")}
        return row | {"motion": made.motion / real.motion, "detail": made.detail / real.detail}

    def curve(self, model: Path) -> list[Row]:
        """A model at each of `SIGMAS`."""
        rows: list[Row] = []
        for sigma in SIGMAS:
            made = self.meter.generated(model, sigma)
            rows.append({"sigma": f"{sigma:g}", self.column: told(self.distances(made))})
            rows[-1] |= prdc(self.meter.held_out.features, made.features)
        return rows


def told(values: Sequence[float]) -> str:
    """A value and its bootstrap samples as it and its 95 % interval."""
    found: Estimate = interval(values[0], values[1:])
    if found.low is None or found.high is None:
        return cell(found.value)
    return f"{cell(found.value)} ({cell(found.low)} to {cell(found.high)})"


# ---- the tables --------------------------------------------------------------------------------


def rows_of(trainings: Trainings, scores: Scores) -> list[Row]:
    """Real clips, then all arms that are there."""
    first: Row = {"arm": "(real clips of train)", "phase": "", "steps": "", "seconds": ""}
    rows = [first | scores.row(scores.meter.training_clips, None)]
    return rows + [_row(trainings, scores, arm) for arm in trainings.arms.values() if trainings.ended(arm)]


def _row(trainings: Trainings, scores: Scores, arm: Arm) -> Row:
    steps, seconds = spent(trainings.folder(arm))
    row: Row = {"arm": arm.name, "phase": arm.phase, "steps": steps, "seconds": seconds}
    try:
        found = scores.row(scores.meter.generated(trainings.model(arm)), _base(trainings, scores, arm))
    except TrainingError as error:
        found = {scores.column: "diverged: " + str(error).split(";")[0].replace("|", "/")}
    return row | found | {"what differs": arm.why}


def _base(trainings: Trainings, scores: Scores, arm: Arm) -> Measured | None:
    """What an arm is compared with; None where that is not there."""
    base = trainings.base(arm.phase)
    return scores.meter.generated(trainings.model(base)) if trainings.trained(base) else None


def about(trainings: Trainings, scores: Scores) -> str:
    """What must be known to read the tables."""
    level, lab, network = trainings.preset.model.hierarchy[0], trainings.lab, scores.meter.lab.network
    real = scores.meter.held_out
    return (
        f"Level 1 of {trainings.preset.model.name} ({level.frames}/{level.resolution}x{level.resolution}, stride "
        f"{level.stride}). Phase 1 is reconstruction alone for {trainings.steps[0]} steps; phase 2 goes on from its "
        f"base, for {trainings.steps[1]} steps with discriminators. Each arm was trained once, and the intervals hold "
        "nothing of what another seed would change: that is what the rows `again` are for. Seconds are those of the "
        "phase, on a machine that may have done other things meanwhile.\n\n"
        f"{len(real.takes)} generated videos, sigma {lab.sigma:g} but in the second table, against as many windows of "
        f"{len(real.takes.unique())} clips, in the same classes; so are the real clips of train. {network.name}: "
        f"sha256 {network.sha256[:16]}. In brackets 95 % over {scores.trials} draws of the clips and of the generated "
        "videos; "
        "by base: the distance by that of the base of the phase, on the same draws, where below 1 is better. "
        "Precision and recall by 5 neighbours. Motion (mean absolute difference of successive frames) and detail "
        "(mean square difference of neighbouring pixels) by those of the held-out windows."
    )


def pages(trainings: Trainings, scores: Scores) -> str:
    """What follows the first table."""
    base, text = trainings.base(2), about(trainings, scores)
    if not trainings.trained(base):
        return text
    curve = table(scores.curve(trainings.model(base)))
    return f"{text}\n\n## Truncation: `{base.name}` at smaller sigma, as DVD-GAN's table 1\n\n{curve}"


# ---- the command -------------------------------------------------------------------------------


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; `arguments` are the program's own by default."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common(made, runs="runs/ablation-aids", num=264)
    made.add_argument("--steps", type=int, default=300, help="of reconstruction alone")
    made.add_argument("--adversary-steps", type=int, default=150, help="with discriminators, after those")
    made.add_argument("--arms", type=_arms, default=list(ARMS), help=f"some of {','.join(ARMS)}; all by default")
    made.add_argument("--trials", type=int, default=TRIALS, help="bootstrap samples for the intervals")
    made.add_argument("--preset", default="hvg-mini", help="whose level 1 it is: a name or a JSON file")
    return made.parse_args(arguments)


def _arms(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if wrong := [name for name in names if name not in ARMS]:
        raise argparse.ArgumentTypeError(f"unknown arm {wrong[0]!r}: give some of {','.join(ARMS)}")
    return names


def trainings_of(options: argparse.Namespace) -> Trainings:
    preset: Preset = find_preset(options.preset)
    level = preset.model.hierarchy[0]
    lab = Lab(options, level.frames, size=level.resolution, stride=level.stride, sigma=SIGMA)
    return Trainings(lab, preset, (options.steps, options.adversary_steps), ARMS, BASES)


def main() -> None:
    options = options_of()
    trainings = trainings_of(options)
    for name in options.arms:
        with suppress(TrainingError):  # the table has its row
            trainings.model(ARMS[name])
    scores = Scores(Meter(trainings.lab), options.trials)
    rows = rows_of(trainings, scores)
    title = f"Training aids of {trainings.preset.model.name}, one at a time"
    publish(options.out / "ablation_aids.md", title, rows, pages(trainings, scores))


if __name__ == "__main__":
    main()
