"""`hvg models`: list, describe, find, check, fetch, remove and publish models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hvgcli.cli.options import AsJson, Debug, DryRun, NoProgress, Quiet, complete_model, complete_preset, examples
from hvgcli.cli.output import Output, make_output
from hvgcli.config import ModelConfig

app = typer.Typer(help="List, describe, check, fetch and publish models.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(help="Name or folder of a model.", autocompletion=complete_model)]
Offline = Annotated[bool, typer.Option("--offline", help="Do not use the network (also HF_HUB_OFFLINE=1).")]


@app.command("list", epilog=examples("hvg models list", "hvg models list -q", "hvg models list --presets"))
def list_models(
    presets: Annotated[bool, typer.Option("--presets", help="List what can be trained instead.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """List the models on this machine."""
    output = make_output(as_json=as_json, quiet=quiet, no_progress=no_progress)
    numbers = {key: key for key in ("system", "levels", "context", "frames", "size", "classes")}
    if presets:
        columns = {"name": "preset", **numbers, "source": "source"}
        output.table("presets", _preset_rows(), columns, ident="name")
        return
    columns = {"name": "model", "where": "where", **numbers, "megabytes": "MB", "sha": "sha"}
    empty = "no models here yet: fetch one with: hvg models pull owner/name"
    output.table("models", _model_rows(output), columns, ident="name", empty=empty)


def _model_rows(output: Output) -> list[dict[str, Any]]:
    from hvgcli import hub
    from hvgcli.errors import WeightsError

    rows = []
    embedded = hub.embedded()
    for name, folder in hub.available().items():
        try:
            rows.append({"name": name, "where": "embedded" if name in embedded else "cache", **_summary(folder)})
        except WeightsError as error:
            output.warn(f"{name}: {error}")
    return rows


def _summary(folder: Path) -> dict[str, Any]:
    from hvgcli import checkpoints
    from hvgcli.cli.describe import folder_bytes

    return {
        **_numbers(checkpoints.read_model_config(folder)),
        "megabytes": round(folder_bytes(folder) / 1e6, 1),
        "sha": checkpoints.model_sha(folder),
        "path": str(folder),
    }


def _preset_rows() -> list[dict[str, Any]]:
    from hvgcli.presets import all_presets

    presets = all_presets()
    return [{"name": name, **_numbers(preset.model), "source": preset.source} for name, preset in presets.items()]


def _numbers(config: ModelConfig) -> dict[str, Any]:
    """What lists tell of a model. frames: that it makes; context: frames that it goes on from, or None."""
    from hvgcli.cli.describe import output_size

    return {
        "system": config.system,
        "levels": len(config.levels),
        "context": config.context or None,
        "frames": config.frames,
        "size": output_size(config),
        "classes": config.num_classes,
    }


@app.command("info", epilog=examples("hvg models info hvg-mini", "hvg models info hvg-kinetics600-48x128 --json"))
def show_info(
    model: Annotated[
        str, typer.Argument(help="Name or folder of a model, or a preset.", autocompletion=complete_preset)
    ],
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Describe a model or preset: levels, sizes, parameters, licence and card."""
    print_model(make_output(as_json=as_json, quiet=quiet, no_progress=no_progress), model)


def print_model(output: Output, model: str) -> None:
    """Describe a model or preset on `output`."""
    from hvgcli.cli.output import grid

    record, card = _describe(model)
    if output.mode != "human":
        output.emit({**record, "card": card}, ident=record["sha"] or record["name"])
        return
    output.emit({key: value for key, value in record.items() if value is not None})
    columns = {
        "level": "level",
        "frames": "frames",
        "size": "size",
        "rate": "frames/s",
        "widths": "widths",
        "generator_parameters": "generator",
        **{name: name for name in record["levels"][-1]["discriminators"]},
        "discriminator_parameters": "discriminators",
    }
    rows = [{**level, **level["discriminators"]} for level in record["levels"]]
    output.emit({}, line=grid(rows, columns))
    if card:
        output.emit({}, line=card)


def _describe(model: str) -> tuple[dict[str, Any], str]:
    """The record of a model (or of a preset without weights), and its card."""
    from hvgcli import checkpoints, hub
    from hvgcli.cli.describe import model_record, read_card
    from hvgcli.presets import all_presets

    presets = all_presets()
    if model in presets and model not in hub.available() and not Path(model).is_dir():
        preset = presets[model]
        missing = {"sha": None, "path": None, "licence": None}
        return {**model_record(preset.model), **missing, "source": preset.source}, ""
    folder = hub.resolve(model)
    licence, card = read_card(folder)
    found = {"sha": checkpoints.model_sha(folder), "path": str(folder), "licence": licence}
    return {**model_record(checkpoints.read_model_config(folder)), **found, "source": "weights"}, card


@app.command("path", epilog=examples("ls $(hvg models path hvg-mini)"))
def show_path(
    model: Model,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Print the folder of a model."""
    from hvgcli import hub

    output = make_output(as_json=as_json, quiet=quiet, no_progress=no_progress)
    path = hub.resolve(model).absolute()
    output.emit({"name": model, "path": str(path)}, line=str(path), ident=path)


@app.command("verify", epilog=examples("hvg models verify", "hvg models verify hvg-mini"))
def verify_models(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Names or folders; all models without any.", autocompletion=complete_model),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Compare the files of models with their checksums."""
    from hvgcli import checkpoints, hub
    from hvgcli.errors import WeightsError

    output = make_output(as_json=as_json, quiet=quiet, no_progress=no_progress)
    folders = {name: hub.resolve(name) for name in models} if models else hub.available()
    rows = []
    with output.progress("verify", total=len(folders)) as advance:
        for name, folder in folders.items():
            checks = checkpoints.verify(folder)
            rows += [{"model": name, "file": c.file, "ok": c.ok, "reason": c.reason} for c in checks]
            advance()
    columns = {"model": "model", "file": "file", "ok": "ok", "reason": "why"}
    bad = [row for row in rows if not row["ok"]]
    output.table("files", bad if output.mode == "quiet" else rows, columns, ident="file", empty="no models here")
    if bad:
        what = f"{bad[0]['file']} of {bad[0]['model']} {bad[0]['reason']}"
        raise WeightsError(f"{len(bad)} of {len(rows)} files are bad: {what}: fetch or train it again")


@app.command("pull", epilog=examples("hvg models pull owner/name@v1", "hvg models pull ./folder"))
def pull_model(
    source: Annotated[str, typer.Argument(help="owner/name\\[@revision] on the Hub, a folder, or file:// of one.")],
    revision: Annotated[str | None, typer.Option("--revision", help="Branch, tag or commit on the Hub.")] = None,
    dry_run: DryRun = False,
    offline: Offline = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Fetch a model into the cache, and check it."""
    from hvgcli import checkpoints, hub

    output = make_output(as_json=as_json, quiet=quiet, no_progress=no_progress)
    if dry_run:
        plan = hub.plan_pull(source, revision, offline=offline)
        size = sum(plan.files.values())
        record = {"name": plan.name, "source": plan.source, "path": str(plan.target), "bytes": size}
        line = f"would fetch {plan.name} from {plan.source}: {len(plan.files)} files, {size / 1e6:.1f} MB"
        output.emit({**record, "files": plan.files, "dry_run": True}, line=line, ident=plan.name)
        return
    path = hub.pull(source, revision, offline=offline, progress=output.shows_progress)
    name = next((name for name, folder in hub.cached().items() if folder == path), str(path))
    record = {"name": name, "path": str(path), "sha": checkpoints.model_sha(path)}
    output.emit(record, line=f"{name} is here: {path}", ident=name)


@app.command("rm", epilog=examples("hvg models rm owner/name", "hvg models rm owner/name --yes"))
def remove_model(
    name: Annotated[str, typer.Argument(help="Name of a model in the cache.", autocompletion=complete_model)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Delete a model from the cache."""
    from hvgcli import hub
    from hvgcli.cli.describe import folder_bytes
    from hvgcli.errors import UsageError

    output = make_output(as_json=as_json, quiet=quiet, no_progress=no_progress)
    path = hub.find_removable(name)
    size = folder_bytes(path)
    record = {"name": name, "path": str(path), "bytes": size}
    if dry_run:
        output.emit({**record, "dry_run": True}, line=f"would delete {path} ({size / 1e6:.1f} MB)", ident=name)
        return
    if not yes and not _confirmed(f"Delete {path} ({size / 1e6:.1f} MB)?"):
        raise UsageError(f"{name} was not deleted: answer y, or give --yes")
    hub.remove(name)
    output.emit(record, line=f"deleted {path} ({size / 1e6:.1f} MB)", ident=name)


def _confirmed(question: str) -> bool:
    """Ask on stderr; no answer means no."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


@app.command(
    "push",
    epilog=examples("hvg models push ./mine owner/name --private", "hvg models push ./mine /mnt/mine"),
)
def push_model(
    model: Model,
    target: Annotated[str, typer.Argument(help="owner/name\\[@branch] on the Hub, or a new local folder.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Message of the commit.")] = None,
    offline: Offline = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Publish a finished model on the Hub, or copy it to a folder."""
    from hvgcli import checkpoints, hub

    output = make_output(as_json=as_json, quiet=quiet, no_progress=no_progress)
    folder = hub.resolve(model)
    where = hub.push(folder, target, private=private, message=message, offline=offline, progress=output.shows_progress)
    output.emit({"name": model, "target": where, "sha": checkpoints.model_sha(folder)}, line=where, ident=where)
