"""The table of models: the published ones with the papers' numbers, and small ones that are ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hvgcli.checkpoints import check_model_types, read_json
from hvgcli.config import (
    DiscriminatorConfig,
    LevelConfig,
    ModelConfig,
    OneStageConfig,
    Preset,
    ReconstructionConfig,
    SingleConfig,
    SinglePreset,
    SingleTrainingConfig,
    TrainingConfig,
    preset_from_dict,
    single_preset_from_dict,
)
from hvgcli.errors import ConfigError, UsageError

P = TypeVar("P", Preset, SinglePreset)

# Discriminators of HVG, widths from input to output (appendix B)
_D32 = DiscriminatorConfig(128, (2, 4, 8, 16, 16))
_D128 = DiscriminatorConfig(96, (1, 2, 4, 8, 16, 16))
_D256 = DiscriminatorConfig(96, (1, 2, 4, 8, 8, 16, 16))


def _published(
    frames: int, resolution: int, stride: int, ch: int, multipliers: tuple[int, ...], d: DiscriminatorConfig, level: int
) -> LevelConfig:
    return LevelConfig(frames, resolution, stride, ch, multipliers, d, d, d if level > 1 else None)


def _mini(
    frames: int, resolution: int, stride: int, ch: int, multipliers: tuple[int, ...], z: int, *ds: DiscriminatorConfig
) -> LevelConfig:
    spatial, temporal, matching = ds if len(ds) == 3 else (*ds, None)
    return LevelConfig(
        frames,
        resolution,
        stride,
        ch,
        multipliers,
        spatial,
        temporal,
        matching,
        z,
        embed_dim=32,
        spectral_norm=False,
        output_residual=matching is not None,
    )


_KINETICS = "Castrejon et al. 2021, sections 5.1 and 5.2, appendices A and B"
_BDD = "Castrejon et al. 2021, sections 5.1 and 5.3, appendix B; level-1 widths are ours, the paper gives none"
_OURS = "ours: widths, strides, levels and training aids for two CPU cores"

_KINETICS_L1 = _published(24, 32, 8, 128, (8, 8, 4, 2), _D32, 1)
_BDD_LEVELS = (
    _published(12, 64, 8, 128, (8, 8, 4, 2), _D32, 1),
    _published(12, 128, 4, 96, (8, 8, 4, 2, 1), _D128, 2),
    _published(12, 256, 2, 96, (8, 4, 4, 4, 2, 1), _D256, 3),
)
_D = DiscriminatorConfig
_P = partial(DiscriminatorConfig, patches=True)
_FINE = partial(_P, detail=10)
_MINI_TOP = replace(
    _mini(12, 128, 2, 16, (8, 8, 4, 2, 1), 16, _FINE(32, (1, 2, 2)), _FINE(24, (1, 2, 2)), _P(16, (2, 4))),
    hold_edges=True,
)
_MINI_LEVELS = (
    #     frames  D  stride ch  multipliers  z   spatial         temporal           matching
    replace(
        _mini(24, 16, 4, 16, (8, 4, 4), 16, _FINE(64, (1, 2)), _FINE(24, (1, 2, 2))), code_components=8, temporal_pool=1
    ),
    # It makes the frames between those of the outline: what the last level would do there is a crossfade.
    replace(
        _mini(24, 32, 2, 16, (8, 8, 4, 4), 16, _FINE(48, (1, 2)), _FINE(32, (1, 2, 2)), _P(24, (2, 4))),
        hold_edges=True,
    ),
    _MINI_TOP,
)
_TWO_LEVELS = (
    replace(_mini(24, 32, 4, 16, (8, 8, 4), 16, _P(64, (1, 2)), _P(24, (1, 2, 2))), code_components=8),
    _MINI_TOP,
)


def _mini_training(
    steps: int,
    batch: int,
    aid: ReconstructionConfig,
    noise: float = 0.0,
    smallest_crop: float = 0.75,
    adversary: tuple[float, float, float] = (0.15, 2e-4, 4e-4),
) -> TrainingConfig:
    """`adversary`: weight of its loss, learning rates of generator and discriminators."""
    weight, lr_generator, lr_discriminator = adversary
    return TrainingConfig(
        steps=steps,
        batch_size=batch,
        lr_generator=lr_generator,
        lr_discriminator=lr_discriminator,
        beta1=0.5,
        discriminator_updates=1,
        ema=0.995,
        random_scale=(smallest_crop, 1.0),
        balance_classes=True,
        condition_noise=noise,
        reconstruction=aid,
        adversarial_weight=weight,
        precision="bf16",
    )


_MINI_TRAINING = (
    # The outline sees whole-height crops only: its code has a clip's take, time and place to tell, no zoom.
    _mini_training(
        4900,
        16,
        ReconstructionConfig(3300, 1.0, 7e-4, 0.5, 3.0, nats=24.0),
        smallest_crop=1.0,
        adversary=(0.5, 3e-4, 1e-3),
    ),
    _mini_training(
        2200, 8, ReconstructionConfig(850, 1.0, 1e-3, 0.0, 2.0, judged=True), noise=0.05, adversary=(0.5, 3e-4, 5e-4)
    ),
    replace(
        _mini_training(
            3000, 4, ReconstructionConfig(1000, 1.0, 1e-3, judged=True), noise=0.05, adversary=(0.6, 3e-4, 5e-4)
        ),
        spatial_frames=4,
    ),
)

# DVD-GAN: frames, resolution, ch, ch_0 and one multiplier a stage, discriminators (appendix B.2)
_DVD = {
    64: (128, (8, 8, 8, 4, 2), _D(128, (2, 4, 8, 16, 16))),
    128: (96, (8, 8, 8, 4, 2, 1), _D(96, (1, 2, 4, 8, 16, 16))),
    256: (96, (8, 8, 8, 4, 4, 2, 1), _D256),  # not published: ours
}
_DVD_TRAINING = TrainingConfig(steps=300_000, ema=0.9999, ema_start=20_000)
_DVD_SOURCE = "Clark et al. 2019, sections 3 and 4.1, appendix B"
_FP_TRAINING = TrainingConfig(steps=700_000, ema=0.9999, ema_start=20_000, orthogonal_penalty=1e-4)


def _dvd_gan(frames: int, resolution: int) -> Preset:
    ch, multipliers, d = _DVD[resolution]
    level = OneStageConfig(frames, resolution, 2, ch, multipliers, d)
    source = _DVD_SOURCE + ("; widths at 256 pixels are ours, the paper gives none" if resolution == 256 else "")
    return Preset(ModelConfig(f"dvd-gan-{frames}x{resolution}", (level,), 600), (_DVD_TRAINING,), source)


def _predictor(ch: int, d: DiscriminatorConfig, context: int, frames: int, *, trivd: bool) -> OneStageConfig:
    """Frames of 64x64 from 8x8, without frame skipping (TrIVD-GAN section 4.1, appendix A)."""
    how = ("stronger", "mixed", "TSRU_p") if trivd else ("dvd-gan", "sum", "ConvGRU")
    return OneStageConfig(frames, 64, 1, ch, (8, 8, 4, 2), d, *how, context=context, base=8, z_dim=128, embed_dim=128)


def _mini_predictor(*, trivd: bool) -> OneStageConfig:
    how = ("stronger", "mixed", "TSRU_p") if trivd else ("dvd-gan", "sum", "ConvGRU")
    return OneStageConfig(
        11, 64, 2, 16, (6, 6, 4, 2), _D(16, (2, 4, 6, 8, 8)), *how,
        context=5, base=8, z_dim=16, embed_dim=16, spectral_norm=False, frame_kernel=5,
    )  # fmt: skip


_DVD_MINI = OneStageConfig(
    48, 128, 2, 8, (12, 12, 8, 4, 2, 1), _D(16, (1, 2, 4, 4, 8)),
    z_dim=32, embed_dim=32, spectral_norm=False, code_components=8,
)  # fmt: skip

_PREDICTOR_TRAINING = replace(
    _mini_training(1500, 8, ReconstructionConfig(700, 1.0, 7e-4, 0.5, 5.0, nats=12.0)), orthogonal_penalty=1e-4
)
_DVD_MINI_TRAINING = _mini_training(
    700, 8, ReconstructionConfig(500, 1.0, 7e-4, 0.5, 5.0, nats=24.0), smallest_crop=1.0
)

PRESETS: dict[str, Preset] = {
    preset.model.name: preset
    for preset in (
        Preset(
            ModelConfig(
                "hvg-kinetics600-48x128", (_KINETICS_L1, _published(12, 128, 4, 128, (8, 8, 4, 2, 1), _D128, 2)), 600
            ),
            (TrainingConfig(steps=300_000),) * 2,
            _KINETICS,
        ),
        Preset(
            ModelConfig(
                "hvg-kinetics600-48x128-w3", (_KINETICS_L1, _published(6, 128, 4, 128, (8, 8, 4, 2, 1), _D128, 2)), 600
            ),
            (TrainingConfig(steps=300_000),) * 2,
            _KINETICS + ", table 3",
        ),
        Preset(
            ModelConfig("hvg-bdd100k-48x256", _BDD_LEVELS, source_rate="30"),
            (TrainingConfig(steps=100_000),) * 3,
            _BDD,
        ),
        Preset(ModelConfig("hvg-mini", _MINI_LEVELS, 11, source_rate="25"), _MINI_TRAINING, _OURS),
        *(_dvd_gan(frames, resolution) for resolution in (64, 128, 256) for frames in (12, 48)),
        Preset(
            ModelConfig("dvd-gan-fp", (_predictor(48, _DVD[64][2], 5, 11, trivd=False),)),
            (replace(_FP_TRAINING, orthogonal_penalty=0.0, steps=1_000_000),),
            "Clark et al. 2019, section 4.2 and appendix B.4; Luc et al. 2020, appendix A",
        ),
        Preset(
            ModelConfig("trivd-gan-fp", (_predictor(120, _DVD[64][2], 5, 11, trivd=True),)),
            (_FP_TRAINING,),
            "Luc et al. 2020, sections 3 and 4.4, appendices A, E and F",
        ),
        Preset(
            ModelConfig("trivd-gan-fp-bair", (_predictor(48, _D(92, (2, 4, 8, 16, 16)), 1, 15, trivd=True),)),
            (replace(_FP_TRAINING, lr_generator=2e-5, lr_discriminator=3e-5),),
            "Luc et al. 2020, appendix C.1; its steps are ours, the paper gives none",
        ),
        Preset(ModelConfig("dvd-gan-mini", (_DVD_MINI,), 11, source_rate="25"), (_DVD_MINI_TRAINING,), _OURS),
        Preset(ModelConfig("dvd-gan-fp-mini", (_mini_predictor(trivd=False),)), (_PREDICTOR_TRAINING,), _OURS),
        Preset(ModelConfig("trivd-gan-fp-mini", (_mini_predictor(trivd=True),)), (_PREDICTOR_TRAINING,), _OURS),
        Preset(ModelConfig("hvg-mini-two-level", _TWO_LEVELS, 11, source_rate="25"), _MINI_TRAINING[::2], _OURS),
    )
}

SINGLE_PRESETS: dict[str, SinglePreset] = {
    preset.model.name: preset
    for preset in (
        SinglePreset(
            ModelConfig("hp-vae-gan", (SingleConfig(),), source_rate="24"),
            SingleTrainingConfig(),
            "Gur et al. 2020, sections 3 and 4, appendix A.1",
        ),
        SinglePreset(
            ModelConfig(
                "hp-vae-gan-mini",
                (SingleConfig(scales=5, channels=32, latent=64, height=96, width=96, hold_ends=True),),
            ),
            # 64: at 1, variations of clips with much sky or other large parts are noise after half an hour; the paper's
            # equation 5, whose KL is a sum over all places, asks for even more
            SingleTrainingConfig(minutes=30.0, kl_weight=64.0),
            _OURS,
        ),
    )
}
"""Models of one clip: their size, length and rate become those of the clip (`hvgcli.data.single.fit`)."""


def all_presets() -> dict[str, Preset | SinglePreset]:
    """Both tables."""
    return {**PRESETS, **SINGLE_PRESETS}


def find_preset(name: str) -> Preset:
    """The preset of the table named `name`, or the one in the JSON file `name` (as `preset_from_dict` reads it).

    Errors: `UsageError` for an unknown name and one of `SINGLE_PRESETS`, `ConfigError` where the file is missing,
    no JSON or does not fit.
    """
    if name in SINGLE_PRESETS:
        raise UsageError(f"preset {name} learns one clip: use hvg train-single IN --preset {name}")
    return _find(name, PRESETS, preset_from_dict)


def find_single_preset(name: str) -> SinglePreset:
    """The preset of `SINGLE_PRESETS` named `name`, or the one in a JSON file, as `single_preset_from_dict` reads it.

    Errors: as `find_preset`.
    """
    if name in PRESETS:
        raise UsageError(f"preset {name} learns many clips: give one of {', '.join(SINGLE_PRESETS)}, or a JSON file")
    return _find(name, SINGLE_PRESETS, single_preset_from_dict)


def _find(name: str, table: dict[str, P], read: Callable[[Any], P]) -> P:
    if name in table:
        return table[name]
    path = Path(name)
    if path.suffix.lower() == ".json" or path.is_file():
        return _read_preset(path, read)
    close = get_close_matches(name, table, n=3, cutoff=0.3) or list(table)
    raise UsageError(f"unknown preset {name!r}: did you mean {', '.join(close)}? (or give a JSON file)")


def _read_preset(path: Path, read: Callable[[Any], P]) -> P:
    data = read_json(path, error=ConfigError)
    try:
        preset = read(data)
        check_model_types(data["model"])
    except (ConfigError, TypeError, ValueError, OverflowError, AttributeError) as error:
        fault = error.fault if isinstance(error, ConfigError) else error
        raise ConfigError(f"{path}: {fault}: change it there") from error
    return preset
