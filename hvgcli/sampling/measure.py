"""Measuring standing statistics: many passes of the whole hierarchy, in pieces, in constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from hvgcli.models import Generator
from hvgcli.models.frame_prediction import FramePredictor
from hvgcli.models.upsampler import Upsampler
from hvgcli.sampling import statistics
from hvgcli.sampling.hierarchy import Hierarchy, Progress, level_frames, prepare, seed_codes
from hvgcli.sampling.noise import latents, random_labels
from hvgcli.sampling.statistics import HORIZON, PASS_BATCH, PASSES, WINDOW, Recorder, StandingTable
from hvgcli.sampling.unroll import unroll


def pass_piece(hierarchy: Hierarchy, batch: int, budget: int = 1 << 22) -> int:
    """Outline frames fed at a time so that a piece of the last level has about `budget` pixels."""
    level = hierarchy.config.levels[hierarchy.levels - 1]
    frame = level.resolution**2 * batch * hierarchy.config.frame_factor(hierarchy.levels)
    return max(1, budget // frame)


def record(
    hierarchy: Hierarchy,
    level: int,
    frames: int,
    sigma: float,
    *,
    passes: int = PASSES,
    batch: int = PASS_BATCH,
    progress: Progress | None = None,
) -> statistics.Moments:
    """Pooled moments of level `level` over `passes` videos x `batch` of `frames` frames at that level.

    The levels below run with their standing statistics, which must be there. Classes are uniform.
    progress is called with 1 after each pass. `ConfigError` where the model does not make this length.
    """
    hierarchy.config.require_length(frames)
    return _record(hierarchy, level, [frames] * passes, sigma, batch, progress)


@torch.inference_mode()
def _record(
    hierarchy: Hierarchy, level: int, lengths: Sequence[int], sigma: float, batch: int, progress: Progress | None
) -> statistics.Moments:
    """Pooled moments of level `level` over a pass for each of `lengths`, in frames at that level."""
    if level > 1:
        prepare(hierarchy, level_frames(hierarchy, max(lengths), level)[level - 2], sigma, level - 1)
    generators: list[Generator] = hierarchy.generators[:level]
    config = hierarchy.config
    with Recorder(generators[-1], max(lengths)) as recorder:
        for number, frames in enumerate(lengths):
            seeds = [-1 - number * batch - i for i in range(batch)]  # apart from the seeds that users give
            labels = random_labels(seeds, config.num_classes).to(hierarchy.device) if config.conditional else None
            zs = [seed_codes(hierarchy, seeds, n, sigma, labels) for n in range(1, level + 1)]
            for _ in unroll(generators, zs, labels, frames, pass_piece(hierarchy, batch), hierarchy.half[:level]):
                pass
            recorder.end_pass()
            if progress:
                progress(1)
    return recorder.moments()


def end_reach(hierarchy: Hierarchy, level: int) -> int:
    """Frames at the end of level `level` that feel the end of the video, through it and the levels below.

    The frames of the level below join after the first temporal convolution, which so does not pass theirs on.
    Recurrent units look at no later frame and have no such convolution.
    """
    reach = 0
    for number in range(2, level + 1):
        generator = hierarchy.generators[number - 1]
        assert isinstance(generator, Upsampler)
        reach = max(generator.reach, reach * generator.times_time + max(generator.reach - 1, 0))
    return reach


def measure_any_length(
    hierarchy: Hierarchy,
    level: int,
    sigma: float,
    *,
    passes: int = PASSES,
    batch: int = PASS_BATCH,
    short: int = 0,
    progress: Progress | None = None,
) -> StandingTable:
    """A table of level `level` for any length that it makes.

    A recurrent level is measured over `HORIZON` times the training length of the outline, a convolutional
    one over `WINDOW` times: beyond that it only repeats itself. One with attention makes its own length only.
    Level 1 has `short` more passes over its training length: see `statistics.Passes`.
    """
    assert level == 1 or not short
    generator, config = hierarchy.generators[level - 1], hierarchy.config
    outline = config.levels[0].frames
    factor = config.frame_factor(level)
    if config.one_length:
        moments = record(hierarchy, level, outline, sigma, passes=passes + short, batch=batch, progress=progress)
        return statistics.exact_table(sigma, moments)
    frames = (HORIZON if generator.recurrent else WINDOW) * outline * factor
    moments = _record(hierarchy, level, [outline] * short + [frames] * passes, sigma, batch, progress)
    tail = end_reach(hierarchy, level)  # 0 for a recurrent level
    return statistics.any_length_table(sigma, moments, period=factor, tail=tail, stretch=outline * factor)


@torch.inference_mode()
def record_predictor(
    predictor: FramePredictor,
    contexts: Iterable[Tensor],
    deviation: float,
    *,
    half: bool = False,
    progress: Progress | None = None,
) -> statistics.Moments:
    """Pooled moments of a predictor over one pass for each batch of contexts `(B, C, 3, D, D)`.

    Unlike those of the other models they depend on real clips, so they are measured where these are: at the end
    of training. `deviation` is the standard deviation of z. progress is called with 1 after each pass.
    """
    frames, seed = predictor.level.frames, -1
    with Recorder(predictor, frames) as recorder:
        for context in contexts:
            seeds = range(seed, seed - len(context), -1)
            z = deviation * latents(seeds, 1, predictor.level.z_dim).to(context.device)
            with torch.autocast(context.device.type, torch.bfloat16, enabled=half):
                predictor(context, z)
            seed -= len(context)
            recorder.end_pass()
            if progress:
                progress(1)
    return recorder.moments()
