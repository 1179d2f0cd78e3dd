"""Scores of predicted frames: per-frame curves of the best of l continuations (TrIVD-GAN figure 5), and a table."""

from __future__ import annotations

from collections.abc import Sequence

from hvgcli.metrics.charts import SERIES, Line, Role, line_chart
from hvgcli.metrics.page.evaluation import SCORES, BestOf, Evaluation
from hvgcli.metrics.page.markup import Html, join, number, tag
from hvgcli.metrics.page.tables import scrolling

UNITS = {"ssim": "SSIM", "psnr": "PSNR, dB"}
SIZE = (360, 340)  # higher than other charts, for its legend


def prediction_section(evaluations: Sequence[Evaluation]) -> Html | None:
    """For each evaluation of a predictor: a chart of each score over the predicted frames, and their means."""
    parts = [_of_evaluation(evaluation) for evaluation in evaluations if evaluation.best_of]
    if not parts:
        return None
    lead = (
        "Each window is continued several times, and the continuation with the highest mean over its frames counts. A "
        "model whose futures differ in a useful way gains with their number; with z = 0 it cannot, and noise on a "
        "still shows what luck gains."
    )
    return join(tag("p", lead, class_="lead"), *parts)


def _of_evaluation(evaluation: Evaluation) -> Html:
    scores = dict.fromkeys(row.score for row in evaluation.best_of)
    charts = [chart for score in scores if (chart := _chart(score, evaluation.best_of)) is not None]
    title = f"Continuations: {evaluation.title}"
    table = scrolling(_table(evaluation.best_of), title)
    return tag("section", tag("h3", title), tag("div", *charts, class_="charts"), table)


def _chart(score: str, rows: Sequence[BestOf]) -> Html | None:
    """The curves of the predictor itself by l, and one curve of each other: that of its largest l."""
    first = rows[0].of
    shown = [row for row in rows if row.score == score and row.of == first]
    last = {row.of: row for row in rows if row.score == score and row.of != first}
    lines = [_line(row, series) for series, row in enumerate((*shown, *last.values()))]
    try:
        drawn = line_chart(
            lines, title=f"{SCORES[score]} per frame", x_label="predicted frame", y_label=UNITS[score], size=SIZE
        )
    except ValueError:  # nothing finite
        return None
    return tag("figure", Html(drawn), class_="plot")


def _line(row: BestOf, series: int) -> Line:
    """A curve over the predicted frames, counted from 1; grey where there are more than colours."""
    role: Role = "main" if series < SERIES else "reference"
    return Line(_label(row), range(1, len(row.frames) + 1), row.frames, series, role)


def _label(row: BestOf) -> str:
    return row.of if row.count is None else f"{row.of}, best of {row.count}"


def _table(rows: Sequence[BestOf]) -> Html:
    """Means over the frames: a row for each predictor, a column for each score and l, and the gain."""
    several = any(row.count is not None for row in rows)
    columns = list(dict.fromkeys((row.score, row.count) for row in rows if row.count is not None or not several))
    heads = [tag("th", _head(score, count), scope="col", class_="number") for score, count in columns]
    head = tag("tr", tag("th", "Continued by", scope="col"), *heads)
    body = [_table_row(name, rows, columns) for name in dict.fromkeys(row.of for row in rows)]
    return tag("table", tag("thead", head), tag("tbody", *body))


def _head(score: str, count: int | None) -> str:
    return SCORES[score] if count is None else f"{SCORES[score]}, best of {count}"


def _table_row(name: str, rows: Sequence[BestOf], columns: Sequence[tuple[str, int | None]]) -> Html:
    """Where all continuations are the same, one value stands for all l."""
    values = {(row.score, row.count): row.value for row in rows if row.of == name}
    cells = [
        tag("td", number(values.get((score, count), values.get((score, None)))), class_="number")
        for score, count in columns
    ]
    return tag("tr", tag("th", name, scope="row"), *cells)
