"""Standing statistics that were measured are found again; damaged ones are measured again."""

import json

import pytest
import torch
from real_models import make_working_model

from hvgcli.checkpoints import load_tensors, save_tensors
from hvgcli.cli.main import run
from hvgcli.errors import MediaError
from hvgcli.sampling import statistics, statistics_cache
from hvgcli.sampling.hierarchy import load, missing_statistics, prepare
from hvgcli.sampling.statistics_cache import attach, find, measure_level, measure_missing, path_of


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_working_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def hierarchy(model):
    return load(model)


def test_nothing_is_measured_that_ships(hierarchy, warnings, own_cache):
    assert attach(hierarchy, 100, 0.5, 2, warn=warnings.append) == []
    assert (warnings, own_cache.exists()) == ([], False)


def test_measured_once_for_any_length(model, hierarchy, warnings):
    assert attach(hierarchy, 8, 0.9, 2, passes=16, warn=warnings.append) == [1, 2]
    passes = []
    measure_missing(hierarchy, 8, 0.9, 2, passes=16, warn=warnings.append, progress=passes.append)
    assert passes == [1] * (16 + 4)  # all passes of level 1; a quarter above it, as the videos are longer
    assert missing_statistics(hierarchy, 8, 0.9) == []
    again = load(model)
    assert attach(again, 400, 0.9, 2, passes=16, warn=warnings.append) == []
    assert attach(load(model), 400, 0.9, 2, passes=160, warn=warnings.append) == [1, 2]  # too few passes
    for ours, theirs in zip(hierarchy.tables, again.tables, strict=True):
        assert ours[-1].layout == theirs[-1].layout
        for name, moments in ours[-1].moments.items():
            assert all(map(torch.equal, moments, theirs[-1].moments[name]))
    assert warnings == []


def test_exact_tables_are_preferred(model, hierarchy, warnings):
    path = measure_level(hierarchy, 1, 6, 0.5, passes=2, batch=2)
    assert path == path_of(hierarchy.sha, 1, 6, 0.5)
    other = load(model)
    assert attach(other, 12, 0.5, 2, warn=warnings.append) == []
    assert statistics.choose(other.tables[0], 0.5, 6).frames == 6
    assert statistics.choose(other.tables[0], 0.5, 7).frames == 0
    prepare(other, 12, 0.5, 2)
    assert other.generators[0].rows.size == 6


def test_a_level_above_needs_any_length_below(model, hierarchy, warnings):
    """Exact statistics of level 1 do not carry the longer videos that level 2 is measured with."""
    measure_level(hierarchy, 1, 4, 0.9, passes=2, batch=2)
    other = load(model)
    assert attach(other, 8, 0.9, 2, passes=4, warn=warnings.append) == [1, 2]
    measure_missing(other, 8, 0.9, 2, passes=4, batch=2, warn=warnings.append)
    prepare(other, 8, 0.9, 2)
    assert other.generators[0].rows.size == 4  # still the exact one where it serves


def _cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def _other_model(path):
    path.write_bytes(path_of("another", 1, 4, 0.5).read_bytes())


def _not_finite(path):
    tensors, metadata = load_tensors(path)
    save_tensors(path, {name: tensor * float("nan") for name, tensor in tensors.items()}, metadata)


def _too_short(path):
    tensors, metadata = load_tensors(path)
    save_tensors(path, {name: tensor[:2] for name, tensor in tensors.items()}, metadata)


@pytest.mark.parametrize("damage", [_cut, _other_model, _not_finite, _too_short, lambda path: path.write_bytes(b"")])
def test_damaged_file_is_as_good_as_none(hierarchy, warnings, damage):
    path = measure_level(hierarchy, 1, 4, 0.5, passes=1, batch=2)
    statistics_cache.save("another", 1, hierarchy.tables[0][0], 1, 2)
    assert find(hierarchy, 1, 4, 0.5, passes=1, batch=2, warn=warnings.append) is not None
    assert warnings == []
    damage(path)
    assert find(hierarchy, 1, 4, 0.5, passes=1, batch=2, warn=warnings.append) is None
    assert len(warnings) == 1
    assert "measured again" in warnings[0]


def test_passes_of_few_videos_are_not_enough(hierarchy, warnings):
    path = measure_level(hierarchy, 1, 4, 0.5, passes=3, batch=2)
    for passes, batch, enough in ((3, 2, True), (2, 1, True), (3, 3, False), (4, 2, False)):
        found = find(hierarchy, 1, 4, 0.5, passes=passes, batch=batch, warn=warnings.append)
        assert (found is not None) == enough
    tensors, metadata = load_tensors(path)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    older = {key: value for key, value in metadata.items() if key != "batch"}  # not told by versions before
    save_tensors(path, tensors, older)
    assert find(hierarchy, 1, 4, 0.5, passes=1, batch=1, warn=warnings.append) is None
    assert warnings == []


def test_cache_that_cannot_be_written(monkeypatch, tmp_path, hierarchy, warnings):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HVG_CACHE", str(tmp_path / "file" / "cache"))
    measure_missing(hierarchy, 8, 0.9, 1, passes=4, batch=2, warn=warnings.append)
    assert missing_statistics(hierarchy, 4, 0.9, 1) == []
    assert "cannot write" in warnings[0]
    with pytest.raises(MediaError):
        measure_level(hierarchy, 1, 4, 0.9, passes=1, batch=2)


# ---- hvg stats -----------------------------------------------------------------------------------


def stats(capsys, *args) -> list[dict]:
    assert run(["stats", *map(str, args), "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_stats_are_used_by_generate(capsys, model, tmp_path):
    made = stats(capsys, model, "--frames", 12, "--sigma", "0.9,0.5", "--passes", 2, "--batch-size", 2)
    assert [(row["level"], row["frames"], row["sigma"], row["cached"]) for row in made] == [
        (1, 6, 0.9, False),
        (2, 12, 0.9, False),
        (1, 6, 0.5, False),
        (2, 12, 0.5, False),
    ]
    again = stats(capsys, model, "--frames", 12, "--sigma", 0.9, "--passes", 2, "--batch-size", 2)
    assert [row["cached"] for row in again] == [True, True]
    more = stats(capsys, model, "--frames", 12, "--sigma", 0.9, "--passes", 3, "--batch-size", 2)
    assert [row["cached"] for row in more] == [False, False]
    code = run(["generate", "--model", str(model), "--frames", "12", "--sigma", "0.9", "-o", f"{tmp_path}/x.mp4"])
    assert code == 0
    assert "measuring" not in capsys.readouterr().err


def test_stats_for_people(capsys, model):
    assert run(["stats", str(model), "--frames", "8", "--passes", "1"]) == 0
    assert "level 2, 8 frames, sigma 0.5: 1 passes in" in capsys.readouterr().out
    assert run(["stats", str(model), "--frames", "8", "--passes", "1"]) == 0
    assert "already measured" in capsys.readouterr().out
    assert run(["stats", str(model), "--frames", "8", "--passes", "1", "--overwrite", "-q"]) == 0
    assert all(line.endswith(".safetensors") for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["--frames", "0"], 2),
        (["--frames", "8", "--sigma", "x"], 2),
        (["--frames", "8", "--sigma", "0"], 2),
        (["--frames", "8", "--passes", "0"], 2),
        (["--frames", "8", "--batch-size", "-1"], 2),
        (["--frames", "8", "--device", "abacus"], 5),
        ([], 2),
    ],
)
def test_bad_input(capsys, model, args, code):
    assert run(["stats", str(model), *args]) == code
    assert capsys.readouterr().out == ""
