"""A clip encoder for the training aid "reconstruction first": a generator of clips starts as a conditional VAE.

Not part of the papers on HVG and DVD-GAN: it follows the idea of hp-VAE-GAN's coarse scales (an encoder and a prior of
N(0, I)), is used in training only and never shipped.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvgcli.config import BASE_RESOLUTION, LevelConfig, OneStageConfig
from hvgcli.layers.blocks import DiscriminatorBlock
from hvgcli.layers.layout import to_frames, to_volume
from hvgcli.layers.weights import conv2d, conv3d, embedding, full_precision, linear
from hvgcli.models.discriminators import pool_to

SEGMENTS = 4  # the code sees the clip's time in this many averaged stretches
HIDDEN = 256
LARGEST = 32  # pixels of a one-stage model's clips that it sees


class ClipEncoder(nn.Module):
    """A clip `(B, T, 3, D, D)` and its class -> mean and log-variance `(B, z_dim)` of its code."""

    def __init__(self, widths: tuple[int, ...], resolution: int, z_dim: int, num_classes: int) -> None:
        """`widths`: output channels of each block; `resolution`: the size that clips are pooled to, if larger."""
        super().__init__()
        self.resolution = size = resolution
        widths = (3, *widths)
        blocks = []
        for i in range(len(widths) - 1):
            halve = size > BASE_RESOLUTION
            conv = partial(conv3d if i < 2 else conv2d, spectral=False)
            blocks.append(DiscriminatorBlock(widths[i], widths[i + 1], conv=conv, halve=halve, first=i == 0))
            size //= 2 if halve else 1
        self.volumes, self.frames = nn.ModuleList(blocks[:2]), nn.ModuleList(blocks[2:])
        self.embed = embedding(num_classes, HIDDEN, spectral=False) if num_classes else None
        self.hidden = linear(SEGMENTS * widths[-1] * size**2, HIDDEN, spectral=False)
        self.code = linear(HIDDEN, 2 * z_dim, spectral=False)

    def forward(self, video: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        volume = to_volume(pool_to(video, self.resolution))
        for block in self.volumes:
            volume = block(volume)
        x = to_frames(volume.transpose(1, 2))
        for block in self.frames:
            x = block(x)
        with full_precision(x):
            features = F.relu(x).to(self.code.weight.dtype).flatten(1).unflatten(0, (len(video), -1))  # (B, T, F)
            stretches = [part.mean(1) for part in features.tensor_split(SEGMENTS, dim=1) if part.shape[1]]
            stretches += stretches[-1:] * (SEGMENTS - len(stretches))
            hidden = self.hidden(torch.cat(stretches, dim=1))
            if self.embed is not None:
                hidden = hidden + self.embed(labels)
            mean, log_var = self.code(F.relu(hidden)).chunk(2, dim=1)
        return mean, log_var.clamp(-12, 4)


def build_clip_encoder(level: LevelConfig | OneStageConfig, num_classes: int) -> ClipEncoder:
    """The encoder for a generator of whole clips, as wide as its discriminators."""
    if isinstance(level, LevelConfig):
        return ClipEncoder(level.temporal.widths, level.resolution, level.z_dim, num_classes)
    size = min(LARGEST, level.resolution)
    blocks = size.bit_length() - BASE_RESOLUTION.bit_length() + 1  # down to 4x4, and one more
    return ClipEncoder(level.discriminator.widths[:blocks], size, level.z_dim, num_classes)
