"""Makes shards, for tests."""

from __future__ import annotations

from pathlib import Path

from hvgcli.data.prepare import Options, Request, Result, check_output, prepare
from hvgcli.data.sources import list_source


def make_shards(source: Path, out: Path, workers: int = 1, **options: object) -> Result:
    """What `hvg data prepare` does."""
    asked = Request(source, out, Options(**options), list_source(source))  # type: ignore[arg-type]
    check_output(asked)
    return prepare(asked, workers=workers)
