"""A run of hp-VAE-GAN, and who may use its folder: only the run that it was begun with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvgcli import __version__
from hvgcli.checkpoints import LATER, read_json, write_json
from hvgcli.config import FORMAT_VERSION, ModelConfig, SingleConfig, SingleTrainingConfig, to_dict
from hvgcli.data.single import SingleClip
from hvgcli.errors import MediaError, UsageError


@dataclass(frozen=True)
class SingleRun:
    """What is trained, on what, and where."""

    model: ModelConfig
    """Fitted to the clip (`hvgcli.data.single.fit`)."""
    training: SingleTrainingConfig
    clip: SingleClip
    out: Path
    seed: int = 0
    source: str = ""
    """What the clip is, for run.json and the card: its file and start."""

    @property
    def config(self) -> SingleConfig:
        config = self.model.single
        assert config is not None
        return config


def _record(run: SingleRun) -> dict[str, Any]:
    """What makes this run the one it is, as JSON values."""
    return {
        "format_version": FORMAT_VERSION,
        "version": __version__,
        "model": to_dict(run.model),
        "training": to_dict(run.training),
        "clip": {"source": run.source, "pixels": [int(run.clip.frames.sum()), list(run.clip.frames.shape)]},
        "seed": run.seed,
    }


def check_claim(run: SingleRun, warn: Callable[[str], None]) -> None:
    """Check that the folder is free, or holds this very run; nothing is written.

    Other networks, another training, seed or clip are refused. Another budget only goes on, and so does another
    precision, with a warning that the weights will not be those of one uninterrupted run.

    Errors: `UsageError`; `MediaError` where run.json cannot be read.
    """
    path = run.out / "run.json"
    if not path.exists():
        return
    known, record = _begun(path), _plain(_record(run))
    for key, free in (("model", {"name"}), ("training", {"minutes", "iterations", "precision"})):
        if names := _differing(_flat(known.get(key)), _flat(record[key]), free):
            raise UsageError(f"{run.out} holds another run (its {key} differs: {names}): give a new --out folder")
    if known.get("seed") != run.seed:
        raise UsageError(f"{run.out} holds another run (its seed differs): give a new --out folder")
    if known["clip"].get("pixels") != record["clip"]["pixels"]:
        raise UsageError(f"{run.out} holds a run with another clip: give a new --out folder")
    if known["training"]["precision"] != run.training.precision:
        warn(f"{run.out} goes on with another precision than it began with: {run.training.precision}")


def _begun(path: Path) -> dict[str, Any]:
    """The run.json of a run that was begun, as far as `check_claim` needs it. Errors: as there."""
    try:
        known = read_json(path, error=MediaError)
    except MediaError as error:
        raise MediaError(f"{error}: mend it, or give a new --out folder") from error
    if not isinstance(known, dict) or not isinstance(known.get("clip"), dict):
        raise UsageError(f"{path.parent} holds a run of another command: give a new --out folder")
    for key in ("model", "training"):
        _expect(path, key, known.get(key), isinstance(known.get(key), dict), "an object")
    precision = known["training"].get("precision")
    _expect(path, "training.precision", precision, precision in ("fp32", "bf16"), "fp32 or bf16")
    return known


def _expect(path: Path, name: str, value: Any, good: bool, expected: str) -> None:
    """`UsageError` where a value of run.json is not `good`. value: None = it has none."""
    if not good:
        got = f"no {name}" if value is None else f"{name} {value!r:.40}"
        raise UsageError(
            f"{path} has {got}, expected {expected}: hvg train-single did not write it, so give a new --out folder"
        )


def claim(run: SingleRun, where: dict[str, Any], warn: Callable[[str], None]) -> None:
    """Check as `check_claim`, then write run.json. where: the `machine` of this part of the run."""
    check_claim(run, warn)
    write_json(run.out / "run.json", _record(run) | {"machine": where})


def _flat(config: Any) -> dict[str, Any]:
    """The fields of a config's JSON, those of its one level among them."""
    if not isinstance(config, dict):
        return {}
    levels = config.get("levels")
    level = levels[0] if isinstance(levels, list) and len(levels) == 1 and isinstance(levels[0], dict) else {}
    return {key: value for key, value in config.items() if key != "levels"} | level


def _differing(known: dict[str, Any], record: dict[str, Any], free: set[str]) -> str:
    """Names of the fields with other values, but for those that are `free`; a field that came later had its own."""
    return ", ".join(key for key in record if key not in free and known.get(key, LATER.get(key)) != record[key])


def _plain(value: Any) -> Any:
    """Tuples as lists, as JSON has them."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value
