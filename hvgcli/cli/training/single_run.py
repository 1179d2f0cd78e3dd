"""Carrying out `hvg train-single`: what people see of it, requests to stop, and what it leaves."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

import torch

from hvgcli.checkpoints import CHECKSUMS, read_model_config
from hvgcli.cli.output import Advance, Output
from hvgcli.cli.training.run import has_tensorboard, stopping
from hvgcli.cli.training.single_plan import emit_plan
from hvgcli.cli.training.single_request import Request, planned
from hvgcli.training.single_folder import SingleRun, check_claim
from hvgcli.training.single_run import Progress, train_single

LINE_SECONDS = 60.0  # between two lines where no bar is shown


def carry_out(
    request: Request,
    device: torch.device,
    *,
    save_seconds: float,
    logs: tuple[str, ...],
    begun: float,
    dry_run: bool,
    output: Output,
) -> None:
    """Plan and train; the model's folder is printed at the end.

    save_seconds: at least so long between two states. logs: "csv", "tensorboard". begun: `time.monotonic()` from
    which a budget counts.
    """
    plan = planned(request, device)
    for message in plan.warnings:
        output.warn(message)
    if dry_run:
        check_claim(plan.run, output.warn)
        emit_plan(plan.run, plan.preset, device, output)
        return
    run = plan.run
    report = Report(run, output)
    with output.progress("begin", 1.0, share=True) as advance, stopping(None) as stop:
        report.advance = advance
        ended = train_single(
            run,
            device=device,
            progress=report.progress,
            preview=report.scale,
            stop=stop,
            warn=output.warn,
            save_seconds=save_seconds,
            table="csv" in logs,
            tensorboard="tensorboard" in logs and has_tensorboard(output),
            command=shlex.join(["hvg", *sys.argv[1:]]),
            clock=lambda: time.monotonic() - begun,
        )
        if stop.interrupted and ended == "stopped":
            output.note(f"stopped {report.place}; the same command goes on")
            _tell_model(run, output)
            raise KeyboardInterrupt
    _conclude(run, report, ended, output)


class Report:
    """What people see of a run: a bar, a line a scale, and a line now and then where no bar is shown."""

    def __init__(self, run: SingleRun, output: Output) -> None:
        self.run, self.output = run, output
        self.advance: Advance = lambda steps=1, description=None: None
        self.last: Progress | None = None
        self._shown = 0.0
        self._told = -LINE_SECONDS

    @property
    def place(self) -> str:
        """Where the run is, for people."""
        last = self.last
        if last is None:
            return "before the first iteration"
        return f"in scale {self._number(last.scale)} after iteration {last.iteration}"

    def progress(self, progress: Progress) -> None:
        """Called after every iteration."""
        self.last = progress
        losses = ", ".join(f"{key} {value:.3g}" for key, value in progress.metrics.items())
        text = f"scale {self._number(progress.scale)}, iteration {progress.iteration}: {losses}"
        self.advance(progress.share - self._shown, description=text)
        self._shown = progress.share
        if not self.output.shows_progress and time.monotonic() - self._told >= LINE_SECONDS:
            self._told = time.monotonic()
            self.output.note(f"{text}; {100 * progress.share:.0f} % done")

    def scale(self, scale: int, sheet: Path) -> None:
        """Called with a finished scale and its sheet."""
        frames, height, width = self.run.config.sizes[scale]
        what = f"{frames} frames of {width}x{height}" if frames > 1 else f"{width}x{height}"
        self.output.note(f"scale {self._number(scale)} is finished, {what}: {sheet}")

    def _number(self, scale: int) -> str:
        """The paper's n/N."""
        return f"{scale}/{self.run.config.scales - 1}"


def _conclude(run: SingleRun, report: Report, ended: str, output: Output) -> None:
    """Name the model; say how to go on with a run that is not at its end."""
    model, finished = _model(run)
    record = {"run": str(run.out), "scales": finished, "of": run.config.scales, "model": model and str(model)}
    if ended == "stopped":
        output.emit(record, line=f"stopped {report.place}; the same command goes on", ident=run.out)
        _tell_model(run, output)
        return
    if report.last is None:
        output.note(f"{run.out} was finished before: give a new --out folder to train longer")
    output.emit(record, line=str(model), ident=model)
    output.note(f"make variations with: {_generate(model)}")


def _tell_model(run: SingleRun, output: Output) -> None:
    """What a run that was stopped leaves."""
    model, finished = _model(run)
    if model is None:
        output.note("no scale is finished yet, so there is no model")
    else:
        what = f"{finished} scales that are" if finished > 1 else "one scale that is"
        output.note(f"the {what} finished can be used: {_generate(model)}")


def _generate(model: Path | None) -> str:
    return f"hvg generate --model {shlex.quote(str(model))} --num 8"


def _model(run: SingleRun) -> tuple[Path | None, int]:
    """The model folder so far, and how many scales it has; None and 0 where there is none."""
    folder = run.out / "model"
    if not (folder / CHECKSUMS).is_file():
        return None, 0
    single = read_model_config(folder).single
    return folder, 0 if single is None else single.built
