"""What a run shows of itself: metrics.csv, TensorBoard events, sheets of samples."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import torch
from torch import Tensor

from hvgcli.checkpoints import atomic
from hvgcli.training.level import LevelTraining, Metrics

METRICS = ("loss_d", "score_real", "score_fake", "loss_g", "reconstruction", "motion", "structure", "kl")
COLUMNS = ("step", "seconds", "data_seconds", *METRICS)
SHEET_FRAMES = 8  # frames of each sample on a sheet, evenly spread


class Scalars:
    """Appends one row a step to metrics.csv, and to TensorBoard events.

    `seconds` is the whole step, `data_seconds` the part of it spent waiting for clips.
    """

    def __init__(
        self,
        run: Path,
        step: int,
        *,
        table: bool = True,
        tensorboard: bool = False,
        columns: Sequence[str] = COLUMNS,
    ) -> None:
        """`step`: the run goes on after this step; rows beyond it are of a run that was cut off, and dropped.

        `columns`: those of metrics.csv, "step" first.
        """
        self._file: TextIO | None = None
        self._events: Any = None
        if table:
            path = run / "metrics.csv"
            rows = _rows_up_to(path, step, columns)
            with atomic(path) as part, part.open("w", newline="") as file:
                writer = csv.DictWriter(file, columns, restval="")
                writer.writeheader()
                writer.writerows(rows)
            self._file = path.open("a", newline="")
            self._csv = csv.DictWriter(self._file, columns, restval="")
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(run, purge_step=step + 1)

    def __enter__(self) -> Scalars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self._events is not None:
            self._events.close()

    def write(self, step: int, metrics: Metrics) -> None:
        """One row: the metrics of `step`, those of its columns."""
        if self._file is not None:
            self._csv.writerow({"step": step} | {key: f"{value:.6g}" for key, value in metrics.items()})
            self._file.flush()
        if self._events is not None:
            for key, value in metrics.items():
                self._events.add_scalar(key, value, step)

    def sync(self) -> None:
        """Bring the rows to the disk: no saved state is ahead of the table, even after a power cut."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def image(self, step: int, name: str, sheet: Any) -> None:
        """`sheet`: uint8 (H, W, 3)."""
        if self._events is not None:
            self._events.add_image(name, sheet, step, dataformats="HWC")


def _rows_up_to(path: Path, step: int, columns: Sequence[str]) -> list[dict[str, str]]:
    if not path.exists():
        return []
    rows = csv.DictReader(path.read_text(errors="replace").replace("\0", "").splitlines())
    return [row for row in rows if _is_whole(row, columns) and int(row["step"]) <= step]


def _is_whole(row: dict[str, str], columns: Sequence[str]) -> bool:
    """Whether a row was written to its end, by this version or by one that had fewer columns."""
    return set(row) <= set(columns) and None not in row.values() and row.get("step", "").isdigit()


@torch.no_grad()
def sample_sheet(
    level: LevelTraining, low: Tensor | None, labels: Tensor | None, count: int, z: Tensor | None = None
) -> Tensor:
    """Samples of the level, one a row, frames from left to right: uint8 `(rows, frames, D, D, 3)`.

    Unless given, the z are the same at every call, so that sheets of a run can be compared.
    """
    z = level.noise(0, "sheet", count) if z is None else z
    with level.autocast():
        sampler = level.sampler
        video = sampler(z, labels) if low is None else sampler(low, z, labels)
    if level.config.predictor and low is not None:
        video = torch.cat((low[:, -1:].to(video), video), dim=1)  # from the last frame that is known
    return spread_frames(video)


def spread_frames(video: Tensor) -> Tensor:
    """`(B, T, 3, D, D)` in [-1, 1] -> uint8 `(B, SHEET_FRAMES, D, D, 3)`, frames evenly spread."""
    chosen = torch.linspace(0, video.shape[1] - 1, min(SHEET_FRAMES, video.shape[1])).round().long()
    picked = video[:, chosen.to(video.device)].float().clamp(-1, 1).permute(0, 1, 3, 4, 2)
    return ((picked + 1) * 127.5).round().to(torch.uint8).cpu()
