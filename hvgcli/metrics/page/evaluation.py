"""An evaluation, as the page shows it: the output folder of `hvg evaluate`, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hvgcli.checkpoints import read_json
from hvgcli.errors import MediaError
from hvgcli.metrics.page.fields import Fields, flattened

RESULT = "evaluation.json"
KIND = "hvg-evaluation"
FORMAT = 1
JSON_LIMIT = 64 << 20  # bytes; values of a thousand classes are about one megabyte
SETS = ("real", "generated")
SCORES = {"ssim": "SSIM", "psnr": "PSNR"}


@dataclass(frozen=True)
class Metric:
    """One number with its interval; None where it was not finite."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    better: str
    """"lower", "higher" or empty."""
    note: str


@dataclass(frozen=True)
class ClassRow:
    """The numbers of one class; `values` by the name of the metric."""

    name: str
    real: int | None
    generated: int | None
    values: dict[str, float | None]


@dataclass(frozen=True)
class Spectrum:
    """Mean log-power in decibels at each of the evaluation's frequencies, of the frame `frame` (from 1) of a set."""

    set: str
    frame: int
    power: tuple[float, ...]


@dataclass(frozen=True)
class BestOf:
    """Scores of the best of l continuations by one predictor."""

    of: str
    """Name of the predictor."""
    score: str
    """"ssim" or "psnr"."""
    count: int | None
    """l; None where it is the same for all l."""
    value: float | None
    frames: tuple[float, ...]
    """Means at each predicted frame, whose mean is `value`."""


@dataclass(frozen=True)
class CurvePoint:
    """The numbers of one standard deviation of z."""

    sigma: float
    metrics: tuple[Metric, ...]


@dataclass(frozen=True)
class Sample:
    """A short video of one set."""

    set: str
    label: str
    """Its class; empty where there are none."""
    seed: int | None
    file: Path


@dataclass(frozen=True)
class Evaluation:
    """All of one `evaluation.json`."""

    folder: Path
    title: str
    made: str
    command: str
    protocol: dict[str, str]
    metrics: tuple[Metric, ...]
    classes: tuple[ClassRow, ...]
    frequencies: tuple[float, ...]
    """Cycles per pixel."""
    spectra: tuple[Spectrum, ...]
    samples: tuple[Sample, ...]
    warnings: tuple[str, ...]
    best_of: tuple[BestOf, ...] = ()
    truncation_curve: tuple[CurvePoint, ...] = ()

    @property
    def conditions(self) -> dict[str, str]:
        """The part of the protocol that must be equal before two evaluations can be compared: all but what was
        evaluated."""
        return {key: value for key, value in self.protocol.items() if key not in SUBJECT}


SUBJECT = {f"generated.{key}" for key in ("name", "sha", "levels", "full_frames", "takes")}  # which model it was
DRAWING = {"sigma", "truncation", "generated.sigma", "generated.truncation", "generated.seed"}  # of models that draw z


def read_evaluation(folder: Path) -> Evaluation:
    """Read and check `folder/evaluation.json`. `MediaError` where it is damaged or of a newer format."""
    path = folder / RESULT
    data = Fields(read_json(path, limit=JSON_LIMIT, error=MediaError), str(path))
    if data.data.get("kind") != KIND:
        raise MediaError(f"{path} is not of hvg evaluate: its kind is {data.data.get('kind')!r}, not {KIND!r}")
    version = data.whole("format")
    if version is None or version > FORMAT:
        raise MediaError(f"{path} is of format {version}, and this hvg reads format {FORMAT}: use a newer hvg")
    spectra = data.nested("psd")
    frequencies = spectra.numbers("frequencies")
    return Evaluation(
        folder=folder,
        title=data.text("title", folder.name) or folder.name,
        made=data.text("made", ""),
        command=data.text("command", ""),
        protocol=flattened(data.nested("protocol").data),
        metrics=tuple(_metric(row) for row in data.objects("metrics")),
        classes=tuple(_class(row) for row in data.objects("per_class")),
        frequencies=frequencies,
        spectra=tuple(_spectrum(row, len(frequencies)) for row in spectra.objects("curves")),
        best_of=tuple(_best_of(row) for row in data.nested("best_of").objects("rows")),
        truncation_curve=tuple(_point(row) for row in data.objects("truncation_curve")),
        samples=tuple(_sample(row, folder) for row in data.objects("samples")),
        warnings=data.texts("warnings"),
    )


def _metric(row: Fields) -> Metric:
    better = row.text("better", "")
    if better not in ("lower", "higher", ""):
        raise MediaError(f"{row.where} is damaged: better is {better!r}, not 'lower' or 'higher'")
    low, high = row.number("low"), row.number("high")
    return Metric(row.text("name"), row.number("value"), low, high, better, row.text("note", ""))


def _class(row: Fields) -> ClassRow:
    values = row.nested("values")
    numbers = {key: values.number(key) for key in values.data}
    return ClassRow(row.text("class"), row.whole("real"), row.whole("generated"), numbers)


def _spectrum(row: Fields, count: int) -> Spectrum:
    power, frame = row.numbers("power"), row.whole("frame")
    if len(power) != count or frame is None:
        raise MediaError(f"{row.where} is damaged: {len(power)} values of power for {count} frequencies, frame {frame}")
    return Spectrum(_set(row), frame, power)


def _best_of(row: Fields) -> BestOf:
    score = row.text("score")
    if score not in SCORES:
        raise MediaError(f"{row.where} is damaged: score is {score!r}, not 'ssim' or 'psnr'")
    return BestOf(row.text("of"), score, row.whole("best_of"), row.number("value"), row.numbers("frames"))


def _point(row: Fields) -> CurvePoint:
    sigma = row.number("sigma")
    if sigma is None:
        raise MediaError(f"{row.where} is damaged: it has no sigma")
    return CurvePoint(sigma, tuple(_metric(metric) for metric in row.objects("metrics")))


def _sample(row: Fields, folder: Path) -> Sample:
    """A sample whose file is inside the folder, wherever the JSON says it is."""
    name = row.text("file")
    file = folder / name
    if not name or "\0" in name or not file.resolve().is_relative_to(folder.resolve()):
        raise MediaError(f"{row.where} is damaged: file {name!r} is not in {folder}")
    return Sample(_set(row), row.text("class", ""), row.whole("seed"), file)


def _set(row: Fields) -> str:
    name = row.text("set")
    if name not in SETS:
        raise MediaError(f"{row.where} is damaged: set is {name!r}, not 'real' or 'generated'")
    return name
