"""Who may use a run folder: one process at a time, and only the run that it was begun with."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from hvgcli import __version__
from hvgcli.checkpoints import locked, read_json, write_json
from hvgcli.config import FORMAT_VERSION, ModelConfig, TrainingConfig, model_from_dict, to_dict, training_from_dict
from hvgcli.errors import ConfigError, UsageError
from hvgcli.training.plan import Run


def lock_of(folder: Path) -> AbstractContextManager[None]:
    """Keep two runs from training in one folder; freed also when the process dies."""
    message = f"{folder} is being trained by another process: wait for it, or give a new --out"
    return locked(folder / "run.lock", UsageError(message))


def record_of(run: Run) -> dict[str, Any]:
    """What makes this run the one it is, as JSON values."""
    return {
        "format_version": FORMAT_VERSION,
        "version": __version__,
        "model": to_dict(run.config),
        "level": run.level,
        "training": to_dict(run.training),
        "data": _place(run.data),
        "below": None if run.below is None else str(run.below.resolve()),
        "seed": run.seed,
        "start": None if run.start is None else str(run.start.resolve()),
    }


def _place(data: str | Path) -> str:
    """A local path in full, so that it is known from any folder; a URL or pipe as it is."""
    return str(Path(data).resolve()) if isinstance(data, Path) or Path(data).exists() else data


def machine(device: torch.device, processes: int, command: str) -> dict[str, Any]:
    """Where and how a run goes on, for those who read its numbers later."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "command": command,
        "device": str(device),
        "device_name": name,
        "processes": processes,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def check_claim(run: Run, warn: Callable[[str], None]) -> None:
    """Check that the folder is free, or holds this very run; nothing is written.

    Other networks, another level or seed, and statistics of another kind are refused. More steps only go on; whatever
    else differs is allowed, with a warning that the weights will not be those of one uninterrupted run.
    """
    path = run.out / "run.json"
    if not path.exists():
        return
    known, model, training = _begun(path)
    record = record_of(run)
    same = {
        "level": known.get("level") == run.level,
        "model": model == run.config,
        "seed": known.get("seed") == run.seed,
        "--standing": training.standing == run.training.standing,
    }
    for key, holds in same.items():
        if not holds:
            raise UsageError(f"{run.out} holds another run (its {key} differs): give a new --out folder")
    before = replace(training, steps=run.training.steps)
    names = (field.name for field in fields(before))
    changed = [name for name in names if getattr(before, name) != getattr(run.training, name)]
    changed += [key for key in ("data", "below", "start") if known.get(key) != record[key]]
    if changed:
        warn(f"{run.out} goes on with other settings than it began with: {', '.join(changed)}")


def _begun(path: Path) -> tuple[dict[str, Any], ModelConfig, TrainingConfig]:
    """The run.json of a run that was begun, with its configs; fields that it knew nothing of have their defaults."""
    known = read_json(path)
    if not isinstance(known, dict):
        raise UsageError(f"{path} is not of a run of hvg: give a new --out folder")
    try:
        return known, model_from_dict(known.get("model")), training_from_dict(known.get("training"))
    except (ConfigError, TypeError, ValueError, OverflowError, AttributeError) as error:
        fault = error.fault if isinstance(error, ConfigError) else error
        raise UsageError(f"{path} is not of a run of a level ({fault}): give a new --out folder") from error


def claim(run: Run, where: dict[str, Any], warn: Callable[[str], None]) -> None:
    """Check as `check_claim`, then write run.json. where: the `machine` of this part of the run."""
    check_claim(run, warn)
    write_json(run.out / "run.json", record_of(run) | {"machine": where})
