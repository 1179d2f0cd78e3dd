"""The embedded model, measured: what standing statistics are for, and what bfloat16 changes (HVG appendix A)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hvgcli.checkpoints import verify
from hvgcli.hub import DEFAULT_MODEL, resolve
from hvgcli.layers.table import RowLayout
from hvgcli.sampling.hierarchy import Hierarchy, Sample, generate, level_latents, load, prepare
from hvgcli.sampling.statistics import norms
from hvgcli.sampling.unroll import join, unroll

FRAMES = 96  # eight windows of the last level's training length, twice the model's own


@pytest.fixture(scope="module")
def model() -> Hierarchy:
    return load(resolve(DEFAULT_MODEL))


def videos(model: Hierarchy, frames: int, seeds: range = range(4)) -> Tensor:
    samples = [Sample(seed, seed % model.config.num_classes) for seed in seeds]
    return join(generate(model, samples, frames, sigma=model.config.sigma))


def drift(video: Tensor) -> float:
    """How far the colours of the last quarter are from those of the first: mean absolute difference of
    the per-channel mean and standard deviation of the frames, in [-1, 1] units."""
    quarter = video.shape[1] // 4
    first, last = video[:, :quarter], video[:, -quarter:]
    means = (first.mean((1, 3, 4)) - last.mean((1, 3, 4))).abs().mean()
    spreads = (first.std((3, 4)).mean(1) - last.std((3, 4)).mean(1)).abs().mean()
    return float(means + spreads)


@torch.inference_mode()
def with_own_batch_statistics(model: Hierarchy, frames: int) -> Tensor:
    """The same seeds, each normalised by its own video alone: what a batch norm left in training mode does."""
    rows = []
    for generator in model.generators:
        generator.train()
    try:
        for seed in range(4):
            samples = [Sample(seed, seed % model.config.num_classes)]
            zs = [level_latents(model, samples, n, model.config.sigma) for n in range(1, model.levels + 1)]
            rows.append(join(unroll(model.generators, zs, torch.tensor([samples[0].label]), frames, 12)))
    finally:
        for generator in model.generators:
            generator.eval()
    return torch.cat(rows)


@torch.inference_mode()
def with_training_length_statistics(model: Hierarchy, frames: int) -> Tensor:
    """The same seeds with the statistics of the first training window only, repeated over the video."""
    prepare(model, frames, model.config.sigma, model.levels)
    kept = []
    for generator, level in zip(model.generators, model.config.levels, strict=True):
        kept.append((generator.rows, {name: norm.table for name, norm in norms(generator)}))
        window = generator.rows.index(0, level.frames, frames)
        for _, norm in norms(generator):
            norm.table = tuple(part[window].mean(0, keepdim=True) for part in norm.table)
        generator.rows = RowLayout(0, 1)
    samples = [Sample(seed, seed % model.config.num_classes) for seed in range(4)]
    zs = [level_latents(model, samples, n, model.config.sigma) for n in range(1, model.levels + 1)]
    try:
        return join(unroll(model.generators, zs, torch.tensor([s.label for s in samples]), frames, 12))
    finally:
        for generator, (rows, tables) in zip(model.generators, kept, strict=True):
            generator.rows = rows
            for name, norm in norms(generator):
                norm.table = tables[name]


def test_files_are_those_of_the_checksums() -> None:
    assert all(check.ok for check in verify(resolve(DEFAULT_MODEL)))


def test_it_is_small_enough_to_ship() -> None:
    folder = resolve(DEFAULT_MODEL)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 30_000_000


def test_bfloat16_is_not_seen(model: Hierarchy) -> None:
    single = videos(model, 48)
    model.half = (False, True, True)
    try:
        half = videos(model, 48)
    finally:
        model.half = ()
    assert (single - half).abs().mean() * 127.5 <= 1.0


def test_classes_differ_and_videos_move(model: Hierarchy) -> None:
    samples = [Sample(1, label) for label in range(model.config.num_classes)]
    made = join(generate(model, samples, 48, sigma=model.config.sigma))
    colours = made.mean((1, 3, 4))  # (classes, 3)
    apart = torch.cdist(colours, colours) + 9 * torch.eye(len(colours))
    assert apart.min() > 0.02
    moves = made.diff(dim=1).abs().mean((1, 2, 3, 4)) * 127.5
    assert (moves > 0.2).all(), moves
    assert (moves < 20).all(), moves


def test_the_command_makes_the_class(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hvgcli", "generate", "--class", "skydiving", "--frames", "12", "--seed", "3"]
    done = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True, check=True)
    record = json.loads(done.stdout)
    assert record["class"] == "skydiving"
    assert Path(tmp_path / record["path"]).is_file()
