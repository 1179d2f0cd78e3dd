"""Models of one clip that are small enough to train in a test, and a clip for them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import torch

from hvgcli.config import ModelConfig, SingleConfig, SingleTrainingConfig
from hvgcli.data.single import SingleClip, fit
from hvgcli.models.hp_vae_gan import HpVaeGan
from hvgcli.sampling.single import record_statistics
from hvgcli.training.single import ScaleTraining

TRAINING = SingleTrainingConfig(iterations=2)


def small_config(**changes: Any) -> SingleConfig:
    """Four scales, two of them VAE, from 2x8x8 to 5x12x16, four channels wide."""
    values: dict[str, Any] = {
        "scales": 4, "vae_scales": 2, "channels": 4, "latent": 6, "rates": (1, 2, 4), "window": 5,
        "height": 12, "width": 16, "min_height": 8, "blocks": 3,
    }  # fmt: skip
    return SingleConfig(**(values | changes))


def image_config(**changes: Any) -> SingleConfig:
    """The same for an image."""
    return small_config(window=1, rates=(1,), volumetric=False, **changes)


def small_clip(frames: int = 5, parts: int = 1, size: tuple[int, int] = (12, 16)) -> SingleClip:
    """Noise that gets brighter."""
    rng = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 200, (parts, frames, *size, 3), generator=rng)
    return SingleClip((pixels + 10 * torch.arange(frames)[:, None, None, None]).to(torch.uint8), Fraction(24))


def small_model(config: SingleConfig | None = None, name: str = "small-single") -> ModelConfig:
    """The model of `small_clip`, or of an image where the config says so."""
    config = config or small_config()
    return fit(ModelConfig(name, (config,)), small_clip(config.window))


def pyramid(config: SingleConfig, parts: int = 1, seed: int = 0) -> list[torch.Tensor]:
    """Noise in the shapes of x^0..x^N."""
    rng = torch.Generator().manual_seed(seed)
    return [2 * torch.rand(parts, 3, *size, generator=rng) - 1 for size in config.sizes]


def scale_training(scale: int, config: SingleConfig | None = None, **changes: Any) -> ScaleTraining:
    """A scale in training, on noise; `changes` are of its training."""
    torch.manual_seed(0)
    config = config or small_config()
    network = HpVaeGan(config)
    if scale >= max(1, config.vae_scales):
        record_statistics(network, range(scale), passes=2)
    return ScaleTraining(network, scale, pyramid(config), replace(TRAINING, **changes), seed=0)
