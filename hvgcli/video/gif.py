"""Frames of a gif as a browser shows them.

ffmpeg's decoder is not used: it clears to an opaque background colour where browsers clear to
transparent. Pillow decodes the compressed part of each frame; the parts are put together here.
Source: the GIF89a specification, sections 18 to 23.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from hvgcli.errors import MediaError
from hvgcli.video.files import reason
from hvgcli.video.limits import check_size
from hvgcli.video.pictures import Frames

SHORTEST, INSTEAD = 2, 10  # delays below 2/100 s are shown as 10/100 s, by all browsers and by ffmpeg
CLEAR, RESTORE = 2, 3  # what to do with a frame before the next: clear its place, or put back what was there
INDICES = bytes(value for index in range(256) for value in (index, 0, 255 - index))  # a palette that is no grey ramp


class Shown(NamedTuple):
    """A frame as it is shown."""

    image: Frames
    """uint8 (H, W, 3); 0 where nothing has been drawn."""
    alpha: Frames
    """uint8 (H, W), 0 or 255."""
    delay: int
    """Hundredths of a second."""


class _Control(NamedTuple):
    """A graphic control extension."""

    disposal: int = 0
    delay: int = 0
    transparent: int | None = None


class _Screen(NamedTuple):
    height: int
    width: int
    palette: bytes


class _Part(NamedTuple):
    """A frame as it is stored: a rectangle of the screen."""

    top: int
    left: int
    height: int
    width: int
    colours: Frames
    indices: Frames


class _Truncated(Exception):
    """The file ends too early."""


def _take(file: IO[bytes], count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise _Truncated
    return data


def _palette(file: IO[bytes], flags: int) -> bytes:
    return _take(file, 3 * 2 ** ((flags & 7) + 1)) if flags & 0x80 else b""


def _sub_blocks(file: IO[bytes]) -> Iterator[bytes]:
    """Data blocks, each after its length, up to the empty one."""
    while size := _take(file, 1)[0]:
        yield _take(file, size)


def _control(file: IO[bytes], before: _Control) -> _Control:
    """Read an extension: a graphic control gives a new control, others are passed over."""
    label = _take(file, 1)[0]
    data = b"".join(_sub_blocks(file))
    if label != 0xF9 or len(data) < 4:
        return before
    flags, delay, transparent = struct.unpack("<BHB", data[:4])
    return _Control(flags >> 2 & 7, delay, transparent if flags & 1 else None)


def _screen(file: IO[bytes]) -> _Screen:
    width, height, flags, _, _ = struct.unpack("<HHBBB", _take(file, 13)[6:])
    return _Screen(height, width, _palette(file, flags))


def _part(file: IO[bytes], screen: _Screen, path: Path) -> _Part:
    """Read and decode an image block."""
    left, top, width, height, flags = struct.unpack("<HHHHB", _take(file, 9))
    check_size(path, height, width)
    colours = np.frombuffer(_palette(file, flags) or screen.palette or bytes(768), np.uint8).reshape(-1, 3)
    body = _take(file, 1) + b"".join(bytes([len(block)]) + block for block in _sub_blocks(file)) + b"\0"
    return _Part(top, left, height, width, colours, _indices(height, width, flags & 0x40, body))


def _indices(height: int, width: int, interlaced: int, body: bytes) -> Frames:
    """Decompress an image (code size and blocks) by making a gif of its own of it: uint8 (H, W)."""
    from PIL import Image

    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF7, 0, 0) + INDICES
    descriptor = b"," + struct.pack("<HHHHB", 0, 0, width, height, interlaced)
    with Image.open(io.BytesIO(head + descriptor + body + b";"), formats=["GIF"]) as image:
        return np.asarray(image, np.uint8)


def _draw(canvas: Frames, part: _Part, transparent: int | None) -> tuple[slice, slice]:
    """Draw a part onto uint8 (H, W, 4), cut at the edges; the place where it went."""
    place = slice(part.top, part.top + part.height), slice(part.left, part.left + part.width)
    under = canvas[place]
    indices = part.indices[: under.shape[0], : under.shape[1]]
    drawn = indices != transparent if transparent is not None else np.ones(indices.shape, bool)
    colours = np.zeros((256, 4), np.uint8)
    colours[: len(part.colours), :3] = part.colours
    colours[:, 3] = 255
    under[drawn] = colours[indices[drawn]]
    return place


def _blocks(file: IO[bytes], path: Path) -> Iterator[tuple[_Screen, _Control, _Part]]:
    """All images of a file, each with its control."""
    screen, control = _screen(file), _Control()
    while (mark := _take(file, 1)) != b";":
        if mark == b"!":
            control = _control(file, control)
        elif mark == b",":
            yield screen, control, _part(file, screen, path)
            control = _Control()
        elif mark != b"\0":  # padding
            raise ValueError("bytes that are no block")


def is_gif(path: Path) -> bool:
    """Whether a file begins as gifs do."""
    with path.open("rb") as file:
        return file.read(6) in (b"GIF87a", b"GIF89a")


def gif_frames(path: Path) -> Iterator[Shown]:
    """All frames, each over what is left of those before it. Holds one frame in memory, or two.

    Raises:
        MediaError: the file cannot be read, is damaged or cut off; it names the frame reached.
    """
    number = 0
    try:
        with path.open("rb") as file:
            for shown in _composed(file, path):
                yield shown
                number += 1
    except _Truncated:
        raise MediaError(f"{path}: is cut off at frame {number} (the mark that ends a gif is missing)") from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise MediaError(f"{path}: is damaged at frame {number} ({reason(error)})") from error


def _composed(file: IO[bytes], path: Path) -> Iterator[Shown]:
    canvas: Frames | None = None
    for screen, control, part in _blocks(file, path):
        if canvas is None:
            size = screen.height or part.height, screen.width or part.width
            check_size(path, *size)
            canvas = np.zeros((*size, 4), np.uint8)
        before: Any = canvas.copy() if control.disposal == RESTORE else 0
        place = _draw(canvas, part, control.transparent)
        delay = control.delay if control.delay >= SHORTEST else INSTEAD
        yield Shown(canvas[..., :3].copy(), canvas[..., 3].copy(), delay)
        if control.disposal == CLEAR:
            canvas[place] = 0
        elif control.disposal == RESTORE:
            canvas = before
