"""Grounding: an enlarged clip, downsampled by f_s and f_t, is its input again (HVG section 3: "grounded in its input").

The levels above the first are trained towards it; here it is made so. Let D be f_s, U the bilinear
enlargement. D U is, along each axis, a small matrix M with three diagonals, so r + U M^-1 (x - D r) has
f_s exactly equal to x: back-projection that needs one step where the plain iteration r + U (x - D r)
needs many. Where the step leaves the range of pixels it is clamped and taken again, which finds the clip within
the range whose f_s is nearest to the input. Where the input has more contrast than
any f_s can make (a white pixel in a black field), that is as near as a clip can come.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hvgcli.data.pyramid import downsample_space

ROUNDS = 14
"""Most corrections of a frame; nearly all frames need one or two."""
ENOUGH = 0.2 / 255
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
    weight = (1 - ((offsets.double() + 0.5) / times - 0.5).abs()).clamp(min=0).expand_as(pixel)
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
        if self.rounds == 0:
            return frames
        now = _Search(frames, _down(frames, low), low)
        result = frames.clone()
        wanting = torch.arange(len(frames), device=frames.device)
        for number in range(self.rounds):
            bad = now.error() > ENOUGH
            if not bad.all():
                result[wanting[~bad]] = now.frames[~bad]
                wanting, now = wanting[bad], now.only(bad)
            if len(wanting) == 0:
                return result
            ahead, gap = now.ahead(max(number - 1, 0) / (number + 2))
            step = _up(self._rows @ gap @ self._columns.mT, self.times)
            new = step.add_(ahead).clamp_(-1, 1)
            now = _Search(new, _down(new, now.low), now.low, _Search(now.frames, now.down, now.low))
        result[wanting] = now.frames
        return result


@dataclass(frozen=True)
class _Search:
    """Frames on their way to the range's nearest to the input, and the step before them.

    Correcting and clamping in turn is a projected gradient descent; looking ahead along the last step
    (Beck and Teboulle 2009, FISTA) makes a descent of many steps much shorter.
    """

    frames: Tensor
    down: Tensor
    """f_s of them."""
    low: Tensor
    before: _Search | None = None

    def error(self) -> Tensor:
        """Mean absolute error of each frame, in [0, 1] units."""
        return (self.down - self.low).abs().mean((1, 2, 3)) / 2

    def only(self, chosen: Tensor) -> _Search:
        before = self.before and _Search(self.before.frames[chosen], self.before.down[chosen], self.low[chosen])
        return _Search(self.frames[chosen], self.down[chosen], self.low[chosen], before)

    def ahead(self, share: float) -> tuple[Tensor, Tensor]:
        """Frames `share` of the last step further on, and what their f_s lacks of the input."""
        if self.before is None or share == 0:
            return self.frames, self.low - self.down
        down = torch.lerp(self.before.down, self.down, 1 + share)
        return torch.lerp(self.before.frames, self.frames, 1 + share), self.low - down


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
