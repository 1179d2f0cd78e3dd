"""Fixtures for all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # as many threads in all as without workers; before torch is imported
    workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

import pytest
from patterns import moving_pattern
from tiny_models import make_model

from hvgcli.video import VideoWriter

# Started in the background of a script, pytest and all that it starts would ignore Ctrl-C, which tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees or changes the user's cache, nor their settings of the Hub."""
    monkeypatch.setenv("HVG_CACHE", str(tmp_path / "cache"))
    for name in ("HF_HUB_OFFLINE", "HF_ENDPOINT", "HVG_DEBUG", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """A finished model folder named `tiny`."""
    return make_model(tmp_path / "tiny")


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., Path]:
    """Writes a small video of a moving pattern, in the format of the suffix, and returns its path."""

    def make(
        path: Path,
        frames: int = 8,
        size: tuple[int, int] = (48, 64),
        rate: Fraction = Fraction(25),
        seed: int = 0,
    ) -> Path:
        with VideoWriter(path, size=size, rate=rate) as writer:
            writer.write(moving_pattern(frames, size, seed))
        return path

    return make
