"""Folders of numbered PNG frames, and single PNG pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hvgcli.errors import MediaError
from hvgcli.video.files import reason
from hvgcli.video.limits import check_count, check_size
from hvgcli.video.pictures import Frames

if TYPE_CHECKING:
    from hvgcli.video.pixels import Samples

SIGNATURE = b"\x89PNG\r\n\x1a\n"
USUAL_RATE = Fraction(25)  # of pictures that do not say
ALPHA_TYPES = (4, 6)  # colour types of PNG: grey with alpha, RGB with alpha


class PngHeader(NamedTuple):
    """What stands before the pixels of a PNG."""

    height: int
    width: int
    bits: int
    """Of a sample: 1, 2, 4, 8 or 16."""
    alpha: bool
    """A channel of it, or a transparent colour."""
    animated: bool


def png_header(path: Path) -> PngHeader:
    """Read the header of a PNG file, and the names of the chunks before its pixels; MediaError for other files."""
    try:
        with path.open("rb") as file:
            if file.read(8) != SIGNATURE:
                raise MediaError(f"{path}: is not a PNG picture")
            head = file.read(25)
            if len(head) < 25 or head[4:8] != b"IHDR":
                raise MediaError(f"{path}: is cut off in its header")
            width, height = (int.from_bytes(head[at : at + 4]) for at in (8, 12))
            names = []
            while len(chunk := file.read(8)) == 8 and chunk[4:] not in (b"IDAT", b"IEND"):
                names.append(chunk[4:])
                file.seek(int.from_bytes(chunk[:4]) + 4, 1)
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({reason(error)})") from error
    check_size(path, height, width)
    return PngHeader(height, width, head[16], head[17] in ALPHA_TYPES or b"tRNS" in names, b"acTL" in names)


def is_png(path: Path) -> bool:
    """Whether a file begins as PNGs do."""
    with path.open("rb") as file:
        return file.read(8) == SIGNATURE


def numbered_files(folder: Path) -> tuple[Path, ...]:
    """The PNG files of a folder in the order of their numbers; numbers that are left out are passed over.

    Each name is the same text, then digits, as many as it likes: `7.png`, `frame_000010.png`.

    Raises:
        MediaError: no PNG file, one without a number, names with different texts, a number twice.
    """
    try:
        files = [file for file in folder.iterdir() if file.suffix.lower() == ".png" and not file.name.startswith(".")]
    except OSError as error:
        raise MediaError(f"{folder}: cannot be read ({reason(error)})") from error
    if not files:
        raise MediaError(f"{folder}: is a folder without PNG frames, such as 000000.png: name a folder that has some")
    check_count(folder, len(files))
    numbered: dict[int, Path] = {}
    texts: dict[str, Path] = {}
    for file in sorted(files):
        found = re.fullmatch(r"(.*?)(\d+)", file.stem, re.ASCII | re.DOTALL)
        if found is None or len(found[2]) > 18:
            raise MediaError(f"{file}: has no number at the end of its name: put other pictures in another folder")
        texts.setdefault(found[1], file)
        other = numbered.setdefault(int(found[2]), file)
        if len(texts) > 1:
            names = " and ".join(file.name for file in texts.values())
            raise MediaError(f"{folder}: has frames of several clips ({names}): put each in a folder of its own")
        if other != file:
            raise MediaError(f"{folder}: has a frame twice ({other.name} and {file.name}): remove one")
    return tuple(file for _, file in sorted(numbered.items()))


def stated_rate(path: Path) -> Fraction | None:
    """Frames per second by the text chunk "rate" that `VideoWriter` stores; None without one that makes sense."""
    from hvgcli.video.tags import read_metadata

    found = re.fullmatch(r"(\d{1,9})(?:/(\d{1,9}))?", read_metadata(path).get("rate", ""), re.ASCII)
    if found is None or not int(found[1]) or not int(found[2] or 1):
        return None
    return Fraction(int(found[1]), int(found[2] or 1))


def read_png(path: Path, header: PngHeader) -> tuple[Samples, Frames | None]:
    """The pixels of a PNG as `pixels.full_rgb` gives those of a video frame; MediaError where it is damaged."""
    if header.bits == 16:
        return _deep_png(path)
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            array = np.asarray(image.convert("RGBA" if header.alpha else "RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise MediaError(f"{path}: is damaged or cut off ({reason(error)})") from error
    return np.ascontiguousarray(array[..., :3]), np.ascontiguousarray(array[..., 3]) if header.alpha else None


def _deep_png(path: Path) -> tuple[Samples, Frames | None]:
    """16 bits a sample, which Pillow cuts to 8."""
    from hvgcli.video.opening import decoded, opened
    from hvgcli.video.pixels import full_rgb

    with opened(path) as (container, stream):
        for frame in decoded(container, stream, path):
            return full_rgb(frame)
    raise MediaError(f"{path}: has no pixels")


def png_frames(files: tuple[Path, ...], *, alpha: bool, deep: bool) -> Iterator[tuple[Samples, Frames | None]]:
    """The pixels of PNG files, all of one size.

    Args:
        alpha: whether to give alpha, 255 where a file has none.
        deep: whether to give uint16 over the whole range, also for files of 8 bits.

    Raises:
        MediaError: a file is damaged, or of another size than the first.
    """
    size: tuple[int, int] | None = None
    for file in files:
        header = png_header(file)
        size = size or header[:2]
        if header[:2] != size:
            expected = f"{size[1]}x{size[0]} as the first frame"
            raise MediaError(
                f"{file}: is {header.width}x{header.height} pixels, not {expected}: split the folder there"
            )
        image, mask = read_png(file, header)
        if deep and image.dtype == np.uint8:
            image = image.astype(np.uint16) * 257
        if alpha and mask is None:
            mask = np.full(size, 255, np.uint8)
        yield image, mask if alpha else None
