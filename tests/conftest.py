"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from tiny_models import make_model

from hvgcli.video import Frames, VideoWriter


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


def moving_pattern(frames: int, size: tuple[int, int], seed: int = 0) -> Frames:
    """Smooth colours that drift, uint8 (frames, H, W, 3): they survive lossy codecs and tell frames apart."""
    rng = np.random.default_rng(seed)
    phase, speed = rng.uniform(0, 6, 3), rng.uniform(0.3, 0.8, 3)
    time, row, column = np.meshgrid(np.arange(frames), np.arange(size[0]), np.arange(size[1]), indexing="ij")
    waves = [
        np.sin(p + s * time + (row * (c + 1) + column) / 17) for c, (p, s) in enumerate(zip(phase, speed, strict=True))
    ]
    return (127.5 + 90 * np.stack(waves, axis=-1)).astype(np.uint8)


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
