"""DVD-GAN and a predictor in training: what an update sees, the moving average, runs from clips to a model folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import small_one_stage, small_predictor
from tiny_training import TRAINING, Trained, assert_same, finish_run, metric_rows, train
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hvgcli.config import ModelConfig, Preset, ReconstructionConfig, TrainingConfig
from hvgcli.data.cache import FrameCache
from hvgcli.errors import DataError
from hvgcli.layers.weights import power_iterate
from hvgcli.models.frame_prediction import FramePredictor
from hvgcli.presets import PRESETS
from hvgcli.sampling import predict
from hvgcli.sampling.hierarchy import Sample, generate, load
from hvgcli.sampling.unroll import join
from hvgcli.training.batches import BatchSource, real_pair
from hvgcli.training.distributed import Share
from hvgcli.training.estimate import estimate
from hvgcli.training.finish import DEVIATIONS, SIGMAS, card, total_passes
from hvgcli.training.level import LevelBatch, LevelTraining, discriminator_update, generator_update, weight_matrices
from hvgcli.training.plan import Run

CPU = torch.device("cpu")
ONE_STAGE = replace(TRAINING, condition_noise=0.0, condition_reuse=1, orthogonal_penalty=1e-4)
DVD_GAN = Preset(small_one_stage(num_classes=2, stride=2), (ONE_STAGE,), "for tests")
PREDICTOR = Preset(small_predictor(), (ONE_STAGE,), "for tests")
KINDS = {"dvd-gan": DVD_GAN, "predictor": PREDICTOR}


def level_of(config: ModelConfig, **changes: Any) -> LevelTraining:
    torch.manual_seed(0)
    values = {"steps": 4, "batch_size": 2, "spatial_frames": 2} | changes
    return LevelTraining(config, 1, TrainingConfig(**values), CPU)


def batch_of(config: ModelConfig) -> LevelBatch:
    rng = torch.Generator().manual_seed(0)
    clip = torch.rand(2, config.context + 4, 3, 16, 16, generator=rng) * 2 - 1
    video, low = real_pair(config, 1, clip)
    labels = torch.tensor([0, 1]) if config.conditional else None
    return LevelBatch(video, labels, low, low, labels, Share.whole(2))


# ---- one update ----------------------------------------------------------------------------------


def test_a_predictors_pair_is_what_follows_and_the_context() -> None:
    clip = torch.arange(7.0).reshape(1, 7, 1, 1, 1)
    video, low = real_pair(small_predictor(), 1, clip)
    assert low is not None
    assert (low.flatten().tolist(), video.flatten().tolist()) == ([0, 1, 2], [3, 4, 5, 6])
    assert real_pair(small_one_stage(), 1, clip) == (clip, None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_updates_change_their_own_network_only(kind: str, precision: str) -> None:
    config = KINDS[kind].model
    level, batch = level_of(config, precision=precision, orthogonal_penalty=1e-4), batch_of(config)
    networks = {"generator": level.generator, "discriminator": level.discriminator}
    for name, update in (("discriminator", lambda: discriminator_update(level, [batch], 0, 0)),
                         ("generator", lambda: generator_update(level, [batch], 0))):  # fmt: skip
        before = {key: [p.clone() for p in network.parameters()] for key, network in networks.items()}
        metrics = update()
        assert all(torch.tensor(value).isfinite() for value in metrics.values())
        for key, network in networks.items():
            same = [torch.equal(old, new) for old, new in zip(before[key], network.parameters(), strict=True)]
            assert all(same) == (key != name)


def test_the_generator_is_judged_with_the_real_context() -> None:
    """Each discriminator of clips gets context + frames that were made from it."""
    config = small_predictor(decomposition="clip")
    level, batch = level_of(config, spatial_frames=1), batch_of(config)
    seen: list[Tensor] = []
    network = level.discriminator.networks["clip"]
    network.volumes[0].register_forward_pre_hook(lambda module, args: seen.append(args[0].transpose(1, 2)))
    generator_update(level, [batch], 0)
    assert batch.low is not None
    assert seen[0].shape == (2, 7, 3, 16, 16)
    assert torch.equal(seen[0][:, :3], batch.low)
    z = level_of(config).noise(0, "generator", 2)
    fresh = level_of(config)
    power_iterate(fresh.generator)
    torch.testing.assert_close(seen[0][:, 3:].detach(), fresh.generate(z, None, batch.low).detach())


def test_the_penalty_is_of_every_matrix_before_spectral_norm() -> None:
    level = level_of(small_predictor())
    found = {id(weight) for weight in weight_matrices(level.generator)}
    wanted = set()
    for module in level.generator.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            normal = parametrize.is_parametrized(module, "weight")
            wanted.add(id(module.parametrizations.weight.original if normal else module.weight))
    assert found == wanted
    embedding = level.generator.generator.condition.embed
    assert id(embedding.parametrizations.weight.original) not in found


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_penalty_makes_weights_more_orthogonal(weight: float) -> None:
    level = level_of(small_one_stage(num_classes=0, spectral_norm=False), orthogonal_penalty=weight, lr_generator=1e-3)
    matrix = level.generator.units[0].block1.conv1.weight
    with torch.no_grad():
        matrix.add_(0.3)  # all rows lean to one side
    before = (matrix.flatten(1) @ matrix.flatten(1).t()).fill_diagonal_(0).square().sum().item()
    for step in range(3):
        generator_update(level, [batch_of(level.config)], step)
    after = (matrix.flatten(1) @ matrix.flatten(1).t()).fill_diagonal_(0).square().sum().item()
    assert (after < 0.98 * before) == bool(weight)


def test_the_moving_average_begins_at_its_step() -> None:
    """Copies before, plain decay after; initialised with the weights of that moment (TrIVD-GAN E.2)."""
    level = level_of(small_one_stage(num_classes=0), ema=0.9, ema_start=2)
    average: list[Tensor] = []
    assert level.average is not None
    for step in range(4):
        generator_update(level, [batch_of(level.config)], step)
        now = [parameter.detach().clone() for parameter in level.generator.parameters()]
        average = now if step < 2 else [0.9 * old + 0.1 * new for old, new in zip(average, now, strict=True)]
        for ours, theirs in zip(level.average.parameters(), average, strict=True):
            if step < 2:
                assert torch.equal(ours, theirs)
            else:
                torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_losses_fall_where_a_clip_is_reconstructed() -> None:
    aid = ReconstructionConfig(steps=100, weight=1.0, lr=5e-3)
    level = level_of(small_predictor(), reconstruction=aid)
    assert level.encoder is not None  # its code tells what the context leaves open
    told = [generator_update(level, [batch_of(level.config)], step) for step in range(25)]
    assert set(told[0]) == {"reconstruction", "motion", "kl"}
    assert told[-1]["reconstruction"] < 0.9 * told[0]["reconstruction"]


# ---- whole runs ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Trained, Path]]:
    """Finished runs of three steps each, and their model folders."""
    made = {}
    for kind, preset in KINDS.items():
        run = train(data, tmp_path_factory.mktemp(kind), preset=preset)
        made[kind] = (run, finish_run(run))
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_ends_as_a_model_folder(kind: str, runs: dict[str, tuple[Trained, Path]]) -> None:
    run, folder = runs[kind]
    assert run.steps == [1, 2, 3]
    rows = metric_rows(run.run.out)
    assert [bool(row["loss_d"]) for row in rows] == [False, True, True]  # after one step of reconstruction
    assert all(float(row["reconstruction"]) > 0 for row in rows)
    assert list((run.run.out / "samples").glob("*.png"))
    hierarchy = load(folder)
    assert hierarchy.config == run.run.config
    sigmas = [table.sigma for table in hierarchy.tables[0]]
    assert sigmas == (list(DEVIATIONS) if kind == "predictor" else [sigma for sigma in SIGMAS for _ in "ab"])
    average = run.state()["networks/average." + ("generator." if kind == "predictor" else "") + "to_rgb.bias"]
    network = hierarchy.generators[0]
    bias = network.generator.to_rgb.bias if isinstance(network, FramePredictor) else network.to_rgb.bias
    assert torch.equal(bias, average.to(torch.bfloat16).float())


def test_a_trained_dvd_gan_generates(runs: dict[str, tuple[Trained, Path]]) -> None:
    hierarchy = load(runs["dvd-gan"][1])
    samples = [Sample(3, 0), Sample(4, 1)]
    for sigma in SIGMAS:
        for frames in (4, 9):
            video = join(generate(hierarchy, samples, frames, sigma=sigma, piece=2))
            assert video.shape == (2, frames, 3, 16, 16)
            assert video.isfinite().all()


def test_a_trained_predictor_predicts(runs: dict[str, tuple[Trained, Path]]) -> None:
    hierarchy = load(runs["predictor"][1])
    context = torch.rand(2, 3, 3, 16, 16) * 2 - 1
    video = join(predict.continuation(hierarchy, context, [0, 1], 6, predict.Draw()))
    assert video.shape == (2, 6, 3, 16, 16)
    assert video.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_progress_of_the_end_is_announced_right(kind: str, runs: dict[str, tuple[Trained, Path]]) -> None:
    run, _ = runs[kind]
    assert total_passes(run.run, 8) == (24 if kind == "predictor" else 2 * (8 + 8))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "TrIVD-GAN-FP, TSRU_p"),
        ({"unit": "ConvGRU"}, "TrIVD-GAN-FP, ConvGRU"),
        ({"unit": "ConvGRU", "projection": "sum"}, "DVD-GAN-FP, ConvGRU"),
    ],
)
def test_a_card_names_the_model(changes: dict[str, str], name: str) -> None:
    run = Run(Path(), small_predictor(**({"unit": "TSRU_p"} | changes)), 1, ONE_STAGE, Path(), None)
    text = card(run, {1: {"steps": 3}}, "")
    assert f"({name})" in text
    assert "from 3 frames to the 4/16x16 that follow" in text


def test_a_resumed_predictor_is_the_uninterrupted_one_bit_by_bit(data: Path, tmp_path: Path) -> None:
    whole = train(data, tmp_path / "whole", preset=PREDICTOR)
    first = train(data, tmp_path / "parts", preset=PREDICTOR, until=2)
    assert first.steps == [1, 2]
    torch.manual_seed(99)
    second = train(data, tmp_path / "parts", preset=PREDICTOR)
    assert second.steps == [3]
    assert_same(whole.state(), second.state())


def test_the_context_counts_as_frames_that_a_clip_must_have(data: Path, tmp_path: Path) -> None:
    long = replace(PREDICTOR, model=small_predictor(context=9, frames=4))
    with pytest.raises(DataError, match="no clip has the 13 frames of a training window, the longest has 12"):
        train(data, tmp_path / "run", preset=long)


def test_windows_of_a_predictor_are_context_and_what_follows(runs: dict[str, tuple[Trained, Path]]) -> None:
    run, _ = runs["predictor"]
    source = BatchSource(
        run.run.config, 1, run.run.training, run.index, FrameCache(1 << 24), None, 0, CPU, lambda clip, why: None
    )
    crops, _ = source.load(2, 1)[0]
    batch = source.batches(2, 1)[0]
    assert crops.shape[1] == 7
    assert batch.low is not None
    assert torch.equal(torch.cat((batch.low, batch.video), dim=1), crops)
    assert batch.fake_low is batch.low
    assert batch.labels is None  # although the folders are of two classes


# ---- what it will cost ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_estimates(kind: str, runs: dict[str, tuple[Trained, Path]]) -> None:
    run, _ = runs[kind]
    cost = estimate(run.run)
    level = LevelTraining(run.run.config, 1, run.run.training, CPU)
    assert cost.generator_parameters == sum(parameter.numel() for parameter in level.generator.parameters())
    assert cost.discriminator_parameters == sum(parameter.numel() for parameter in level.discriminator.parameters())
    assert cost.encoder_parameters > 0
    assert cost.activations > 0
    plain = replace(run.run, training=replace(run.run.training, orthogonal_penalty=0.0))
    assert estimate(plain).activations <= cost.activations


@pytest.mark.parametrize("name", ["dvd-gan-12x64", "trivd-gan-fp"])
def test_published_models_are_estimated_without_their_memory(name: str) -> None:
    preset = PRESETS[name]
    cost = estimate(Run(Path(), preset.model, 1, preset.training[0], Path(), None), processes=128)
    assert cost.networks > 4 * 4 * cost.generator_parameters
    assert cost.activations > 2**30
