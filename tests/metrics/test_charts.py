"""Charts are well-formed SVG, put points where they belong, and lose no extreme."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.metrics.charts import Axis, Line, interval_mark, line_chart, running_mean, thinned

SVG = "{http://www.w3.org/2000/svg}"


def chart(lines: list[Line], **changes) -> ElementTree.Element:
    asked = {"title": "Loss", "x_label": "step", "y_label": "nats"} | changes
    return ElementTree.fromstring(line_chart(lines, **asked))


def points(root: ElementTree.Element, which: int = 0) -> list[list[tuple[float, float]]]:
    """The stretches of a curve, in pixels of its own field."""
    path = root.findall(f"{SVG}svg/{SVG}path")[which].attrib["d"]
    stretches = [part for part in path.split("M") if part]
    return [[(float(x), float(y)) for x, y in re.findall(r"([\d.-]+) ([\d.-]+)", part)] for part in stretches]


def field(root: ElementTree.Element) -> tuple[float, float]:
    inner = root.find(f"{SVG}svg")
    assert inner is not None
    return float(inner.attrib["width"]), float(inner.attrib["height"])


def test_points_stand_where_they_belong() -> None:
    root = chart([Line("a", [0, 50, 100], [1.0, 3.0, 2.0])], y_range=(1.0, 3.0))
    width, height = field(root)
    (curve,) = points(root)
    assert curve == [pytest.approx(point, abs=0.06) for point in ((0, height), (width / 2, 0), (width, height / 2))]


def test_logarithmic_axis() -> None:
    root = chart([Line("a", [0.0, 0.01, 0.1, 1.0], [5.0, 1.0, 2.0, 3.0])], log_x=True)
    width, _ = field(root)
    (curve,) = points(root)
    assert [x for x, _ in curve] == pytest.approx([0, width / 2, width], abs=0.06), "no place for 0"


def test_gaps_are_gaps() -> None:
    root = chart([Line("a", [1, 2, 3, 4, 5], [1, math.nan, 2, 3, math.inf])])
    assert [len(stretch) for stretch in points(root)] == [1, 2]


def test_says_what_it_shows_and_escapes_it() -> None:
    root = chart([Line("<b>&\"'", [1, 9], [4.0, 2.0]), Line("other", [1, 9], [1.0, 1.0], 1)], title='a < b & "c"')
    said = root.attrib["aria-label"]
    assert said.startswith('a < b & "c". Line chart of nats over step.')
    assert "<b>&\"': from 4 at 1 to 2 at 9, lowest 2, highest 4." in said
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert "<b>&\"'" in texts
    assert "other" in texts


def test_labels_that_are_no_text() -> None:
    lines = [Line("a\x00\ud800\u202e", [1, 2], [1, 2]), Line("b" * 200, [1, 2], [1, 2], 1)]
    texts = [element.text or "" for element in chart(lines, title="\x1b[31m").iter(f"{SVG}text")]
    assert "a   " in texts
    assert any(text.endswith("b\N{HORIZONTAL ELLIPSIS}") and len(text) < 60 for text in texts)


def test_curves_differ_without_colour() -> None:
    root = chart([Line(str(i), [1, 2], [i, i + 1], i) for i in range(6)])
    dashes = [path.attrib.get("stroke-dasharray") for path in root.findall(f"{SVG}svg/{SVG}path")]
    assert len(set(dashes)) == 6


def test_theme_by_variables_only() -> None:
    drawn = line_chart([Line("a", [1, 2], [1, 2])], title="t", x_label="x", y_label="y")
    assert "style=" not in drawn, "the page forbids inline styles"
    strokes = re.findall(r'(?:stroke|fill)="([^"]*)"', drawn)
    assert all(value == "none" or re.fullmatch(r"var\(--chart-\w+, #[0-9a-f]+\)", value) for value in strokes)


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="no point"):
        chart([Line("a", [1.0], [math.nan])])
    with pytest.raises(ValueError, match="no point"):
        chart([])
    with pytest.raises(ValueError, match="as many of both"):
        chart([Line("a", [1.0, 2.0], [1.0])])


@settings(deadline=None, max_examples=40)
@given(low=st.floats(-1e6, 1e6), size=st.floats(1e-6, 1e6), log=st.booleans())
def test_ticks_are_round_and_inside(low: float, size: float, log: bool) -> None:
    low = abs(low) + 1e-3 if log else low
    axis = Axis(low, low + size, 100, log)
    ticks = axis.ticks()
    slack = 1e-6 * size
    assert all(low - slack <= tick <= low + size + slack for tick in ticks)
    if not log:
        assert 2 <= len(ticks) <= 7
        assert len({f"{step:.6e}" for step in np.diff(ticks)}) <= 2, "evenly spaced, but for rounding"


@settings(deadline=None, max_examples=30)
@given(values=st.lists(st.floats(-100, 100) | st.just(math.nan), min_size=1, max_size=40), half=st.integers(0, 6))
def test_running_mean_is_the_mean_around(values: list[float], half: int) -> None:
    found = running_mean(np.array(values), 2 * half + 1)
    for place, mean in enumerate(found):
        around = [v for v in values[max(place - half, 0) : place + half + 1] if math.isfinite(v)]
        assert mean == pytest.approx(sum(around) / len(around), abs=1e-9) if around else math.isnan(mean)


@settings(deadline=None, max_examples=30)
@given(count=st.integers(1, 500), seed=st.integers(0, 99), gaps=st.booleans())
def test_thinning_keeps_the_extremes(count: int, seed: int, gaps: bool) -> None:
    rng = np.random.default_rng(seed)
    x, y = np.arange(count, dtype=float), rng.normal(size=count)
    if gaps:
        y[: count // 2] = np.nan
    kept_x, kept_y = thinned(x, y, 40)
    assert len(kept_x) == len(kept_y) <= max(40, 1)
    assert (np.diff(kept_x) > 0).all()
    assert np.array_equal(kept_y, y[kept_x.astype(int)], equal_nan=True)
    if np.isfinite(y).any():
        assert (np.nanmin(kept_y), np.nanmax(kept_y)) == (np.nanmin(y), np.nanmax(y))


def test_interval_mark() -> None:
    root = ElementTree.fromstring(interval_mark(5.0, 2.5, 10.0, (0.0, 10.0)))
    circle = root.find(f"{SVG}circle")
    assert circle is not None
    assert float(circle.attrib["cx"]) == pytest.approx(4 + 92 / 2)
    bar = root.findall(f"{SVG}path")[1].attrib["d"]
    assert [float(number) for number in re.findall(r"[MH]([\d.]+)", bar)] == pytest.approx([27, 96])
    assert root.attrib["aria-hidden"] == "true"
