"""`hvg report RUN_OR_EVAL...`: training runs and evaluations as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvgcli.cli.options import AsJson, Debug, NoProgress, Quiet, examples
from hvgcli.cli.output import make_output

EXAMPLES = examples(
    "hvg report evaluation/ --out report",
    "hvg report runs/level1 runs/level2 --out report --overwrite",
    "hvg report small/ large/ --title 'Small against large'",
)


def report(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_OR_EVAL...",
            help="Run folders of hvg train-level, and output folders of hvg evaluate.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for index.html and its videos.")] = Path("report"),
    title: Annotated[str, typer.Option(help="Title of the page.", show_default=False)] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the report in --out.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Show training runs and evaluations side by side on one page: videos, metrics, curves and spectra.

    The page is a folder: index.html with its videos in media/. It opens from the disk and loads nothing
    from the network.
    """
    from hvgcli.errors import PartialFailure
    from hvgcli.metrics.report import check_out, read_sources, write_report

    output = make_output(as_json=as_json, quiet=quiet, no_progress=no_progress)
    check_out(out, overwrite=overwrite)
    made = write_report(read_sources(sources), out, title=title, overwrite=overwrite)
    for problem in made.problems:
        output.warn(problem)
    record = {
        "page": str(made.index),
        "evaluations": made.evaluations,
        "runs": made.runs,
        "media_bytes": made.media,
        "left_out": len(made.problems),
    }
    output.emit(record, line=f"{made.index} ({made.media / 2**20:.1f} MiB of videos and pictures)", ident=made.index)
    if made.problems:
        raise PartialFailure(f"{len(made.problems)} videos or pictures were left out of {made.index}: see above")
