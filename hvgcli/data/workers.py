"""Processes that work through lists of things, started fresh, so that they share no locks or threads."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from threading import Thread
from types import TracebackType
from typing import Any, Self, TypeVar

from hvgcli.errors import ResourceError

T = TypeVar("T")
R = TypeVar("R")
CHUNK = 16  # short tasks that a process takes at a time


class Workers:
    """`count` processes; 1 works in the calling process. Use it in a `with` block.

    They end with their parent, however it went, and at Ctrl-C without a word.
    """

    def __init__(self, count: int) -> None:
        self._pool: ProcessPoolExecutor | None = None
        if count > 1:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(count, context, initializer=_start)

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """The results of short tasks, in the order of the items."""
        if self._pool is None or len(items) <= CHUNK:
            yield from map(function, items)
            return
        with _told():
            yield from self._pool.map(function, items, chunksize=CHUNK)

    def any_order(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """The results of long tasks, as they come. The first exception ends it."""
        if self._pool is None or len(items) <= 1:
            yield from map(function, items)
            return
        with _told():
            for future in as_completed([self._pool.submit(function, item) for item in items]):
                yield future.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        message = "a worker was killed, perhaps for its memory: what is done stays; try fewer --workers"
        raise ResourceError(message) from error


def _start() -> None:
    """Runs first in every process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: Any) -> None:
    from multiprocessing.connection import wait

    wait([sentinel])
    os._exit(1)
