"""Carrying out `hvg train-level` and `hvg train`: requests to stop, the processes of a run, what people see of it."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import typer

from hvgcli.cli.output import Advance, Output
from hvgcli.cli.training.plan import emit_plan
from hvgcli.cli.training.request import Keeping, Limits, Machine, Request, chosen_preset, model_folder, start_folder
from hvgcli.errors import PeerError, ResourceError, UsageError

if TYPE_CHECKING:
    import torch

    from hvgcli.config import Preset
    from hvgcli.data.clips import ClipIndex
    from hvgcli.training.distributed import World
    from hvgcli.training.loop import Ended, RunOptions
    from hvgcli.training.plan import Run


def carry_out(
    request: Request, limits: Limits, keeping: Keeping, machine: Machine, *, dry_run: bool, output: Output
) -> None:
    """Plan, train and finish; under torchrun the first process alone speaks, writes and finishes."""
    from hvgcli.training.agree import peer_is_gone
    from hvgcli.training.distributed import joined

    world = None
    try:
        with joined(machine.device) as world:
            if not world.main:
                output = Output(mode="quiet", progress_bar=False)
            warn = _warner(world, output)
            run, index, preset = _planned(request, limits, machine, world, warn)
            if dry_run:
                if world.main:
                    emit_plan(run, index, preset, keeping.keep, world.size, output)
                return
            ended = _train(run, index, limits, keeping, machine, world, output, warn)
    except PeerError as error:
        raise typer.Exit(error.exit_code) from error
    except RuntimeError as error:
        if world is None or not peer_is_gone(error, world):
            raise
        print(f"hvg: process {world.rank} ends: the connection to another process was lost", file=sys.stderr)
        raise typer.Exit(1) from error
    if world.main:
        _conclude(run, index, ended, keeping, machine.device, output)


def _warner(world: World, output: Output) -> Callable[[str], None]:
    """Warnings, with the number of the process where there are several."""
    return output.warn if world.size == 1 else lambda message: output.warn(f"process {world.rank}: {message}")


def _planned(
    request: Request, limits: Limits, machine: Machine, world: World, warn: Callable[[str], None]
) -> tuple[Run, ClipIndex, Preset]:
    """The run, its clips, and the preset with the user's changes; all is checked, and nothing written."""
    from hvgcli.training.agree import together
    from hvgcli.training.plan import plan
    from hvgcli.training.run_folder import check_claim
    from hvgcli.training.start import check_start

    with together(world):
        preset = chosen_preset(request)
        run, index = plan(
            preset,
            request.level,
            request.data,
            request.out,
            model_folder(request.model),
            {},
            request.seed,
            processes=world.size,
            start=start_folder(request.start, request.out),
        )
        _check_watch(run, limits)
        check_claim(run, lambda message: None)
        check_start(run)
        if machine.compiled:
            check_compiler(machine.device)
    if world.main:
        _warn_of_data(run, index, preset, warn)
    return run, index, preset


def _warn_of_data(run: Run, index: ClipIndex, preset: Preset, warn: Callable[[str], None]) -> None:
    from hvgcli.training.batches import window_spec
    from hvgcli.training.plan import usable_clips

    if not run.config.conditional and preset.model.conditional:
        warn(f"{run.data} has no classes, so the model has none: put clips in a folder a class to have some")
    for path, reason in index.skipped:
        warn(f"skipped {path}: {reason}")
    if short := len(index.clips) - usable_clips(run, index):
        frames = window_spec(run.config, run.level, run.training).frames
        warn(f"{short} of {len(index.clips)} clips are shorter than a window of {frames} frames and are not used")


def _check_watch(run: Run, limits: Limits) -> None:
    """`UsageError` where early stopping looks at a metric that this training does not have."""
    if limits.patience is None:
        return
    aid = run.training.reconstruction
    judged = run.training.steps_alone < run.training.steps
    there = {
        "reconstruction": aid is not None,
        "motion": aid is not None,
        "kl": aid is not None and run.level == 1,
        "loss_g": judged,
        "loss_d": judged,
    }
    if not there[limits.watch]:
        names = ", ".join(name for name, has in there.items() if has)
        raise UsageError(f"--watch {limits.watch} is not a metric of this training: it has {names}")


def check_compiler(device: torch.device) -> None:
    """`ResourceError` where torch.compile does not work for a device, found by compiling one addition."""
    import torch

    try:
        torch.compile(lambda x: x * 2 + 1)(torch.zeros(8, device=device))
    except Exception as error:  # torch has a dozen exceptions for what may be missing, some private
        raise _no_compiler(error) from error


def _no_compiler(error: Exception) -> ResourceError:
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return ResourceError(f"--compile does not work here ({reason[0]}): leave it out, or install a C++ compiler")


@contextmanager
def _compiler_errors() -> Iterator[None]:
    """What the compiler says of networks that it cannot compile, as a `ResourceError`."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise _no_compiler(error) from error
        raise


def _train(
    run: Run,
    index: ClipIndex,
    limits: Limits,
    keeping: Keeping,
    machine: Machine,
    world: World,
    output: Output,
    warn: Callable[[str], None],
) -> Ended:
    from hvgcli.training.loop import train_level

    options = _options(limits, keeping, machine, world, output)
    bar = output.progress(_name(run), run.training.steps)
    with bar as advance, stopping(limits.minutes) as stop, _compiler_errors():
        report = _reporter(advance, output)
        ended = train_level(run, index, options, progress=report, warn=warn, stop=stop, world=world)
        if stop.interrupted and not ended.finished:
            output.note(f"stopped after step {ended.step}; the same command goes on")
            raise KeyboardInterrupt
    return ended


def _options(limits: Limits, keeping: Keeping, machine: Machine, world: World, output: Output) -> RunOptions:
    from hvgcli.training.loop import RunOptions

    return RunOptions(
        samples_every=keeping.samples_every,
        save_every=keeping.save_every,
        keep=keeping.keep,
        table="csv" in keeping.logs,
        tensorboard=world.main and "tensorboard" in keeping.logs and has_tensorboard(output),
        device=str(machine.device),
        compiled=machine.compiled,
        workers=machine.workers,
        watch=limits.watch,
        patience=limits.patience,
        command=shlex.join(["hvg", *sys.argv[1:]]),
    )


def has_tensorboard(output: Output) -> bool:
    """Whether events can be written; a note where they cannot."""
    from importlib.util import find_spec

    if find_spec("tensorboard") is None:
        output.note("tensorboard is not installed (pip install 'hvgcli[train]'): no events are written")
        return False
    return True


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


class StopRequest:
    """True once the minutes are over or the process was asked to end (SIGTERM, Ctrl-C): the state is saved first.

    A second Ctrl-C ends at once, with the state that was saved last.
    """

    def __init__(self, minutes: float | None) -> None:
        self._deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self._asked = False
        self.interrupted = False

    def terminate(self, number: int, frame: FrameType | None) -> None:
        """Handler of SIGTERM."""
        self._asked = True

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Handler of SIGINT."""
        if self.interrupted:
            raise KeyboardInterrupt
        self._asked = self.interrupted = True
        # print() may be what was interrupted, and cannot be entered again
        os.write(2, b"\nhvg: stopping after this step, the state is saved; Ctrl-C again stops at once\n")

    def __call__(self) -> bool:
        return self._asked or (self._deadline is not None and time.monotonic() >= self._deadline)


@contextmanager
def stopping(minutes: float | None) -> Iterator[StopRequest]:
    """A `StopRequest` that hears the signals while the block runs."""
    stop = StopRequest(minutes)
    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, stop.terminate),
        signal.SIGINT: signal.signal(signal.SIGINT, stop.interrupt),
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _conclude(run: Run, index: ClipIndex, ended: Ended, keeping: Keeping, device: torch.device, output: Output) -> None:
    """Make the model of a run that is at its end; say how to go on with one that is not."""
    record = {"run": str(run.out), "steps": ended.step, "of": run.training.steps}
    if not ended.finished:
        line = f"stopped after step {ended.step} of {run.training.steps}; the same command goes on"
        output.emit(record | {"model": None}, line=line, ident=run.out)
        return
    if ended.reason == "early":
        output.note(f"stopped early after step {ended.step}: the watched metric improves no more")
    folder = _finish(run, index, keeping, device, output)
    output.emit(record | {"model": str(folder)}, line=str(folder), ident=folder)


def _finish(run: Run, index: ClipIndex, keeping: Keeping, device: torch.device, output: Output) -> Path:
    from hvgcli.training.finish import finish, total_passes

    with output.progress(f"standing statistics of {_name(run)}", total_passes(run, keeping.passes)) as advance:
        return finish(run, index, device=device, passes=keeping.passes, notes=keeping.notes, progress=advance)


def _name(run: Run) -> str:
    """What is trained, for people."""
    return run.config.name if run.config.one_stage else f"level {run.level}"
