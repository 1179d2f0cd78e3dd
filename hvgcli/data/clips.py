"""The clips of a data folder: which video files there are, their sizes, rates and classes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from hvgcli import video
from hvgcli.errors import DataError, MediaError

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif", ".m4v")
EXPECTED = f"a folder of class folders of videos, or a folder of videos ({' '.join(s[1:] for s in SUFFIXES)})"


@dataclass(frozen=True)
class Clip:
    """One video file that training can draw from."""

    path: Path
    label: int | None
    """Index of its class, None in a folder without classes."""
    frames: int
    rate: Fraction
    """Frames per second."""
    height: int
    width: int
    """Pixels, as displayed: after rotation, without the pixel aspect."""


@dataclass(frozen=True, eq=False)
class ClipIndex:
    """The usable clips of a folder in a stable order. Compared by identity, so that it hashes at no cost."""

    clips: tuple[Clip, ...]
    classes: tuple[str, ...]
    """Names of the class folders; empty in a folder without classes."""
    skipped: tuple[tuple[Path, str], ...] = ()
    """Files that could not be probed, each with the reason."""


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts `clip2` before `clip10`; names equal but for case keep one fixed order."""
    parts = re.split(r"([0-9]+)", name.casefold())
    key = tuple((1, int(part), part) if index % 2 else (0, 0, part) for index, part in enumerate(parts))
    return (*key, (2, 0, name))


def _entries(folder: Path) -> list[Path]:
    """Visible entries of a folder in natural order; DataError when it cannot be listed."""
    try:
        visible = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{folder}: cannot list the folder ({error.strerror}): expected {EXPECTED}") from error
    return sorted(visible, key=lambda entry: natural_key(entry.name))


def _videos(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if entry.suffix.lower() in SUFFIXES and not entry.is_dir()]


def _probe(path: Path, label: int | None) -> Clip:
    info = video.probe(path)
    frames = info.frames or video.count_frames(path)
    if not frames:
        raise MediaError(f"{path}: has no frames")
    return Clip(path, label, frames, info.rate, info.height, info.width)


def _files(root: Path, folders: list[Path]) -> Iterator[tuple[Path, int | None]]:
    if not folders:
        yield from ((path, None) for path in _videos(root))
    for label, folder in enumerate(folders):
        yield from ((path, label) for path in _videos(folder))


def scan(root: Path, *, progress: Callable[[int, int], None] | None = None) -> ClipIndex:
    """List and probe the clips of `root`.

    `root` holds one folder a class, or, when no folder in it holds videos, videos without classes.
    Order is natural (`clip2` before `clip10`) and does not depend on the file system. Hidden files
    and folders are left out; links to files are followed. A file that cannot be probed is put in
    `skipped` with its reason. A class folder whose every file is skipped keeps its label.

    Args:
        root: the data folder.
        progress: called as `progress(done, total)` after each file.

    Raises:
        DataError: the folder is missing, mixes loose videos with class folders, or holds no usable clip.
    """
    if not root.is_dir():
        raise DataError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}: expected {EXPECTED}")
    folders = [entry for entry in _entries(root) if entry.is_dir() and _videos(entry)]
    if folders and _videos(root):
        raise DataError(f"{root}: has videos beside class folders ({folders[0].name}, ...): expected {EXPECTED}")
    files = list(_files(root, folders))
    clips: list[Clip] = []
    skipped: list[tuple[Path, str]] = []
    for done, (path, label) in enumerate(files, start=1):
        try:
            clips.append(_probe(path, label))
        except MediaError as error:
            skipped.append((path, str(error)))
        if progress is not None:
            progress(done, len(files))
    if not clips:
        reason = f"none of its {len(files)} videos can be read (first: {skipped[0][1]})" if files else "has no videos"
        raise DataError(f"{root}: {reason}: expected {EXPECTED}")
    return ClipIndex(tuple(clips), tuple(folder.name for folder in folders), tuple(skipped))
