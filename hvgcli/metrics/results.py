"""The result of an evaluation: numbers with their protocol, and the folder that they are kept in.

The folder holds `evaluation.json`, `psd.svg` and `psd.csv` where spectra were taken, and `samples/`.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from hvgcli import __version__
from hvgcli.checkpoints import write_json
from hvgcli.errors import MediaError, OutputExistsError
from hvgcli.metrics.charts import Line, line_chart
from hvgcli.metrics.estimate import Estimate
from hvgcli.metrics.staging import staged
from hvgcli.video import VideoWriter

FORMAT = 1
KIND = "hvg-evaluation"
RESULT = "evaluation.json"
SAMPLES = "samples"
SPECTRA = ("psd.svg", "psd.csv")
SAMPLE_RATE = Fraction(12)  # frames per second of sample clips whose own rate is not known

Better = Literal["lower", "higher", ""]


@dataclass(frozen=True)
class Metric:
    """One number, named with the network that it was taken with."""

    key: str
    name: str
    value: float | None
    """None where it is not finite (the PSNR of identical videos); `note` then says why."""
    low: float | None = None
    high: float | None = None
    """Ends of its interval; `note` says which one it is."""
    better: Better = ""
    """Which way is better; empty where neither is."""
    note: str = ""


def metric(key: str, name: str, value: float | Estimate, better: Better, note: str) -> Metric:
    """A row of the results; `value` is a number, or an estimate with its interval."""
    found = value if isinstance(value, Estimate) else Estimate(float(value))
    ends = [end if end is not None and math.isfinite(end) else None for end in (found.low, found.high)]
    if math.isfinite(found.value):
        return Metric(key, name, found.value, ends[0], ends[1], better, note)
    return Metric(key, name, None, None, None, better, f"{found.value}; {note}" if note else str(found.value))


@dataclass(frozen=True)
class SampleClip:
    """A short video kept beside the numbers."""

    set: Literal["real", "generated"]
    frames: Tensor
    """uint8 `(T, H, W, 3)`."""
    class_: str | None = None
    seed: int | None = None


@dataclass
class Evaluation:
    """All that one call of `hvg evaluate` found out."""

    title: str
    command: str
    protocol: dict[str, Any]
    metrics: list[Metric] = field(default_factory=list)
    per_class: list[dict[str, Any]] = field(default_factory=list)
    per_frame: dict[str, list[float | None]] = field(default_factory=dict)
    """Values at each frame, by the name of the metric."""
    psd: dict[str, Any] | None = None
    best_of: dict[str, Any] | None = None
    """Scores of continuations (`best_of.record`)."""
    truncation_curve: list[dict[str, Any]] = field(default_factory=list)
    """The numbers of each sigma (DVD-GAN section 4.1.1); `metrics` are those of one of them."""
    clips: list[SampleClip] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """As JSON values: what `evaluation.json` holds."""
        return {
            "format": FORMAT,
            "kind": KIND,
            "version": __version__,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": self.command,
            "title": self.title,
            "protocol": self.protocol,
            "metrics": [asdict(row) for row in self.metrics],
            "per_class": self.per_class,
            **({"per_frame": self.per_frame} if self.per_frame else {}),
            **({} if self.psd is None else {"psd": self.psd}),
            **({} if self.best_of is None else {"best_of": self.best_of}),
            **({"truncation_curve": self.truncation_curve} if self.truncation_curve else {}),
            "samples": [_described(clip, name) for clip, name in self._named()],
            "warnings": self.warnings,
        }

    def add_point(self, sigma: float, metrics: Sequence[Metric]) -> None:
        """The next point of the truncation curve."""
        self.truncation_curve.append({"sigma": sigma, "metrics": [asdict(row) for row in metrics]})

    def _named(self) -> Iterator[tuple[SampleClip, str]]:
        counts: dict[str, int] = {}
        for clip in self.clips:
            number = counts.get(clip.set, 0)
            counts[clip.set] = number + 1
            yield clip, f"{SAMPLES}/{clip.set}_{number:02d}.mp4"

    def write(self, folder: Path, *, rate: Fraction | None = None) -> dict[str, Any]:
        """Write the folder, `evaluation.json` last, and return its record. Errors: `MediaError`.

        rate: frames per second of the sample clips.
        """
        with staged(folder, _publish) as part:
            (part / SAMPLES).mkdir()
            for clip, name in self._named():
                _write_clip(part / name, clip, rate or SAMPLE_RATE)
            if self.psd is not None:
                (part / SPECTRA[0]).write_text(spectra_chart(self.psd), encoding="utf-8")
                (part / SPECTRA[1]).write_text(spectra_table(self.psd), encoding="utf-8")
            record = self.record() | {"samples": [_described(clip, name) for clip, name in self._named()]}
            write_json(part / RESULT, record)
        return record


def _described(clip: SampleClip, name: str) -> dict[str, Any]:
    known = {"set": clip.set, "class": clip.class_, "seed": clip.seed, "file": name}
    return {key: value for key, value in known.items() if value is not None}


def _write_clip(path: Path, clip: SampleClip, rate: Fraction) -> None:
    height, width = clip.frames.shape[1:3]
    with VideoWriter(path, size=(height, width), rate=rate) as writer:
        writer.write(clip.frames.numpy())


# ---- the folder --------------------------------------------------------------------------------


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds something, before anything is computed.

    With `overwrite`, files of an earlier evaluation are replaced and all others stay.
    """
    if folder.exists() and not folder.is_dir():
        raise MediaError(f"--out {folder} is a file: name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise OutputExistsError(f"--out {folder} is not empty: name another folder or give --overwrite")


def _publish(part: Path, folder: Path) -> None:
    """Move the files, `evaluation.json` last: where it is, all that it names is there too."""
    (folder / SAMPLES).mkdir(parents=True, exist_ok=True)
    for old in (folder / RESULT, *(folder / name for name in SPECTRA), *_old_clips(folder / SAMPLES)):
        old.unlink(missing_ok=True)
    files = sorted(path for path in part.rglob("*") if path.is_file())
    for path in sorted(files, key=lambda path: path.name == RESULT):
        os.replace(path, folder / path.relative_to(part))


def _old_clips(samples: Path) -> list[Path]:
    return [*samples.glob("real_[0-9][0-9].mp4"), *samples.glob("generated_[0-9][0-9].mp4")]


# ---- spectra -----------------------------------------------------------------------------------


def spectra_table(psd: Mapping[str, Any]) -> str:
    """The spectra as CSV: one line a curve and frequency."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("set", "frame", "cycles_per_pixel", "power_db"))
    for curve in psd["curves"]:
        for frequency, power in zip(psd["frequencies"], curve["power"], strict=True):
            writer.writerow((curve["set"], curve["frame"], f"{frequency:.6g}", f"{power:.6g}"))
    return text.getvalue()


def spectra_chart(psd: Mapping[str, Any]) -> str:
    """The spectra as SVG: a colour for each frame, real ones dotted."""
    numbers = sorted({curve["frame"] for curve in psd["curves"]})
    lines = [
        Line(
            f"{curve['set']}, frame {curve['frame']}",
            psd["frequencies"],
            curve["power"],
            series=numbers.index(curve["frame"]),
            role="paired" if curve["set"] == "real" else "main",
        )
        for curve in psd["curves"]
    ]
    title = "Power spectrum density of single frames"
    return line_chart(
        lines, title=title, x_label="cycles per pixel", y_label="power in dB", log_x=True, size=(640, 420)
    )
