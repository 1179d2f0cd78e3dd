"""Power spectrum density of single frames: do the later frames of a generated video blur? (HVG appendix D)

The paper averages, over the videos of a set, the spectra of frames 1, 10, 24 and 48, and takes the mean and the
standard deviation of three such sets. It follows Ayzel et al. (2020, RainNet), who compare the spectral power of
predicted and observed fields by spatial scale. The text gives no more, so the rest is ours: frames are grey (luma
of ITU-R BT.601, in [0, 1]); the power of their two-dimensional Fourier transform is averaged over all directions,
in rings as wide as one step of the finer frequency axis; no window function is applied, because a frame's borders
do the same to real and generated videos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hvgcli.errors import DataError

FRAMES = (1, 10, 24, 48)  # HVG figure 10; counted from 1
SETS = 3  # HVG: three sets of 600 videos

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class SpectrumCurve:
    """The spectrum of one frame of a set of videos."""

    frame: int
    """Counted from 1."""
    power: tuple[float, ...]
    """Mean power at each of `SpectrumSum.frequencies`."""
    deviation: tuple[float, ...] | None
    """Standard deviation of `power` over the sets (ddof=0); None with fewer videos than sets."""


def frames_within(length: int) -> tuple[int, ...]:
    """The published frames that videos of so many frames have, and their last one."""
    return tuple(sorted({frame for frame in FRAMES if frame < length} | {length}))


def luma(frames: Tensor) -> Tensor:
    """Grey values in [0, 1]: uint8 (..., 3) RGB -> float64 (...)."""
    grey: Tensor = frames.double() @ torch.tensor(_LUMA, dtype=torch.float64)
    return grey / 255


def power_spectrum(grey: Tensor) -> Tensor:
    """|DFT|^2 / (H W) of images (..., H, W), frequency (0, 0) first.

    So its mean over all frequencies is the mean square of the image (Parseval).
    """
    waves: Tensor = torch.fft.fft2(grey)
    return waves.abs().square() / (grey.shape[-2] * grey.shape[-1])


def rings(height: int, width: int) -> tuple[Tensor, Tensor]:
    """The ring that each frequency of a spectrum belongs to.

    Returns:
        numbers: int64 (H, W): the distance from frequency 0 in steps of 1 / max(H, W) cycles/pixel, rounded.
        frequencies: float64 (max(H, W) // 2 + 1,): of the rings up to 0.5 cycles/pixel, the highest of a row.
            Rings above exist in the corners of a spectrum only: they have numbers, but no curve.
    """
    step = max(height, width)
    rows, columns = torch.fft.fftfreq(height, dtype=torch.float64), torch.fft.fftfreq(width, dtype=torch.float64)
    distance = torch.hypot(rows[:, None], columns[None, :])
    return (distance * step).round().long(), torch.arange(step // 2 + 1, dtype=torch.float64) / step


def radial_mean(power: Tensor, numbers: Tensor) -> Tensor:
    """Mean of spectra (..., H, W) over each ring -> (..., rings), for all rings of `numbers` (H, W)."""
    members = numbers.flatten().bincount().clamp(min=1)  # a corner ring of a narrow frame may be empty
    sums = power.new_zeros(*power.shape[:-2], len(members))
    return sums.index_add_(-1, numbers.flatten(), power.flatten(-2)) / members


class SpectrumSum:
    """Spectra of some frames of any number of videos, added up batch by batch and part by part.

    The videos are dealt to `sets` in turn, as they come. Memory is a few numbers per ring, frame and set.

    Args:
        frames: numbers of the frames, counted from 1.
        sets  : of videos, over which the deviation is taken.
    """

    def __init__(self, frames: Sequence[int] = FRAMES, sets: int = SETS) -> None:
        if not frames or min(frames) < 1:
            raise DataError(f"spectra of frames {list(frames)} were asked: name one or more, counted from 1")
        self.frames = tuple(frames)
        self.size: tuple[int, int] | None = None
        self.counts = torch.zeros(sets, dtype=torch.int64)
        self.sums = torch.zeros(sets, len(self.frames), 0, dtype=torch.float64)

    @property
    def count(self) -> int:
        """Videos seen."""
        return int(self.counts.sum())

    @property
    def frequencies(self) -> tuple[float, ...]:
        """Cycles/pixel of the rings of a curve, up to 0.5. The mean brightness, frequency 0, is left out."""
        return tuple(rings(*self._known_size())[1][1:].tolist())

    def update(self, frames: Tensor) -> None:
        """Add videos: uint8 (B, T, H, W, 3), T at least the last frame asked for, one size for all calls."""
        self._check(frames)
        self._fit((frames.shape[2], frames.shape[3]))
        numbers, frequencies = rings(*self._known_size())
        chosen = torch.tensor(self.frames) - 1
        for video in frames:
            power = radial_mean(power_spectrum(luma(video[chosen])), numbers)  # (frames, rings)
            place = self.count % len(self.counts)
            self.sums[place] += power[:, : len(frequencies)]
            self.counts[place] += 1

    def merge(self, other: SpectrumSum) -> SpectrumSum:
        """The spectra of the videos of both, set by set; neither is changed."""
        if self.frames != other.frames or len(self.counts) != len(other.counts):
            raise DataError(f"spectra of frames {other.frames} cannot be added to those of frames {self.frames}")
        if self.size is not None and other.size is not None and self.size != other.size:
            raise _mixed(self.size, other.size)
        both = SpectrumSum(self.frames, len(self.counts))
        both.size = self.size or other.size
        both.counts = self.counts + other.counts
        parts = [part.sums for part in (self, other) if part.size is not None]
        both.sums = torch.stack(parts).sum(0) if parts else both.sums
        return both

    def curves(self) -> list[SpectrumCurve]:
        """One curve per frame, over `frequencies`."""
        self._known_size()
        power = (self.sums.sum(0) / self.count)[:, 1:]
        if self.count < len(self.counts):
            return [SpectrumCurve(f, tuple(p.tolist()), None) for f, p in zip(self.frames, power, strict=True)]
        spread = (self.sums / self.counts[:, None, None]).std(0, unbiased=False)[:, 1:]
        return [
            SpectrumCurve(frame, tuple(p.tolist()), tuple(s.tolist()))
            for frame, p, s in zip(self.frames, power, spread, strict=True)
        ]

    def _known_size(self) -> tuple[int, int]:
        if self.size is None:
            raise DataError("there is no spectrum of no videos: give at least one")
        return self.size

    def _check(self, frames: Tensor) -> None:
        if frames.dtype != torch.uint8 or frames.ndim != 5 or frames.shape[-1] != 3:
            raise DataError(
                f"a spectrum needs uint8 videos (B, T, H, W, 3), and got {frames.dtype} {tuple(frames.shape)}"
            )
        length, height, width = frames.shape[1:4]
        if length < max(self.frames):
            raise DataError(
                f"the spectrum of frame {max(self.frames)} was asked of videos of {length} frames: take fewer"
            )
        if max(height, width) < 2:
            raise DataError("a frame of one pixel has no spectrum: give larger videos")

    def _fit(self, size: tuple[int, int]) -> None:
        """Take the size of the first videos; refuse another."""
        if self.size is None:
            self.size = size
            self.sums = torch.zeros(*self.sums.shape[:2], max(size) // 2 + 1, dtype=torch.float64)
        elif self.size != size:
            raise _mixed(self.size, size)


def _mixed(first: tuple[int, int], second: tuple[int, int]) -> DataError:
    sizes = " and ".join(f"{width}x{height}" for height, width in (first, second))
    return DataError(f"spectra of videos of {sizes} cannot be averaged: give videos of one size")
