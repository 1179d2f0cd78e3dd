"""A clip encoder for the training aid "reconstruction first": level 1 starts as a conditional VAE.

Not part of HVG: it follows the idea of hp-VAE-GAN's coarse scales (an encoder and a prior of
N(0, I)), is used in training only and never shipped.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvgcli.config import BASE_RESOLUTION, LevelConfig
from hvgcli.layers.blocks import DiscriminatorBlock
from hvgcli.layers.layout import to_frames, to_volume
from hvgcli.layers.weights import conv2d, conv3d, embedding, full_precision, linear

SEGMENTS = 4  # the code sees the clip's time in this many averaged stretches
HIDDEN = 256


class ClipEncoder(nn.Module):
    """A clip `(B, T, 3, D, D)` and its class -> mean and log-variance `(B, z_dim)` of its code."""

    def __init__(self, level: LevelConfig, num_classes: int) -> None:
        super().__init__()
        widths = (3, *level.temporal.widths)
        size = level.resolution
        blocks = []
        for i in range(len(widths) - 1):
            halve = size > BASE_RESOLUTION
            conv = partial(conv3d if i < 2 else conv2d, spectral=False)
            blocks.append(DiscriminatorBlock(widths[i], widths[i + 1], conv=conv, halve=halve, first=i == 0))
            size //= 2 if halve else 1
        self.volumes, self.frames = nn.ModuleList(blocks[:2]), nn.ModuleList(blocks[2:])
        self.embed = embedding(num_classes, HIDDEN, spectral=False) if num_classes else None
        self.hidden = linear(SEGMENTS * widths[-1] * size**2, HIDDEN, spectral=False)
        self.code = linear(HIDDEN, 2 * level.z_dim, spectral=False)

    def forward(self, video: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        volume = to_volume(video)
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
