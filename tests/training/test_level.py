"""The two updates of a step: what each of them changes, the training aids, and what randomness depends on."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_networks import small_config
from torch import Tensor, nn

from hvgcli.config import ModelConfig, ReconstructionConfig, TrainingConfig
from hvgcli.layers.weights import power_iterate
from hvgcli.sampling.noise import seeded
from hvgcli.training.distributed import Share
from hvgcli.training.level import (
    LevelBatch,
    LevelTraining,
    _disturb,
    _make_again,
    discriminator_loss,
    discriminator_update,
    generator_loss,
    generator_update,
)
from hvgcli.training.losses import geometric_hinge_generator

WHOLE = Share.whole(3)
AID = ReconstructionConfig(steps=2, weight=1.0, lr=3e-3)


def make_level(number: int, config: ModelConfig | None = None, **changes: Any) -> LevelTraining:
    torch.manual_seed(0)
    values = {"steps": 4, "batch_size": 3, "spatial_frames": 2} | changes
    return LevelTraining(config or small_config((2,)), number, TrainingConfig(**values), torch.device("cpu"))


def make_batch(number: int, seed: int = 0) -> LevelBatch:
    rng = torch.Generator().manual_seed(seed)

    def video(frames: int, size: int) -> Tensor:
        return torch.rand(3, frames, 3, size, size, generator=rng) * 2 - 1

    labels, fake_labels = torch.tensor([0, 1, 2]), torch.tensor([2, 2, 1])
    if number == 1:
        return LevelBatch(video(4, 8), labels, None, None, labels, WHOLE)
    return LevelBatch(video(4, 16), labels, video(2, 8), video(2, 8), fake_labels, WHOLE)


def snapshot(module: nn.Module | None) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()} if module else {}


def changed(before: dict[str, Tensor], module: nn.Module) -> set[str]:
    return {key for key, value in module.state_dict().items() if not torch.equal(before[key], value)}


def parameters(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_parameters()}


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_discriminator_update_changes_the_discriminators_only(number: int, precision: str) -> None:
    level = make_level(number, precision=precision)
    generator, discriminator = snapshot(level.generator), snapshot(level.discriminator)
    metrics = discriminator_update(level, [make_batch(number)], 0, 0)
    assert changed(generator, level.generator) == set()
    # While all scores are within the margin, a shift of them helps with real ones what it costs with fake ones.
    trained = {name for name in parameters(level.discriminator) if not name.endswith("score.bias")}
    assert changed(discriminator, level.discriminator) >= trained
    assert set(metrics) == {"loss_d", "score_real", "score_fake"}
    assert all(parameter.grad is None for parameter in level.generator.parameters())


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_generator_update_changes_the_generator_only(number: int, precision: str) -> None:
    level = make_level(number, precision=precision)
    generator, discriminator = snapshot(level.generator), snapshot(level.discriminator)
    metrics = generator_update(level, [make_batch(number)], 0)
    assert changed(generator, level.generator) >= parameters(level.generator)
    assert changed(discriminator, level.discriminator) == set()
    assert set(metrics) == {"loss_g"}
    assert all(parameter.requires_grad for parameter in level.discriminator.parameters())
    assert all(parameter.grad is None for parameter in level.discriminator.parameters())


def test_the_discriminator_is_thawed_after_a_failed_update() -> None:
    level = make_level(1)
    batch = make_batch(1)
    with pytest.raises(ValueError, match="labels"):
        generator_update(level, [LevelBatch(batch.video, None, None, None, None, WHOLE)], 0)
    assert all(parameter.requires_grad for parameter in level.discriminator.parameters())


def test_the_loss_of_the_discriminator_is_the_hinge_of_all_its_scores() -> None:
    level = make_level(2, spatial_frames=4)  # all frames, so that none is left to choice
    batch = make_batch(2)
    metrics = discriminator_update(level, [batch], 0, 0)
    again = make_level(2, spatial_frames=4)
    power_iterate(again.discriminator)
    with torch.no_grad():
        z = again.noise(0, "discriminator 0", 3)
        assert batch.fake_low is not None
        fake = again.generator(batch.fake_low, z, batch.fake_labels)
        real_scores = again.discriminator(batch.video, batch.video, batch.labels, batch.low)
        fake_scores = again.discriminator(fake, fake, batch.fake_labels, batch.fake_low)
    expected = torch.relu(1 - real_scores).mean() + torch.relu(1 + fake_scores).mean()
    assert metrics["loss_d"] == pytest.approx(expected.item(), rel=1e-5)
    assert metrics["score_real"] == pytest.approx(real_scores.mean().item(), rel=1e-4, abs=1e-5)


def test_reconstruction_first_then_the_adversary() -> None:
    level = make_level(2, reconstruction=AID)
    assert [level.adversarial(step) for step in range(4)] == [False, False, True, True]
    assert set(generator_update(level, [make_batch(2)], 1)) == {"reconstruction", "motion"}
    assert level.optimizers["generator"].param_groups[0]["lr"] == AID.lr
    assert set(generator_update(level, [make_batch(2)], 2)) == {"reconstruction", "motion", "loss_g"}
    assert level.optimizers["generator"].param_groups[0]["lr"] == 1e-4
    assert make_level(2).adversarial(0)


@pytest.mark.parametrize("number", [1, 2])
def test_the_discriminators_may_judge_reconstructions(number: int) -> None:
    """Then N(0, I) and generated conditions are not looked at, and `loss_g` is that of the reconstructions."""
    level = make_level(number, reconstruction=replace(AID, steps=0, judged=True), condition_noise=0.0)
    batch, other = make_batch(number), make_batch(number, seed=1)
    without = replace(batch, fake_low=other.fake_low, fake_labels=other.fake_labels)
    seen = [discriminator_loss(copy.deepcopy(level), some, 0, 0)[1] for some in (batch, without)]
    assert seen[0] == seen[1]
    changed_video = replace(batch, video=other.video, low=other.low)
    assert discriminator_loss(copy.deepcopy(level), changed_video, 0, 0)[1]["score_fake"] != seen[0]["score_fake"]
    again = _make_again(level, batch, 3)[0].detach()
    with torch.no_grad():
        scores = level.score(again, batch.labels, batch.low, (3, "generator"), WHOLE)
    told = generator_loss(level, batch, 3)[1]
    assert float(told["loss_g"]) == pytest.approx(float(geometric_hinge_generator(scores[0])), abs=1e-6)
    assert float(told["reconstruction"]) == pytest.approx(float((again - batch.video).abs().mean()), abs=1e-6)


def test_structure_functions_are_a_part_of_the_reconstruction_where_they_have_a_weight() -> None:
    results = {}
    for weight in (0.0, 2.0):
        level = make_level(2, reconstruction=replace(AID, structure_weight=weight))
        results[weight] = generator_update(level, [make_batch(2)], 0), level.generator.to_rgb.weight.grad
    assert set(results[2.0][0]) == set(results[0.0][0]) | {"structure"}
    assert results[2.0][0]["structure"] > 0
    assert not torch.equal(results[0.0][1], results[2.0][1])


def test_the_first_level_learns_codes_with_its_encoder() -> None:
    level = make_level(1, reconstruction=AID)
    assert level.encoder is not None
    encoder, generator = snapshot(level.encoder), snapshot(level.generator)
    metrics = generator_update(level, [make_batch(1)], 0)
    assert set(metrics) == {"reconstruction", "motion", "kl"}
    assert changed(encoder, level.encoder) >= parameters(level.encoder)
    assert changed(generator, level.generator) >= parameters(level.generator)
    assert make_level(1).encoder is None
    assert make_level(2, reconstruction=AID).encoder is None


@pytest.mark.parametrize("number", [1, 2])
def test_reconstruction_learns(number: int) -> None:
    level = make_level(number, reconstruction=ReconstructionConfig(steps=100, weight=1.0, lr=5e-3))
    errors = [generator_update(level, [make_batch(number)], step)["reconstruction"] for step in range(30)]
    assert errors[-1] < 0.9 * errors[0]


def test_the_moving_average_is_the_literal_one() -> None:
    level = make_level(1, ema=0.3)
    assert level.sampler is level.average
    average = [parameter.clone() for parameter in level.generator.parameters()]
    for step in range(5):
        generator_update(level, [make_batch(1)], step)
        decay = min(0.3, (1 + step) / (10 + step))  # 0.1, 0.18, 0.25, 0.3, 0.3
        for number, parameter in enumerate(level.generator.parameters()):
            average[number] = decay * average[number] + (1 - decay) * parameter.detach()
    assert level.average is not None
    for ours, theirs in zip(level.average.parameters(), average, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
        assert not ours.requires_grad
    for ours, theirs in zip(level.average.buffers(), level.generator.buffers(), strict=True):
        assert torch.equal(ours, theirs)
    plain = make_level(1)
    assert plain.average is None
    assert plain.sampler is plain.generator


def test_the_moving_average_keeps_spectral_norm_of_its_own() -> None:
    level = make_level(1, config=small_config((2,), spectral=True), ema=0.9)
    generator_update(level, [make_batch(1)], 50)
    z, labels = torch.randn(2, 5), torch.tensor([0, 1])
    assert level.average is not None
    with torch.no_grad():
        assert not torch.equal(level.average(z, labels), level.generator(z, labels))


def test_noise_and_frames_depend_on_the_step_and_use_only() -> None:
    level = make_level(1)
    torch.manual_seed(1)
    first = level.noise(3, "generator", 4)
    torch.manual_seed(2)
    assert torch.equal(level.noise(3, "generator", 4), first)
    assert not torch.equal(level.noise(4, "generator", 4), first)
    assert not torch.equal(level.noise(3, "discriminator 0", 4), first)
    batch = make_batch(1)
    with torch.no_grad():
        scores = [level.score(batch.video, batch.labels, None, (3, use), WHOLE) for use in ("a", "a", "b")]
    assert torch.equal(*scores[0], *scores[1])
    assert not torch.equal(*scores[0], *scores[2])


@pytest.mark.parametrize("number", [1, 2])
def test_updates_depend_on_the_state_and_the_batch_only(number: int) -> None:
    """Whatever torch's own random state is, or what was computed in between."""
    results = []
    for seed in (1, 2):
        level = make_level(number, reconstruction=AID, condition_noise=0.1, ema=0.5)
        torch.manual_seed(seed)
        discriminator_update(level, [make_batch(number)], 2, 0)
        level.noise(9, "sheet", seed)
        generator_update(level, [make_batch(number)], 2)
        results.append(snapshot(level))
    assert all(torch.equal(results[0][key], results[1][key]) for key in results[0])


def test_condition_noise_is_for_real_conditions_and_bounded() -> None:
    low, all_of_it = torch.zeros(64, 2, 3, 8, 8), Share.whole(64)
    assert _disturb(low, 0.0, seeded("disturb", 5), all_of_it) is low
    whole = _disturb(low, 0.2, seeded("disturb", 5), all_of_it)
    strength = whole.std((1, 2, 3, 4))
    assert strength.max() < 0.23
    assert strength.min() < 0.05  # a strength of its own for each clip
    assert torch.equal(_disturb(low, 0.2, seeded("disturb", 5), all_of_it), whole)
    assert torch.equal(_disturb(low[:16], 0.2, seeded("disturb", 5), Share(32, 16, 64)), whole[32:48])


def test_adversarial_weight_scales_the_gradient() -> None:
    grads = []
    for weight in (1.0, 0.25):
        level = make_level(1, adversarial_weight=weight)
        generator_update(level, [make_batch(1)], 0)
        grads.append(level.generator.to_rgb.weight.grad)
    torch.testing.assert_close(grads[1], 0.25 * grads[0], rtol=1e-5, atol=1e-9)
    assert grads[0].abs().max() > 0


def test_an_unconditional_level_trains_too() -> None:
    level = make_level(2, config=small_config((2,), num_classes=0), reconstruction=AID)
    batch = make_batch(2)
    bare = LevelBatch(batch.video, None, batch.low, batch.fake_low, None, WHOLE)
    discriminator_update(level, [bare], 2, 0)
    assert set(generator_update(level, [bare], 2)) == {"reconstruction", "motion", "loss_g"}


@pytest.mark.parametrize("number", [1, 2])
def test_the_gradient_of_parts_is_the_mean_of_their_gradients(number: int) -> None:
    def gradients(seeds: tuple[int, ...]) -> list[Tensor]:
        level = make_level(number, reconstruction=ReconstructionConfig(steps=1, weight=1.0), batch_size=6)
        parts = [replace(make_batch(number, seed), share=Share(3 * seed, 3, 6)) for seed in seeds]
        discriminator_update(level, parts, 1, 0)
        discriminator = [parameter.grad for parameter in level.discriminator.parameters()]
        level = make_level(number, reconstruction=ReconstructionConfig(steps=1, weight=1.0), batch_size=6)
        generator_update(level, parts, 1)
        return [*discriminator, *(parameter.grad for parameter in level.generator.parameters())]

    first, second, both = gradients((0,)), gradients((1,)), gradients((0, 1))
    assert max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True)) > 1e-2
    for a, b, mean in zip(first, second, both, strict=True):
        torch.testing.assert_close(mean, (a + b) / 2, rtol=1e-4, atol=1e-6)


def test_metrics_of_parts_are_means() -> None:
    parts = [replace(make_batch(1, seed), share=Share(3 * seed, 3, 6)) for seed in (0, 1)]
    alone = [discriminator_update(make_level(1, batch_size=6), [part], 0, 0) for part in parts]
    both = discriminator_update(make_level(1, batch_size=6), parts, 0, 0)
    for key, value in both.items():
        assert value == pytest.approx((alone[0][key] + alone[1][key]) / 2, rel=1e-5, abs=1e-6)
    assert alone[0]["loss_d"] != pytest.approx(alone[1]["loss_d"], rel=1e-4)


def test_scores_of_a_share_are_those_of_the_whole() -> None:
    """Frames and augmentation of a sample do not depend on which samples are computed beside it."""
    level = make_level(2, augment=("color", "translation", "cutout"))
    batch = make_batch(2)
    assert batch.labels is not None
    assert batch.low is not None
    with torch.no_grad():
        (whole,) = level.score(batch.video, batch.labels, batch.low, (0, "real"), WHOLE)
        (last,) = level.score(batch.video[2:], batch.labels[2:], batch.low[2:], (0, "real"), Share(2, 1, 3))
        (plain,) = make_level(2).score(batch.video, batch.labels, batch.low, (0, "real"), WHOLE)
        (other,) = level.score(batch.video, batch.labels, batch.low, (0, "fake"), WHOLE)
    torch.testing.assert_close(last, whole[2:], rtol=1e-4, atol=1e-5)
    assert (plain - whole).abs().max() > 1e-2
    assert (other - whole).abs().max() > 1e-2


def test_the_generator_learns_through_augmentation() -> None:
    level = make_level(2, augment=("color", "translation", "cutout"))
    generator_update(level, [make_batch(2)], 0)
    grad = level.generator.to_rgb.weight.grad
    assert grad.isfinite().all()
    assert grad.abs().max() > 0


@pytest.mark.parametrize("number", [1, 2])
def test_everything_can_be_in_double_precision(number: int) -> None:
    """Data and noise follow the parameters; the losses are those of float32, but for rounding."""
    metrics = []
    for dtype in (torch.float32, torch.float64):
        level = make_level(number, reconstruction=AID, condition_noise=0.1, augment=("color",)).to(dtype)
        told = discriminator_update(level, [make_batch(number)], 2, 0)
        metrics.append(told | generator_update(level, [make_batch(number)], 2))
        assert {parameter.dtype for parameter in level.parameters()} == {dtype}
    assert metrics[1] == pytest.approx(metrics[0], rel=1e-4, abs=1e-4)
