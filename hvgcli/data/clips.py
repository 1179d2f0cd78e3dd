"""The clips of a data source: which there are, their sizes, rates and classes, and where their frames are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from hvgcli import video
from hvgcli.data.sources import EXPECTED, Item, list_source, natural_key
from hvgcli.errors import DataError, MediaError

if TYPE_CHECKING:
    from hvgcli.data.shards import Member

__all__ = ["Clip", "ClipIndex", "fitted_size", "natural_key", "probe", "scan"]


@dataclass(frozen=True)
class Clip:
    """One video, or a part of one, that training can draw from."""

    path: Path
    """The video file. For a clip in a shard, where people find it: the shard and the name in it."""
    label: int | None
    """Index of its class, None in a source without classes."""
    frames: int
    rate: Fraction
    """Frames per second."""
    height: int
    width: int
    """Pixels, as displayed: after rotation, without the pixel aspect."""
    start: int = 0
    """Frame of the file that is the clip's first."""
    member: Member | None = None
    """Its place in a shard; None for a file of its own."""

    @property
    def shard(self) -> int | None:
        """Number of its shard; None for a file of its own."""
        return None if self.member is None else self.member.shard.number


@dataclass(frozen=True, eq=False)
class ClipIndex:
    """The usable clips of a source in a stable order. Compared by identity, so that it hashes at no cost."""

    clips: tuple[Clip, ...]
    classes: tuple[str, ...]
    """Names of the classes; empty in a source without classes."""
    skipped: tuple[tuple[Path, str], ...] = ()
    """Files that could not be probed, each with the reason."""


def fitted_size(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """(height, width) scaled down so that the shorter one is `short_side`; never scaled up."""
    short = min(height, width)
    if short_side is None or short <= short_side:
        return height, width
    return round(height * short_side / short), round(width * short_side / short)


def probe(item: Item) -> Clip:
    """Look at a file: its frames, rate and size. Frames of a part are those shown at start <= time < end.

    Raises:
        MediaError: the file cannot be read as a video, or ends before `start`.
    """
    info = video.probe(item.path)
    frames = info.frames or video.count_frames(item.path)
    if not frames:
        raise MediaError(f"{item.path}: has no frames")
    first = 0 if item.start is None else _frame_at(item.start, info.rate)
    stop = frames if item.end is None else min(frames, _frame_at(item.end, info.rate))
    if first >= stop:
        seconds = float(frames / info.rate)
        raise MediaError(f"{item.path}: has no frames from {item.start or 0:g} s on: it has {seconds:g} s")
    return Clip(item.path, item.label, stop - first, info.rate, info.height, info.width, first)


def _frame_at(seconds: float, rate: Fraction) -> int:
    """The first frame that is shown at `seconds` or later; 0.1 s means a tenth, not the float nearest to it."""
    return math.ceil(Fraction(repr(seconds)) * rate)


def scan(source: str | Path, *, progress: Callable[[int, int], None] | None = None) -> ClipIndex:
    """List and probe the clips of a data source.

    A source is a folder of videos or a list file (`sources.list_source` says how they look), a folder of
    shards as `hvg data prepare` writes, or the URL of one (`remote.resolve`). The clips of shards are
    those of their index, nothing else is opened. A file that cannot be probed is put in `skipped` with
    its reason; a class whose every file is skipped keeps its label.

    Args:
        source: path or URL.
        progress: called as `progress(done, total)` after each file.

    Raises:
        DataError: nothing usable is there, or the list or index is wrong.
        WeightsError: a URL cannot be fetched.
    """
    from hvgcli.data import remote, shards

    if (place := remote.resolve(source)) is not None:
        return shards.read_index(place)
    path = Path(source)
    if (local := shards.local_place(path)) is not None:
        return shards.read_index(local)
    listing = list_source(path)
    clips: list[Clip] = []
    skipped: list[tuple[Path, str]] = []
    for done, item in enumerate(listing.items, start=1):
        try:
            clips.append(probe(item))
        except MediaError as error:
            skipped.append((item.path, str(error)))
        if progress is not None:
            progress(done, len(listing.items))
    if not clips:
        reason = f"none of its {len(listing.items)} videos can be read (first: {skipped[0][1]})"
        raise DataError(f"{path}: {reason}: expected {EXPECTED}")
    return ClipIndex(tuple(clips), listing.classes, tuple(skipped))
