"""What `hvg generate --from` gives to a model of one clip or image: a user's picture or clip, and its mask."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from hvgcli.cli.predicting.making import source_digest
from hvgcli.cli.values import LARGEST_SIDE, check_frames
from hvgcli.config import ModelConfig, SingleConfig
from hvgcli.data.cache import resize_uint8
from hvgcli.data.excerpt import decimal, nearest_frame
from hvgcli.data.single import frames_from, read_frames
from hvgcli.errors import MediaError, UsageError
from hvgcli.sampling.single import check_scale, smallest_size
from hvgcli.video import Footage, examine


@dataclass(frozen=True)
class Source:
    """A picture or clip, and how it enters the model."""

    footage: Footage
    scale: int
    size: tuple[int, int]
    """(height, width) of the output."""
    frames: int
    """Frames of the output."""
    numbers: tuple[int, ...]
    """Of the frames that are taken: one for a picture, which is repeated."""
    mask: Footage | None = None

    @property
    def path(self) -> Path:
        return self.footage.path

    def read(self) -> Tensor:
        """`(1, frames, 3, *size)` in [-1, 1]. Errors: `MediaError` where a frame is damaged."""
        frames = [torch.from_numpy(frame) for frame in read_frames(self.footage, self.numbers, self._reduced())]
        video = resize_uint8(torch.stack(frames), self.size).permute(0, 3, 1, 2)[None] / 127.5 - 1
        return video.expand(-1, self.frames, -1, -1, -1) if len(frames) < self.frames else video

    def _reduced(self) -> tuple[int, int]:
        """The size to read at: frames are not enlarged before all of them are there."""
        height, width = self.footage.size
        return min(height, self.size[0]), min(width, self.size[1])

    def read_mask(self) -> Tensor | None:
        """The mask as `white_of` reads it, if there is one. Errors: as there."""
        return None if self.mask is None else white_of(self.mask, self.size)

    def describe(self) -> str:
        """What becomes of it, for people."""
        height, width = self.footage.size
        what = f"{width}x{height}" + (f", {self.footage.frames} frames" if self.footage.frames > 1 else " picture")
        parts = [] if self.size == self.footage.size else [f"resized to {self.size[1]}x{self.size[0]}"]
        parts += [f"its first {len(self.numbers)} frames at the model's rate"] if self.footage.frames > 1 else []
        parts += [f"repeated over {self.frames} frames"] if len(self.numbers) < self.frames else []
        parts += ["black where it is transparent"] if self.footage.alpha else []
        return f"{self.path}: {', '.join([what, *parts])}; enters at scale {self.scale}"

    def stretch(self) -> float:
        """How much wider than high it becomes, or the reverse; at least 1."""
        factor = (self.size[1] / self.size[0]) / float(shown_aspect(self.footage))
        return max(factor, 1 / factor)

    def record(self) -> dict[str, object]:
        """What a file made of it says."""
        record: dict[str, object] = {"from": str(self.path), "from_sha256": source_digest(self.footage)}
        record["at_scale"] = self.scale
        if self.mask is not None:
            record |= {"mask": str(self.mask.path), "mask_sha256": source_digest(self.mask)}
        return record


def shown_aspect(footage: Footage) -> Fraction:
    """Width over height, as it is shown."""
    return footage.size[1] * footage.aspect / footage.size[0]


def find_source(
    model: ModelConfig,
    path: str,
    scale: int | None,
    mask: str | None,
    size: tuple[int, int] | None,
    frames: int | None,
) -> Source:
    """Look at what --from and --mask name, without reading their pixels.

    size, frames: of the output, as asked for; None for the model's height with the aspect of the picture, and for
    the model's length, or that of a shorter clip.

    Errors: `UsageError` for a scale that is not there and for a clip where a picture is needed; `MediaError`
    for what cannot be read, a clip with fewer frames, and a mask of another size.
    """
    config = model.single
    assert config is not None
    if scale is None:
        low, high = max(1, config.vae_scales), config.built - 1
        raise UsageError(f"--from needs --at-scale: 0 changes most, {high} least; try {min(low, high)} or above")
    check_scale(config, scale)
    footage = examine(Path(path).expanduser())
    numbers = _numbers(model, config, footage, frames)
    return Source(
        footage,
        scale,
        size or fitting_size(config, footage),
        (check_frames(frames) if frames else config.frames) if footage.frames == 1 else len(numbers),
        numbers,
        None if mask is None else find_mask(Path(mask).expanduser(), footage),
    )


def _numbers(model: ModelConfig, config: SingleConfig, footage: Footage, frames: int | None) -> tuple[int, ...]:
    """Numbers of the frames to take, at the model's rate from the first one on."""
    if footage.frames == 1:
        return (0,)
    if not config.volumetric:
        raise UsageError(
            f"--from {footage.path} is a clip of {footage.frames} frames, but {model.name} learned an image: "
            "give a picture"
        )
    rate, clock = model.rate(1), footage.clock
    there = frames_from(footage, Fraction(0), rate)
    if frames is not None and frames > there:
        raise MediaError(
            f"{footage.path}: has {there} frames at {decimal(rate)} frames/s, the model's rate, "
            f"but --frames {frames} are asked for: give a longer clip or fewer"
        )
    return tuple(nearest_frame(clock, footage.start + k / rate) for k in range(min(there, frames or config.frames)))


def fitting_size(config: SingleConfig, footage: Footage) -> tuple[int, int]:
    """(height, width): the model's height and the aspect of the picture, both even.

    Errors: `UsageError` where that is too wide, or too narrow for the model's coarsest scale.
    """
    height = config.usual_size[0]
    width = max(2, 2 * round(height * shown_aspect(footage) / 2))
    if not smallest_size(config)[1] <= width <= LARGEST_SIDE:
        raise UsageError(
            f"--from {footage.path} would be {width}x{height}, but {smallest_size(config)[1]} to {LARGEST_SIDE} pixels "
            "of width can be made: give a --size, or a part of it"
        )
    return height, width


def find_mask(path: Path, source: Footage) -> Footage:
    """Look at a mask. Errors: `MediaError` where it cannot be read, is no picture, or of another size."""
    mask = examine(path)
    if mask.frames != 1:
        raise MediaError(f"{path}: has {mask.frames} frames, but a mask is one picture")
    if mask.size != source.size:
        sizes = [f"{width}x{height}" for height, width in (mask.size, source.size)]
        raise MediaError(f"{path}: is {sizes[0]}, but {source.path} is {sizes[1]}: draw the mask over it")
    return mask


def white_of(mask: Footage, size: tuple[int, int]) -> Tensor:
    """`size` in [0, 1], 1 where the mask is white. `MediaError` where it is black all over, or damaged."""
    (frame,) = read_frames(mask, (0,), mask.size)
    grey = torch.from_numpy(frame).float().mean(-1) / 255
    if not bool(grey.max() > 0):
        raise MediaError(f"{mask.path}: is black all over, so nothing would change: paint white what is to be made")
    pixels = resize_uint8(
        (255 * grey).round().to(torch.uint8)[None, ..., None].expand(-1, -1, -1, 3).contiguous(), size
    )
    return pixels[0, ..., 0] / 255
