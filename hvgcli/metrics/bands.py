"""Spectra of single videos, and whether those of generated ones stay within the spread of the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hvgcli.metrics.spectrum import luma, power_spectrum, radial_mean, rings

LOW, HIGH = 0.05, 0.95
TOP_OCTAVE = 0.25
"""Cycles/pixel at which the top octave begins."""
LEAST_POWER = 1e-20  # -200 dB: of a frame of one colour


def video_spectra(frames: Tensor, numbers: Sequence[int]) -> Tensor:
    """The spectra of some frames of each video, in dB (HVG appendix D; `metrics.spectrum` says how they are taken).

    Args:
        frames: uint8 (B, T, H, W, 3).
        numbers: of the frames, counted from 1.

    Returns:
        float64 (B, len(numbers), max(H, W) // 2): at 1, 2, ... steps of 1 / max(H, W) cycles/pixel.
    """
    places, frequencies = rings(frames.shape[2], frames.shape[3])
    chosen = torch.tensor(list(numbers)) - 1
    power = [radial_mean(power_spectrum(luma(video[chosen])), places) for video in frames]
    kept: Tensor = torch.stack(power)[..., 1 : len(frequencies)]
    return 10 * kept.clamp(min=LEAST_POWER).log10()


@dataclass(frozen=True)
class Band:
    """Where 90 % of the real videos lie, at each frame and frequency: `low` and `high` (F, R) in dB."""

    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, spectra: Tensor) -> Band:
        """Quantiles 5 % and 95 % over (N, F, R) spectra of real videos."""
        return cls(spectra.quantile(LOW, dim=0), spectra.quantile(HIGH, dim=0))

    def holds(self, spectra: Tensor) -> Tensor:
        """Which values of (..., F, R) spectra lie within: bool of the same shape."""
        return (self.low <= spectra) & (spectra <= self.high)

    def excess(self, spectra: Tensor) -> Tensor:
        """dB by which (..., F, R) spectra are above the band (positive) or below it (negative); 0 within."""
        return (spectra - self.high).clamp(min=0) + (spectra - self.low).clamp(max=0)


def below_top_octave(rings_count: int) -> Tensor:
    """Which of `rings_count` frequencies, 0.5 cycles/pixel the last, lie below the top octave: bool (R,)."""
    frequencies = torch.arange(1, rings_count + 1, dtype=torch.float64) / (2 * rings_count)
    return frequencies < TOP_OCTAVE
