"""When each frame of a clip is shown, from what its file says: exact, and mended where the file contradicts itself."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

Ticks = np.ndarray[Any, np.dtype[np.int64]]

UNKNOWN = -(2**63)  # a time that the file does not give


@dataclass(frozen=True, eq=False)
class Clock:
    """The times of all frames of a clip: strictly increasing, whatever the file says.

    Only the frames in `numbers` have the times of the file. Those between two of them are spread evenly,
    those before the first and after the last are `step` apart.
    """

    base: Fraction
    """Seconds a tick."""
    count: int
    """Frames of the clip."""
    numbers: Ticks
    """Increasing frame numbers, at least one."""
    ticks: Ticks
    """Their times."""
    step: Fraction
    """Ticks between frames where nothing else is known, above 0."""
    last: Fraction
    """Ticks for which the last frame is shown, above 0."""

    def time(self, number: int) -> Fraction:
        """Seconds at which frame `number` (0 .. count - 1) is shown."""
        after = int(np.searchsorted(self.numbers, number))
        if after < len(self.numbers) and self.numbers[after] == number:
            return int(self.ticks[after]) * self.base
        if after == 0:
            return (int(self.ticks[0]) - self.step * (int(self.numbers[0]) - number)) * self.base
        first, tick = int(self.numbers[after - 1]), int(self.ticks[after - 1])
        step = self.step
        if after < len(self.numbers):
            step = Fraction(int(self.ticks[after]) - tick, int(self.numbers[after]) - first)
        return (tick + step * (number - first)) * self.base

    def duration(self, number: int) -> Fraction:
        """Seconds until the next frame; for the last one, those that the file gives it."""
        if number == self.count - 1:
            return self.last * self.base
        return self.time(number + 1) - self.time(number)

    @property
    def start(self) -> Fraction:
        """Seconds at which the first frame is shown: may be negative, or late."""
        return self.time(0)

    @property
    def length(self) -> Fraction:
        """Seconds from the first frame to the end of the last."""
        return self.time(self.count - 1) + self.last * self.base - self.start

    @property
    def mended(self) -> int:
        """Frames whose time is not the file's."""
        return self.count - len(self.numbers)


def longest_increase(values: Sequence[int]) -> list[int]:
    """Places of a longest strictly increasing run of `values`, of equal ones the first; O(n log n)."""
    tails: list[int] = []  # smallest last value of an increase of each length
    places: list[int] = []
    before: list[int] = []  # place of the value before, in the best increase that ends here
    for place, value in enumerate(values):
        length = bisect_left(tails, value)
        before.append(places[length - 1] if length else -1)
        if length == len(tails) or value < tails[length]:
            tails[length : length + 1] = [value]
            places[length : length + 1] = [place]
    chain = places[-1:]
    while chain and before[chain[-1]] >= 0:
        chain.append(before[chain[-1]])
    return chain[::-1]


def _trusted(times: Ticks) -> Ticks:
    """Numbers of the frames whose times can all be true at once: the most of them."""
    known = np.flatnonzero(times != UNKNOWN)
    if np.all(np.diff(times[known]) > 0):
        return known
    return known[longest_increase(times[known].tolist())]


def read_clock(times: Ticks, base: Fraction, *, rate: Fraction, last: int = 0) -> Clock:
    """The clock of a clip from the times that its file gives.

    A time that is missing, repeated or goes backwards is replaced: the longest increasing run of times is
    kept and the others are put evenly between their neighbours. Where fewer than half of the times can be
    kept, none is: frames are then shown evenly at `rate`, from the earliest time on.

    Args:
        times: ticks in the order of display, `UNKNOWN` where the file gives none; at least one frame.
        base: seconds a tick.
        rate: frames per second that the file claims.
        last: ticks for which the last frame is shown, 0 where the file does not say.
    """
    count, claimed = len(times), 1 / (rate * base)
    numbers = _trusted(times)
    if 2 * len(numbers) < count:
        known = times[times != UNKNOWN]
        numbers, ticks = np.zeros(1, np.int64), np.array([known.min() if len(known) else 0], np.int64)
        return Clock(base, count, numbers, ticks, claimed, claimed)
    ticks = times[numbers]
    step = _usual_step(numbers, ticks) or claimed
    known_end = bool(last > 0 and numbers[-1] == count - 1)
    return Clock(base, count, numbers, ticks, step, Fraction(last) if known_end else step)


def _usual_step(numbers: Ticks, ticks: Ticks) -> Fraction | None:
    """The median ticks a frame, or None for a single frame."""
    if len(numbers) < 2:
        return None
    steps = np.diff(ticks) / np.diff(numbers)
    return Fraction(float(np.median(steps))).limit_denominator(1000)


def steady_rate(clock: Clock, claims: Iterable[Fraction | None]) -> Fraction | None:
    """The first of the claimed rates (or of the average) that all frames keep to; None for a variable rate.

    Times are rounded to ticks: a frame may be one off, and a quarter of a frame where ticks are coarse.
    """
    span = int(clock.ticks[-1] - clock.ticks[0])
    frames = int(clock.numbers[-1] - clock.numbers[0])
    average = [Fraction(frames, span) / clock.base] if span else []
    for rate in [*(claim for claim in claims if claim), *average]:
        step = 1 / (rate * clock.base)
        even = clock.ticks[0] + (clock.numbers - clock.numbers[0]) * float(step)
        if np.abs(clock.ticks - even).max() <= min(1.001, float(step) / 4):
            return rate
    return None
