"""A model with attention looks at all of its frames at once: it makes its own length only, in one piece."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from real_models import make_working_model, random_hierarchy
from small_networks import small_one_stage

from hvgcli.cli.main import run
from hvgcli.errors import UsageError
from hvgcli.models.dvd_gan import DvdGan
from hvgcli.sampling import statistics_cache
from hvgcli.sampling.hierarchy import Hierarchy, Sample, generate, load
from hvgcli.sampling.measure import measure_any_length, record
from hvgcli.sampling.unroll import join

SAMPLES = [Sample(0, 0), Sample(1, 2)]


def make(folder: Path) -> Path:
    """A model folder whose statistics are those of its own length, at sigma 0.5."""
    config = small_one_stage("attentive", attention=8)
    return make_working_model(folder, config=config, passes=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("models") / "attentive")


@pytest.fixture
def hierarchy(model: Path) -> Hierarchy:
    """With a gate that is open, so that frames do hear of one another."""
    made = load(model)
    network = made.generators[0]
    assert isinstance(network, DvdGan)
    torch.nn.init.constant_(network.units[0].attention.gate, 0.5)
    return made


def test_it_is_measured_at_its_own_length(hierarchy: Hierarchy) -> None:
    (table,) = hierarchy.tables[0]
    assert (table.frames, table.layout.head, table.layout.period) == (4, 4, 0)
    assert not table.serves(0.5, 5)


@pytest.mark.parametrize("piece", [1, 3, 12])
def test_pieces_change_nothing(hierarchy: Hierarchy, piece: int) -> None:
    pieces = list(generate(hierarchy, SAMPLES, 4, sigma=0.5, piece=piece))
    network = hierarchy.generators[0]
    whole = join(generate(hierarchy, SAMPLES, 4, sigma=0.5))
    assert len(pieces) == 1
    assert torch.equal(join(iter(pieces)), whole)
    assert network.whole


@pytest.mark.parametrize("frames", [1, 3, 5, 100])
def test_another_length_is_refused(hierarchy: Hierarchy, frames: int) -> None:
    calls = [
        lambda: join(generate(hierarchy, SAMPLES, frames, sigma=0.5)),
        lambda: record(hierarchy, 1, frames, 0.5, passes=1),
        lambda: statistics_cache.attach(hierarchy, frames, 0.7, 1, warn=lambda message: None),
    ]
    for call in calls:
        with pytest.raises(UsageError, match=rf"attentive .* makes 4 of them, not {frames}: give --frames 4") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_statistics_for_another_sigma_are_measured_at_its_length(model: Path) -> None:
    hierarchy, warnings = load(model), []
    assert statistics_cache.attach(hierarchy, 4, 0.7, 1, passes=2, warn=warnings.append) == [1]
    statistics_cache.measure_missing(hierarchy, 4, 0.7, 1, passes=2, batch=2, warn=warnings.append)
    assert join(generate(hierarchy, SAMPLES, 4, sigma=0.7)).shape[1] == 4
    again = load(model)  # it was kept
    assert statistics_cache.attach(again, 4, 0.7, 1, passes=2, warn=warnings.append) == []
    assert warnings == []


def test_a_model_without_attention_is_measured_for_any_length() -> None:
    table = measure_any_length(random_hierarchy(small_one_stage()), 1, 0.5, passes=1, batch=2)
    assert (table.frames, table.layout.period) == (0, 1)
    assert table.serves(0.5, 1000)


def test_generate_and_stats_say_it_in_one_line(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (
        ["generate", "--model", str(model), "--frames", "9", "--dry-run"],
        ["generate", "--model", str(model), "--frames", "9"],
        ["stats", str(model), "--frames", "9"],
    ):
        assert run(command) == 2
        errors = capsys.readouterr().err.strip()
        assert "makes 4 of them, not 9: give --frames 4" in errors
        assert len(errors.splitlines()) == 1
    assert not [path for path in tmp_path.iterdir() if path.name != "cache"]
    assert run(["generate", "--model", str(model), "--class", "0", "--seed", "1", "--piece", "2", "-o", "one.mp4"]) == 0
    assert (tmp_path / "one.mp4").stat().st_size > 0
