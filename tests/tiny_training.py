"""A tiny training run for tests: clips, a preset, and `train` as `hvg train-level` does it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from small_networks import small_config
from torch import Tensor

from hvgcli.checkpoints import load_tensors
from hvgcli.config import Preset, ReconstructionConfig, TrainingConfig, to_dict
from hvgcli.data.clips import ClipIndex
from hvgcli.training.finish import finish
from hvgcli.training.loop import Ended, RunOptions, train_level
from hvgcli.training.plan import Run, plan
from hvgcli.training.run_state import states

CPU = torch.device("cpu")
TRAINING = TrainingConfig(
    steps=3,
    batch_size=2,
    discriminator_updates=1,
    spatial_frames=2,
    ema=0.5,
    condition_reuse=2,
    condition_noise=0.1,
    random_scale=(0.5, 1.0),
    balance_classes=True,
    reconstruction=ReconstructionConfig(steps=1, weight=1.0),
)
PRESET = Preset(small_config((2,), num_classes=2, spectral=True), (TRAINING, TRAINING), "for tests")
QUIET = RunOptions(samples_every=100, save_every=100)


def write_preset(path: Path, preset: Preset = PRESET) -> Path:
    """A preset file, as `--preset FILE` takes it."""
    path.write_text(json.dumps(to_dict(preset)))
    return path


def make_data(root: Path, make_clip: Callable[..., Path]) -> Path:
    """Two classes of two short clips."""
    for number, name in enumerate(("cats", "dogs")):
        (root / name).mkdir(parents=True)
        for clip in range(2):
            make_clip(root / name / f"{clip}.mp4", frames=12, size=(24, 32), rate=Fraction(25), seed=4 * number + clip)
    return root


@dataclass
class Trained:
    run: Run
    index: ClipIndex
    steps: list[int]
    warnings: list[str]
    metrics: list[dict[str, float]]
    ended: Ended | None = None

    def state(self) -> dict[str, Tensor]:
        return last_state(self.run.out)


def last_state(out: Path) -> dict[str, Tensor]:
    """A copy: the file stays mapped into memory otherwise, and tests overwrite it."""
    tensors, _ = load_tensors(states(out)[-1][1])
    return {key: tensor.clone() for key, tensor in tensors.items()}


def train(
    data: Path,
    out: Path,
    level: int = 1,
    below: Path | None = None,
    *,
    preset: Preset = PRESET,
    seed: int = 0,
    until: int | None = None,
    options: RunOptions = QUIET,
    window: int | None = None,
    start: Path | None = None,
    **changes: Any,
) -> Trained:
    """Train as `hvg train-level` does; `until`: stop early after that step."""
    run, index = plan(preset, level, data, out, below, changes, seed, window=window, start=start)
    done = Trained(run, index, [], [], [])

    def progress(step: int, metrics: dict[str, float]) -> None:
        done.steps.append(step)
        done.metrics.append(metrics)

    done.ended = train_level(
        run,
        index,
        options,
        progress=progress,
        warn=done.warnings.append,
        stop=lambda: until is not None and bool(done.steps) and done.steps[-1] >= until,
    )
    assert not done.steps or done.steps[-1] == done.ended.step
    return done


def metric_rows(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))


def finish_run(made: Trained) -> Path:
    return finish(made.run, made.index, device=CPU, passes=2)


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    """Bit by bit."""
    assert set(first) == set(second)
    assert [key for key in first if not torch.equal(first[key], second[key])] == []
