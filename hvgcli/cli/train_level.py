"""`hvg train-level N`: train one level of a hierarchy from a folder of clips; the same command continues."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvgcli.cli.options import AsJson, Debug, DryRun, NoProgress, Quiet, complete_preset, examples
from hvgcli.cli.output import Advance, Output, make_output

if TYPE_CHECKING:
    from hvgcli.data.clips import ClipIndex
    from hvgcli.training.loop import Run

EPILOG = examples(
    "hvg train-level 1 --data clips/ --preset hvg-mini --out runs/level1",
    "hvg train-level 2 --data clips/ --model runs/level1 --out runs/level2",
)
_DATA, _TRAINING, _KEEPING = "Data and model", "Training", "What is kept"


def train_level(
    level: Annotated[int, typer.Argument(help="The level to train, from 1.", min=1, show_default=False)],
    data: Annotated[
        Path, typer.Option(help="Folder of class folders of video files.", rich_help_panel=_DATA, show_default=False)
    ],
    out: Annotated[
        Path, typer.Option(help="Run folder; an existing run goes on.", rich_help_panel=_DATA, show_default=False)
    ],
    preset: Annotated[
        str,
        typer.Option(help="Networks and training numbers.", autocompletion=complete_preset, rich_help_panel=_DATA),
    ] = "hvg-mini",
    model: Annotated[
        Path | None, typer.Option(help="Run or model folder with the levels below.", rich_help_panel=_DATA)
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Generator updates.", rich_help_panel=_TRAINING)] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after this time; the same command goes on.", rich_help_panel=_TRAINING)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Videos in a batch.", rich_help_panel=_TRAINING)] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, or bf16 for autocast.", rich_help_panel=_TRAINING)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, data order and noise.", rich_help_panel=_TRAINING)] = 0,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:INDEX or mps.", rich_help_panel=_TRAINING)
    ] = "auto",
    passes: Annotated[
        int, typer.Option(help="Passes for the standing statistics.", min=1, rich_help_panel=_KEEPING)
    ] = 200,
    notes: Annotated[
        Path | None, typer.Option(help="Text for the model card: data, licences, limits.", rich_help_panel=_KEEPING)
    ] = None,
    samples_every: Annotated[int, typer.Option(help="Steps between sheets.", min=1, rich_help_panel=_KEEPING)] = 200,
    save_every: Annotated[int, typer.Option(help="Steps between states.", min=1, rich_help_panel=_KEEPING)] = 100,
    keep: Annotated[int, typer.Option(help="States that are kept.", min=1, rich_help_panel=_KEEPING)] = 2,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Train one level; level 1 first, then each level on the ones below it."""
    from hvgcli.runtime import choose_device, tune_allocator

    tune_allocator()
    from hvgcli.training.loop import RunOptions, plan

    output = make_output(as_json=as_json, quiet=quiet, no_progress=no_progress)
    given = {"steps": steps, "batch_size": batch_size, "precision": precision}
    changes: dict[str, object] = {key: value for key, value in given.items() if value is not None}
    run, index = plan(_preset(preset), level, data, out, _model_folder(model), changes, seed)
    for path, reason in index.skipped:
        output.warn(f"skipped {path}: {reason}")
    chosen = choose_device(device)
    text = _read_notes(notes)
    if dry_run:
        output.emit(_plan_record(run, index), ident=out)
        return
    options = RunOptions(samples_every, save_every, keep, _has_tensorboard(output), str(chosen))
    done = _train(run, index, options, minutes, output)
    if done < run.training.steps:
        output.emit(
            {"run": str(out), "steps": done, "of": run.training.steps, "model": None},
            line=f"stopped after step {done} of {run.training.steps}; the same command goes on",
            ident=out,
        )
        return
    folder = _finish(run, index, passes, text, chosen, output)
    output.emit({"run": str(out), "steps": done, "of": done, "model": str(folder)}, line=str(folder), ident=folder)


def _preset(name: str) -> Any:
    from difflib import get_close_matches

    from hvgcli.errors import UsageError
    from hvgcli.presets import PRESETS

    if name not in PRESETS:
        close = get_close_matches(name, PRESETS, n=3, cutoff=0.3) or list(PRESETS)
        raise UsageError(f"unknown preset {name!r}: did you mean {', '.join(close)}?")
    return PRESETS[name]


def _model_folder(path: Path | None) -> Path | None:
    """A model folder as it is, or the one inside a finished run."""
    from hvgcli.errors import WeightsError

    if path is None:
        return None
    for folder in (path / "model", path):
        if (folder / "config.json").is_file():
            return folder
    if (path / "run.json").is_file():
        raise WeightsError(f"{path} is a run that is not finished: run its command again until it prints its model")
    raise WeightsError(f"{path} is neither a run nor a model folder: --model takes the --out of the level below")


def _read_notes(path: Path | None) -> str:
    from hvgcli.errors import MediaError

    try:
        return "" if path is None else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MediaError(f"cannot read the notes {path}: {error}") from error


def _has_tensorboard(output: Output) -> bool:
    from importlib.util import find_spec

    if find_spec("tensorboard") is None:
        output.note("tensorboard is not installed (pip install 'hvgcli[train]'): scalars go to metrics.csv only")
        return False
    return True


def _plan_record(run: Run, index: ClipIndex) -> dict[str, Any]:
    spec = run.config.levels[run.level - 1]
    return {
        "level": run.level,
        "output": f"{spec.frames}/{spec.resolution}x{spec.resolution}",
        "clips": len(index.clips),
        "skipped": len(index.skipped),
        "classes": list(run.config.classes),
        "steps": run.training.steps,
        "batch_size": run.training.batch_size,
        "precision": run.training.precision,
        "out": str(run.out),
    }


def _train(run: Run, index: ClipIndex, options: Any, minutes: float | None, output: Output) -> int:
    from hvgcli.training.loop import train_level as train

    stop = _StopRequest(minutes)
    with output.progress(f"level {run.level}", run.training.steps) as advance:
        return train(run, index, options, progress=_reporter(advance, output), warn=output.warn, stop=stop)


def _reporter(advance: Advance, output: Output) -> Callable[[int, dict[str, float]], None]:
    """Moves the bar, and writes a line now and then where no bar is shown."""
    shown = 0
    last = -60.0

    def report(step: int, metrics: dict[str, float]) -> None:
        nonlocal shown, last
        advance(step - shown)
        shown = step
        if not output.shows_progress and time.monotonic() - last >= 60:
            last = time.monotonic()
            output.note(f"step {step}: " + ", ".join(f"{key} {value:.4g}" for key, value in metrics.items()))

    return report


class _StopRequest:
    """True once the minutes are over or the process was asked to end (SIGTERM): the state is saved first."""

    def __init__(self, minutes: float | None) -> None:
        self._deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self._asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: object) -> None:
        self._asked = True

    def __call__(self) -> bool:
        return self._asked or (self._deadline is not None and time.monotonic() >= self._deadline)


def _finish(run: Run, index: ClipIndex, passes: int, notes: str, device: Any, output: Output) -> Path:
    from hvgcli.training.finish import finish, total_passes

    with output.progress(f"standing statistics of level {run.level}", total_passes(passes)) as advance:
        return finish(run, index, device=device, passes=passes, notes=notes, progress=advance)
