"""What people and scripts are told about a model: a record of its config, and its card."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hvgcli import checkpoints
from hvgcli.cli.generating.single import SIGMA
from hvgcli.config import LevelConfig, ModelConfig, OneStageConfig, SingleConfig

CARD_LIMIT = 64 << 10  # bytes of a card that are read


def model_record(config: ModelConfig) -> dict[str, Any]:
    """The numbers of a model. Sizes are pixels, rates frames per second."""
    return {
        "name": config.name,
        "system": config.system,
        "frames": config.frames,
        "size": output_size(config),
        "rate": str(config.rate()),
        "classes": config.num_classes,
        "sigma": config.sigma,
        **one_stage_record(config),
        **single_record(config),
        "levels": [level_record(config, number) for number in range(1, len(config.levels) + 1)],
    }


def one_stage_record(config: ModelConfig) -> dict[str, Any]:
    """What only a one-stage model has; nothing for a hierarchy. None is for parts that it does without."""
    level = config.levels[0]
    if not isinstance(level, OneStageConfig):
        return {}
    return {
        "context": level.context or None,
        "unit": level.unit,
        "decomposition": level.decomposition,
        "projection": level.projection,
        "attention": level.attention or None,
        "frame_kernel": level.frame_kernel or None,
    }


def output_size(config: ModelConfig) -> str:
    """WIDTHxHEIGHT of what a model makes; of one clip or image, by default."""
    if config.single is None:
        return f"{config.resolution}x{config.resolution}"
    height, width = config.single.usual_size
    return f"{width}x{height}"


def single_record(config: ModelConfig) -> dict[str, Any]:
    """What only a model of one clip or image has; nothing for others."""
    single = config.single
    if single is None:
        return {}
    return {
        "learned": "clip" if single.volumetric else "image",
        "sigma": SIGMA,
        "scales": f"{single.built} of {single.scales}" if single.finished else single.scales,
        "vae_scales": single.vae_scales,
        "scale_sizes": [f"{frames}/{width}x{height}" for frames, height, width in single.sizes[: single.built]],
    }


def level_record(config: ModelConfig, number: int) -> dict[str, Any]:
    """The numbers of level `number` (1..L), with the parameters of its networks."""
    level = config.levels[number - 1]
    generator, discriminators = parameter_counts(config, number)
    return {
        "level": number,
        "frames": level.frames,
        "size": output_size(config) if config.single else f"{level.resolution}x{level.resolution}",
        "stride": level.stride,
        "rate": str(config.rate(number)),
        "widths": list(level.widths),
        "discriminator_widths": _discriminator_widths(level),
        "generator_parameters": generator,
        "discriminator_parameters": sum(discriminators.values()),
        "discriminators": discriminators,
    }


def _discriminator_widths(level: LevelConfig | OneStageConfig | SingleConfig) -> dict[str, list[int]]:
    if isinstance(level, SingleConfig):
        return {"patch": list(level.widths)}
    if isinstance(level, OneStageConfig):
        from hvgcli.models.decompositions import DECOMPOSITIONS

        return {name: list(level.discriminator.widths) for name in DECOMPOSITIONS[level.decomposition]}
    parts = {"spatial": level.spatial, "temporal": level.temporal, "matching": level.matching}
    return {name: list(part.widths) for name, part in parts.items() if part is not None}


def parameter_counts(config: ModelConfig, number: int) -> tuple[int, dict[str, int]]:
    """Parameters of the generator of a level, and of each of its discriminators; no memory is used."""
    import torch

    from hvgcli.models import build_discriminator, build_generator

    with torch.device("meta"):
        generator, discriminator = build_generator(config, number), build_discriminator(config, number)
    if config.single is not None:  # of one scale: each patch-GAN scale has its own in training
        return _count(generator), {"patch": _count(discriminator)}
    parts = getattr(discriminator, "networks", discriminator)
    return _count(generator), {name: _count(part) for name, part in parts.named_children()}


def _count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def folder_bytes(folder: Path) -> int:
    """Bytes of all files under a folder; 0 where there is none."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def read_card(folder: Path) -> tuple[str | None, str]:
    """The licence that a model's card states in its front matter, or None, and the card's text.

    Control characters are left out; of a card longer than 64 KiB, the rest is too.
    """
    path = checkpoints.inside(folder, checkpoints.CARD)
    if not path.is_file():
        return None, ""
    with path.open("rb") as file:
        text = file.read(CARD_LIMIT).decode("utf-8", errors="replace")
    text = "".join(c for c in text if c.isprintable() or c == "\n")
    front = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    if not front:
        return None, text.strip()
    licence = re.search(r"^licen[sc]e:\s*(\S.*)$", front[1], re.MULTILINE)
    return (licence[1].strip().strip("\"'") if licence else None), text[front.end() :].strip()
