"""What a scale of hp-VAE-GAN leaves when it is finished: the model folder so far, and a sheet of samples."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hvgcli import __version__
from hvgcli.checkpoints import finish_model, write_level, write_model_config
from hvgcli.config import ModelConfig
from hvgcli.layers.weights import bake_spectral_norm
from hvgcli.models.hp_vae_gan import HpVaeGan
from hvgcli.sampling.single import SeedNoise, own_statistics, random_path
from hvgcli.training.report import spread_frames
from hvgcli.training.single import ScaleTraining
from hvgcli.video import tile, write_image

SAMPLES = 3  # rows of a sheet, below the real clip and its reconstruction


def write_model(
    folder: Path, model: ModelConfig, network: HpVaeGan, scales: int, source: str, training: dict[str, Any]
) -> None:
    """Write the model of the first `scales` scales, whose standing statistics are recorded.

    source: what it learned, for the card. training: how long, for the header of the weights and the card.
    """
    config = model.single
    assert config is not None
    made = replace(config, finished=0 if scales == config.scales else scales)
    with torch.device("meta"):  # not a copy of the network: it would share the classes that baking changes
        part = HpVaeGan(made)
    weights = {**network.state_dict(), "amplitudes": network.amplitudes[:scales]}
    part.load_state_dict({key: weights[key] for key in part.state_dict()}, assign=True)
    bake_spectral_norm(part)
    described = replace(model, levels=(made,))
    with _replaced(folder) as new:
        write_model_config(new, described)
        write_level(new, 1, part.state_dict(), training)
        finish_model(new, card(described, source, training))


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `folder` when the block is done, so that a whole model is there."""
    new, old = (folder.with_name(f".{folder.name}.{kind}") for kind in ("new", "old"))
    try:
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
        new.mkdir(parents=True)
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def card(model: ModelConfig, source: str, training: dict[str, Any]) -> str:
    """A model card: what it learned and how."""
    config = model.single
    assert config is not None
    frames, height, width = config.sizes[config.built - 1]
    what = f"clip of {frames} frames of {width}x{height} pixels" if config.volumetric else f"{width}x{height} image"
    scales = f"{config.built} scales" + (f" of {config.scales}: it was stopped" if config.finished else "")
    lines = [
        f"# {model.name}",
        "",
        f"Variations of one {what} (hp-VAE-GAN): {scales}, the first {config.vae_scales} of them patch-VAE.",
        "",
        f"Learned: {source or 'not told'}.",
        "",
        f"Trained for {training['iterations']} iterations in {training['seconds']} seconds, seed {training['seed']}.",
        "",
        f"Made with hvg {__version__}.",
    ]
    return "\n".join(lines) + "\n"


def write_preview(run: Path, level: ScaleTraining) -> Path:
    """Write samples/scale-NN.png: rows of the real clip, its reconstruction, and random samples; frames across."""
    frames = preview(level)
    path = run / "samples" / f"scale-{level.scale:02d}.png"
    write_image(path, tile(frames.flatten(0, 1).numpy(), columns=frames.shape[1]))
    return path


@torch.no_grad()
def preview(level: ScaleTraining) -> Tensor:
    """The rows of a sheet, uint8 `(2 + SAMPLES, frames, H, W, 3)`; the seeds are the same at every scale."""
    network, scale = level.network, level.scale
    z, _ = level.latent(0, None)
    with own_statistics(network):
        rows = [level.real(scale, 0), network.grow(network.first(z), range(1, scale + 1), level.sizes)]
    for seed in range(SAMPLES):
        noise = SeedNoise([seed], network.latent, level.device)
        rows.append(random_path(network, noise, level.sizes, scale + 1))
    return spread_frames(torch.cat(rows).transpose(1, 2))
