"""Training with the standing statistics that samples are made with, instead of those of each batch (`standing`).

Not part of the papers, whose batches have hundreds of videos. A batch of 4 normalises a still and dim video by its
likes, and the network learns to count on it; at inference, where statistics are those of all videos, the same network
makes it fainter. So the last steps of a training may use the statistics that inference uses: those of sigma 1. They
are then fixed numbers, like weights that are not trained, and stay those of the finished model, together with the
tables of other sigmas that were measured beside them. Those are of slightly fainter videos (hvg-mini at sigma 0.5:
spectra nearer to real clips than with the table of sigma 1, at the same distances).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from hvgcli.checkpoints import CONFIG, level_metadata, load_tensors, read_level, read_model_config, save_tensors
from hvgcli.errors import UsageError, WeightsError
from hvgcli.sampling import statistics
from hvgcli.sampling.statistics import StandingTable
from hvgcli.training.level import LevelTraining
from hvgcli.training.plan import Run
from hvgcli.training.run_state import states

FILE = "statistics.safetensors"  # in the run folder: the tables that the run trains with and ends with
SIGMA = 1.0  # training draws z from N(0, I), or codes of clips
SPENT = ("steps", "seconds")
"""What the training that this one is the last part of has taken, in the header of its level."""
_KIND = "standing statistics"


def check_given(run: Run, generator: nn.Module) -> None:
    """Check the tables of the model that the run begins with; nothing is written.

    generator: the network that they are for, on any device.

    Errors: `UsageError` where it begins with none, `WeightsError` where that is not finished, or has no table for the
    frames that are trained, or one that does not fit.
    """
    table = _for_training(_given(run)[0], run, _model(run))
    if wrong := statistics.misfit(generator, table):
        raise WeightsError(
            f"the standing statistics of {run.start} do not fit the network at {wrong}: give the preset that it was "
            "trained with, or another --from"
        )


def _model(run: Run) -> Path:
    """The finished model that the run begins with."""
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
    return folder


def _given(run: Run) -> tuple[list[StandingTable], dict[str, Any]]:
    """The tables of this level in the model that the run begins with, and the header of its file."""
    folder = _model(run)
    config = read_model_config(folder)
    if run.level > len(config.levels):
        raise WeightsError(f"{folder} has levels 1..{len(config.levels)}, so level {run.level} cannot begin with it")
    known = level_metadata(folder, run.level)
    return statistics.from_tensors(read_level(folder, run.level, config=config), known.get("statistics"))[1], known


def keep(run: Run) -> None:
    """Copy the tables to the run folder before the first step, so that the run goes on without its beginning.

    Errors: those of `check_given` but for the network's, `WeightsError` where a run that goes on has lost them,
    `MediaError` where the folder cannot be written.
    """
    if states(run.out):
        _kept(run)
        return
    tables, known = _given(run)
    _for_training(tables, run, _model(run))
    tensors, described = statistics.to_tensors(replace(table, trained=True) for table in tables)
    spent = {key: known.get(key) or 0 for key in SPENT}
    save_tensors(run.out / FILE, tensors, {"kind": _KIND, "statistics": described, "before": spent})


def _kept(run: Run) -> tuple[dict[str, Any], list[StandingTable]]:
    """Header and tables of the file in the run folder."""
    if not (run.out / FILE).is_file():
        raise WeightsError(
            f"{run.out / FILE} is missing, and this run was trained with it: put it back, or begin again with another "
            "--out"
        )
    tensors, known = load_tensors(run.out / FILE)
    return known, statistics.from_tensors(tensors, known.get("statistics"))[1]


def kept_tables(run: Run) -> list[StandingTable]:
    """The tables in the run folder. `WeightsError` where they are missing or damaged."""
    return _kept(run)[1]


def spent_before(run: Run) -> dict[str, int]:
    """Steps and seconds of the training that this run is the last part of, as its own model told them."""
    known = _kept(run)[0].get("before")
    return {key: int(known[key]) if isinstance(known, dict) and key in known else 0 for key in SPENT}


def install(run: Run, level: LevelTraining) -> None:
    """Make the generator and its moving average normalise by the tables of the run folder.

    `WeightsError` where they are missing, damaged or of another network.
    """
    table = _for_training(kept_tables(run), run, run.out)
    for generator in (level.generator, level.average):
        if generator is not None:
            statistics.install(generator, table)


def _for_training(tables: list[StandingTable], run: Run, folder: Path) -> StandingTable:
    """The table that training uses, of those in `folder`."""
    frames = run.config.levels[run.level - 1].frames
    table = statistics.choose(tables, SIGMA, frames)
    if table is None:
        raise WeightsError(
            f"{folder} has no standing statistics of sigma {SIGMA:g} for the {frames} frames that level {run.level} is "
            "trained on: give another --from"
        )
    return table
