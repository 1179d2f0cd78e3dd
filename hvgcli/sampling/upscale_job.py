"""Enlarging one file, however long: segment after segment on disk, so that a killed job goes on where it was.

The clip is cut into segments of a fixed number of source frames. Each is computed from its own frames and
the context around them and nothing else, so a job that was interrupted gives the same frames as one that
was not. Finished segments wait in a folder beside the target, and are joined at the end.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from hvgcli import __version__
from hvgcli.checkpoints import locked, read_json, write_json
from hvgcli.errors import MediaError, UsageError
from hvgcli.runtime import trim_allocator
from hvgcli.sampling.grounding import GroundingError
from hvgcli.sampling.upscale import Enlarger, Images, enlarge_alpha
from hvgcli.video.encoding import Encoding
from hvgcli.video.footage import Footage, TimedFrame, timed_frames
from hvgcli.video.remux import assemble, check_target
from hvgcli.video.segments import SegmentWriter, segment_name

SEGMENT = 96
"""Source frames of a segment: the context around it, a few frames, is then a small part of the work."""
CLAIM, LOCK = "job.json", "lock"
OWN_NAME = re.compile(r"\d{6,}\.(mp4|mov|json)(\.part)?|\..+\.part|job\.json|lock")  # of the files of a job
CHANGED = {"files": "the input has been changed since", "model": "the model was another one"}

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
        identity: dict[str, str] | None = None,
        segment: int = SEGMENT,
    ) -> None:
        """settings: what the enlarger was made with, as JSON values: a job goes on with the same ones alone.

        frames  : which of the source; all by default.
        folder  : of the segments; `work_folder` by default.
        identity: what tells the source from others; its path, size and time of change by default.
        segment : source frames of a segment.
        """
        self.footage, self.target, self.enlarger, self.encoding = footage, target, enlarger, encoding
        self.frames = range(footage.frames) if frames is None else frames
        self.settings, self.audio, self.provenance = settings, audio, provenance
        self.folder = folder or work_folder(target)
        self.identity, self.segment = identity, segment

    @property
    def total(self) -> int:
        """Source frames of the whole job."""
        return len(self.frames)

    @property
    def parts(self) -> list[range]:
        """Source frames of each segment, counted from the first frame of the job."""
        return [range(first, min(first + self.segment, self.total)) for first in range(0, self.total, self.segment)]

    @property
    def span(self) -> tuple[Fraction, Fraction] | None:
        """First and last moment of the source that the job covers, in seconds; None for all of it."""
        if self.total == self.footage.frames:
            return None
        clock, last = self.footage.clock, self.frames[-1]
        return clock.time(self.frames[0]), clock.time(last) + clock.duration(last)

    def claim(self) -> dict[str, Any]:
        """All that the frames depend on: segments made with another one are of no use."""
        made = {key: str(value) for key, value in asdict(self.encoding).items()}
        return {
            "version": __version__,
            **(_identity(self.footage) if self.identity is None else self.identity),
            "frames": [self.frames.start, self.frames.stop],
            "segment": self.segment,
            "encoding": made,
            "model": self.enlarger.level.sha,
            "settings": self.settings,
        }

    @property
    def unfinished(self) -> int:
        """Segments that an earlier job for this target has finished."""
        return sum(self._note(number).exists() for number in range(len(self.parts)))

    def run(self, *, resume: bool, progress: Progress) -> Done:
        """Make what is missing, and the file.

        resume: go on with the segments that are there; without it they are made anew.

        Finished segments stay when the job is interrupted or cannot write, and are gone when it is done or
        when the source is at fault. The target is complete or not there in every case.

        Errors: `MediaError` for what cannot be read or written, `UsageError` where segments are there of
        another job, or where another process is at it.
        """
        check_target(self.target, self.encoding.kind)
        with _working(self.folder, self.target):
            self._begin(resume)
            try:
                error, resumed = self._make_missing(resume, progress)
                warnings = self._assemble()
            except SourceError:
                self._clear()  # it would stop at the same place again
                raise
            except BaseException:
                if not self.unfinished:
                    self._clear()
                raise
            self._clear()
        return Done(self.total * self.enlarger.times_time, error, resumed, tuple(warnings))

    def _make_missing(self, resume: bool, progress: Progress) -> tuple[GroundingError, int]:
        """All segments, and how many were there already."""
        error, resumed = GroundingError(), 0
        for number, part in enumerate(self.parts):
            known = self._kept(number) if resume else None
            if known is not None:
                resumed += 1
                progress(len(part) * self.enlarger.times_time)
            error = error.merge(known or self._make(number, part, progress))
        return error, resumed

    # ---- the folder ------------------------------------------------------------------------------

    def _begin(self, resume: bool) -> None:
        foreign = next((path.name for path in self.folder.iterdir() if not OWN_NAME.fullmatch(path.name)), None)
        if foreign is not None:
            raise MediaError(f"{self.folder}: holds another file ({foreign}): move it away, or name another output")
        claim = self.folder / CLAIM
        now = json.loads(json.dumps(self.claim()))
        if resume and claim.exists():
            differing = _difference(_read_claim(claim), now)
            if differing:
                raise UsageError(
                    f"--resume cannot go on with {self.folder}: {differing}; "
                    "repeat the command that began it, or start anew with --overwrite"
                )
            return
        self._clear()
        write_json(claim, now)

    def _clear(self) -> None:
        for path in self.folder.iterdir():
            if path.name != LOCK:
                path.unlink()

    def _segment(self, number: int) -> Path:
        return self.folder / segment_name(number, self.encoding)

    def _note(self, number: int) -> Path:
        """Where the checksum of a segment and its grounding are noted, when it is finished."""
        return self.folder / f"{number:06d}.json"

    def _kept(self, number: int) -> GroundingError | None:
        """The grounding of a segment that is there and whole; None for one that has to be made."""
        try:
            noted = read_json(self._note(number), error=MediaError)
            if noted["sha256"] == file_digest(self._segment(number)):
                return GroundingError(**noted["grounding"])
        except (MediaError, OSError, TypeError, KeyError):
            return None
        return None

    # ---- one segment -----------------------------------------------------------------------------

    def _make(self, number: int, part: range, progress: Progress) -> GroundingError:
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
        noted = {"sha256": file_digest(self._segment(number)), "grounding": asdict(error)}
        write_json(self._note(number), noted)
        trim_allocator()
        return error

    def _write(self, writer: SegmentWriter, at: int, image: Images, shown: dict[int, _Shown]) -> None:
        """Enlarged frame `at`: those between two frames of the source are spread evenly over its time."""
        times = self.enlarger.times_time
        source, place = divmod(at, times)
        time, duration, alpha = shown[source]
        if alpha is not None and place == 0:
            alpha = enlarge_alpha(alpha[None], self.enlarger.times_space, 1)[0]
            shown[source] = _Shown(time, duration, alpha)  # for the frames between, too
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
    """Hold the folder of a job alone while the block runs; an empty one is removed then."""
    busy = UsageError(f"{target} is being made by another process: wait for it, or name another output")
    held = False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / LOCK, busy):
            held = True
            yield
    except OSError as error:
        raise MediaError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        if held and [path.name for path in folder.iterdir()] == [LOCK]:
            with suppress(OSError):
                (folder / LOCK).unlink()
                folder.rmdir()


def _identity(footage: Footage) -> dict[str, str]:
    """The path of a source, and a digest of the sizes and times of change of its files."""
    status = [file.stat() for file in footage.files or (footage.path,)]
    files = [(state.st_size, state.st_mtime_ns) for state in status]
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    return {"source": str(footage.path.resolve()), "files": digest}


def file_digest(path: Path) -> str:
    """SHA-256 of a file that is no part of a model: `OSError` where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_claim(path: Path) -> Any:
    try:
        return read_json(path, error=MediaError)
    except MediaError:
        return None


def _difference(before: Any, now: dict[str, Any]) -> str:
    """The first thing that a claim differs in, for people; nothing where it does not."""
    if not isinstance(before, dict):
        return "its record is damaged"
    for key, value in now.items():
        if before.get(key) == value:
            continue
        if isinstance(value, dict) and isinstance(before.get(key), dict):
            return _difference(before[key], value)
        return CHANGED.get(key, f"{key} was {before.get(key)}, and is {value} now")
    return ""
