"""Models that work, as small as a config allows: real networks with random weights, and real standing statistics."""

from pathlib import Path
from typing import Any

import torch
from tiny_models import CARD, tiny_config

from hvgcli import checkpoints
from hvgcli.config import ModelConfig
from hvgcli.layers.weights import bake_spectral_norm
from hvgcli.models import build_generator
from hvgcli.sampling import statistics
from hvgcli.sampling.hierarchy import Hierarchy
from hvgcli.sampling.measure import measure_any_length


def random_hierarchy(config: ModelConfig) -> Hierarchy:
    """Networks with the weights that seed 0 gives, and no statistics."""
    torch.manual_seed(0)
    generators = [build_generator(config, number) for number in range(1, len(config.levels) + 1)]
    for generator in generators:
        bake_spectral_norm(generator)
        generator.eval().requires_grad_(False)
    return Hierarchy(config, generators, [[] for _ in generators])


def make_working_model(
    folder: Path, *, config: ModelConfig | None = None, passes: int = 3, batch: int = 2, **changes: Any
) -> Path:
    """A finished model folder that `hvg generate` can use at its default sigma, for any length."""
    hierarchy = random_hierarchy(config or tiny_config(**changes))
    config = hierarchy.config
    checkpoints.write_model_config(folder, config)
    for number, generator in enumerate(hierarchy.generators, start=1):
        table = measure_any_length(hierarchy, number, config.sigma, passes=passes, batch=batch)
        hierarchy.tables[number - 1].append(table)
        tensors, described = statistics.to_tensors([table])
        checkpoints.write_level(folder, number, generator.state_dict() | tensors, {"statistics": described})
    checkpoints.finish_model(folder, CARD)
    return folder
