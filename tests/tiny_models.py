"""A model folder of two levels that is as small as a config allows, for tests of everything around it."""

from pathlib import Path
from typing import Any

import torch

from hvgcli import checkpoints
from hvgcli.config import DiscriminatorConfig, LevelConfig, ModelConfig

CARD = "---\nlicense: cc-by-4.0\n---\n# tiny\n\nA model for tests.\n"


def tiny_config(**changes: Any) -> ModelConfig:
    widths = DiscriminatorConfig(channels=4, multipliers=(1, 2))
    low = LevelConfig(4, 8, 4, 4, (2, 1), widths, widths, None, z_dim=4, embed_dim=4)
    high = LevelConfig(4, 16, 2, 4, (2, 1), widths, widths, widths, z_dim=4, embed_dim=4)
    values = {"name": "tiny", "levels": (low, high), "num_classes": 2, "classes": ("cat", "dog")} | changes
    return ModelConfig(**values)


def make_model(folder: Path, **changes: Any) -> Path:
    """A finished model folder with weights that say which level they are of."""
    config = tiny_config(**changes)
    checkpoints.write_model_config(folder, config)
    for number in (1, 2):
        checkpoints.write_level(folder, number, {"w": torch.full((3, 2), float(number))}, {"steps": 7})
    checkpoints.finish_model(folder, CARD)
    return folder


def flip_last_bit(path: Path) -> None:
    """Damage that no size tells."""
    raw = bytearray(path.read_bytes())
    raw[-2] ^= 1
    path.write_bytes(raw)
