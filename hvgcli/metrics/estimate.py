"""A number with its interval, as every metric that is estimated from a sample reports it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class Estimate:
    """A value and where it may lie: `low` and `high` are the ends of its interval, None where none was computed.

    The function that makes it says which interval it is (a bootstrap's percentiles, a mean and its standard error).
    """

    value: float
    low: float | None = None
    high: float | None = None


def spread(values: Sequence[float]) -> Estimate:
    """The mean of at least one value, with one standard deviation (ddof 1) of them on either side of it."""
    mean, deviation = fmean(values), stdev(values) if len(values) > 1 else 0.0
    return Estimate(mean, mean - deviation, mean + deviation)
