"""Where the frames of a clip change all at once: cuts between two scenes."""

from __future__ import annotations

import numpy as np

from hvgcli.video import Frames

CELLS = 8  # in each direction: means over large cells do not see noise and small movements
DIFFERENT = 0.08  # least difference of two scenes, of [0, 1]
SUDDEN = 3.0  # times the usual step from frame to frame


def find_cuts(frames: Frames) -> list[int]:
    """Numbers of the frames, uint8 (T, H, W, 3), that begin a new scene.

    Every frame is reduced to the means of 8x8 cells, less the mean of each colour, so that a change of the
    light alone is none. Between frames i - 1 and i is a cut where every frame before differs from every frame
    after by `DIFFERENT` or more, and that step is `SUDDEN` times the median of the others: so a flash is
    none, because what comes after it looks like what was before, nor is fast motion, or noise, whose steps
    are all large.
    """
    cells = _cells(frames)
    between = np.abs(cells[:, None] - cells[None]).mean(axis=(2, 3, 4))  # (T, T)
    steps = np.diagonal(between, offset=1)
    return [number for number in range(1, len(frames)) if _is_cut(between, steps, number)]


def _is_cut(between: np.ndarray, steps: np.ndarray, number: int) -> bool:
    others = np.delete(steps, number - 1)
    usual = float(np.median(others)) if len(others) else 0.0
    return bool(between[:number, number:].min() >= DIFFERENT and steps[number - 1] >= SUDDEN * usual)


def _cells(frames: Frames) -> np.ndarray:
    """Means of the cells, (T, rows, columns, 3) in [0, 1], less those of the whole frame."""
    time, height, width, _ = frames.shape
    rows, columns = min(CELLS, height), min(CELLS, width)
    cut = frames[:, : height // rows * rows, : width // columns * columns].astype(np.float64) / 255
    cells = cut.reshape(time, rows, height // rows, columns, width // columns, 3).mean(axis=(2, 4))
    centred: np.ndarray = cells - cells.mean(axis=(1, 2), keepdims=True)
    return centred
