"""How the frames of one clip are stored: container, codec, clock, colour. Equal for all its segments."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, NamedTuple

from hvgcli.errors import UsageError

Kind = Literal["mp4", "mov", "mkv", "webm", "gif", "png"]
Codec = Literal["h264", "vp9", "av1", "png"]

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
UNKNOWN = (2, 2, 2, 0)  # colour of an untagged file
AV1_SMALLEST = 8  # pixels each way, of the encoder
FINEST = 2**30  # ticks a second: H.264 counts half ticks in 32 bits


class Coder(NamedTuple):
    """An encoder of ffmpeg."""

    encoder: str
    crf: int
    """Default constant rate factor."""
    worst: int
    """Largest constant rate factor."""
    presets: bool
    options: dict[str, str]


# Not H.265: the libx265 of PyAV's wheels corrupts memory in segments of few frames.
CODERS: dict[Codec, Coder] = {
    # Without mbtree: with it x264 gives other bytes at each run on processors with AVX-512.
    "h264": Coder("libx264", 18, 51, True, {"x264-params": "mbtree=0"}),
    # As for generated clips: realtime is twice as fast as good at the same quality.
    "vp9": Coder("libvpx-vp9", 20, 63, False, {"deadline": "realtime", "cpu-used": "5", "row-mt": "1", "b": "0"}),
    "av1": Coder("libsvtav1", 25, 63, False, {"preset": "8"}),
    # Gifs and folders are made from these. Level 3: 14 ms for 640x480 where the usual takes 46, for 12 % more bytes.
    "png": Coder("png", 0, 0, False, {"pred": "paeth", "compression_level": "3"}),
}
CODECS: dict[Kind, tuple[Codec, ...]] = {  # that a kind of file can hold; the first is the default
    "mp4": ("h264", "vp9", "av1"),
    "mov": ("h264",),
    "mkv": ("h264", "vp9", "av1"),
    "webm": ("vp9", "av1"),
    "gif": ("png",),
    "png": ("png",),
}


def clock_of(time_base: Fraction, divisions: int = 1) -> Fraction:
    """The tick, in seconds, in which times of a source and of frames put between its frames are whole numbers.

    Args:
        time_base: of the source's video stream, in seconds; the times of its frames are multiples of it.
        divisions: frames of the output for one of the source: the in-between frames are that fraction apart.

    Returns:
        1/n. Where n would be above `FINEST`, 1/1000000: times are then rounded to that.
    """
    ticks = time_base.denominator * divisions
    return Fraction(1, ticks if ticks <= FINEST else 1_000_000)


@dataclass(frozen=True)
class Encoding:
    """How the frames of one clip are stored.

    Raises:
        UsageError: a codec that the kind of file cannot hold, a crf or preset out of range.
    """

    kind: Kind
    size: tuple[int, int]
    """(height, width) in pixels. Odd sizes are stored as 4:4:4 by H.264, which not every player shows."""
    rate: Fraction
    """Frames per second, on average."""
    clock: Fraction
    """Seconds a tick, 1/n; see `clock_of`."""
    bits: int = 8
    """Of the source's samples. More than 8 are stored as 10, in PNG as 16."""
    colour: tuple[int, int, int, int] = UNKNOWN
    """Matrix, primaries, transfer, range by the codes of ISO/IEC 23091-2, as in `VideoInfo`."""
    aspect: Fraction = Fraction(1)
    """Width of a pixel over its height."""
    alpha: bool = False
    """Whether frames come with alpha, kept by gif (1 bit) and png; elsewhere they are put on black."""
    codec: Codec | None = None
    """None for the usual one of the kind of file. For webm of more than 8 bits that is AV1: VP9 is encoded in 8."""
    crf: int | None = None
    """Constant rate factor, lower is better; None for 18 (h264), 20 (vp9), 25 (av1)."""
    preset: str = "medium"
    """Of h264."""
    threads: int = 4
    """Of the encoder. Fixed, and not the number of cores, because the bytes depend on it."""
    coder: Coder = field(init=False, repr=False)

    def __post_init__(self) -> None:
        choices = CODECS[self.kind]
        codec = self.codec or ("av1" if self.kind == "webm" and self.bits > 8 else choices[0])
        if codec not in choices:
            raise UsageError(f"--codec {codec} cannot be put into {self.kind}: choose {' or '.join(choices)}")
        if codec == "av1" and min(self.size) < AV1_SMALLEST:
            raise UsageError(f"--codec av1 needs {AV1_SMALLEST} pixels each way, not {self.size}: choose mp4 and h264")
        object.__setattr__(self, "codec", codec)
        object.__setattr__(self, "coder", CODERS[codec])
        self._check_quality()

    def _check_quality(self) -> None:
        if self.crf is not None and not self.coder.worst:
            raise UsageError(f"--crf {self.crf} has no meaning for {self.kind}: it is for mp4, mov, mkv and webm")
        if self.crf is not None and not 0 <= self.crf <= self.coder.worst:
            raise UsageError(f"--crf {self.crf} must be 0..{self.coder.worst} for {self.codec}")
        if self.preset not in PRESETS:
            raise UsageError(f"preset {self.preset!r} is none of {', '.join(PRESETS)}")

    @property
    def lossless(self) -> bool:
        return self.codec == "png"

    @property
    def deep(self) -> bool:
        """Whether samples are stored in more than 8 bits: not in gif, and not by the encoder of VP9."""
        return self.bits > 8 and self.kind != "gif" and self.codec != "vp9"

    @property
    def keeps_alpha(self) -> bool:
        return self.alpha and self.lossless

    @property
    def halved(self) -> bool:
        """Whether chroma has half the size: always for VP9 and AV1, at even sizes for H.264."""
        return self.codec in ("vp9", "av1") or not (self.size[0] % 2 or self.size[1] % 2)

    @property
    def pixels(self) -> str:
        """The pixel format, by ffmpeg's name."""
        if self.lossless:
            return {(0, 0): "rgb24", (0, 1): "rgba", (1, 0): "rgb48be", (1, 1): "rgba64be"}[self.deep, self.alpha]
        return ("yuv420p" if self.halved else "yuv444p") + ("10le" if self.deep else "")

    @property
    def options(self) -> dict[str, str]:
        """Options of the encoder."""
        quality = {"crf": str(self.coder.crf if self.crf is None else self.crf)} if self.coder.worst else {}
        parallel = {"svtav1-params": f"lp={self.threads}"} if self.codec == "av1" else {}
        return {**self.coder.options, **quality, **parallel, **({"preset": self.preset} if self.coder.presets else {})}


def stored_colour(colour: tuple[int, int, int, int], kind: Kind) -> tuple[int, int, int, int]:
    """The colour tags of an output: those of its source, with the matrix and range that its pixels have then.

    RGB put into a video becomes BT.709 of limited range; a video put into gif or PNG becomes RGB.
    """
    matrix, primaries, transfer, _ = colour
    if kind in ("gif", "png"):
        return (0, primaries, transfer, 2)
    if matrix != 0:
        return colour
    return (1, primaries if primaries not in (0, 2) else 1, transfer if transfer not in (0, 2) else 1, 1)
