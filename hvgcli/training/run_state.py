"""What a run keeps on disk so that the same command continues it: safetensors and JSON, written whole.

run folder:
    run.json                 the model's and the training's configuration, data folder, seed, the machine
    state-00001000.safetensors   networks, moving average, optimizers, torch's random state and early stopping
                             after that step; the last few are kept. The position in the data is the step.
    state-00001000.json      size and SHA-256 of that file, checked before it is read
    metrics.csv, events.*    scalars
    samples/                 sheets of samples
    model/                   the finished model: levels below, this level, statistics, checksums
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from hvgcli.checkpoints import atomic, load_tensors, read_json, sha256, write_json, write_tensors
from hvgcli.errors import HvgError, WeightsError
from hvgcli.training.health import ADVICE, check_finite


class Trained(Protocol):
    """What a state is of: networks and optimizers in training, such as `LevelTraining`."""

    optimizers: dict[str, torch.optim.Optimizer]

    @property
    def level(self) -> int: ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: dict[str, Tensor], strict: bool) -> object: ...


_STATE = re.compile(r"state-(\d{8})\.safetensors")


def states(run: Path) -> list[tuple[int, Path]]:
    """(step, file) of every state in a run folder, oldest first."""
    found = [(int(match[1]), path) for path in run.glob("state-*") if (match := _STATE.fullmatch(path.name))]
    return sorted(found)


def _tensors(level: Trained) -> dict[str, Tensor]:
    flat = {f"networks/{key}": value for key, value in level.state_dict().items()}
    for name, optimizer in level.optimizers.items():
        for number, values in optimizer.state_dict()["state"].items():
            for key, value in values.items():
                flat[f"optimizers/{name}/{number}/{key}"] = torch.as_tensor(value)
    return flat


def _random_states() -> dict[str, Tensor]:
    """torch's own generators. The loop draws nothing from them: they are kept for networks that do."""
    found = {"random/cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["random/cuda"] = torch.cuda.get_rng_state()
    return found


def state_bytes(level: Trained) -> int:
    """Bytes of one state on disk, but for its header; before the first step, too."""
    values = sum(tensor.nbytes for tensor in level.state_dict().values())
    trained = sum(p.nbytes for o in level.optimizers.values() for group in o.param_groups for p in group["params"])
    return values + 2 * trained  # Adam keeps two moments of each parameter


def save_state(
    run: Path,
    level: Trained,
    step: int,
    keep: int,
    *,
    watch: dict[str, Any] | None = None,
    last_good: int = 0,
    advice: str = ADVICE,
) -> Path:
    """Write the state after `step` generator updates and its checksum, then drop all but the last `keep`.

    Args:
        watch: what early stopping has seen, as JSON values.
        last_good: step of the state before, for the message. advice: what it tells to do.

    Errors: `TrainingError` where a value is not finite, `MediaError` where the disk is full or read-only. The
    states so far stay as they are.
    """
    tensors = _tensors(level)
    check_finite(tensors.items(), step, last_good, advice)
    path = run / f"state-{step:08d}.safetensors"
    header = {"kind": "training state", "step": step, "level": level.level, "watch": watch}
    with atomic(path) as part:
        write_tensors(part, tensors | _random_states(), header, path)
        # before the state gets its name, so that no state is ever without its checksum
        write_json(_sidecar(path), {"sha256": sha256(part), "size": part.stat().st_size, "step": step})
    for _, old in states(run)[:-keep]:
        old.unlink(missing_ok=True)
        _sidecar(old).unlink(missing_ok=True)
    return path


def _sidecar(state: Path) -> Path:
    return state.with_suffix(".json")


def _verify(path: Path) -> None:
    """`WeightsError` where a state is not the file that was written. Early runs have no checksum: they pass."""
    sidecar = _sidecar(path)
    if not sidecar.exists():
        return
    known = read_json(sidecar)
    if not isinstance(known, dict) or not isinstance(known.get("sha256"), str):
        raise WeightsError(f"{sidecar} holds no checksum")
    if path.stat().st_size != known.get("size") or sha256(path) != known["sha256"]:
        raise WeightsError(f"{path} does not match its checksum: it is damaged or cut off")


def remove_leftovers(run: Path) -> None:
    """Remove what a killed process left half-written: temporary files, checksums without a state."""
    # .tmpXXXXXX is what safetensors writes to before it renames
    temporary = [*run.glob(".*.part"), *run.glob(".tmp??????")]
    leftovers = [*temporary, *(path for path in run.glob("state-*.json") if _orphan(path))]
    for path in leftovers:
        with suppress(OSError):
            path.unlink()


def _orphan(sidecar: Path) -> bool:
    return not sidecar.with_suffix(".safetensors").exists()


def load_state(path: Path, level: Trained) -> dict[str, Any]:
    """Restore networks, optimizers and torch's random state in place; returns the header with `step` and `watch`.

    Errors: `WeightsError` when the file is damaged or does not fit.
    """
    _verify(path)
    flat, metadata = load_tensors(path)
    if not isinstance(metadata.get("step"), int):
        raise WeightsError(f"{path} is no training state: its header has no step")
    if metadata.get("level") != level.level:
        raise WeightsError(f"{path} is a state of level {metadata.get('level')}, expected level {level.level}")
    try:
        level.load_state_dict(_networks(flat), strict=True)
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
    _restore_random(flat)
    return metadata


def last_networks(run: Path) -> dict[str, Tensor]:
    """The networks in the newest state of a run, named as in `LevelTraining.state_dict()`.

    Errors: `WeightsError` where there is no state, or it is damaged.
    """
    known = states(run)
    if not known:
        raise WeightsError(f"{run} holds no state of a run: --from takes the --out folder of another training")
    _verify(known[-1][1])
    return _networks(load_tensors(known[-1][1])[0])


def _networks(flat: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix("networks/"): value for key, value in flat.items() if key.startswith("networks/")}


def _restore_random(flat: dict[str, Tensor]) -> None:
    if "random/cpu" in flat:
        torch.set_rng_state(flat["random/cpu"])
    if "random/cuda" in flat and torch.cuda.is_available():
        torch.cuda.set_rng_state(flat["random/cuda"])


def resume(run: Path, level: Trained, warn: Callable[[str], None]) -> dict[str, Any]:
    """Continue from the newest good state; its header, with step 0 for a new run.

    A damaged state falls back to the one before, with a warning.
    """
    for _, path in reversed(states(run)):
        try:
            return load_state(path, level)
        except HvgError as error:
            warn(f"{error}; trying the state before it")
    return {"step": 0}
