"""The networks: one file for each box of the papers' figures. The builders here read a `ModelConfig`."""

from __future__ import annotations

from hvgcli.config import ModelConfig, OneStageConfig, SingleConfig
from hvgcli.models.decompositions import OneStageDiscriminator
from hvgcli.models.discriminators import LevelDiscriminator
from hvgcli.models.dvd_gan import DvdGan
from hvgcli.models.frame_prediction import FramePredictor
from hvgcli.models.hp_vae_gan import HpVaeGan, PatchDiscriminator
from hvgcli.models.level1 import Outline
from hvgcli.models.upsampler import Upsampler

Generator = Outline | Upsampler | DvdGan | FramePredictor | HpVaeGan
Discriminator = LevelDiscriminator | OneStageDiscriminator | PatchDiscriminator


def build_generator(config: ModelConfig, level: int) -> Generator:
    """The generator of level `level` (1..L), freshly initialised."""
    spec = config.levels[level - 1]
    if isinstance(spec, SingleConfig):
        return HpVaeGan(spec)
    if isinstance(spec, OneStageConfig):
        return FramePredictor(spec) if spec.predictor else DvdGan(spec, config.num_classes)
    if level == 1:
        return Outline(spec, config.num_classes)
    below = config.levels[level - 2].resolution
    return Upsampler(spec, config.num_classes, input_size=below, times_time=config.times_time(level))


def build_discriminator(config: ModelConfig, level: int) -> Discriminator:
    """The discriminators of level `level` (1..L), freshly initialised."""
    spec = config.levels[level - 1]
    if isinstance(spec, SingleConfig):
        return PatchDiscriminator(spec)  # of one scale: each patch-GAN scale has its own
    if isinstance(spec, OneStageConfig):
        return OneStageDiscriminator(spec, config.num_classes)
    matches = config.levels[level - 2].resolution if spec.matching else None
    return LevelDiscriminator(spec, config.num_classes, input_size=matches)
