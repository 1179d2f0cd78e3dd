"""How outputs come into their place: whole or not at all, and with errors of one line."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType

from hvgcli.errors import MediaError


def reason(error: Exception) -> str:
    """What an error of PyAV or of the system says, without its number."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def beside(path: Path, ending: str = ".part") -> Path:
    return path.with_name(path.name + ending)


@contextlib.contextmanager
def system_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MediaError(f"{path}: cannot be written ({reason(error)})") from error


@contextlib.contextmanager
def interrupts_later() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block, so that a program which is started in it has an owner to stop it."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or current_thread() is not main_thread():
        yield  # nothing is raised here
        return
    came: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if came:
        handler(*came[0])
