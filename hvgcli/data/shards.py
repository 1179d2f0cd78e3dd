"""Shards: tar files of short clips as WebDataset has them, with an index of where each clip's bytes are.

A folder of shards holds `index.json` and `shard-000000.tar`, ... Members of one sample share a key:
`KEY.json` (label, class, frames, rate, size, source) and either `KEY.mp4`, or one `KEY.000000.jpg` a
frame. Clips are read at the offsets of the index, never unpacked, so no name in an archive is ever a
path; every read is compared with its CRC-32, because a decoder does not notice every damage.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from hvgcli.checkpoints import read_json
from hvgcli.data.clips import Clip, ClipIndex
from hvgcli.errors import DataError, MediaError, WeightsError

INDEX = "index.json"
FORMAT, FORMAT_VERSION = "hvg-shards", 1
INDEX_LIMIT = 1 << 30  # bytes of an index that are read: about three million clips
MEMBER_LIMIT = 1 << 30  # bytes of one clip or frame
SHARD_LIMIT = 1 << 40
MAX_FRAMES, MAX_SIDE = 10_000_000, 16_384
BLOCK = 512  # a tar file is a row of blocks: headers and contents begin at multiples of it

Codec = Literal["h264", "jpeg"]
Span = tuple[int, int, int]
"""Offset in the shard, bytes, CRC-32."""


class Place(Protocol):
    """Where a set of shards is: a folder, or behind a URL."""

    @property
    def name(self) -> str:
        """For messages."""

    def index(self) -> Path:
        """A local copy of the index."""

    def shard(self, name: str, size: int, sha256: str) -> Path:
        """A local copy of a shard: complete and verified, where it had to be fetched."""


@dataclass(frozen=True)
class LocalPlace:
    """A folder of shards on this machine."""

    folder: Path

    @property
    def name(self) -> str:
        return str(self.folder)

    def index(self) -> Path:
        return self.folder / INDEX

    def shard(self, name: str, size: int, sha256: str) -> Path:
        return self.folder / name


def local_place(path: Path) -> LocalPlace | None:
    """The folder of shards that `path` (the folder or its index) is; None when it is none."""
    if path.name == INDEX and path.is_file():
        return LocalPlace(path.parent)
    return LocalPlace(path) if (path / INDEX).is_file() else None


@dataclass(frozen=True, eq=False)
class Shard:
    """One tar file of a set. Compared by identity."""

    place: Place
    number: int
    file: str
    size: int
    sha256: str

    def path(self) -> Path:
        """The file, fetched first if need be.

        Raises:
            MediaError: it is damaged.
            WeightsError: it cannot be fetched.
        """
        return self.place.shard(self.file, self.size, self.sha256)


@dataclass(frozen=True, eq=False)
class Member:
    """The place of one clip in a shard. Compared by identity."""

    shard: Shard
    key: str
    codec: Codec
    spans: tuple[Span, ...]
    """One for h264, one a frame for jpeg."""
    source: str
    """How the source that it was made from named its video."""

    def read(self, numbers: Sequence[int] = (0,)) -> list[bytes]:
        """The bytes of the spans of those numbers.

        Raises:
            MediaError: the shard is missing, cut off or damaged there.
        """
        path = self.shard.path()
        try:
            with path.open("rb") as file:
                parts = []
                for number in numbers:
                    file.seek(self.spans[number][0])
                    parts.append(file.read(self.spans[number][1]))
        except OSError as error:
            raise MediaError(f"{path}: cannot be read ({error.strerror})") from error
        for number, part in zip(numbers, parts, strict=True):
            if len(part) < self.spans[number][1]:
                raise MediaError(f"{path}: is cut off in clip {self.key}")
            if zlib.crc32(part) != self.spans[number][2]:
                raise MediaError(f"{path}: is damaged in clip {self.key}")
        return parts


# ---- the index ---------------------------------------------------------------------------------


def read_record(place: Place) -> dict[str, Any]:
    """The JSON of an index, checked for its format.

    Raises:
        DataError: it is missing, no index of shards, or of a newer format.
    """
    path = place.index()
    data = read_json(path, limit=INDEX_LIMIT, error=DataError)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise DataError(f"{place.name}: its {INDEX} is not an index of shards: make one with hvg data prepare")
    version = data.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise DataError(f"{place.name}: its {INDEX} has no format version: prepare it again")
    if version > FORMAT_VERSION:
        raise DataError(
            f"{place.name}: its {INDEX} has format {version}, this hvg reads up to {FORMAT_VERSION}: update hvg"
        )
    return data


def read_index(place: Place) -> ClipIndex:
    """The clips of a set of shards. Nothing in the index is trusted.

    Raises:
        DataError: the index is missing, wrong or of a newer format, or a local shard is missing.
        WeightsError: the index cannot be fetched.
    """
    data = read_record(place)
    try:
        classes = _names(data["classes"])
        shards = [_shard(place, number, entry) for number, entry in enumerate(data["shards"])]
        codec = data["codec"]
        _require(codec in ("h264", "jpeg"), f"codec {codec!r} is unknown")
        clips = tuple(_clip(entry, shards, codec, len(classes)) for entry in data["clips"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{place.name}: its {INDEX} is wrong ({what}): prepare or copy it again") from error
    if not clips:
        raise DataError(f"{place.name}: its {INDEX} has no clips")
    if isinstance(place, LocalPlace):
        _check_files(place, shards)
    return ClipIndex(clips, classes)


def _check_files(place: LocalPlace, shards: Sequence[Shard]) -> None:
    missing = [shard.file for shard in shards if not (place.folder / shard.file).is_file()]
    if missing:
        raise DataError(
            f"{place.folder}: {len(missing)} of {len(shards)} shards are missing ({missing[0]}, ...): copy them"
        )


def _require(true: bool, message: str) -> None:
    if not true:
        raise ValueError(message)


def _whole(value: Any, low: int, high: int, name: str) -> int:
    _require(type(value) is int and low <= value <= high, f"{name} {value!r} must be {low}..{high}")
    return cast(int, value)


def _names(value: Any) -> tuple[str, ...]:
    _require(isinstance(value, list) and all(isinstance(name, str) for name in value), "classes must be names")
    return tuple(value)


def _shard(place: Place, number: int, entry: Any) -> Shard:
    name, sha = entry["file"], entry["sha256"]
    _require(
        isinstance(name, str) and re.fullmatch(r"shard-[0-9]{6,9}\.tar", name) is not None, f"{name!r} is no shard"
    )
    _require(isinstance(sha, str) and re.fullmatch(r"[0-9a-f]{64}", sha) is not None, f"{sha!r} is no sha256")
    return Shard(place, number, name, _whole(entry["bytes"], 0, SHARD_LIMIT, "bytes"), sha)


def _clip(entry: Any, shards: Sequence[Shard], codec: Codec, classes: int) -> Clip:
    shard = shards[_whole(entry["shard"], 0, len(shards) - 1, "shard")]
    key, source, label = entry["key"], entry["source"], entry["label"]
    _require(isinstance(key, str) and re.fullmatch(r"[0-9]{1,12}", key) is not None, f"{key!r} is no key")
    _require(isinstance(source, str), f"source {source!r} must be a name")
    frames = _whole(entry["frames"], 1, MAX_FRAMES, "frames")
    spans = tuple(_span(span, shard) for span in entry["members"])
    _require(len(spans) == (1 if codec == "h264" else frames), f"clip {key} has {len(spans)} members")
    rate = Fraction(str(entry["rate"]))
    _require(0 < rate <= 100_000, f"rate {rate} must be above 0")
    return Clip(
        path=Path(f"{shard.place.name}/{shard.file}/{key}"),
        label=_label(label, classes),
        frames=frames,
        rate=rate,
        height=_whole(entry["height"], 1, MAX_SIDE, "height"),
        width=_whole(entry["width"], 1, MAX_SIDE, "width"),
        member=Member(shard, key, codec, spans, source),
    )


def _label(label: Any, classes: int) -> int | None:
    if classes:
        return _whole(label, 0, classes - 1, "label")
    _require(label is None, f"label {label!r} in a set without classes")
    return None


def _span(value: Any, shard: Shard) -> Span:
    offset, size, crc = value
    _whole(offset, BLOCK, shard.size, "offset")
    _whole(size, 1, min(MEMBER_LIMIT, shard.size - offset), f"size of a clip in {shard.file}")
    return offset, size, _whole(crc, 0, 0xFFFFFFFF, "crc")


def verify(index: ClipIndex) -> list[tuple[str, str]]:
    """Compare every shard with its checksum: (file, what is wrong), the second empty for a good one."""
    from hvgcli.checkpoints import sha256

    shards = {clip.member.shard.number: clip.member.shard for clip in index.clips if clip.member is not None}
    results = []
    for _, shard in sorted(shards.items()):
        try:
            path = shard.path()
            size = path.stat().st_size
            wrong = f"has {size} bytes, not {shard.size}" if size != shard.size else ""
            wrong = wrong or ("" if sha256(path) == shard.sha256 else "differs from its checksum")
        except (MediaError, WeightsError, OSError) as error:
            wrong = str(error)
        results.append((shard.file, wrong))
    return results
