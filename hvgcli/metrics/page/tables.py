"""The tables of a page: metrics with their intervals, the protocol they were taken with, and the classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from hvgcli.metrics.charts import interval_mark
from hvgcli.metrics.page.evaluation import DRAWING, ClassRow, Evaluation, Metric
from hvgcli.metrics.page.markup import Html, hidden, join, number, tag, text

BETTER = {
    "lower": ("\N{DOWNWARDS ARROW}", "lower is better"),
    "higher": ("\N{UPWARDS ARROW}", "higher is better"),
}


def scrolling(table: Html, label: str) -> Html:
    """A table in a region of its own, which scrolls sideways on a small screen, by keyboard too."""
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=label)


# ---- metrics -----------------------------------------------------------------------------------


def metrics_section(evaluations: Sequence[Evaluation]) -> Html | None:
    """Metrics by evaluation, with what must be known to read them."""
    names = list(dict.fromkeys(metric.name for evaluation in evaluations for metric in evaluation.metrics))
    if not names:
        return None
    head = tag("tr", tag("th", "Metric", scope="col"), *(_column(evaluation.title) for evaluation in evaluations))
    rows = [_metric_row(name, evaluations) for name in names]
    table = tag("table", tag("thead", head), tag("tbody", *rows))
    about = tag("p", _about(evaluations), class_="note")
    return join(_disagreement(evaluations), about, scrolling(table, "Metrics"), _warnings(evaluations))


def _column(title: str) -> Html:
    return tag("th", title, scope="col", class_="number")


def _about(evaluations: Sequence[Evaluation]) -> str:
    said = "Under a value: its interval, where one was estimated"
    if len(evaluations) == 1:
        return f"{said}."
    return f"{said}, on the scale of its row. Bold: the best one, where protocols agree and no interval overlaps."


def _metric_row(name: str, evaluations: Sequence[Evaluation]) -> Html:
    found = [next((m for m in evaluation.metrics if m.name == name), None) for evaluation in evaluations]
    known = [metric for metric in found if metric is not None]
    arrow, words = BETTER.get(known[0].better, ("", ""))
    mark = [tag("span", arrow, class_="arrow", aria_hidden="true", title=words), hidden(words)] if arrow else []
    best = best_of(found) if comparable(evaluations) else None
    scale = _scale(known) if len(found) > 1 else None
    cells = [_metric_cell(metric, metric is not None and metric is best, scale, i) for i, metric in enumerate(found)]
    return tag("tr", tag("th", name, " ", *mark, scope="row"), *cells)


def _scale(metrics: Iterable[Metric]) -> tuple[float, float]:
    ends = [end for m in metrics for end in (m.value, m.low, m.high) if end is not None]
    return (min(ends), max(ends)) if ends else (0, 1)


def _metric_cell(metric: Metric | None, best: bool, scale: tuple[float, float] | None, series: int) -> Html:
    if metric is None:
        return tag("td", number(None), class_="number")
    value = tag("strong", number(metric.value), hidden(" best"), class_="best") if best else number(metric.value)
    parts: list[Html | None] = [tag("span", value, class_="value")]
    if metric.value is not None and metric.low is not None and metric.high is not None:
        ends = f"{number(metric.low)} to {number(metric.high)}"
        parts.append(Html(interval_mark(metric.value, metric.low, metric.high, scale, series)) if scale else None)
        parts.append(tag("span", hidden("interval "), ends, class_="ends"))
    parts.append(tag("span", metric.note, class_="note") if metric.note else None)
    return tag("td", *parts, class_="number")


def comparable(evaluations: Sequence[Evaluation]) -> bool:
    """Whether there are several evaluations, all with one protocol."""
    return len(evaluations) > 1 and not differing(evaluations)


def differing(evaluations: Sequence[Evaluation]) -> list[str]:
    """Names of the protocol's parts in which evaluations differ, what they evaluate left aside."""
    names = dict.fromkeys(name for evaluation in evaluations for name in evaluation.conditions)
    return [name for name in names if len(_stated(name, evaluations)) > 1]


def _stated(name: str, evaluations: Sequence[Evaluation]) -> set[str | None]:
    """What evaluations say of a part of the protocol; a baseline that draws no z says nothing of how it is drawn."""
    found = {evaluation.conditions.get(name) for evaluation in evaluations}
    return found - {None} if name in DRAWING else found


def best_of(metrics: Sequence[Metric | None]) -> Metric | None:
    """The best of at least two values, if it is one that no other could equal within its interval."""
    known = [metric for metric in metrics if metric is not None and metric.value is not None and metric.better]
    if len(known) < 2:
        return None
    sign = 1 if known[0].better == "lower" else -1
    first, second = sorted(known, key=lambda metric: sign * (metric.value or 0))[:2]
    others = [metric for metric in known if metric is not first]
    apart = all(sign * _end(first, sign) < sign * _end(other, -sign) for other in others)
    return first if apart and first.value != second.value else None


def _end(metric: Metric, sign: int) -> float:
    """The end of the interval that is highest (sign 1) or lowest (-1); the value where there is none."""
    end = metric.high if sign > 0 else metric.low
    return float(metric.value or 0) if end is None else end


def _disagreement(evaluations: Sequence[Evaluation]) -> Html | None:
    names = differing(evaluations)
    if not names:
        return None
    said = f"These evaluations have different protocols ({', '.join(map(spoken, names))}): do not rank their numbers."
    return tag("p", said, class_="warning", role="note")


def _warnings(evaluations: Sequence[Evaluation]) -> Html | None:
    items = [
        tag("li", f"{evaluation.title}: " if len(evaluations) > 1 else "", warning)
        for evaluation in evaluations
        for warning in evaluation.warnings
    ]
    return tag("ul", *items, class_="warnings", aria_label="Warnings") if items else None


# ---- protocol and settings ---------------------------------------------------------------------


def spoken(name: str) -> str:
    """`network_sha256` -> "network sha256", `real.videos` -> "real videos"."""
    return name.replace("_", " ").replace(".", " ")


def breakable(name: str) -> Html:
    """`IS[i3d-k400]` with a place before the bracket where a narrow column may break it."""
    return Html(str(text(name)).replace("[", "<wbr>["))


def shortened(value: str) -> tuple[Html | str, ...]:
    """A digest by its first sixteen digits, in full where one points at it."""
    if not re.fullmatch(r"[0-9a-f]{32,}", value):
        return (value,)
    return (tag("code", value[:16], "\N{HORIZONTAL ELLIPSIS}", title=value),)


def settings_table(columns: Sequence[tuple[str, dict[str, str]]], title: str) -> Html | None:
    """A row for each name, a column for each of the titled settings; rows that differ are marked."""
    names = list(dict.fromkeys(name for _, values in columns for name in values))
    if not names:
        return None
    heads = [tag("th", name, scope="col") for name, _ in columns]
    head = tag("tr", tag("th", hidden("Setting") if len(columns) > 1 else "Setting", scope="col"), *heads)
    rows = [_settings_row(name, [values.get(name, "\N{EN DASH}") for _, values in columns]) for name in names]
    table = tag("table", tag("thead", head), tag("tbody", *rows), class_="settings")
    return join(tag("h3", title), scrolling(table, title))


def _settings_row(name: str, values: Sequence[str]) -> Html:
    differs = len(set(values)) > 1
    title = tag("th", spoken(name), hidden(" (differs)") if differs else None, scope="row")
    return tag("tr", title, *(tag("td", *shortened(value)) for value in values), class_="differs" if differs else None)


def protocol_section(evaluations: Sequence[Evaluation]) -> Html | None:
    """How the numbers were made."""
    if not evaluations:
        return None
    return settings_table(
        [(e.title, {**e.protocol, "made": e.made}) for e in evaluations], "How these numbers were made"
    )


# ---- classes -----------------------------------------------------------------------------------


def classes_section(evaluations: Sequence[Evaluation]) -> Html | None:
    """A table of the classes that every column can sort."""
    having = [evaluation for evaluation in evaluations if evaluation.classes]
    names = sorted({row.name for evaluation in having for row in evaluation.classes})
    if not names:
        return None
    columns = [(evaluation, name) for evaluation in having for name in _value_names(evaluation)]
    titles = ["Class", *(name for _, name in columns)]
    heads = [_sort_head(title, number=i > 0, sorted_=i == 0) for i, title in enumerate(titles)]
    rows = [_class_row(name, having) for name in names]
    head = join(_groups(having), tag("tr", *heads))
    table = tag("table", tag("thead", head), tag("tbody", *rows), class_="sortable")
    about = tag("p", "Numbers of videos and metrics of each class. The buttons in the headings sort.", class_="note")
    return join(about, scrolling(table, "Classes"))


def _value_names(evaluation: Evaluation) -> list[str]:
    values = dict.fromkeys(name for row in evaluation.classes for name in row.values)
    return ["real", "generated", *values]


def _groups(evaluations: Sequence[Evaluation]) -> Html | None:
    """The evaluation above each group of columns, where there are several."""
    if len(evaluations) < 2:
        return None
    heads = [
        tag("th", evaluation.title, scope="colgroup", colspan=len(_value_names(evaluation)), class_="group")
        for evaluation in evaluations
    ]
    return tag("tr", tag("td"), *heads)


def _sort_head(title: str, *, number: bool, sorted_: bool) -> Html:
    arrow = tag("span", class_="order script", aria_hidden="true")
    button = tag("button", breakable(title), arrow, type="button", class_="sort")
    return tag(
        "th", button, scope="col", class_="number" if number else None, aria_sort="ascending" if sorted_ else None
    )


def _class_row(name: str, evaluations: Sequence[Evaluation]) -> Html:
    cells = []
    for evaluation in evaluations:
        row = next((row for row in evaluation.classes if row.name == name), ClassRow(name, None, None, {}))
        counts = [_cell(value, "\N{EN DASH}" if value is None else f"{value:,}") for value in (row.real, row.generated)]
        cells += counts + [_cell(row.values.get(key)) for key in _value_names(evaluation)[2:]]
    return tag("tr", tag("th", name, scope="row", data_value=name), *cells)


def _cell(value: float | None, shown: str | None = None) -> Html:
    return tag("td", shown or number(value), class_="number", data_value="" if value is None else repr(value))
