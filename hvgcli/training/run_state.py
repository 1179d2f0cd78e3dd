"""What a run keeps on disk so that the same command continues it: safetensors and JSON, written whole.

run folder:
    run.json                 the model's and the training's configuration, data folder, seed
    state-00001000.safetensors   networks, moving average, optimizers after that step; the last few are kept
    metrics.csv, events.*    scalars
    samples/                 sheets of samples
    model/                   the finished model: levels below, this level, statistics, checksums
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from hvgcli.checkpoints import load_tensors, save_tensors
from hvgcli.errors import HvgError, WeightsError
from hvgcli.training.level import LevelTraining

_STATE = re.compile(r"state-(\d{8})\.safetensors")


def states(run: Path) -> list[tuple[int, Path]]:
    """(step, file) of every state in a run folder, oldest first."""
    found = [(int(match[1]), path) for path in run.glob("state-*") if (match := _STATE.fullmatch(path.name))]
    return sorted(found)


def _tensors(level: LevelTraining) -> dict[str, Tensor]:
    flat = {f"networks/{key}": value for key, value in level.state_dict().items()}
    for name, optimizer in level.optimizers.items():
        for number, values in optimizer.state_dict()["state"].items():
            for key, value in values.items():
                flat[f"optimizers/{name}/{number}/{key}"] = torch.as_tensor(value)
    return flat


def save_state(run: Path, level: LevelTraining, step: int, keep: int) -> Path:
    """Write the state after `step` generator updates, then drop all but the last `keep`."""
    path = run / f"state-{step:08d}.safetensors"
    save_tensors(path, _tensors(level), {"kind": "training state", "step": step, "level": level.level})
    for _, old in states(run)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def load_state(path: Path, level: LevelTraining) -> int:
    """Restore networks and optimizers in place; returns the step. `WeightsError` when it does not fit."""
    flat, metadata = load_tensors(path)
    if metadata.get("level") != level.level:
        raise WeightsError(f"{path} is a state of level {metadata.get('level')}, expected level {level.level}")
    networks = {key.removeprefix("networks/"): value for key, value in flat.items() if key.startswith("networks/")}
    try:
        level.load_state_dict(networks, strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise WeightsError(f"{path} is of another configuration ({first}): use a new --out folder") from error
    for name, optimizer in level.optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}
        prefix = f"optimizers/{name}/"
        for key, value in flat.items():
            if key.startswith(prefix):
                number, part = key.removeprefix(prefix).split("/")
                state.setdefault(int(number), {})[part] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(metadata["step"])


def resume(run: Path, level: LevelTraining, warn: Callable[[str], None]) -> int:
    """Continue from the newest good state; 0 for a new run. A damaged state falls back to the one before."""
    for _, path in reversed(states(run)):
        try:
            return load_state(path, level)
        except HvgError as error:
            warn(f"{error}; trying the state before it")
    return 0
