"""hp-VAE-GAN (Gur et al. 2020, sections 3.1 and 3.2, appendix A.1): learns one clip, or one image.

Inside these networks a clip is a volume `(B, C, T, H, W)`, RGB in [-1, 1], float32; an image has one frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvgcli.config import SingleConfig
from hvgcli.layers.volume import SLOPE, VolumeConv, VolumeNorm, enlarge, transposed, volume_conv

Size = tuple[int, int, int]
"""Frames, height, width."""
Noise = Callable[[int, Size], Tensor]
"""Standard normal noise `(B, 3, *size)` for a scale, or `(B, latent, *size)` at a patch-VAE's scale 0."""


def cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """x in the type and memory order that the convolutions work in."""
    return x.to(dtype, memory_format=torch.channels_last_3d)


def wide(x: Tensor) -> Tensor:
    """What leaves a network: at least float32."""
    return x if x.dtype == torch.float64 else x.float()


class Encoder(nn.Module):
    """E with its heads M and S: x^0 `(B, 3, T, H, W)` -> mean and log variance of z, `(B, latent, T, H, W)` each.

    Blocks of a convolution with spectral norm and LeakyReLU; the heads are one convolution each. S gives the
    logarithm of the variance, so that any of its values is one. Beyond the ends of a clip are zeros, whatever
    `hold_ends` is.
    """

    def __init__(self, config: SingleConfig) -> None:
        super().__init__()

        def conv(width: int, out_width: int, spectral: bool) -> VolumeConv:
            return volume_conv(width, out_width, config.encoder_kernel, volumetric=config.volumetric, spectral=spectral)

        widths = (3, *(config.channels,) * config.blocks)
        self.blocks = nn.ModuleList(conv(a, b, True) for a, b in pairwise(widths))
        self.to_mean = conv(config.channels, config.latent, False)
        self.to_log_var = conv(config.channels, config.latent, False)
        self.compute = torch.float32

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = cast(x, self.compute)
        for block in self.blocks:
            x = F.leaky_relu_(block(x), SLOPE)
        return wide(self.to_mean(x)), wide(self.to_log_var(x))


class PatchGenerator(nn.Module):
    """G^n without its tanh: `(B, in_channels, T, H, W)` -> `(B, 3, T, H, W)`.

    Blocks of convolution, batch norm and LeakyReLU. The last convolution is alone: appendix A.1 leaves open whether
    it has a batch norm, and SinGAN's has none.
    """

    def __init__(self, in_channels: int, kernel: int, config: SingleConfig) -> None:
        super().__init__()
        widths = (in_channels, *config.widths, 3)
        self.convs = nn.ModuleList(
            volume_conv(a, b, kernel, volumetric=config.volumetric, spectral=False, hold_ends=config.hold_ends)
            for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(VolumeNorm(width) for width in config.widths)
        self.compute = torch.float32

    def forward(self, x: Tensor) -> Tensor:
        x = cast(x, self.compute)
        for conv, norm in zip(self.convs, self.norms, strict=False):
            x = F.leaky_relu_(norm(conv(x)), SLOPE)
        return wide(self.convs[-1](x))


class PatchDiscriminator(nn.Module):
    """D^n: one score for each patch, `(B, 3, T, H, W)` -> `(B, 1, T, H, W)`; as G^n, with spectral norm."""

    def __init__(self, config: SingleConfig) -> None:
        super().__init__()
        widths = (3, *config.widths, 1)
        self.convs = nn.ModuleList(
            volume_conv(a, b, config.kernel, volumetric=config.volumetric, spectral=True, hold_ends=config.hold_ends)
            for a, b in pairwise(widths)
        )
        self.hold_ends = config.hold_ends
        self.compute = torch.float32

    def forward(self, x: Tensor) -> Tensor:
        x = cast(x, self.compute)
        for conv in self.convs[:-1]:
            x = F.leaky_relu_(conv(x), SLOPE)
        return wide(self.convs[-1](x))

    def input_gradient(self, x: Tensor) -> Tensor:
        """The gradient of the sum of all scores at x `(B, 3, T, H, W)`, as a function of the weights.

        D is linear on each side of its LeakyReLUs, so its gradient is a chain of transposed convolutions and
        of the slopes that x meets, which do not change with small changes of the weights. Written so, the
        gradient penalty needs no second derivative: one pass without gradient, and one chain to differentiate.
        """
        with torch.no_grad():
            signs = self._hidden(cast(x, self.compute))
        g = torch.ones_like(signs[-1][:, :1])
        for conv, sign in zip(reversed(self.convs), reversed(signs), strict=False):
            g = times_slope(transposed(g, conv.weight, hold_ends=self.hold_ends), sign)
        return wide(transposed(g, self.convs[0].weight, hold_ends=self.hold_ends))

    def _hidden(self, x: Tensor) -> list[Tensor]:
        """What leaves each LeakyReLU on the way of x: its sign tells the slope there."""
        hidden = []
        for conv in self.convs[:-1]:
            x = F.leaky_relu_(conv(x), SLOPE)
            hidden.append(x)
        return hidden


def times_slope(g: Tensor, hidden: Tensor) -> Tensor:
    """g where `hidden` is positive, `SLOPE` g elsewhere, in one pass over memory."""
    return torch.ops.aten.leaky_relu_backward(g, hidden, SLOPE, True)  # type: ignore[no-any-return]


class HpVaeGan(nn.Module):
    """E and G^0..G^N: the whole generator. Each scale adds detail to the enlarged output of the one below.

    Without patch-VAE scales there is no encoder, and G^0 makes its output of noise with three channels.
    """

    amplitudes: Tensor
    """Of the noise that each scale adds, `(scales,)`; 0 for patch-VAE scales."""

    def __init__(self, config: SingleConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config) if config.vae_scales else None
        inputs = (self.latent, *(3,) * (config.built - 1))
        self.generators = nn.ModuleList(
            PatchGenerator(width, config.kernel_of(n), config) for n, width in enumerate(inputs)
        )
        self.register_buffer("amplitudes", torch.zeros(config.built))

    @property
    def latent(self) -> int:
        """Channels of what G^0 starts from."""
        return self.config.latent if self.config.vae_scales else 3

    def first(self, z: Tensor) -> Tensor:
        """x-bar^0 = G^0(z), `(B, latent, T, H, W)` -> `(B, 3, T, H, W)`."""
        return torch.tanh(self.generators[0](z))

    def refine(self, scale: int, below: Tensor, noise: Tensor | None = None) -> Tensor:
        """One step of equation 6, or of equation 9 with noise: `(B, 3, T, H, W)` -> the same size.

        below: the enlarged output of the scale below. noise: z_n, standard normal of the same shape, which is
        multiplied by the scale's amplitude; None for none.
        """
        x = below if noise is None else below + self.amplitudes[scale] * noise
        return torch.tanh(below + self.generators[scale](x))

    def grow(self, x: Tensor, scales: Iterable[int], sizes: Sequence[Size], noise: Noise | None = None) -> Tensor:
        """The recursion of equations 6 and 9 over `scales`, from the output x of the scale below the first.

        sizes: (frames, height, width) of all scales. noise: gives z_n at the patch-GAN scales; None for the
        reconstruction.
        """
        for scale in scales:
            random = noise is not None and scale >= self.config.vae_scales
            drawn = noise(scale, sizes[scale]) if random and noise is not None else None
            x = self.refine(scale, enlarge(x, sizes[scale]), drawn)
        return x


def set_compute(module: nn.Module, dtype: torch.dtype) -> None:
    """Make all networks in `module` compute their convolutions in `dtype`: float32 or bfloat16."""
    for part in module.modules():
        if isinstance(part, Encoder | PatchGenerator | PatchDiscriminator):
            part.compute = dtype
