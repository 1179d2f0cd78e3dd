"""Decoded frames as upright RGB, at their full depth, with alpha."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from hvgcli.video.colour import FULL_RANGE, UNTAGGED, WEIGHTS
from hvgcli.video.pictures import Frames

if TYPE_CHECKING:
    from collections.abc import Mapping

    from av.buffer import Buffer
    from av.video.format import VideoFormat
    from av.video.frame import VideoFrame

Samples = np.ndarray[Any, np.dtype[Any]]

EXACT = 0x4 | 0x2000 | 0x40000  # swscale: bicubic chroma, full resolution, exact rounding; else 1/255 too dark
PLANAR_DEPTHS = (9, 10, 12, 14, 16)  # bits for which there is a 4:4:4 format
PLANAR_ALPHA_DEPTHS = (9, 10, 12, 16)


class Orientation(NamedTuple):
    """How a stored frame becomes upright: first transposed, then mirrored."""

    transpose: bool = False
    mirror_rows: bool = False
    mirror_columns: bool = False

    @property
    def rotation(self) -> int:
        """Degrees counterclockwise, 0, 90, 180 or -90, that come before the mirroring, where there is one."""
        if self.transpose:
            return 90 if self.mirror_rows else -90
        return 180 if self.mirror_rows else 0

    @property
    def mirrored(self) -> bool:
        """Whether left and right are exchanged after the rotation."""
        return self.transpose == (self.mirror_rows == self.mirror_columns)


def orientation(frame: VideoFrame) -> Orientation:
    """The display matrix of a frame, to the nearest quarter turn, mirrored or not.

    Source: ISO/IEC 14496-12, section 6.2.2: a stored pixel (p, q) is shown at (a p + c q, b p + d q).
    """
    try:
        side_data = cast("Mapping[str, Buffer]", frame.side_data)
    except ValueError:  # it has a kind that PyAV does not know (18.1: Exif, in pictures of cameras)
        return _turned(frame.rotation)
    try:
        matrix = side_data["DISPLAYMATRIX"]
        a, b, _, c, d = struct.unpack("=9i", bytes(matrix))[:5]
    except (KeyError, struct.error):
        return Orientation()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, mirror_rows=d < 0, mirror_columns=a < 0)
    return Orientation(True, mirror_rows=b < 0, mirror_columns=c < 0)


def _turned(degrees: int) -> Orientation:
    """A turn counterclockwise, to the nearest quarter; PyAV does not tell whether there is a mirroring too."""
    quarters = round(degrees / 90) % 4
    return Orientation(quarters % 2 == 1, mirror_rows=quarters in (1, 2), mirror_columns=quarters in (2, 3))


def upright(image: Samples, turn: Orientation) -> Samples:
    """An image (H, W) or (H, W, C) as it is shown."""
    if turn.transpose:
        image = image.swapaxes(0, 1)
    if turn.mirror_rows:
        image = image[::-1]
    if turn.mirror_columns:
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def bits_of(form: VideoFormat) -> int:
    """Bits of the deepest component: 8 for all up to 8, at most 16."""
    return min(max(8, *(component.bits for component in form.components)), 16)


def has_alpha(form: VideoFormat) -> bool:
    """Whether frames of a format carry alpha. A palette does not count: video hardly ever means it so."""
    return not form.has_palette and any(component.is_alpha for component in form.components)


def upright_rgb(frame: VideoFrame) -> Frames:
    """A frame as upright uint8 (H, W, 3), by the colour matrix and range that it is tagged with."""
    array = cast(Frames, frame.to_ndarray(format="rgb24", interpolation=EXACT))
    return upright(array, orientation(frame))


def full_rgb(frame: VideoFrame) -> tuple[Samples, Frames | None]:
    """A frame as upright RGB at its own depth, and its alpha.

    Returns:
        (H, W, 3), uint8 for formats of up to 8 bits, else uint16 over the whole range 0 .. 65535; and
        uint8 (H, W), or None where the format has no alpha.
    """
    image, alpha = _deep_rgb(frame) if bits_of(frame.format) > 8 else _plain_rgb(frame)
    turn = orientation(frame)
    return upright(image, turn), None if alpha is None else upright(alpha, turn)


def _array(frame: VideoFrame, form: str) -> Samples:
    return cast(Samples, frame.to_ndarray(format=form, interpolation=EXACT))


def _plain_rgb(frame: VideoFrame) -> tuple[Samples, Frames | None]:
    if not has_alpha(frame.format):
        return _array(frame, "rgb24"), None
    array = _array(frame, "rgba")
    return array[..., :3], array[..., 3]


def _deep_rgb(frame: VideoFrame) -> tuple[Samples, Frames | None]:
    """More than 8 bits. swscale only brings chroma to full size: its 16-bit RGB is up to 1/256 too dark."""
    form, alpha = frame.format, has_alpha(frame.format)
    bits = bits_of(form)
    if form.is_rgb or len(form.components) < 3:  # RGB, grey
        array = _array(frame, "rgba64le" if alpha else "rgb48le")
        image = _stretched(array[..., :3], bits)
        return image, (array[..., 3] >> 8).astype(np.uint8) if alpha else None
    depth = next(d for d in (PLANAR_ALPHA_DEPTHS if alpha else PLANAR_DEPTHS) if d >= bits)
    planar = frame.reformat(format=f"yuv{'a' if alpha else ''}444p{depth}le", interpolation=EXACT)
    planes = [_plane(planar, number) for number in range(4 if alpha else 3)]
    image = _rgb_of(planes[:3], int(frame.colorspace), frame.color_range == FULL_RANGE, depth)
    return image, (planes[3] >> (depth - 8)).astype(np.uint8) if alpha else None


def _stretched(array: Samples, bits: int) -> Samples:
    """uint16 whose lower bits swscale left empty, over the whole range."""
    if bits == 16:
        return array
    whole: Samples = np.rint(np.minimum(array * (65535 / (65536 - 2 ** (16 - bits))), 65535)).astype(np.uint16)
    return whole


def _plane(frame: VideoFrame, number: int) -> Samples:
    plane = frame.planes[number]
    rows: Samples = np.frombuffer(memoryview(plane), "<u2").reshape(-1, plane.line_size // 2)
    return rows[: plane.height, : plane.width]


def _rgb_of(planes: list[Samples], matrix: int, full: bool, bits: int) -> Samples:
    """Y, Cb and Cr codes of `bits` bits as uint16 RGB over the whole range; the inverse of `coded_planes`."""
    red, blue = WEIGHTS.get(matrix, UNTAGGED)
    unit, top = 2 ** (bits - 8), 2**bits - 1
    luma = (planes[0].astype(np.float32) - (0 if full else 16 * unit)) / (top if full else 219 * unit)
    cb, cr = ((plane.astype(np.float32) - 128 * unit) / (top if full else 224 * unit) for plane in planes[1:])
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    g = (luma - red * r - blue * b) / (1 - red - blue)
    image: Samples = np.rint(np.clip(np.stack([r, g, b], axis=-1), 0, 1) * 65535).astype(np.uint16)
    return image
