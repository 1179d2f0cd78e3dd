"""A call of `hvg upscale`, carried out: inputs, outputs, one job after the other, what is said of them."""

from __future__ import annotations

import sys
import time
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch

from hvgcli.cli.generating.making import BASE_BYTES
from hvgcli.cli.generating.production import device_name
from hvgcli.cli.output import Output
from hvgcli.cli.targets import unwanted
from hvgcli.cli.upscaling.files import (
    STANDARD,
    Item,
    check_apart,
    check_distinct,
    find_inputs,
    goes_to_stdout,
    kind_of,
    scratch_folder,
    target_of,
)
from hvgcli.cli.upscaling.request import Request, provenance, settings
from hvgcli.errors import HvgError, MediaError, OutputExistsError, PartialFailure, UsageError
from hvgcli.runtime import choose_device, has_fast_bfloat16
from hvgcli.sampling.hierarchy import Level, load_level
from hvgcli.sampling.upscale import Enlarger
from hvgcli.sampling.upscale_job import Done, Job
from hvgcli.video.encoding import Encoding, Kind, clock_of, stored_colour
from hvgcli.video.footage import Footage, examine
from hvgcli.video.remux import send

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
GROUNDED = 1 / 255  # what is promised of the mean error, in [0, 1] units
TRIAL_FRAMES = 8  # source frames that --dry-run enlarges to know how fast this machine is


def chosen_frames(footage: Footage, start: Fraction | None, end: Fraction | None) -> range:
    """Frames that are shown from `start` on and before `end`, in seconds from the first frame."""
    clock, first = footage.clock, footage.start
    begin = 0 if start is None else _first_at(footage, first + start)
    stop = clock.count if end is None else _first_at(footage, first + end)
    if begin >= stop:
        seconds = float(footage.duration)
        raise UsageError(f"{footage.path}: no frames from --start to --end: it has {seconds:g} s")
    return range(begin, stop)


def _first_at(footage: Footage, moment: Fraction) -> int:
    """Number of the first frame that begins at `moment` or later."""
    low, high = 0, footage.frames
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if footage.clock.time(middle) < moment else (low, middle)
    return low


class Upscaling:
    """One call: a level, and the inputs that it enlarges."""

    def __init__(self, request: Request, folder: Path, output: Output) -> None:
        self.request, self.folder, self.output = request, folder, output
        self._to_stdout = False

    @cached_property
    def level(self) -> Level:
        return load_level(self.folder, self.request.level, device=choose_device(self.request.device))

    @cached_property
    def precision(self) -> torch.dtype:
        if self.request.dtype != "auto":
            return PRECISIONS[self.request.dtype]
        return torch.bfloat16 if has_fast_bfloat16(self.level.device) else torch.float32

    def enlarger(self, footage: Footage) -> Enlarger:
        """For one input: a single picture is not made a video of two frames unless that is asked for."""
        request = self.request
        picture = footage.kind == "png" and footage.frames == 1
        more = {} if request.chunk is None else {"piece": request.chunk}
        return Enlarger(
            self.level,
            times_space=request.times_space,
            times_time=1 if picture and request.times_time is None else request.times_time,
            labels=request.labels,
            seed=request.seed,
            sigma=request.sigma,
            detail=request.detail,
            tile=request.tile,
            overlap=request.overlap,
            batch=request.batch_size,
            precision=self.precision,
            ground=request.ground,
            **more,
        )

    # ---- one input -------------------------------------------------------------------------------

    def job(self, footage: Footage, item: Item, target: Path, kind: Kind, folder: Path | None = None) -> Job:
        request, enlarger = self.request, self.enlarger(footage)
        height, width = (side * enlarger.times_space for side in footage.size)
        encoding = Encoding(
            kind=kind,
            size=(height, width),
            rate=footage.rate * enlarger.times_time,
            clock=clock_of(footage.time_base, enlarger.times_time),
            bits=footage.bits,
            colour=stored_colour(footage.colour, kind),
            aspect=footage.aspect,
            alpha=footage.alpha,
            codec=request.codec,
            crf=request.crf,
        )
        return Job(
            footage,
            target,
            enlarger,
            encoding,
            frames=chosen_frames(footage, request.start, request.end),
            settings=settings(request, self.level, enlarger),
            audio=request.audio,
            provenance=provenance(request, self.level, enlarger, item.name, target) if request.metadata else None,
            folder=folder,
            identity=item.identity(),
        )

    # ---- all of them -----------------------------------------------------------------------------

    def run(
        self, inputs: list[str], output_path: str | None, *, resume: bool, overwrite: bool, skip_existing: bool
    ) -> None:
        """Enlarge every input. Errors: that of a single input, or `PartialFailure` when some of several fail."""
        self._to_stdout = goes_to_stdout(inputs, output_path)
        with scratch_folder(self._to_stdout or STANDARD in inputs) as scratch:
            items = find_inputs(inputs, Path(scratch))
            jobs, failures = self._jobs(items, output_path, Path(scratch))
            places = [job.target for _, job in jobs]
            check_distinct((item, job.target) for item, job in jobs)
            check_apart(places, [item.path for item in items] + [file for _, job in jobs for file in job.footage.files])
            kept = unwanted(places, overwrite=overwrite, skip_existing=skip_existing) if places else set()
            if places and len(kept) == len(places):
                self.output.note("nothing to do: all files are there")
            elif places:
                self.output.note(
                    f"device {device_name(self.level.device)}, {str(self.precision).removeprefix('torch.')}"
                )
            for item, job in jobs:
                if job.target in kept:
                    continue
                try:
                    if not (resume or overwrite):
                        _check_nothing_begun(job)
                    self._make(item, job, resume)
                except (MediaError, UsageError) as error:
                    failures.append((item, error))
                    if len(items) > 1:
                        self.output.warn(error)
        _raise(failures, len(items))

    def show_plans(self, inputs: list[str], output_path: str | None) -> None:
        """Say what would be made of each input, in what time and memory."""
        self._to_stdout = goes_to_stdout(inputs, output_path)
        with scratch_folder(self._to_stdout or STANDARD in inputs) as scratch:
            items = find_inputs(inputs, Path(scratch))
            jobs, failures = self._jobs(items, output_path, Path(scratch))
            for item, job in jobs:
                self._show(item, job)
        _raise(failures, len(items))

    def _jobs(
        self, items: list[Item], output_path: str | None, scratch: Path
    ) -> tuple[list[tuple[Item, Job]], list[tuple[Item, HvgError]]]:
        """A job for each input that can be read, and the errors of the others."""
        jobs: list[tuple[Item, Job]] = []
        failures: list[tuple[Item, HvgError]] = []
        for item in items:
            try:
                jobs.append((item, self._plan(item, output_path, scratch)))
            except MediaError as error:
                failures.append((item, error))
                if len(items) > 1:
                    self.output.warn(error)
        return jobs, failures

    def _plan(self, item: Item, output_path: str | None, scratch: Path) -> Job:
        footage = examine(item.path, rate=self.request.rate)
        asked = None if self._to_stdout else output_path
        kind = kind_of(footage.kind, asked)
        enlarger = self.enlarger(footage)
        frames = len(chosen_frames(footage, self.request.start, self.request.end)) * enlarger.times_time
        height, width = (side * enlarger.times_space for side in footage.size)
        if self._to_stdout:
            if kind == "png":
                raise UsageError("frames cannot go to standard output: name a folder with -o")
            return self.job(footage, item, scratch / f"stdout.{kind}", kind, scratch / "segments")
        values: dict[str, Any] = {"times": enlarger.times_space, "width": width, "height": height}
        values |= {"model": self.level.config.name, "level": self.level.number, "seed": self.request.seed}
        target = target_of(item, kind, frames, asked, values)
        return self.job(footage, item, target, kind)

    def _make(self, item: Item, job: Job, resume: bool) -> None:
        """Run one job, send or report what it made."""
        began, output = time.perf_counter(), self.output
        output.note(f"{item.name}: {job.enlarger.describe(job.footage.size)}")
        total = job.total * job.enlarger.times_time
        with output.progress(f"{item.name}: frames", total=total) as advance:
            try:
                done = job.run(resume=resume, progress=advance)
            except (KeyboardInterrupt, HvgError):
                if job.unfinished and not self._to_stdout:
                    output.note(f"what is finished is kept in {job.folder}: the same command with --resume goes on")
                raise
        warnings = [*done.warnings, *self._shortfalls(job, done)]
        for warning in warnings:
            output.warn(f"{item.name}: {warning}")
        record = self._record(item, job) | {
            "seconds": round(time.perf_counter() - began, 3),
            "segments_kept": done.resumed,
            "grounding_error": done.error.mean if self.request.ground else None,
            "warnings": warnings,
        }
        if self._to_stdout:
            send(job.target, cast(BinaryIO, sys.stdout.buffer))
        else:
            output.emit(record, line=str(job.target), ident=job.target)
        self._tell(record, done)

    def _shortfalls(self, job: Job, done: Done) -> list[str]:
        """What the result could not keep of the picture itself."""
        found = []
        if job.footage.alpha and not job.encoding.keeps_alpha:
            found.append(f"what is transparent is black now: {job.encoding.kind} cannot hold it, gif and png can")
        if self.request.ground and done.error.mean > GROUNDED:
            found.append(
                f"downsampled it is {255 * done.error.mean:.1f}/255 from the input, not 1/255 or less: "
                "the input has more contrast between neighbouring pixels than any larger picture gives"
            )
        return found

    def _tell(self, record: dict[str, Any], done: Done) -> None:
        """What people want to know of a finished file."""
        text = f"{record['frames']} frames of {record['size']} in {record['seconds']:.1f} s"
        if self.request.ground:
            text += f", {255 * done.error.mean:.2f}/255 from the input when downsampled"
        self.output.note(text)

    def _record(self, item: Item, job: Job) -> dict[str, Any]:
        """An input and its result in plain values, for --json."""
        footage, encoding = job.footage, job.encoding
        span = job.span
        seconds = footage.duration if span is None else span[1] - span[0]
        return {
            "path": str(job.target) if not self._to_stdout else STANDARD,
            "source": str(item.path) if not item.standard else STANDARD,
            "source_size": f"{footage.size[1]}x{footage.size[0]}",
            "source_frames": job.total,
            "source_rate": str(footage.rate),
            "size": f"{encoding.size[1]}x{encoding.size[0]}",
            "frames": job.total * job.enlarger.times_time,
            "rate": str(encoding.rate),
            "variable_rate": footage.variable,
            "duration": float(seconds),
            "codec": encoding.codec,
            "tiles": job.enlarger.describe(footage.size),
        }

    def _show(self, item: Item, job: Job) -> None:
        enlarger, size = job.enlarger, job.footage.size
        seconds = enlarger.tile_frames(size, job.total) * self.tile_frame_seconds
        memory = enlarger.memory(size) + BASE_BYTES
        record = self._record(item, job) | {
            "dry_run": True,
            "estimated_seconds": round(seconds, 3),
            "memory_bytes": memory,
        }
        what = f"{record['frames']} frames of {record['size']} at {record['rate']} frames/s"
        self.output.emit(record, line=f"would write {record['path']}: {what}", ident=record["path"])
        self.output.note(record["tiles"])
        self.output.note(f"about {_duration(seconds)} and {memory / 2**20:.0f} MiB of memory")

    @cached_property
    def tile_frame_seconds(self) -> float:
        """Seconds that a tile of a frame takes on this machine, by a short trial."""
        side = 2 * self.level.generator.input_size
        enlarger = Enlarger(self.level, sigma=self.request.sigma, labels=self.request.labels, precision=self.precision)
        noise = np.random.default_rng(0).integers(0, 256, (TRIAL_FRAMES, side, side, 3), dtype=np.uint8)
        every = range(TRIAL_FRAMES)
        for _ in range(2):  # the first one warms up
            began = time.perf_counter()
            for _ in enlarger.enlarge(noise, every, TRIAL_FRAMES):
                pass
        return (time.perf_counter() - began) / enlarger.tile_frames((side, side), TRIAL_FRAMES)


def _check_nothing_begun(job: Job) -> None:
    """What an interrupted job has finished is not thrown away unasked."""
    if job.unfinished:
        raise OutputExistsError(
            f"{job.folder} holds finished parts of an interrupted job: --resume goes on, --overwrite starts anew"
        )


def _raise(failures: list[tuple[Item, HvgError]], asked: int) -> None:
    """One failed input is its own error; some of several are a partial failure."""
    if len(failures) == 1 and asked == 1:
        raise failures[0][1]
    if failures:
        names = ", ".join(item.name for item, _ in failures)
        raise PartialFailure(f"{len(failures)} of {asked} inputs failed: {names}")


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
