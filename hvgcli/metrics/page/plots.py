"""The curves of a page: power spectra of evaluations, and training runs over their steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hvgcli.metrics.charts import Floats, Line, line_chart, padded, running_mean
from hvgcli.metrics.page.evaluation import Evaluation, Spectrum
from hvgcli.metrics.page.markup import Html, join, tag
from hvgcli.metrics.page.media import Media, Medium
from hvgcli.metrics.page.tables import settings_table
from hvgcli.metrics.page.training import Sheet, TrainingRun

SHEETS = 24  # sheets of one run that are shown, evenly spread over its steps
SMALL = 352  # pixels across; smaller sheets are enlarged to that, pixel by pixel
SMOOTHED = 50  # the mean is over this part of all steps: short enough to follow, long enough to read
SEEN = 0.99  # share of the single steps that an axis shows at least
TITLES = {
    "loss_d": "Discriminators' loss",
    "loss_g": "Generator's loss",
    "score_real": "Score of real videos",
    "score_fake": "Score of generated videos",
    "reconstruction": "Reconstruction error",
    "motion": "Motion error",
    "structure": "Structure error",
    "kl": "Divergence of the encoder's code",
    "seconds": "Seconds a step",
    "data_seconds": "Seconds spent waiting for clips",
}
UNITS = {"kl": "nats", "seconds": "s", "data_seconds": "s"}


# ---- spectra -----------------------------------------------------------------------------------


def spectra_section(evaluations: Sequence[Evaluation]) -> Html | None:
    """A chart for each frame index: real and generated power over frequency."""
    frames = sorted({spectrum.frame for evaluation in evaluations for spectrum in evaluation.spectra})
    charts = [chart for frame in frames if (chart := _spectrum_chart(frame, evaluations)) is not None]
    if not charts:
        return None
    lead = (
        "Mean power spectrum of single frames, by their place in the video. A generated curve that falls below the "
        "real one on the right is blurred; one that rises above it has noise or a pattern of its own."
    )
    return join(tag("p", lead, class_="lead"), tag("div", *charts, class_="charts"))


def _spectrum_chart(frame: int, evaluations: Sequence[Evaluation]) -> Html | None:
    lines: list[Line] = []
    for series, evaluation in enumerate(evaluations):
        for spectrum in evaluation.spectra:
            if spectrum.frame == frame:
                lines += _spectrum_line(spectrum, evaluation, series, lines, several=len(evaluations) > 1)
    title = f"Frame {frame}"
    try:
        drawn = line_chart(lines, title=title, x_label="cycles per pixel", y_label="power, dB", log_x=True)
    except ValueError:  # nothing finite
        return None
    return tag("figure", Html(drawn), class_="plot")


def _spectrum_line(
    spectrum: Spectrum, evaluation: Evaluation, series: int, before: Sequence[Line], *, several: bool
) -> list[Line]:
    """The curve of one spectrum; none for real videos whose curve is there already."""
    if spectrum.set == "generated":
        label = evaluation.title if several else spectrum.set
        return [Line(label, evaluation.frequencies, spectrum.power, series)]
    known = [line for line in before if line.role in ("reference", "paired")]
    if any(_same(line.x, evaluation.frequencies) and _same(line.y, spectrum.power) for line in known):
        return []
    if not known:
        return [Line("real", evaluation.frequencies, spectrum.power, series, "reference")]
    return [Line(f"real ({evaluation.title})", evaluation.frequencies, spectrum.power, series, "paired")]


def _same(one: Sequence[float] | Floats, other: Sequence[float]) -> bool:
    return np.array_equal(np.asarray(one), np.asarray(other), equal_nan=True)


# ---- training ----------------------------------------------------------------------------------


def training_section(runs: Sequence[TrainingRun], media: Media) -> Html | None:
    """Curves over steps, then sheets of samples and settings."""
    if not runs:
        return None
    names = dict.fromkeys(name for run in runs for name in run.curves)
    ordered = sorted(names, key=lambda name: name in ("seconds", "data_seconds"))  # how good before how fast
    figures = [_training_chart(name, runs) for name in ordered]
    lead = "Faint: every step. Strong: the mean of the steps around it, one fiftieth of the run."
    return join(
        tag("p", lead, class_="lead") if figures else tag("p", "No step has been recorded yet.", class_="lead"),
        tag("div", *figures, class_="charts") if figures else None,
        *(_sheets(run, media) for run in runs),
        settings_table([(run.title, run.summary) for run in runs], "How these runs were made"),
    )


def window_of(steps: int) -> int:
    """The number of steps (odd) whose mean a curve shows."""
    return max(steps // SMOOTHED, 1) // 2 * 2 + 1


def _training_chart(name: str, runs: Sequence[TrainingRun]) -> Html:
    lines: list[Line] = []
    raw: list[Floats] = []
    having = [run for run in runs if len(run.steps)]
    for series, run in enumerate(runs):
        if name in run.curves:
            values = run.curves[name]
            mean = np.where(np.isfinite(values), running_mean(values, window_of(len(values))), np.nan)
            lines.append(Line("", run.steps, values, series, "faint"))
            lines.append(Line(run.title, run.steps, mean, series))
            raw.append(values)
    shown, beyond = axis_range(raw, [np.asarray(line.y) for line in lines if line.role == "main"])
    chart = line_chart(
        lines,
        title=TITLES.get(name, name),
        x_label="step",
        y_label=UNITS.get(name, name),
        x_range=(min(run.steps[0] for run in having), max(run.steps[-1] for run in having)),
        y_range=shown,
    )
    verb = "step lies" if beyond == 1 else "steps lie"
    note = f"{beyond:,} {verb} beyond the axis." if beyond else None
    return tag("figure", Html(chart), tag("figcaption", note) if note else None, class_="plot")


def axis_range(raw: Sequence[Floats], means: Sequence[Floats]) -> tuple[tuple[float, float], int]:
    """A range that holds all means and most single values, and how many single values lie outside of it.

    A few steps far off (a first step that also compiles, one outlier) would else flatten all others.
    """
    single = np.concatenate([values[np.isfinite(values)] for values in raw])
    mean = np.concatenate([values[np.isfinite(values)] for values in means])
    low, high = np.quantile(single, [(1 - SEEN) / 2, (1 + SEEN) / 2])
    low, high = padded(np.concatenate([mean, [low, high]]))
    return (low, high), int(((single < low) | (single > high)).sum())


# ---- sheets ------------------------------------------------------------------------------------


def spread(sheets: Sequence[Sheet], most: int = SHEETS) -> list[Sheet]:
    """At most `most` sheets, evenly spread, the first and the last among them."""
    if len(sheets) <= most:
        return list(sheets)
    chosen = np.linspace(0, len(sheets) - 1, most).round().astype(int)
    return [sheets[place] for place in chosen]


def _sheets(run: TrainingRun, media: Media) -> Html | None:
    """Sheets of one run, one at a time with the script, all of them without it."""
    chosen = spread(run.sheets)
    figures = [_sheet(run, sheet, media) for sheet in chosen]
    if not figures:
        return None
    count = len(run.sheets)
    said = f"{len(chosen)} of {count} sheets" if count > len(chosen) else f"{count} sheets"
    label = f"Samples of {run.title} over its steps"
    slider = tag(
        "input", type="range", min=0, max=len(chosen) - 1, value=len(chosen) - 1, aria_label=label, class_="script"
    )
    heading = tag("h3", "Samples of ", run.title)
    about = tag("p", f"A row is one video, its frames from left to right; the same noise at every step ({said}).",
                class_="note")  # fmt: skip
    return tag("section", heading, about, slider if len(chosen) > 1 else None, *figures, class_="sheets")


def _sheet(run: TrainingRun, sheet: Sheet, media: Media) -> Html:
    medium = media.add(sheet.file)
    words = f"Samples of {run.title} after {sheet.step:,} steps"
    caption = tag("figcaption", f"Step {sheet.step:,}")
    return tag("figure", _picture(words, medium), caption, data_step=f"{sheet.step:,}")


def _picture(words: str, medium: Medium) -> Html:
    if medium.problem:
        return tag("p", medium.problem, class_="missing")
    small = "small" if medium.width < SMALL else None
    return tag("img", src=medium.url, alt=words, width=medium.width, height=medium.height, loading="lazy", class_=small)
