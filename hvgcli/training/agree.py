"""Decisions that all processes of a run must take alike: whether to stop, and who says why they failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hvgcli.errors import HvgError, PeerError
from hvgcli.training.distributed import World

# What torch's transports say when the process at the other end has gone.
_GONE = ("connection closed by peer", "connection reset by peer", "broken pipe", "remote process exited", "socket")


@contextmanager
def together(world: World) -> Iterator[None]:
    """A block without collectives, at whose end the processes agree whether any of them failed.

    The first that failed raises its own error; the others raise `PeerError` with the same exit code. So an
    error in one process neither leaves the others waiting nor is told more than once.
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    if not world.any(failure is not None):
        return
    speaker = _first(world, failure is not None)
    own = failure.exit_code if isinstance(failure, HvgError) else 1
    code = round(world.mean({"code": float(own if world.rank == speaker else 0)})["code"] * world.size)
    if failure is not None and world.rank == speaker:
        raise failure
    raise PeerError(code) from failure


def _first(world: World, flag: bool) -> int:
    """The lowest rank whose flag is set; one of them is."""
    return next(rank for rank in range(world.size) if world.any(flag and world.rank == rank))


def peer_is_gone(error: BaseException, world: World) -> bool:
    """Whether an exception only says that another process ended: that one tells the reason."""
    if world.size == 1 or not isinstance(error, RuntimeError):
        return False
    return any(sign in str(error).lower() for sign in _GONE)
