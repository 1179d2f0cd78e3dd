"""Shards behind a URL or a pipe: copied whole into the cache, verified, and only then read.

What WebDataset's `gopen` takes is taken: http(s), s3-like schemes of its plug-ins, and
`pipe:COMMAND`, a command of the user's own whose output is the file.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import IO, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from hvgcli.data.shards import INDEX, INDEX_LIMIT, LocalPlace, Place
from hvgcli.errors import MediaError, ResourceError, UsageError, WeightsError
from hvgcli.hub import cache_folder

LIMIT = 32 * 10**9  # bytes of shards that the cache keeps
LIMIT_VARIABLE = "HVG_SHARD_CACHE_GB"
TRIES, PAUSE = 3, 1.0  # of a fetch, and seconds before the second one (twice that before the third)
CHUNK = 1 << 20
ABANDONED = 24 * 3600  # seconds after which an unfinished copy is thrown away


def resolve(source: str | Path) -> Place | None:
    """The place that a URL names: of the index, of the folder that it is in, or a pipe with `{}`; None for a path.

    In a URL without `{}` the last part, if it is index.json, is replaced by a shard's name; what follows
    a question mark stays. In `pipe:` commands `{}` stands for the name of the file.

    Raises:
        UsageError: a pipe without `{}`.
    """
    if not isinstance(source, str) or not re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", source):
        return None
    if source.startswith("file:"):
        path = Path(unquote(urlsplit(source).path))
        return LocalPlace(path.parent if path.name == INDEX else path)
    if source.startswith("pipe:"):
        if "{}" not in source:
            raise UsageError(f"--data {source!r} needs {{}} where the name of the file goes, as in 'pipe:cat set/{{}}'")
    elif "://" not in source:
        return None
    return RemotePlace(source)


@dataclass(frozen=True, eq=False)
class RemotePlace:
    """A set of shards behind a URL."""

    url: str
    _lock: Lock = field(default_factory=Lock, repr=False)

    @property
    def name(self) -> str:
        """The URL without what may be secret in it."""
        if self.url.startswith("pipe:"):
            return self.url
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")).rstrip("/")

    def address(self, file: str) -> str:
        """The URL of a file of the set."""
        if "{}" in self.url:
            return self.url.replace("{}", file)
        parts = urlsplit(self.url)
        folder = parts.path.removesuffix(INDEX).rstrip("/")
        return urlunsplit(parts._replace(path=f"{folder}/{file}"))

    def index(self) -> Path:
        """A fresh copy of the index: it is fetched anew by every process."""
        folder = _folder()
        path = folder / f"index-{hashlib.sha256(self.url.encode()).hexdigest()[:16]}.json"
        _fetch(self.address(INDEX), path, lambda size, sha: "", INDEX_LIMIT)
        return path

    def shard(self, name: str, size: int, sha256: str) -> Path:
        """A verified copy of a shard, under its checksum; the least recently used ones give way to it.

        Raises:
            MediaError: what was fetched differs from its checksum, also when fetched again.
            WeightsError: it cannot be fetched.
            ResourceError: there is no room for it.
        """
        path = _folder() / f"{sha256}.tar"
        with self._lock, _locked(path.with_suffix(".lock")):
            if not _usable(path, size):
                _make_room(size)
                _fetch(self.address(name), path, lambda got, sha: _difference(got, sha, size, sha256), size)
        with suppress(OSError):  # the time of the last use
            os.utime(path)
        return path


def _difference(size: int, sha: str, expected_size: int, expected: str) -> str:
    if size != expected_size:
        return f"is {size} bytes or more, not {expected_size}"
    return "" if sha == expected else "differs from its checksum"


def _usable(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


# ---- fetching ----------------------------------------------------------------------------------


def _opener() -> Callable[..., Any]:
    try:
        from webdataset.gopen import gopen
    except ImportError as error:
        raise WeightsError("data behind a URL needs webdataset: pip install 'hvgcli[train]'") from error
    return gopen  # type: ignore[no-any-return]


def _fetch(address: str, path: Path, check: Callable[[int, str], str], limit: int) -> None:
    """Copy what is at `address` to `path`, atomically, if `check(bytes, sha256)` finds nothing wrong with it."""
    opener, shown = _opener(), address if address.startswith("pipe:") else address.split("?")[0]
    wrong: str | None = None
    problem: Exception | None = None
    for attempt in range(TRIES):
        time.sleep(attempt * PAUSE)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with opener(address, "rb") as source:
                size, sha = _copy(source, part, limit)
            if not (wrong := check(size, sha)):
                os.replace(part, path)
                return
        except ResourceError:
            raise
        except Exception as error:  # whatever the plug-in of a scheme raises; the last one is told
            problem, wrong = error, None
        finally:
            part.unlink(missing_ok=True)
    if wrong:
        raise MediaError(f"{shown}: {wrong}: it was fetched {TRIES} times")
    raise WeightsError(f"{shown} cannot be fetched ({_told(problem)}): check the address and the network")


def _told(problem: Exception | None) -> str:
    """What an opener says, without the list of its arguments."""
    found = re.search(r"exit (-?\d+)", str(problem))
    return f"its command ended with status {found[1]}" if found else f"{problem}"


def _copy(source: IO[bytes], part: Path, limit: int) -> tuple[int, str]:
    """Copy at most `limit` bytes and one more, which tells that there are too many; size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    with _room(part), part.open("wb") as file:
        while size <= limit and (data := _read(source, min(CHUNK, limit + 1 - size))):
            digest.update(data)
            size += file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()


class _SourceError(Exception):
    """The source broke off, as opposed to the file that is written."""


def _read(source: IO[bytes], size: int) -> bytes:
    try:
        return source.read(size)
    except OSError as error:
        raise _SourceError(str(error)) from error


@contextmanager
def _room(path: Path) -> Iterator[None]:
    """A disk that cannot take a shard ends the run: it is no fault of a clip, to be skipped."""
    try:
        yield
    except OSError as error:
        message = f"{path.parent}: cannot keep a shard ({error.strerror}): free space there or set HVG_CACHE"
        raise ResourceError(message) from error


# ---- the cache ---------------------------------------------------------------------------------


def _folder() -> Path:
    folder = cache_folder() / "shards"
    with _room(folder / INDEX):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def cache_limit() -> int:
    """Bytes of shards that are kept: HVG_SHARD_CACHE_GB (gigabytes), 32 of them by default."""
    text = os.environ.get(LIMIT_VARIABLE)
    if not text:
        return LIMIT
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = -1.0
    if not 0 <= gigabytes < 1e9:
        raise UsageError(f"{LIMIT_VARIABLE}={text!r} must be a number of gigabytes")
    return int(gigabytes * 1e9)


def _make_room(size: int) -> None:
    """Drop the least recently used shards until one of `size` bytes fits under the limit."""
    kept = sorted((s.st_mtime, path, s.st_size) for path, s in _states(_folder().glob("*.tar")))
    total, limit = sum(bytes_ for _, _, bytes_ in kept), cache_limit()
    for _, path, bytes_ in kept:
        if total + size <= limit:
            break
        path.unlink(missing_ok=True)
        path.with_suffix(".lock").unlink(missing_ok=True)
        total -= bytes_
    for path, state in _states(_folder().glob("*.part")):
        if time.time() - state.st_mtime > ABANDONED:
            path.unlink(missing_ok=True)


def _states(paths: Iterator[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    for path in paths:
        with suppress(OSError):  # another process dropped it
            yield path, path.stat()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time fetches a shard; the others wait for it."""
    with path.open("w") as file:
        with suppress(ImportError):  # not on Windows, where a shard may be fetched twice
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
