"""A planned call of `hvg generate` of a hierarchy, carried out: load, measure what is missing, write, report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from hvgcli.checkpoints import level_metadata
from hvgcli.cli.generating.delivery import Delivery
from hvgcli.cli.generating.making import Job, memory_estimate
from hvgcli.cli.output import Output
from hvgcli.cli.targets import Files
from hvgcli.runtime import choose_device, choose_half
from hvgcli.sampling import statistics_cache
from hvgcli.sampling.hierarchy import Hierarchy, level_frames, load
from hvgcli.sampling.render import stream
from hvgcli.sampling.statistics import Passes, described_tables
from hvgcli.video import Frames


class Production:
    """The making of one call's files, with progress on `output`."""

    def __init__(self, job: Job, files: Files, output: Output, sheet: int | None, *, metadata: bool) -> None:
        """sheet: frames of each video on the contact sheet; metadata: write provenance into the files."""
        self.job, self.output = job, output
        self.delivery = Delivery(job, files, output, sheet, metadata=metadata)
        self.samples = [job.choice.samples[number] for number in self.delivery.numbers]

    def show_plan(self, folder: Path) -> None:
        """Say what would be written, and what it would take."""
        memory = memory_estimate(self.job.config, self.job.request, min(self.job.request.batch, len(self.samples)))
        missing = self._levels_to_measure(folder)
        self.delivery.show_plan({"dry_run": True, "memory_bytes": memory, "measure_levels": missing})
        self.output.note(f"about {memory / 2**20:.0f} MiB of memory")
        if missing:
            self.output.note(f"standing statistics would be measured for levels {missing} first")

    def _levels_to_measure(self, folder: Path) -> list[int]:
        """Levels whose file (and the cache) has no statistics for this length and sigma; reads headers only."""
        request, missing = self.job.request, []
        totals = level_frames(Hierarchy(self.job.config, [], []), request.frames, request.levels)
        for number, total in enumerate(totals, start=1):
            shipped = described_tables(level_metadata(folder, number).get("statistics"))
            served = any(table.serves(request.sigma, total) for table in shipped)
            kept = (statistics_cache.path_of(self.job.sha, number, n, request.sigma) for n in (total, 0))
            if not served and not any(path.exists() for path in kept):
                missing.append(number)
        return missing

    def run(self, folder: Path, device: str, dtype: str) -> None:
        """Make everything. Errors: `MediaError`, or `PartialFailure` when only some files failed."""
        chosen = choose_device(device)
        half = choose_half(dtype, chosen, self.job.request.levels)
        writers = self.delivery.writers(half)
        self.output.note(f"device {device_name(chosen)}, bfloat16 at {_levels_text(half)}")
        hierarchy = load(folder, levels=self.job.request.levels, device=chosen)
        hierarchy.half = half
        self._prepare_statistics(hierarchy)

        def make(numbers: range) -> Iterator[Frames]:
            return stream(hierarchy, [self.samples[number] for number in numbers], self.job.request)

        self.delivery.write(make, writers, half, self.job.request.batch)

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
        total = sum(Passes.of(passes, level).total for level in missing)
        with self.output.progress("statistics", total=total) as advance:
            statistics_cache.measure_missing(
                hierarchy, request.frames, request.sigma, request.levels, passes=passes, warn=warn, progress=advance
            )


def device_name(device: torch.device) -> str:
    """A device as people know it."""
    if device.type != "cuda":
        return str(device)
    memory = torch.cuda.get_device_properties(device).total_memory / 2**30
    return f"{device} ({torch.cuda.get_device_name(device)}, {memory:.0f} GiB)"


def _levels_text(half: Sequence[bool]) -> str:
    levels = [str(number) for number, low in enumerate(half, start=1) if low]
    return f"level {', '.join(levels)}" if levels else "no level"
