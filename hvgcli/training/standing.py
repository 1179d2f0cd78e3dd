"""Training with the standing statistics that samples are made with, instead of those of each batch (`standing`).

Not part of the papers, whose batches have hundreds of videos. A batch of 4 normalises a still and dim video by its
likes, and the network learns to count on it; at inference, where statistics are those of all videos, the same network
makes it fainter. So the last steps of a training may use the statistics that inference uses. They are then fixed
numbers, like weights that are not trained, and stay those of the finished model.
"""

from __future__ import annotations

from pathlib import Path

from hvgcli.checkpoints import CONFIG, level_metadata, load_tensors, read_level, read_model_config, save_tensors
from hvgcli.errors import UsageError, WeightsError
from hvgcli.sampling import statistics
from hvgcli.sampling.statistics import StandingTable
from hvgcli.training.level import LevelTraining
from hvgcli.training.plan import Run

FILE = "statistics.safetensors"  # in the run folder: the tables that the run trains with and ends with
SIGMA = 1.0  # training draws z from N(0, I), or codes of clips
_KIND = "standing statistics"


def given_tables(run: Run) -> list[StandingTable]:
    """The tables of this level in the finished model that the run begins with.

    Errors: `UsageError` where it begins with none, `WeightsError` where that is not finished or has no table for
    the frames that are trained.
    """
    if run.start is None:
        raise UsageError(
            "--standing trains with the statistics of the model that training begins with: give --from with the --out "
            "of a finished training"
        )
    folder = run.start if (run.start / CONFIG).is_file() else run.start / "model"
    if not (folder / CONFIG).is_file():
        raise WeightsError(
            f"{run.start} is a run that is not finished, so it has no standing statistics: run its command again until "
            "it prints its model"
        )
    config = read_model_config(folder)
    if run.level > len(config.levels):
        raise WeightsError(f"{folder} has levels 1..{len(config.levels)}, so level {run.level} cannot begin with it")
    tensors = read_level(folder, run.level, config=config)
    tables = statistics.from_tensors(tensors, level_metadata(folder, run.level).get("statistics"))[1]
    _trained_with(tables, run, folder)
    return tables


def kept_tables(run: Run) -> list[StandingTable]:
    """The tables in the run folder. `WeightsError` where they are missing or damaged."""
    tensors, metadata = load_tensors(run.out / FILE)
    return statistics.from_tensors(tensors, metadata.get("statistics"))[1]


def keep(run: Run) -> None:
    """Copy the tables to the run folder before the first step, so that the run goes on without its beginning."""
    if not (run.out / FILE).is_file():
        tensors, described = statistics.to_tensors(given_tables(run))
        save_tensors(run.out / FILE, tensors, {"kind": _KIND, "statistics": described})


def install(run: Run, level: LevelTraining) -> None:
    """Make the generator and its moving average normalise by the tables of the run folder."""
    table = _trained_with(kept_tables(run), run, run.out)
    for generator in (level.generator, level.average):
        if generator is not None:
            statistics.install(generator, table)


def _trained_with(tables: list[StandingTable], run: Run, folder: Path) -> StandingTable:
    frames = run.config.levels[run.level - 1].frames
    table = statistics.choose(tables, SIGMA, frames)
    if table is None:
        raise WeightsError(
            f"{folder} has no standing statistics of sigma {SIGMA:g} for the {frames} frames that level {run.level} is "
            "trained on: give another --from"
        )
    return table
