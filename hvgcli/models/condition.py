"""What all generators share: the condition c = [z; e(y)] and the first map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hvgcli.config import BASE_RESOLUTION
from hvgcli.layers.weights import embedding, linear

Labels = Tensor | None
"""`(B,)` class indices, or `(B, num_classes)` weights of a mixture of classes, or None without classes."""


class Condition(nn.Module):
    """z and the class of each video -> c = [z; e(y)] `(B, dim)` (HVG appendix B.1)."""

    def __init__(self, z_dim: int, embed_dim: int, num_classes: int, *, spectral: bool) -> None:
        super().__init__()
        self.dim = z_dim + (embed_dim if num_classes else 0)
        self.embed = embedding(num_classes, embed_dim, spectral=spectral) if num_classes else None

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
    """c `(B, dim)` -> `(B, 1, channels, size, size)`, the same for every timestep (HVG appendix B.1)."""

    def __init__(self, dim: int, channels: int, *, spectral: bool, size: int = BASE_RESOLUTION) -> None:
        super().__init__()
        self.channels, self.size = channels, size
        self.project = linear(dim, channels * size**2, spectral=spectral)

    def forward(self, cond: Tensor) -> Tensor:
        flat = self.project(cond).unflatten(1, (1, self.size, self.size, self.channels))
        return flat.permute(0, 1, 4, 2, 3)
