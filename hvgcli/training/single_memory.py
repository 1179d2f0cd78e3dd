"""How much memory a training of hp-VAE-GAN needs, estimated from its sizes: nothing is trained or made for it."""

from __future__ import annotations

from hvgcli.config import SingleConfig, SingleTrainingConfig
from hvgcli.data.single import SingleClip

# Hidden maps that are there at a time, for each block with one: measured at the peak of an update, 5 blocks.
_ADVERSARIAL_MAPS = 10
_VAE_MAPS = 4  # at each scale that the gradient passes


def clip_bytes(clip: SingleClip, config: SingleConfig) -> int:
    """Bytes of the frames and of their float32 pyramid, while it is made."""
    parts, window = clip.frames.shape[:2]
    finest = parts * window * config.height * config.width * 3
    pyramid = sum(parts * frames * height * width * 3 for frames, height, width in config.sizes)
    return finest + 4 * (finest + pyramid)


def scale_bytes(config: SingleConfig, training: SingleTrainingConfig, scale: int) -> int:
    """Bytes of the activations of one update of a scale."""
    value = 2 if training.precision == "bf16" else 4
    maps = [frames * height * width * config.channels * value for frames, height, width in config.sizes]
    hidden = config.blocks - 1
    if scale >= config.vae_scales:
        return hidden * _ADVERSARIAL_MAPS * maps[scale]
    return hidden * _VAE_MAPS * sum(maps[: scale + 1])
