"""The files of one call of `hvg generate`, of whatever model: writers, contact sheet, reports, failures."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hvgcli.cli.output import Advance, Output
from hvgcli.cli.targets import Files, place
from hvgcli.errors import MediaError, PartialFailure
from hvgcli.sampling.render import ContactSheet, Make, Watch, render_each, render_grid
from hvgcli.video import Format, Frames, VideoWriter, tile, write_image

UNREPORTED = ("command", "dtype", "version", "fps", "size")  # of what a file says; size and rate come last


class Job(Protocol):
    """What a call makes, as far as its files are concerned."""

    @property
    def count(self) -> int:
        """Videos of the call."""

    @property
    def frames(self) -> int:
        """Frames of a video."""

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of a video."""

    @property
    def columns(self) -> int:
        """Videos in a row of the grid."""

    @property
    def rate(self) -> Fraction: ...

    @property
    def kind(self) -> Format: ...

    @property
    def crf(self) -> int | None: ...

    @property
    def grid(self) -> bool: ...

    def provenance(self, half: Sequence[bool], number: int | None, sheet: int | None = None) -> dict[str, Any]:
        """What a file says about how it was made: video `number`, or None for all of them in one picture.

        half: of each level, whether it computes in bfloat16. sheet: frames of each video on the contact sheet,
        where the file is that.
        """


class Delivery:
    """Writes the videos of a job and says so on `output`."""

    def __init__(self, job: Job, files: Files, output: Output, sheet: int | None, *, metadata: bool) -> None:
        """sheet: frames of each video on the contact sheet; metadata: write provenance into the files."""
        self.job, self.files, self.output, self.metadata = job, files, output, metadata
        self.numbers = list(range(job.count)) if job.grid else files.wanted
        wanted = sheet is not None and files.sheet is not None
        self.sheet = ContactSheet(len(self.numbers), job.frames, sheet or 1) if wanted else None
        self.failures: list[tuple[Path, MediaError]] = []

    # ---- before ----------------------------------------------------------------------------------

    def show_plan(self, shared: dict[str, Any]) -> None:
        """Say what would be written; `shared` goes into every record. `UsageError` for a rate or crf that cannot be."""
        self.writers(())
        for number in [0] if self.job.grid else self.numbers:
            record = self._record(number)
            rate = f" at {record['rate']} frames/s" if record["rate"] else ""
            what = f"{record['frames']} frame{'s' * (self.job.frames > 1)} of {record['size']}{rate}"
            named = f", class {record['class']}" if record.get("class") else ""
            path = record["path"]
            self.output.emit(
                record | shared, line=f"would write {path}: {what}, seed {record['seed']}{named}", ident=path
            )
        if self.sheet is not None:
            sheet = str(self.files.sheet)
            self.output.emit({"sheet": sheet, **shared}, line=f"would write {sheet}", ident=sheet)

    def writers(self, half: Sequence[bool]) -> list[VideoWriter]:
        """One for each video, or one for the grid; none is open yet."""
        job = self.job
        return [
            VideoWriter(
                self.files.videos[number],
                size=self._written_size(),
                rate=job.rate,
                format=job.kind,
                crf=job.crf,
                metadata=job.provenance(half, None if job.grid else number) if self.metadata else None,
            )
            for number in ([0] if job.grid else self.numbers)
        ]

    def _written_size(self) -> tuple[int, int]:
        """(height, width) of a file."""
        if not self.job.grid:
            return self.job.frame_size
        blank: Frames = np.broadcast_to(np.uint8(0), (len(self.numbers), *self.job.frame_size, 3))
        height, width = tile(blank, self.job.columns).shape[:2]
        return height, width

    # ---- making ----------------------------------------------------------------------------------

    def write(self, make: Make, writers: Sequence[VideoWriter], half: Sequence[bool], batch: int) -> None:
        """Write everything that `make` makes. Errors: `MediaError`, or `PartialFailure` when only some files failed.

        writers: those of `writers`; batch: videos that are made at a time.
        """
        with self.output.progress("frames", total=self.job.frames * len(self.numbers)) as advance:
            watch = self._watch(advance)
            if self.job.grid:
                count, columns = len(self.numbers), self.job.columns
                render_grid(make, count, writers[0], batch, columns=columns, watch=watch)
                self._report(0, writers[0].path)
            else:
                render_each(
                    make,
                    writers,
                    batch,
                    watch=watch,
                    finished=lambda index, error: self._finished(index, writers[index], error),
                )
        self._write_sheet(half)
        self._raise_failures()

    def _watch(self, advance: Advance) -> Watch:
        """Progress, and the contact sheet."""
        count = len(self.numbers)

        def watch(index: int, start: int, clip: Frames) -> None:
            if self.sheet is not None:
                self.sheet.watch(index, start, clip)
            reached = f"sample {index + 1}/{count}, frame {start + len(clip)}/{self.job.frames}"
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
        height, width = self._written_size()
        made = job.provenance((), None if job.grid else number)
        path = place(self.files.videos[number], job.kind, job.frames)
        known = {"path": str(path), **{key: value for key, value in made.items() if key not in UNREPORTED}}
        return known | {"size": f"{width}x{height}", "rate": str(job.rate) if "fps" in made else None}

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
        return (1 if self.job.grid else len(self.numbers)) + (self.sheet is not None)

    def _raise_failures(self) -> None:
        """One failed file is its own error; some of several are a partial failure."""
        asked = self._asked()
        if len(self.failures) == asked:
            raise self.failures[0][1]
        if self.failures:
            names = ", ".join(str(path) for path, _ in self.failures)
            raise PartialFailure(f"{len(self.failures)} of {asked} files could not be written: {names}")
