"""The writer of generated clips."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast, get_args

import numpy as np

from hvgcli.errors import MediaError, UsageError
from hvgcli.video.encoders import Format, GifSink, PngSink, Sink, VideoSink, codec_arguments, raw_source
from hvgcli.video.files import interrupts_later, system_errors
from hvgcli.video.pictures import Frames, comment_tag

GIF_RATE_LIMIT = 50  # browsers slow frames shorter than 2/100 s down to 10 a second
CRF = {"mp4": (18, 51), "webm": (20, 63)}  # default and largest; both give about 41 dB on 128 px clips


def format_of(path: Path) -> Format:
    """The format that a file name asks for by its suffix; UsageError when it has none that is known."""
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in get_args(Format):
        raise UsageError(f"{path}: its name must end in .mp4, .gif, .webm or .png, or --format must be given")
    return cast(Format, suffix)


def _crf(kind: Format, crf: int | None) -> int:
    if kind not in CRF:
        if crf is not None:
            raise UsageError(f"--crf {crf} has no meaning for {kind}: it is for mp4 and webm")
        return 0
    default, largest = CRF[kind]
    if crf is not None and not 0 <= crf <= largest:
        raise UsageError(f"--crf {crf} must be 0..{largest} for {kind}")
    return default if crf is None else crf


class VideoWriter:
    """Writes a generated clip frame by frame; use it in a `with` block.

    The file appears complete under its name when the block ends, and not at all when it is left by an
    exception, Ctrl-C included. An existing file of that name is then replaced. Memory does not grow
    with length. The parent folder is made if need be.

    - mp4: H.264, colour by BT.709, limited range, ready to stream. yuv420p, which plays everywhere; for an
      odd width or height yuv444p, because yuv420p cannot hold it: exact, but not every player shows it.
    - webm: VP9, yuv420p at any size, same colours.
    - gif: one palette for the clip, endless loop. Times are in 1/100 s: a rate that does not divide 100 is
      kept on average. At most 50 frames per second.
    - png: a folder of 000000.png, 000001.png, ... named as `path` without ".png"; with exactly one frame and
      a `path` that ends in ".png", that file. The rate is in the text chunk "rate".

    Args:
        path: where to write.
        size: (height, width) of the frames in pixels, kept exactly.
        rate: frames per second, kept exactly but for gif.
        format: None to go by the suffix of `path`.
        crf: constant rate factor, lower is better; default 18 for mp4 (0..51), 20 for webm (0..63).
        metadata: provenance, JSON values; read back by `provenance`. None or empty leaves it out.
        threads: of the encoder of mp4 and webm; None for as many as it likes. The bytes depend on it.

    Attributes:
        path: the file, and after a `with` block that wrote several PNG frames their folder.

    Raises:
        UsageError: an unknown suffix, a crf or rate out of range.
        OutputExistsError: the folder for PNG frames holds other files.
        MediaError: the output cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        size: tuple[int, int],
        rate: Fraction,
        format: Format | None = None,
        crf: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        threads: int | None = None,
    ) -> None:
        self.path = path
        self.format: Format = format or format_of(path)
        self.size, self.rate = size, Fraction(rate)
        self._crf, self._tags, self._threads = _crf(self.format, crf), comment_tag(metadata), threads
        self._sink: Sink | None = None
        self._written = 0
        if self.rate <= 0 or (self.format == "gif" and self.rate > GIF_RATE_LIMIT):
            limit = f" and at most {GIF_RATE_LIMIT} for gif" if self.format == "gif" else ""
            raise UsageError(f"{self.rate} frames per second must be above 0{limit}")

    def _open(self) -> Sink:
        if self.format == "png":
            return PngSink(self.path, self.rate, self._tags)
        if self.path.is_dir():
            raise MediaError(f"{self.path}: is a folder: name a file")
        if self.format == "gif":
            return GifSink(self.path, self.size, self.rate, self._tags)
        source, codec = (
            raw_source(self.size, self.rate, "pipe:0"),
            codec_arguments(self.format, self.size, self._crf, self._threads),
        )
        return VideoSink(self.path, source, codec, self._tags)

    def __enter__(self) -> Self:
        try:
            with interrupts_later(), system_errors(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._sink = self._open()
        except KeyboardInterrupt:
            if self._sink is not None:
                self._sink.discard()
            raise
        return self

    def write(self, frames: Frames) -> None:
        """Append frames, uint8 (n, H, W, 3) RGB of the writer's size; n may differ from call to call."""
        if self._sink is None:
            raise ValueError("VideoWriter.write outside of its with block")
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != (*self.size, 3):
            expected = f"uint8 (n, {self.size[0]}, {self.size[1]}, 3)"
            raise ValueError(f"frames are {frames.dtype} {frames.shape}, not {expected}")
        if len(frames):
            with system_errors(self.path):
                self._sink.write(np.ascontiguousarray(frames))
        self._written += len(frames)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        sink, self._sink = cast(Sink, self._sink), None
        try:
            if kind is None:
                self._finish(sink)
        finally:
            sink.discard()

    def _finish(self, sink: Sink) -> None:
        if not self._written:
            raise MediaError(f"{self.path}: no frames were written to it")
        with system_errors(self.path):
            self.path = sink.finish()
