"""A number with its interval, as every metric that is estimated from a sample reports it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A value and where it may lie: `low` and `high` are the ends of its interval, None where none was computed.

    The function that makes it says which interval it is (a bootstrap's percentiles, a mean and its standard error).
    """

    value: float
    low: float | None = None
    high: float | None = None
