"""`hvg generate`: videos from classes and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

from typer.core import TyperCommand

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

SAMPLING, SINGLE, FILES, HARDWARE = "Sampling", "One clip or image", "Files", "Hardware"
SHEET_FRAMES = "8"  # of --sheet without a number
BATCH = 2  # videos computed at a time by default: hardly slower than 4 on a CPU, for 60 % of the memory

EXAMPLES = examples(
    "hvg generate --class skydiving --frames 48",
    "hvg generate --class all --num 4 --seed 1 --grid -o all.mp4",
    "hvg generate --class skydiving --num 8 -o 'clips/{class}_{seed}.webm' --sheet",
    "hvg generate --class skydiving --seed 1,2 --interpolate z --num 16 -o walk/",
    "hvg generate --model my-clip --num 8 --seed 1 --size 512x256 --frames 40",
    "hvg generate --model my-picture --from drawing.png --at-scale 2",
    "hvg generate --model my-picture --from pasted.png --mask mask.png --at-scale 6",
)


class GenerateCommand(TyperCommand):
    """Lets --sheet stand without its number."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_sheet_number(args))


def with_sheet_number(args: Sequence[str]) -> list[str]:
    result = []
    for arg, following in zip(args, [*args[1:], ""], strict=True):
        result.append(arg)
        if arg == "--sheet" and not following.isdecimal():
            result.append(SHEET_FRAMES)
    return result


_option = partial(option, panel=SAMPLING)


def generate(
    model: Annotated[str, _option("Name or folder of a model.", autocompletion=complete_model)] = DEFAULT_MODEL,
    class_: Annotated[
        str | None,
        _option(
            "NAME, INDEX, random or all; several as a,b. Default: random.",
            "--class",
            autocompletion=complete_class,
            metavar="CLASS",
        ),
    ] = None,
    frames: Annotated[int | None, _option("Frames of a video. Default: the model's own length.")] = None,
    num: Annotated[int | None, _option("Videos: seeds s, s+1, ... (or steps of a walk).")] = None,
    seed: Annotated[
        str | None, _option("Seeds, like 7 or 1,2,5-10. Default: one at random, printed.", metavar="SEEDS")
    ] = None,
    sigma: Annotated[float | None, _option("Standard deviation of z: less is safer, more is more varied.")] = None,
    interpolate: Annotated[
        Literal["z", "class"] | None, _option("Walk between the seeds of --seed, or the classes of --class.")
    ] = None,
    levels: Annotated[int | None, _option("Stop at this level: 1 is the outline. Default: all.")] = None,
    passes: Annotated[
        int | None, _option("Passes for standing statistics, should some be missing. Default: 8.")
    ] = None,
    size: Annotated[
        str | None, _option("Pixels of the output, as WIDTHxHEIGHT. Default: as it was trained.", panel=SINGLE)
    ] = None,
    source: Annotated[
        str | None, _option("A picture (or a clip) of yours, to be made anew.", "--from", panel=SINGLE, metavar="FILE")
    ] = None,
    at_scale: Annotated[
        int | None,
        _option("The scale that --from enters: low ones change it more, high ones only its texture.", panel=SINGLE),
    ] = None,
    mask: Annotated[
        str | None,
        _option("Keep --from where this picture, of its size, is black.", panel=SINGLE, metavar="FILE"),
    ] = None,
    output_path: Annotated[
        str | None,
        _option(
            "FILE, DIR/ or TEMPLATE with {model} {class} {seed} {frames} {size} {sigma} {index}.",
            "-o",
            "--output",
            panel=FILES,
            metavar="PATH",
        ),
    ] = None,
    format_: Annotated[
        Literal["mp4", "gif", "webm", "png"] | None,
        _option(
            "Default: by the suffix of -o, or mp4; a picture is a png. png: a folder of frames.",
            "--format",
            panel=FILES,
        ),
    ] = None,
    fps: Annotated[
        str | None, _option("Frames per second, like 25 or 24000/1001. Default: the model's.", panel=FILES)
    ] = None,
    crf: Annotated[int | None, _option("Quality of mp4 (18) and webm (20): lower is better.", panel=FILES)] = None,
    grid: Annotated[bool, _option("All videos of the call side by side in one.", "--grid", panel=FILES)] = False,
    sheet: Annotated[
        int | None,
        _option("Also a picture with N (8) frames of each video, one row a video.", panel=FILES, metavar="[N]"),
    ] = None,
    overwrite: Annotated[bool, _option("Replace files that are there.", "--overwrite", panel=FILES)] = False,
    skip_existing: Annotated[bool, _option("Keep files that are there.", "--skip-existing", panel=FILES)] = False,
    no_metadata: Annotated[
        bool, _option("Do not write into the file how it was made.", "--no-metadata", panel=FILES)
    ] = False,
    batch_size: Annotated[int, _option("Videos computed at a time. Default: 2.", panel=HARDWARE)] = BATCH,
    device: Annotated[str, _option("auto, cpu, cuda, cuda:INDEX or mps.", panel=HARDWARE)] = "auto",
    dtype: Annotated[
        Literal["auto", "fp32", "bf16"], _option("auto: bfloat16 where it is faster and not seen.", panel=HARDWARE)
    ] = "auto",
    piece: Annotated[int | None, _option("Outline frames computed at a time.", panel=HARDWARE, hidden=True)] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Generate videos of a class, or variations of one clip or image: the same ones for the same seeds."""
    from hvgcli.checkpoints import read_model_config
    from hvgcli.cli import families
    from hvgcli.cli.generating import hierarchy as hierarchy_call
    from hvgcli.cli.generating import single as single_call
    from hvgcli.cli.generating.options import Options
    from hvgcli.hub import resolve
    from hvgcli.runtime import tune_allocator

    tune_allocator()
    output = make_output(as_json=as_json, quiet=quiet, no_progress=no_progress)
    options = Options(
        model, class_, frames, num, seed, sigma, interpolate, levels, passes, size, source, at_scale, mask,
        output_path, format_, fps, crf, grid, sheet, overwrite, skip_existing, not no_metadata,
        batch_size, device, dtype, piece, dry_run,
    )  # fmt: skip
    folder = resolve(model)
    config = read_model_config(folder)
    families.refuse_predictor(model, config)
    call = hierarchy_call.call if config.single is None else single_call.call
    call(options, folder, config, output)
