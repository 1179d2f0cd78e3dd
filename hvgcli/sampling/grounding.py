"""Grounding: an enlarged clip, downsampled by f_s and f_t, is its input again (HVG section 3: "grounded in its input").

The levels above the first are trained towards it; here it is made so. Let D be f_s, U the bilinear
enlargement. D U is, along each axis, a small matrix M with three diagonals, so r + U M^-1 (x - D r) has
f_s exactly equal to x: back-projection that needs one step where the plain iteration r + U (x - D r)
needs many. The step leaves the range of pixels now and then; it is taken again after each clamping, which
finds the clip within the range whose f_s is nearest to the input. Where the input has more contrast than
any f_s can make (a white pixel in a black field), that is as near as a clip can come.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hvgcli.data.pyramid import downsample_space

ROUNDS = 12
"""Most corrections of a frame; nearly all frames need one to three."""
ENOUGH = 0.1 / 255
"""Mean absolute error, in [0, 1] units, at which a frame needs no further correction."""


@dataclass(frozen=True)
class GroundingError:
    """How far f_s(f_t(result)) is from the input: absolute differences of all values, in [0, 1] units."""

    mean: float = 0.0
    max: float = 0.0
    values: int = 0
    """How many were compared: frames x height x width x 3."""

    def merge(self, other: GroundingError) -> GroundingError:
        """The error of both parts together."""
        values = self.values + other.values
        mean = (self.mean * self.values + other.mean * other.values) / max(values, 1)
        return GroundingError(mean, max(self.max, other.max), values)


def grounding_error(frames: Tensor, low: Tensor) -> GroundingError:
    """The error of frames `(n, 3, kH, kW)` against their inputs `(n, 3, H, W)`, both in [-1, 1]."""
    if len(frames) == 0:
        return GroundingError()
    gap = (_down(frames, low) - low).abs().double() / 2  # [-1, 1] is two units wide
    return GroundingError(float(gap.mean()), float(gap.max()), gap.numel())


def _down(frames: Tensor, low: Tensor) -> Tensor:
    """f_s of frames `(n, 3, kH, kW)`, at the size of `low`."""
    return downsample_space(frames[None], (low.shape[-2], low.shape[-1]))[0]


def _up(low: Tensor, times: int) -> Tensor:
    size = (low.shape[-2] * times, low.shape[-1] * times)
    return F.interpolate(low, size=size, mode="bilinear", align_corners=False)


def down_of_up(length: int, times: int) -> Tensor:
    """M = D U along one axis, `(length, length)` float64: what f_s makes of the bilinear enlargement of a line.

    D weighs the pixels within `times` of a centre by a triangle and divides by the sum of the weights that
    are inside the line; U mixes the two nearest pixels, and holds the last one at the ends.
    """
    fine = torch.arange(length * times, dtype=torch.float64)
    place = ((fine + 0.5) / times - 0.5).clamp(0, length - 1)  # of each enlarged pixel, in pixels of the line
    before = place.floor().long()
    share = place - before
    after = (before + 1).clamp(max=length - 1)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    centre = torch.arange(length)
    offsets = torch.arange(-times, 2 * times)
    pixel = centre[:, None] * times + offsets  # (length, 3 * times)
    weight = (1 - ((offsets + 0.5) / times - 0.5).abs()).clamp(min=0).double().expand_as(pixel)
    weight = weight * ((pixel >= 0) & (pixel < len(fine)))
    weight = weight / weight.sum(1, keepdim=True)
    pixel = pixel.clamp(0, len(fine) - 1)
    row = centre[:, None].expand_as(pixel)
    matrix.index_put_((row, before[pixel]), weight * (1 - share[pixel]), accumulate=True)
    return matrix.index_put_((row, after[pixel]), weight * share[pixel], accumulate=True)


class Grounding:
    """Corrects enlarged frames of one size so that f_s brings back their inputs."""

    def __init__(self, size: tuple[int, int], times: int, device: torch.device, rounds: int = ROUNDS) -> None:
        """size: height and width of the input; times: the enlargement; rounds: 0 corrects nothing."""
        self.times, self.rounds = times, rounds
        if rounds:
            self._rows, self._columns = (
                torch.linalg.inv(down_of_up(length, times)).to(device, torch.float32) for length in size
            )

    def correct(self, frames: Tensor, low: Tensor) -> Tensor:
        """Frames `(n, 3, kH, kW)` with inputs `(n, 3, H, W)`, both in [-1, 1] -> corrected frames in [-1, 1].

        Each frame is corrected until its mean error is `ENOUGH`, by itself: its neighbours change nothing.
        """
        result = frames.clone() if self.rounds else frames
        wanting = torch.arange(len(frames), device=frames.device)
        for _ in range(self.rounds):
            gap = low[wanting] - _down(result[wanting], low)
            bad = gap.abs().mean((1, 2, 3)) / 2 > ENOUGH
            wanting, gap = wanting[bad], gap[bad]
            if len(wanting) == 0:
                break
            step = self._rows @ gap @ self._columns.mT
            result[wanting] = (result[wanting] + _up(step, self.times)).clamp_(-1, 1)
        return result


class GroundedStream:
    """Grounds the frames of a clip as they come. Every `times_time`-th frame, from the first on, has an input.

    The frames between take the correction of their two neighbours, mixed by their distance, so that nothing
    flickers; those after the last input take that of the last.
    """

    def __init__(self, grounding: Grounding, times_time: int) -> None:
        self.grounding, self.times = grounding, times_time
        self._correction: Tensor | None = None  # of the last frame with an input
        self._waiting: Tensor | None = None  # frames after it, until the next one is known

    def first_input(self) -> int:
        """Number of the frame with the next input, among those that `push` returns next."""
        return 0 if self._correction is None else self.times - 1

    def push(self, frames: Tensor, low: Tensor) -> Tensor:
        """The next frames `(n, 3, kH, kW)`, and the inputs `(m, 3, H, W)` of those that have one -> finished frames.

        They end with the last frame that has an input; what follows it waits.
        """
        if self._waiting is not None:
            frames = torch.cat((self._waiting, frames))
        first = self.first_input()
        anchors = frames[first :: self.times]
        assert len(anchors) == len(low)
        if len(low) == 0:
            self._waiting = frames
            return frames[:0]
        corrected = self.grounding.correct(anchors, low)
        corrections = corrected - anchors
        before = corrections[:1] if self._correction is None else self._correction[None]
        corrections = torch.cat((before, corrections))
        stop = first + (len(low) - 1) * self.times + 1
        result = frames[:stop].clone()
        for place in range(stop):
            number, step = divmod(place - first + self.times, self.times)
            if step:
                mixed = torch.lerp(corrections[number], corrections[number + 1], step / self.times)
                result[place] = (result[place] + mixed).clamp_(-1, 1)
            else:
                result[place] = corrected[number - 1]
        self._correction, self._waiting = corrections[-1].clone(), frames[stop:].clone()
        return result

    def finish(self) -> Tensor:
        """The frames that still wait: no input follows."""
        assert self._waiting is not None
        assert self._correction is not None
        return (self._waiting + self._correction).clamp_(-1, 1)
