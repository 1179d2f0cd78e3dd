"""Predictors as small as a config allows: real networks with random weights, and statistics of made-up clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from patterns import moving_pattern
from real_models import random_hierarchy
from small_networks import small_predictor
from tiny_models import CARD

from hvgcli import checkpoints
from hvgcli.config import ModelConfig
from hvgcli.data.windows import to_float
from hvgcli.models.frame_prediction import FramePredictor
from hvgcli.sampling import statistics
from hvgcli.sampling.measure import record_predictor

SIGMAS = (0.0, 0.5, 1.0)


def tiny_predictor(**changes: Any) -> ModelConfig:
    """3 frames of 16x16 pixels -> 4 more, at 12.5 frames a second; `changes` are of its level."""
    values = {"stride": 2, "multipliers": (2, 2), "base": 8, "z_dim": 4, "embed_dim": 4}
    return replace(small_predictor(**(values | changes)), name="tiny-fp")


def make_predictor(folder: Path, **changes: Any) -> Path:
    """A finished model folder that `hvg predict` can use; its statistics are those of moving patterns."""
    hierarchy = random_hierarchy(tiny_predictor(**changes))
    network = hierarchy.generators[0]
    assert isinstance(network, FramePredictor)
    size = network.level.resolution
    clips = [torch.from_numpy(moving_pattern(network.context, (size, size), seed)) for seed in range(4)]
    tables = []
    for sigma in SIGMAS:
        moments = record_predictor(network, [to_float(torch.stack(clips))], sigma)
        tables.append(statistics.exact_table(sigma, moments))
    tensors, described = statistics.to_tensors(tables)
    checkpoints.write_model_config(folder, hierarchy.config)
    checkpoints.write_level(folder, 1, network.state_dict() | tensors, {"statistics": described})
    checkpoints.finish_model(folder, CARD)
    return folder
