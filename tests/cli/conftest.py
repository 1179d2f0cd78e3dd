"""Models that work, and a way to run `hvg generate` with them."""

from pathlib import Path

import pytest
from real_models import make_working_model

from hvgcli.cli.main import run


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """Working models `tiny` (cat, dog) and `free` (unconditional)."""
    folder = tmp_path_factory.mktemp("models")
    make_working_model(folder / "tiny")
    make_working_model(folder / "free", name="free", num_classes=0, classes=())
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The test runs in an empty folder of its own."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def hvg(models, place, capsys):
    """Runs `hvg generate` with the tiny model; returns exit code, stdout and stderr."""

    def call(*args: object, model: str = "tiny") -> tuple[int, str, str]:
        code = run(["generate", "--model", str(models / model), *map(str, args)])
        return code, *capsys.readouterr()

    return call
