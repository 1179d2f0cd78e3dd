"""What all tests of training share: one thread, clips, and a finished level 1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tiny_training import finish_run, make_data, train


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order, so that runs can be compared bit by bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, make_clip: Callable[..., Path]) -> Path:
    """Two classes of two short clips."""
    return make_data(tmp_path_factory.mktemp("clips"), make_clip)


@pytest.fixture(scope="session")
def model1(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished level 1."""
    return finish_run(train(data, tmp_path_factory.mktemp("level1")))
