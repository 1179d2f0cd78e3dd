"""`hvg predict`: what follows in a user's own clip."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import typer

from hvgcli.cli.options import AsJson, Debug, DryRun, NoProgress, Quiet, complete_model, examples, option
from hvgcli.cli.output import make_output
from hvgcli.hub import DEFAULT_PREDICTOR

CONTINUING, FILES, HARDWARE = "Continuing", "Files", "Hardware"
BATCH = 4  # continuations computed at a time by default

EXAMPLES = examples(
    "hvg predict in.mp4",
    "hvg predict in.mp4 --at 2.5 --compare",
    "hvg predict in.mp4 --num 9 --seed 1 -o nine.mp4",
    "hvg predict in.mov --frames 100 --truncation 0.8 --flow -o out/",
)


_option = partial(option, panel=CONTINUING)


def predict(
    input_: Annotated[
        str,
        typer.Argument(
            help="A video (mp4, mov, mkv, webm, gif, ...), a folder of PNG frames, or - for stdin.",
            metavar="IN",
            show_default=False,
        ),
    ],
    model: Annotated[str, _option("Name or folder of a predictor.", autocompletion=complete_model)] = DEFAULT_PREDICTOR,
    context: Annotated[
        int | None, _option("Frames of the clip to show first. Default: as many as the model needs, and sees.")
    ] = None,
    at: Annotated[
        str | None, _option("Where the continuation begins: seconds, or like 1:02.5. Default: the end.", metavar="TIME")
    ] = None,
    frames: Annotated[
        int | None, _option("Frames to make. Beyond the model's own, which is the default, it goes on from its last.")
    ] = None,
    num: Annotated[int | None, _option("Continuations: seeds s, s+1, ...")] = None,
    seed: Annotated[
        str | None, _option("Seeds, like 7 or 1,2,5-10. Default: one at random, printed.", metavar="SEEDS")
    ] = None,
    sigma: Annotated[float | None, _option("Standard deviation of z: less is safer, more is more varied.")] = None,
    truncation: Annotated[
        float | None, _option("Draw entries of z above it again, like 0.8; 0: z is zero, and all seeds are the same.")
    ] = None,
    compare: Annotated[
        bool, _option("The true continuation beside it: from --at, or from so long before the end.", "--compare")
    ] = False,
    output_path: Annotated[
        str | None,
        _option(
            "FILE, DIR/, TEMPLATE with {name} {model} {seed} {frames} {context} {sigma} {index}, or - for stdout. "
            "Default: beside the input.",
            "-o",
            "--output",
            panel=FILES,
            metavar="PATH",
        ),
    ] = None,
    format_: Annotated[
        Literal["mp4", "gif", "webm", "png"] | None,
        _option("Default: by the suffix of -o, or mp4. png: a folder of frames.", "--format", panel=FILES),
    ] = None,
    plain: Annotated[
        bool, _option("No borders: without it green marks frames of the clip, red those made.", "--plain", panel=FILES)
    ] = False,
    grid: Annotated[
        bool, _option("All continuations side by side in one video; always so for one FILE.", "--grid", panel=FILES)
    ] = False,
    flow: Annotated[
        bool,
        _option(
            "Also the motion that the recurrent unit warps by, as colours: right red, down green to yellow, left cyan, "
            "up blue to magenta, white where nothing moves.",
            "--flow",
            panel=FILES,
        ),
    ] = False,
    fps: Annotated[
        str | None, _option("Frames per second, like 25 or 24000/1001. Default: the model's.", panel=FILES)
    ] = None,
    crf: Annotated[int | None, _option("Quality of mp4 (18) and webm (20): lower is better.", panel=FILES)] = None,
    overwrite: Annotated[bool, _option("Replace files that are there.", "--overwrite", panel=FILES)] = False,
    skip_existing: Annotated[bool, _option("Keep files that are there.", "--skip-existing", panel=FILES)] = False,
    no_metadata: Annotated[
        bool, _option("Do not write into the file how it was made.", "--no-metadata", panel=FILES)
    ] = False,
    batch_size: Annotated[int, _option("Continuations computed at a time. Default: 4.", panel=HARDWARE)] = BATCH,
    device: Annotated[str, _option("auto, cpu, cuda, cuda:INDEX or mps.", panel=HARDWARE)] = "auto",
    dtype: Annotated[
        Literal["auto", "fp32", "bf16"], _option("auto: float32, whose rounding does not add up.", panel=HARDWARE)
    ] = "auto",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Continue a clip from its last frames, differently for each seed."""
    from hvgcli.checkpoints import read_model_config
    from hvgcli.cli import families, values
    from hvgcli.hub import resolve
    from hvgcli.runtime import tune_allocator

    tune_allocator()
    output = make_output(as_json=as_json, quiet=quiet, no_progress=no_progress)
    folder = resolve(model)
    config = read_model_config(folder)
    families.require_predictor(model, config)
    for name, value in (("--num", num), ("--batch-size", batch_size)):
        if value is not None:
            values.check_count(name, value)

    from hvgcli.cli import targets  # from here on torch is needed
    from hvgcli.cli.generating import making
    from hvgcli.cli.predicting import making as predicting
    from hvgcli.cli.predicting import run as predict_run

    seeds = predicting.choose_seeds(None if seed is None else values.parse_seeds(seed), num)
    request = predicting.Request(
        model=model,
        frames=values.check_frames(config.levels[0].frames if frames is None else frames),
        seeds=seeds,
        draw=predicting.choose_draw(sigma, truncation, config),
        context=predicting.check_context(context, config),
        at=at,
        moment=values.parse_time("--at", at),
        rate=config.rate(1) if fps is None else values.parse_rate(fps),
        kind=targets.choose_format(output_path, format_),
        crf=crf,
        plain=plain,
        grid=grid or (len(seeds) > 1 and predicting.is_one_file(output_path)),
        compare=compare,
        flow=flow,
        batch=batch_size,
    )
    if seed is None:
        output.note(f"seed {making.seeds_text(seeds)}")
    predict_run.Call(request, folder, config, input_, output_path, format_, output).run(
        overwrite=overwrite,
        skip_existing=skip_existing,
        metadata=not no_metadata,
        dry_run=dry_run,
        device=device,
        dtype=dtype,
    )
