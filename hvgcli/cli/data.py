"""`hvg data`: make shards of a folder of videos, and look at data."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hvgcli.cli.options import AsJson, Debug, DryRun, NoProgress, Quiet, examples
from hvgcli.cli.output import Advance, Output, make_output

if TYPE_CHECKING:
    from hvgcli.data.clips import ClipIndex
    from hvgcli.data.prepare import Request, Result

app = typer.Typer(help="Prepare training data, and look at it.", no_args_is_help=True)

_CLIPS, _MAKING = "Clips", "Making them"
EPILOG = examples(
    "hvg data prepare videos/ shards/ --size 128",
    "hvg data prepare list.csv shards/ --size 256 --seconds 5 --codec jpeg --workers 8",
    "hvg data prepare videos/ shards/ --dry-run",
)
LISTED = 5  # skipped videos that are named on stderr; the rest stands in skipped.jsonl


@app.command("prepare", epilog=EPILOG)
def prepare_data(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC",
            help="Folder of class folders of videos, folder of videos, or a .csv or .jsonl list with path, label, "
            "start, end (seconds).",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="New folder for the shards; the same command goes on.", show_default=False),
    ],
    codec: Annotated[
        Literal["h264", "jpeg"],
        typer.Option(help="h264 is smaller; jpeg lets single frames of long clips be read.", rich_help_panel=_CLIPS),
    ] = "h264",
    size: Annotated[
        int, typer.Option(help="Short side in pixels; nothing is enlarged, 0 keeps the size.", rich_help_panel=_CLIPS)
    ] = 0,
    seconds: Annotated[
        float, typer.Option(help="Longest clip; longer videos are cut into several.", rich_help_panel=_CLIPS)
    ] = 10.0,
    quality: Annotated[
        int | None,
        typer.Option(
            help="h264: crf 0..51, lower is better [18]; jpeg: 1..100 [95].",
            rich_help_panel=_CLIPS,
            show_default=False,
        ),
    ] = None,
    clips_per_shard: Annotated[int, typer.Option(help="Clips in a tar file.", rich_help_panel=_MAKING)] = 128,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes; by default one a core.", min=1, rich_help_panel=_MAKING, show_default=False),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the shards in OUT.", rich_help_panel=_MAKING)
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Decode videos once and write them as tar shards of short clips, as WebDataset reads them.

    Killed at any time, the same command goes on and ends with the same files.
    """
    from hvgcli.data import prepare
    from hvgcli.data.sources import list_source

    output = make_output(as_json=as_json, quiet=quiet, no_progress=no_progress)
    options = prepare.Options(codec, size, seconds, quality, clips_per_shard)
    asked = prepare.Request(source, out, options, list_source(source))
    if not overwrite or not prepare.is_ours(out):
        prepare.check_output(asked)
    elif not dry_run:
        prepare.clear(out)
    if dry_run:
        _tell_plan(asked, workers or cores(), output)
        return
    with _Stages(output) as stages:
        result = prepare.prepare(asked, workers=workers or cores(), progress=stages)
    _tell_result(result, out, output)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Stages:
    """A progress bar for each stage of the work, one after another; use it in a `with` block."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._stage, self._done = "", 0
        self._bars = ExitStack()
        self._advance: Advance = lambda *_: None

    def __enter__(self) -> _Stages:
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.close()

    def __call__(self, done: int, total: int, stage: str = "probe") -> None:
        """`done` of `total` things of a stage are done."""
        if stage != self._stage:
            self._bars.close()
            self._stage, self._done = stage, 0
            self._advance = self._bars.enter_context(self._output.progress(stage, total))
        self._advance(done - self._done)
        self._done = done


def _tell_plan(asked: Request, workers: int, output: Output) -> None:
    """What would be made; every video is probed, nothing is written."""
    from fractions import Fraction

    from hvgcli.data.prepare import make_plan
    from hvgcli.data.workers import Workers

    with _Stages(output) as stages, Workers(workers) as pool:
        plan = make_plan(asked, pool, stages)
    cuts, options = plan["cuts"], asked.options
    record = {
        "out": str(asked.out),
        "videos": len(asked.listing.items),
        "unreadable": len(plan["skipped"]),
        "classes": len(asked.listing.classes),
        "clips": len(cuts),
        "seconds": round(sum(float((cut["stop"] - cut["start"]) / Fraction(cut["rate"])) for cut in cuts), 3),
        "shards": -(-len(cuts) // options.clips_per_shard),
        "codec": options.codec,
        "quality": options.quality,
        "dry_run": True,
    }
    output.emit(record, ident=asked.out)
    for entry in plan["skipped"][:LISTED]:
        output.warn(f"cannot read {entry['source']}: {entry['reason']}")


def _shards(count: int) -> str:
    return f"{count:,} shard" + "s" * (count != 1)


def _tell_result(result: Result, out: Path, output: Output) -> None:
    from hvgcli.errors import PartialFailure

    record = {
        "out": str(out),
        "clips": result.clips,
        "shards": result.shards,
        "bytes": result.bytes,
        "skipped": len(result.skipped),
        "fresh": result.fresh,
    }
    state = "" if result.fresh else " (nothing was left to do)"
    line = f"{out}: {result.clips:,} clips in {_shards(result.shards)}, {result.bytes / 1e6:,.1f} MB{state}"
    output.emit(record, line=line, ident=out)
    for entry in result.skipped[:LISTED]:
        output.warn(f"skipped {_skipped_part(entry)} {entry['source']}: {entry['reason']}")
    if result.skipped:
        raise PartialFailure(
            f"{len(result.skipped)} videos could not be read in full: {out / 'skipped.jsonl'} lists them"
        )


def _skipped_part(entry: dict[str, Any]) -> str:
    return "all of" if entry["clips"] is None else f"{entry['clips']} clips of"


@app.command(
    "info",
    epilog=examples(
        "hvg data info shards/ --sheet sheet.png", "hvg data info shards/ --verify", "hvg data info videos/ --json"
    ),
)
def show_data(
    source: Annotated[
        str,
        typer.Argument(metavar="SRC", help="Shards, a folder of videos, a list file, or a URL.", show_default=False),
    ],
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet: a PNG with a row a class.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Compare every shard with its checksum.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the PNG of --sheet.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Show classes, clips, seconds, sizes and rates of training data."""
    from hvgcli.data import survey
    from hvgcli.data.clips import scan
    from hvgcli.errors import OutputExistsError, UsageError

    output = make_output(as_json=as_json, quiet=quiet, no_progress=no_progress)
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise UsageError(f"--sheet {sheet}: its name must end in .png")
    if sheet is not None and sheet.exists() and not overwrite:
        raise OutputExistsError(f"{sheet} exists: give another name or --overwrite")
    with _Stages(output) as stages:
        index = scan(source, progress=stages)
    record = {"source": source, **survey.summary(index), "codec": _codec(index)}
    _tell_summary(record, output)
    for path, reason in index.skipped:
        output.warn(f"skipped {path}: {reason}")
    if sheet is not None:
        from hvgcli.video import write_image

        write_image(sheet, survey.contact_sheet(index))
        output.note(f"contact sheet: {sheet}")
    if verify:
        _verify(index, source, output)


def _codec(index: ClipIndex) -> str | None:
    """The codec of shards; None for files of their own."""
    member = index.clips[0].member
    return None if member is None else member.codec


def _tell_summary(record: dict[str, Any], output: Output) -> None:
    from hvgcli.cli.output import grid

    if output.mode != "human":
        output.emit(record, ident=record["source"])
        return
    shown = {**record, "sizes": _most(record["sizes"]), "rates": _most(record["rates"])}
    output.emit({key: value for key, value in shown.items() if key != "per_class" and value is not None})
    columns = {"class": "class", "clips": "clips", "seconds": "seconds", "shortest": "shortest", "longest": "longest"}
    if record["per_class"]:
        output.emit({}, line=grid(record["per_class"], {**columns, "bytes": "bytes"}))
    for what in ("sizes", "rates"):
        if len(record[what]) > 1:
            output.note(f"{what} differ from clip to clip, which training allows")


def _most(counts: dict[str, int], shown: int = 4) -> str:
    """ "128x96 (20), 96x96 (3)": the most usual ones."""
    parts = [f"{name} ({count})" for name, count in list(counts.items())[:shown]]
    return ", ".join(parts) + (f" and {len(counts) - shown} more" if len(counts) > shown else "")


def _verify(index: ClipIndex, source: str, output: Output) -> None:
    from hvgcli.data.shards import verify
    from hvgcli.errors import DataError, UsageError

    if _codec(index) is None:
        raise UsageError(f"{source} has no checksums: --verify is for shards")
    results = verify(index)
    bad = [(file, wrong) for file, wrong in results if wrong]
    if bad:
        file, wrong = bad[0]
        raise DataError(f"{len(bad)} of {len(results)} shards are bad: {file} {wrong}: copy or prepare them again")
    output.note(f"{_shards(len(results))} checked: every checksum is right")
