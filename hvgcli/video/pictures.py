"""Pictures: arrays of frames, PNG files, the comment of a gif, contact sheets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hvgcli.video.files import beside, system_errors

Frames = np.ndarray[Any, np.dtype[np.uint8]]
"""uint8 (H, W, 3), or (T, H, W, 3) for several."""
FIRST_FRAME = "000000.png"


def comment_tag(metadata: Mapping[str, Any] | None) -> dict[str, str]:
    """The tag that carries provenance in every format: JSON with one key "hvg"."""
    return {"comment": json.dumps({"hvg": dict(metadata)})} if metadata else {}


def save_png(file: Path, image: Frames, tags: Mapping[str, str]) -> None:
    """Write a PNG with `tags` as text chunks."""
    from PIL import Image, PngImagePlugin

    chunks = PngImagePlugin.PngInfo()
    for key, value in tags.items():
        chunks.add_text(key, value)
    Image.fromarray(image).save(file, format="PNG", pnginfo=chunks, compress_level=4)


def write_image(path: Path, image: Frames, metadata: Mapping[str, Any] | None = None) -> None:
    """Write uint8 (H, W, 3) RGB as a PNG: whole or not at all. An existing file is replaced.

    Args:
        metadata: provenance, JSON values; read back by `provenance`.

    Raises:
        MediaError: the file cannot be written.
    """
    part = beside(path)
    with system_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_png(part, image, comment_tag(metadata))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def _gif_header_size(data: bytes) -> int:
    """Bytes before the first frame: header, global palette, and the block that makes the gif loop."""
    end = 13 + (3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    return end + 19 if data[end : end + 14] == b"\x21\xff\x0bNETSCAPE2.0" else end


def add_gif_comment(source: Path, target: Path, comment: str) -> None:
    """Copy a gif with `comment` put before its first frame, as a comment block (none if it is empty)."""
    text = comment.encode()
    parts = [text[i : i + 255] for i in range(0, len(text), 255)]  # a sub-block is its length and up to 255 bytes
    block = b"\x21\xfe" + b"".join(bytes([len(part)]) + part for part in parts) + b"\x00" if parts else b""
    with source.open("rb") as old, target.open("wb") as new:
        size = _gif_header_size(old.read(1024))
        old.seek(0)
        new.write(old.read(size) + block)
        shutil.copyfileobj(old, new)


def tile(frames: Frames, columns: int, gap: int = 2) -> Frames:
    """Lay frames out in rows, as a contact sheet.

    Args:
        frames: uint8 (N, H, W, 3).
        columns: frames in a row; the last row may be shorter.
        gap: white pixels between neighbours.

    Returns:
        uint8 (rows * (H + gap) - gap, columns * (W + gap) - gap, 3).
    """
    count, height, width, _ = frames.shape
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for number, frame in enumerate(frames):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        sheet[top : top + height, left : left + width] = frame
    return sheet
