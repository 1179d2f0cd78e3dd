"""Where videos go: `-o FILE|DIR|TEMPLATE` -> one path for each video, checked before anything is computed."""

from __future__ import annotations

import os
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from hvgcli.errors import MediaError, OutputExistsError, UsageError
from hvgcli.video import Format

FIELDS = ("model", "class", "seed", "frames", "size", "sigma", "index")
NAME = "{class}_s{seed:04d}_{frames}f"
LONGEST_NAME = 120  # characters of a class in a file name


def slug(name: str) -> str:
    """A class as a part of a file name: letters, digits, dots and dashes; never a way out of the folder."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._-")[:LONGEST_NAME] or "class"


def suffix_of(text: str) -> Format | None:
    """The format that a name ends in, if it is one of ours."""
    return next((known for known in get_args(Format) if text.lower().endswith(f".{known}")), None)


def choose_format(output: str | None, asked: Format | None, *, stills: bool = False) -> Format:
    """--format, or the suffix of -o, or mp4 (png for `stills`). `UsageError` where the two contradict each other."""
    named = suffix_of(output or "")
    if asked and named and asked != named:
        raise UsageError(f"-o {output} ends in .{named}, but --format is {asked}: leave one of them out")
    return asked or named or ("png" if stills else "mp4")


def template_of(
    output: str | None,
    asked: Format | None,
    default: str,
    known: Sequence[str] = FIELDS,
    *,
    stills: bool = False,
) -> str:
    """A template of the `known` fields for every form of -o.

    default: that of the file name, without suffix. stills: each is one picture, a PNG file.
    """
    kind = choose_format(output, asked, stills=stills)
    if output is None:
        return f"{default}.{kind}"
    if output.endswith(("/", os.sep)) or Path(output).is_dir():
        return f"{literal(output.rstrip('/' + os.sep) or output[:1])}/{default}.{kind}"
    if "{" in output:
        check_template(output, known)
        return output if suffix_of(output) else f"{output}.{kind}"
    if suffix_of(output) is None and Path(output).suffix == "" and asked:
        folder = asked == "png" and not stills  # frames go to a folder of that name
        return literal(output if folder else f"{output}.{asked}")
    if suffix_of(output) is None and Path(output).suffix == "":
        raise UsageError(f"-o {output} is no folder yet and names no format: write {output}/ or {output}.{kind}")
    if suffix_of(output) is None:
        raise UsageError(f"-o {output} must end in {'.png' if stills else '.mp4, .gif, .webm or .png'}")
    return literal(output)


def literal(text: str) -> str:
    """`text` as a template that gives just it."""
    return text.replace("{", "{{").replace("}", "}}")


def check_template(template: str, known: Sequence[str] = FIELDS) -> None:
    """Only the known fields, with plain formats: no attributes, no conversions."""
    try:
        fields = [(name, form, how) for _, name, form, how in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise UsageError(f"-o {template} is no template: {error} (write {{{{ for a brace)") from None
    for name, form, how in fields:
        if name not in known or how or "{" in (form or ""):
            raise UsageError(f"-o {template}: {{{name}}} is not one of {', '.join(f'{{{f}}}' for f in known)}")


def fill(template: str, values: Sequence[Mapping[str, Any]]) -> list[Path]:
    """A path for each video; `UsageError` where two would get the same one."""
    try:
        paths = [Path(template.format_map(value)).expanduser() for value in values]
    except (ValueError, KeyError, IndexError) as error:
        raise UsageError(f"-o {template}: {error}") from None
    if len({os.path.abspath(path) for path in paths}) < len(paths):
        raise UsageError(
            f"{len(paths)} videos cannot all be {paths[0]}: "
            "name a folder, or a template with {seed} or {index}, or ask for one --grid"
        )
    return paths


def place(path: Path, kind: str, frames: int) -> Path:
    """What stands there in the end: PNG frames of a longer video are a folder."""
    return path.with_suffix("") if kind == "png" and frames > 1 and path.suffix.lower() == ".png" else path


def unwanted(paths: Sequence[Path], *, overwrite: bool, skip_existing: bool) -> set[Path]:
    """Those of the final places that are there and shall stay.

    `OutputExistsError` when one is there and neither flag was given, `MediaError` when none can be written.
    """
    if overwrite and skip_existing:
        raise UsageError("--overwrite and --skip-existing contradict each other: give one")
    there = [path for path in paths if path.exists() or path.is_symlink()]
    if there and not (overwrite or skip_existing):
        more = f" ({len(there)} of {len(paths)} files are)" if len(paths) > 1 else ""
        raise OutputExistsError(f"{there[0]} is already there{more}: --overwrite replaces it, --skip-existing keeps it")
    blocked = [reason for path in paths if (reason := _blocked(path))]
    if len(blocked) == len(paths):
        raise MediaError(blocked[0])
    return set(there) if skip_existing else set()


def _blocked(path: Path) -> str | None:
    """Why a file cannot be made in this place, as far as can be told beforehand."""
    parent = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if not parent.is_dir():
        return f"{path}: cannot be written ({parent} is not a folder)"
    if not os.access(parent, os.W_OK | os.X_OK):
        return f"{path}: cannot be written (no permission in {parent})"
    return None


@dataclass(frozen=True)
class Files:
    """The files of a call."""

    videos: list[Path]
    """One for each sample, or a single one for a grid."""
    wanted: list[int]
    """Numbers of those that are to be made; the others are there already and stay."""
    sheet: Path | None
    """The contact sheet, if one is to be made."""


def choose_files(
    names: Sequence[Mapping[str, Any]],
    output: str | None,
    asked: Format | None,
    default_name: str,
    frames: int,
    *,
    sheet: bool,
    overwrite: bool,
    skip_existing: bool,
    stills: bool = False,
) -> Files:
    """Where the videos with these `names` (values of the template's fields) go. Errors as `fill` and `unwanted`.

    stills: they are pictures, a PNG file each.
    """
    videos = fill(template_of(output, asked, default_name, stills=stills), names)
    kind = choose_format(output, asked, stills=stills)
    places = [place(path, kind, frames) for path in videos]
    picture = sheet_path(places[0]) if sheet else None
    if picture in places:
        raise UsageError(f"the contact sheet would replace {picture}: give the video another name")
    kept = unwanted([*places, *([picture] if picture else [])], overwrite=overwrite, skip_existing=skip_existing)
    wanted = [number for number, path in enumerate(places) if path not in kept]
    return Files(videos, wanted, None if picture in kept else picture)


def sheet_path(video: Path) -> Path:
    """The contact sheet stands beside the (first) video."""
    return video.with_name(f"{video.stem if suffix_of(video.name) else video.name}_sheet.png")
