"""The plan of `hvg train-single` as `--dry-run` prints it: its scales, and what they cost."""

from __future__ import annotations

from typing import Any

import torch

from hvgcli.cli.describe import parameter_counts
from hvgcli.cli.output import Output, grid
from hvgcli.cli.training.plan import mebibytes
from hvgcli.config import SinglePreset, to_dict
from hvgcli.training.single_folder import SingleRun
from hvgcli.training.single_memory import clip_bytes, scale_bytes
from hvgcli.training.single_run import scale_shares

COLUMNS = {"scale": "scale", "kind": "kind", "frames": "frames", "size": "size", "minutes": "minutes"}


def emit_plan(run: SingleRun, preset: SinglePreset, device: torch.device, output: Output) -> None:
    """Say what a run would make and cost. preset: as it was chosen, before it was fitted to the clip."""
    rows = _scales(run)
    record = _what(run) | _cost(run, device) | {"out": str(run.out), "scales": rows}
    if output.mode != "human":
        output.emit(record | {"preset": to_dict(preset), "training": to_dict(run.training)}, ident=run.out)
        return
    output.emit({key: value for key, value in record.items() if value is not None})
    columns = COLUMNS if run.training.minutes else {key: COLUMNS[key] for key in COLUMNS if key != "minutes"}
    output.emit({}, line=grid(rows, columns))


def _what(run: SingleRun) -> dict[str, Any]:
    config, clip = run.config, run.clip
    frames, height, width = config.sizes[-1]
    return {
        "system": run.model.system,
        "name": run.model.name,
        "learned": run.source,
        "image": clip.image,
        "output": f"{frames}/{width}x{height}",
        "windows": len(clip.frames),
        "rate": run.model.source_rate,
        "vae_scales": config.vae_scales,
        "channels": config.channels,
    }


def _cost(run: SingleRun, device: torch.device) -> dict[str, Any]:
    generator, discriminators = parameter_counts(run.model, 1)
    minutes, training = run.training.minutes, run.training
    memory = clip_bytes(run.clip, run.config) + max(
        scale_bytes(run.config, training, scale) for scale in range(run.config.scales)
    )
    return {
        "minutes": minutes or None,
        "iterations": None if minutes else training.iterations,
        "precision": training.precision,
        "device": str(device),
        "generator_parameters": generator,
        "discriminator_parameters": sum(discriminators.values()),
        "memory": mebibytes(memory),
    }


def _scales(run: SingleRun) -> list[dict[str, Any]]:
    """A row a scale, numbered from 0 as the paper does. minutes: of the budget; None without one."""
    config, minutes = run.config, run.training.minutes
    return [
        {
            "scale": scale,
            "kind": "patch-VAE" if scale < config.vae_scales else "patch-GAN",
            "frames": frames,
            "size": f"{width}x{height}",
            "minutes": round(minutes * share, 2) if minutes else None,
        }
        for scale, ((frames, height, width), share) in enumerate(zip(config.sizes, scale_shares(config), strict=True))
    ]
