"""A planned call of `hvg generate` with a model of one clip or image, carried out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from hvgcli.cli.generating.delivery import Delivery
from hvgcli.cli.generating.production import device_name
from hvgcli.cli.generating.single_making import SingleJob
from hvgcli.cli.output import Output
from hvgcli.cli.targets import Files
from hvgcli.errors import ResourceError
from hvgcli.runtime import choose_device, has_fast_bfloat16, physical_memory
from hvgcli.sampling import single_lengths
from hvgcli.sampling.render import to_pixels
from hvgcli.sampling.single import Single, blend, generate, inject, load_single
from hvgcli.video import Frames

STRETCH = 1.02  # a --size that stretches a picture by no more is not worth a warning
PIECE = 8  # frames that are turned into bytes at a time


@dataclass(frozen=True)
class Own:
    """The pixels of --from and --mask, and the scale that they enter."""

    scale: int
    image: Tensor
    """`(1, T, 3, H, W)` in [-1, 1]."""
    mask: Tensor | None
    """`(H, W)` in [0, 1]: 0 is kept."""


class SingleProduction:
    """The making of one call's files, with progress on `output`."""

    def __init__(self, job: SingleJob, files: Files, output: Output, sheet: int | None, *, metadata: bool) -> None:
        """sheet: frames of each video on the contact sheet; metadata: write provenance into the files."""
        self.job, self.output = job, output
        self.delivery = Delivery(job, files, output, sheet, metadata=metadata)

    def describe(self) -> None:
        """Say what is odd about the model and what becomes of --from."""
        job, config = self.job, self.job.single
        if config.finished:
            self.output.note(
                f"{job.config.name} is unfinished: {config.finished} of its {config.scales} scales are there"
            )
        if job.source is not None:
            self.output.note(job.source.describe())
            if job.source.stretch() > STRETCH:
                self.output.warn(
                    f"--size {job.size_text} stretches {job.source.path}: leave --size out to keep its shape"
                )
        if job.same_for_all_seeds and job.count > 1:
            self.output.warn(
                f"no scale from {job.source.scale if job.source else 0} on adds noise: all seeds make the same"
            )
        if job.kind == "mp4" and not job.grid and any(side % 2 for side in job.frame_size):
            self.output.warn(
                f"{job.size_text} is odd, so the colour of H.264 is kept whole, which not every player shows"
            )

    def show_plan(self) -> None:
        """Say what would be written, and what it would take."""
        memory = self.job.memory(self._at_a_time())
        measured = not single_lengths.is_kept(self.job.sha, self.job.single, self.job.frames)
        self.delivery.show_plan({"dry_run": True, "memory_bytes": memory, "measure_statistics": measured})
        self.output.note(f"about {memory / 2**20:.0f} MiB of memory")
        if measured:
            self.output.note(f"standing statistics for {self.job.frames} frames would be measured first")

    def _at_a_time(self) -> int:
        return min(self.job.batch, len(self.delivery.numbers))

    def run(self, folder: Path, device: str, dtype: str) -> None:
        """Make everything. Errors: `MediaError`, or `PartialFailure` when only some files failed."""
        chosen = choose_device(device)
        if chosen.type == "cpu":
            self._require_memory()
        half = dtype == "bf16" or (dtype == "auto" and has_fast_bfloat16(chosen))  # 0.5 of 255 from float32, on average
        writers = self.delivery.writers([half])
        self.output.note(f"device {device_name(chosen)}, {'bfloat16' if half else 'float32'}")
        source = self.job.source
        own = None if source is None else Own(source.scale, source.read(), source.read_mask())
        single = load_single(folder, device=chosen, half=half)
        self._prepare_statistics(single)

        def make(numbers: range) -> Iterator[Frames]:
            return self._pieces(single, own, [self.delivery.numbers[number] for number in numbers])

        self.delivery.write(make, writers, [half], self.job.batch)

    def _require_memory(self) -> None:
        """`ResourceError` where this machine cannot hold it: it would be killed in the middle."""
        needed, there = self.job.memory(self._at_a_time()), physical_memory()
        if there is not None and needed > there:
            raise ResourceError(
                f"{self.job.frames} frames of {self.job.size_text} need about {needed / 2**30:.0f} GiB of memory, but "
                f"this machine has {there / 2**30:.0f}: ask for a smaller --size, fewer --frames or --batch-size 1"
            )

    def _prepare_statistics(self, single: Single) -> None:
        """Find standing statistics for this length in the model or the cache, or measure them."""
        frames, warn = self.job.frames, self.output.warn
        if single_lengths.attach(single, frames, warn=warn):
            return
        own = self.job.single.frames
        self.output.note(f"measuring standing statistics for {frames} frames, once (the model has them for {own})")
        with self.output.progress("statistics", total=single_lengths.steps(self.job.single, frames)) as advance:
            single_lengths.measure(single, frames, warn=warn, progress=advance)

    def _pieces(self, single: Single, own: Own | None, numbers: list[int]) -> Iterator[Frames]:
        """The videos of some numbers, `(B, n, H, W, 3)` at a time."""
        job, seeds = self.job, [self.job.seeds[number] for number in numbers]
        if own is None:
            video = generate(single, seeds, size=job.frame_size, frames=job.frames, sigma=job.sigma)
        else:
            video = inject(single, own.image, own.scale, seeds, sigma=job.sigma)
            video = video if own.mask is None else blend(video, own.image, own.mask)
        pieces = [to_pixels(video[:, start : start + PIECE]) for start in range(0, job.frames, PIECE)]
        del video  # in a grid, all videos wait for each other
        yield from pieces
