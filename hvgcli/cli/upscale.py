"""`hvg upscale`: a user's own videos, enlarged in space and time by one level of a model."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import typer

from hvgcli.cli.options import (
    AsJson,
    Debug,
    DryRun,
    NoProgress,
    Quiet,
    complete_class,
    complete_model,
    examples,
    option,
)
from hvgcli.cli.output import make_output
from hvgcli.hub import DEFAULT_MODEL

ENLARGING, FILES, HARDWARE = "Enlarging", "Files", "Hardware"

EXAMPLES = examples(
    "hvg upscale in.mp4",
    "hvg upscale clips/ -o large/ --skip-existing",
    "hvg upscale in.mov -o out.mp4 --times-space 2 --times-time 1 --start 0:30 --end 0:40",
    "hvg upscale long.mkv --resume",
    "cat in.webm | hvg upscale - > out.webm",
)


_option = partial(option, panel=ENLARGING)


def upscale(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Videos (mp4, mov, mkv, webm, gif, ...), folders of PNG frames or of videos, or - for stdin.",
            metavar="IN",
            show_default=False,
        ),
    ],
    model: Annotated[str, _option("Name or folder of a model.", autocompletion=complete_model)] = DEFAULT_MODEL,
    level: Annotated[int | None, _option("Level that enlarges, from 2. Default: the last.")] = None,
    times_space: Annotated[
        int | None,
        _option(
            "Enlargement of width and height. Default: the level's own. A level is always applied whole: for less, "
            "its result is reduced (antialiased), for more, it is applied again."
        ),
    ] = None,
    times_time: Annotated[
        int | None,
        _option(
            "Frames for each frame. Default: the level's own, 1 for a picture. With 1 the level's frames between "
            "are left out; with more than its own it is applied again."
        ),
    ] = None,
    class_: Annotated[
        str | None,
        _option(
            "What the clip shows: NAME or INDEX, several as a,b. Default: an even mixture of all.",
            "--class",
            autocompletion=complete_class,
            metavar="CLASS",
        ),
    ] = None,
    seed: Annotated[int, _option("Of the noise, the same for the whole clip. Default: 0.")] = 0,
    sigma: Annotated[float | None, _option("Standard deviation of z. Default: the model's.")] = None,
    detail: Annotated[
        float | None,
        _option(
            "Share of what the level adds to a plain enlargement: 0 is safe and soft, 1 as sharp as it gets. "
            "Default: 0.4.",
            metavar="SHARE",
        ),
    ] = None,
    ground: Annotated[
        bool,
        _option("Make the result, downsampled, match the input; on by default.", "--ground/--no-ground"),
    ] = True,
    start: Annotated[str | None, _option("Begin here: seconds, or like 1:02.5.", metavar="TIME")] = None,
    end: Annotated[str | None, _option("End here.", metavar="TIME")] = None,
    output_path: Annotated[
        str | None,
        _option(
            "FILE, DIR/, TEMPLATE with {name} {times} {width} {height} {model} {level} {seed}, or - for stdout. "
            "Default: {name}.x{times} beside the input.",
            "-o",
            "--output",
            panel=FILES,
            metavar="PATH",
        ),
    ] = None,
    codec: Annotated[
        Literal["h264", "vp9", "av1"] | None,
        _option("Default: h264, or vp9 for webm (av1 above 8 bits).", panel=FILES),
    ] = None,
    crf: Annotated[int | None, _option("Quality: lower is better. Default: 18 for h264.", panel=FILES)] = None,
    fps: Annotated[
        str | None, _option("Frames per second of a folder of PNG frames. Default: what they say, or 25.", panel=FILES)
    ] = None,
    no_audio: Annotated[bool, _option("Leave the sound out.", "--no-audio", panel=FILES)] = False,
    resume: Annotated[
        bool, _option("Go on with a job that was interrupted, to the same result.", "--resume", panel=FILES)
    ] = False,
    overwrite: Annotated[
        bool, _option("Replace files that are there, or begin an interrupted job anew.", "--overwrite", panel=FILES)
    ] = False,
    skip_existing: Annotated[bool, _option("Keep files that are there.", "--skip-existing", panel=FILES)] = False,
    no_metadata: Annotated[
        bool, _option("Do not write into the file how it was made.", "--no-metadata", panel=FILES)
    ] = False,
    tile: Annotated[
        str, _option("auto, or pixels: a level takes tiles of one size, which --dry-run prints.", panel=HARDWARE)
    ] = "auto",
    overlap: Annotated[
        int | None, _option("Least overlap of tiles, in input pixels. Default: 2.", panel=HARDWARE)
    ] = None,
    chunk: Annotated[int | None, _option("Source frames computed at a time. Default: 4.", panel=HARDWARE)] = None,
    batch_size: Annotated[
        int | None, _option("Tiles computed at a time. Default: as many as are fast.", panel=HARDWARE)
    ] = None,
    device: Annotated[str, _option("auto, cpu, cuda, cuda:INDEX or mps.", panel=HARDWARE)] = "auto",
    dtype: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        _option("auto: bfloat16 where it is faster and not seen.", panel=HARDWARE),
    ] = "auto",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Enlarge videos in space and time; sound, subtitles, timestamps and colours stay as they are.

    A job may be interrupted at any moment: no half file is left, and --resume goes on with what was finished.
    """
    from hvgcli.checkpoints import read_model_config
    from hvgcli.cli import families, values
    from hvgcli.hub import resolve
    from hvgcli.runtime import tune_allocator

    tune_allocator()
    folder = resolve(model)
    config = read_model_config(folder)
    families.refuse_one_stage(model, config)
    labels = values.parse_classes(class_, config)
    for name, value in (("--chunk", chunk), ("--batch-size", batch_size)):
        if value is not None:
            values.check_count(name, value)

    from hvgcli.cli.upscaling.request import Request  # from here on torch is needed
    from hvgcli.cli.upscaling.run import Upscaling

    request = Request(
        model=model,
        level=level,
        times_space=times_space,
        times_time=times_time,
        labels=tuple(labels or ()),
        seed=values.parse_seeds(str(seed))[0],
        sigma=values.check_sigma(config.sigma if sigma is None else sigma),
        detail=detail,
        ground=ground,
        start=values.parse_time("--start", start),
        end=values.parse_time("--end", end),
        rate=None if fps is None else values.parse_rate(fps),
        codec=codec,
        crf=crf,
        audio=not no_audio,
        metadata=not no_metadata,
        tile=values.parse_tile(tile),
        overlap=overlap,
        chunk=chunk,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
    )
    output = make_output(as_json=as_json, quiet=quiet, no_progress=no_progress)
    work = Upscaling(request, folder, output)
    if dry_run:
        work.show_plans(inputs, output_path)
    else:
        work.run(inputs, output_path, resume=resume, overwrite=overwrite, skip_existing=skip_existing)
