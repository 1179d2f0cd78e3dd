"""How `hvg evaluate` shows its record to people: the numbers in one table, then how they were taken."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hvgcli.cli.output import Output, grid

COLUMNS = {"name": "metric", "value": "value", "interval": "interval", "better": "better", "note": "note"}


def show(record: Mapping[str, Any], out: Path | None, output: Output, *, dry_run: bool) -> None:
    """Print the record in the mode of `output`: quiet prints the folder, or a name and value a line without one."""
    if output.mode == "json":
        output.emit({**record, "dry_run": True} if dry_run else record)
    elif output.mode == "quiet":
        _show_quietly(record, out, output)
    else:
        _show_to_people(record, output)
        if out is not None and not dry_run:
            output.emit({}, line=f"kept in {out} (hvg report {out} makes a page of it)")


def _show_quietly(record: Mapping[str, Any], out: Path | None, output: Output) -> None:
    lines = [f"{row['name']}\t{row['value']}" for row in record["metrics"]] if out is None else [str(out)]
    for line in lines:
        output.emit({}, ident=line)


def _show_to_people(record: Mapping[str, Any], output: Output) -> None:
    output.emit({}, line=record["title"])
    if record["metrics"]:
        output.emit({}, line=grid([_row(row) for row in record["metrics"]], COLUMNS))
    if record["per_class"]:
        names = dict.fromkeys(name for row in record["per_class"] for name in row["values"])
        rows = [{**row, **{name: rounded(row["values"].get(name)) for name in names}} for row in record["per_class"]]
        columns = {"class": "class", "real": "real", "generated": "generated", **{name: name for name in names}}
        output.emit({}, line=grid(rows, columns))
    output.emit(described(record["protocol"]))


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    ends = (rounded(row["low"]), rounded(row["high"]))
    interval = "" if None in ends else f"{ends[0]} to {ends[1]}"
    return {**row, "value": rounded(row["value"]), "interval": interval}


def rounded(value: float | None) -> float | None:
    """Five digits: more are noise."""
    return None if value is None else float(f"{value:.5g}")


def described(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The protocol on one level: what a set is, in one line."""
    return {key: _in_words(value) if isinstance(value, Mapping) else value for key, value in protocol.items()}


def _in_words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items())
