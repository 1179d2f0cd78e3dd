"""Which parts a scale of hp-VAE-GAN trains and freezes, what it starts from, and its losses (section 3.2)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_single import TRAINING, image_config, pyramid, scale_training, small_config
from torch import Tensor, nn

from hvgcli.config import SingleConfig, SingleTrainingConfig
from hvgcli.layers.volume import enlarge
from hvgcli.layers.weights import power_iterate
from hvgcli.models.hp_vae_gan import HpVaeGan, PatchDiscriminator
from hvgcli.sampling.noise import seeded
from hvgcli.training import losses_single as losses
from hvgcli.training.single import ScaleTraining, learning_rate, start_from, trained_parts


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def changed_parts(level: ScaleTraining, iterations: int = 2) -> set[str]:
    """Parts of the network of which some weight is another one after a few updates."""
    before = weights(level.network)
    for iteration in range(iterations):
        level.update(iteration)
    after = weights(level.network)
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    return {".".join(name.split(".")[: 2 if name.startswith("generators") else 1]) for name in moved}


# ---- freezing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (0, {"encoder", "generators.0"}),
        (1, {"encoder", "generators.0", "generators.1"}),
        (2, {"encoder", "generators.0", "generators.2"}),
        (3, {"generators.3"}),
    ],
)
def test_a_scale_trains_its_own_generator_and_a_patch_vae_scale_the_patch_vae_too(
    scale: int, expected: set[str]
) -> None:
    level = scale_training(scale, small_config(vae_scales=3))
    assert changed_parts(level) == expected
    assert set(trained_parts(level.config, scale, True)) == expected


@pytest.mark.parametrize("scale", [2, 3])
def test_a_patch_gan_scale_leaves_all_below_as_it_is_with_statistics_and_singular_vectors(scale: int) -> None:
    level = scale_training(scale)
    before = {name: value.clone() for name, value in level.network.state_dict().items()}
    assert changed_parts(level) == {f"generators.{scale}"}
    after = level.network.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith(f"generators.{scale}.") for name in moved)


@pytest.mark.parametrize(("scale", "freeze"), [(0, True), (1, True), (2, False)])
def test_the_encoder_has_one_power_iteration_an_update_where_it_is_trained(scale: int, freeze: bool) -> None:
    level, twin = (scale_training(scale, freeze=freeze) for _ in range(2))
    assert level.network.encoder is not None
    assert twin.network.encoder is not None
    power_iterate(twin.network.encoder)
    level.update(0)
    vectors = {name: value for name, value in level.network.encoder.named_buffers() if name.endswith((".u", ".v"))}
    assert len(vectors) == 2 * level.config.blocks
    assert all(torch.equal(value, twin.network.encoder.get_buffer(name)) for name, value in vectors.items())


def test_a_patch_gan_scale_trains_its_discriminator() -> None:
    level = scale_training(2)
    assert level.discriminator is not None
    before = weights(level.discriminator)
    level.update(0)
    assert all(not torch.equal(value, before[name]) for name, value in weights(level.discriminator).items())
    assert scale_training(1).discriminator is None


@pytest.mark.parametrize("scale", [1, 3])
def test_without_freezing_everything_up_to_the_scale_is_trained(scale: int) -> None:
    expected = {"encoder", *(f"generators.{n}" for n in range(scale + 1))}
    assert changed_parts(scale_training(scale, freeze=False)) == expected


def test_without_patch_vae_scales_scale_0_is_a_patch_gan() -> None:
    level = scale_training(0, small_config(vae_scales=0))
    assert level.discriminator is not None
    assert changed_parts(level) == {"generators.0"}


def test_with_patch_vae_scales_alone_there_is_no_discriminator() -> None:
    level = scale_training(3, small_config(vae_scales=4))
    assert level.discriminator is None
    assert set(level.update(0)) == {"reconstruction", "coarse", "kl"}


def test_frozen_scales_below_a_patch_gan_use_standing_statistics_and_those_of_a_patch_vae_do_not() -> None:
    level = scale_training(2)
    assert [generator.training for generator in level.network.generators[:3]] == [False, False, True]
    level = scale_training(1)
    assert all(generator.training for generator in level.network.generators[:2])


def test_the_learning_rate_of_the_patch_vae_falls_at_each_of_its_scales() -> None:
    config, training = SingleConfig(), SingleTrainingConfig()
    for part in ("encoder", "generators.0"):
        rates = [learning_rate(config, training, part, scale) for scale in range(3)]
        assert rates == pytest.approx([5e-4, 1e-4, 2e-5])
    assert [learning_rate(config, training, f"generators.{n}", n) for n in (1, 2, 3, 9)] == [5e-4] * 4
    level = scale_training(1, lr=5e-4)
    assert [group["lr"] for group in level.optimizers["generator"].param_groups] == pytest.approx([1e-4, 1e-4, 5e-4])
    assert level.optimizers["generator"].param_groups[0]["betas"] == (0.5, 0.999)


# ---- what a scale starts from -----------------------------------------------------------------------------


def test_generators_start_from_the_one_below_but_the_first_of_its_width() -> None:
    network = HpVaeGan(small_config())
    fresh = weights(network.generators[1])
    assert not start_from(network.generators[1], network.generators[0])  # its input is an image, not a code
    assert all(torch.equal(value, fresh[name]) for name, value in weights(network.generators[1]).items())
    assert start_from(network.generators[2], network.generators[1])
    same = weights(network.generators[1])
    assert all(torch.equal(value, same[name]) for name, value in weights(network.generators[2]).items())


def test_without_patch_vae_scales_all_generators_have_the_same_input() -> None:
    network = HpVaeGan(small_config(vae_scales=0))
    assert start_from(network.generators[1], network.generators[0])


def test_the_first_discriminator_is_fresh_and_the_next_starts_from_it() -> None:
    assert not start_from(PatchDiscriminator(small_config()), None)
    first = scale_training(2)
    first.update(0)
    following = ScaleTraining(first.network, 3, first.pyramid, TRAINING, 0, first.discriminator)
    assert following.discriminator is not None
    assert first.discriminator is not None
    before = weights(first.discriminator)
    assert all(torch.equal(value, before[name]) for name, value in weights(following.discriminator).items())
    following.update(0)
    assert all(torch.equal(value, before[name]) for name, value in weights(first.discriminator).items())


def test_noise_is_in_proportion_to_what_the_scale_has_to_mend() -> None:
    level = scale_training(2)
    level.set_amplitude()
    total, count = 0.0, 0
    for a, b in zip(level.still(0).flatten().tolist(), level.real(2, 0).flatten().tolist(), strict=True):
        total, count = total + (a - b) ** 2, count + 1
    assert float(level.network.amplitudes[2]) == pytest.approx(0.1 * (total / count) ** 0.5, rel=1e-5)
    vae = scale_training(1)
    vae.set_amplitude()
    assert float(vae.network.amplitudes[1]) == 0


# ---- losses -------------------------------------------------------------------------------------------------


def test_a_patch_vae_scale_has_the_loss_of_equation_8() -> None:
    level = scale_training(1)
    noise = level.noise(0, "reconstruction")
    loss, told = level._vae_loss(0, noise)
    mean, log_var = level.network.encoder(level.real(0, 0))
    first = level.network.first(losses.sample_latent(mean, log_var, noise(0, level.sizes[0])))
    output = level.network.grow(first, [1], level.sizes)
    errors = [losses.squared_error(output, level.real(1, 0)), losses.squared_error(first, level.real(0, 0))]
    expected = 10 * (errors[0] + errors[1]) + losses.patch_kl(mean, log_var)
    torch.testing.assert_close(loss, expected)
    assert float(told["coarse"]) == pytest.approx(errors[1].item())


def test_scale_0_has_the_loss_of_equation_5() -> None:
    level = scale_training(0, kl_weight=3.0)
    noise = level.noise(0, "reconstruction")
    loss, told = level._vae_loss(0, noise)
    mean, log_var = level.network.encoder(level.real(0, 0))
    output = level.network.first(losses.sample_latent(mean, log_var, noise(0, level.sizes[0])))
    error, kl = losses.squared_error(output, level.real(0, 0)), losses.patch_kl(mean, log_var)
    torch.testing.assert_close(loss, 10 * error + 3 * kl)
    assert {name: value.item() for name, value in told.items()} == pytest.approx(
        {"reconstruction": error.item(), "kl": kl.item()}
    )


def gradients(level: ScaleTraining, name: str) -> list[Tensor]:
    """Of the parameters of an optimizer, as the last update left them."""
    return [p.grad for group in level.optimizers[name].param_groups for p in group["params"] if p.grad is not None]


def slopes(level: ScaleTraining, name: str, loss: Tensor) -> list[Tensor]:
    """The same by autograd, of a loss."""
    wanted = [p for group in level.optimizers[name].param_groups for p in group["params"]]
    found = torch.autograd.grad(loss, wanted, retain_graph=True, allow_unused=True)
    return [gradient for gradient in found if gradient is not None]


@pytest.mark.parametrize("scale", [0, 1])
def test_an_update_of_a_patch_vae_scale_follows_the_gradient_of_its_loss(scale: int) -> None:
    level, twin = scale_training(scale), scale_training(scale)
    assert level.network.encoder is not None
    power_iterate(level.network.encoder)
    loss, _ = level._vae_loss(0, level.noise(0, "reconstruction"))
    twin.update(0)
    torch.testing.assert_close(gradients(twin, "generator"), slopes(level, "generator", loss))


def literal_critic(level: ScaleTraining, fake: Tensor) -> tuple[Tensor, Tensor]:
    """E[D(fake)] - E[D(real)] and the penalty of equation 10, by autograd's second derivative."""
    assert level.discriminator is not None
    real, share = level.real(level.scale, 0), torch.rand((), generator=seeded("between", 0, level.scale, 0))
    place = losses.between(real, fake.detach(), share).requires_grad_()
    (slope,) = torch.autograd.grad(level.discriminator(place).sum(), place, create_graph=True)
    penalty = ((slope.square().sum(1).sqrt() - 1) ** 2).mean()
    return level.discriminator(fake.detach()).mean() - level.discriminator(real).mean(), penalty


@pytest.mark.parametrize(
    ("scale", "config", "weights_of_losses"),
    [
        (2, small_config(), {}),
        (3, small_config(hold_ends=True), {"adversarial_weight": 0.5, "gradient_penalty": 0.3}),
        (0, small_config(vae_scales=0), {}),
        (2, image_config(), {}),
        (2, small_config(), {"freeze": False, "kl_weight": 2.0}),
    ],
)
def test_a_patch_gan_scale_lowers_the_losses_of_equations_10_and_11(
    scale: int, config: SingleConfig, weights_of_losses: dict[str, float]
) -> None:
    level, twin = (scale_training(scale, config, **weights_of_losses) for _ in range(2))
    training = level.training
    assert level.discriminator is not None
    power_iterate(level.discriminator)
    if level.network.encoder is not None and not training.freeze:
        power_iterate(level.network.encoder)
    fake = level.sample(level.noise(0, "random"))
    critic, penalty = literal_critic(level, fake)
    error, _ = level._vae_loss(0, level.noise(0, "reconstruction"))
    score = level.discriminator(fake).mean()
    expected = {
        "generator": slopes(level, "generator", error - training.adversarial_weight * score),
        "discriminator": slopes(
            level, "discriminator", training.adversarial_weight * (critic + training.gradient_penalty * penalty)
        ),
    }
    told = twin.update(0)
    for name, found in expected.items():
        torch.testing.assert_close(gradients(twin, name), found, atol=1e-5, rtol=1e-4)
    assert told["loss_d"] == pytest.approx(critic.item(), abs=1e-5)
    assert told["loss_g"] == pytest.approx(-score.item(), abs=1e-5)
    assert told["penalty"] == pytest.approx(penalty.item(), abs=1e-5)


def test_the_reconstruction_error_of_a_patch_gan_scale_is_that_of_what_stands_still_below() -> None:
    level = scale_training(2)
    loss, told = level._vae_loss(0, level.noise(0, "reconstruction"))
    error = losses.squared_error(level.network.refine(2, level.still(0)), level.real(2, 0))
    torch.testing.assert_close(loss, 10 * error)
    assert set(told) == {"reconstruction"}


def test_without_freezing_a_patch_gan_scale_has_the_losses_of_equation_8_too() -> None:
    level = scale_training(2, freeze=False)
    noise = level.noise(0, "reconstruction")
    loss, told = level._vae_loss(0, noise)
    mean, log_var = level.network.encoder(level.real(0, 0))
    first = level.network.first(losses.sample_latent(mean, log_var, noise(0, level.sizes[0])))
    output = level.network.grow(first, [1, 2], level.sizes)
    errors = [losses.squared_error(output, level.real(2, 0)), losses.squared_error(first, level.real(0, 0))]
    torch.testing.assert_close(loss, 10 * (errors[0] + errors[1]) + losses.patch_kl(mean, log_var))
    assert set(told) == {"reconstruction", "kl", "coarse"}


def test_the_reconstruction_below_a_patch_gan_is_made_once_and_does_not_move() -> None:
    level = scale_training(3)
    still = level.still(0)
    copy = still.clone()
    for iteration in range(2):
        level.update(iteration)
    assert level.still(0) is still
    assert [generator.training for generator in level.network.generators] == [False, False, False, True]
    level._still.clear()
    torch.testing.assert_close(level.still(0), copy)


def test_the_reconstruction_keeps_the_statistics_that_it_was_trained_with() -> None:
    level = scale_training(2)
    assert level.network.encoder is not None
    trained = level.network.train()
    with torch.no_grad():
        mean, _ = trained.encoder(level.real(0, 0))
        expected = trained.grow(trained.first(mean), [1], level.sizes)
    level.network.eval()
    torch.testing.assert_close(level.still(0), enlarge(expected, level.sizes[2]))


def test_the_reconstruction_without_an_encoder_is_from_the_same_noise_each_time() -> None:
    level = scale_training(0, small_config(vae_scales=0))
    first, _ = level.latent(0, level.noise(0, "reconstruction"))
    again, _ = level.latent(0, level.noise(1, "reconstruction"))
    assert torch.equal(first, again)


def test_parts_of_a_long_clip_are_all_seen() -> None:
    level = scale_training(0)
    level.pyramid = pyramid(level.config, parts=3)
    assert {level.part(iteration) for iteration in range(30)} == {0, 1, 2}
    assert set(level.update(0)) == {"reconstruction", "kl"}


@pytest.mark.parametrize("scale", [0, 1, 2])
def test_an_image_is_trained_too(scale: int) -> None:
    metrics = scale_training(scale, image_config()).update(0)
    assert all(value == value for value in metrics.values())


@pytest.mark.parametrize("scale", [1, 3])
def test_training_lowers_the_reconstruction_error(scale: int) -> None:
    level = scale_training(scale, replace(small_config(), channels=8), lr=5e-3, adversarial_weight=0.1)
    errors = [level.update(iteration)["reconstruction"] for iteration in range(30)]
    assert sum(errors[-5:]) < 0.8 * sum(errors[:5])


def test_bfloat16_trains_float32_weights() -> None:
    level = scale_training(2, precision="bf16")
    level.update(0)
    assert all(parameter.dtype == torch.float32 for parameter in level.network.parameters())
    assert level.network.generators[2].compute == torch.bfloat16
