"""What is asked of a training, as records, and the preset, model and run that its texts mean."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvgcli.cli.families import require_system
from hvgcli.config import OneStageConfig, Preset
from hvgcli.errors import HvgError, UsageError, WeightsError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Request:
    """What is to be trained, as it was asked for."""

    system: str
    """Of which the preset must be: `families.HIERARCHY` or one of `families.SYSTEMS`."""
    level: int
    """1 for a one-stage model."""
    data: str
    out: Path
    preset: str
    seed: int
    networks: dict[str, Any]
    """Fields of the level in the preset's model that the user sets."""
    changes: dict[str, Any]
    """Fields of the preset's training that the user sets."""
    model: Path | None = None
    """Run or model folder with the levels below."""
    start: str | None = None
    """Run or model to begin with."""


@dataclass(frozen=True)
class Limits:
    """When to end before all steps are done."""

    watch: str
    patience: int | None
    minutes: float | None


@dataclass(frozen=True)
class Keeping:
    """What a run leaves behind."""

    samples_every: int
    save_every: int
    keep: int
    logs: tuple[str, ...]
    passes: int
    notes: str


@dataclass(frozen=True)
class Machine:
    """How the work is done."""

    device: torch.device
    workers: int
    compiled: bool


def chosen_preset(request: Request) -> Preset:
    """The preset with the user's changes.

    Errors: `UsageError` for one that is unknown or of another system, `ConfigError` where the changes do not fit.
    """
    from hvgcli.presets import find_preset

    preset = find_preset(request.preset)
    require_system(request.system, request.preset, preset.model)
    if request.level > len(preset.model.levels):
        return preset  # the plan says so
    levels, training = list(preset.model.levels), list(preset.training)
    at = request.level - 1
    levels[at] = spec = replace(levels[at], **request.networks)
    training[at] = replace(training[at], **request.changes)
    if isinstance(spec, OneStageConfig) and "spatial_frames" in request.changes:
        _check_single_frames(spec)
    return replace(preset, model=replace(preset.model, levels=tuple(levels)), training=tuple(training))


def _check_single_frames(level: OneStageConfig) -> None:
    """`UsageError` where a decomposition does not draw as many single frames as it is told."""
    from hvgcli.models.decompositions import DECOMPOSITIONS

    counts = [view.count for view in DECOMPOSITIONS[level.decomposition].values() if view.single]
    if None in counts:
        return
    what = f"always judges {counts[0]}" if counts else "judges no single frames"
    raise UsageError(f"--spatial-frames has no effect: {level.decomposition} {what}: choose another --decomposition")


def model_folder(path: Path | None) -> Path | None:
    """A model folder as it is, or the one inside a finished run."""
    if path is None:
        return None
    for folder in (path / "model", path):
        if (folder / "config.json").is_file():
            return folder
    if (path / "run.json").is_file():
        raise WeightsError(f"{path} is a run that is not finished: run its command again until it prints its model")
    raise WeightsError(f"{path} is neither a run nor a model folder: --model takes the --out of the level below")


def start_folder(text: str | None, out: Path) -> Path | None:
    """The folder of the run or model to begin with; a run that goes on does not need it any more."""
    if text is None:
        return None
    path = Path(text)
    try:
        return path if (path / "run.json").is_file() else _start_model(path, text)
    except HvgError:
        if (out / "run.json").is_file():
            return path
        raise


def _start_model(path: Path, text: str) -> Path:
    from hvgcli import hub

    if path.is_dir() and not (path / "config.json").is_file():
        raise WeightsError(f"{path} is neither a run nor a model: --from takes the --out of a training, or a model")
    return hub.resolve(text)
