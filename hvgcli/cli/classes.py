"""`hvg classes`: what a model can be asked for."""

from __future__ import annotations

from typing import Annotated

import typer

from hvgcli.cli.options import AsJson, Debug, NoProgress, Quiet, complete_model
from hvgcli.cli.output import make_output
from hvgcli.hub import DEFAULT_MODEL


def classes(
    model: Annotated[
        str, typer.Argument(help="Name or folder of a model.", autocompletion=complete_model)
    ] = DEFAULT_MODEL,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """List the classes of a model, with their numbers."""
    from hvgcli.checkpoints import read_model_config
    from hvgcli.hub import resolve

    output = make_output(as_json=as_json, quiet=quiet, no_progress=no_progress)
    config = read_model_config(resolve(model))
    rows = [{"index": index, "name": name} for index, name in enumerate(config.class_names())]
    empty = f"{config.name} is unconditional: it has no classes, leave --class out"
    output.table("classes", rows, {"index": "index", "name": "class"}, ident="name", empty=empty)
