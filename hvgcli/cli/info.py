"""`hvg info FILE`: what a video file says about itself, and how it was made; `hvg info MODEL` as `hvg models info`."""

from __future__ import annotations

import shlex
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvgcli.cli import models
from hvgcli.cli.options import AsJson, Debug, NoProgress, Quiet
from hvgcli.cli.output import Output, make_output, one_line

if TYPE_CHECKING:
    from hvgcli.video import Footage, VideoInfo

# Codes of ISO/IEC 23091-2 by the names that ffmpeg prints; 2 (0 for the range) means that the file does not say.
MATRICES = {
    0: "rgb",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    14: "ictcp",
}
PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    11: "smpte431",
    12: "smpte432",
}
TRANSFERS = {
    1: "bt709",
    4: "gamma22",
    5: "gamma28",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    18: "arib-std-b67",
}
RANGES = {1: "limited", 2: "full"}


def info(
    file: Annotated[
        Path,
        typer.Argument(help="A video, a picture, a folder of numbered PNG frames, or a model.", show_default=False),
    ],
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Describe a video file or a model, and print the command that makes it again if hvg made it."""
    from hvgcli import video

    output = make_output(as_json=as_json, quiet=quiet, no_progress=no_progress)
    if is_model(file):
        models.print_model(output, str(file))
        return
    found = video.examine(file)
    made = video.provenance(found.files[0] if found.files else file)
    record = {**footage_record(found), "provenance": made, "command": safe_command(made)}
    if output.mode != "human":
        output.emit(record, ident=file)
        return
    _print(output, record, made)


def is_model(file: Path) -> bool:
    """Whether this is the folder of a model or of its training, or the name of one where there is no such file."""
    from hvgcli import hub
    from hvgcli.checkpoints import CONFIG

    if not file.exists():
        return str(file) in hub.available()
    return (file / CONFIG).is_file() or (file / "model" / CONFIG).is_file()


def footage_record(found: Footage) -> dict[str, Any]:
    """An input in plain values: pixels as displayed, frames per second, seconds, degrees."""
    height, width = found.size
    return {
        "file": str(found.path),
        "kind": found.kind,
        "size": f"{width}x{height}",
        "frames": found.frames,
        "rate": str(found.rate),
        "variable_rate": found.variable,
        "start": float(found.start),
        "duration": float(found.duration),
        "mended_times": found.clock.mended,
        "bits": found.bits,
        "alpha": found.alpha,
        "pixel_aspect": _ratio(found.aspect),
        "colour": _colour(found.colour),
        **({} if found.info is None else _stream_record(found.info)),
    }


def _stream_record(info: VideoInfo) -> dict[str, Any]:
    """What only files have that are containers of streams."""
    height, width = info.coded_size
    return {
        "container": info.container,
        "codec": info.codec,
        "pixel_format": info.pix_fmt,
        "hdr": info.hdr,
        "stored_size": f"{width}x{height}",
        "rotation": info.rotation,
        "mirrored": info.mirrored,
        "interlaced": info.interlaced,
        "title": info.metadata.get("title"),
        "chapters": list(info.chapters),
        "streams": [vars(stream) for stream in info.streams],
    }


def _ratio(value: Fraction) -> str:
    return f"{value.numerator}:{value.denominator}"


def _colour(codes: tuple[int, int, int, int]) -> dict[str, str | None]:
    """Names of the colour tags, None for those that the file leaves out; an unusual code as its number."""
    tables = {"matrix": MATRICES, "primaries": PRIMARIES, "transfer": TRANSFERS, "range": RANGES}
    unknown = {"matrix": 2, "primaries": 2, "transfer": 2, "range": 0}
    pairs = zip(tables.items(), codes, strict=True)
    return {key: None if code == unknown[key] else names.get(code, str(code)) for (key, names), code in pairs}


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

    output.emit(_plain(record))
    if record.get("streams"):
        columns = ("index", "kind", "codec", "language", "title", "channels", "sample_rate")
        titles = {key: {"index": "stream", "sample_rate": "Hz"}.get(key, key) for key in columns}
        output.emit({}, line=grid(record["streams"], titles))
    if made is None:
        output.note("not made by hvg, or its metadata is gone")
        return
    output.emit({f"made with {key}": value for key, value in made.items() if key != "command" and value is not None})
    if record["command"]:
        output.emit({}, line=f"again: {record['command']}")
    if differs := sha_differs(made):
        output.warn(differs)


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    """The record without what is usual, and with its lists and colours as text."""
    named = {key: value for key, value in record.items() if key not in ("streams", "provenance", "command")}
    for key in ("start", "mended_times", "alpha", "hdr", "rotation", "mirrored", "interlaced", "title", "chapters"):
        if not named.get(key):
            named.pop(key, None)
    if "chapters" in named:
        named["chapters"] = [title or number for number, title in enumerate(named["chapters"], start=1)]
    colours = [f"{key} {value}" for key, value in record["colour"].items() if value]
    return {**named, "colour": ", ".join(colours) or "untagged"}


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
