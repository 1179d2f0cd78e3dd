"""The plan of a training as `--dry-run` prints it: what it makes, from what, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hvgcli.cli.describe import one_stage_record
from hvgcli.cli.output import Output
from hvgcli.config import Preset, to_dict

if TYPE_CHECKING:
    from hvgcli.data.clips import ClipIndex
    from hvgcli.training.estimate import Estimate
    from hvgcli.training.plan import Run


def emit_plan(run: Run, index: ClipIndex, preset: Preset, keep: int, processes: int, output: Output) -> None:
    """Say what a run would cost. preset: as it was chosen; keep: states that are kept."""
    from hvgcli.training.estimate import estimate

    cost = estimate(run, processes)
    record = _what(run) | _data(run, index, processes) | _cost(cost, keep) | {"out": str(run.out)}
    if run.start is not None:
        record["from"] = str(run.start)
    as_bytes = {
        "networks": cost.networks,
        "activations": cost.activations,
        "state": cost.state,
        "memory": cost.memory,
    }
    training = to_dict(run.training)
    output.emit(record | {"bytes": as_bytes, "preset": to_dict(preset), "training": training}, ident=run.out)


def _what(run: Run) -> dict[str, Any]:
    spec = run.config.levels[run.level - 1]
    return {
        "system": run.config.system,
        "level": run.level,
        "output": f"{spec.frames}/{spec.resolution}x{spec.resolution}",
        **one_stage_record(run.config),
    }


def _data(run: Run, index: ClipIndex, processes: int) -> dict[str, Any]:
    from hvgcli.training.estimate import steps_per_epoch
    from hvgcli.training.plan import usable_clips

    usable, training = usable_clips(run, index), run.training
    return {
        "clips": len(index.clips),
        "usable_clips": usable,
        "too_short": len(index.clips) - usable,
        "skipped": len(index.skipped),
        "classes": list(run.config.classes),
        "steps": training.steps,
        "steps_per_epoch": round(steps_per_epoch(run, index), 2),
        "batch_size": training.batch_size,
        "accumulate": training.accumulate,
        "processes": processes,
        "samples_per_process": training.batch_size // processes,
        "precision": training.precision,
    }


def _cost(cost: Estimate, keep: int) -> dict[str, Any]:
    return {
        "generator_parameters": cost.generator_parameters,
        "discriminator_parameters": cost.discriminator_parameters,
        "encoder_parameters": cost.encoder_parameters,
        "memory": mebibytes(cost.memory),
        "memory_of_networks": mebibytes(cost.networks),
        "memory_of_activations": mebibytes(cost.activations),
        "disk_of_states": mebibytes((keep + 1) * cost.state),
    }


def mebibytes(size: int) -> str:
    """Bytes for people."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
