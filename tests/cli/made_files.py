"""What a call of `hvg generate` made, read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def made(result: tuple[int, str, str]) -> list[str]:
    """The paths on stdout of a call that went well."""
    code, out, err = result
    assert code == 0, err
    return out.splitlines()


def picture(path: object) -> np.ndarray:
    with Image.open(str(path)) as image:
        return np.asarray(image)


def frames(path: object) -> np.ndarray:
    """The frames that were written, without the loss of an encoder: a folder of PNG."""
    return np.stack([picture(file) for file in sorted(Path(str(path)).glob("*.png"))])
