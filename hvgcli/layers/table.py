"""Which row of a table of standing statistics belongs to which frame, for a video of any length."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RowLayout:
    """Rows = `head` (one a frame), then `period` (the body, one a phase), then `tail` (the last frames).

    A convolutional level is the same everywhere but near its ends and within the period of the
    repeated frames, so head + body + tail serve any length; a recurrent level has no tail, and its
    body holds beyond the horizon that was measured. With period 0 the table is for one length only.
    """

    head: int
    period: int = 0
    tail: int = 0

    @property
    def size(self) -> int:
        return self.head + self.period + self.tail

    def serves(self, total: int) -> bool:
        """Whether a video of `total` frames has a row for each of its frames."""
        return self.period > 0 or total <= self.head + self.tail

    def index(self, start: int, count: int, total: int) -> Tensor:
        """Rows `(count,)` of frames start .. start+count-1 of a video of `total` frames."""
        frame = torch.arange(start, start + count)
        body = self.head + (frame - self.head) % max(self.period, 1)
        rows = torch.where(frame < self.head, frame, body)
        from_end = total - frame  # 1 = the last frame
        # A short video has its end before the head is over; its last frames still are the end.
        return torch.where(from_end <= self.tail, self.size - from_end, rows)
