"""Training with the standing statistics that samples are made with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from predictor_models import tiny_predictor
from tiny_training import CPU, PRESET, TRAINING, assert_same, finish_run, last_state, train, write_preset

from hvgcli.checkpoints import level_metadata, load_tensors, save_tensors
from hvgcli.cli.main import run as command_line
from hvgcli.config import Preset
from hvgcli.errors import UsageError, WeightsError
from hvgcli.sampling.hierarchy import Sample, generate, load
from hvgcli.sampling.statistics_cache import attach, path_of
from hvgcli.sampling.unroll import join
from hvgcli.training.finish import total_passes
from hvgcli.training.level import LevelTraining
from hvgcli.training.run_state import last_networks
from hvgcli.training.standing import FILE, install, keep, kept_tables
from hvgcli.training.start import check_start

PREDICTOR = Preset(tiny_predictor(stride=1), (TRAINING,), "for tests")


@pytest.fixture(scope="module")
def levels(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Finished runs of both levels."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("levels")
    below = finish_run(train(data, folder / "one"))
    finish_run(train(data, folder / "two", 2, below))
    return folder / "one", folder / "two"


def statistics_of(file: Path) -> dict[str, torch.Tensor]:
    tensors, _ = load_tensors(file)
    return {name: value.clone() for name, value in tensors.items() if name.startswith("statistics")}


@pytest.mark.parametrize("number", [1, 2])
def test_the_model_keeps_the_statistics_that_it_was_trained_with(
    number: int, levels: tuple[Path, Path], data: Path, tmp_path: Path
) -> None:
    start, below = levels[number - 1], levels[0] / "model" if number == 2 else None
    made = train(data, tmp_path / "run", number, below, start=start, standing=True)
    assert total_passes(made.run, 7) == 0
    assert all("loss_d" in metrics for metrics in made.metrics)  # no step of reconstruction alone, unlike the start
    model = finish_run(made)
    name = f"level{number}.safetensors"
    assert_same(statistics_of(model / name), statistics_of(start / "model" / name))
    assert_same(statistics_of(made.run.out / FILE), statistics_of(start / "model" / name))
    weights = [load_tensors(folder / name)[0]["to_rgb.weight"] for folder in (model, start / "model")]
    assert not torch.equal(*weights)
    hierarchy = load(model, levels=number)
    video = join(
        generate(hierarchy, [Sample(1, 0)], hierarchy.config.levels[number - 1].frames, levels=number, sigma=1.0)
    )
    assert video.isfinite().all()


def test_nothing_is_measured_for_another_sigma(
    levels: tuple[Path, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Statistics of batches would not fit a level that was trained with fixed ones; level 1 was not."""
    made = train(data, tmp_path / "run", 2, levels[0] / "model", start=levels[1], standing=True, steps=1)
    model = finish_run(made)
    measured = {"known": load(levels[1] / "model"), "trained": load(model)}
    missing = {name: attach(found, 8, 0.8, 2, warn=pytest.fail) for name, found in measured.items()}
    assert missing == {"known": [1, 2], "trained": [1]}
    given = ["generate", "--model", str(model), "--class", "0", "--frames", "8", "--sigma", "0.8"]
    given += ["-o", str(tmp_path / "x.mp4")]
    assert command_line([*given, "--dry-run"]) == 0
    assert "for levels [1]" in capsys.readouterr().err
    assert command_line(given) == 0
    assert command_line(["stats", str(model), "--frames", "8", "--sigma", "0.8", "--passes", "2", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [(row["level"], row["trained"], row["path"] and Path(row["path"]).is_file()) for row in rows] == [
        (1, False, True),
        (2, True, None),
    ]
    assert all(rows[1][key] is None for key in ("passes", "batch", "seconds"))
    kept = sorted(path.name for path in path_of(load(model).sha, 1, 4, 0.8).parent.iterdir())
    assert [name for name in kept if name.startswith("level2")] == []


def trained_level(levels: tuple[Path, Path], data: Path, out: Path) -> LevelTraining:
    made = train(data, out, 2, levels[0] / "model", start=levels[1], standing=True, steps=1)
    level = LevelTraining(made.run.config, 2, made.run.training, CPU)
    level.load_state_dict(last_networks(out))
    install(made.run, level)
    return level


def test_what_is_trained_is_what_is_sampled(levels: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    """A video comes out the same whatever else is in its batch, with gradient; with batch statistics it does not."""
    level = trained_level(levels, data, tmp_path / "run")
    draws = torch.Generator().manual_seed(3)
    spec, below = level.config.levels[1], level.config.levels[0]
    frames = spec.frames // level.config.times_time(2)
    low = torch.rand(3, frames, 3, below.resolution, below.resolution, generator=draws) * 2 - 1
    z, labels = torch.randn(3, spec.z_dim, generator=draws), torch.tensor([0, 1, 0])
    whole = level.generate(z, labels, low)
    alone = level.generate(z[:1], labels[:1], low[:1])
    torch.testing.assert_close(whole[:1], alone, atol=1e-6, rtol=0)
    whole.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in level.generator.parameters())
    level.generator.train()
    assert not torch.allclose(level.generate(z, labels, low)[:1], level.generate(z[:1], labels[:1], low[:1]), atol=1e-4)


def test_a_run_that_goes_on_is_the_one_that_never_stopped(
    levels: tuple[Path, Path], data: Path, tmp_path: Path
) -> None:
    given = {"start": levels[1], "standing": True}
    whole = train(data, tmp_path / "whole", 2, levels[0] / "model", **given)
    train(data, tmp_path / "part", 2, levels[0] / "model", until=2, **given)
    (tmp_path / "moved").mkdir()
    again = train(data, tmp_path / "part", 2, levels[0] / "model", start=tmp_path / "moved", standing=True)
    assert again.steps == [3]
    assert_same(last_state(whole.run.out), last_state(tmp_path / "part"))


def test_a_predictor_keeps_its_statistics_too(data: Path, tmp_path: Path) -> None:
    first = finish_run(train(data, tmp_path / "first", preset=PREDICTOR))
    second = finish_run(train(data, tmp_path / "second", preset=PREDICTOR, start=first, standing=True))
    assert_same(statistics_of(second / "level1.safetensors"), statistics_of(first / "level1.safetensors"))


# ---- what cannot be ----------------------------------------------------------------------------


def test_it_needs_a_finished_model_to_begin_with(levels: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    without = train(data, tmp_path / "plain").run
    run = replace(without, out=tmp_path / "new", training=replace(without.training, standing=True))
    with pytest.raises(UsageError, match="give --from"):
        check_start(run)
    with pytest.raises(WeightsError, match="not finished"):
        check_start(replace(run, start=without.out))
    with pytest.raises(WeightsError, match=r"level2\.safetensors is missing"):
        check_start(replace(run, start=levels[0], level=2))
    check_start(replace(run, start=levels[0]))
    assert not run.out.exists()


def test_statistics_for_other_frames_are_refused(levels: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    """A predictor has those of its own length only."""
    first = finish_run(train(data, tmp_path / "first", preset=PREDICTOR))
    [level] = PREDICTOR.model.levels
    longer = replace(PREDICTOR, model=replace(PREDICTOR.model, levels=(replace(level, frames=level.frames + 1),)))
    with pytest.raises(WeightsError, match=f"for the {level.frames + 1} frames"):
        train(data, tmp_path / "longer", preset=longer, start=first, standing=True)
    assert not (tmp_path / "longer" / FILE).exists()


def test_a_run_without_its_statistics_says_so(levels: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    made = train(data, tmp_path / "run", 2, levels[0] / "model", start=levels[1], standing=True, steps=1)
    (made.run.out / FILE).unlink()
    for ask in (kept_tables, keep):  # nor does it take others
        with pytest.raises(WeightsError, match=rf"{FILE} is missing.* put it back, or begin again"):
            ask(made.run)
    assert not (made.run.out / FILE).exists()


def test_a_run_that_saved_no_state_begins_with_what_is_given_now(
    levels: tuple[Path, Path], data: Path, tmp_path: Path
) -> None:
    second = train(data, tmp_path / "second", 2, levels[0] / "model", start=levels[1], standing=True, steps=1)
    run = replace(second.run, out=tmp_path / "run")
    save_tensors(run.out / FILE, {"statistics/0/other/mean": torch.ones(1)}, {})  # of a beginning that did not fit
    keep(run)
    assert_same(statistics_of(run.out / FILE), statistics_of(levels[1] / "model" / "level2.safetensors"))


def test_steps_and_seconds_are_those_of_the_whole_training(
    levels: tuple[Path, Path], data: Path, tmp_path: Path
) -> None:
    first = level_metadata(levels[1] / "model", 2)
    made = train(data, tmp_path / "run", 2, levels[0] / "model", start=levels[1], standing=True, steps=2)
    metrics = made.run.out / "metrics.csv"
    metrics.write_text("step,seconds\n1,30\n2,31\n")
    told = level_metadata(finish_run(made), 2)
    assert (told["steps"], told["seconds"]) == (first["steps"] + 2, first["seconds"] + 61)
    metrics.unlink()
    again = train(data, tmp_path / "again", 2, levels[0] / "model", start=made.run.out, standing=True, steps=1)
    assert level_metadata(finish_run(again), 2)["steps"] == first["steps"] + 3


def test_statistics_of_another_network_are_refused(levels: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    """Enough weights fit, but not all norms have rows."""
    upper = PRESET.model.levels[1]
    wider = replace(upper, multipliers=(*upper.multipliers[:-1], 2 * upper.multipliers[-1]))
    made = train(data, tmp_path / "run", 2, levels[0] / "model", start=levels[1], standing=True, steps=1)
    config = replace(made.run.config, levels=(made.run.config.levels[0], wider))
    with pytest.raises(WeightsError, match=r"do not fit the network at .*: give the preset"):
        check_start(replace(made.run, config=config, out=tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_a_run_stays_of_its_kind(levels: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "run", 2, levels[0] / "model", start=levels[1], standing=True, steps=1)
    with pytest.raises(UsageError, match="its --standing differs"):
        train(data, tmp_path / "run", 2, levels[0] / "model", start=levels[1], steps=2)


def test_the_command_line(levels: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    preset = write_preset(tmp_path / "preset.json", PRESET)
    command = ["train-level", "1", "--data", str(data), "--preset", str(preset), "--out", str(tmp_path / "run")]
    command += ["--standing", "--steps", "2", "--quiet"]
    assert command_line(command) == 2
    assert command_line([*command, "--from", str(levels[0])]) == 0
    assert (tmp_path / "run" / "model" / "config.json").is_file()
    early = ["--patience", "5", "--watch", "loss_g", "--from", str(levels[0]), "--dry-run"]
    assert command_line([*command, *early]) == 0  # discriminators judge from the first step on
