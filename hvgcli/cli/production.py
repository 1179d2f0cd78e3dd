"""A planned call of `hvg generate`, carried out: load, measure what is missing, write, report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hvgcli.checkpoints import level_metadata
from hvgcli.cli.making import Job, memory_estimate
from hvgcli.cli.output import Advance, Output
from hvgcli.cli.targets import Files, place
from hvgcli.errors import MediaError, PartialFailure
from hvgcli.layers.table import RowLayout
from hvgcli.runtime import choose_device, choose_half
from hvgcli.sampling import statistics_cache
from hvgcli.sampling.hierarchy import Hierarchy, Sample, level_frames, load
from hvgcli.sampling.render import ContactSheet, render_each, render_grid
from hvgcli.sampling.statistics import long_passes
from hvgcli.video import Frames, VideoWriter, tile, write_image


class Production:
    """The making of one call's files, with progress on `output`."""

    def __init__(self, job: Job, files: Files, output: Output, sheet: int | None, *, metadata: bool) -> None:
        """sheet: frames of each video on the contact sheet; metadata: write provenance into the files."""
        self.job, self.files, self.output, self.metadata = job, files, output, metadata
        self.numbers = list(range(len(job.choice.samples))) if job.grid else files.wanted
        self.samples: list[Sample] = [job.choice.samples[number] for number in self.numbers]
        wanted = sheet is not None and files.sheet is not None
        self.sheet = ContactSheet(len(self.samples), job.request.frames, sheet or 1) if wanted else None
        self.failures: list[tuple[Path, MediaError]] = []

    # ---- before ----------------------------------------------------------------------------------

    def show_plan(self, folder: Path) -> None:
        """Say what would be written, and what it would take."""
        memory = memory_estimate(self.job.config, self.job.request, min(self.job.request.batch, len(self.samples)))
        shared = {"dry_run": True, "memory_bytes": memory, "measure_levels": self._levels_to_measure(folder)}
        self._writers((False,) * self.job.request.levels)  # refuses a rate or a crf that cannot be
        for number in [0] if self.job.grid else self.numbers:
            record = self._record(number)
            what = f"{record['frames']} frames of {record['size']} at {record['rate']} frames/s, seed {record['seed']}"
            named = f", class {record['class']}" if record["class"] else ""
            path = record["path"]
            self.output.emit(record | shared, line=f"would write {path}: {what}{named}", ident=path)
        if self.sheet is not None:
            sheet = str(self.files.sheet)
            self.output.emit({"sheet": sheet, **shared}, line=f"would write {sheet}", ident=sheet)
        self.output.note(f"about {memory / 2**20:.0f} MiB of memory")
        if shared["measure_levels"]:
            self.output.note(f"standing statistics would be measured for levels {shared['measure_levels']} first")

    def _levels_to_measure(self, folder: Path) -> list[int]:
        """Levels whose file (and the cache) has no statistics for this length and sigma; reads headers only."""
        request, missing = self.job.request, []
        totals = level_frames(Hierarchy(self.job.config, [], []), request.frames, request.levels)
        for number, total in enumerate(totals, start=1):
            entries = level_metadata(folder, number).get("statistics") or []
            shipped = [entry for entry in entries if entry["sigma"] == request.sigma and entry["frames"] in (0, total)]
            served = any(RowLayout(*entry["layout"]).serves(total) for entry in shipped)
            kept = (statistics_cache.path_of(self.job.sha, number, n, request.sigma) for n in (total, 0))
            if not served and not any(path.exists() for path in kept):
                missing.append(number)
        return missing

    # ---- making ----------------------------------------------------------------------------------

    def run(self, folder: Path, device: str, dtype: str) -> None:
        """Make everything. Errors: `MediaError`, or `PartialFailure` when only some files failed."""
        chosen = choose_device(device)
        half = choose_half(dtype, chosen, self.job.request.levels)
        writers = self._writers(half)
        self.output.note(f"device {device_name(chosen)}, bfloat16 at {_levels_text(half)}")
        hierarchy = load(folder, levels=self.job.request.levels, device=chosen)
        hierarchy.half = half
        self._prepare_statistics(hierarchy)
        frames = self.job.request.frames * len(self.samples)
        with self.output.progress("frames", total=frames) as advance:
            watch = self._watch(advance)
            if self.job.grid:
                render_grid(
                    hierarchy, self.samples, writers[0], self.job.request, columns=self.job.columns, watch=watch
                )
                self._report(0, writers[0].path)
            else:
                render_each(
                    hierarchy,
                    self.samples,
                    writers,
                    self.job.request,
                    watch=watch,
                    finished=lambda index, error: self._finished(index, writers[index], error),
                )
        self._write_sheet(half)
        self._raise_failures()

    def _writers(self, half: Sequence[bool]) -> list[VideoWriter]:
        """One for each sample, or one for the grid; none is open yet."""
        job, size = self.job, (self.job.size, self.job.size)
        if job.grid:
            blank = torch.zeros(len(self.samples), *size, 3, dtype=torch.uint8).numpy()
            size = tile(blank, job.columns).shape[:2]
        return [
            VideoWriter(
                self.files.videos[number],
                size=size,
                rate=job.rate,
                format=job.kind,
                crf=job.crf,
                metadata=job.provenance(half, None if job.grid else number) if self.metadata else None,
            )
            for number in ([0] if job.grid else self.numbers)
        ]

    def _prepare_statistics(self, hierarchy: Hierarchy) -> None:
        """Find standing statistics in the model or the cache, or measure them."""
        request, passes = self.job.request, self.job.passes
        warn = self.output.warn
        missing = statistics_cache.attach(
            hierarchy, request.frames, request.sigma, request.levels, passes=passes, warn=warn
        )
        if not missing:
            return
        known = sorted({table.sigma for table in hierarchy.tables[missing[0] - 1]})
        hint = f" (they are there for sigma {', '.join(map(str, known))})" if known else ""
        self.output.note(f"measuring standing statistics for sigma {request.sigma}, once for all{hint}")
        total = len(missing) * long_passes(passes)
        with self.output.progress("statistics", total=total) as advance:
            statistics_cache.measure_missing(
                hierarchy, request.frames, request.sigma, request.levels, passes=passes, warn=warn, progress=advance
            )

    def _watch(self, advance: Advance) -> Any:
        """Progress, and the contact sheet."""
        count = len(self.samples)

        def watch(index: int, start: int, clip: Frames) -> None:
            if self.sheet is not None:
                self.sheet.watch(index, start, clip)
            reached = f"sample {index + 1}/{count}, frame {start + len(clip)}/{self.job.request.frames}"
            advance(len(clip), description=reached)

        return watch

    def _finished(self, index: int, writer: VideoWriter, error: MediaError | None) -> None:
        if error is None:
            self._report(self.numbers[index], writer.path)
        else:
            self.failures.append((writer.path, error))
            if self._asked() > 1:  # a single failure is the error that ends the command
                self.output.warn(error)

    def _report(self, number: int, path: Path) -> None:
        self.output.emit(self._record(number) | {"path": str(path)}, line=str(path), ident=path)

    def _record(self, number: int) -> dict[str, Any]:
        """A video in plain values, for --json."""
        job = self.job
        height, width = (job.size, job.size) if not job.grid else self._writers(())[0].size
        made = job.provenance((), None if job.grid else number)
        keys = [key for key in made if key not in ("command", "dtype", "version", "fps")]
        path = place(self.files.videos[number], job.kind, job.request.frames)
        known = {"path": str(path), **{key: made[key] for key in keys}}
        return known | {"size": f"{width}x{height}", "rate": str(job.rate)}

    # ---- after -----------------------------------------------------------------------------------

    def _write_sheet(self, half: Sequence[bool]) -> None:
        image = self.sheet.image() if self.sheet is not None else None
        if self.sheet is None or image is None or self.files.sheet is None:
            return
        made = self.job.provenance(half, None, sheet=len(self.sheet.wanted)) if self.metadata else None
        try:
            write_image(self.files.sheet, image, made)
        except MediaError as error:
            self.failures.append((self.files.sheet, error))
            self.output.warn(error)
            return
        self.output.emit({"sheet": str(self.files.sheet)}, line=str(self.files.sheet), ident=self.files.sheet)

    def _asked(self) -> int:
        """Files that were asked for."""
        return (1 if self.job.grid else len(self.samples)) + (self.sheet is not None)

    def _raise_failures(self) -> None:
        """One failed file is its own error; some of several are a partial failure."""
        asked = self._asked()
        if len(self.failures) == asked:
            raise self.failures[0][1]
        if self.failures:
            names = ", ".join(str(path) for path, _ in self.failures)
            raise PartialFailure(f"{len(self.failures)} of {asked} files could not be written: {names}")


def device_name(device: torch.device) -> str:
    """A device as people know it."""
    if device.type != "cuda":
        return str(device)
    memory = torch.cuda.get_device_properties(device).total_memory / 2**30
    return f"{device} ({torch.cuda.get_device_name(device)}, {memory:.0f} GiB)"


def _levels_text(half: Sequence[bool]) -> str:
    levels = [str(number) for number, low in enumerate(half, start=1) if low]
    return f"level {', '.join(levels)}" if levels else "no level"
