"""Runs that begin with the networks of another run, or with the generator of a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from predictor_models import tiny_predictor
from single_models import make_single_model
from tiny_training import CPU, PRESET, TRAINING, assert_same, finish_run, train

from hvgcli.config import ModelConfig, Preset, ReconstructionConfig, TrainingConfig
from hvgcli.errors import WeightsError
from hvgcli.sampling.hierarchy import load
from hvgcli.training.level import LevelTraining
from hvgcli.training.plan import Run
from hvgcli.training.run_state import last_networks
from hvgcli.training.start import check_start, start_from

STILL = replace(  # steps that change next to nothing: what is there after one is what the run began with
    TRAINING, lr_generator=1e-12, lr_discriminator=1e-12, reconstruction=ReconstructionConfig(1, 1.0, lr=1e-12)
)
WEIGHTS = ("weight", "original", "bias")  # not the singular vectors, which every step follows
PREDICTOR = Preset(tiny_predictor(stride=1), (TRAINING,), "for tests")


def fresh(config: ModelConfig, training: TrainingConfig = TRAINING, seed: int = 5) -> LevelTraining:
    torch.manual_seed(seed)
    return LevelTraining(config, 1, training, CPU, seed)


@pytest.fixture(scope="module")
def predictor(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a predictor."""
    torch.set_num_threads(1)
    made = train(data, tmp_path_factory.mktemp("predictor"), preset=PREDICTOR)
    finish_run(made)
    return made.run.out


def test_a_run_begins_with_all_networks_of_another(predictor: Path) -> None:
    level = fresh(PREDICTOR.model)
    taken, of = start_from(predictor, level)
    assert taken == of
    assert_same(level.state_dict(), last_networks(predictor))


@pytest.mark.parametrize("preset", [PRESET, PREDICTOR], ids=["level 1", "predictor"])
def test_the_loop_begins_with_them(preset: Preset, data: Path, tmp_path: Path) -> None:
    first = train(data, tmp_path / "first", preset=preset)
    still = replace(preset, training=tuple(STILL for _ in preset.training))
    made = train(data, tmp_path / "second", preset=still, seed=7, start=first.run.out, steps=1)
    other = train(data, tmp_path / "third", preset=still, seed=7, steps=1)
    first_ones, begun, alone = (last_networks(run.run.out) for run in (first, made, other))
    trained = {n: v for n, v in first_ones.items() if n.endswith(WEIGHTS) and not n.startswith("average.")}
    for name, value in trained.items():
        torch.testing.assert_close(begun[name], value, atol=1e-9, rtol=0, msg=name)
    assert not all(torch.equal(alone[name], value) for name, value in trained.items())
    assert made.warnings == []


def test_other_frames_and_another_decay_take_all_the_same(predictor: Path) -> None:
    [level] = PREDICTOR.model.levels
    longer = replace(PREDICTOR.model, levels=(replace(level, frames=9),))
    taken, of = start_from(predictor, fresh(longer, replace(TRAINING, ema=0.9)))
    assert taken == of


def test_a_moving_average_that_is_missing_begins_as_the_generator(data: Path, tmp_path: Path) -> None:
    without = train(data, tmp_path / "first", preset=PREDICTOR, ema=0.0, steps=1)
    level = fresh(PREDICTOR.model)
    taken, of = start_from(without.run.out, level)
    assert taken == of
    assert level.average is not None
    assert_same(dict(level.average.state_dict()), dict(level.generator.state_dict()))


def test_without_the_training_aid_its_encoder_is_left(predictor: Path) -> None:
    level = fresh(PREDICTOR.model, replace(TRAINING, reconstruction=None))
    taken, of = start_from(predictor, level)
    assert taken == of
    assert len(last_networks(predictor)) > of


def test_other_discriminators_begin_afresh(predictor: Path) -> None:
    [spec] = PREDICTOR.model.levels
    config = replace(PREDICTOR.model, levels=(replace(spec, decomposition="clip"),))
    level, alone = fresh(config), fresh(config)
    taken, of = start_from(predictor, level)
    assert taken == of - len(level.discriminator.state_dict())
    known = last_networks(predictor)
    for name, value in level.generator.state_dict().items():
        assert torch.equal(value, known[f"generator.{name}"])
    assert_same(dict(level.discriminator.state_dict()), dict(alone.discriminator.state_dict()))


@pytest.mark.parametrize("spectral", [False, True])
def test_the_generator_of_a_model_comes_as_it_was_shipped(spectral: bool, data: Path, tmp_path: Path) -> None:
    preset = Preset(tiny_predictor(stride=1, spectral_norm=spectral), (TRAINING,), "for tests")
    model = finish_run(train(data, tmp_path / "run", preset=preset))
    level, alone = fresh(preset.model), fresh(preset.model)
    taken, of = start_from(model, level)
    assert 0 < taken < of
    shipped = dict(load(model).generators[0].named_parameters())
    for network in (level.generator, level.average):
        assert network is not None
        for name, value in shipped.items():
            ours = network
            for part in name.split("."):
                ours = getattr(ours, part)
            torch.testing.assert_close(ours, value, atol=0.02 if spectral else 1e-7, rtol=0.02 if spectral else 0)
    assert_same(dict(level.discriminator.state_dict()), dict(alone.discriminator.state_dict()))


def test_other_widths_are_refused_before_and_when_loading(predictor: Path, tmp_path: Path) -> None:
    wide = tiny_predictor(stride=1, channels=6)
    run = Run(tmp_path / "run", wide, 1, TRAINING, "clips", None, 0, predictor)
    with pytest.raises(WeightsError, match=r"cannot be the start of this run: \d+ of \d+ weights of its generator fit"):
        check_start(run)
    level = fresh(wide)
    before = {name: value.clone() for name, value in level.state_dict().items()}
    with pytest.raises(WeightsError, match="give the preset that it was trained with"):
        start_from(predictor, level)
    assert_same(before, dict(level.state_dict()))


def test_what_has_no_state_or_a_damaged_one_is_refused(predictor: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", PREDICTOR.model, 1, TRAINING, "clips", None, 0, tmp_path / "empty")
    with pytest.raises(WeightsError, match="holds no state of a run"):
        check_start(run)
    (tmp_path / "empty").mkdir()
    for path in predictor.glob("state-*"):
        content = path.read_bytes()
        (tmp_path / "empty" / path.name).write_bytes(content if path.suffix == ".json" else content[:-1])
    with pytest.raises(WeightsError, match="does not match its checksum"):
        check_start(run)


def test_a_run_that_goes_on_is_not_checked(predictor: Path, tmp_path: Path) -> None:
    check_start(Run(predictor, PREDICTOR.model, 1, TRAINING, "clips", None, 0, tmp_path / "gone"))


def test_a_model_without_the_level_is_refused(predictor: Path, model1: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", PREDICTOR.model, 1, TRAINING, "clips", None, 0, model1)
    with pytest.raises(WeightsError, match="cannot be the start of this run"):
        check_start(run)


def test_nothing_begins_with_a_model_of_one_clip(tmp_path: Path) -> None:
    folder = make_single_model(tmp_path / "single")
    with pytest.raises(WeightsError, match="learned one clip or image"):
        start_from(folder, fresh(PRESET.model))
