"""hp-VAE-GAN written plainly, in the shape of the paper: what `single.py` compares with.

float32, one sample, contiguous memory, torch's own spectral norm and batch norm, second derivatives by
autograd for the gradient penalty, and every path computed anew at each iteration. The networks and losses are
those of hvgcli. This is a program for timing: it keeps no statistics for inference.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

Size = tuple[int, int, int]


def generator(width: int, channels: int = 64) -> nn.Sequential:
    """Four blocks of convolution, batch norm and LeakyReLU, and a last convolution."""
    layers: list[nn.Module] = []
    for _ in range(4):
        layers += [nn.Conv3d(width, channels, 3, padding=1), nn.BatchNorm3d(channels), nn.LeakyReLU(0.2)]
        width = channels
    return nn.Sequential(*layers, nn.Conv3d(channels, 3, 3, padding=1))


def normalised(count: int, channels: int = 64) -> list[nn.Module]:
    """Blocks of convolution with spectral norm and LeakyReLU, from RGB."""
    layers: list[nn.Module] = []
    for number in range(count):
        conv = nn.Conv3d(channels if number else 3, channels, 3, padding=1)
        layers += [spectral_norm(conv), nn.LeakyReLU(0.2)]
    return layers


class Plain:
    """All networks up to one scale, in training there; x: the pyramid of the real clip, `(1, 3, T, H, W)` each."""

    def __init__(self, scale: int, vae_scales: int, x: list[Tensor]) -> None:
        self.scale, self.adversarial, self.x = scale, scale >= vae_scales, x
        self.sizes: list[Size] = [tuple(v.shape[2:]) for v in x]  # type: ignore[misc]
        self.encoder = nn.Sequential(*normalised(5))
        self.mean, self.log_var = (nn.Conv3d(64, 128, 3, padding=1) for _ in range(2))
        self.generators = nn.ModuleList([generator(128), *(generator(3) for _ in range(scale))])
        self.discriminator = nn.Sequential(*normalised(4), spectral_norm(nn.Conv3d(64, 1, 3, padding=1)))
        self.vae_scales = vae_scales
        coarse = (self.encoder, self.mean, self.log_var, self.generators[0])
        for module in (*coarse, *self.generators):
            module.requires_grad_(False)
        trained = dict.fromkeys([self.generators[scale], *(() if self.adversarial else coarse)])  # each once
        for module in trained:
            module.requires_grad_(True)
        self.optimizer = torch.optim.Adam([p for m in trained for p in m.parameters()], 5e-4, (0.5, 0.999))
        self.critic = torch.optim.Adam(self.discriminator.parameters(), 5e-4, (0.5, 0.999))

    def up(self, v: Tensor, scale: int) -> Tensor:
        return F.interpolate(v, self.sizes[scale], mode="trilinear", align_corners=True)

    def grow(self, z: Tensor, noise: bool) -> tuple[Tensor, Tensor]:
        """x-bar^n and x-bar^0 (equations 6 and 9)."""
        first = v = torch.tanh(self.generators[0](z))
        for scale in range(1, self.scale + 1):
            below = self.up(v, scale)
            random = 0.01 * torch.randn_like(below) if noise and scale >= self.vae_scales else 0.0
            v = torch.tanh(below + self.generators[scale](below + random))
        return v, first

    def encode(self) -> tuple[Tensor, Tensor, Tensor]:
        h = self.encoder(self.x[0])
        mean, log_var = self.mean(h), self.log_var(h)
        return mean + torch.randn_like(mean) * (0.5 * log_var).exp(), mean, log_var

    def vae_step(self) -> None:
        z, mean, log_var = self.encode()
        output, first = self.grow(z, noise=False)
        loss = 10 * F.mse_loss(output, self.x[self.scale])
        if self.scale:
            loss = loss + 10 * F.mse_loss(first, self.x[0])
        loss = loss + 0.5 * (mean.square() + log_var.exp() - 1 - log_var).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def penalty(self, real: Tensor, fake: Tensor) -> Tensor:
        share = torch.rand(())
        v = (share * real + (1 - share) * fake).requires_grad_()
        scores = self.discriminator(v)
        (gradient,) = torch.autograd.grad(scores, v, torch.ones_like(scores), create_graph=True)
        return (gradient.norm(2, dim=1) - 1).square().mean()

    def gan_step(self) -> None:
        real = self.x[self.scale]
        fake, _ = self.grow(torch.randn(1, 128, *self.sizes[0]), noise=True)
        critic = self.discriminator(fake.detach()).mean() - self.discriminator(real).mean()
        self.critic.zero_grad()
        (critic + 0.1 * self.penalty(real, fake.detach())).backward()
        self.critic.step()
        self.discriminator.requires_grad_(False)
        output, _ = self.grow(self.encode()[0], noise=False)
        loss = 10 * F.mse_loss(output, real) - self.discriminator(fake).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.discriminator.requires_grad_(True)


def plain_step(scale: int, vae_scales: int, x: list[Tensor]) -> Callable[[], None]:
    """One iteration of a scale, as a function."""
    torch.manual_seed(0)
    plain = Plain(scale, vae_scales, x)
    return plain.gan_step if plain.adversarial else plain.vae_step
