"""Which models a command is for: one line where it is given another one."""

from __future__ import annotations

from hvgcli.cli.values import one_of
from hvgcli.config import ModelConfig
from hvgcli.errors import UsageError
from hvgcli.hub import DEFAULT_MODEL, DEFAULT_PREDICTOR

HIERARCHY = "hvg"
SYSTEMS = ("dvd-gan", "dvd-gan-fp", "trivd-gan-fp")
"""The one-stage models, as `hvg train` names them."""


def check_system(text: str) -> None:
    """`UsageError` for what is none of `SYSTEMS`."""
    if text == HIERARCHY:
        raise UsageError("a hierarchy is trained level by level: use hvg train-level 1")
    one_of("SYSTEM", text, SYSTEMS)


def complete_system(incomplete: str) -> list[str]:
    """Those of `SYSTEMS` that start so."""
    return [name for name in SYSTEMS if name.startswith(incomplete)]


def require_system(system: str, preset: str, config: ModelConfig) -> None:
    """`UsageError` for a preset of another system; `preset` is as it was typed."""
    found = config.system
    if found == system:
        return
    if found == HIERARCHY:
        raise UsageError(f"--preset {preset} is a hierarchy: use hvg train-level 1 --preset {preset}")
    what = "is no hierarchy" if system == HIERARCHY else f"is not of {system}"
    advice = f"use hvg train {found} --preset {preset}" if found in SYSTEMS else f"it is of {found}: choose another"
    raise UsageError(f"--preset {preset} {what}: {advice}")


def require_predictor(model: str, config: ModelConfig) -> None:
    """`UsageError` for a model that makes videos from nothing; `model` is as it was typed."""
    if not config.predictor:
        what = "makes videos from classes" if config.conditional else "makes videos from nothing"
        what = f"makes variations of one {learned(config)}" if config.single else what
        raise UsageError(f"--model {model} {what}: use hvg generate, or choose --model {DEFAULT_PREDICTOR}")


def refuse_predictor(model: str, config: ModelConfig) -> None:
    """`UsageError` for a predictor, where videos are made from nothing."""
    if config.predictor:
        raise UsageError(
            f"--model {model} continues clips: use hvg predict IN --model {model}, or choose --model {DEFAULT_MODEL}"
        )


def refuse_one_stage(model: str, config: ModelConfig) -> None:
    """`UsageError` for a model without levels that enlarge the user's clips."""
    if config.single is not None:
        raise UsageError(
            f"--model {model} makes variations of one {learned(config)}, and enlarges no other: "
            f"use hvg generate, or choose --model {DEFAULT_MODEL}"
        )
    if config.one_stage:
        raise UsageError(f"--model {model} has one stage, which enlarges nothing: choose --model {DEFAULT_MODEL}")


def refuse_measuring(model: str, config: ModelConfig) -> None:
    """`UsageError` for a predictor, whose statistics depend on real clips, and for a model of one clip."""
    if config.single is not None:
        raise UsageError(
            f"{model} makes variations of one {learned(config)}: hvg generate measures what it needs for a new length"
        )
    if config.predictor:
        raise UsageError(f"{model} is a predictor: its statistics are measured in training, and come with its weights")


def learned(config: ModelConfig) -> str:
    """What a model of one clip or image learned: "clip" or "image"."""
    return "clip" if config.single is not None and config.single.volumetric else "image"
