"""Results made beforehand: always those of `load`, whatever the workers."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.data.ahead import Ahead


def square(key: int) -> int:
    return key * key


def after(key: int) -> int | None:
    return key + 1 if key < 20 else None


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 20), max_size=12), st.integers(0, 3), st.integers(0, 4))
def test_any_order_of_keys(keys: list[int], workers: int, depth: int) -> None:
    with Ahead(square, after, workers=workers, depth=depth) as ahead:
        assert [ahead(key) for key in keys] == [key * key for key in keys]


def test_what_follows_is_made_beforehand() -> None:
    made: list[int] = []
    ready = threading.Semaphore(0)

    def load(key: int) -> int:
        made.append(key)
        ready.release()
        return key

    with Ahead(load, after, workers=1, depth=3) as ahead:
        ahead(5)
        for _ in range(4):
            assert ready.acquire(timeout=10)
        assert made == [5, 6, 7, 8]
        assert ahead(6) == 6
        assert ready.acquire(timeout=10)
    assert made == [5, 6, 7, 8, 9], "nothing is made twice"


def test_no_workers_load_in_the_calling_thread() -> None:
    with Ahead(lambda key: threading.get_ident(), after, workers=0, depth=3) as ahead:
        assert ahead(1) == threading.get_ident()


def test_an_exception_comes_out_for_its_key_only() -> None:
    def load(key: int) -> int:
        if key == 3:
            raise ValueError("three")
        return key

    with Ahead(load, after, workers=2, depth=4) as ahead:
        assert [ahead(1), ahead(2)] == [1, 2]
        with pytest.raises(ValueError, match="three"):
            ahead(3)
        assert ahead(4) == 4
        with pytest.raises(ValueError, match="three"):
            ahead(3)


def test_close_drops_what_waits() -> None:
    started: list[int] = []

    def load(key: int) -> int:
        started.append(key)
        time.sleep(0.02)
        return key

    ahead = Ahead(load, after, workers=1, depth=15)
    ahead(0)
    ahead.close()
    assert len(started) < 15


def test_negative_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="workers -1"):
        Ahead(square, after, workers=-1, depth=1)
