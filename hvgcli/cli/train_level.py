"""`hvg train-level N`: train one level of a hierarchy from a folder of clips; the same command continues."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvgcli.cli.families import HIERARCHY
from hvgcli.cli.options import AsJson, Debug, DryRun, NoProgress, Quiet, examples
from hvgcli.cli.output import make_output
from hvgcli.cli.training import options as given
from hvgcli.cli.training.options import log_kinds, read_notes, training_changes
from hvgcli.cli.training.request import Keeping, Limits, Machine, Request
from hvgcli.cli.training.run import carry_out

EPILOG = examples(
    "hvg train-level 1 --data clips/ --preset hvg-mini --out runs/level1",
    "hvg train-level 2 --data clips/ --model runs/level1 --out runs/level2",
    "hvg train-level 2 --data shards/ --model runs/level1 --out runs/level2 --window 12 --batch-size 8 --dry-run",
    "hvg train-level 1 --data mine/ --from hvg-mini --out runs/mine --steps 500",
    "torchrun --nproc-per-node 4 -m hvgcli train-level 1 --data shards/ --preset my.json --out runs/level1",
)


def train_level(
    level: Annotated[int, typer.Argument(help="The level to train, from 1.", min=1, show_default=False)],
    data: given.Data,
    out: given.Out,
    preset: given.PresetName = "hvg-mini",
    model: Annotated[
        Path | None, typer.Option(help="Run or model folder with the levels below.", rich_help_panel=given.DATA)
    ] = None,
    start: given.Start = None,
    steps: given.Steps = None,
    window: Annotated[
        int | None, given.inherited("Frames that the level is trained on; level 1: of the outline.", min=1)
    ] = None,
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
    """Train one level of a hierarchy; level 1 first, then each level on the ones below it.

    The same command again goes on where it stopped. A preset file is JSON with "model" and "training", as
    --dry-run --json prints them; fields of "training" that are left out have the papers' values.
    """
    from hvgcli.runtime import choose_device, tune_allocator

    tune_allocator()
    changes = training_changes(
        augment, standing, steps=steps, batch_size=batch_size, accumulate=accumulate, precision=precision, ema=ema
    )
    networks: dict[str, object] = {} if window is None else {"frames": window}
    carry_out(
        Request(HIERARCHY, level, data, out, preset, seed, networks, changes, model, start),
        Limits(watch, patience, minutes),
        Keeping(samples_every, save_every, keep, log_kinds(log), passes, read_notes(notes)),
        Machine(choose_device(device), workers, compiled),
        dry_run=dry_run,
        output=make_output(as_json=as_json, quiet=quiet, no_progress=no_progress),
    )
