"""What every test shares: a tiny model, and a cache of its own."""

from pathlib import Path

import pytest
from tiny_models import make_model


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
