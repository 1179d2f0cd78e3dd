"""What `hvg evaluate` is asked for: its options, checked, and the command line that asks for the same again."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from hvgcli.cli import values
from hvgcli.cli.values import parse_size as parse_size
from hvgcli.data.excerpt import decimal
from hvgcli.errors import UsageError
from hvgcli.metrics.predicted import BASELINES
from hvgcli.metrics.windows import SamplerName
from hvgcli.sampling.predict import Draw

NUM = 2048  # videos of each set, as usual for FVD
BATCH = 8
SPLITS = 10
SIGMA = 1.0  # HVG appendix H: pictures are drawn with less
CLIPS = 32  # windows that are continued many times
MOST_CONTINUATIONS = 10_000  # of one window


@dataclass(frozen=True)
class Request:
    """The options of one call. Exactly one of `model` and `fake` is there."""

    model: str | None
    real: str
    fake: str | None
    sampler: SamplerName
    num: int = NUM
    frames: int | None = None
    stride: int | None = None
    size: tuple[int, int] | None = None
    """(height, width)."""
    sigmas: tuple[float, ...] = (SIGMA,)
    """Rising; the numbers are of the last one, and with several there is a truncation curve."""
    truncation: float | None = None
    """Of a predictor's z."""
    baseline: str | None = None
    """Key of `BASELINES`: measured instead of the predictor, on the same windows."""
    best_of: tuple[int, ...] = ()
    """Rising numbers l of continuations of each window; empty: none are scored."""
    clips: int = CLIPS
    """Windows that are continued so often."""
    seed: int = 0
    levels: int | None = None
    start: Fraction | None = None
    """Seconds to the window that a model of one clip learned."""
    whole: bool = False
    """Whether it learned all windows from there on."""
    metrics: tuple[str, ...] | None = None
    features: str = "frames"
    fetch: bool = False
    splits: int = SPLITS
    skip_first: int = 0
    out: Path | None = None
    overwrite: bool = False
    cache: bool = True
    batch: int = BATCH
    device: str = "auto"

    def __post_init__(self) -> None:
        values.check_count("--num", self.num)
        values.check_count("--batch-size", self.batch)
        values.check_count("--splits", self.splits)
        values.check_count("--clips", self.clips)
        for sigma in self.sigmas:
            Draw(values.check_sigma(sigma), self.truncation)
        if self.num < 2:
            raise UsageError(f"--num {self.num}: a set has at least 2 videos")
        if not 0 <= self.seed <= values.MAX_SEED - self.num - self.clips * max(self.best_of, default=0):
            raise UsageError(f"--seed {self.seed} must be a whole number from 0")
        if self.skip_first < 0:
            raise UsageError(f"--skip-first {self.skip_first} must be at least 0")
        if self.frames is not None:
            values.check_frames(self.frames)
        if self.stride is not None:
            values.check_count("--stride", self.stride)
        if self.model is not None and self.size is not None:
            raise UsageError("--size is for folders of videos: those of a model have a size of their own")
        if self.model is None:
            self._check_folders()
        if self.baseline and (self.truncation is not None or self.best_of or len(self.sigmas) > 1):
            raise UsageError("--baseline has one continuation: leave out --truncation, --best-of and several --sigma")

    def _check_folders(self) -> None:
        of_models = {
            "--levels": self.levels, "--truncation": self.truncation, "--baseline": self.baseline,
            "--best-of": self.best_of or None, "--start": self.start, "--whole": self.whole or None,
        }  # fmt: skip
        for option, value in of_models.items():
            if value is not None:
                raise UsageError(f"{option} is for a model: leave it out with --fake")
        if len(self.sigmas) > 1:
            raise UsageError("several --sigma are for a model: leave them out with --fake")

    @property
    def sigma(self) -> float:
        """The largest one: what all but the truncation curve is measured at."""
        return self.sigmas[-1]

    @property
    def scored(self) -> tuple[str, ...]:
        """Kinds of scores of continuations: those that --metrics names, or both with --best-of alone."""
        if self.model is None or (self.metrics is None and not self.best_of):
            return ()
        return tuple(kind for kind in ("ssim", "psnr") if self.metrics is None or kind in self.metrics)

    @property
    def title(self) -> str:
        """What is compared with what, in a few words."""
        measured = BASELINES[self.baseline].name if self.baseline else short_name(self.model or self.fake or "")
        return f"{measured} against {short_name(self.real)}"

    @property
    def command(self) -> str:
        """The command line that does the same again."""
        sets = (
            {"--model": self.model, "--data": self.real} if self.model else {"--fake": self.fake, "--real": self.real}
        )
        size = None if self.size is None else f"{self.size[1]}x{self.size[0]}"
        given: dict[str, tuple[Any, Any]] = {
            "--num": (self.num, None),  # its default depends on the model
            "--frames": (self.frames, None),
            "--stride": (self.stride, None),
            "--size": (size, None),
            "--sampler": (self.sampler, "folder" if self.model is None else "windows"),
            "--sigma": (_listed(self.sigmas), _listed((SIGMA,))),
            "--truncation": (self.truncation, None),
            "--baseline": (self.baseline, None),
            "--best-of": (_listed(self.best_of), ""),
            "--clips": (self.clips, CLIPS),
            "--seed": (self.seed, 0),
            "--levels": (self.levels, None),
            "--start": (None if self.start is None else decimal(self.start), None),
            "--metrics": (",".join(self.metrics or ()) or None, None),
            "--features": (self.features, "frames"),
            "--splits": (self.splits, SPLITS),
            "--skip-first": (self.skip_first, 0),
        }
        words = [word for option, place in sets.items() for word in (option, str(place))]
        words += [word for option, (value, usual) in given.items() if value != usual for word in (option, str(value))]
        return shlex.join(["hvg", "evaluate", *words, *(["--whole"] if self.whole else [])])


def _listed(numbers: tuple[float, ...]) -> str:
    return ",".join(map(str, numbers))


def short_name(place: str) -> str:
    """How messages and protocols name a folder, file or model."""
    return Path(place).name or place


def parse_best_of(text: str | None) -> tuple[int, ...]:
    """ "1,10,100" -> the numbers, rising, each once; none without a text."""
    if text is None:
        return ()
    parts = text.split(",")
    if not all(re.fullmatch(r"\s*[0-9]{1,6}\s*", part) for part in parts):
        raise UsageError(f"--best-of {text!r} must be whole numbers from 1, like 1,10,100")
    return tuple(sorted({values.check_count("--best-of", int(part), MOST_CONTINUATIONS) for part in parts}))
