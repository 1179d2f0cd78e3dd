"""Self-made moving pictures for tests."""

from __future__ import annotations

import numpy as np

from hvgcli.video import Frames


def moving_pattern(frames: int, size: tuple[int, int], seed: int = 0) -> Frames:
    """Smooth colours that drift, uint8 (frames, H, W, 3): they survive lossy codecs and tell frames apart."""
    rng = np.random.default_rng(seed)
    phase, speed = rng.uniform(0, 6, 3), rng.uniform(0.3, 0.8, 3)
    time, row, column = np.meshgrid(np.arange(frames), np.arange(size[0]), np.arange(size[1]), indexing="ij")
    waves = [
        np.sin(p + s * time + (row * (c + 1) + column) / 17) for c, (p, s) in enumerate(zip(phase, speed, strict=True))
    ]
    return (127.5 + 90 * np.stack(waves, axis=-1)).astype(np.uint8)
