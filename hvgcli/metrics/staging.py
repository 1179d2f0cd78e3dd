"""Output folders that are written beside their place first, so that a failure leaves what was there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hvgcli.errors import MediaError


@contextmanager
def staged(folder: Path, publish: Callable[[Path, Path], None]) -> Iterator[Path]:
    """An empty folder beside `folder`; when the block ends well, `publish(part, folder)` puts its files there.

    Raises:
        MediaError: something cannot be written.
    """
    place = folder.absolute()
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        yield part
        publish(part, folder)
    except OSError as error:
        raise MediaError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
