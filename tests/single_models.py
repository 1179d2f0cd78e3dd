"""Models of one clip or image that `hvg generate` can use: random weights, real standing statistics."""

from __future__ import annotations

from pathlib import Path

import torch
from small_single import small_config, small_model

from hvgcli.config import SingleConfig
from hvgcli.models.hp_vae_gan import HpVaeGan
from hvgcli.sampling.single import record_statistics
from hvgcli.training.single_finish import write_model


def make_single_model(folder: Path, config: SingleConfig | None = None, *, scales: int | None = None) -> Path:
    """A model folder named as its model; with `scales`, as a training leaves it that was stopped after so many."""
    config = config or small_config()
    torch.manual_seed(0)
    network = HpVaeGan(config)
    network.amplitudes.copy_(torch.tensor([0.3 * (n >= config.vae_scales) for n in range(config.scales)]))
    record_statistics(network, range(config.scales), passes=3)
    training = {"iterations": 2, "seconds": 1, "seed": 0}
    write_model(folder, small_model(config, folder.name), network, scales or config.scales, "noise", training)
    return folder
