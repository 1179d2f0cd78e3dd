"""`hvg train-single IN`: learn one clip or one image; the same command continues."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from hvgcli.cli.options import AsJson, Debug, DryRun, NoProgress, Quiet, complete_single_preset, examples, option
from hvgcli.cli.output import make_output
from hvgcli.cli.training import options as given
from hvgcli.cli.training.options import log_kinds
from hvgcli.cli.values import parse_rate, parse_time

DEFAULT_PRESET = "hp-vae-gan-mini"
EPILOG = examples(
    "hvg train-single clip.mp4 --out mine",
    "hvg train-single clip.mp4 --start 2.5 --minutes 10 --out mine --dry-run",
    "hvg train-single long.mp4 --whole --height 64 --out long",
    "hvg train-single picture.jpg --out picture",
    "hvg train-single clip.mp4 --preset hp-vae-gan --device cuda --out paper",
)
_CLIP, _NETWORKS = "Clip", "Networks"


def train_single(
    input_: Annotated[
        str,
        typer.Argument(
            help="A video, a picture (jpg, png, ...), a folder of PNG frames, or - for stdin.",
            metavar="IN",
            show_default=False,
        ),
    ],
    out: Annotated[Path, option("Run folder; an existing run goes on. The model is its subfolder model.", panel=_CLIP)],
    start: Annotated[
        str | None, given.told("Where the window begins: seconds, or like 1:02.5.", panel=_CLIP, metavar="TIME")
    ] = None,
    frames: Annotated[
        int | None,
        given.inherited("Frames of the window: one more than a multiple of 12 fits all rates.", panel=_CLIP, min=1),
    ] = None,
    height: Annotated[
        int | None, given.inherited("Pixels of the finest scale; the aspect is kept.", panel=_CLIP, min=1)
    ] = None,
    fps: Annotated[
        str | None,
        typer.Option(
            help="Frames per second to take, like 24 or 24000/1001.",
            rich_help_panel=_CLIP,
            metavar="RATE",
            show_default="the clip's own, or the even part of it nearest 24",
        ),
    ] = None,
    whole: Annotated[
        bool,
        given.told("Learn the whole clip from --start on: it is cut into windows.", "--whole", panel=_CLIP),
    ] = False,
    preset: Annotated[
        str,
        given.told(
            "hp-vae-gan-mini: 13 frames, height 96, 5 scales of 32 channels, 30 minutes, for a laptop. hp-vae-gan: the "
            "paper's 13 frames, height 256, 10 scales of 64 channels, 20,000 iterations each, for a GPU. Or a JSON "
            "file.",
            panel=_NETWORKS,
            metavar="NAME|FILE",
            autocompletion=complete_single_preset,
        ),
    ] = DEFAULT_PRESET,
    scales: Annotated[
        int | None, given.inherited("Scales, from 32 pixels high up to --height.", panel=_NETWORKS, min=1)
    ] = None,
    vae_scales: Annotated[
        int | None,
        given.inherited(
            "Scales that are patch-VAE, the coarsest; those above are patch-GAN. More is more varied, fewer more "
            "faithful.",
            panel=_NETWORKS,
            min=0,
        ),
    ] = None,
    minutes: Annotated[
        float | None, given.inherited("Time for everything, spread over the scales; instead of --iterations.")
    ] = None,
    iterations: Annotated[
        int | None, given.inherited("Iterations of each scale, whatever time they take; instead of --minutes.", min=1)
    ] = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"], given.told("auto: bf16 where it is faster.", panel=given.TRAINING)
    ] = "auto",
    seed: given.Seed = 0,
    device: given.Device = "auto",
    save_every: Annotated[float, given.told("Seconds between states.", panel=given.KEEPING, min=0)] = 60.0,
    log: given.Log = "csv,tensorboard",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Learn one clip or picture, to make variations of it with hvg generate.

    After each scale OUT/model can be used, and OUT/samples has a sheet. The same command again goes on where it
    stopped, also with another --minutes or --iterations. A preset file is JSON with "model" and "training", as
    --dry-run --json prints them; fields that are left out have the paper's values, and minutes take the place of
    iterations.
    """
    begun = time.monotonic()  # of the budget: loading the libraries and the clip is part of it
    from hvgcli.runtime import choose_device, tune_allocator

    tune_allocator()
    from hvgcli.cli.training.single_request import Request
    from hvgcli.cli.training.single_run import carry_out

    request = Request(
        input=input_,
        out=out,
        preset=preset,
        start=parse_time("--start", start),
        frames=frames,
        height=height,
        rate=None if fps is None else parse_rate(fps),
        whole=whole,
        scales=scales,
        vae_scales=vae_scales,
        minutes=minutes,
        iterations=iterations,
        precision=precision,
        seed=seed,
    )
    carry_out(
        request,
        choose_device(device),
        save_seconds=save_every,
        logs=log_kinds(log),
        begun=begun,
        dry_run=dry_run,
        output=make_output(as_json=as_json, quiet=quiet, no_progress=no_progress),
    )
