"""Inputs and outputs of commands that take videos: what IN... means, and where each result goes."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from hvgcli.cli.targets import check_template, fill, literal, place
from hvgcli.data.sources import SUFFIXES, natural_key
from hvgcli.errors import MediaError, UsageError
from hvgcli.sampling.upscale_job import file_digest
from hvgcli.video.encoding import CODECS, Kind

STANDARD = "-"  # stdin as an input, stdout as an output
RESULT = re.compile(r"(.+)\.x\d+")  # name of a result beside its input
FIELDS = ("name", "times", "width", "height", "model", "level", "seed")
OTHER_KIND: Kind = "mkv"  # for containers that are read but not written: it holds nearly everything


@dataclass(frozen=True)
class Item:
    """One input."""

    name: str
    """As people know it: without its folder, "stdin" for standard input."""
    path: Path
    standard: bool = False
    """Whether it came through standard input: `path` is then a copy of it."""

    @property
    def stem(self) -> str:
        return self.name if self.path.is_dir() else Path(self.name).stem

    def identity(self) -> dict[str, str] | None:
        """What tells this input from others where its path does not: for standard input, what it holds."""
        if not self.standard:
            return None
        return {"source": STANDARD, "files": file_digest(self.path)}


def scratch_folder(needed: bool) -> AbstractContextManager[str]:
    """A temporary folder for what comes from or goes to a pipe; none otherwise, for a kill would leave it behind."""
    return tempfile.TemporaryDirectory(prefix="hvg-") if needed else nullcontext("")


def find_inputs(inputs: Sequence[str], scratch: Path) -> list[Item]:
    """Videos, folders of PNG frames, and the videos in other folders, in the order of `inputs`.

    In a folder of videos, results that stand beside their inputs are left out: it can be enlarged again.

    Standard input is copied into `scratch`, because a video cannot be read from its middle there.

    Raises:
        UsageError: standard input twice.
        MediaError: a folder without frames and without videos; standard input that is empty.
    """
    if list(inputs).count(STANDARD) > 1:
        raise UsageError("- stands for standard input, which can be read once")
    items: list[Item] = []
    for text in inputs:
        if text == STANDARD:
            items.append(_standard_input(scratch))
        else:
            items += _at(Path(text))
    return items


def _standard_input(scratch: Path) -> Item:
    if sys.stdin.isatty():
        raise UsageError("- reads a video from standard input: pipe one in, as in `cat in.mp4 | hvg upscale -`")
    path = scratch / "stdin"
    with path.open("wb") as file:
        shutil.copyfileobj(cast(BinaryIO, sys.stdin.buffer), file)
    if not path.stat().st_size:
        raise MediaError("standard input is empty: pipe a video in")
    return Item("stdin", path, standard=True)


def _at(path: Path) -> list[Item]:
    """The input at a path, or those in a folder of videos."""
    if not path.is_dir():
        return [Item(path.name, path)]
    names = sorted((file.name for file in path.iterdir() if not file.name.startswith(".")), key=natural_key)
    if any(name.lower().endswith(".png") for name in names):
        return [Item(path.resolve().name, path)]
    videos = [path / name for name in names if Path(name).suffix.lower() in SUFFIXES]
    stems = {video.stem for video in videos}
    videos = [video for video in videos if not (match := RESULT.fullmatch(video.stem)) or match[1] not in stems]
    if not videos:
        raise MediaError(f"{path}: has no PNG frames and no videos: name a folder with either")
    return [Item(video.name, video) for video in videos]


# ---- outputs -----------------------------------------------------------------------------------


def goes_to_stdout(inputs: list[str], output_path: str | None) -> bool:
    """-o -, or - alone as the input without -o. Standard output holds one video, and is no place for a terminal."""
    if output_path not in (None, STANDARD) or (output_path is None and inputs != [STANDARD]):
        return False
    if len(inputs) > 1:
        raise UsageError("standard output holds one video: give one input, or name a folder with -o")
    if sys.stdout.isatty():
        raise UsageError("a video cannot be shown on a terminal: name a file with -o, or pipe it into one")
    return True


def kind_of(source: str, output: str | None) -> Kind:
    """The kind of file to write: what -o ends in, else the source's own where it can be written."""
    suffix = Path(output or "").suffix.lower().removeprefix(".")
    for kind in CODECS:
        if suffix == kind:
            return kind
    if suffix and output and not output.endswith(("/", os.sep)) and not Path(output).is_dir() and "{" not in suffix:
        raise UsageError(f"-o {output} must end in {', '.join(f'.{kind}' for kind in CODECS)}")
    return source if source in CODECS else OTHER_KIND


def target_of(item: Item, kind: Kind, frames: int, output: str | None, values: Mapping[str, Any]) -> Path:
    """Where the result of `item` goes; `values` are those of the fields of a template, but for the name.

    frames: of the result; several PNG frames are a folder.
    """
    template = _template(item, kind, output)
    path = fill(template, [{"name": item.stem, **values}])[0]
    return place(path, kind, frames)


def _template(item: Item, kind: Kind, output: str | None) -> str:
    default = "{name}.x{times}" + f".{kind}"
    if output is None:
        beside = Path() if item.standard else item.path.parent
        return f"{literal(str(beside))}/{default}"
    if output.endswith(("/", os.sep)) or Path(output).is_dir():
        return f"{literal(output.rstrip('/' + os.sep) or output[:1])}/{default}"
    template = output if "{" in output else literal(output)
    if "{" in output:
        check_template(output, FIELDS)
    if Path(output).suffix.lower() == f".{kind}" or kind == "png":
        return template
    if "{" in output:
        return f"{template}.{kind}"
    raise UsageError(f"-o {output} is no folder yet and names no format: write {output}/ or {output}.{kind}")


def check_distinct(targets: Iterable[tuple[Item, Path]]) -> None:
    """`UsageError` where two inputs would give the same file."""
    seen: dict[str, Item] = {}
    for item, target in targets:
        other = seen.setdefault(os.path.abspath(target), item)
        if other is not item:
            way = "name a folder, or a template with {name}"
            if other.stem == item.stem:
                way = "enlarge them one at a time, each with its own -o"
            raise UsageError(f"{other.name} and {item.name} would both be {target}: {way}")


def check_apart(targets: Sequence[Path], sources: Iterable[Path]) -> None:
    """`UsageError` where a result would replace an input, also by another name of it."""
    there = {target: target.stat() for target in targets if target.exists()}
    known = (path.stat() for path in sources if there and path.exists())
    taken = {(status.st_dev, status.st_ino) for status in known}
    for target, status in there.items():
        if (status.st_dev, status.st_ino) in taken:
            raise UsageError(f"{target}: is the input: name another output")
