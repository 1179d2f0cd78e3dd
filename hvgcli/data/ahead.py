"""Results made beforehand in threads. Decoding and resizing release the GIL, so threads are enough."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Ahead(Generic[K, V]):
    """A function of one key that makes the results of the keys to come in the background.

    `ahead(key)` is `load(key)`, whatever the number of workers and the order of keys: a key that was
    not foreseen is simply loaded, and what was foreseen in vain is dropped. An exception of `load`
    comes out of the call for its key, and of no other. Call it from one thread at a time.

    Args:
        load: makes a result; called from several threads at once.
        following: the key after one, or None at the end.
        workers: threads; 0 loads in the calling thread, and nothing beforehand.
        depth: results that are made or kept beforehand at most.
    """

    def __init__(self, load: Callable[[K], V], following: Callable[[K], K | None], *, workers: int, depth: int) -> None:
        if workers < 0 or depth < 0:
            raise ValueError(f"workers {workers} and depth {depth} must not be negative")
        self._load, self._following, self._depth = load, following, depth
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="ahead") if workers else None
        self._made: dict[K, Future[V]] = {}

    def __call__(self, key: K) -> V:
        if self._threads is None:
            return self._load(key)
        wanted = self._made.pop(key, None) or self._threads.submit(self._load, key)
        self._prepare(self._threads, key)
        return wanted.result()

    def _prepare(self, threads: ThreadPoolExecutor, key: K) -> None:
        """Start the keys that follow `key`, and give up those that no longer do."""
        coming = list(self._coming(key))
        for stale in self._made.keys() - set(coming):
            self._made.pop(stale).cancel()
        for each in coming:
            if each not in self._made:
                self._made[each] = threads.submit(self._load, each)

    def _coming(self, key: K) -> Iterator[K]:
        for _ in range(self._depth):
            after = self._following(key)
            if after is None:
                return
            yield (key := after)

    def close(self) -> None:
        """Give up what was foreseen and wait for the threads to end."""
        self._made.clear()
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
