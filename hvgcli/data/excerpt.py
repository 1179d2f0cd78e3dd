"""What a predictor sees of a clip: the frames before a moment, at the model's rate and square size, and the true
frames after it.

A moment is in seconds from the first frame. Frames are taken by their times, so that any rate, also a
variable one, becomes the model's: of each wanted time, the frame that is shown nearest to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import torch

from hvgcli.data.cache import resize_uint8
from hvgcli.errors import HvgError, MediaError, UsageError
from hvgcli.video import Footage, Frames, TimedFrame, timed_frames
from hvgcli.video.clock import Clock


def nearest_frame(clock: Clock, time: Fraction) -> int:
    """Number of the frame whose time is nearest to `time` (seconds by the file's clock), of two the earlier."""
    low, high = 0, clock.count - 1  # the first frame at `time` or later, the last one where there is none
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if clock.time(middle) < time else (low, middle)
    return low - 1 if low and time - clock.time(low - 1) <= clock.time(low) - time else low


@dataclass(frozen=True)
class Excerpt:
    """The frames of a clip around the moment at which a continuation begins."""

    footage: Footage
    rate: Fraction
    """Frames per second to take."""
    moment: Fraction
    """Seconds from the first frame to the first frame of the continuation."""
    context: int
    """Frames before the moment."""

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of the context's frames in the file, the last 1 / rate before the moment. They rise or repeat.

        Raises:
            MediaError: the clip has fewer frames.
            UsageError: fewer come before the moment.
        """
        before = frames_before(self.footage, self.moment, self.rate)
        if before < self.context:
            raise self._too_few(before)
        first = self.footage.start + self.moment
        clock = self.footage.clock
        return tuple(nearest_frame(clock, first - k / self.rate) for k in range(self.context, 0, -1))

    def _too_few(self, before: int) -> HvgError:
        footage, rate = self.footage, decimal(self.rate)
        least = decimal(self.context / self.rate)
        if frames_before(footage, end_moment(footage, self.rate), self.rate) < self.context:
            return MediaError(
                f"{footage.path}: {self.context} frames at {rate} frames/s are needed, but it has {before} "
                f"({footage.frames} in {decimal(footage.duration)} s): give a longer clip"
            )
        return UsageError(
            f"{footage.path}: {self.context} frames at {rate} frames/s are needed before the continuation, "
            f"but {before} come before {decimal(self.moment)} s: begin at {least} s or later"
        )

    def true_frames(self, frames: int) -> int:
        """How many of the `frames` frames from the moment on the clip has."""
        footage = self.footage
        left = footage.clock.time(footage.frames - 1) - footage.start - self.moment + _slack(footage)
        return max(0, min(frames, int(left * self.rate // 1) + 1))

    def read_context(self, size: int) -> Frames:
        """The context as uint8 (context, size, size, 3). Errors: as `numbers`, and as `timed_frames`."""
        return np.stack(list(self._read(self.numbers, size)))

    def read_truth(self, frames: int, size: int) -> Iterator[Frames]:
        """The true continuation, uint8 (size, size, 3) each, one frame after the other: as many as there are."""
        first, clock = self.footage.start + self.moment, self.footage.clock
        count = self.true_frames(frames)
        yield from self._read([nearest_frame(clock, first + k / self.rate) for k in range(count)], size)

    def _read(self, numbers: Sequence[int], size: int) -> Iterator[Frames]:
        """Frames of these rising numbers, which may repeat."""
        if not numbers:
            return
        place = 0
        for number, frame in enumerate(timed_frames(self.footage, numbers[0], numbers[-1] + 1), start=numbers[0]):
            if number != numbers[place]:
                continue
            image = square(frame, self.footage.aspect, size)
            while place < len(numbers) and numbers[place] == number:
                yield image
                place += 1

    @property
    def repeats(self) -> bool:
        """Whether the clip has fewer frames a second than are taken, so that frames of the context repeat."""
        return len(set(self.numbers)) < self.context

    def describe(self, size: int) -> str:
        """What becomes of the clip: its size and rate, and those of the frames that are taken."""
        footage = self.footage
        height, width = footage.size
        parts = []
        if footage.aspect != 1 or height != width:
            parts.append("cropped to its centre")
        if (height, width) != (size, size):
            parts.append(f"resized to {size}x{size}")
        pace = "a variable rate" if footage.variable else f"{decimal(footage.rate)} frames/s"
        if footage.variable or footage.rate != self.rate:
            parts.append(f"taken at {decimal(self.rate)} frames/s")
        return f"{width}x{height} at {pace}" + (f", {', '.join(parts)}" if parts else "")


def _slack(footage: Footage) -> Fraction:
    """Half a frame: times are rounded in files."""
    return 1 / (2 * footage.rate)


def end_moment(footage: Footage, rate: Fraction) -> Fraction:
    """The moment after the last frame of a clip."""
    return footage.clock.time(footage.frames - 1) - footage.start + 1 / rate


def moment_with_truth(footage: Footage, rate: Fraction, frames: int) -> Fraction:
    """The last moment with `frames` frames after it in the clip; not above 0 where the clip is too short."""
    return end_moment(footage, rate) - frames / rate


def frames_before(footage: Footage, moment: Fraction, rate: Fraction) -> int:
    """How many frames of a clip, 1 / rate apart, come before a moment."""
    return max(0, int((moment + _slack(footage)) * rate // 1))


def check_moment(footage: Footage, moment: Fraction, rate: Fraction) -> Fraction:
    """`moment`, or a `UsageError` where it is outside of the clip."""
    end = max(footage.duration, end_moment(footage, rate))
    if not 0 < moment <= end:
        raise UsageError(
            f"--at {decimal(moment)} is outside of {footage.path}: it begins at 0 s and ends at {decimal(end)} s"
        )
    return moment


def decimal(value: Fraction) -> str:
    """A rate or time for people, to a thousandth."""
    return f"{float(value):.3f}".rstrip("0").rstrip(".")


def square(frame: TimedFrame, aspect: Fraction, size: int) -> Frames:
    """The centre of a frame as a square picture, uint8 (size, size, 3).

    The largest crop that is square as it is shown, where a pixel is `aspect` times as wide as high, resized
    as in training: bilinear, antialiased. What is transparent is black; more than 8 bits are rounded to 8.
    """
    image = frame.image
    height, width = image.shape[:2]
    side = min(Fraction(height), width * aspect)
    high, wide = max(1, round(side)), max(1, round(side / aspect))
    top, left = (height - high) // 2, (width - wide) // 2
    inside = np.s_[top : top + high, left : left + wide]
    crop = _eight_bits(image[inside])
    if frame.alpha is not None:
        crop = np.rint(crop * (frame.alpha[inside][..., None] / 255)).astype(np.uint8)
    pixels: Frames = resize_uint8(torch.from_numpy(crop.copy())[None], (size, size))[0].numpy()
    return pixels


def _eight_bits(image: np.ndarray) -> Frames:
    return image if image.dtype == np.uint8 else np.rint(image / 257).astype(np.uint8)
