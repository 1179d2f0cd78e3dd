"""What a call of `hvg generate` makes: its samples, their names, and the record that goes into each file."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from hvgcli import __version__
from hvgcli.cli.targets import NAME, slug
from hvgcli.cli.values import MAX_SEED, MAX_VIDEOS
from hvgcli.config import ModelConfig, SingleConfig
from hvgcli.errors import UsageError
from hvgcli.hub import DEFAULT_MODEL
from hvgcli.sampling.hierarchy import Sample
from hvgcli.sampling.render import Request
from hvgcli.sampling.requests import plain_samples, walk_labels, walk_seeds
from hvgcli.sampling.statistics import PASSES
from hvgcli.video import Format

WALK_VIDEOS = 8  # of a walk without --num
RANDOM_SEEDS = 1 << 31
BASE_BYTES = 400 << 20  # Python, torch and the weights of a small model
MAPS = 6  # float32 maps of the largest unit that are alive at a time

Walk = Literal["z", "class"]


@dataclass(frozen=True)
class Choice:
    """Which videos of a model: as asked for, and one by one."""

    seeds: list[int]
    labels: list[int] | None
    """Classes asked for; None = drawn at random, or a model without classes."""
    walk: Walk | None
    samples: list[Sample]


def choose(
    config: ModelConfig, seeds: list[int] | None, labels: list[int] | None, walk: Walk | None, num: int | None
) -> Choice:
    """The samples for --seed, --class, --interpolate and --num. No seeds: one at random."""
    if walk == "class":
        return _class_walk(config, seeds or [secrets.randbelow(RANDOM_SEEDS)], labels, num)
    if walk == "z":
        first = secrets.randbelow(RANDOM_SEEDS)
        return _seed_walk(config, seeds or [first, first + 1], labels, num)
    seeds = count_up(seeds or [secrets.randbelow(RANDOM_SEEDS)], num)
    if len(seeds) * len(labels or [0]) > MAX_VIDEOS:
        raise UsageError(f"{len(seeds)} seeds of {len(labels or [])} classes are more than {MAX_VIDEOS:,} videos")
    return Choice(seeds, labels, None, plain_samples(config, seeds, labels))


def count_up(seeds: list[int], num: int | None) -> list[int]:
    """The seeds of --seed and --num: N with one seed s is s .. s+N-1."""
    if num is None or num == len(seeds):
        return seeds
    if len(seeds) > 1:
        raise UsageError(f"--num {num} contradicts the {len(seeds)} seeds of --seed: leave one of them out")
    if seeds[0] + num - 1 > MAX_SEED:
        raise UsageError(f"--seed {seeds[0]} and --num {num} go beyond {MAX_SEED}")
    return list(range(seeds[0], seeds[0] + num))


def _class_walk(config: ModelConfig, seeds: list[int], labels: list[int] | None, num: int | None) -> Choice:
    if not config.conditional:
        raise UsageError(f"{config.name} has no classes: --interpolate class is not for it")
    if labels is None or len(labels) < 2:
        raise UsageError("--interpolate class walks between classes: give at least two, like --class a,b")
    if len(seeds) > 1:
        raise UsageError(f"--interpolate class makes one walk of one seed: got {len(seeds)} seeds")
    return Choice(seeds, labels, "class", walk_labels(seeds[0], labels, num or WALK_VIDEOS))


def _seed_walk(config: ModelConfig, seeds: list[int], labels: list[int] | None, num: int | None) -> Choice:
    if len(seeds) < 2:
        raise UsageError("--interpolate z walks between seeds: give at least two, like --seed 1,2")
    if labels is not None and len(labels) > 1:
        raise UsageError(f"--interpolate z walks within one class: got {len(labels)} classes")
    start = plain_samples(config, seeds[:1], labels)[0]  # a random class is that of the first seed
    return Choice(seeds, labels, "z", walk_seeds(seeds, start.label, num or WALK_VIDEOS))


@dataclass(frozen=True)
class Job:
    """A call, complete: everything that names and records are made of."""

    model: str
    """As it was typed."""
    name: str
    """As it is recorded."""
    config: ModelConfig
    sha: str
    choice: Choice
    request: Request
    rate: Fraction
    kind: Format
    crf: int | None
    grid: bool
    passes: int

    @property
    def count(self) -> int:
        """Videos of the call."""
        return len(self.choice.samples)

    @property
    def frames(self) -> int:
        """Frames of a video."""
        return self.request.frames

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of a video."""
        side = self.config.levels[self.request.levels - 1].resolution
        return side, side

    @property
    def columns(self) -> int:
        """Videos in a row of the grid: a row a class where several seeds of several classes were asked for."""
        count, seeds = len(self.choice.samples), len(self.choice.seeds)
        if self.choice.walk is None and 1 < seeds < count:
            return seeds
        return min(count, 8) if self.choice.walk else -int(-(count**0.5) // 1)

    def class_name(self, label: int | None) -> str | None:
        return None if label is None else self.config.class_names()[label]

    def default_name(self) -> str:
        """The template of a file's name, where -o gives none."""
        return NAME + ("_grid" if self.grid else "_w{index:03d}" if self.choice.walk else "")

    def names(self) -> list[dict[str, Any]]:
        """Values of the fields of a template: for each video, or once for a grid."""
        samples = self.choice.samples[:1] if self.grid else self.choice.samples
        return [
            {
                "model": self.config.name,
                "class": self._class_of_name(sample),
                "seed": self.choice.seeds[0] if self.choice.walk else sample.seed,
                "frames": self.request.frames,
                "size": f"{self.frame_size[1]}x{self.frame_size[0]}",
                "sigma": self.request.sigma,
                "index": index,
            }
            for index, sample in enumerate(samples)
        ]

    def _class_of_name(self, sample: Sample) -> str:
        if not self.config.conditional:
            return slug(self.config.name)
        if self.choice.walk == "class" and self.choice.labels:
            return "-to-".join(slug(str(self.class_name(self.choice.labels[end]))) for end in (0, -1))
        if self.grid and len({s.label for s in self.choice.samples}) > 1:
            return "mixed"
        return slug(str(self.class_name(sample.label)))

    # ---- records ---------------------------------------------------------------------------------

    def provenance(self, half: Sequence[bool], number: int | None, sheet: int | None = None) -> dict[str, Any]:
        """What a file says about how it was made: sample `number`, or None for all of them in one picture.

        sheet: frames of each video, where the file is the contact sheet.
        """
        dtype = "bf16" if all(half) else "auto" if any(half) else "fp32"
        words = self._command(dtype, number) + (["--sheet", str(sheet)] if sheet else [])
        what = self._all() if number is None else self._one(self.choice.samples[number])
        return {
            "model": self.name,
            "sha": self.sha,
            "version": __version__,
            **what,
            "sigma": self.request.sigma,
            "frames": self.request.frames,
            "fps": str(self.rate),
            "levels": self.request.levels,
            "dtype": dtype,
            "command": shlex.join(words),
        }

    def _one(self, sample: Sample) -> dict[str, Any]:
        record: dict[str, Any] = {"class": self.class_name(sample.label), "label": sample.label, "seed": sample.seed}
        if sample.to_seed is not None:
            record |= {"to_seed": sample.to_seed, "blend": sample.blend}
        if sample.to_label is not None:
            record |= {"to_class": self.class_name(sample.to_label), "to_label": sample.to_label, "blend": sample.blend}
        return record

    def _all(self) -> dict[str, Any]:
        labels = list(dict.fromkeys(s.label for s in self.choice.samples if s.label is not None))
        names = [str(self.class_name(label)) for label in labels]
        seeds = seeds_text(self.choice.seeds)
        if len(labels) < 2:
            return {"class": names[0] if names else None, "label": labels[0] if labels else None, "seed": seeds}
        return {"class": ",".join(names), "label": labels, "seed": seeds}

    def _command(self, dtype: str, number: int | None) -> list[str]:
        """The command line that makes a file again, whatever was chosen at random or by default."""
        whole = number is None or self.choice.walk is not None
        words = ["hvg", "generate"]
        words += ["--model", self.model] if self.model != DEFAULT_MODEL else []
        words += self._which(None if whole else self.choice.samples[number or 0])
        words += ["--frames", str(self.request.frames), "--sigma", repr(self.request.sigma)]
        words += ["--fps", str(self.rate)] if self.rate != self.config.rate(self.request.levels) else []
        words += ["--levels", str(self.request.levels)] if self.request.levels < len(self.config.levels) else []
        words += ["--dtype", dtype]
        words += ["--format", self.kind] if self.kind != "mp4" else []
        words += ["--crf", str(self.crf)] if self.crf is not None else []
        words += ["--passes", str(self.passes)] if self.passes != PASSES else []
        return words + (["--grid"] if self.grid else [])

    def _which(self, sample: Sample | None) -> list[str]:
        """Class and seed of one sample, or all that was asked for."""
        if sample is not None:
            classes = [] if sample.label is None else ["--class", self._class_word([sample.label])]
            return [*classes, "--seed", str(sample.seed)]
        choice = self.choice
        words = ["--class", self._class_word(choice.labels)] if self.config.conditional else []
        words += ["--seed", seeds_text(choice.seeds)]
        if choice.walk:
            words += ["--interpolate", choice.walk, "--num", str(len(choice.samples))]
        return words

    def _class_word(self, labels: list[int] | None) -> str:
        """Classes as --class takes them: names, or numbers where a name could be misread."""
        if labels is None:
            return "random"
        names = [str(self.class_name(label)) for label in labels]
        plain = all(re.fullmatch(r"[A-Za-z_][\w. -]*", name) and name not in ("all", "random") for name in names)
        return ",".join(names if plain else [str(label) for label in labels])


def seeds_text(seeds: Sequence[int]) -> str:
    """Seeds as --seed takes them: 1, 2, 3, 7 -> "1-3,7"."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][1] + 1:
            runs[-1][1] = seed
        else:
            runs.append([seed, seed])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def memory_estimate(config: ModelConfig, request: Request, videos: int) -> int:
    """Bytes that a call needs at its peak, roughly: program, weights, and the largest maps of a piece.

    videos: how many are computed at a time.
    """
    largest = 0
    for number, level in enumerate(config.levels[: request.levels], start=1):
        assert not isinstance(level, SingleConfig), "its memory is estimated where its jobs are made"
        outline = -(-request.frames // config.frame_factor(request.levels))
        frames = (outline if config.one_length else min(request.piece, outline)) * config.frame_factor(number)
        sizes = (4 << min(unit + 1, level.doublings) for unit in range(len(level.widths)))
        largest = max(largest, *(frames * size**2 * width for size, width in zip(sizes, level.widths, strict=True)))
    return BASE_BYTES + MAPS * 4 * largest * videos
