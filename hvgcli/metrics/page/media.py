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
    """Copies files into `folder/media`, and counts their bytes. Errors: `OSError` where they cannot be written."""

    folder: Path
    file_limit: int = FILE_LIMIT
    total_limit: int = TOTAL_LIMIT
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
        size = self._size(file)
        digest = sha256(file)[:16]
        if digest in self._known:
            return self._known[digest]
        if self.total + size > self.total_limit:
            raise MediaError(f"{file}: a page takes at most {self.total_limit:,} bytes of videos and pictures")
        found = probe(file)
        medium = Medium(f"{FOLDER}/{digest}{file.suffix.lower()}", found.width, found.height)
        (self.folder / FOLDER).mkdir(exist_ok=True)
        shutil.copyfile(file, self.folder / medium.url)
        self.total += size
        self._known[digest] = medium
        return medium

    def _size(self, file: Path) -> int:
        """Bytes of the file. `MediaError` where it is not there, or nothing that a page should show."""
        if not file.is_file():
            raise MediaError(f"{file} is missing")
        if file.suffix.lower() not in KINDS:
            raise MediaError(f"{file}: a page shows {', '.join(KINDS)} only")
        size = file.stat().st_size
        if size > self.file_limit:
            raise MediaError(f"{file} has {size:,} bytes: a page takes files of at most {self.file_limit:,}")
        return size


def _reason(file: Path, error: Exception) -> str:
    """Why a file is not shown, without the folder that it was looked for in."""
    return str(error).replace(str(file), file.name)
