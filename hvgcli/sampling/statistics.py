"""Standing statistics: per-timestep means and variances recorded over many passes (HVG appendix A).

A generator at inference normalises frame t by what the network saw at frame t over many passes with
random z and classes, not by the batch at hand. Each pass normalises with its own batch, as training
does; the moments of the passes are pooled, so the result does not depend on how samples are batched.

The batch of a pass must be large, even where that of training was small. In a batch of 4 still and dim videos are
often alone, and normalising enlarges them; layer upon layer then reports more variance than inference ever has, and
what is divided by it is too faint (hvg-mini's last level: half the motion of batches of 16, after 20 norms).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hvgcli.errors import WeightsError
from hvgcli.layers.norm import TimestepNorm
from hvgcli.layers.table import RowLayout

PASSES = 8
PASS_BATCH = 32  # 256 videos for a table of one length; HVG has 200 passes, each of a training batch of hundreds
HORIZON = 4  # a recurrent level is measured to this many times its training length
WINDOW = 2  # a convolutional level over an outline this many times as long
LONG_SHARE = 4  # a table for any length takes this part of the passes over longer videos

Moments = dict[str, tuple[Tensor, Tensor]]
"""Name of a norm -> mean and variance, `(rows, C)` each."""


@dataclass(frozen=True)
class StandingTable:
    """Statistics of one level for one sigma: moments by row, and which frame uses which row."""

    sigma: float
    frames: int
    """Length that they were measured for; 0 = any length."""
    layout: RowLayout
    moments: Moments
    trained: bool = False
    """Whether the network was trained with it, or with that of another sigma beside it.

    Such tables belong to the network as its weights do, at any sigma: what a pass of a batch records of it now is of
    activations that training never saw.
    """

    def suits(self, sigma: float) -> bool:
        """Whether it may be used at this sigma."""
        return self.trained or self.sigma == sigma

    def serves(self, sigma: float, frames: int) -> bool:
        """Whether it may be used at this sigma, and has a row for each of `frames` frames."""
        return self.suits(sigma) and self.frames in (0, frames) and self.layout.serves(frames)


def norms(generator: nn.Module) -> Iterator[tuple[str, TimestepNorm]]:
    """(name, norm) of every batch norm of a generator."""
    for name, module in generator.named_modules():
        if isinstance(module, TimestepNorm):
            yield name, module


class Passes(NamedTuple):
    """How many videos a table that serves any length is measured over, in batches."""

    long: int
    """Longer than in training."""
    short: int
    """As long as in training."""

    @classmethod
    def of(cls, passes: int, level: int) -> Passes:
        """A `LONG_SHARE`th of `passes`, and at level 1 short ones for the rest.

        Level 1 makes its first frames from maps of few places, and those from a code alone: with 2 passes of 32 videos
        the first frame of hvg-mini had patches of foreign colours, with 8 none.
        """
        long = max(1, passes // LONG_SHARE)
        return cls(long, passes - long if level == 1 else 0)

    @property
    def total(self) -> int:
        return self.long + self.short


class Recorder:
    """Pools the moments of many passes: equal weights, float64 (law of total variance).

    Passes may be shorter than `frames`: each frame has the moments of those that reach it.
    """

    def __init__(self, generator: nn.Module, frames: int) -> None:
        self.generator = generator
        self.passes = torch.zeros(frames, dtype=torch.float64)  # that reached each frame
        self.sums = {
            name: torch.zeros(3, frames, norm.channels, dtype=torch.float64) for name, norm in norms(generator)
        }
        self._next = dict.fromkeys(self.sums, 0)

    def __enter__(self) -> Recorder:
        self.generator.train()
        for name, norm in norms(self.generator):
            norm.observe = self._observer(name)
        return self

    def __exit__(self, *exception: object) -> None:
        for _, norm in norms(self.generator):
            norm.observe = None
        self.generator.eval()

    def _observer(self, name: str) -> Callable[[Tensor, Tensor], None]:
        def observe(mean: Tensor, var: Tensor) -> None:
            start = self._next[name]
            self._next[name] = stop = start + len(mean)
            mean, var = mean.double().cpu(), var.double().cpu()
            self.sums[name][:, start:stop] += torch.stack((mean, mean.square(), var))

        return observe

    def end_pass(self) -> None:
        """A video is over: the next frame that a norm sees is frame 0."""
        (frames,) = set(self._next.values())
        self._next = dict.fromkeys(self.sums, 0)
        self.passes[:frames] += 1

    def moments(self) -> Moments:
        pooled = {}
        for name, sums in self.sums.items():
            mean, square, var = sums / self.passes[:, None]
            pooled[name] = (mean.float(), (var + square - mean.square()).float())
        return pooled


def exact_table(sigma: float, moments: Moments) -> StandingTable:
    """One row a frame: for videos of just the measured length."""
    frames = next(iter(moments.values()))[0].shape[0]
    return StandingTable(sigma, frames, RowLayout(frames), moments)


def any_length_table(sigma: float, moments: Moments, *, period: int, tail: int, stretch: int) -> StandingTable:
    """Head + body + tail from moments measured over a long video (DESIGN: see `RowLayout`).

    period : frames after which the input repeats its pattern (1 for a recurrent level)
    tail   : frames at the end that feel it; 0 for a recurrent level
    stretch: frames before the tail over which the body is averaged, phase by phase
    """
    measured = next(iter(moments.values()))[0].shape[0]
    head = (measured - tail) // period * period
    stretch = min(stretch, head) // period * period
    layout = RowLayout(head, period, tail)

    def assemble(rows: Tensor, spread: Tensor | None) -> Tensor:
        part = rows[head - stretch : head].unflatten(0, (-1, period))
        body = part.mean(0)
        if spread is not None:  # variance of the pooled rows: mean variance + variance of the means
            body = body + spread[head - stretch : head].unflatten(0, (-1, period)).var(0, unbiased=False)
        return torch.cat((rows[:head], body, rows[measured - tail :])) if tail else torch.cat((rows[:head], body))

    return StandingTable(
        sigma, 0, layout, {name: (assemble(mean, None), assemble(var, mean)) for name, (mean, var) in moments.items()}
    )


def misfit(generator: nn.Module, table: StandingTable) -> str:
    """The name of the first norm of a generator that a table has no rows for; empty where it fits."""
    for name, norm in norms(generator):
        shape = (table.layout.size, norm.channels)
        if name not in table.moments or any(part.shape != shape for part in table.moments[name]):
            return name
    return ""


def install(generator: nn.Module, table: StandingTable) -> None:
    """Make a generator use a table. `WeightsError` when the table is of another network."""
    if wrong := misfit(generator, table):
        raise WeightsError(f"the standing statistics do not fit the network at {wrong}: run `hvg stats` again")
    device = next(generator.parameters()).device
    for name, norm in norms(generator):
        mean, var = table.moments[name]
        norm.table = (mean.to(device), var.to(device))
    generator.rows = table.layout  # type: ignore[assignment]
    generator.eval()


def choose(tables: Iterable[StandingTable], sigma: float, frames: int) -> StandingTable | None:
    """The best table for a request: measured for just this length first, else one for any length.

    Where the network was trained with its tables, those of the nearest sigma come before all.
    """
    fitting = [table for table in tables if table.serves(sigma, frames)]
    return max(fitting, key=lambda table: (-abs(table.sigma - sigma), table.frames), default=None)


def trained_with(tables: Iterable[StandingTable]) -> bool:
    """Whether the network was trained with these tables: others, measured batch by batch, would not fit it."""
    return any(table.trained for table in tables)


# ---- in and out of a level's safetensors file ----------------------------------------------------

_PREFIX = "statistics"


def to_tensors(tables: Iterable[StandingTable]) -> tuple[dict[str, Tensor], list[dict[str, object]]]:
    """Tensors by name, and the JSON description that goes in the file's header."""
    tensors, described = {}, []
    for number, table in enumerate(tables):
        layout = table.layout
        described.append(
            {"sigma": table.sigma, "frames": table.frames, "layout": [layout.head, layout.period, layout.tail]}
            | ({"trained": True} if table.trained else {})
        )
        for name, (mean, var) in table.moments.items():
            tensors[f"{_PREFIX}/{number}/{name}/mean"] = mean
            tensors[f"{_PREFIX}/{number}/{name}/var"] = var
    return tensors, described


def described_tables(described: object) -> list[StandingTable]:
    """The tables that a file's header tells of, without their moments; `WeightsError` where it is damaged."""
    try:
        return [_described(entry) for entry in described or []]  # type: ignore[attr-defined]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"the standing statistics are damaged ({error!r}): pull the model again") from error


def _described(entry: dict[str, Any]) -> StandingTable:
    layout = RowLayout(*(int(part) for part in entry["layout"]))
    return StandingTable(float(entry["sigma"]), int(entry["frames"]), layout, {}, entry.get("trained") is True)


def from_tensors(tensors: dict[str, Tensor], described: object) -> tuple[dict[str, Tensor], list[StandingTable]]:
    """Split a level's tensors into weights and tables; `WeightsError` when the description does not fit."""
    weights = {key: value for key, value in tensors.items() if not key.startswith(f"{_PREFIX}/")}
    return weights, [
        replace(table, moments=_moments(tensors, f"{_PREFIX}/{number}/"))
        for number, table in enumerate(described_tables(described))
    ]


def _moments(tensors: dict[str, Tensor], prefix: str) -> Moments:
    names = {key.removeprefix(prefix).rsplit("/", 1)[0] for key in tensors if key.startswith(prefix)}
    try:
        return {name: (tensors[f"{prefix}{name}/mean"], tensors[f"{prefix}{name}/var"]) for name in names}
    except KeyError as error:
        raise WeightsError(f"the standing statistics are damaged ({error!r}): pull the model again") from error
