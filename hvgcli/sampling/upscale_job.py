"""Enlarging one file, however long: segment after segment on disk, so that a killed job goes on where it was.

The clip is cut into segments of a fixed number of source frames. Each is computed from its own frames and
the context around them and nothing else, so a job that was interrupted gives the same frames as one that
was not. Finished segments wait in a folder beside the target, and are joined at the end.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from hvgcli import __version__
from hvgcli.checkpoints import locked, read_json, write_json
from hvgcli.errors import MediaError, UsageError
from hvgcli.sampling.grounding import GroundingError
from hvgcli.sampling.upscale import Enlarger, Images, enlarge_alpha
from hvgcli.video.encoding import Encoding
from hvgcli.video.footage import Footage, TimedFrame, timed_frames
from hvgcli.video.remux import assemble
from hvgcli.video.segments import SegmentWriter, read_segment, segment_name

SEGMENT = 96
"""Source frames of a segment: the context around it, a few frames, is then a small part of the work."""
CLAIM, LOCK = "job.json", "lock"

Progress = Callable[[int], None]
"""Called with the number of enlarged frames just finished."""


def work_folder(target: Path) -> Path:
    """Where the segments of an unfinished job are."""
    return target.with_name(target.name + ".segments")


class SourceError(MediaError):
    """The input cannot be read to its end."""


class _Shown(NamedTuple):
    """What a source frame gives to those made of it, its pixels apart."""

    time: Fraction
    duration: Fraction
    alpha: Images | None


@dataclass(frozen=True)
class Done:
    """A finished job."""

    frames: int
    error: GroundingError
    """Between the result, downsampled, and the input; of what was encoded, before encoding."""
    resumed: int
    """Segments that were there already."""
    warnings: tuple[str, ...]


class Job:
    """One input, its output, and how one is made of the other."""

    def __init__(
        self,
        footage: Footage,
        target: Path,
        enlarger: Enlarger,
        encoding: Encoding,
        *,
        frames: range | None = None,
        settings: dict[str, Any],
        audio: bool = True,
        provenance: dict[str, Any] | None = None,
        folder: Path | None = None,
    ) -> None:
        """settings: what the enlarger was made with, as JSON values: a job goes on with the same ones alone.

        frames: which of the source; all by default. folder: of the segments; `work_folder` by default.
        """
        self.footage, self.target, self.enlarger, self.encoding = footage, target, enlarger, encoding
        self.frames = range(footage.frames) if frames is None else frames
        self.settings, self.audio, self.provenance = settings, audio, provenance
        self.folder = folder or work_folder(target)

    @property
    def total(self) -> int:
        """Source frames of the whole job."""
        return len(self.frames)

    @property
    def parts(self) -> list[range]:
        """Source frames of each segment, counted from the first frame of the job."""
        return [range(first, min(first + SEGMENT, self.total)) for first in range(0, self.total, SEGMENT)]

    @property
    def span(self) -> tuple[Fraction, Fraction] | None:
        """First and last moment of the source that the job covers, in seconds; None for all of it."""
        if self.total == self.footage.frames:
            return None
        clock, last = self.footage.clock, self.frames[-1]
        return clock.time(self.frames[0]), clock.time(last) + clock.duration(last)

    def claim(self) -> dict[str, Any]:
        """All that the frames depend on: segments made with another one are of no use."""
        status = [file.stat() for file in self.footage.files or (self.footage.path,)]
        files = [(state.st_size, state.st_mtime_ns) for state in status]
        made = {key: str(value) for key, value in asdict(self.encoding).items()}
        return {
            "version": __version__,
            "source": str(self.footage.path.resolve()),
            "files": hashlib.sha256(json.dumps(files).encode()).hexdigest(),
            "frames": [self.frames.start, self.frames.stop],
            "segment": SEGMENT,
            "encoding": made,
            "model": self.enlarger.level.sha,
            "settings": self.settings,
        }

    def run(self, *, resume: bool, progress: Progress) -> Done:
        """Make what is missing, and the file.

        resume: go on with the segments that are there; without it they are made anew.

        Errors: `MediaError` for what cannot be read or written, `UsageError` where segments are there of
        another job, or where another process is at it. The target is complete or not there in every case.
        """
        try:
            with _working(self.folder, self.target):
                self._begin(resume)
                error, resumed = self._make_missing(resume, progress)
                warnings = self._assemble()
        except SourceError:
            shutil.rmtree(self.folder)  # it would stop at the same place again
            raise
        shutil.rmtree(self.folder)
        return Done(self.total * self.enlarger.times_time, error, resumed, tuple(warnings))

    def _make_missing(self, resume: bool, progress: Progress) -> tuple[GroundingError, int]:
        """All segments, and how many were there already."""
        error, resumed = GroundingError(), 0
        for number, part in enumerate(self.parts):
            if resume and self._is_there(number):
                resumed += 1
                progress(len(part) * self.enlarger.times_time)
            else:
                self._make(number, part, progress)
            error = error.merge(GroundingError(**read_json(self._record(number), error=MediaError)))
        return error, resumed

    # ---- the folder ------------------------------------------------------------------------------

    def _begin(self, resume: bool) -> None:
        claim = self.folder / CLAIM
        now = json.loads(json.dumps(self.claim()))
        if resume and claim.exists():
            before = read_json(claim, error=MediaError)
            differing = _difference(before, now)
            if differing:
                raise UsageError(
                    f"{self.folder} is of another job ({differing}): repeat its options, or leave out --resume"
                )
            return
        for path in self.folder.iterdir():
            if path.name != LOCK:
                path.unlink()
        write_json(claim, now)

    def _segment(self, number: int) -> Path:
        return self.folder / segment_name(number, self.encoding)

    def _record(self, number: int) -> Path:
        """Where the grounding of a segment is noted; written before the segment, so that none is without it."""
        return self.folder / f"{number:06d}.json"

    def _is_there(self, number: int) -> bool:
        """Whether a segment is complete; one that is damaged is made again."""
        if not self._record(number).exists():
            return False
        try:
            segment = read_segment(self._segment(number), self.encoding.clock)
        except MediaError:
            return False
        return len(segment.times) == len(self.parts[number]) * self.enlarger.times_time

    # ---- one segment -----------------------------------------------------------------------------

    def _make(self, number: int, part: range, progress: Progress) -> None:
        shown: dict[int, _Shown] = {}
        error, first = GroundingError(), self.frames.start
        span = self.enlarger.span(part, self.total)
        source = timed_frames(self.footage, first + span.start, first + span.stop)
        with SegmentWriter(self._segment(number), self.encoding) as writer:
            images = _remembering(source, span.start, shown)
            for made in self.enlarger.enlarge(images, part, self.total):
                for at, image in enumerate(made.images, start=made.first):
                    self._write(writer, at, image, shown)
                error = error.merge(made.error)
                progress(len(made.images))
            write_json(self._record(number), asdict(error))

    def _write(self, writer: SegmentWriter, at: int, image: Images, shown: dict[int, _Shown]) -> None:
        """Enlarged frame `at`: those between two frames of the source are spread evenly over its time."""
        times = self.enlarger.times_time
        source, place = divmod(at, times)
        time, duration, alpha = shown[source]
        if alpha is not None:
            alpha = enlarge_alpha(alpha[None], self.enlarger.times_space, 1)[0]
        writer.write(image, time + place * duration / times, duration / times, alpha)
        if place == times - 1:
            del shown[source]

    def _assemble(self) -> list[str]:
        segments = [self._segment(number) for number in range(len(self.parts))]
        return assemble(
            segments,
            None if self.footage.files else self.footage.path,
            self.target,
            encoding=self.encoding,
            audio=self.audio,
            span=self.span,
            metadata=self.provenance,
        )


def _remembering(frames: Iterator[TimedFrame], number: int, shown: dict[int, _Shown]) -> Iterator[Images]:
    """The images of `frames`, numbered from `number` on; what else they carry goes into `shown`."""
    try:
        for at, frame in enumerate(frames, start=number):
            shown[at] = _Shown(frame.time, frame.duration, frame.alpha)
            yield frame.image
    except MediaError as error:
        raise SourceError(str(error)) from error


@contextmanager
def _working(folder: Path, target: Path) -> Iterator[None]:
    """Hold the folder of a job alone while the block runs."""
    busy = UsageError(f"{target} is being made by another process: wait for it, or name another output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / LOCK, busy):
            yield
    except OSError as error:
        raise MediaError(f"{folder}: cannot be written ({error.strerror or error})") from error


def _difference(before: Any, now: dict[str, Any]) -> str:
    """The first thing that a claim differs in, or nothing."""
    if not isinstance(before, dict):
        return "its record is damaged"
    for key, value in now.items():
        if before.get(key) == value:
            continue
        if isinstance(value, dict) and isinstance(before.get(key), dict):
            return _difference(before[key], value)
        return f"{key} was {before.get(key)}, now {value}"
    return ""
