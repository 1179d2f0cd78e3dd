"""What a call of `hvg predict` makes: its files, their names, and the record that goes into each."""

from __future__ import annotations

import hashlib
import os
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from hvgcli import __version__
from hvgcli.cli.generating.making import RANDOM_SEEDS, count_up, seeds_text
from hvgcli.cli.predicting.pictures import Layout
from hvgcli.cli.targets import fill, place, suffix_of, template_of, unwanted
from hvgcli.cli.upscaling.files import STANDARD, Item, check_apart
from hvgcli.cli.values import check_count, check_sigma
from hvgcli.config import ModelConfig, OneStageConfig
from hvgcli.data.excerpt import Excerpt, check_moment, decimal, end_moment, moment_with_truth
from hvgcli.errors import MediaError, UsageError
from hvgcli.hub import DEFAULT_PREDICTOR
from hvgcli.sampling.predict import Draw, warps
from hvgcli.sampling.upscale_job import file_digest
from hvgcli.video import Footage, Format

FIELDS = ("name", "model", "seed", "frames", "context", "sigma", "index")
NAME = "{name}_s{seed:04d}_{frames}f"
MOST_CONTEXT = 1024  # they are in memory together
UNREPORTED = ("command", "dtype", "version", "source_sha256", "fps")  # of what a file says
FLOW = "_flow"  # at the end of a name


@dataclass(frozen=True)
class Request:
    """The options of a call."""

    model: str
    """As it was typed."""
    frames: int
    seeds: tuple[int, ...]
    draw: Draw
    context: int
    """Frames that are shown; the model sees the last of them."""
    at: str | None
    """As it was typed."""
    moment: Fraction | None
    """Seconds that `at` says."""
    rate: Fraction
    """Frames per second of the output."""
    kind: Format
    crf: int | None
    plain: bool
    grid: bool
    compare: bool
    flow: bool
    batch: int


def check_context(asked: int | None, config: ModelConfig) -> int:
    """Frames to show: at least those that the model needs."""
    if asked is None:
        return config.context
    if asked < config.context:
        raise UsageError(f"--context {asked}: {config.name} continues from {config.context} frames: give that or more")
    return check_count("--context", asked, MOST_CONTEXT)


def choose_seeds(seeds: list[int] | None, num: int | None) -> tuple[int, ...]:
    """Those of --seed and --num; one at random where no seed is given."""
    return tuple(count_up(seeds or [secrets.randbelow(RANDOM_SEEDS)], num))


def choose_draw(sigma: float | None, truncation: float | None, config: ModelConfig) -> Draw:
    """How z is drawn, by default with the model's sigma."""
    if truncation is not None and not 0 <= truncation <= 100:
        raise UsageError(f"--truncation {truncation} must be 0..100 (0.8 is usual, 0 makes z zero)")
    return Draw(check_sigma(config.sigma if sigma is None else sigma), truncation)


def is_one_file(output: str | None) -> bool:
    """Whether -o names a single file, for all continuations of a call."""
    return output is not None and "{" not in output and not (output.endswith(("/", os.sep)) or Path(output).is_dir())


def find_moment(footage: Footage, config: ModelConfig, request: Request) -> Fraction:
    """The moment at which the continuation begins, in seconds from the first frame.

    --at; else the end of the clip, or with --compare so many frames before it that the truth is there.

    Raises:
        UsageError: outside of the clip, or at its end with --compare.
        MediaError: the clip is too short for the truth.
    """
    rate = config.rate(1)
    if request.moment is not None:
        moment = check_moment(footage, request.moment, rate)
        if request.compare and Excerpt(footage, rate, moment, request.context).true_frames(1) == 0:
            raise UsageError(f"--compare: {footage.path} ends before {decimal(moment)} s: give an earlier --at")
        return moment
    if not request.compare:
        return end_moment(footage, rate)
    moment, before = moment_with_truth(footage, rate, request.frames), request.context / rate
    if moment + 1 / (2 * footage.rate) < before:
        wanted = request.context + request.frames
        raise MediaError(
            f"{footage.path}: has {decimal(footage.duration)} s, but --compare takes {request.context} + "
            f"{request.frames} frames at {decimal(rate)} frames/s, {decimal(wanted / rate)} s: give a longer clip "
            "or fewer --frames"
        )
    return moment


def source_digest(footage: Footage) -> str:
    """SHA-256 of an input; of several pictures, that of their digests.

    Raises:
        MediaError: it cannot be read.
    """
    try:
        digests = [file_digest(path) for path in footage.files or (footage.path,)]
    except OSError as error:
        raise MediaError(f"{footage.path}: cannot be read ({error.strerror or error})") from error
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


@dataclass(frozen=True)
class Target:
    """One file of a call."""

    number: int
    """Place of its seed; 0 for a grid."""
    path: Path
    flow: bool
    """Whether it shows motion fields."""


@dataclass(frozen=True)
class Job:
    """A call, complete."""

    request: Request
    name: str
    """The model, as it is recorded."""
    config: ModelConfig
    sha: str
    item: Item
    excerpt: Excerpt

    def __post_init__(self) -> None:
        level = self.config.levels[0]
        if self.request.flow and isinstance(level, OneStageConfig) and not warps(level):
            raise UsageError(
                f"--flow: the recurrent unit of {self.config.name}, {level.unit}, does not warp: leave --flow out"
            )

    def layout(self, *, flow: bool = False) -> Layout:
        """How a file is put together."""
        request = self.request
        count = len(request.seeds) if request.grid else 1
        return Layout(self.config.resolution, count, request.plain, request.compare and not flow)

    def groups(self) -> list[tuple[int, ...]]:
        """Places of the seeds that each video shows."""
        places = range(len(self.request.seeds))
        return [tuple(places)] if self.request.grid else [(place,) for place in places]

    def names(self) -> list[dict[str, Any]]:
        """Values of the fields of a template, for each video."""
        return [
            {
                "name": self.item.stem,
                "model": self.config.name,
                "seed": self.request.seeds[group[0]],
                "frames": self.request.frames,
                "context": self.request.context,
                "sigma": self.request.draw.sigma,
                "index": index,
            }
            for index, group in enumerate(self.groups())
        ]

    def targets(self, output: str | None, asked: Format | None) -> list[Target]:
        """The files of the call, where -o says or beside the input. Errors as `targets.fill`."""
        beside = "" if self.item.standard else f"{self.item.path.parent}/"
        default = NAME + ("_grid" if self.request.grid else "")
        paths = fill(template_of(output or beside or None, asked, default, FIELDS), self.names())
        found = [Target(number, path, False) for number, path in enumerate(paths)]
        flows = [Target(target.number, flow_path(target.path), True) for target in found if self.request.flow]
        return sorted([*found, *flows], key=lambda target: target.number)

    # ---- records ---------------------------------------------------------------------------------

    def provenance(self, target: Target, dtype: str, digest: str | None) -> dict[str, Any]:
        """What a file says about how it was made; digest: SHA-256 of the input."""
        request = self.request
        seeds = [request.seeds[place] for place in self.groups()[target.number]]
        return {
            "model": self.name,
            "sha": self.sha,
            "version": __version__,
            "source": self.item.name,
            "source_sha256": digest,
            "seed": seeds_text(seeds) if request.grid else seeds[0],
            "sigma": request.draw.sigma,
            "truncation": request.draw.truncation,
            "context": request.context,
            "at": float(self.excerpt.moment),
            "frames": request.frames,
            "fps": str(request.rate),
            "shows": "motion" if target.flow else "frames",
            "dtype": dtype,
            "command": shlex.join(self._command(seeds, dtype)),
        }

    def _command(self, seeds: Sequence[int], dtype: str) -> list[str]:
        """The command that makes a file again, from the input of that name."""
        request = self.request
        words = ["hvg", "predict", STANDARD if self.item.standard else self.item.name]
        words += ["--model", request.model] if request.model != DEFAULT_PREDICTOR else []
        words += ["--context", str(request.context)] if request.context != self.config.context else []
        words += ["--at", request.at] if request.at else []
        words += ["--frames", str(request.frames), "--seed", seeds_text(seeds), "--sigma", repr(request.draw.sigma)]
        words += ["--truncation", repr(request.draw.truncation)] if request.draw.truncation is not None else []
        words += ["--fps", str(request.rate)] if request.rate != self.config.rate(1) else []
        words += ["--dtype", dtype]
        words += ["--format", request.kind] if request.kind != "mp4" else []
        words += ["--crf", str(request.crf)] if request.crf is not None else []
        flags = {"--plain": request.plain, "--grid": request.grid, "--compare": request.compare, "--flow": request.flow}
        return words + [name for name, wanted in flags.items() if wanted]

    def record(self, target: Target) -> dict[str, Any]:
        """A file in plain values, for --json."""
        made = self.provenance(target, "", None)
        excerpt, request = self.excerpt, self.request
        height, width = self.layout(flow=target.flow).frame_size
        more = {"true_frames": excerpt.true_frames(request.frames)} if request.compare else {}
        return {
            "path": str(self.place(target)),
            **{key: value for key, value in made.items() if key not in UNREPORTED},
            "context_frames": list(excerpt.numbers),
            "total_frames": request.context + request.frames,
            "size": f"{width}x{height}",
            "rate": str(request.rate),
            **more,
        }

    def place(self, target: Target) -> Path:
        """Where a file stands in the end."""
        return place(target.path, self.request.kind, self.request.context + self.request.frames)

    def wanted(self, targets: Sequence[Target], *, overwrite: bool, skip_existing: bool) -> list[Target]:
        """Those that are to be made. Errors as `targets.unwanted`; `UsageError` where one is the input."""
        places = [self.place(target) for target in targets]
        check_apart(places, [self.item.path, *self.excerpt.footage.files])
        kept = unwanted(places, overwrite=overwrite, skip_existing=skip_existing)
        return [target for target, where in zip(targets, places, strict=True) if where not in kept]


def flow_path(video: Path) -> Path:
    """The motion fields stand beside the video."""
    ending = video.suffix if suffix_of(video.name) else ""
    return video.with_name(f"{video.name.removesuffix(ending)}{FLOW}{ending}")
