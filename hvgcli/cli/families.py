"""Which models a command is for: one line where it is given another one."""

from __future__ import annotations

from hvgcli.config import ModelConfig
from hvgcli.errors import UsageError
from hvgcli.hub import DEFAULT_MODEL, DEFAULT_PREDICTOR


def require_predictor(model: str, config: ModelConfig) -> None:
    """`UsageError` for a model that makes videos from nothing; `model` is as it was typed."""
    if not config.predictor:
        what = "makes videos from classes" if config.conditional else "makes videos from nothing"
        raise UsageError(f"--model {model} {what}: use hvg generate, or choose --model {DEFAULT_PREDICTOR}")


def refuse_predictor(model: str, config: ModelConfig) -> None:
    """`UsageError` for a predictor, where videos are made from nothing."""
    if config.predictor:
        raise UsageError(
            f"--model {model} continues clips: use hvg predict IN --model {model}, or choose --model {DEFAULT_MODEL}"
        )


def refuse_one_stage(model: str, config: ModelConfig) -> None:
    """`UsageError` for a model without levels that enlarge."""
    if config.one_stage:
        raise UsageError(f"--model {model} has one stage, which enlarges nothing: choose --model {DEFAULT_MODEL}")


def refuse_measuring(model: str, config: ModelConfig) -> None:
    """`UsageError` for a predictor, whose statistics depend on real clips."""
    if config.predictor:
        raise UsageError(f"{model} is a predictor: its statistics are measured in training, and come with its weights")
