"""A planned call of `hvg predict`, carried out: read the context, continue it, write, report."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from hvgcli.checkpoints import model_sha
from hvgcli.cli.generating.production import device_name
from hvgcli.cli.output import Advance, Output
from hvgcli.cli.predicting.making import Job, Request, Target, find_moment, source_digest
from hvgcli.cli.predicting.pictures import next_frames
from hvgcli.cli.upscaling.files import STANDARD, find_inputs, goes_to_stdout, scratch_folder
from hvgcli.config import ModelConfig
from hvgcli.data.cuts import find_cuts
from hvgcli.data.excerpt import Excerpt, decimal
from hvgcli.data.windows import to_float
from hvgcli.errors import MediaError, PartialFailure, UsageError
from hvgcli.hub import available
from hvgcli.runtime import choose_device, choose_half
from hvgcli.sampling.hierarchy import Hierarchy, load
from hvgcli.sampling.motion import FlowPictures
from hvgcli.sampling.predict import continuation, moving_continuation
from hvgcli.sampling.render import batches, to_pixels, write_clips
from hvgcli.video import Format, Frames, VideoWriter, examine
from hvgcli.video.remux import send


class Piece(NamedTuple):
    """The next frames of several continuations."""

    frames: Frames
    """uint8 (B, n, D, D, 3)."""
    motion: Frames | None
    """Pictures of their motion, as large."""


class Prediction:
    """The making of one call's files, with progress on `output`."""

    def __init__(self, job: Job, targets: Sequence[Target], output: Output, *, metadata: bool, stdout: bool) -> None:
        """targets: the files to make; stdout: send the only one there; metadata: write provenance into them."""
        self.job, self.targets, self.output = job, targets, output
        self.metadata, self.stdout = metadata, stdout
        self.failures: list[tuple[Path, MediaError]] = []

    # ---- before ----------------------------------------------------------------------------------

    def describe(self) -> None:
        """Say what becomes of the input, and what is odd about it."""
        job, output = self.job, self.output
        excerpt, name, frames = job.excerpt, job.item.name, job.request.frames
        output.note(f"{name}: {excerpt.describe(job.config.resolution)}")
        where = f"{job.request.context} frames up to {decimal(excerpt.moment)} s, then {frames} new ones"
        chosen_for_truth = job.request.compare and job.request.moment is None
        output.note(where + (" beside the last of the clip" if chosen_for_truth else ""))
        if excerpt.repeats:
            rate = decimal(excerpt.rate)
            output.warn(f"{name}: has fewer frames a second than the model's {rate}: some are seen twice")
        there = excerpt.true_frames(frames)
        if job.request.compare and there < frames:
            output.warn(f"{name}: ends {there} frames after --at: the true side is black from then on")

    def show_plan(self) -> None:
        """Say what would be written."""
        self._writers("auto", None)  # refuses a rate or a crf that cannot be
        for target in self.targets:
            record = self.job.record(target)
            what = f"{record['total_frames']} frames of {record['size']} at {record['rate']} frames/s"
            line = f"would write {record['path']}: {what}, seed {record['seed']}"
            self.output.emit(record | {"dry_run": True}, line=line, ident=record["path"])

    # ---- making ----------------------------------------------------------------------------------

    def run(self, folder: Path, device: str, dtype: str) -> None:
        """Make everything. Errors: `MediaError`, or `PartialFailure` when only some files failed."""
        job = self.job
        chosen = choose_device(device)
        half = choose_half(dtype, chosen, 1)
        context = job.excerpt.read_context(job.config.resolution)
        self._warn_of_cuts(context)
        digest = source_digest(job.excerpt.footage) if self.metadata else None
        writers = self._writers("bf16" if half[0] else "fp32", digest)
        self.output.note(f"device {device_name(chosen)}, {'bfloat16' if half[0] else 'float32'}")
        hierarchy = load(folder, device=chosen)
        hierarchy.half = half
        with self.output.progress("frames", total=job.request.frames * len(self._seeds(self.targets))) as advance:
            for part in self._parts():
                self._make(hierarchy, context, part, [writers[target] for target in part], advance)
        self._raise_failures()

    def _warn_of_cuts(self, context: Frames) -> None:
        """A model that saw two scenes in its context goes on from neither."""
        seen = context[-self.job.config.context :]
        for cut in find_cuts(seen):
            self.output.warn(
                f"{self.job.item.name}: frame {cut + 1} of the {len(seen)} to go on from is unlike those before it "
                "(a cut?): choose a moment with --at before which all of them are of one scene"
            )

    def _writers(self, dtype: str, digest: str | None) -> dict[Target, VideoWriter]:
        """One for each file; none is open yet."""
        job, request = self.job, self.job.request
        return {
            target: VideoWriter(
                target.path,
                size=job.layout(flow=target.flow).frame_size,
                rate=request.rate,
                format=request.kind,
                crf=request.crf,
                metadata=job.provenance(target, dtype, digest) if self.metadata else None,
            )
            for target in self.targets
        }

    def _parts(self) -> list[list[Target]]:
        """The files that are made at the same time: a grid, or those of a batch of seeds."""
        numbers = sorted({target.number for target in self.targets})
        size = len(numbers) if self.job.request.grid else self.job.request.batch
        parts = [[numbers[place] for place in batch] for batch in batches(len(numbers), size)]
        return [[target for target in self.targets if target.number in part] for part in parts]

    def _seeds(self, targets: Sequence[Target]) -> list[int]:
        """Places of the seeds that some files show."""
        groups = self.job.groups()
        return list(dict.fromkeys(place for target in targets for place in groups[target.number]))

    def _make(
        self,
        hierarchy: Hierarchy,
        context: Frames,
        targets: Sequence[Target],
        writers: Sequence[VideoWriter],
        advance: Advance,
    ) -> None:
        """The files of one part."""
        places = self._seeds(targets)
        seeds = [self.job.request.seeds[place] for place in places]
        streams = [
            self._stream(hierarchy, context, [seeds[number] for number in batch])
            for batch in batches(len(seeds), self.job.request.batch)
        ]
        write_clips(
            self._pictures(context, targets, places, streams, advance),
            writers,
            watch=lambda *_: None,
            finished=lambda index, error: self._finished(targets[index], writers[index], error),
        )

    def _stream(self, hierarchy: Hierarchy, context: Frames, seeds: Sequence[int]) -> Iterator[Piece]:
        """The continuations from some seeds."""
        request = self.job.request
        seen = to_float(torch.from_numpy(context[-self.job.config.context :])[None])
        seen = seen.expand(len(seeds), -1, -1, -1, -1)
        if not request.flow:
            for video in continuation(hierarchy, seen, seeds, request.frames, request.draw):
                yield Piece(to_pixels(video), None)
            return
        colours = FlowPictures()
        for video, flow in moving_continuation(hierarchy, seen, seeds, request.frames, request.draw):
            yield Piece(to_pixels(video), _array(colours(flow)))

    def _pictures(
        self,
        context: Frames,
        targets: Sequence[Target],
        places: Sequence[int],
        streams: Sequence[Iterator[Piece]],
        advance: Advance,
    ) -> Iterator[list[Frames]]:
        """The frames of each file: first the context, then the continuation, piece by piece."""
        job, groups = self.job, self.job.groups()
        layouts = [job.layout(flow=target.flow) for target in targets]
        shown = [[places.index(place) for place in groups[target.number]] for target in targets]
        truth = job.excerpt.read_truth(job.request.frames if job.request.compare else 0, job.config.resolution)
        yield [layout.real(context) for layout in layouts]
        for parts in zip(*streams, strict=True):
            frames = list(chain.from_iterable(part.frames for part in parts))
            motion = list(chain.from_iterable(part.motion for part in parts if part.motion is not None))
            true = next_frames(truth, len(frames[0])) if job.request.compare else None
            yield [
                layout.made([(motion if target.flow else frames)[index] for index in indices], true)
                for target, layout, indices in zip(targets, layouts, shown, strict=True)
            ]
            advance(len(frames) * len(frames[0]))

    # ---- after -----------------------------------------------------------------------------------

    def _finished(self, target: Target, writer: VideoWriter, error: MediaError | None) -> None:
        if error is None:
            self._report(target, writer.path)
            return
        self.failures.append((writer.path, error))
        if len(self.targets) > 1:  # a single failure is the error that ends the command
            self.output.warn(error)

    def _report(self, target: Target, path: Path) -> None:
        if self.stdout:
            send(path, cast(BinaryIO, sys.stdout.buffer))
        else:
            self.output.emit(self.job.record(target) | {"path": str(path)}, line=str(path), ident=path)

    def _raise_failures(self) -> None:
        """One failed file is its own error; some of several are a partial failure."""
        if len(self.failures) == len(self.targets):
            raise self.failures[0][1]
        if self.failures:
            names = ", ".join(str(path) for path, _ in self.failures)
            raise PartialFailure(f"{len(self.failures)} of {len(self.targets)} files could not be written: {names}")


def _array(pictures: Tensor) -> Frames:
    array: Frames = np.ascontiguousarray(pictures.cpu().numpy())
    return array


class Call:
    """One call: an input, and the files that are asked for."""

    def __init__(
        self,
        request: Request,
        folder: Path,
        config: ModelConfig,
        source: str,
        output_path: str | None,
        format_: Format | None,
        output: Output,
    ) -> None:
        """folder: of the model; source: a path or "-"; the rest as typed."""
        self.request, self.folder, self.config, self.source = request, folder, config, source
        self.output_path, self.format, self.output = output_path, format_, output
        self.stdout = goes_to_stdout([source], output_path)

    def run(
        self, *, overwrite: bool, skip_existing: bool, metadata: bool, dry_run: bool, device: str, dtype: str
    ) -> None:
        """Make the files, or say what would be made. Errors: those of the input, the output and the options."""
        with scratch_folder(self.stdout or self.source == STANDARD) as scratch:
            job = self._job(Path(scratch))
            output_path = self._to_file(Path(scratch)) if self.stdout else self.output_path
            targets = job.targets(output_path, self.format)
            wanted = job.wanted(targets, overwrite=overwrite, skip_existing=skip_existing)
            work = Prediction(job, wanted, self.output, metadata=metadata, stdout=self.stdout)
            if not wanted:
                self.output.note("nothing to do: all files are there")
                return
            work.describe()
            if dry_run:
                work.show_plan()
            else:
                work.run(self.folder, device, dtype)

    def _job(self, scratch: Path) -> Job:
        items = find_inputs([self.source], scratch)
        if len(items) > 1:
            raise UsageError(f"{self.source}: holds {len(items)} videos, one is continued at a time: name one of them")
        footage, name = examine(items[0].path), self.request.model
        moment = find_moment(footage, self.config, self.request)
        excerpt = Excerpt(footage, self.config.rate(1), moment, self.request.context)
        known = name if name in available() else self.config.name
        return Job(self.request, known, self.config, model_sha(self.folder), items[0], excerpt)

    def _to_file(self, scratch: Path) -> str:
        """Where the video that goes to standard output is made."""
        request = self.request
        if request.kind == "png" or request.flow or (len(request.seeds) > 1 and not request.grid):
            raise UsageError("standard output holds one video file: name a folder with -o, or leave out --flow and png")
        return str(scratch / f"stdout.{request.kind}")
