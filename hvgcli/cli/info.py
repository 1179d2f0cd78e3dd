"""`hvg info FILE`: what a video file says about itself, and how it was made."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvgcli.cli.options import AsJson, Debug, NoProgress, Quiet
from hvgcli.cli.output import Output, make_output, one_line

if TYPE_CHECKING:
    from hvgcli.video import VideoInfo


def info(
    file: Annotated[Path, typer.Argument(help="A video file.", show_default=False)],
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Describe a video file, and print the command that makes it again if hvg made it."""
    from hvgcli import video

    output = make_output(as_json=as_json, quiet=quiet, no_progress=no_progress)
    found = video.probe(file)
    made = video.provenance(file)
    record = {
        **file_record(found),
        "frames": found.frames if found.frames is not None else video.count_frames(file),
        "streams": [vars(stream) for stream in found.streams],
        "provenance": made,
        "command": safe_command(made),
    }
    if output.mode != "human":
        output.emit(record, ident=file)
        return
    _print(output, record, made)


def file_record(found: VideoInfo) -> dict[str, Any]:
    """The video stream in plain values: pixels as displayed, frames per second, seconds, degrees."""
    height, width = found.coded_size
    return {
        "file": str(found.path),
        "container": found.container,
        "codec": found.codec,
        "pixel_format": found.pix_fmt,
        "size": f"{found.width}x{found.height}",
        "stored_size": f"{width}x{height}",
        "rate": str(found.rate),
        "duration": found.duration,
        "rotation": found.rotation,
        "pixel_aspect": f"{found.sample_aspect_ratio.numerator}:{found.sample_aspect_ratio.denominator}",
    }


def safe_command(made: dict[str, Any] | None) -> str | None:
    """The command in the provenance, if it is one of `hvg`.

    A file may come from anybody: every word is quoted, so that nothing else runs when it is pasted.
    """
    command = made.get("command") if made else None
    if not isinstance(command, str) or one_line(command) != " ".join(command.split()):
        return None
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    return shlex.join(words) if words and words[0] == "hvg" else None


def _print(output: Output, record: dict[str, Any], made: dict[str, Any] | None) -> None:
    """Three parts for people: the video, the other streams, how it was made."""
    from hvgcli.cli.output import grid

    output.emit({key: value for key, value in record.items() if key not in ("streams", "provenance", "command")})
    if record["streams"]:
        columns = {"index": "stream", "kind": "kind", "codec": "codec", "language": "language"}
        output.emit({}, line=grid(record["streams"], columns))
    if made is None:
        output.note("not made by hvg, or its metadata is gone")
        return
    output.emit({f"made with {key}": value for key, value in made.items() if key != "command" and value is not None})
    if record["command"]:
        output.emit({}, line=f"again: {record['command']}")
    if differs := sha_differs(made):
        output.warn(differs)


def sha_differs(made: dict[str, Any]) -> str | None:
    """A warning where the model of that name on this machine is not the one that made the file."""
    from hvgcli import checkpoints, hub
    from hvgcli.errors import WeightsError

    name, sha = made.get("model"), made.get("sha")
    folder = hub.available().get(name) if isinstance(name, str) else None
    if folder is None or not sha:
        return None
    try:
        here = checkpoints.model_sha(folder)
    except WeightsError as error:
        return str(error)
    if here == sha:
        return None
    return f"made with {name} {sha}, but {name} on this machine is {here}: the same command gives another video"
