"""The plain training step of the benchmark has the same losses and gradients as ours: an independent reading."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_networks import randomise_biases, small_config, small_one_stage
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hvgcli.config import ModelConfig, TrainingConfig
from hvgcli.layers.weights import power_iterate
from hvgcli.models import build_discriminator, build_generator
from hvgcli.training import judging, losses
from hvgcli.training.distributed import ALONE

BATCH = 3


def made_up(config: ModelConfig, level: int) -> tuple[nn.Module, nn.Module]:
    """Networks in float64, not at their start values, with singular vectors that a power iteration does not move."""
    torch.manual_seed(level)
    networks = build_generator(config, level).double(), build_discriminator(config, level).double()
    for network in networks:
        randomise_biases(network, level)
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        _settle(network)
    return networks


def _settle(network: nn.Module) -> None:
    for layer in network.modules():
        if parametrize.is_parametrized(layer, "weight"):
            norm, weight = layer.parametrizations["weight"][0], layer.parametrizations["weight"].original
            u, _, v = torch.linalg.svd(weight.detach().flatten(1), full_matrices=False)
            norm.u.copy_(u[:, 0])
            norm.v.copy_(v[0])
    power_iterate(network)  # the same sign for both


def make_videos(config: ModelConfig, level: int) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor]:
    """Real x^l, real and generated x^{l-1}, z."""
    spec = config.levels[level - 1]

    def uniform(frames: int, size: int) -> Tensor:
        return 2 * torch.rand(BATCH, frames, 3, size, size, dtype=torch.float64) - 1

    video, z = uniform(spec.frames, spec.resolution), torch.randn(BATCH, spec.z_dim, dtype=torch.float64)
    if level == 1:
        return video, None, None, z
    frames, size = spec.frames // config.times_time(level), config.levels[level - 2].resolution
    return video, uniform(frames, size), uniform(frames, size), z


def gradients(loss: Tensor, network: nn.Module) -> dict[str, Tensor]:
    names, parameters = zip(*network.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def assert_same(ours: tuple[Tensor, dict[str, Tensor]], theirs: tuple[Tensor, dict[str, Tensor]]) -> None:
    assert abs(ours[0].item() - theirs[0].item()) < 1e-8
    assert ours[1].keys() == theirs[1].keys()
    for name, gradient in ours[1].items():
        torch.testing.assert_close(gradient, theirs[1][name], rtol=1e-8, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")
    assert max(gradient.abs().max() for gradient in ours[1].values()) > 1e-4


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("spectral", [True, False])
def test_the_same_losses_and_gradients(
    level: int, classes: int, spectral: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    from plain_training import PlainTraining

    config = small_config((2, 1), num_classes=classes, spectral=spectral)
    generator, discriminator = made_up(config, level)
    video, low, fake_low, z = make_videos(config, level)
    labels, fake_labels = (torch.tensor([0, 2, 1]), torch.tensor([1, 1, 0])) if classes else (None, None)
    reference = PlainTraining(generator, discriminator, TrainingConfig(spatial_frames=video.shape[1]))

    fake = generator(z, fake_labels) if fake_low is None else generator(fake_low, z, fake_labels)
    on_fake = discriminator(fake, fake, fake_labels, fake_low)
    loss = losses.geometric_hinge_generator(on_fake)
    expected = reference.generator_loss(z, fake_labels, fake_low)
    assert_same((loss, gradients(loss, generator)), (expected, gradients(expected, reference.generator)))

    on_real = discriminator(video, video, labels, low)
    on_fake = discriminator(fake.detach(), fake.detach(), fake_labels, fake_low)
    loss = losses.geometric_hinge_discriminator(on_real, on_fake)
    expected = reference.discriminator_loss((video, labels, low), z, fake_labels, fake_low)
    assert_same((loss, gradients(loss, discriminator)), (expected, gradients(expected, reference.discriminator)))


@pytest.mark.parametrize("classes", [0, 3])
def test_the_same_losses_and_gradients_of_dvd_gan(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    from plain_training import PlainTraining

    config = small_one_stage(num_classes=classes)
    generator, discriminator = made_up(config, 1)
    video, _, _, z = make_videos(config, 1)
    labels, fake_labels = (torch.tensor([0, 2, 1]), torch.tensor([1, 1, 0])) if classes else (None, None)
    reference = PlainTraining(generator, discriminator, TrainingConfig(spatial_frames=video.shape[1]))

    def judged(video: Tensor, labels: Tensor | None) -> judging.Scores:
        return judging.judge(discriminator, config, video, video, labels, None, None, ALONE)

    fake = generator(z, fake_labels)
    loss, expected = judging.generator_hinge(judged(fake, fake_labels)), reference.generator_loss(z, fake_labels, None)
    assert_same((loss, gradients(loss, generator)), (expected, gradients(expected, reference.generator)))

    loss = judging.discriminator_hinge(judged(video, labels), judged(fake.detach(), fake_labels))
    expected = reference.discriminator_loss((video, labels, None), z, fake_labels, None)
    assert_same((loss, gradients(loss, discriminator)), (expected, gradients(expected, reference.discriminator)))


def test_plain_updates_change_the_network_they_are_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    from plain_training import PlainTraining

    config = small_config((2,))
    networks = build_generator(config, 2), build_discriminator(config, 2)
    reference = PlainTraining(*networks, TrainingConfig(spatial_frames=2))
    video, low, fake_low, z = (part.float() for part in make_videos(config, 2))
    labels = torch.tensor([0, 1, 2])
    start = [
        {n: p.clone() for n, p in part.named_parameters()} for part in (reference.generator, reference.discriminator)
    ]
    reference.discriminator_update((video, labels, low), z, labels, fake_low)
    assert all(torch.equal(start[0][n], p) for n, p in reference.generator.named_parameters())
    changed = {n for n, p in reference.discriminator.named_parameters() if not torch.equal(start[1][n], p)}
    assert changed >= {n for n in start[1] if not n.endswith("score.bias")}
    reference.generator_update(z, labels, fake_low)
    assert all(not torch.equal(start[0][n], p) for n, p in reference.generator.named_parameters())
