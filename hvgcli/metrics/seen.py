"""What an evaluation keeps of the frames themselves, beside their features: spectra, and some videos."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hvgcli.checkpoints import load_tensors, save_tensors
from hvgcli.errors import DataError, WeightsError
from hvgcli.metrics.diversity import lab_diversity
from hvgcli.metrics.spectrum import SpectrumSum, frames_within
from hvgcli.metrics.videos import VideoBatch

KEPT = 50  # videos that diversity is measured on (hp-VAE-GAN section 6)
KEPT_BYTES = 128 << 20
REFERENCE_FRAMES = 64  # or one of each kept video: of the real ones, that the spread of their values is taken from
VERSION = 1  # of the file in the cache


@dataclass
class Seen:
    """Gathered from the batches of one set, in order; memory does not grow with their number."""

    expected: int
    """Videos that the set should have: those that are kept are spread over them."""
    spectrum: SpectrumSum = field(default_factory=SpectrumSum)
    """Of the frames that HVG shows, as far as videos have them, and of the last one."""
    clips: list[Tensor] = field(default_factory=list)
    """The kept videos, uint8 `(T, H, W, 3)`: at most 50, and 128 MiB."""
    numbers: list[int] = field(default_factory=list)
    """Their numbers in the set."""
    labels: list[int] = field(default_factory=list)
    """Their classes; empty without."""
    count: int = 0
    """Videos seen."""
    blank: int = 0
    """Videos of one colour."""

    def __call__(self, batch: VideoBatch) -> None:
        """Take in the next batch."""
        if not self.count:
            self.spectrum = SpectrumSum(frames_within(batch.frames.shape[1]))
        self.spectrum.update(batch.frames)
        wanted = self._wanted(batch.frames[0].nbytes)
        for i, video in enumerate(batch.frames):
            if len(self.numbers) < len(wanted) and self.count + i >= wanted[len(self.numbers)]:
                self.clips.append(video.clone())
                self.numbers.append(self.count + i)
                self.labels += [] if batch.labels is None else [int(batch.labels[i])]
        colours = batch.frames.flatten(1, 3)
        self.blank += int((colours == colours[:, :1]).flatten(1).all(1).sum())
        self.count += len(batch.frames)

    def _wanted(self, video_bytes: int) -> list[int]:
        """Numbers of the videos to keep, each from the middle of an equal part of the set."""
        kept = min(self.expected, KEPT, max(2, KEPT_BYTES // video_bytes))
        return [(2 * number + 1) * self.expected // (2 * kept) for number in range(kept)]

    def spread(self, most: int) -> list[int]:
        """Places of at most `most` kept videos: of the classes in turn, so that two sets show the same ones.

        Without classes they are spread over the set.
        """
        count = min(most, len(self.clips))
        if not self.labels:
            return [(2 * number + 1) * len(self.clips) // (2 * count) for number in range(count)]
        turn: dict[int, int] = {}  # class -> how many of it have come
        order = []
        for place, label in enumerate(self.labels):
            order.append((turn.setdefault(label, 0), label, place))
            turn[label] += 1
        return sorted(place for *_, place in sorted(order)[:count])

    def warning(self, name: str) -> str | None:
        """A line where videos show nothing at all, as wrongly scaled values do."""
        if not self.blank:
            return None
        return f"{self.blank} of {self.count} {name} videos are of one colour: are their values in the right range?"


def diversity(real: Seen, fake: Seen) -> tuple[float, float]:
    """LAB diversity of the generated and, for comparison, of the real videos (hp-VAE-GAN section 6).

    Both are divided by the spread of the real videos' values, taken from about 64 of their frames. Where all
    real videos are one clip, and the generated ones its variations, it is the paper's measure.

    Raises:
        DataError: fewer than two videos in a set, or real videos of one colour.
    """
    for name, seen in (("real", real), ("generated", fake)):
        if len(seen.clips) < 2:
            raise DataError(f"diversity needs at least 2 {name} videos, and got {len(seen.clips)}: take more")
    step = -(-len(real.clips) * len(real.clips[0]) // REFERENCE_FRAMES)
    reference = torch.cat([clip[::step] for clip in real.clips])
    return lab_diversity(fake.clips, reference), lab_diversity(real.clips, reference)


def curves(real: Seen, fake: Seen) -> dict[str, Any]:
    """The spectra of both sets as `evaluation.json` has them: cycles per pixel, and power in dB."""
    rows = [
        {"set": name, "frame": curve.frame, "power": decibels(curve.power)}
        for name, seen in (("real", real), ("generated", fake))
        for curve in seen.spectrum.curves()
    ]
    return {"frequencies": list(real.spectrum.frequencies), "unit": "dB", "curves": rows}


def decibels(power: tuple[float, ...]) -> list[float]:
    """10 log10 of powers; nothing is below -200 dB."""
    values: list[float] = (10 * torch.tensor(power, dtype=torch.float64).clamp(min=1e-20).log10()).tolist()
    return values


# ---- in the cache ------------------------------------------------------------------------------


def cache_path(folder: Path, key: str) -> Path:
    """Where the `Seen` of the set with that key is kept."""
    return folder / f"{hashlib.sha256(f'seen {VERSION} {key}'.encode()).hexdigest()[:32]}.safetensors"


def save(path: Path, seen: Seen) -> None:
    """Keep it. Errors: `MediaError`."""
    tensors = {"counts": seen.spectrum.counts, "sums": seen.spectrum.sums, "clips": torch.stack(seen.clips)}
    known = {name: getattr(seen, name) for name in ("expected", "numbers", "labels", "count", "blank")}
    header = {"kind": "seen", "frames": list(seen.spectrum.frames), "size": seen.spectrum.size, "known": known}
    save_tensors(path, tensors, header)


def load(path: Path) -> Seen | None:
    """What `save` kept; None where there is nothing, or nothing that fits."""
    try:
        tensors, header = load_tensors(path)
        spectrum = SpectrumSum(header["frames"], len(tensors["counts"]))
        spectrum.size = (header["size"][0], header["size"][1])
        spectrum.counts, spectrum.sums = tensors["counts"], tensors["sums"]
        return Seen(spectrum=spectrum, clips=list(tensors["clips"]), **header["known"])
    except (WeightsError, DataError, KeyError, TypeError, ValueError, IndexError):
        return None
