"""The end of a run: standing statistics, and the model folder that the next level and `generate` read."""

from __future__ import annotations

import copy
import csv
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from hvgcli import __version__
from hvgcli.checkpoints import finish_model, level_metadata, read_level, write_level, write_model_config
from hvgcli.config import ModelConfig, OneStageConfig, TrainingConfig
from hvgcli.data.cache import FrameCache
from hvgcli.data.clips import ClipIndex
from hvgcli.layers.weights import bake_spectral_norm
from hvgcli.models.frame_prediction import FramePredictor
from hvgcli.models.recurrent_generator import RecurrentGenerator
from hvgcli.sampling import hierarchy as hierarchies
from hvgcli.sampling import statistics
from hvgcli.sampling.hierarchy import Hierarchy, Progress
from hvgcli.sampling.measure import measure_any_length, record, record_predictor
from hvgcli.sampling.statistics import PASS_BATCH, Passes, StandingTable
from hvgcli.training import standing
from hvgcli.training.batches import BatchSource
from hvgcli.training.code_prior import fit_code_prior
from hvgcli.training.level import LevelTraining
from hvgcli.training.plan import Run
from hvgcli.training.run_state import load_state, states

SIGMAS = (0.5, 1.0)  # tables that ship: for pictures and for evaluation
DEVIATIONS = (0.0, 0.5, 1.0)  # those of a predictor: z = 0, truncated and not
CACHE_BYTES = 2 << 30


def total_passes(run: Run, passes: int) -> int:
    """Passes that `finish` makes in all."""
    if run.training.standing:
        return 0
    if run.config.predictor:
        return len(DEVIATIONS) * passes
    return len(SIGMAS) * (passes + (0 if run.config.one_length else Passes.of(passes, run.level).total))


def trained_hierarchy(run: Run, index: ClipIndex, device: torch.device) -> tuple[Hierarchy, int]:
    """The levels below with this run's last generator on top, and its step.

    A prior of codes is fitted to the training clips of `index`. Spectral norms are baked in, and the weights are
    rounded to bfloat16 as they are shipped, so that the statistics are those of the very weights that will be used.
    """
    level = LevelTraining(run.config, run.level, run.training, device)
    step = int(load_state(states(run.out)[-1][1], level)["step"])
    generator = copy.deepcopy(level.sampler).eval().requires_grad_(False)
    bake_spectral_norm(generator)
    for parameter in generator.parameters():
        parameter.copy_(parameter.to(torch.bfloat16))
    if level.coded:
        assert isinstance(generator, RecurrentGenerator)
        fit_code_prior(level, generator, _source(run, run.training, index, device))
    if run.below is None:
        lower = Hierarchy(run.config, [], [], device=device)
    else:
        lower = hierarchies.load(run.below, levels=run.level - 1, device=device)
    half = (run.training.precision == "bf16",) * run.level  # means over many videos do not feel the rounding
    return Hierarchy(
        run.config,
        [*lower.generators, generator],
        [*lower.tables, []],
        "",
        device,
        half,  # type: ignore[list-item]
    ), step


def finish(
    run: Run,
    index: ClipIndex,
    *,
    device: torch.device,
    passes: int,
    notes: str = "",
    progress: Progress | None = None,
) -> Path:
    """Measure standing statistics and write `out/model`; returns the folder.

    notes is text for the model card. progress is called with 1 after each of `total_passes(passes)` passes.
    """
    hierarchy, step = trained_hierarchy(run, index, device)
    tables = _tables(run, index, hierarchy, passes, progress)
    tensors, described = statistics.to_tensors(tables)
    weights = {key: value.to(torch.bfloat16) for key, value in hierarchy.generators[-1].state_dict().items()}
    folder = run.out / "model"
    write_model_config(folder, run.config)
    histories = {}
    for number in range(1, run.level):
        assert run.below is not None
        histories[number] = level_metadata(run.below, number)
        write_level(folder, number, read_level(run.below, number, config=run.config), histories[number])
    histories[run.level] = {"statistics": described, **history(run, index, step)}
    write_level(folder, run.level, weights | tensors, histories[run.level])
    finish_model(folder, card(run, histories, notes))
    return folder


def _tables(
    run: Run, index: ClipIndex, hierarchy: Hierarchy, passes: int, progress: Progress | None
) -> list[StandingTable]:
    """Those that the run was trained with, or else measured ones."""
    if run.training.standing:
        return standing.kept_tables(run)
    measure = _tables_of_predictor if run.config.predictor else _tables_of_sigmas
    return measure(run, index, hierarchy, passes, progress)


def _tables_of_sigmas(
    run: Run, index: ClipIndex, hierarchy: Hierarchy, passes: int, progress: Progress | None
) -> list[StandingTable]:
    """For each sigma: a table for the model's own length, and one for any length."""
    frames = run.config.levels[0].frames * run.config.frame_factor(run.level)
    tables = []
    for sigma in SIGMAS:
        moments = record(hierarchy, run.level, frames, sigma, passes=passes, progress=progress)
        tables.append(statistics.exact_table(sigma, moments))
        if not run.config.one_length:
            long, short = Passes.of(passes, run.level)
            table = measure_any_length(hierarchy, run.level, sigma, passes=long, short=short, progress=progress)
            tables.append(table)
    return tables


def _tables_of_predictor(
    run: Run, index: ClipIndex, hierarchy: Hierarchy, passes: int, progress: Progress | None
) -> list[StandingTable]:
    """A table for each deviation of z, over contexts from the training clips.

    The paper takes 100 batches of 256 (TrIVD-GAN E.2); here a pass has `PASS_BATCH` videos.
    """
    predictor = hierarchy.generators[0]
    assert isinstance(predictor, FramePredictor)
    training = replace(run.training, batch_size=PASS_BATCH, accumulate=1)
    source = _source(run, training, index, hierarchy.device)
    tables = []
    for deviation in DEVIATIONS:
        contexts = (_context(source, number) for number in range(passes))
        half = hierarchy.half[0]
        moments = record_predictor(predictor, contexts, deviation, half=half, progress=progress)
        tables.append(statistics.exact_table(deviation, moments))
    return tables


def _source(run: Run, training: TrainingConfig, index: ClipIndex, device: torch.device) -> BatchSource:
    """Batches of the training clips of a first level; clips that fail are passed over, training told of them."""
    cache = FrameCache(CACHE_BYTES)
    return BatchSource(run.config, 1, training, index, cache, None, run.seed, device, lambda clip, reason: None)


def _context(source: BatchSource, number: int) -> Tensor:
    """Conditioning frames `(B, C, 3, D, D)` of batch `number` of the training clips."""
    low = source.batches(number, 0)[0].low
    assert low is not None
    return low


def history(run: Run, index: ClipIndex, step: int) -> dict[str, object]:
    """How the level was trained, for its file's header and the model card.

    Where the run is the last part of a training (`standing`), steps and seconds are those of all its parts.
    """
    before = standing.spent_before(run) if run.training.standing else dict.fromkeys(standing.SPENT, 0)
    seconds = 0.0
    metrics = run.out / "metrics.csv"
    if metrics.exists():
        with metrics.open(newline="") as file:
            seconds = sum(float(row["seconds"] or 0) for row in csv.DictReader(file))
    clip_seconds = sum(float(clip.frames / clip.rate) for clip in index.clips)
    return {
        "steps": before["steps"] + step,
        "seconds": before["seconds"] + round(seconds),
        "batch_size": run.training.batch_size,
        "clips": len(index.clips),
        "clip_seconds": round(clip_seconds),
        "seed": run.seed,
        "version": __version__,
    }


def card(run: Run, histories: dict[int, dict[str, object]], notes: str) -> str:
    """A model card with what is known of every level, and the trainer's own notes."""
    config = run.config
    lines = [
        f"# {config.name}",
        "",
        _what(config),
        "",
        "| level | output in training | steps | batch | seconds of training | clips | seconds of clips |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, known in sorted(histories.items()):
        level = config.levels[number - 1]
        size = f"{level.frames}/{level.resolution}x{level.resolution}"
        values = (known.get(key, "") for key in ("steps", "batch_size", "seconds", "clips", "clip_seconds"))
        lines.append("| " + " | ".join(str(value) for value in (number, size, *values)) + " |")
    lines += ["", f"Classes: {', '.join(config.class_names()) or 'none'}.", "", f"Made with hvg {__version__}."]
    return "\n".join(lines) + "\n" + (f"\n{notes.strip()}\n" if notes.strip() else "")


def _what(config: ModelConfig) -> str:
    """The kind of model in one sentence."""
    level = config.levels[0]
    size = f"{level.frames}/{level.resolution}x{level.resolution}"
    if isinstance(level, OneStageConfig) and level.predictor:
        name = "TrIVD-GAN-FP" if config.system == "trivd-gan-fp" else "DVD-GAN-FP"
        return f"A video predictor ({name}, {level.unit}): from {level.context} frames to the {size} that follow."
    if isinstance(level, OneStageConfig):
        return f"A one-stage video generator (DVD-GAN) of {size}."
    return (
        f"A hierarchical video generator (HVG) of {len(config.levels)} levels: "
        + ", then ".join(f"{level.frames}/{level.resolution}x{level.resolution}" for level in config.levels)
        + f" in training; unrolled, {config.frames}/{config.resolution}x{config.resolution}."
    )
