"""Truncation curves: how the numbers of a generator change with the standard deviation of z (DVD-GAN section 4.1.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hvgcli.metrics.charts import Line, line_chart
from hvgcli.metrics.page.evaluation import CurvePoint, Evaluation
from hvgcli.metrics.page.markup import Html, join, number, tag
from hvgcli.metrics.page.tables import breakable, scrolling

SCORE, DISTANCES = "IS[", ("FID[", "FVD[")


def truncation_section(evaluations: Sequence[Evaluation]) -> Html | None:
    """Charts of the Inception score against each Frechet distance, of the distances over sigma, and the numbers."""
    having = [evaluation for evaluation in evaluations if evaluation.truncation_curve]
    if not having:
        return None
    lead = (
        "The same model with less and less varied z. A smaller sigma usually makes clearer videos (a higher Inception "
        "score) of less variety (a larger distance): the curve shows what one costs in the other."
    )
    charts = tag("div", *_charts(having), class_="charts")
    tables = [scrolling(_table(e), f"Truncation curve of {e.title}") for e in having]
    return join(tag("p", lead, class_="lead"), charts, *tables)


def _names(evaluations: Sequence[Evaluation], *starts: str) -> list[str]:
    """Names of the metrics that begin so, without variants like `FVD[i3d,pca64]`."""
    points = [point for evaluation in evaluations for point in evaluation.truncation_curve]
    names = dict.fromkeys(metric.name for point in points for metric in point.metrics)
    return [name for name in names if name.startswith(starts) and "," not in name]


def _charts(evaluations: Sequence[Evaluation]) -> list[Html]:
    scores, distances = _names(evaluations, SCORE), _names(evaluations, *DISTANCES)
    drawn = [
        _chart(evaluations, f"{score} against {distance}", (distance, _value(distance)), (score, _value(score)))
        for score in scores
        for distance in distances
    ]
    drawn += [_chart(evaluations, name, ("sigma", lambda point: point.sigma), (name, _value(name)))
              for name in (*scores, *distances)]  # fmt: skip
    return [chart for chart in drawn if chart is not None]


def _value(name: str) -> Callable[[CurvePoint], float]:
    """The number of that name at a point; not a number where it has none."""

    def value(point: CurvePoint) -> float:
        found = next((metric.value for metric in point.metrics if metric.name == name), None)
        return float("nan") if found is None else found

    return value


Quantity = tuple[str, Callable[[CurvePoint], float]]


def _chart(evaluations: Sequence[Evaluation], title: str, x: Quantity, y: Quantity) -> Html | None:
    lines = [
        Line(e.title, [x[1](p) for p in e.truncation_curve], [y[1](p) for p in e.truncation_curve], series)
        for series, e in enumerate(evaluations)
    ]
    try:
        return tag("figure", Html(line_chart(lines, title=title, x_label=x[0], y_label=y[0])), class_="plot")
    except ValueError:  # nothing finite
        return None


def _table(evaluation: Evaluation) -> Html:
    names = list(dict.fromkeys(metric.name for point in evaluation.truncation_curve for metric in point.metrics))
    heads = [tag("th", breakable(name), scope="col", class_="number") for name in names]
    head = tag("tr", tag("th", f"{evaluation.title}: sigma", scope="col"), *heads)
    rows = [_row(point, names) for point in evaluation.truncation_curve]
    return tag("table", tag("thead", head), tag("tbody", *rows))


def _row(point: CurvePoint, names: Sequence[str]) -> Html:
    values = {metric.name: metric.value for metric in point.metrics}
    cells = [tag("td", number(values.get(name)), class_="number") for name in names]
    return tag("tr", tag("th", f"{point.sigma:g}", scope="row"), *cells)
