"""How often a level is applied, and what is kept of each application, to enlarge by more or less than it does."""

from __future__ import annotations

from typing import NamedTuple

from hvgcli.errors import UsageError

MAX_TIMES = 16
MAX_PASSES = 3


class Application(NamedTuple):
    """One application of the level, and what is kept of its result. Factors are against the source."""

    space_before: int
    space_after: int
    step: int
    """Every `step`-th frame is kept (f_t)."""
    time_before: int
    time_after: int


def plan_applications(asked: tuple[int, int], own: tuple[int, int]) -> list[Application]:
    """How a level that enlarges `own` (space, time) times enlarges `asked` times.

    The level is always applied whole. What it makes too much of is reduced by f_s and f_t, as little as the
    applications still to come allow, so that none works on more pixels or frames than it must.
    """
    names = ("--times-space", "--times-time")
    for value, factor, name in zip(asked, own, names, strict=True):
        most = min(MAX_TIMES, factor**MAX_PASSES)
        if not 1 <= value <= most:
            serves = f"serves 1 to {most}" if most > 1 else "serves 1 only: choose another --level for more"
            raise UsageError(f"{name} {value} cannot be: this level {serves}")
    count = next(n for n in range(1, MAX_PASSES + 1) if all(f**n >= a for a, f in zip(asked, own, strict=True)))
    applications, before = [], (1, 1)
    for left in reversed(range(count)):
        after = tuple(-(-value // factor**left) for value, factor in zip(asked, own, strict=True))
        step, rest = divmod(before[1] * own[1], after[1])
        if rest:
            raise UsageError(f"{names[1]} {asked[1]} does not divide what this level gives: choose a power of {own[1]}")
        applications.append(Application(before[0], after[0], step, before[1], after[1]))
        before = (after[0], after[1])
    return applications
