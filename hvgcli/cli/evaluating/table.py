"""How `hvg evaluate` shows its record to people: the numbers in one table, then how they were taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hvgcli.cli.output import Output, grid
from hvgcli.metrics.similarity import NAMES

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
    if record.get("truncation_curve"):
        _show_curve(record["truncation_curve"], output)
    if record.get("best_of"):
        _show_best_of(record["best_of"], output)
    output.emit(described(record["protocol"]))


def _show_curve(points: Sequence[Mapping[str, Any]], output: Output) -> None:
    """A row for each sigma."""
    rows = [{"sigma": p["sigma"], **{m["name"]: rounded(m["value"]) for m in p["metrics"]}} for p in points]
    columns = dict.fromkeys(name for row in rows for name in row)
    output.emit({}, line=grid(rows, {name: name for name in columns}))


def _show_best_of(found: Mapping[str, Any], output: Output) -> None:
    """A row for each predictor: its score at each l; where all continuations are the same, one score stands for all."""
    table: dict[str, dict[str, Any]] = {}
    for row in found["rows"]:
        counts = found["counts"] if row["best_of"] is None else [row["best_of"]]
        values = {f"{NAMES[row['score']]}[{count}]": rounded(row["value"]) for count in counts}
        table.setdefault(row["of"], {"of": row["of"]}).update(values)
    columns = dict.fromkeys(name for row in table.values() for name in row)
    output.emit({}, line=grid(list(table.values()), {**{name: name for name in columns}, "of": "best of"}))


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
