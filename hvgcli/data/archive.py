"""Writes shards: tar files whose bytes depend on their clips alone."""

from __future__ import annotations

import io
import json
import tarfile
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from hvgcli.data.shards import Codec


class Encoded(NamedTuple):
    """One clip, encoded."""

    parts: list[bytes]
    """One mp4 file for h264, a JPEG file a frame for jpeg."""
    frames: int
    rate: Fraction
    height: int
    width: int


class ShardWriter:
    """Writes one tar file; use it in a `with` block. Attributes of members are fixed, for equal bytes."""

    def __init__(self, path: Path, codec: Codec, classes: Sequence[str]) -> None:
        self._codec, self._classes = codec, classes
        self._file = path.open("wb")
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._tar.close()
        finally:
            self._file.close()

    def write(self, key: str, clip: Encoded, label: int | None, source: str, start: Fraction) -> dict[str, Any]:
        """Append a clip; the record of it for the index, less its shard.

        Args:
            source: how the data source names its video.
            start: seconds of the video at which the clip begins.
        """
        record: dict[str, Any] = {
            "key": key,
            "label": label,
            "frames": clip.frames,
            "rate": str(clip.rate),
            "height": clip.height,
            "width": clip.width,
            "source": source,
            "start": str(start),
        }
        named = {**record, "class": None if label is None else self._classes[label]}
        self._add(f"{key}.json", json.dumps(named, ensure_ascii=True).encode())
        if self._codec == "h264":
            spans = [self._add(f"{key}.mp4", clip.parts[0])]
        else:
            spans = [self._add(f"{key}.{number:06d}.jpg", part) for number, part in enumerate(clip.parts)]
        return {**record, "members": spans}

    def _add(self, name: str, data: bytes) -> tuple[int, int, int]:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), 0o644
        self._tar.addfile(member, io.BytesIO(data))
        blocks = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        return self._tar.offset - blocks, len(data), zlib.crc32(data)
