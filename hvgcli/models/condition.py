"""What both generators share: the condition c = [z; e(y)] and the first 4x4 map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hvgcli.config import BASE_RESOLUTION, LevelConfig
from hvgcli.layers.weights import embedding, linear

Labels = Tensor | None
"""`(B,)` class indices, or `(B, num_classes)` weights of a mixture of classes, or None without classes."""


class Condition(nn.Module):
    """z and the class of each video -> c = [z; e(y)] `(B, dim)` (HVG appendix B.1)."""

    def __init__(self, level: LevelConfig, num_classes: int) -> None:
        super().__init__()
        self.dim = level.z_dim + (level.embed_dim if num_classes else 0)
        self.embed = embedding(num_classes, level.embed_dim, spectral=level.spectral_norm) if num_classes else None

    def forward(self, z: Tensor, labels: Labels) -> Tensor:
        if self.embed is None:
            if labels is not None:
                raise ValueError("labels were given to an unconditional model: pass None")
            return z
        if labels is None:
            raise ValueError("a class-conditional model needs labels (B,)")
        if labels.is_floating_point():
            with torch.autocast(z.device.type, enabled=False):  # a mixture of one class is exactly that class
                return torch.cat((z, labels @ self.embed.weight), dim=1)
        return torch.cat((z, self.embed(labels)), dim=1)


class FirstMap(nn.Module):
    """c `(B, dim)` -> `(B, 1, ch * multiplier[0], 4, 4)`, the same for every timestep (HVG appendix B.1)."""

    def __init__(self, dim: int, level: LevelConfig) -> None:
        super().__init__()
        self.channels = level.widths[0]
        self.project = linear(dim, self.channels * BASE_RESOLUTION**2, spectral=level.spectral_norm)

    def forward(self, cond: Tensor) -> Tensor:
        flat = self.project(cond).unflatten(1, (1, BASE_RESOLUTION, BASE_RESOLUTION, self.channels))
        return flat.permute(0, 1, 4, 2, 3)
