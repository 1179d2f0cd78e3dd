"""What a data source names: the video files of a folder, or the rows of a list file, with their classes."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvgcli.errors import DataError

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif", ".m4v")
EXPECTED = f"a folder of class folders of videos, or a folder of videos ({' '.join(s[1:] for s in SUFFIXES)})"
LIST_SUFFIXES = (".csv", ".jsonl")
COLUMNS = ("path", "label", "start", "end")


@dataclass(frozen=True)
class Item:
    """One video file, or a part of one."""

    path: Path
    name: str
    """How the source names it: relative to the folder or list where it can be."""
    label: int | None
    start: float | None = None
    """Seconds from the first frame; None for the beginning."""
    end: float | None = None
    """Seconds; None for the end of the file."""


@dataclass(frozen=True)
class Listing:
    """The items of a source in a stable order, not opened yet."""

    items: tuple[Item, ...]
    classes: tuple[str, ...]
    """Names of the classes; empty without classes."""


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts `clip2` before `clip10`; names equal but for case keep one fixed order."""
    parts = re.split(r"([0-9]+)", name.casefold())
    key = tuple((1, int(part), part) if index % 2 else (0, 0, part) for index, part in enumerate(parts))
    return (*key, (2, 0, name))


def list_source(source: Path) -> Listing:
    """The items of a folder or of a list file (`.csv` or `.jsonl`).

    A folder holds one folder a class, or, when no folder in it holds videos, videos without classes.
    Order is natural (`clip2` before `clip10`) and does not depend on the file system. Hidden files and
    folders are left out; links to files are followed.

    A list has the columns path, label, start, end (seconds); all but path may be left out, as columns or,
    for start and end, in single rows. A CSV file has them in its first line, a JSONL file one object a
    line. Paths are relative to the list's folder. The order is that of the lines. Classes are the
    labels in natural order; either every row has a label or none.

    Raises:
        DataError: nothing is there, a folder mixes loose videos with class folders, there is no video, or a
            list has a wrong column, number or label, or names a file that is missing (with its line).
    """
    if source.is_file() and source.suffix.lower() in LIST_SUFFIXES:
        return _list_of_rows(source)
    if not source.is_dir():
        what = "not a folder or list file" if source.exists() else "no such folder"
        raise DataError(f"{source}: {what}: expected {EXPECTED}, or a list file (csv, jsonl)")
    folders = [entry for entry in _entries(source) if entry.is_dir() and _videos(entry)]
    if folders and _videos(source):
        raise DataError(f"{source}: has videos beside class folders ({folders[0].name}, ...): expected {EXPECTED}")
    found = list(_folder_items(source, folders))
    if not found:
        raise DataError(f"{source}: has no videos: expected {EXPECTED}")
    return Listing(tuple(found), tuple(folder.name for folder in folders))


def _entries(folder: Path) -> list[Path]:
    """Visible entries of a folder in natural order; DataError when it cannot be listed."""
    try:
        visible = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{folder}: cannot list the folder ({error.strerror}): expected {EXPECTED}") from error
    return sorted(visible, key=lambda entry: natural_key(entry.name))


def _videos(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if entry.suffix.lower() in SUFFIXES and not entry.is_dir()]


def _folder_items(root: Path, folders: list[Path]) -> Iterator[Item]:
    if not folders:
        yield from (Item(path, path.name, None) for path in _videos(root))
    for label, folder in enumerate(folders):
        yield from (Item(path, f"{folder.name}/{path.name}", label) for path in _videos(folder))


# ---- list files --------------------------------------------------------------------------------


def _list_of_rows(file: Path) -> Listing:
    rows = _csv_rows(file) if file.suffix.lower() == ".csv" else _jsonl_rows(file)
    read = [(where, _row(file, where, row)) for where, row in rows]
    if not read:
        raise DataError(f"{file}: names no videos: expected lines with {', '.join(COLUMNS)}")
    labels = [label for _, (_, label) in read]
    for (where, _), label in zip(read, labels, strict=True):
        if (label is None) != (labels[0] is None):
            raise DataError(f"{where}: {'has no label, others have' if label is None else 'has a label, others not'}")
    classes = sorted({label for label in labels if label is not None}, key=natural_key)
    numbers = {name: number for number, name in enumerate(classes)}
    items = (
        Item(item.path, item.name, None if label is None else numbers[label], item.start, item.end)
        for _, (item, label) in read
    )
    return Listing(tuple(items), tuple(classes))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: is not text in UTF-8 ({error.reason}): save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error


def _csv_rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, columns) of every row; empty cells are left out."""
    reader = csv.reader(_text(file).splitlines(), strict=True)
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        _check_columns(f"{file}: line 1", header)
        if len(set(header)) < len(header):
            raise DataError(f"{file}: line 1: names a column twice: expected {', '.join(COLUMNS)}")
        for cells in reader:
            where = f"{file}: line {reader.line_num}"
            if cells and len(cells) != len(header):
                raise DataError(f"{where}: has {len(cells)} cells, its header {len(header)}: quote commas in names")
            if any(cells):
                yield where, {key: cell.strip() for key, cell in zip(header, cells, strict=True) if cell.strip()}
    except csv.Error as error:
        raise DataError(f"{file}: line {reader.line_num}: is not CSV ({error})") from error


def _jsonl_rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{file}: line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: is not JSON ({getattr(error, 'msg', error)})") from error
        if not isinstance(row, dict):
            raise DataError(f'{where}: must be an object like {{"path": "a.mp4", "label": "sea"}}')
        _check_columns(where, list(row))
        yield where, {key: value for key, value in row.items() if value is not None}


def _check_columns(where: str, names: list[str]) -> None:
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or "path" not in names:
        problem = f"has an unknown column {unknown[0]!r}" if unknown else "has no column path"
        raise DataError(f"{where}: {problem}: expected {', '.join(COLUMNS)} (all but path may be left out)")


def _row(file: Path, where: str, row: dict[str, Any]) -> tuple[Item, str | None]:
    """The item of a row, its class still by name."""
    name, label = row.get("path"), row.get("label")
    if not isinstance(name, str) or not name or "\0" in name:
        raise DataError(f"{where}: its path must be the name of a file, not {name!r}")
    if isinstance(label, bool) or not isinstance(label, str | int | None):
        raise DataError(f"{where}: its label must be a name or a whole number, not {label!r}")
    start, end = _seconds(where, "start", row), _seconds(where, "end", row)
    if end is not None and (start or 0.0) >= end:
        raise DataError(f"{where}: start {start or 0.0:g} must be before end {end:g} (seconds)")
    path = file.parent / Path(name).expanduser()
    if not path.is_file():
        raise DataError(f"{where}: {path} is {'not a file' if path.exists() else 'missing'}")
    return Item(path, name, None, start, end), None if label is None else str(label)


def _seconds(where: str, key: str, row: dict[str, Any]) -> float | None:
    value = row.get(key)
    if value is None:
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < 1e9:
        raise DataError(f"{where}: {key} must be seconds from 0, not {value!r}")
    return seconds
