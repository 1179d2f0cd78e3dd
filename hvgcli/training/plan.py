"""What is asked of a training run, checked against preset, data and the model below before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hvgcli.checkpoints import read_model_config
from hvgcli.config import ModelConfig, Preset, TrainingConfig
from hvgcli.data import windows
from hvgcli.data.clips import ClipIndex, scan
from hvgcli.errors import DataError, UsageError
from hvgcli.training.batches import window_spec
from hvgcli.training.distributed import World


@dataclass(frozen=True)
class Run:
    """What is trained, from what, to where."""

    out: Path
    config: ModelConfig
    level: int
    training: TrainingConfig
    data: str | Path
    below: Path | None
    """Model folder with the levels below; None at level 1."""
    seed: int = 0
    start: Path | None = None
    """Run whose networks this one begins with; None = fresh ones."""


def plan(
    preset: Preset,
    level: int,
    data: str | Path,
    out: Path,
    below: Path | None,
    changes: dict[str, object],
    seed: int,
    *,
    window: int | None = None,
    processes: int = 1,
    start: Path | None = None,
) -> tuple[Run, ClipIndex]:
    """Check the request; nothing is written.

    Args:
        changes: fields of the preset's `TrainingConfig` that the user sets.
        window: frames that the level is trained on, in place of the preset's.
        processes: how many the batch is spread over.
        start: run folder whose networks are the first ones of this run.

    Errors: `UsageError` where numbers, levels or classes do not fit together, `DataError` where no clip is
    long enough, `WeightsError` for a model below that cannot be read.
    """
    if not 1 <= level <= len(preset.model.levels):
        raise UsageError(f"level {level} is not in {preset.model.name}: it has levels 1..{len(preset.model.levels)}")
    if (below is None) != (level == 1):
        raise UsageError(
            "level 1 has no model below: leave out --model"
            if level == 1
            else f"level {level} is trained on the levels below: give --model with the folder of level {level - 1}"
        )
    training: TrainingConfig = replace(preset.training[level - 1], **changes)  # type: ignore[arg-type]
    World(0, processes).shares(training.batch_size, training.accumulate)  # raises where it does not divide
    index = scan(data)
    config = preset.model.with_classes(index.classes if preset.model.conditional else ())  # none: unconditional
    if below is not None:
        config = _on_top_of(config, level, below, data)
    if config.levels[level - 1].code_components and training.reconstruction is None:
        raise UsageError(
            f"level {level} of {preset.model.name} has a prior of codes, which reconstruction teaches: "
            'give its training "reconstruction", or its level "code_components": 0'
        )
    if window is not None:
        config = config.with_window(level, window)
    _check_window(config, level)
    run = Run(out, config, level, training, data, below, seed, start)
    if not usable_clips(run, index):
        longest = max(clip.frames for clip in index.clips)
        needed, option = window_spec(config, level, training).frames, "--frames" if config.one_stage else "--window"
        raise DataError(
            f"{data}: no clip has the {needed} frames of a training window, the longest has {longest}: "
            f"give longer clips, or a smaller {option}"
        )
    return run, index


def usable_clips(run: Run, index: ClipIndex) -> int:
    """Clips that are long enough for a window of the run, if need be at a smaller stride."""
    return windows.eligible(index, window_spec(run.config, run.level, run.training))


def _on_top_of(config: ModelConfig, level: int, below: Path, data: str | Path) -> ModelConfig:
    """`config` with the levels of the model below, which may have been trained on other windows.

    The frames of a lower level do not change its networks, so only the rest must agree.
    """
    lower = read_model_config(below)
    known = lower.levels[: level - 1]
    if len(known) < level - 1:
        raise UsageError(f"{below} has levels 1..{len(known)}: level {level} needs 1..{level - 1} below it")
    ours = tuple(replace(mine, frames=its.frames) for mine, its in zip(config.levels, known, strict=False))
    if ours != known:
        number = next(n for n, (mine, its) in enumerate(zip(ours, known, strict=True), start=1) if mine != its)
        raise UsageError(f"{below} has another level {number} than preset {config.name}: give the preset it is of")
    if lower.classes != config.classes:
        raise UsageError(
            f"{below} knows {len(lower.classes)} classes, {data} has {len(config.classes)}, and they must be the same: "
            "train the levels on folders with the same classes"
        )
    return replace(config, levels=known + config.levels[level - 1 :])


def _check_window(config: ModelConfig, level: int) -> None:
    whole = config.levels[0].frames * config.frame_factor(level)
    window = config.levels[level - 1].frames
    if window > whole:
        raise UsageError(
            f"a window of {window} frames is longer than the whole video of {whole} frames at level {level}: "
            "give a smaller --window, or train level 1 with a longer one"
        )
