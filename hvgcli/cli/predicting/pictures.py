"""The frames of `hvg predict`'s videos: borders that tell real frames from made ones, the truth beside them, grids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from hvgcli.video import Frames, tile

REAL, MADE, NOTHING = (0, 160, 60), (210, 40, 40), (0, 0, 0)  # colours of the borders
BORDER_SHARE = 32  # a border is this part of the frame, and at least `LEAST_BORDER`
LEAST_BORDER = 2  # pixels; even, so that no 2x2 block of chroma has both border and frame


def bordered(frames: Frames, width: int, colour: tuple[int, int, int]) -> Frames:
    """uint8 (..., H, W, 3) with `width` pixels of a colour around each: (..., H + 2 width, W + 2 width, 3)."""
    *many, height, across, _ = frames.shape
    framed = np.empty((*many, height + 2 * width, across + 2 * width, 3), np.uint8)
    framed[:] = colour
    framed[..., width : width + height, width : width + across, :] = frames
    return framed


@dataclass(frozen=True)
class Layout:
    """How a video's frames are put together."""

    size: int
    """Height and width of a frame of the model."""
    count: int
    """Continuations in the video: 1, or those of a grid."""
    plain: bool
    """Without borders."""
    compare: bool
    """With the truth, on the left of a single continuation, in the first cell of a grid."""

    @property
    def border(self) -> int:
        """Pixels around each frame."""
        return 0 if self.plain else max(LEAST_BORDER, self.size // BORDER_SHARE // 2 * 2)

    @property
    def columns(self) -> int:
        """Cells in a row."""
        cells = self.count + self.compare
        return -int(-(cells**0.5) // 1) if self.count > 1 else cells

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of the video."""
        height, width = self.real(np.zeros((1, self.size, self.size, 3), np.uint8)).shape[1:3]
        return height, width

    def real(self, frames: Frames) -> Frames:
        """The context, uint8 (n, D, D, 3): the same in each cell."""
        cell = bordered(frames, self.border, REAL)
        return self._put([cell] * (self.count + self.compare))

    def made(self, clips: Sequence[Frames], truth: Frames | None = None) -> Frames:
        """Continuations, each (n, D, D, 3), and the truth of the same frames, of which the last may be missing."""
        cells = [bordered(clip, self.border, MADE) for clip in clips]
        if self.compare:
            cells.insert(0, self._true_cell(truth, cells[0]))
        return self._put(cells)

    def _true_cell(self, truth: Frames | None, other: Frames) -> Frames:
        """As many frames as the `other` cell has: black where the clip has ended."""
        cell = np.zeros_like(other)
        if truth is not None and len(truth):
            cell[: len(truth)] = bordered(truth, self.border, REAL)
        return cell

    def _put(self, cells: Sequence[Frames]) -> Frames:
        """Cells (n, h, w, 3) side by side."""
        if len(cells) == 1:
            return cells[0]
        return np.stack([tile(np.stack(moment), self.columns) for moment in zip(*cells, strict=True)])


def next_frames(frames: Iterator[Frames], count: int) -> Frames | None:
    """The next `count` frames of a clip as one array, fewer where it ends; None where it has ended."""
    found = list(islice(frames, count))
    return np.stack(found) if found else None
