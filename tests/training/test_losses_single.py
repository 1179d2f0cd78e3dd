"""Losses of hp-VAE-GAN against slow loops in float64."""

from __future__ import annotations

import math

import numpy as np
import torch
from small_single import small_config

from hvgcli.models.hp_vae_gan import PatchDiscriminator, set_compute
from hvgcli.training import losses_single as losses


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def test_patch_kl_is_equation_3_averaged() -> None:
    mean, log_var = random(1, 3, 2, 2, 2), random(1, 3, 2, 2, 2, seed=1)
    total = 0.0
    for mu, lv in zip(mean.flatten().tolist(), log_var.flatten().tolist(), strict=True):
        sigma = math.exp(lv / 2)
        total += math.log(1 / sigma) + (sigma**2 + mu**2) / 2 - 0.5
    assert math.isclose(float(losses.patch_kl(mean, log_var)), total / mean.numel())
    assert float(losses.patch_kl(torch.zeros(1, 2), torch.zeros(1, 2))) == 0


def test_sample_latent_scales_noise_by_sigma() -> None:
    mean, log_var, noise = random(1, 2, 1, 2, 2), random(1, 2, 1, 2, 2, seed=1), random(1, 2, 1, 2, 2, seed=2)
    expected = [
        e * math.sqrt(math.exp(lv)) + mu
        for mu, lv, e in zip(*(v.flatten().tolist() for v in (mean, log_var, noise)), strict=True)
    ]
    torch.testing.assert_close(losses.sample_latent(mean, log_var, noise).flatten(), torch.tensor(expected).double())


def test_squared_error_is_equation_4_averaged() -> None:
    x, y = random(1, 3, 2, 3, 2), random(1, 3, 2, 3, 2, seed=1)
    total = sum((a - b) ** 2 for a, b in zip(x.flatten().tolist(), y.flatten().tolist(), strict=True))
    assert math.isclose(float(losses.squared_error(x, y)), total / x.numel())


def test_critic_and_generator_are_the_two_sides_of_equation_10() -> None:
    real, fake = random(1, 1, 2, 3, 3), random(1, 1, 2, 3, 3, seed=1)
    mean = {name: sum(v.flatten().tolist()) / v.numel() for name, v in (("real", real), ("fake", fake))}
    assert math.isclose(float(losses.critic_loss(real, fake)), -(mean["real"] - mean["fake"]))
    assert math.isclose(float(losses.generator_loss(fake)), -mean["fake"])


def test_the_gradient_is_looked_at_between_real_and_fake() -> None:
    real, fake = random(1, 3, 1, 2, 2), random(1, 3, 1, 2, 2, seed=1)
    torch.testing.assert_close(losses.between(real, fake, torch.tensor(1.0)), real)
    torch.testing.assert_close(losses.between(real, fake, torch.tensor(0.0)), fake)
    torch.testing.assert_close(losses.between(real, fake, torch.tensor(0.25)), fake + 0.25 * (real - fake))


def test_gradient_penalty_is_that_of_each_place() -> None:
    gradient = random(1, 3, 2, 3, 2)
    total = 0.0
    for t, h, w in np.ndindex(2, 3, 2):
        norm = math.sqrt(sum(float(gradient[0, c, t, h, w]) ** 2 for c in range(3)))
        total += (norm - 1) ** 2
    assert math.isclose(float(losses.gradient_penalty(gradient)), total / 12, rel_tol=1e-9)


def test_gradient_penalty_has_a_finite_gradient_at_zero() -> None:
    gradient = torch.zeros(1, 3, 1, 2, 2, requires_grad=True)
    losses.gradient_penalty(gradient).backward()
    assert gradient.grad is not None
    assert bool(torch.isfinite(gradient.grad).all())


def test_the_penalty_of_a_discriminator_is_that_of_finite_differences() -> None:
    config = small_config(channels=2)
    discriminator = PatchDiscriminator(config).double()
    set_compute(discriminator, torch.float64)
    x = random(1, 3, 1, 2, 3)
    slopes = torch.zeros_like(x)
    for index in np.ndindex(*x.shape):
        for sign in (1, -1):
            moved = x.clone()
            moved[index] += sign * 1e-6
            with torch.no_grad():
                slopes[index] += sign * discriminator(moved).sum() / 2e-6
    expected = losses.gradient_penalty(slopes)
    torch.testing.assert_close(losses.gradient_penalty(discriminator.input_gradient(x)), expected, atol=1e-6, rtol=1e-6)
