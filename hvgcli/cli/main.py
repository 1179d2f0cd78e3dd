"""The program `hvg`: its commands, and the one place where an exception becomes a line and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import Annotated, NoReturn

import typer

from hvgcli import __version__
from hvgcli.cli import (
    classes,
    data,
    doctor,
    evaluate,
    generate,
    info,
    models,
    predict,
    report,
    stats,
    train,
    train_level,
    train_single,
    upscale,
)
from hvgcli.cli.output import one_line
from hvgcli.errors import EXIT_INTERRUPTED, HvgError, MediaError, ResourceError

EXIT_BROKEN_PIPE = 141  # as shells report a program whose reader went away (128 + SIGPIPE)
CANNOT_WRITE = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "EFBIG", "ENAMETOOLONG", "EIO")
    if hasattr(errno, name)
}

app = typer.Typer(
    name="hvg",
    help="Generate, enlarge and continue short videos on your own machine, and train the models that do it.",
    epilog="Start with:  hvg generate --class skydiving --frames 48",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

# One line a command: function, name, panel of the help. Their files import nothing heavy.
COMMANDS = (
    (classes.classes, "classes", "Look"),
    (info.info, "info", "Look"),
    (doctor.doctor, "doctor", "Look"),
)
app.command("generate", cls=generate.GenerateCommand, epilog=generate.EXAMPLES, rich_help_panel="Make")(
    generate.generate
)
app.command("upscale", epilog=upscale.EXAMPLES, rich_help_panel="Make")(upscale.upscale)
app.command("predict", epilog=predict.EXAMPLES, rich_help_panel="Make")(predict.predict)
app.command("stats", epilog=stats.EXAMPLES, rich_help_panel="Make")(stats.stats)
app.command("train", epilog=train.EPILOG, rich_help_panel="Train")(train.train)
app.command("train-level", epilog=train_level.EPILOG, rich_help_panel="Train")(train_level.train_level)
app.command("train-single", epilog=train_single.EPILOG, rich_help_panel="Train")(train_single.train_single)
app.command("evaluate", epilog=evaluate.EXAMPLES, rich_help_panel="Look")(evaluate.evaluate)
app.command("report", epilog=report.EXAMPLES, rich_help_panel="Look")(report.report)
for _function, _name, _panel in COMMANDS:
    app.command(_name, rich_help_panel=_panel)(_function)
app.add_typer(data.app, name="data", rich_help_panel="Train")
app.add_typer(models.app, name="models", rich_help_panel="Look")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"hvg {__version__}")
        raise typer.Exit


def _set_color(choice: str) -> str:
    if choice not in ("auto", "always", "never"):
        raise typer.BadParameter("must be auto, always or never")
    if choice != "auto":
        os.environ.update({"NO_COLOR": "1"} if choice == "never" else {"FORCE_COLOR": "1"})
    return choice


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    color: Annotated[
        str, typer.Option(callback=_set_color, help="auto, always or never; NO_COLOR works too.", metavar="WHEN")
    ] = "auto",
) -> None:
    """Options of the program itself; every command has its own."""


def explain(error: BaseException) -> tuple[int, str]:
    """Exit code and message of an exception that ended a command."""
    if isinstance(error, HvgError):
        return error.exit_code, str(error)
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED, "interrupted"
    if _out_of_memory(error):
        return ResourceError.exit_code, "out of memory: ask for a smaller batch, fewer frames or fewer levels"
    if isinstance(error, OSError) and error.errno in CANNOT_WRITE:
        where = f" {error.filename}" if error.filename else ""
        return MediaError.exit_code, f"cannot read or write{where}: {error.strerror}"
    detail = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return 1, f"unexpected {detail} (a bug in hvg: --debug shows where)"


def _out_of_memory(error: BaseException) -> bool:
    """Python's own, CUDA's and the CPU allocator's way of saying so, without importing torch."""
    text = str(error).lower()
    of_torch = isinstance(error, RuntimeError) and ("out of memory" in text or "allocate memory" in text)
    return isinstance(error, MemoryError) or of_torch


def run(args: list[str] | None = None) -> int:
    """Run `hvg` with `args` (default: those of the process) and return the exit code."""
    args = sys.argv[1:] if args is None else args
    debug = "--debug" in args or os.environ.get("HVG_DEBUG", "0") not in ("", "0")
    try:
        code = _invoke(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        return _reader_is_gone()
    except (Exception, KeyboardInterrupt) as error:
        code, message = explain(error)
        if debug:
            traceback.print_exc()
        print(f"hvg: error: {one_line(message)}", file=sys.stderr)
        return code


def _invoke(args: list[str]) -> int:
    """The exit code of the command line; exceptions of commands pass through."""
    try:
        app(args=args, prog_name="hvg")
    except SystemExit as exit_:
        if isinstance(exit_.__context__, BrokenPipeError):
            raise exit_.__context__ from None
        if exit_.code == EXIT_INTERRUPTED:
            raise KeyboardInterrupt from None
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    return 0


def _reader_is_gone() -> int:
    """Leave quietly: what is still buffered for the closed pipe goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.__stdout__.fileno() if sys.__stdout__ else 1)
    return EXIT_BROKEN_PIPE


def main() -> NoReturn:
    """The entry point of the console script and of `python -m hvgcli`."""
    sys.exit(run())
