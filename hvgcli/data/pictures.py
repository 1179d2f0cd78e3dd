"""Single frames, resized and as JPEG bytes, by Pillow."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from hvgcli.errors import MediaError
from hvgcli.video import Frames


def resized(frame: Frames, size: tuple[int, int]) -> Frames:
    """uint8 (H, W, 3) resized to `size` (height, width): bilinear, antialiased, at most one step of 255 from f_s."""
    from PIL import Image

    if frame.shape[:2] == size:
        return frame
    height, width = size
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))


def write_jpeg(frame: Frames, quality: int) -> bytes:
    """uint8 (H, W, 3) RGB as a JPEG file without chroma subsampling. `quality` is 1..100."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(frame).save(out, format="JPEG", quality=quality, subsampling=0, optimize=True)
    return out.getvalue()


def read_jpeg(path: Path, data: bytes) -> Frames:
    """The frame of a JPEG file as uint8 (H, W, 3) RGB; nothing but JPEG is decoded.

    Raises:
        MediaError: it cannot be decoded; `path` names it in the message.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MediaError(f"{path}: a frame cannot be decoded ({error})") from error
