"""A training run, as the page shows it: metrics.csv, run.json and the sheets of samples of a run folder."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvgcli.checkpoints import read_json
from hvgcli.config import FORMAT_VERSION
from hvgcli.errors import MediaError
from hvgcli.metrics.charts import Floats
from hvgcli.metrics.page.fields import Fields, flattened

RECORD, TABLE, SHEETS = "run.json", "metrics.csv", "samples"
TABLE_LIMIT = 1 << 30  # bytes; a million steps are about 100 MB
SUMMARY = (
    "version", "model.name", "level", "seed", "training.batch_size", "training.steps", "training.precision", "data",
    "below", "machine.device_name", "machine.device", "machine.processes", "machine.threads", "machine.torch",
)  # fmt: skip


@dataclass(frozen=True)
class Sheet:
    """A picture of samples: one video a row, its frames from left to right."""

    step: int
    file: Path


@dataclass(frozen=True)
class TrainingRun:
    """One run folder of `hvg train-level`."""

    folder: Path
    title: str
    command: str
    summary: dict[str, str]
    """What run.json says, the parts that people ask for."""
    steps: Floats
    """`(N,)` rising."""
    curves: dict[str, Floats]
    """Column of metrics.csv -> `(N,)`; NaN where the step has no such number."""
    sheets: tuple[Sheet, ...]


def read_run(folder: Path) -> TrainingRun:
    """Read a run folder, also of a run that still goes on. `MediaError` where it is damaged or of a newer format."""
    record = _record(folder / RECORD)
    flat = flattened(record.data)
    steps, curves = _table(folder / TABLE)
    return TrainingRun(
        folder=folder,
        title=folder.resolve().name,
        command=record.nested("machine").text("command", ""),
        summary={key: flat[key] for key in SUMMARY if key in flat},
        steps=steps,
        curves=curves,
        sheets=tuple(sorted(_sheets(folder / SHEETS), key=lambda sheet: sheet.step)),
    )


def _record(path: Path) -> Fields:
    if not path.exists():
        return Fields({}, str(path))
    record = Fields(read_json(path, error=MediaError), str(path))
    version = record.whole("format_version")
    if version is None or version > FORMAT_VERSION:
        raise MediaError(f"{path} is of format {version}, and this hvg reads {FORMAT_VERSION}: use a newer hvg")
    return record


def _sheets(folder: Path) -> list[Sheet]:
    found = ((re.fullmatch(r"step-(\d{1,15})\.png", path.name), path) for path in folder.glob("step-*.png"))
    return [Sheet(int(match[1]), path) for match, path in found if match]


def _table(path: Path) -> tuple[Floats, dict[str, Floats]]:
    """Steps, and the columns that hold a number in at least one step."""
    if not path.exists():
        return np.empty(0), {}
    lines = _lines(path)
    header = next(csv.reader(lines[:1]), [])
    if "step" not in header or len(set(header)) < len(header):
        raise MediaError(f"{path} is damaged: its first line names no column 'step', or one twice")
    values = _values(path, lines[1:], len(header))
    columns = dict(zip(header, values.T, strict=True))
    steps = columns.pop("step")
    if not np.isfinite(steps).all() or (np.diff(steps) <= 0).any():
        raise MediaError(f"{path} is damaged: its steps do not rise")
    return steps, {name: column for name, column in columns.items() if np.isfinite(column).any()}


def _lines(path: Path) -> list[str]:
    """The whole lines of the file: one that is being written, or was cut off, is left out."""
    try:
        if not path.is_file() or path.stat().st_size > TABLE_LIMIT:
            raise MediaError(f"{path} is no table of a run: it is not a file, or larger than {TABLE_LIMIT >> 20} MiB")
        whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    except UnicodeDecodeError as error:
        raise MediaError(f"{path} is damaged: it is not text") from error
    except OSError as error:
        raise MediaError(f"cannot read {path}: {error.strerror or error}") from error
    return whole.splitlines()


def _values(path: Path, lines: list[str], columns: int) -> Floats:
    """`(N, columns)`; an empty cell is NaN."""
    values = np.full((len(lines), columns), np.nan)
    for place, line in enumerate(lines):
        cells = line.split(",")
        try:
            if len(cells) != columns:
                raise ValueError(f"{len(cells)} cells")
            values[place] = [float(cell or "nan") for cell in cells]
        except ValueError as error:
            raise MediaError(f"{path} is damaged: line {place + 2} is not {columns} numbers ({error})") from error
    return values
