"""The options that `hvg train-level` and `hvg train` share, and what their texts mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hvgcli.cli.options import complete_preset, option
from hvgcli.config import AUGMENTATIONS
from hvgcli.errors import MediaError, UsageError

DATA, TRAINING, MACHINE, KEEPING = "Data and model", "Training", "Machine", "What is kept"
INHERIT = "the preset's"
_PRESET_HELP = "Networks and training numbers: a name (hvg models list --presets) or a JSON file."
_METRICS = Literal["reconstruction", "motion", "kl", "loss_g", "loss_d"]


def inherited(text: str, *names: str, panel: str = TRAINING, **more: Any) -> Any:
    """An option that takes the place of a number of the preset."""
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=INHERIT, **more)


def told(text: str, *names: str, panel: str, **more: Any) -> Any:
    """An option whose default is shown."""
    return typer.Option(*names, help=text, rich_help_panel=panel, **more)


# ---- data and model ----
Data = Annotated[
    str, option("Clips: a folder, what `hvg data prepare` made, a CSV or JSONL list, or a URL or pipe.", panel=DATA)
]
Out = Annotated[Path, option("Run folder; an existing run goes on.", panel=DATA)]
PresetName = Annotated[str, told(_PRESET_HELP, panel=DATA, autocompletion=complete_preset)]
OwnPreset = Annotated[
    str | None,
    typer.Option(help=_PRESET_HELP, rich_help_panel=DATA, show_default="SYSTEM-mini", autocompletion=complete_preset),
]
Start = Annotated[
    str | None,
    option(
        "Begin with the networks of another run (its --out), or with the generator of a model.",
        "--from",
        panel=DATA,
        metavar="RUN|MODEL",
    ),
]
# ---- training ----
Steps = Annotated[int | None, inherited("Generator updates.")]
BatchSize = Annotated[int | None, inherited("Videos in a batch, of all processes.")]
Accumulate = Annotated[int | None, inherited("Parts that a batch is computed in, to save memory.")]
Precision = Annotated[str | None, inherited("fp32, or bf16 for autocast.")]
Ema = Annotated[float | None, inherited("Decay of the generator's moving average; 0 = none.", metavar="DECAY")]
Augment = Annotated[
    str | None,
    inherited("What discriminators see is changed by: color,translation,cutout, or none.", metavar="KINDS"),
]
Standing = Annotated[
    bool,
    told("Normalise as samples are, by the statistics of the finished model of --from.", "--standing", panel=TRAINING),
]
Seed = Annotated[int, told("Seed of weights, data order and noise.", panel=TRAINING)]
Patience = Annotated[
    int | None, told("Stop early when --watch has not improved for so many steps.", panel=TRAINING, min=1)
]
Watch = Annotated[_METRICS, told("Metric of early stopping, smoothed; smaller is better.", panel=TRAINING)]
Minutes = Annotated[float | None, told("Stop after this time; the same command goes on.", panel=TRAINING)]
# ---- machine ----
Device = Annotated[str, told("auto, cpu, cuda, cuda:INDEX or mps.", panel=MACHINE)]
Workers = Annotated[int, told("Threads that load batches ahead; 0 = none.", panel=MACHINE, min=0)]
Compiled = Annotated[bool, told("Compile the networks: slow to start.", "--compile", panel=MACHINE)]
# ---- what is kept ----
SamplesEvery = Annotated[int, told("Steps between sheets.", panel=KEEPING, min=1)]
SaveEvery = Annotated[int, told("Steps between states.", panel=KEEPING, min=1)]
Keep = Annotated[int, told("States that are kept.", panel=KEEPING, min=1)]
Log = Annotated[str, told("Scalars: csv, tensorboard, both, or none.", panel=KEEPING, metavar="KINDS")]
Passes = Annotated[int, told("Passes for the standing statistics.", panel=KEEPING, min=1)]
Notes = Annotated[Path | None, told("Text for the model card: data, licences, limits.", panel=KEEPING)]


def training_changes(augment: str | None, standing: bool, **given: float | str | None) -> dict[str, object]:
    """The fields of a `TrainingConfig` that were given; `augment` is a list of names as text."""
    changes: dict[str, object] = {key: value for key, value in given.items() if value is not None}
    if standing:
        changes["standing"] = True
    if augment is not None:
        changes["augment"] = names_in(augment, "--augment", AUGMENTATIONS)
    return changes


def log_kinds(text: str) -> tuple[str, ...]:
    """What --log names."""
    return names_in(text, "--log", ("csv", "tensorboard"))


def names_in(text: str, option: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """ "a,b" -> the names, each of `known` and once; "none" -> none. `UsageError` naming the option otherwise."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if names == ("none",):
        return ()
    if wrong := [name for name in names if name not in known]:
        raise UsageError(f"{option} {wrong[0]!r} is not known: give some of {','.join(known)}, or none")
    return names


def read_notes(path: Path | None) -> str:
    """The text of a file for the model card. `MediaError` when it cannot be read."""
    try:
        return "" if path is None else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MediaError(f"cannot read the notes {path}: {error}") from error
