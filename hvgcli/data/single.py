"""The one clip, or the one image, that hp-VAE-GAN learns, and its pyramid x^0..x^N (Gur et al. 2020, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hvgcli.config import ModelConfig, SingleConfig
from hvgcli.data.cache import resize_uint8
from hvgcli.data.cuts import find_cuts
from hvgcli.data.excerpt import decimal, nearest_frame
from hvgcli.data.pyramid import downsample_space
from hvgcli.errors import MediaError, UsageError
from hvgcli.video import Footage, Frames, TimedFrame, examine, timed_frames

USUAL_RATE = Fraction(24)  # frames per second of the paper's clips
MIN_HEIGHT = 8
MAX_BYTES = 512 << 20  # of the frames that are kept; their float32 pyramid takes some eight times as much


@dataclass(frozen=True)
class SingleClip:
    """What is learned: one window of a clip, all windows of a long one, or one image."""

    frames: Tensor
    """uint8 (P, T, H, W, 3): parts of T frames each, at the finest scale's size. T = 1 for an image."""
    rate: Fraction
    """Frames per second; of an image, that of a clip of one frame."""
    notes: tuple[str, ...] = ()
    """What the user should know, a line each."""

    @property
    def image(self) -> bool:
        return self.frames.shape[1] == 1

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), both even."""
        return self.frames.shape[2], self.frames.shape[3]


def read_clip(
    path: Path,
    *,
    start: Fraction = Fraction(0),
    window: int = 13,
    height: int = 256,
    rate: Fraction | None = None,
    whole: bool = False,
) -> SingleClip:
    """Read a window of a clip, or an image (a file with one frame).

    Each frame is reduced as it is read, so that huge ones need no memory; none is enlarged. What is
    transparent becomes black.

    Args:
        start: seconds from the first frame to the window.
        window: frames of a part; 1 for an image.
        height: pixels of the finest scale; the width follows from the aspect as it is shown. Both become even.
        rate: frames per second to take, each the one shown nearest to its time. None for the clip's own rate,
            or the part of it that is nearest to the paper's 24.
        whole: take all parts from `start` on, one after the other, instead of one.

    Raises:
        MediaError: the file cannot be read, is too short, too small, or one even colour.
        UsageError: `start` is outside of the clip, or the parts are more than memory should hold.
    """
    footage = examine(path)
    size, notes = fitted_size(footage, height)
    if footage.frames == 1:
        notes += [] if is_picture(footage) else [f"{path} has one frame: it is learned as an image"]
        numbers, rate, window = [0], rate or USUAL_RATE, 1
        if start:
            raise UsageError(f"--start {decimal(start)} is outside of {path}, which has one frame: leave it out")
    else:
        notes += [f"one frame of {path} is learned, as an image"] if window == 1 and not whole else []
        rate = rate or usual_rate(footage)
        numbers = _numbers(footage, start, window, rate, whole, size)
        notes += _rate_notes(footage, rate, numbers)
    if footage.alpha:
        notes.append(f"{path} is transparent in places, which become black")
    frames = torch.stack([torch.from_numpy(frame) for frame in read_frames(footage, numbers, size)])
    parts = frames.unflatten(0, (-1, window))
    return SingleClip(parts, rate, tuple(notes + _content_notes(footage, parts, start, rate)))


def is_picture(footage: Footage) -> bool:
    """Whether a file is in a format of still pictures: ffmpeg reads PNG, JPEG, WebP ... as pipes of pictures."""
    return footage.kind in ("png", "image2") or footage.kind.endswith("_pipe")


def fitted_size(footage: Footage, height: int) -> tuple[tuple[int, int], list[str]]:
    """(height, width) of the finest scale, even, without enlarging the clip; and what to say about it."""
    own = footage.size[0]
    if own < MIN_HEIGHT:
        raise MediaError(f"{footage.path}: is {own} pixels high, but at least {MIN_HEIGHT} are needed")
    high = min(height, own) // 2 * 2
    across = footage.size[1] * footage.aspect / own  # width over height, as it is shown
    notes = [f"{footage.path} is {own} pixels high: nothing finer than {high} can be learned"] if own < height else []
    return (high, max(2, 2 * round(high * across / 2))), notes


def usual_rate(footage: Footage) -> Fraction:
    """The clip's own rate, or half, a third ... of it: what is nearest to 24, so that all steps are equal."""
    return footage.rate / max(1, round(footage.rate / USUAL_RATE))


def _numbers(
    footage: Footage, start: Fraction, window: int, rate: Fraction, whole: bool, size: tuple[int, int]
) -> list[int]:
    """Numbers of the frames to take, rising, some perhaps twice."""
    clock = footage.clock
    last = clock.time(footage.frames - 1) - footage.start
    if not 0 <= start <= last:
        raise UsageError(f"--start {decimal(start)} is outside of {footage.path}: it ends at {decimal(last)} s")
    there = frames_from(footage, start, rate)
    if there < window:
        raise MediaError(
            f"{footage.path}: has {there} frames at {decimal(rate)} frames/s from {decimal(start)} s on, "
            f"but {window} are needed: give a longer clip, an earlier --start or fewer --frames"
        )
    count = there // window * window if whole else window
    if count * size[0] * size[1] * 3 > MAX_BYTES:
        advice = "lower --height, or leave out --whole" if whole else "lower --height or --frames"
        raise UsageError(f"{footage.path}: {count} frames of {size[1]}x{size[0]} pixels are too many: {advice}")
    first = footage.start + start
    return [nearest_frame(clock, first + k / rate) for k in range(count)]


def frames_from(footage: Footage, start: Fraction, rate: Fraction) -> int:
    """How many frames a clip has from `start` (seconds after its first one) to its end, taken at `rate`."""
    left = footage.clock.time(footage.frames - 1) - footage.start - start
    slack = 1 / (2 * max(rate, footage.rate))  # half a frame: times are rounded in files
    return int((left + slack) * rate) + 1


def _rate_notes(footage: Footage, rate: Fraction, numbers: Sequence[int]) -> list[str]:
    if len(set(numbers)) < len(numbers):
        own = decimal(footage.rate)
        return [f"{footage.path} has {own} frames/s: at {decimal(rate)} some of its frames are shown twice"]
    return []


def _content_notes(footage: Footage, parts: Tensor, start: Fraction, rate: Fraction) -> list[str]:
    """What the pixels tell: cuts inside a part, nothing that moves. MediaError for one even colour."""
    if int(parts.max()) == int(parts.min()):
        raise MediaError(f"{footage.path}: is one even colour: there is nothing to learn from it")
    window = parts.shape[1]
    if window == 1:
        return []
    cuts = [index * window + cut for index, part in enumerate(parts) for cut in find_cuts(part.numpy())]
    notes = [f"{footage.path} is cut at {decimal(start + cut / rate)} s: choose a --start without one" for cut in cuts]
    if bool((parts == parts[:, :1]).all()):
        notes.append(f"{footage.path} does not move: its frames are all alike, and so will be those that are made")
    return notes


def read_frames(footage: Footage, numbers: Sequence[int], size: tuple[int, int]) -> Iterator[Frames]:
    """The frames of these rising numbers, which may repeat, uint8 (H, W, 3) each."""
    place = 0
    for number, frame in enumerate(timed_frames(footage, numbers[0], numbers[-1] + 1), start=numbers[0]):
        if number != numbers[place]:
            continue
        image = resize_uint8(torch.from_numpy(_rgb(frame))[None], size)[0].numpy()
        while place < len(numbers) and numbers[place] == number:
            yield image
            place += 1


def _rgb(frame: TimedFrame) -> Frames:
    """uint8, with black where it is transparent."""
    image = frame.image if frame.image.dtype == np.uint8 else np.rint(frame.image / 257)
    if frame.alpha is not None:
        image = np.rint(image * (frame.alpha[..., None] / 255))
    return np.array(image, dtype=np.uint8)  # a copy: frames of a decoder may be read-only


def fit(model: ModelConfig, clip: SingleClip) -> ModelConfig:
    """The model for the size, length and rate of a clip; of its rates, those that the window ends on."""
    config = model.single
    assert config is not None
    window = clip.frames.shape[1]
    height, width = clip.size
    rates = (1,) if clip.image else tuple(rate for rate in config.rates if (window - 1) % rate == 0)
    fitted = replace(config, window=window, rates=rates, height=height, width=width, volumetric=not clip.image)
    return replace(model, levels=(fitted,), source_rate=str(clip.rate))


def scale_pyramid(clip: SingleClip, config: SingleConfig) -> list[Tensor]:
    """x^0..x^N: float32 volumes (P, 3, T_n, H_n, W_n) in [-1, 1].

    Over time a scale takes every k-th frame, the first and the last among them; in space f_s reduces it.
    """
    video = clip.frames.float().permute(0, 1, 4, 2, 3) / 127.5 - 1  # (P, T, 3, H, W)
    return [
        downsample_space(video[:, ::step], (height, width)).transpose(1, 2)
        for step, (_, height, width) in zip(config.steps, config.sizes, strict=True)
    ]
