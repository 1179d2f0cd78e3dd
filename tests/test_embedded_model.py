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
from hvgcli.sampling.hierarchy import Hierarchy, Sample, generate, level_latents, load
from hvgcli.sampling.statistics import norms
from hvgcli.sampling.unroll import join, unroll

FRAMES = 48  # of the outline: twice its training length, four windows of the level above it


@pytest.fixture(scope="module")
def model() -> Hierarchy:
    return load(resolve(DEFAULT_MODEL))


def samples(model: Hierarchy, count: int) -> list[Sample]:
    """Seeds 0, 1, ... with the classes in turn."""
    return [Sample(seed, seed % model.config.num_classes) for seed in range(count)]


def videos(model: Hierarchy, count: int, frames: int) -> Tensor:
    return join(generate(model, samples(model, count), frames, sigma=model.config.sigma))


@torch.inference_mode()
def with_batch_statistics(model: Hierarchy, count: int, batch: int) -> Tensor:
    """Unrolled outlines of levels 1 and 2 whose norms use the statistics of a batch of `batch` videos."""
    generators, made = model.generators[:2], []
    for generator in generators:
        generator.train()
    try:
        for start in range(0, count, batch):
            part = samples(model, count)[start : start + batch]
            zs = [level_latents(model, part, number, model.config.sigma) for number in (1, 2)]
            made.append(join(unroll(generators, zs, torch.tensor([s.label for s in part]), FRAMES, 12)))
    finally:
        for generator in generators:
            generator.eval()
    return torch.cat(made)


@torch.inference_mode()
def without_statistics(model: Hierarchy, count: int) -> Tensor:
    """The same with mean 0 and variance 1 in every norm, as an untouched batch norm has them."""
    generators = model.generators[:2]
    kept = [(generator.rows, {name: norm.table for name, norm in norms(generator)}) for generator in generators]
    for generator in generators:
        generator.rows = RowLayout(0, 1)
        for _, norm in norms(generator):
            norm.table = (torch.zeros(1, norm.channels), torch.ones(1, norm.channels))
    part = samples(model, count)
    zs = [level_latents(model, part, number, model.config.sigma) for number in (1, 2)]
    try:
        return join(unroll(generators, zs, torch.tensor([s.label for s in part]), FRAMES, 12))
    finally:
        for generator, (rows, tables) in zip(generators, kept, strict=True):
            generator.rows = rows
            for name, norm in norms(generator):
                norm.table = tables[name]


def off(made: Tensor, wanted: Tensor) -> float:
    """Mean absolute difference in n/255 over the frames beyond the training length."""
    beyond = slice(made.shape[1] // 2, None)
    return float((made[:, beyond] - wanted[:, beyond]).abs().mean()) * 127.5


def test_unrolled_videos_need_standing_statistics(model: Hierarchy) -> None:
    """Beyond the training length a video is as the network meant it, a large batch, only with standing statistics."""
    count = 22
    meant = with_batch_statistics(model, count, batch=count)
    standing = join(generate(model, samples(model, count), FRAMES, sigma=model.config.sigma, levels=2))
    assert off(standing, meant) < 8
    assert off(with_batch_statistics(model, count, batch=1), meant) > 3 * off(standing, meant)
    assert off(without_statistics(model, count), meant) > 3 * off(standing, meant)


def test_files_are_those_of_the_checksums() -> None:
    assert all(check.ok for check in verify(resolve(DEFAULT_MODEL)))


def test_it_is_small_enough_to_ship() -> None:
    folder = resolve(DEFAULT_MODEL)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 30_000_000


def test_bfloat16_is_not_seen(model: Hierarchy) -> None:
    single = videos(model, 4, 48)
    model.half = (False, True, True)
    try:
        half = videos(model, 4, 48)
    finally:
        model.half = ()
    assert (single - half).abs().mean() * 127.5 <= 1.0


def test_classes_differ_and_videos_move(model: Hierarchy) -> None:
    every = [Sample(1, label) for label in range(model.config.num_classes)]
    made = join(generate(model, every, 48, sigma=model.config.sigma))
    colours = made.mean((1, 3, 4))  # (classes, 3)
    apart = torch.cdist(colours, colours) + 9 * torch.eye(len(colours))
    assert apart.min() > 0.02
    moves = made.diff(dim=1).abs().mean((1, 2, 3, 4)) * 127.5
    assert (moves > 0.1).all(), moves
    assert (moves < 40).all(), moves  # flames move by 28


def test_the_command_makes_the_class(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hvgcli", "generate", "--class", "skydiving", "--frames", "12", "--seed", "3"]
    done = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True, check=True)
    record = json.loads(done.stdout)
    assert record["class"] == "skydiving"
    assert Path(tmp_path / record["path"]).is_file()


def test_loading_it_imports_no_compiler() -> None:
    """That would take longer than all the frames of a video."""
    program = (
        "import sys; from hvgcli.hub import DEFAULT_MODEL, resolve; from hvgcli.sampling.hierarchy import load; "
        "load(resolve(DEFAULT_MODEL)); print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
