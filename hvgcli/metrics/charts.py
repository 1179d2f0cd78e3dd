"""Line charts as SVG text: for a page, where its colours follow the page's theme, or for a file of their own.

Colours are CSS variables (`--chart-text`, `--chart-line`, `--chart-real`, `--chart-1` ... `--chart-6`) with a value
that can be read on white and on black behind each. Curves differ by their dashes too, and every chart says in words
(`aria-label`) what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Role = Literal["main", "faint", "reference", "paired"]

ROLES = ("faint", "reference", "paired", "main")  # from the back to the front
SERIES = 6  # colours; more curves than this begin again with the first
COLOURS = ("#2f7fc1", "#d2691e", "#2a9d76", "#b85c9e", "#a3851a", "#6f7fbf")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 3", "4 2 1 2")
TEXT, LINE, REAL = "var(--chart-text, #73767c)", "var(--chart-line, #9a9da255)", "var(--chart-real, #7f8287)"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
LETTER = 6.4  # pixels that a letter of 12 px takes at most, on average
MOST_POINTS = 400  # of one curve, about one a pixel


@dataclass(frozen=True)
class Line:
    """One curve. Points that are not finite are gaps."""

    label: str
    """In the legend; empty leaves it out there."""
    x: Sequence[float] | Floats
    y: Sequence[float] | Floats
    series: int = 0
    """Which colour and dashes: 0 is the first."""
    role: Role = "main"
    """`faint` is for raw values behind their mean, `reference` for what all others are compared with, and `paired`
    for what the curve of the same series is compared with."""


@dataclass(frozen=True)
class Axis:
    """A range of values along `pixels` pixels, linear or logarithmic (base 10)."""

    low: float
    high: float
    pixels: float
    log: bool = False

    def place(self, values: Floats) -> Floats:
        """Values -> pixels from the low end; what a logarithm cannot show is NaN."""
        low, high = self._scaled(np.array([self.low, self.high]))
        placed: Floats = (self._scaled(values) - low) / (high - low) * self.pixels
        return placed

    def _scaled(self, values: Floats) -> Floats:
        if not self.log:
            return values
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(values > 0, np.log10(values), np.nan)

    def ticks(self, count: int = 5) -> list[float]:
        """Round values within the range, about `count` of them."""
        if self.log:
            return _log_ticks(self.low, self.high)
        step = _round_step((self.high - self.low) / count)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def _round_step(rough: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is at least `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(decades) <= 3 else (1,)
    return [value for d in decades for f in factors if low <= (value := f * 10.0**d) <= high]


def tick_text(value: float) -> str:
    """A number on an axis: at most six digits, thousands apart."""
    return f"{0.0 if abs(value) < 1e-12 else value:,.6g}".replace("-", "\N{MINUS SIGN}")


def running_mean(y: Floats, window: int) -> Floats:
    """Mean of the finite values among the `window` (odd) points around each; narrower at the ends. `(N,)` -> `(N,)`."""
    half = window // 2
    known = np.isfinite(y)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, y, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    place = np.arange(len(y))
    start, end = np.maximum(place - half, 0), np.minimum(place + half + 1, len(y))
    with np.errstate(invalid="ignore"):
        mean: Floats = (sums[end] - sums[start]) / (counts[end] - counts[start])
    return mean


def thinned(x: Floats, y: Floats, most: int = MOST_POINTS) -> tuple[Floats, Floats]:
    """At most `most` points of a curve: of each stretch its lowest and its highest one, so that no extreme is lost."""
    if len(x) <= most:
        return x, y
    edges = np.linspace(0, len(x), most // 2 + 1).astype(int)
    kept: list[int] = []
    for start, end in pairwise(edges.tolist()):
        part = y[start:end]
        if np.isfinite(part).any():
            kept += sorted({start + int(np.nanargmin(part)), start + int(np.nanargmax(part))})
        else:
            kept.append(int(start))  # a gap stays one
    return x[kept], y[kept]


# ---- the chart ---------------------------------------------------------------------------------


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    size: tuple[int, int] = (360, 250),
) -> str:
    """An SVG element with axes, grid, legend and curves.

    Args:
        lines: at least one point in all must be finite (and above 0 with `log_x`).
        log_x: a logarithmic horizontal axis, base 10.
        x_range, y_range: lowest and highest value shown, by default those of the curves; what lies beyond is cut off.
        size: width and height in CSS pixels; the element shrinks and grows with the place that it is given.

    Errors: `ValueError` where nothing can be drawn.
    """
    width, height = size
    drawn = [(line, *_points(line, log_x)) for line in lines]
    xs, ys = (np.concatenate([part[i] for part in drawn] or [np.empty(0)]) for i in (1, 2))
    if not np.isfinite(ys).any():
        raise ValueError(f"chart {title!r} has no point that can be drawn")
    y_low, y_high = y_range or padded(ys)
    legend, legend_height = _legend(lines, width)
    top, bottom = 40 + legend_height, 38
    y_axis = Axis(y_low, y_high, height - top - bottom)
    left = 10 + LETTER * max(len(tick_text(tick)) for tick in y_axis.ticks())
    x_low, x_high = span(xs if x_range is None else np.array(x_range), log_x)
    x_axis = Axis(x_low, x_high, width - left - 12, log_x)
    parts = [
        f'<text x="0" y="14" font-size="13" font-weight="600" fill="{TEXT}">{escape(_fit(title, width))}</text>',
        f'<text x="0" y="30" font-size="11" fill="{TEXT}" opacity=".8">{escape(_fit(y_label, width))}</text>',
        legend,
        _grid(x_axis, y_axis, left, top, x_label),
        _curves(drawn, x_axis, y_axis, left, top),
    ]
    words = quoteattr(_plain(_words(title, x_label, y_label, drawn)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" class="chart" '
        f'font-family="{escape(FONT)}" font-size="12" aria-label={words}>' + "".join(parts) + "</svg>"
    )


Drawn = tuple[Line, Floats, Floats]


def _points(line: Line, log_x: bool) -> tuple[Floats, Floats]:
    """x and y as arrays, with NaN where there is nothing to draw."""
    x, y = np.asarray(line.x, dtype=np.float64), np.asarray(line.y, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"curve {line.label!r} has {x.shape} x and {y.shape} y values: give as many of both")
    seen = np.isfinite(x) & np.isfinite(y) & ((x > 0) | (not log_x))
    return np.where(seen, x, np.nan), np.where(seen, y, np.nan)


def span(values: Floats, log: bool = False) -> tuple[float, float]:
    """Lowest and highest value; a range around them where they differ by rounding at most."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return low, high
    return (low / 2, low * 2) if log else (low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2)


def padded(values: Floats) -> tuple[float, float]:
    """The range of an axis that shows `values` with some room around them."""
    low, high = span(values)
    room = (high - low) / 20
    return low - room, high + room


def _plain(text: str) -> str:
    """`text` without control characters and other marks that XML cannot hold or that turn it around."""
    return "".join(c if c.isprintable() else " " for c in text)


def _fit(text: str, pixels: float) -> str:
    """`text`, cut off with an ellipsis where it is longer than `pixels`."""
    text = _plain(text)
    most = max(int(pixels / LETTER), 2)
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _pen(line: Line) -> str:
    """Attributes of a curve's stroke."""
    number = line.series % SERIES
    colour = REAL if line.role == "reference" else f"var(--chart-{number + 1}, {COLOURS[number]})"
    dash = {"faint": "", "reference": "5 4", "paired": "1 3"}.get(line.role, DASHES[number])
    width = ' stroke-width="1" stroke-opacity=".3"' if line.role == "faint" else ' stroke-width="1.8"'
    return f'fill="none" stroke="{colour}"{width}' + (f' stroke-dasharray="{dash}"' if dash else "")


def _legend(lines: Sequence[Line], width: float) -> tuple[str, float]:
    """Samples of the strokes with their labels, in as many rows as they need, and the height of that."""
    named = [line for line in lines if line.label]
    if len(named) < 2:
        return "", 0
    parts, x, row = [], 0.0, 0
    for line in named:
        label = _fit(line.label, width - 30)
        needed = 26 + LETTER * len(label) + 12
        if x and x + needed > width:
            x, row = 0.0, row + 1
        y = 46 + 17 * row
        parts.append(f'<path d="M{x:.0f} {y - 4}h20" {_pen(line)}/>')
        parts.append(f'<text x="{x + 26:.0f}" y="{y}" fill="{TEXT}">{escape(label)}</text>')
        x += needed
    return "".join(parts), 17 * (row + 1) + 4


def _grid(x_axis: Axis, y_axis: Axis, left: float, top: float, x_label: str) -> str:
    """Horizontal lines with their values, the values of x, and its name."""
    bottom = top + y_axis.pixels
    parts = []
    for tick, y in zip(y_axis.ticks(), bottom - y_axis.place(np.array(y_axis.ticks())), strict=True):
        parts.append(f'<path d="M{left:.1f} {y:.1f}h{x_axis.pixels:.1f}" stroke="{LINE}"/>')
        parts.append(
            f'<text x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end" fill="{TEXT}">{tick_text(tick)}</text>'
        )
    free = -math.inf
    for tick, x in zip(x_axis.ticks(), left + x_axis.place(np.array(x_axis.ticks())), strict=True):
        text = tick_text(tick)
        room = LETTER * len(text) / 2
        if x - room < free or x + room > left + x_axis.pixels + 12:
            continue
        free = x + room + 6
        parts.append(f'<path d="M{x:.1f} {bottom:.1f}v4" stroke="{LINE}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16:.1f}" text-anchor="middle" fill="{TEXT}">{text}</text>')
    middle = left + x_axis.pixels / 2
    parts.append(
        f'<text x="{middle:.1f}" y="{bottom + 33:.1f}" text-anchor="middle" font-size="11" fill="{TEXT}" '
        f'opacity=".8">{escape(_fit(x_label, x_axis.pixels))}</text>'
    )
    return "".join(parts)


def _curves(drawn: Sequence[Drawn], x_axis: Axis, y_axis: Axis, left: float, top: float) -> str:
    """The curves in an element of their own, which cuts off what lies outside the axes."""
    place = f'x="{left:.1f}" y="{top:.1f}" width="{x_axis.pixels:.1f}" height="{y_axis.pixels:.1f}"'
    ordered = sorted(drawn, key=lambda part: ROLES.index(part[0].role))
    paths = []
    for line, x, y in ordered:
        across, up = thinned(x_axis.place(x), y_axis.pixels - y_axis.place(y))
        paths.append(f'<path d="{_path(across, up)}" {_pen(line)} stroke-linejoin="round" stroke-linecap="round"/>')
    return f'<svg {place} overflow="hidden">{"".join(paths)}</svg>'


def _path(across: Floats, up: Floats) -> str:
    """The `d` of a path: a new start after each gap; a point alone is a dot."""
    steps: list[str] = []
    pen_is_down = False
    for x, y in zip(across, up, strict=True):
        seen = math.isfinite(x) and math.isfinite(y)
        if seen:
            steps.append(f"L{x:.1f} {y:.1f}" if pen_is_down else f"M{x:.1f} {y:.1f}h0")
        pen_is_down = seen
    return "".join(steps)


def _words(title: str, x_label: str, y_label: str, drawn: Sequence[Drawn]) -> str:
    """What the chart shows, for those who do not see it."""
    said = [f"{title}. Line chart of {y_label} over {x_label}."]
    for line, x, y in drawn:
        known = np.isfinite(y)
        if line.role != "faint" and line.label and known.any():
            first, last = y[known][0], y[known][-1]
            low, high = np.nanmin(y), np.nanmax(y)
            said.append(
                f"{line.label}: from {first:.4g} at {x[known][0]:.4g} to {last:.4g} at {x[known][-1]:.4g}, "
                f"lowest {low:.4g}, highest {high:.4g}."
            )
    return " ".join(said)


# ---- intervals ---------------------------------------------------------------------------------


def interval_mark(value: float, low: float, high: float, over: tuple[float, float], series: int = 0) -> str:
    """A small SVG of a value (dot) and its interval (bar) on a scale from `over[0]` to `over[1]`; all finite.

    It repeats numbers that stand beside it, so it is hidden from screen readers.
    """
    axis = Axis(*span(np.array(over)), 92)
    dot, start, end = (4 + axis.place(np.array([value, low, high]))).tolist()
    number = series % SERIES
    colour = f"var(--chart-{number + 1}, {COLOURS[number]})"
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 12" width="100" height="12" class="interval" '
        f'aria-hidden="true"><path d="M0 6h100" stroke="{LINE}"/>'
        f'<path d="M{start:.1f} 6H{end:.1f}" stroke="{colour}" stroke-width="4" stroke-opacity=".4"/>'
        f'<circle cx="{dot:.1f}" cy="6" r="3.5" fill="{colour}"/></svg>'
    )
