"""Times of frames: exact where the file is right, increasing always, by slow literal search."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.video.clock import UNKNOWN, Clock, longest_increase, read_clock, steady_rate

MS = Fraction(1, 1000)


def clock(times: list[int | None], last: int = 0, rate: Fraction = Fraction(25)) -> Clock:
    ticks = np.array([UNKNOWN if time is None else time for time in times], np.int64)
    return read_clock(ticks, MS, rate=rate, last=last)


def milliseconds(found: Clock) -> list[Fraction]:
    return [found.time(number) / MS for number in range(found.count)]


@pytest.mark.parametrize(
    ("times", "shown"),
    [
        ([0, 40, 80], [0, 40, 80]),
        ([-80, -40, 7], [-80, -40, 7]),
        ([0, 40, None, 120], [0, 40, 80, 120]),  # missing
        ([None, None, 80, 120], [0, 40, 80, 120]),
        ([0, 40, 80, None], [0, 40, 80, 120]),
        ([0, 40, 40, 120], [0, 40, 80, 120]),  # repeated
        ([0, 40, 0, 120, 160], [0, 40, 80, 120, 160]),  # backwards
        ([0, 40, 9_000_000, 120, 160], [0, 40, 80, 120, 160]),  # damaged
        ([0, 10, None, None, 11], [0, 10, Fraction(31, 3), Fraction(32, 3), 11]),
        ([None, None, None], [0, 40, 80]),  # none at all
        ([500, None, None, 400, None], [400, 440, 480, 520, 560]),  # hardly any
        ([7, 7, 7, 7], [7, 47, 87, 127]),
        ([None], [0]),
    ],
)
def test_times_that_contradict_each_other_are_mended(times: list[int | None], shown: list[int]) -> None:
    assert milliseconds(clock(times)) == shown


def test_the_last_frame_is_shown_as_long_as_the_file_says() -> None:
    assert clock([0, 40, 80], last=500).length == Fraction(580, 1000)
    assert clock([0, 40, 80]).length == Fraction(120, 1000)
    assert clock([5], last=70).duration(0) == Fraction(70, 1000)
    assert clock([5]).duration(0) == Fraction(1, 25)
    assert clock([0, 40, None], last=70).duration(2) == Fraction(40, 1000), "the end of a frame without a time"


@given(times=st.lists(st.none() | st.integers(-3000, 3000), min_size=1, max_size=40), last=st.integers(0, 90))
@settings(deadline=None, max_examples=150)
def test_any_times_become_increasing(times: list[int | None], last: int) -> None:
    found = clock(times, last)
    shown = [found.time(number) for number in range(found.count)]
    assert all(before < after for before, after in pairwise(shown))
    assert [found.duration(number) for number in range(found.count - 1)] == [b - a for a, b in pairwise(shown)]
    assert found.length == shown[-1] + found.duration(found.count - 1) - shown[0] > 0
    assert 0 <= found.mended < found.count


@given(values=st.lists(st.integers(0, 9), max_size=9))
@settings(deadline=None, max_examples=80)
def test_longest_increase(values: list[int]) -> None:
    best = max(
        size
        for size in range(len(values) + 1)
        for places in combinations(range(len(values)), size)
        if all(values[a] < values[b] for a, b in pairwise(places))
    )
    found = longest_increase(values)
    assert len(found) == best
    assert all(a < b and values[a] < values[b] for a, b in pairwise(found))


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30), Fraction(60000, 1001), Fraction(25, 2)], ids=str)
@pytest.mark.parametrize("rounding", [np.floor, np.rint, np.ceil])
def test_a_steady_rate_is_known_in_spite_of_rounding(rate: Fraction, rounding: np.ufunc) -> None:
    times = rounding(np.arange(500) * 1000 / float(rate)).astype(int).tolist()
    assert steady_rate(clock(times), (None, Fraction(7), rate)) == rate


def test_a_variable_rate_is_no_rate() -> None:
    assert steady_rate(clock([0, 40, 80, 125, 160]), (Fraction(25),)) is None
    assert steady_rate(clock([0, 40, 80, 160, 200]), (Fraction(25),)) is None
    assert steady_rate(clock([3, 43, 83]), ()) == 25, "the average, where nothing is claimed"
    coarse = read_clock(np.array([0, 1, 2, 4, 5], np.int64), Fraction(1, 25), rate=Fraction(25))
    assert steady_rate(coarse, (Fraction(25),)) is None, "a tick is a whole frame: one was dropped"
