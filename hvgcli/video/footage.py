"""Any input of `hvg upscale` as frames with exact times: videos, gifs, folders of PNG frames, PNG pictures.

Frames are numbered from 0 in the order of display, each stored frame once. Nothing here holds more than
a few frames in memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hvgcli.errors import MediaError
from hvgcli.video.clock import UNKNOWN, Clock, read_clock, steady_rate
from hvgcli.video.files import reason
from hvgcli.video.gif import gif_frames, is_gif
from hvgcli.video.limits import check_count, check_length, check_size
from hvgcli.video.numbered import USUAL_RATE, is_png, numbered_files, png_frames, png_header, stated_rate
from hvgcli.video.pictures import Frames
from hvgcli.video.pixels import Samples, full_rgb
from hvgcli.video.probing import VideoInfo, probe
from hvgcli.video.seeking import FrameIndex, frames_from, index_frames

Pixels = Generator[tuple[Samples, Frames | None], None, None]  # images and their alpha
SRGB = (0, 1, 13, 2)  # gif and PNG: no matrix, primaries of BT.709, transfer of sRGB, full range


@dataclass(frozen=True)
class Footage:
    """What an input is, read without keeping any of its pixels."""

    path: Path
    info: VideoInfo | None
    """What the file says; None for PNG pictures."""
    kind: str
    """"mp4", "mov", "mkv", "webm", "gif", "png", or ffmpeg's name of another container."""
    size: tuple[int, int]
    """(height, width) in pixels, upright."""
    aspect: Fraction
    """Width of an upright pixel over its height."""
    bits: int
    """8, or the bits of a sample above that, up to 16."""
    alpha: bool
    """Whether frames carry alpha; for a gif, whether anything of it is transparent."""
    colour: tuple[int, int, int, int]
    """Matrix, primaries, transfer and range as `VideoInfo` has them; matrix 0 is RGB, stored as such."""
    rate: Fraction
    """Frames per second; the average where it is variable."""
    variable: bool
    """Whether frames are not evenly spaced."""
    clock: Clock = field(repr=False, compare=False)
    files: tuple[Path, ...] = field(default=(), repr=False, compare=False)
    """The pictures of a folder, or the picture."""
    index: FrameIndex | None = field(default=None, repr=False, compare=False)
    """Where to begin decoding a video."""

    @property
    def frames(self) -> int:
        """The exact number of frames."""
        return self.clock.count

    @property
    def start(self) -> Fraction:
        """Seconds of the first frame by the file's clock, which its sound keeps too."""
        return self.clock.start

    @property
    def duration(self) -> Fraction:
        """Seconds from the first frame to the end of the last."""
        return self.clock.length

    @property
    def time_base(self) -> Fraction:
        """Seconds a tick of the file's clock: times are multiples of it, but for those that were mended."""
        return self.clock.base


class TimedFrame(NamedTuple):
    """A frame and when it is shown."""

    image: Samples
    """(H, W, 3) RGB, upright: uint8, or uint16 over 0 .. 65535 where `Footage.bits` is above 8."""
    alpha: Frames | None
    """uint8 (H, W), or None where `Footage.alpha` is False."""
    time: Fraction
    """Seconds by the file's clock."""
    duration: Fraction
    """Seconds until the next frame."""


def examine(path: Path, *, rate: Fraction | None = None) -> Footage:
    """Find out what an input is.

    The frames of MP4 and Matroska files are counted by their packets, other videos and gifs are decoded
    once. Times that a file leaves out or contradicts itself in are mended as `read_clock` says.

    Args:
        path: a video file, a gif, a PNG picture, or a folder of numbered PNG frames.
        rate: frames per second of PNG frames; None for what their text chunk "rate" says, else 25.

    Raises:
        MediaError: the input is missing, no video, damaged or cut off, without frames, or of a size or
            length that only a damaged header gives.
    """
    try:
        if path.is_dir():
            return _examine_pictures(path, numbered_files(path), rate)
        if path.is_file() and is_gif(path):
            return _examine_gif(path)
        if path.is_file() and is_png(path) and not png_header(path).animated:
            return _examine_pictures(path, (path,), rate)
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({reason(error)})") from error
    return _examine_video(path)


def _examine_pictures(path: Path, files: tuple[Path, ...], rate: Fraction | None) -> Footage:
    headers = [png_header(file) for file in files]
    rate = rate or stated_rate(files[0]) or USUAL_RATE
    return Footage(
        path=path,
        info=None,
        kind="png",
        size=headers[0][:2],
        aspect=Fraction(1),
        bits=max(8, *(header.bits for header in headers)),
        alpha=any(header.alpha for header in headers),
        colour=SRGB,
        rate=rate,
        variable=False,
        clock=_even_clock(len(files), 1 / rate),
        files=files,
    )


def _even_clock(count: int, base: Fraction) -> Clock:
    numbers = np.arange(count, dtype=np.int64)
    return Clock(base, count, numbers, numbers, Fraction(1), Fraction(1))


def _examine_gif(path: Path) -> Footage:
    info, delays, alpha = probe(path), [], False
    for shown in gif_frames(path):
        delays.append(shown.delay)
        alpha = alpha or bool(shown.alpha.min() < 255)
        check_count(path, len(delays))
    if not delays:
        raise MediaError(f"{path}: has no frames")
    times = np.cumsum([0, *delays[:-1]], dtype=np.int64)
    clock = read_clock(times, Fraction(1, 100), rate=Fraction(10), last=delays[-1])
    rate, variable = _pace(clock, (info.rate,))
    return Footage(path, info, "gif", shown.image.shape[:2], info.aspect, 8, alpha, SRGB, rate, variable, clock)


def _examine_video(path: Path) -> Footage:
    info, index = probe(path), index_frames(path)
    check_size(path, info.height, info.width)
    clock = read_clock(index.shown, index.base, rate=info.rate, last=index.last)
    check_length(path, float(clock.length))
    rate, variable = _pace(clock, (info.rate, info.usual_rate))
    size = (info.height, info.width)
    return Footage(
        path, info, _kind(info), size, info.aspect, info.bits, info.alpha, info.colour, rate, variable, clock, (), index
    )


def _pace(clock: Clock, claims: tuple[Fraction, ...]) -> tuple[Fraction, bool]:
    """Frames per second, and whether they vary."""
    steady = steady_rate(clock, claims)
    return (steady, False) if steady else (clock.count / clock.length, True)


def _kind(info: VideoInfo) -> str:
    """The usual suffix of a container: ffmpeg has one name for several."""
    name = info.container.split(",")[0]
    if name == "mov":
        return "mov" if info.metadata.get("major_brand", "qt").strip() == "qt" else "mp4"
    if name == "matroska":
        with info.path.open("rb") as file:
            return "webm" if b"webm" in file.read(64) else "mkv"
    return name


def timed_frames(footage: Footage, start: int = 0, stop: int | None = None) -> Iterator[TimedFrame]:
    """Frames start .. stop - 1 (to the last by default), with their times.

    The same frames come out whatever `start` is: in videos, decoding begins at a key frame before it
    whose place was checked, or at the first frame where there is none.

    Raises:
        MediaError: the input is damaged or cut off, changes its size, or is not what `examine` found.
    """
    stop = footage.frames if stop is None else min(stop, footage.frames)
    if start >= stop:
        return
    with contextlib.closing(_pixels(footage, start, stop)) as images:
        number = start
        for number, (image, alpha) in enumerate(images, start=start):
            if image.shape[:2] != footage.size:
                raise MediaError(f"{footage.path}: changes its size at frame {number}: split it there first")
            yield TimedFrame(image, alpha, footage.clock.time(number), footage.clock.duration(number))
            if number + 1 == stop:
                return
    raise MediaError(f"{footage.path}: is cut off at frame {number + 1}, or has been changed meanwhile")


def _pixels(footage: Footage, start: int, stop: int) -> Pixels:
    """Image and alpha of frames from `start` on, of at least all before `stop` that can be read."""
    if footage.files:
        yield from png_frames(footage.files[start:stop], alpha=footage.alpha, deep=footage.bits > 8)
    elif footage.index is None:
        for number, shown in enumerate(gif_frames(footage.path)):
            if number >= start:
                yield shown.image, shown.alpha if footage.alpha else None
    else:
        yield from _video_pixels(footage, footage.index, start)


def _video_pixels(
    footage: Footage, index: FrameIndex, start: int
) -> Generator[tuple[Samples, Frames | None], None, None]:
    """Frames from `start` on; MediaError at one that is not where the index has it."""
    with contextlib.closing(frames_from(footage.path, index, start, alpha=footage.alpha)) as frames:
        for number, frame in frames:
            if number >= footage.frames:
                return
            if (UNKNOWN if frame.pts is None else frame.pts) != index.times[number]:
                raise MediaError(f"{footage.path}: is damaged at frame {number} (it cannot be decoded)")
            if number >= start:
                yield full_rgb(frame)
