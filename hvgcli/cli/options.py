"""The options that every command shares, and the completion of model and class names."""

from __future__ import annotations

from typing import Annotated, Any

import typer

OUTPUT_PANEL = "Messages"

AsJson = Annotated[
    bool, typer.Option("--json", help="Print results as JSON, one object a line.", rich_help_panel=OUTPUT_PANEL)
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print one path or name a line, nothing else.", rich_help_panel=OUTPUT_PANEL),
]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="Show no progress bar.", rich_help_panel=OUTPUT_PANEL)]
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error (also HVG_DEBUG=1).", rich_help_panel=OUTPUT_PANEL),
]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be done, and do nothing.")]


def option(text: str, *names: str, panel: str, **more: Any) -> Any:
    """An option whose default is told in `text`, under the heading `panel` of the help."""
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=False, **more)


def examples(*commands: str) -> str:
    """The end of a command's help: one example a line."""
    return "\n\n".join(["Examples:", *(f"  {command}" for command in commands)])


def complete_model(incomplete: str) -> list[str]:
    """Names of the models on this machine that start with `incomplete`."""
    from hvgcli.hub import available

    return [name for name in available() if name.startswith(incomplete)]


def complete_preset(incomplete: str) -> list[str]:
    """Names of models and presets that start with `incomplete`."""
    from hvgcli.presets import all_presets

    return sorted({*complete_model(incomplete), *(name for name in all_presets() if name.startswith(incomplete))})


def complete_single_preset(incomplete: str) -> list[str]:
    """Names of the presets for one clip that start with `incomplete`."""
    from hvgcli.presets import SINGLE_PRESETS

    return [name for name in SINGLE_PRESETS if name.startswith(incomplete)]


def complete_class(ctx: typer.Context, incomplete: str) -> list[str]:
    """Class names of the model given by `--model` (the default model without it) that start so."""
    from hvgcli.checkpoints import read_model_config
    from hvgcli.errors import HvgError
    from hvgcli.hub import DEFAULT_MODEL, resolve

    try:
        config = read_model_config(resolve(str(ctx.params.get("model") or DEFAULT_MODEL)))
    except HvgError:
        return []
    return [name for name in config.class_names() if name.startswith(incomplete)]
