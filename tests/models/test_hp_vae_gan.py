"""The networks of hp-VAE-GAN and the recursions of equations 6 and 9."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_single import image_config, small_config, small_model

from hvgcli.config import ModelConfig, SingleConfig
from hvgcli.layers.volume import VolumeConv, enlarge
from hvgcli.models import build_discriminator, build_generator
from hvgcli.models.hp_vae_gan import Encoder, HpVaeGan, PatchDiscriminator, PatchGenerator, set_compute


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_papers_networks_have_their_number_of_parameters() -> None:
    config = SingleConfig(width=456)
    with torch.device("meta"):
        network, discriminator = HpVaeGan(config), PatchDiscriminator(config)
    inner = 64 * 64 * 27 + 64
    first, norms = 3 * 64 * 27 + 64, 4 * 2 * 64
    assert network.encoder is not None
    assert count(network.encoder) == first + 4 * inner + 2 * (64 * 128 * 27 + 128)
    assert count(network.generators[0]) == 128 * 64 * 27 + 64 + 3 * inner + 64 * 3 * 27 + 3 + norms
    assert count(network.generators[9]) == first + 3 * inner + 64 * 3 * 27 + 3 + norms
    assert count(discriminator) == first + 3 * inner + 64 * 27 + 1
    assert len(network.generators) == 10


def test_an_image_has_flat_convolutions() -> None:
    for conv in HpVaeGan(image_config()).modules():
        if isinstance(conv, VolumeConv):
            assert conv.kernel_size == (1, 3, 3)


@pytest.mark.parametrize("config", [small_config(), image_config()])
def test_encoder_and_discriminator_keep_the_size(config: SingleConfig) -> None:
    x = torch.randn(2, 3, *config.sizes[0])
    mean, log_var = Encoder(config)(x)
    assert mean.shape == log_var.shape == (2, config.latent, *config.sizes[0])
    assert PatchDiscriminator(config)(x).shape == (2, 1, *config.sizes[0])


@pytest.mark.parametrize("kernel", [1, 3])
def test_the_receptive_field_is_that_of_the_kernels(kernel: int) -> None:
    config = SingleConfig(channels=2, latent=2, height=16, width=16)
    network = PatchGenerator(3, kernel, config).double().eval()
    set_compute(network, torch.float64)
    x = torch.randn(1, 3, 13, 15, 15, dtype=torch.float64, requires_grad=True)
    network(x)[0, :, 6, 7, 7].sum().backward()
    assert x.grad is not None
    touched = x.grad.abs().sum((0, 1)).nonzero()
    extent = touched.max(0).values - touched.min(0).values + 1
    assert extent.tolist() == [1 + 5 * (kernel - 1)] * 3


def test_kernels_of_the_ablations_are_where_they_belong() -> None:
    config = small_config(encoder_kernel=1, decoder_kernel=1)
    network = HpVaeGan(config)
    assert network.encoder is not None
    assert network.encoder.blocks[0].kernel_size == network.encoder.to_mean.kernel_size == (1, 1, 1)
    sides = [generator.convs[0].kernel_size for generator in network.generators]
    assert sides == [(1, 1, 1), (1, 1, 1), (3, 3, 3), (3, 3, 3)]


def test_without_patch_vae_scales_there_is_no_encoder() -> None:
    network = HpVaeGan(small_config(vae_scales=0))
    assert network.encoder is None
    assert network.latent == 3
    assert HpVaeGan(small_config(vae_scales=4)).encoder is not None


def test_the_reconstruction_is_equation_6() -> None:
    config = small_config()
    network = HpVaeGan(config).train()
    x = network.first(torch.randn(1, config.latent, *config.sizes[0]))
    expected = x
    for n in (1, 2, 3):
        below = enlarge(expected, config.sizes[n])
        expected = torch.tanh(below + network.generators[n](below))
    torch.testing.assert_close(network.grow(x, range(1, 4), config.sizes), expected)
    assert expected.shape == (1, 3, *config.sizes[3])


def test_the_random_path_is_equation_9_with_noise_at_patch_gan_scales_only() -> None:
    config = small_config()
    network = HpVaeGan(config).train()
    network.amplitudes.copy_(torch.tensor([0.0, 0.0, 0.5, 0.25]))
    drawn: list[int] = []

    def noise(scale: int, size: tuple[int, int, int]) -> torch.Tensor:
        drawn.append(scale)
        return torch.full((1, 3, *size), float(scale)) + torch.arange(size[2])

    x = network.first(torch.randn(1, config.latent, *config.sizes[0]))
    expected = x
    for n in (1, 2, 3):
        below = enlarge(expected, config.sizes[n])
        z = network.amplitudes[n] * (float(n) + torch.arange(config.sizes[n][2])) if n >= 2 else 0.0
        expected = torch.tanh(below + network.generators[n](below + z))
    torch.testing.assert_close(network.grow(x, range(1, 4), config.sizes, noise), expected)
    assert drawn == [2, 3]


@pytest.mark.parametrize("config", [small_config(), small_config(hold_ends=True), image_config()])
def test_the_gradient_of_the_discriminator_is_that_of_autograd_and_so_is_its_derivative(config: SingleConfig) -> None:
    discriminator = PatchDiscriminator(config).double()
    set_compute(discriminator, torch.float64)
    x = torch.randn(1, 3, *config.sizes[1], dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    gradient = discriminator.input_gradient(x)
    torch.testing.assert_close(gradient, expected)
    weights = [conv.parametrizations["weight"].original for conv in discriminator.convs]
    mine = torch.autograd.grad(gradient.square().sum(), weights)
    torch.testing.assert_close(mine, torch.autograd.grad(expected.square().sum(), weights))


def test_the_builders_know_it_and_a_stopped_model_has_fewer_generators() -> None:
    model = small_model()
    assert isinstance(build_discriminator(model, 1), PatchDiscriminator)
    network = build_generator(model, 1)
    assert isinstance(network, HpVaeGan)
    stopped = build_generator(ModelConfig("s", (replace(small_config(), finished=2),)), 1)
    assert len(network.generators) == 4
    assert len(stopped.generators) == len(stopped.amplitudes) == 2


@pytest.mark.parametrize("hold_ends", [False, True])
def test_what_stands_still_does_so_to_the_ends_only_where_they_are_held(hold_ends: bool) -> None:
    torch.manual_seed(0)
    network = HpVaeGan(small_config(hold_ends=hold_ends)).eval()
    made = network.refine(1, torch.randn(1, 3, 1, 9, 8).expand(-1, -1, 5, -1, -1))
    moved = (made - made[:, :, :1]).abs().max()
    assert moved < 1e-5 if hold_ends else moved > 1e-2


def test_bfloat16_is_close_to_float32() -> None:
    config = small_config(channels=8)
    torch.manual_seed(0)
    network = HpVaeGan(config).train()
    z = torch.randn(1, config.latent, *config.sizes[0])
    exact = network.first(z)
    set_compute(network, torch.bfloat16)
    rounded = network.first(z)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().mean() < 0.03
