"""The end of a run: standing statistics, and the model folder that the next level and `generate` read."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch

from hvgcli import __version__
from hvgcli.checkpoints import finish_model, level_metadata, read_level, write_level, write_model_config
from hvgcli.layers.weights import bake_spectral_norm
from hvgcli.sampling import hierarchy as hierarchies
from hvgcli.sampling import statistics
from hvgcli.sampling.hierarchy import Hierarchy
from hvgcli.sampling.measure import measure_any_length, record
from hvgcli.training.level import LevelTraining
from hvgcli.training.loop import Run
from hvgcli.training.run_state import states, load_state

SIGMAS = (0.5, 1.0)  # tables that ship: for pictures and for evaluation


def trained_hierarchy(run: Run, device: torch.device) -> tuple[Hierarchy, int]:
    """The levels below with this run's last generator on top, and its step. Spectral norms are baked in."""
    level = LevelTraining(run.config, run.level, run.training, device)
    step = load_state(states(run.out)[-1][1], level)
    generator = copy.deepcopy(level.sampler).eval().requires_grad_(False)
    bake_spectral_norm(generator)
    if run.below is None:
        lower = Hierarchy(run.config, [], [], device=device)
    else:
        lower = hierarchies.load(run.below, levels=run.level - 1, device=device)
    generators, tables = [*lower.generators, generator], [*lower.tables, []]
    half = (run.training.precision == "bf16",) * len(generators)
    return Hierarchy(run.config, generators, tables, "", device, half), step  # type: ignore[arg-type]


def finish(
    run: Run, *, device: torch.device, passes: int, long_passes: int, card: str, progress: Callable[[str, int, int], None]
) -> Path:
    """Measure standing statistics and write `out/model`; returns the folder.

    passes: for the model's own length; long_passes: for the table that serves any length.
    progress is called with what is measured, passes done and passes in all.
    """
    hierarchy, step = trained_hierarchy(run, device)
    frames = run.config.levels[0].frames * run.config.frame_factor(run.level)
    tables = []
    total = len(SIGMAS) * (passes + long_passes)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(f"standing statistics of level {run.level}", done, total)

    for sigma in SIGMAS:
        moments = record(hierarchy, run.level, frames, sigma, passes=passes, progress=advance)
        tables.append(statistics.exact_table(sigma, moments))
        tables.append(measure_any_length(hierarchy, run.level, sigma, passes=long_passes, progress=advance))
    tensors, described = statistics.to_tensors(tables)
    weights = {key: value.to(torch.bfloat16) for key, value in hierarchy.generators[-1].state_dict().items()}
    folder = run.out / "model"
    write_model_config(folder, run.config)
    for number in range(1, run.level):
        assert run.below is not None
        lower = read_level(run.below, number, config=run.config)
        write_level(folder, number, lower, level_metadata(run.below, number))
    metadata = {"statistics": described, "steps": step, "version": __version__, "seed": run.seed}
    write_level(folder, run.level, weights | tensors, metadata)
    finish_model(folder, card)
    return folder
