"""A small source of videos, and the shards made of it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from shard_folders import make_shards

Maker = Callable[..., Path]


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory, make_clip: Maker) -> Path:
    """Two classes of three videos: 12, 40 and 30 frames of 48x64 at 10 and 30000/1001 frames per second."""
    root = tmp_path_factory.mktemp("videos")
    for label, name in enumerate(("fire", "sea")):
        make_clip(root / name / "0.mp4", frames=12, rate=Fraction(10), seed=label)
        make_clip(root / name / "1.mp4", frames=40, rate=Fraction(10), seed=label + 5)
        make_clip(root / name / "2.mp4", frames=30, rate=Fraction(30000, 1001), seed=label + 9)
    return root


@pytest.fixture(scope="session")
def shards(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Shards of them by codec, of clips of a second."""
    folder = tmp_path_factory.mktemp("shards")
    for codec in ("h264", "jpeg"):
        make_shards(videos, folder / codec, codec=codec, seconds=1.0, clips_per_shard=4, size=32)
    return {codec: folder / codec for codec in ("h264", "jpeg")}
