"""`hvg train SYSTEM`: train a one-stage model, DVD-GAN or a predictor, from a folder of clips."""

from __future__ import annotations

from typing import Annotated

import typer

from hvgcli.cli.families import SYSTEMS, check_system, complete_system
from hvgcli.cli.options import AsJson, Debug, DryRun, NoProgress, Quiet, examples
from hvgcli.cli.output import make_output
from hvgcli.cli.training import options as given
from hvgcli.cli.training.options import log_kinds, read_notes, training_changes
from hvgcli.cli.training.request import Keeping, Limits, Machine, Request
from hvgcli.cli.training.run import carry_out
from hvgcli.cli.values import one_of
from hvgcli.config.one_stage import DECOMPOSITIONS, RECURRENT_UNITS
from hvgcli.errors import UsageError

EPILOG = examples(
    "hvg train trivd-gan-fp --data clips/ --out runs/fp",
    "hvg train dvd-gan --data shards/ --preset dvd-gan-48x128 --out runs/dvd --dry-run",
    "hvg train trivd-gan-fp --data clips/ --out runs/unit --unit ConvGRU --decomposition faster",
    "hvg train trivd-gan-fp --data mine/ --from trivd-gan-fp-mini --out runs/mine --steps 500",
    "torchrun --nproc-per-node 4 -m hvgcli train dvd-gan-fp --data shards/ --preset my.json --out runs/fp",
)
_NETWORKS = "Networks"


def train(
    system: Annotated[
        str,
        typer.Argument(
            help=f"What to train: {', '.join(SYSTEMS)}.",
            show_default=False,
            autocompletion=complete_system,
        ),
    ],
    data: given.Data,
    out: given.Out,
    preset: given.OwnPreset = None,
    start: given.Start = None,
    frames: Annotated[
        int | None,
        given.inherited("Frames that it makes in training; a predictor's, after its context.", panel=_NETWORKS, min=1),
    ] = None,
    context: Annotated[
        int | None, given.inherited("Frames that a predictor goes on from.", panel=_NETWORKS, min=1)
    ] = None,
    unit: Annotated[
        str | None,
        given.inherited(f"Recurrent unit: {', '.join(RECURRENT_UNITS)}.", panel=_NETWORKS, metavar="NAME"),
    ] = None,
    decomposition: Annotated[
        str | None,
        given.inherited(
            f"Discriminators, and what they see: {', '.join(DECOMPOSITIONS)}.", panel=_NETWORKS, metavar="NAME"
        ),
    ] = None,
    spatial_frames: Annotated[
        int | None,
        given.inherited("K: single frames of a video that are judged.", panel=_NETWORKS, metavar="K", min=1),
    ] = None,
    steps: given.Steps = None,
    batch_size: given.BatchSize = None,
    accumulate: given.Accumulate = None,
    precision: given.Precision = None,
    ema: given.Ema = None,
    augment: given.Augment = None,
    standing: given.Standing = False,
    seed: given.Seed = 0,
    patience: given.Patience = None,
    watch: given.Watch = "reconstruction",
    minutes: given.Minutes = None,
    device: given.Device = "auto",
    workers: given.Workers = 1,
    compiled: given.Compiled = False,
    samples_every: given.SamplesEvery = 200,
    save_every: given.SaveEvery = 100,
    keep: given.Keep = 2,
    log: given.Log = "csv,tensorboard",
    passes: given.Passes = 8,
    notes: given.Notes = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Train DVD-GAN, which makes videos from nothing, or DVD-GAN-FP or TrIVD-GAN-FP, which continue clips.

    The same command again goes on where it stopped. A preset file is JSON with "model" and "training", as
    --dry-run --json prints them; fields of "training" that are left out have the papers' values.
    """
    from hvgcli.runtime import choose_device, tune_allocator

    tune_allocator()
    check_system(system)
    networks = _networks(system, frames, context, unit, decomposition)
    changes = training_changes(
        augment,
        standing,
        spatial_frames=spatial_frames,
        steps=steps,
        batch_size=batch_size,
        accumulate=accumulate,
        precision=precision,
        ema=ema,
    )
    carry_out(
        Request(system, 1, data, out, preset or f"{system}-mini", seed, networks, changes, None, start),
        Limits(watch, patience, minutes),
        Keeping(samples_every, save_every, keep, log_kinds(log), passes, read_notes(notes)),
        Machine(choose_device(device), workers, compiled),
        dry_run=dry_run,
        output=make_output(as_json=as_json, quiet=quiet, no_progress=no_progress),
    )


def _networks(
    system: str, frames: int | None, context: int | None, unit: str | None, decomposition: str | None
) -> dict[str, object]:
    """The fields of a `OneStageConfig` that were given; `UsageError` for names that are not known."""
    if context is not None and system == "dvd-gan":
        raise UsageError("dvd-gan goes on from no frames: leave out --context, or train dvd-gan-fp or trivd-gan-fp")
    if unit is not None:
        one_of("--unit", unit, RECURRENT_UNITS)
    if decomposition is not None:
        one_of("--decomposition", decomposition, DECOMPOSITIONS)
    chosen = {"frames": frames, "context": context, "unit": unit, "decomposition": decomposition}
    return {key: value for key, value in chosen.items() if value is not None}
