"""How outputs come into their place: whole or not at all, and with errors of one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

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
