"""The same training step written the plain way: the yardstick of `train_step.py`.

What one writes first from the paper: contiguous float32, three GRU convolutions a timestep on [h; x],
batch norm by autograd of mean, variance, subtraction and product, torch's own spectral norm with a power
iteration at every call, 3D convolutions for time, no fusion. It starts from copies of our weights, so
the two can be compared number by number.
"""

from __future__ import annotations

import copy

import plain
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from hvgcli.config import TrainingConfig
from hvgcli.layers.weights import SpectralNorm
from hvgcli.models.decompositions import OneStageDiscriminator
from hvgcli.models.discriminators import LevelDiscriminator, ResidualDiscriminator


def with_torch_spectral_norm(network: nn.Module) -> nn.Module:
    """A contiguous copy of a network whose spectral norms are torch's own, with the same singular vectors."""
    network = copy.deepcopy(network)
    for layer in network.modules():
        if parametrize.is_parametrized(layer, "weight"):
            steps = layer.parametrizations["weight"]
            steps[0] = _torch_spectral_norm(steps.original.detach(), steps[0])
    for parameter in network.parameters():
        parameter.data = parameter.data.contiguous()
    return network


def _torch_spectral_norm(weight: Tensor, ours: SpectralNorm) -> nn.Module:
    holder = nn.Module()
    holder.weight = nn.Parameter(weight)
    theirs = parametrizations.spectral_norm(holder).parametrizations["weight"][0]
    theirs._u.copy_(ours.u)
    theirs._v.copy_(ours.v)
    return theirs


def generate(model: nn.Module, z: Tensor, labels: Tensor | None, low: Tensor | None) -> Tensor:
    """A generated batch `(B, T, 3, D, D)` with its own statistics."""
    return plain.outline(model, z, labels, model.level.frames) if low is None else plain.upsample(model, low, z, labels)


def block(layer: nn.Module, x: Tensor) -> Tensor:
    """relu-conv-relu-conv-(halve) plus skip, on frames `(N, C, H, W)` or volumes `(B, C, T, H, W)`."""

    def halve(y: Tensor) -> Tensor:
        if not layer.halve:
            return y
        return F.avg_pool2d(y, 2) if y.dim() == 4 else F.avg_pool3d(y, (1, 2, 2))

    h = layer.conv1(x if layer.first else torch.relu(x))
    h = halve(layer.conv2(torch.relu(h)))
    return h + halve(layer.skip(x))


def scores(network: ResidualDiscriminator, video: Tensor, labels: Tensor | None) -> Tensor:
    """One score a frame `(B, T)` of `(B, T, C, D, D)`."""
    volume = video.transpose(1, 2)
    for layer in network.volumes:
        volume = block(layer, volume)
    x = volume.transpose(1, 2).flatten(0, 1)
    for layer in network.frames:
        x = block(layer, x)
    features = torch.relu(x).sum((2, 3))
    out = network.score(features).view(video.shape[:2])
    if network.embed is None:
        return out
    return out + (features.view(*video.shape[:2], -1) * network.embed(labels)[:, None]).sum(2)


def pool(video: Tensor, resolution: int) -> Tensor:
    """Average pooling of every frame."""
    return F.avg_pool2d(video.flatten(0, 1), video.shape[-1] // resolution).unflatten(0, video.shape[:2])


def choose(video: Tensor, count: int) -> Tensor:
    """`count` random frames of each video, or all."""
    if count >= video.shape[1]:
        return video
    return torch.stack([sample[torch.randperm(len(sample))[:count].sort().values] for sample in video])


def level_score(
    network: LevelDiscriminator, video: Tensor, labels: Tensor | None, low: Tensor | None, count: int
) -> Tensor:
    """All scores of a level, the spatial ones on `count` random frames of each video."""
    found = [
        scores(network.spatial, choose(video, count), labels),
        scores(network.temporal, pool(video, video.shape[-1] // 2), labels),
    ]
    if network.matching is not None:
        repeated = low.repeat_interleave(video.shape[1] // low.shape[1], 1)
        found.append(scores(network.matching, torch.cat((repeated, pool(video, low.shape[-1])), 2), labels))
    return torch.cat(found, 1)


def dvd_gan_scores(network: OneStageDiscriminator, video: Tensor, labels: Tensor | None, count: int) -> list[Tensor]:
    """The scores `(B,)` of D_S, on `count` random frames, and of D_T: each the sum over the frames that it sees."""
    spatial, temporal = network.networks["spatial"], network.networks["temporal"]
    return [
        scores(spatial, choose(video, count), labels).sum(1),
        scores(temporal, pool(video, video.shape[-1] // 2), labels).sum(1),
    ]


def score(network: nn.Module, video: Tensor, labels: Tensor | None, low: Tensor | None, count: int) -> list[Tensor]:
    """Scores whose losses are added: all of a level in one tensor, or one tensor for each discriminator of DVD-GAN."""
    if isinstance(network, OneStageDiscriminator):
        return dvd_gan_scores(network, video, labels, count)
    return [level_score(network, video, labels, low, count)]


class PlainTraining:
    """Copies of the networks of a level, or of DVD-GAN, with optimizers of their own.

    Videos are contiguous `(B, T, 3, D, D)`.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, training: TrainingConfig) -> None:
        self.generator = with_torch_spectral_norm(generator)
        self.discriminator = with_torch_spectral_norm(discriminator)
        self.frames = training.spatial_frames
        betas = (training.beta1, training.beta2)
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), training.lr_generator, betas)
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), training.lr_discriminator, betas
        )

    def discriminator_loss(
        self,
        real: tuple[Tensor, Tensor | None, Tensor | None],
        z: Tensor,
        labels: Tensor | None,
        low: Tensor | None,
    ) -> Tensor:
        """Hinge loss for `real` (x^l, classes, x^{l-1}) against videos from z, `labels` and the generated `low`."""
        with torch.no_grad():
            fake = generate(self.generator, z, labels, low)
        on_real = score(self.discriminator, *real, self.frames)
        on_fake = score(self.discriminator, fake, labels, low, self.frames)
        return sum(
            torch.relu(1 - real).mean() + torch.relu(1 + fake).mean()
            for real, fake in zip(on_real, on_fake, strict=True)
        )

    def generator_loss(self, z: Tensor, labels: Tensor | None, low: Tensor | None) -> Tensor:
        fake = generate(self.generator, z, labels, low)
        return -sum(part.mean() for part in score(self.discriminator, fake, labels, low, self.frames))

    def discriminator_update(
        self,
        real: tuple[Tensor, Tensor | None, Tensor | None],
        z: Tensor,
        labels: Tensor | None,
        low: Tensor | None,
    ) -> float:
        loss = self.discriminator_loss(real, z, labels, low)
        self.discriminator_optimizer.zero_grad()
        loss.backward()
        self.discriminator_optimizer.step()
        return loss.item()

    def generator_update(self, z: Tensor, labels: Tensor | None, low: Tensor | None) -> float:
        self.discriminator.requires_grad_(False)
        loss = self.generator_loss(z, labels, low)
        self.generator_optimizer.zero_grad()
        loss.backward()
        self.generator_optimizer.step()
        self.discriminator.requires_grad_(True)
        return loss.item()
