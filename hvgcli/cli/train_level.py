"""`hvg train-level N`: train one level of a hierarchy from a folder of clips; the same command continues."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hvgcli.cli.options import AsJson, Debug, DryRun, NoProgress, Quiet, complete_preset, examples
from hvgcli.cli.output import make_output
from hvgcli.cli.training_run import Keeping, Limits, Machine, Request, carry_out, names_in, read_notes
from hvgcli.config import AUGMENTATIONS

EPILOG = examples(
    "hvg train-level 1 --data clips/ --preset hvg-mini --out runs/level1",
    "hvg train-level 2 --data clips/ --model runs/level1 --out runs/level2",
    "hvg train-level 2 --data shards/ --model runs/level1 --out runs/level2 --window 12 --batch-size 8 --dry-run",
    "torchrun --nproc-per-node 4 -m hvgcli train-level 1 --data shards/ --preset my.json --out runs/level1",
)
_DATA, _TRAINING, _MACHINE, _KEEPING = "Data and model", "Training", "Machine", "What is kept"
_INHERIT = "(the preset's)"


def train_level(
    level: Annotated[int, typer.Argument(help="The level to train, from 1.", min=1, show_default=False)],
    data: Annotated[
        str,
        typer.Option(
            help="Clips: a folder, what `hvg data prepare` made, a CSV or JSONL list, or a URL or pipe.",
            rich_help_panel=_DATA,
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Run folder; an existing run goes on.", rich_help_panel=_DATA, show_default=False)
    ],
    preset: Annotated[
        str,
        typer.Option(
            help="Networks and training numbers: a name (hvg models list --presets) or a JSON file.",
            autocompletion=complete_preset,
            rich_help_panel=_DATA,
        ),
    ] = "hvg-mini",
    model: Annotated[
        Path | None, typer.Option(help="Run or model folder with the levels below.", rich_help_panel=_DATA)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Generator updates.", rich_help_panel=_TRAINING, show_default=_INHERIT)
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            help="Frames that the level is trained on; level 1: of the outline.",
            min=1,
            rich_help_panel=_TRAINING,
            show_default=_INHERIT,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Videos in a batch, of all processes.", rich_help_panel=_TRAINING, show_default=_INHERIT),
    ] = None,
    accumulate: Annotated[
        int | None,
        typer.Option(
            help="Parts that a batch is computed in, to save memory.",
            rich_help_panel=_TRAINING,
            show_default=_INHERIT,
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="fp32, or bf16 for autocast.", rich_help_panel=_TRAINING, show_default=_INHERIT),
    ] = None,
    ema: Annotated[
        float | None,
        typer.Option(
            help="Decay of the generator's moving average; 0 = none.",
            metavar="DECAY",
            rich_help_panel=_TRAINING,
            show_default=_INHERIT,
        ),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            help="What discriminators see is changed by: color,translation,cutout, or none.",
            metavar="KINDS",
            rich_help_panel=_TRAINING,
            show_default=_INHERIT,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, data order and noise.", rich_help_panel=_TRAINING)] = 0,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Stop early when --watch has not improved for so many steps.", min=1, rich_help_panel=_TRAINING
        ),
    ] = None,
    watch: Annotated[
        Literal["reconstruction", "motion", "kl", "loss_g", "loss_d"],
        typer.Option(help="Metric of early stopping, smoothed; smaller is better.", rich_help_panel=_TRAINING),
    ] = "reconstruction",
    minutes: Annotated[
        float | None, typer.Option(help="Stop after this time; the same command goes on.", rich_help_panel=_TRAINING)
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:INDEX or mps.", rich_help_panel=_MACHINE)
    ] = "auto",
    workers: Annotated[
        int, typer.Option(help="Threads that load batches ahead; 0 = none.", min=0, rich_help_panel=_MACHINE)
    ] = 1,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the networks: slow to start.", rich_help_panel=_MACHINE)
    ] = False,
    samples_every: Annotated[int, typer.Option(help="Steps between sheets.", min=1, rich_help_panel=_KEEPING)] = 200,
    save_every: Annotated[int, typer.Option(help="Steps between states.", min=1, rich_help_panel=_KEEPING)] = 100,
    keep: Annotated[int, typer.Option(help="States that are kept.", min=1, rich_help_panel=_KEEPING)] = 2,
    log: Annotated[
        str, typer.Option(help="Scalars: csv, tensorboard, both, or none.", metavar="KINDS", rich_help_panel=_KEEPING)
    ] = "csv,tensorboard",
    passes: Annotated[
        int, typer.Option(help="Passes for the standing statistics.", min=1, rich_help_panel=_KEEPING)
    ] = 200,
    notes: Annotated[
        Path | None, typer.Option(help="Text for the model card: data, licences, limits.", rich_help_panel=_KEEPING)
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Train one level; level 1 first, then each level on the ones below it.

    The same command again goes on where it stopped. A preset file is JSON with "model" and "training", as
    --dry-run --json prints them; fields of "training" that are left out have the papers' values.
    """
    from hvgcli.runtime import choose_device, tune_allocator

    tune_allocator()
    given = {"steps": steps, "batch_size": batch_size, "accumulate": accumulate, "precision": precision, "ema": ema}
    changes: dict[str, object] = {key: value for key, value in given.items() if value is not None}
    if augment is not None:
        changes["augment"] = names_in(augment, "--augment", AUGMENTATIONS)
    logs = names_in(log, "--log", ("csv", "tensorboard"))
    carry_out(
        Request(level, data, out, preset, model, changes, seed, window),
        Limits(watch, patience, minutes),
        Keeping(samples_every, save_every, keep, logs, passes, read_notes(notes)),
        Machine(choose_device(device), workers, compiled),
        dry_run=dry_run,
        output=make_output(as_json=as_json, quiet=quiet, no_progress=no_progress),
    )
