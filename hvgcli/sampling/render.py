"""Samples -> video files: pieces of frames go to the writers as they come, so memory does not grow with length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from hvgcli.errors import MediaError
from hvgcli.sampling.hierarchy import Hierarchy, Sample, generate
from hvgcli.video import Frames, VideoWriter, tile

Watch = Callable[[int, int, Frames], None]
"""Called with the number of a sample, the index of its first new frame, and those frames `(n, H, W, 3)`."""
Make = Callable[[range], Iterator[Frames]]
"""Makes the videos of a range of numbers, in pieces `(B, n, H, W, 3)`."""


@dataclass(frozen=True)
class Request:
    """What is asked of every video of a call."""

    frames: int
    sigma: float
    levels: int
    """Stop after this level."""
    batch: int = 1
    """Videos that are computed at a time; like `piece`, it changes memory and speed, not the videos."""
    piece: int = 12
    """Outline frames that are computed at a time."""


def to_pixels(video: Tensor) -> Frames:
    """`(B, T, 3, H, W)` in [-1, 1] -> uint8 `(B, T, H, W, 3)`."""
    pixels = video.permute(0, 1, 3, 4, 2).mul(127.5).add_(127.5).round_().clamp_(0, 255).to(torch.uint8)
    array: Frames = pixels.cpu().numpy()
    return array


def stream(hierarchy: Hierarchy, samples: Sequence[Sample], request: Request) -> Iterator[Frames]:
    """The videos of a batch of samples, in pieces `(B, n, H, W, 3)`."""
    pieces = generate(
        hierarchy,
        samples,
        request.frames,
        sigma=request.sigma,
        levels=request.levels,
        piece=request.piece,
    )
    for piece in pieces:
        yield to_pixels(piece)


def batches(count: int, size: int) -> list[range]:
    """0 .. count-1 in ranges of at most `size`."""
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


class _Output:
    """A writer that keeps its failure to itself, so that the other videos of a batch go on."""

    def __init__(self, writer: VideoWriter) -> None:
        self.writer = writer
        self.error: MediaError | None = None
        self._scope = ExitStack()

    def __enter__(self) -> Self:
        self._attempt(lambda: self._scope.enter_context(self.writer))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._scope.__exit__(kind, value, traceback)

    def write(self, frames: Frames) -> None:
        self._attempt(lambda: self.writer.write(frames))

    def finish(self) -> None:
        self._attempt(self._scope.close)

    def _attempt(self, action: Callable[[], object]) -> None:
        if self.error is not None:
            return
        try:
            action()
        except MediaError as error:
            self.error = error
            self._scope.__exit__(MediaError, error, None)  # throws away what was written


def render_each(
    make: Make,
    writers: Sequence[VideoWriter],
    batch: int,
    *,
    watch: Watch,
    finished: Callable[[int, MediaError | None], None],
) -> None:
    """Write video i to writer i, `batch` of them at a time. One that cannot be written does not stop the others.

    finished is called with the number of each video when it is complete, and with its error if it failed.
    """
    for numbers in batches(len(writers), batch):
        chosen = [writers[number] for number in numbers]
        write_clips(make(numbers), chosen, watch=_counted(watch, numbers), finished=_counted(finished, numbers))


def _counted(call: Callable[..., None], numbers: Sequence[int]) -> Callable[..., None]:
    """`call` with the number of a video among all, for its index in a batch."""
    return lambda index, *values: call(numbers[index], *values)


def write_clips(
    pieces: Iterable[Frames | Sequence[Frames]],
    writers: Sequence[VideoWriter],
    *,
    watch: Watch,
    finished: Callable[[int, MediaError | None], None],
) -> None:
    """Write clip i of every piece to writer i, each `(n, H, W, 3)`. `watch` and `finished` as in `render_each`."""
    with ExitStack() as stack:
        outputs = [stack.enter_context(_Output(writer)) for writer in writers]
        start = 0
        for clips in pieces:
            for index, (sink, clip) in enumerate(zip(outputs, clips, strict=True)):
                sink.write(clip)
                watch(index, start, clip)
            start += len(clips[0])
            if all(sink.error for sink in outputs):
                break
        for index, sink in enumerate(outputs):
            sink.finish()
            finished(index, sink.error)


def render_grid(make: Make, count: int, writer: VideoWriter, batch: int, *, columns: int, watch: Watch) -> None:
    """`count` videos side by side in one; their batches advance together, piece by piece."""
    streams = [make(numbers) for numbers in batches(count, batch)]
    start = 0
    with writer:
        for parts in zip(*streams, strict=True):
            clips = np.concatenate(parts)  # (N, n, H, W, 3)
            writer.write(np.stack([tile(clips[:, frame], columns) for frame in range(clips.shape[1])]))
            for number, clip in enumerate(clips):
                watch(number, start, clip)
            start += clips.shape[1]


class ContactSheet:
    """Evenly spread frames of every video, one row a video."""

    def __init__(self, videos: int, frames: int, count: int) -> None:
        """count: frames of each video, from its first to its last."""
        count = min(count, frames)
        self.wanted = [round(step * (frames - 1) / max(count - 1, 1)) for step in range(count)]
        self._rows: list[dict[int, Frames]] = [{} for _ in range(videos)]

    def watch(self, number: int, start: int, clip: Frames) -> None:
        for frame in self.wanted:
            if start <= frame < start + len(clip):
                self._rows[number][frame] = clip[frame - start].copy()

    def image(self) -> Frames | None:
        """The sheet, uint8 `(H, W, 3)`; None when no video was completed."""
        rows = [[row[frame] for frame in self.wanted] for row in self._rows if len(row) == len(set(self.wanted))]
        return tile(np.stack([frame for row in rows for frame in row]), len(self.wanted)) if rows else None
