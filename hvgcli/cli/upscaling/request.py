"""What is asked of `hvg upscale`, and what a job notes of it: to go on later, and in the file that it makes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from hvgcli import __version__
from hvgcli.hub import DEFAULT_MODEL, available
from hvgcli.sampling.hierarchy import Level
from hvgcli.sampling.upscale import Enlarger
from hvgcli.video.encoding import Codec


@dataclass(frozen=True)
class Request:
    """What is asked of every input. None = the level's, the model's or the input's own."""

    model: str
    level: int | None
    times_space: int | None
    times_time: int | None
    labels: tuple[int, ...]
    seed: int
    sigma: float
    detail: float | None
    ground: bool
    start: Fraction | None
    end: Fraction | None
    rate: Fraction | None
    codec: Codec | None
    crf: int | None
    audio: bool
    metadata: bool
    tile: int | None
    overlap: int | None
    chunk: int | None
    batch_size: int | None
    device: str
    dtype: str


def settings(request: Request, level: Level, enlarger: Enlarger) -> dict[str, Any]:
    """What must be the same for a job to go on."""
    return {
        "level": level.number,
        "times_space": enlarger.times_space,
        "times_time": enlarger.times_time,
        "classes": list(request.labels),
        "seed": request.seed,
        "sigma": request.sigma,
        "detail": enlarger.detail,
        "ground": request.ground,
        "overlap": request.overlap,
        "chunk": enlarger.piece,
        "tiles": enlarger.batch,
        "dtype": str(enlarger.precision).removeprefix("torch."),
        "device": level.device.type,
        "audio": request.audio,
    }


def provenance(request: Request, level: Level, enlarger: Enlarger, source: str, target: Path) -> dict[str, Any]:
    """How `target` was made of the file `source`, for its metadata."""
    return {
        "model": request.model if request.model in available() else level.config.name,
        "sha": level.sha,
        "version": __version__,
        "source": source,
        "level": level.number,
        "times_space": enlarger.times_space,
        "times_time": enlarger.times_time,
        "class": ",".join(level.config.class_names()[label] for label in request.labels) or None,
        "seed": request.seed,
        "sigma": request.sigma,
        "detail": enlarger.detail,
        "grounded": request.ground,
        "command": shlex.join(_command(request, level, enlarger, source, target)),
    }


def _command(request: Request, level: Level, enlarger: Enlarger, source: str, target: Path) -> list[str]:
    """The command that makes the file again, from the source of that name."""
    words = ["hvg", "upscale", source, "-o", target.name]
    words += ["--model", request.model] if request.model != DEFAULT_MODEL else []
    words += ["--level", str(level.number), "--times-space", str(enlarger.times_space)]
    words += ["--times-time", str(enlarger.times_time), "--seed", str(request.seed), "--sigma", repr(request.sigma)]
    words += ["--class", ",".join(str(label) for label in request.labels)] if request.labels else []
    words += ["--detail", repr(enlarger.detail)]
    words += [] if request.ground else ["--no-ground"]
    for name, value in (("--start", request.start), ("--end", request.end), ("--crf", request.crf)):
        words += [] if value is None else [name, f"{float(value):.9g}"]
    words += ["--codec", request.codec] if request.codec else []
    return words + ([] if request.audio else ["--no-audio"])
