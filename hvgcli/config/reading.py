"""Configs to JSON values and back, checked field by field: they may come from anybody."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from hvgcli.config.checks import require
from hvgcli.config.levels import DiscriminatorConfig, LevelConfig
from hvgcli.config.model import ModelConfig
from hvgcli.config.one_stage import OneStageConfig
from hvgcli.config.single import FAMILY as SINGLE
from hvgcli.config.single import SingleConfig, SingleTrainingConfig
from hvgcli.config.training import Preset, ReconstructionConfig, SinglePreset, TrainingConfig
from hvgcli.errors import ConfigError


def to_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as plain JSON values."""
    return asdict(config)


# What JSON may hold for a field, by its annotation; a field of another kind is checked where it is built.
_JSON_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}


def _fits(value: Any, annotation: str) -> bool:
    if value is None:
        return annotation.endswith("None")
    if annotation.startswith("tuple["):
        items, _, rest = annotation.removeprefix("tuple[").removesuffix("]").partition(", ")
        many = isinstance(value, list | tuple) and (rest == "..." or len(value) == 2)  # (x, ...) or (low, high)
        return many and all(_fits(item, items) for item in value)
    wanted = _JSON_TYPES.get(annotation)
    if wanted is None:
        return True
    return isinstance(value, wanted) and (bool in wanted or not isinstance(value, bool))


def _build(kind: Any, data: Any, where: str) -> Any:
    require(isinstance(data, dict), f"{where} must be an object, not {type(data).__name__}")
    known = {field.name: str(field.type) for field in fields(kind)}
    unknown = sorted(set(data) - set(known))
    require(not unknown, f"{where} has unknown field {', '.join(unknown)}: it may be of a newer version of hvg")
    for key, value in data.items():
        wanted = known[key]
        require(_fits(value, wanted), f"{where}: {key} is {_short(value)}, of the wrong type: expected {wanted}")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{where} is incomplete or has a value of the wrong type: {error}") from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _level_from_dict(data: Any, where: str) -> LevelConfig | OneStageConfig | SingleConfig:
    require(isinstance(data, dict), f"{where} must be an object")
    if data.get("family") == SINGLE:
        single: SingleConfig = _build(SingleConfig, data, where)
        return single
    values = dict(data)
    for part in ("spatial", "temporal", "matching", "discriminator"):
        if values.get(part) is not None:
            values[part] = _build(DiscriminatorConfig, values[part], f"{where}.{part}")
    kind = OneStageConfig if "family" in values else LevelConfig
    level: LevelConfig | OneStageConfig = _build(kind, values, where)
    return level


def model_from_dict(data: Any) -> ModelConfig:
    """`ModelConfig` from JSON values; ConfigError when a field is unknown, missing or out of range."""
    require(isinstance(data, dict) and isinstance(data.get("levels"), list | tuple), "config has no list of levels")
    values = dict(data)
    values["levels"] = [_level_from_dict(level, f"level {n}") for n, level in enumerate(values["levels"], start=1)]
    try:
        model: ModelConfig = _build(ModelConfig, values, "config")
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"config has a value of the wrong type: {error}") from error
    return model


def training_from_dict(data: Any) -> TrainingConfig:
    """`TrainingConfig` from JSON values, checked like `model_from_dict`."""
    require(isinstance(data, dict), f"training must be an object, not {type(data).__name__}")
    values = dict(data)
    if values.get("reconstruction") is not None:
        values["reconstruction"] = _build(ReconstructionConfig, values["reconstruction"], "reconstruction")
    training: TrainingConfig = _build(TrainingConfig, values, "training")
    return training


def single_training_from_dict(data: Any) -> SingleTrainingConfig:
    """`SingleTrainingConfig` from JSON values, checked like `model_from_dict`."""
    training: SingleTrainingConfig = _build(SingleTrainingConfig, data, "training")
    return training


def preset_from_dict(data: Any) -> Preset:
    """`Preset` from JSON values `{"model": {...}, "training": [one a level], "source": "..."}`.

    `source` may be left out, and in `training` every field that keeps its default. Errors: `ConfigError` as
    `model_from_dict`, and where the levels of model and training are not as many.
    """
    source = _preset_source(data)
    require(isinstance(data.get("training"), list | tuple), "a preset needs training: a list with one object a level")
    model = model_from_dict(data.get("model"))
    training = tuple(training_from_dict(level) for level in data["training"])
    require(
        len(training) == len(model.levels), f"a preset has {len(model.levels)} levels, but training for {len(training)}"
    )
    return Preset(model, training, source)


def single_preset_from_dict(data: Any) -> SinglePreset:
    """`SinglePreset` from JSON values `{"model": {...}, "training": {...}, "source": "..."}`.

    `source` may be left out, and in `training` every field that keeps its default. Errors: `ConfigError` as
    `model_from_dict`, and for a model of another kind.
    """
    source = _preset_source(data)
    model = model_from_dict(data.get("model"))
    require(
        model.single is not None,
        f"a preset of {model.system} learns many clips: use hvg train or hvg train-level, or give one of {SINGLE}",
    )
    return SinglePreset(model, single_training_from_dict(data.get("training", {})), source)


def _preset_source(data: Any) -> str:
    """Where the numbers of a preset come from. ConfigError for what is no preset."""
    require(isinstance(data, dict), f"a preset must be an object, not {type(data).__name__}")
    unknown = sorted(set(data) - {"model", "training", "source"})
    require(not unknown, f"a preset has model, training and source, not {', '.join(unknown)}")
    source = data.get("source", "a file")
    require(isinstance(source, str), f"source is {_short(source)}, expected str")
    return str(source)
