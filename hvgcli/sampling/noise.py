"""Seeds and noise. A seed means one video, whatever the batch size, chunk size or device."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def seeded(*parts: int | str) -> torch.Generator:
    """A CPU generator that depends on every part, and on nothing else."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def latents(seeds: Sequence[int], level: int, z_dim: int) -> Tensor:
    """Standard normal z `(B, z_dim)` of one level; row i depends on (seeds[i], level) only."""
    return torch.stack([torch.randn(z_dim, generator=seeded("z", seed, level)) for seed in seeds])


def choices(seeds: Sequence[int]) -> Tensor:
    """Uniform numbers in [0, 1) `(B,)`, float64, that pick a component of a prior of codes, from each seed only."""
    drawn = [torch.rand(1, generator=seeded("component", seed), dtype=torch.float64) for seed in seeds]
    return torch.cat(drawn)


def random_labels(seeds: Sequence[int], num_classes: int) -> Tensor:
    """A uniformly drawn class `(B,)` for each seed, from that seed only."""
    return torch.cat([torch.randint(num_classes, (1,), generator=seeded("class", seed)) for seed in seeds])
