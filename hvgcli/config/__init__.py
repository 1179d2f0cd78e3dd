"""The numbers of every model and of its training: frozen dataclasses.

A `ModelConfig` describes networks only and travels with the weights (`config.json`). A
`TrainingConfig` describes how one level is trained and travels with a run. Sizes are pixels of a
square frame, strides are source frames between two output frames.
"""

from hvgcli.config.checks import BASE_RESOLUTION, FORMAT_VERSION, MAX_CHANNELS, MAX_CLASSES, MAX_FRAMES, MAX_RESOLUTION
from hvgcli.config.levels import UNITS, DiscriminatorConfig, LevelConfig
from hvgcli.config.model import ModelConfig
from hvgcli.config.one_stage import OneStageConfig
from hvgcli.config.reading import (
    model_from_dict,
    preset_from_dict,
    single_preset_from_dict,
    single_training_from_dict,
    to_dict,
    training_from_dict,
)
from hvgcli.config.single import SingleConfig, SingleTrainingConfig
from hvgcli.config.training import AUGMENTATIONS, Preset, ReconstructionConfig, SinglePreset, TrainingConfig

__all__ = [
    "AUGMENTATIONS",
    "BASE_RESOLUTION",
    "FORMAT_VERSION",
    "MAX_CHANNELS",
    "MAX_CLASSES",
    "MAX_FRAMES",
    "MAX_RESOLUTION",
    "UNITS",
    "DiscriminatorConfig",
    "LevelConfig",
    "ModelConfig",
    "OneStageConfig",
    "Preset",
    "ReconstructionConfig",
    "SingleConfig",
    "SinglePreset",
    "SingleTrainingConfig",
    "TrainingConfig",
    "model_from_dict",
    "preset_from_dict",
    "single_preset_from_dict",
    "single_training_from_dict",
    "to_dict",
    "training_from_dict",
]
