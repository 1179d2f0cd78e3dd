"""From videos to one finished shard: decode once, cut, resize, encode.

Runs in processes of its own, which start ten times faster without torch: it is not imported here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

from hvgcli import video
from hvgcli.checkpoints import sha256, write_json
from hvgcli.data.archive import Encoded, ShardWriter
from hvgcli.data.clips import fitted_size
from hvgcli.data.pictures import resized, write_jpeg
from hvgcli.data.shards import Codec
from hvgcli.errors import MediaError
from hvgcli.video import Frames, VideoWriter


@dataclass(frozen=True)
class Cut:
    """One clip to be made: frames start .. stop - 1 of a video file."""

    key: str
    path: str
    source: str
    label: int | None
    start: int
    stop: int
    rate: str
    """Frames per second, as a fraction."""


@dataclass(frozen=True)
class Format:
    """How clips are encoded."""

    codec: Codec
    short_side: int
    """Pixels; 0 keeps the size."""
    quality: int
    """crf of h264, quality of jpeg."""


@dataclass(frozen=True)
class Job:
    """One shard to be made."""

    out: Path
    scratch: Path
    """A folder on the same disk for unfinished files and the record."""
    name: str
    cuts: tuple[Cut, ...]
    format: Format
    classes: tuple[str, ...]

    @property
    def record(self) -> Path:
        """What is known of the shard once it is complete."""
        return self.scratch / f"{self.name}.json"


class _UnreadableError(Exception):
    """A video that cannot be decoded, as opposed to an output that cannot be written."""


def make_shard(job: Job) -> str:
    """Make the shard of a job, then its record; the name of the shard.

    The record holds the shard's checksum, its clips and what was skipped. The tar file gets its name when
    it is complete, the record comes after it: where there is a record, there is a whole shard.

    Raises:
        MediaError: it cannot be written. Videos that cannot be read are skipped.
    """
    try:
        record = _make_shard(job)
    except OSError as error:
        raise MediaError(
            f"{job.out}: cannot be written ({error.strerror or error}): the same command goes on"
        ) from error
    write_json(job.record, record)
    return job.name


def _make_shard(job: Job) -> dict[str, Any]:
    part = job.scratch / f"{job.name}.{os.getpid()}.part"
    clips: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    try:
        with ShardWriter(part, job.format.codec, job.classes) as writer:
            for _, cuts in groupby(job.cuts, key=lambda cut: (cut.path, cut.label)):
                _write_video(writer, list(cuts), job, clips, skipped)
        _sync(part)
        checked = {"sha256": sha256(part), "bytes": part.stat().st_size}
        part.replace(job.out / job.name)
    finally:
        part.unlink(missing_ok=True)
    return {"file": job.name, **checked, "clips": clips, "skipped": skipped}


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _write_video(
    writer: ShardWriter, cuts: list[Cut], job: Job, clips: list[dict[str, Any]], skipped: list[dict[str, Any]]
) -> None:
    """The clips of one video, decoded in one pass where they follow each other; what fails is put in `skipped`."""
    done = 0
    try:
        for run in _runs(cuts):
            frames = _Reader(Path(run[0].path), run[0].start, run[-1].stop)
            for cut in run:
                clip = _encode(frames, cut, job)
                start = cut.start / Fraction(cut.rate)
                clips.append(writer.write(cut.key, clip, cut.label, cut.source, start))
                done += 1
    except _UnreadableError as error:
        skipped.append({"source": cuts[done].source, "clips": len(cuts) - done, "reason": str(error)})


def _runs(cuts: list[Cut]) -> Iterator[list[Cut]]:
    run: list[Cut] = []
    for cut in cuts:
        if run and cut.start != run[-1].stop:
            yield run
            run = []
        run.append(cut)
    yield run


class _Reader:
    """The frames of a part of a video, one after another."""

    def __init__(self, path: Path, start: int, stop: int) -> None:
        self._frames = video.iter_frames(path, start=start, stop=stop, seek=True)
        self._path = path

    def take(self, count: int) -> Iterator[Frames]:
        """The next `count` frames; fewer where the file ends."""
        for _ in range(count):
            try:
                frame = next(self._frames, None)
            except MediaError as error:
                raise _UnreadableError(str(error)) from error
            if frame is None:
                return
            yield frame


def _encode(reader: _Reader, cut: Cut, job: Job) -> Encoded:
    """Encode the next clip. One whose video ends early, without being damaged, is as long as it is."""
    frames = reader.take(cut.stop - cut.start)
    first = next(frames, None)
    if first is None:
        raise _UnreadableError(f"{cut.path}: has no frame {cut.start}: its header says that it is longer")
    size = clip_size(first.shape[0], first.shape[1], job.format)
    fitted = (resized(frame, size) for frame in _chain(first, frames))
    rate = Fraction(cut.rate)
    if job.format.codec == "jpeg":
        parts = [write_jpeg(frame, job.format.quality) for frame in fitted]
        return Encoded(parts, len(parts), rate, *size)
    with _temporary(job.scratch / f"{cut.key}.{os.getpid()}.mp4") as path:
        count = 0
        with VideoWriter(path, size=size, rate=rate, crf=job.format.quality, threads=1) as writer:
            for frame in fitted:
                writer.write(frame[None])
                count += 1
        return Encoded([path.read_bytes()], count, rate, *size)


def _chain(first: Frames, rest: Iterator[Frames]) -> Iterator[Frames]:
    yield first
    yield from rest


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def clip_size(height: int, width: int, form: Format) -> tuple[int, int]:
    """(height, width) of a clip: scaled down to the short side; the long side even for h264, which halves colour."""
    fitted = fitted_size(height, width, form.short_side or None)
    if form.codec == "jpeg" or fitted == (height, width) or form.short_side % 2:
        return fitted
    return fitted[0] + fitted[0] % 2, fitted[1] + fitted[1] % 2
