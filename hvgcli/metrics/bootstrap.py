"""How far a number could have come out otherwise, with other takes: whole source files are drawn again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import stdev

import torch
from torch import Tensor

from hvgcli.metrics.estimate import Estimate
from hvgcli.metrics.frechet import SIGMAS
from hvgcli.sampling.noise import seeded

TRIALS = 100


def rows_of_takes(takes: Tensor) -> list[Tensor]:
    """The rows, int64, of each take of `takes` (N,)."""
    return [(takes == take).nonzero().flatten() for take in sorted(set(takes.tolist()))]


def drawn_rows(rows: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """Rows of one bootstrap sample: as many takes as there are, drawn with replacement, each with all of its rows.

    Args:
        rows: int64, of each take.
        generator: of the CPU.

    Returns:
        int64; a take that was drawn twice has its rows twice.
    """
    draws = torch.randint(len(rows), (len(rows),), generator=generator).tolist()
    return torch.cat([rows[draw] for draw in draws])


def over_takes(
    statistic: Callable[[Tensor, Tensor], float],
    real_takes: Tensor,
    fake_takes: Tensor,
    *,
    trials: int = TRIALS,
    seed: int = 0,
) -> list[float]:
    """A statistic of two sets on `trials` bootstrap samples of both.

    Trial i draws the same real takes whatever the other set is: so the samples of two generated sets are pairs, and
    the spread of their ratio is that of the ratio.

    Args:
        statistic: of rows of the real set and rows of the other one, int64 each.
        real_takes, fake_takes: int64 (N1,) and (N2,): the take of each row.
    """
    groups = {"real": rows_of_takes(real_takes), "fake": rows_of_takes(fake_takes)}

    def sample(trial: int) -> float:
        drawn = [drawn_rows(rows, seeded("bootstrap", name, seed, trial)) for name, rows in groups.items()]
        return statistic(*drawn)

    return [sample(trial) for trial in range(trials)]


def interval(value: float, samples: Sequence[float]) -> Estimate:
    """The value with 1.96 standard deviations of its bootstrap samples on either side; none of fewer than two.

    The samples themselves are biased, a distance between sets with repeated videos is larger: only their spread counts.
    """
    if len(samples) < 2:
        return Estimate(value)
    error = SIGMAS * stdev(samples)
    return Estimate(value, value - error, value + error)
