"""Videos and pictures of a page: copied beside it, each once, checked and bounded in size."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from hvgcli.checkpoints import sha256
from hvgcli.errors import HvgError, MediaError
from hvgcli.video import probe

FOLDER = "media"
FILE_LIMIT = 64 << 20  # bytes of one file
TOTAL_LIMIT = 512 << 20  # bytes of all files of a page
KINDS = (".mp4", ".webm", ".gif", ".png")  # what browsers show


@dataclass(frozen=True)
class Medium:
    """A file of the page. Where it could not be used, `problem` says why, and the rest is empty."""

    url: str = ""
    """Relative to the page."""
    width: int = 0
    height: int = 0
    problem: str = ""

    @property
    def moves(self) -> bool:
        """Whether it is shown by a video element."""
        return self.url.endswith((".mp4", ".webm"))


@dataclass
class Media:
    """Copies files into `folder/media`, and counts their bytes."""

    folder: Path
    total: int = 0
    problems: list[str] = field(default_factory=list)
    """One line for each file that was left out."""
    _known: dict[str, Medium] = field(default_factory=dict)

    def add(self, file: Path) -> Medium:
        """Check and copy one file; what was copied before is used again."""
        try:
            return self._copy(file)
        except HvgError as error:
            self.problems.append(f"left out: {error}")
            return Medium(problem=_reason(file, error))

    def _copy(self, file: Path) -> Medium:
        size = _size(file)
        digest = sha256(file)[:16]
        if digest in self._known:
            return self._known[digest]
        if self.total + size > TOTAL_LIMIT:
            raise MediaError(f"{file}: the page has {TOTAL_LIMIT >> 20} MiB of videos and pictures already")
        found = probe(file)
        medium = Medium(f"{FOLDER}/{digest}{file.suffix.lower()}", found.width, found.height)
        try:
            (self.folder / FOLDER).mkdir(exist_ok=True)
            shutil.copyfile(file, self.folder / medium.url)
        except OSError as error:
            raise MediaError(f"cannot copy {file}: {error.strerror or error}") from error
        self.total += size
        self._known[digest] = medium
        return medium


def _size(file: Path) -> int:
    """Bytes of the file. `MediaError` where it is not there, or nothing that a page should show."""
    if not file.is_file():
        raise MediaError(f"{file} is missing")
    if file.suffix.lower() not in KINDS:
        raise MediaError(f"{file}: a page shows {', '.join(KINDS)} only")
    size = file.stat().st_size
    if size > FILE_LIMIT:
        raise MediaError(f"{file} has {size >> 20} MiB: a page takes files of at most {FILE_LIMIT >> 20} MiB")
    return size


def _reason(file: Path, error: Exception) -> str:
    """Why a file is not shown, without the folder that it was looked for in."""
    return str(error).replace(str(file), file.name)
