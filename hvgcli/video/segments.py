"""Segments: the short files that a long clip is encoded into, one after the other.

A segment holds the frames of a stretch of the clip and nothing else. It begins with a key frame and
refers to no other segment, so that `remux.assemble` can join the packets of all of them unchanged. It
has its name only when it is complete and on the disk. Its times are exact: it counts in the clip's
clock from its first frame, whose time is in its comment.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from hvgcli.errors import MediaError
from hvgcli.video.colour import FULL_RANGE, Samples, coded_planes
from hvgcli.video.encoding import Encoding
from hvgcli.video.files import beside, reason

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

SUFFIX = {"png": ".mov"}  # of a segment by its codec, else .mp4
START = "hvg_start"


def segment_name(number: int, encoding: Encoding) -> str:
    """File name of segment `number`."""
    return f"{number:06d}{SUFFIX.get(str(encoding.codec), '.mp4')}"


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Errors of PyAV and of the system as one line about `path`."""
    import av

    try:
        yield
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path}: cannot be written ({reason(error)})") from error


def settle(part: Path, path: Path) -> None:
    """Give a complete file its name, when its bytes are on the disk: after a power cut it is whole or not there."""
    for name in (part, path.parent):
        if name == path.parent:
            part.replace(path)
        handle = os.open(name, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _with_depth(image: Samples, deep: bool) -> Samples:
    """A picture as uint16 where `deep`, else as uint8."""
    if image.dtype == np.uint8:
        return image.astype(np.uint16) * 257 if deep else image
    return image if deep else ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _on_black(image: Samples, alpha: Samples) -> Samples:
    weight = alpha[..., None] / np.iinfo(alpha.dtype).max
    return np.rint(image * weight).astype(image.dtype)


def _fill(frame: VideoFrame, planes: tuple[Samples, ...]) -> None:
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(cast(Any, plane), np.uint8).reshape(plane.height, plane.line_size)
        packed = np.ascontiguousarray(values).view(np.uint8)
        rows[:, : packed.shape[1]] = packed


def _frame(encoding: Encoding, image: Samples, alpha: Samples | None) -> VideoFrame:
    """A frame in the pixel format of the encoder."""
    from av.video.frame import VideoFrame

    height, width = encoding.size
    if encoding.lossless:
        image = _with_depth(image, encoding.deep)
        if encoding.alpha:
            opaque = np.full((height, width), np.iinfo(image.dtype).max, image.dtype)
            image = np.dstack([image, opaque if alpha is None else _with_depth(alpha, encoding.deep)])
        return VideoFrame.from_ndarray(np.ascontiguousarray(image), format=encoding.pixels)
    if alpha is not None:
        image = _on_black(image, alpha)
    frame = VideoFrame(width, height, encoding.pixels)
    full, bits = encoding.colour[3] == FULL_RANGE, 10 if encoding.deep else 8
    _fill(frame, coded_planes(image, matrix=encoding.colour[0], full=full, bits=bits, halved=encoding.halved))
    return frame


class SegmentWriter:
    """Writes one segment frame by frame; use it in a `with` block.

    The file appears under its name when the block ends, and not at all when it is left by an exception.
    A process that is killed leaves `<path>.part`. The same frames give the same bytes.

    Raises:
        MediaError: the file cannot be written, or no frame was.
    """

    def __init__(self, path: Path, encoding: Encoding) -> None:
        self.path, self.encoding = path, encoding
        self.frames = 0
        self._part = beside(path)
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._held: Packet[Stream] | None = None
        self._start = Fraction(0)
        self._tick, self._length = -1, 1

    def __enter__(self) -> Self:
        return self

    def _open(self, start: Fraction) -> None:
        """Open the file at the first frame, because its time stands in the header."""
        import av

        encoding, self._start = self.encoding, start
        os.environ.setdefault("SVT_LOG", "1")  # the encoder of AV1 talks to stderr by itself: errors only
        exact = {"fflags": "+bitexact", "video_track_timescale": str(encoding.clock.denominator)}
        container = av.open(f"file:{self._part}", "w", format=self.path.suffix[1:], container_options=exact)
        self._container = container
        container.metadata["comment"] = json.dumps({START: str(start)})
        self._stream = stream = cast("VideoStream", container.add_stream(encoding.coder.encoder, rate=encoding.rate))
        context = stream.codec_context
        context.height, context.width, context.pix_fmt = *encoding.size, encoding.pixels
        context.time_base = stream.time_base = encoding.clock
        context.sample_aspect_ratio = encoding.aspect
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = encoding.colour
        context.thread_count = encoding.threads
        context.flags |= av.codec.context.Flags.bitexact | av.codec.context.Flags.closed_gop
        context.options = encoding.options

    def write(self, image: Samples, time: Fraction, duration: Fraction, alpha: Samples | None = None) -> None:
        """Append a frame.

        Args:
            image: uint8 or uint16 (H, W, 3) of the encoding's size, RGB over the range of its type.
            time: seconds, in the clock of the source; above that of the frame before, and rounded to the
                encoding's clock (one tick later where two frames round to the same).
            duration: seconds that the frame is shown. It counts for the last one of the segment.
            alpha: uint8 or uint16 (H, W), largest for opaque; None for all opaque.
        """
        if image.dtype not in (np.uint8, np.uint16) or image.shape != (*self.encoding.size, 3):
            height, width = self.encoding.size
            raise ValueError(f"a frame is {image.dtype} {image.shape}, not uint8 or uint16 ({height}, {width}, 3)")
        with writing(self.path):
            if self._container is None:
                self._open(time)
            clock = self.encoding.clock
            frame = _frame(self.encoding, image, alpha)
            self._tick = max(round((time - self._start) / clock), self._tick + 1)
            self._length = max(round(duration / clock), 1)
            frame.pts, frame.time_base = self._tick, clock
            self._encode(frame)
        self.frames += 1

    def _encode(self, frame: VideoFrame | None) -> None:
        """Encode a frame, or what is left; the last packet is held back until its duration is known."""
        for packet in cast("VideoStream", self._stream).encode(frame):
            if self._held is not None:
                cast("OutputContainer", self._container).mux(self._held)
            self._held = packet

    def _finish(self) -> None:
        if self._container is None:
            raise MediaError(f"{self.path}: no frames were written to it")
        with writing(self.path):
            self._encode(None)
            last = cast("Packet[Stream]", self._held)
            last.duration = self._length  # of the last frame shown; a segment is read back so
            self._container.mux(last)
            self._container.close()
            settle(self._part, self.path)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            if self._container is not None:
                with contextlib.suppress(Exception):  # it is thrown away: what went wrong is on its way already
                    self._container.close()
            self._part.unlink(missing_ok=True)


@dataclass(frozen=True)
class Segment:
    """What a segment holds, in ticks of its clip's clock."""

    path: Path
    start: Fraction
    """Time of the first frame, in seconds."""
    times: tuple[int, ...]
    """Ticks from the first frame to each frame, in the order of the packets."""
    length: int
    """Ticks from the first frame to the end of the last."""
    identity: tuple[object, ...]
    """Codec, its header and the size: equal for segments that can be joined."""

    @property
    def depth(self) -> int:
        """How many packets a frame may come after its place in the order of display."""
        rank = {time: place for place, time in enumerate(sorted(self.times))}
        return max(place - rank[time] for place, time in enumerate(self.times))


@contextlib.contextmanager
def opened_segment(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    import av

    try:
        # The list of edits is for players: without it, times are simply those of the packets.
        container = av.open(f"file:{path}", "r", options={"protocol_whitelist": "file", "ignore_editlist": "1"})
        with container:
            yield container, container.streams.video[0]
    except (av.FFmpegError, OSError, ValueError, IndexError, KeyError) as error:
        raise MediaError(f"{path}: is not a segment that was finished ({reason(error)}): remove it") from error


def segment_packets(path: Path, clock: Fraction) -> list[Packet[VideoStream]]:
    """The packets of a segment, with `pts` and `duration` in ticks of `clock`, 0 at the first frame.

    Raises:
        MediaError: the segment is damaged.
    """
    with opened_segment(path) as (container, stream):
        packets = [packet for packet in container.demux(stream) if packet.size]
        unit = cast(Fraction, stream.time_base)
        first = min(cast(int, packet.pts) for packet in packets)
        for packet in packets:
            pts, duration = (cast(int, packet.pts) - first) * unit / clock, (packet.duration or 0) * unit / clock
            packet.time_base, packet.dts = clock, None
            packet.pts, packet.duration = round(pts), round(duration)
    return packets


def read_segment(path: Path, clock: Fraction) -> Segment:
    """What a segment holds; reads its packets and decodes none.

    Raises:
        MediaError: the segment is missing, damaged or not one.
    """
    with opened_segment(path) as (container, stream):
        start = Fraction(json.loads(container.metadata["comment"])[START])
        context = stream.codec_context
        identity = (context.name, context.width, context.height, context.pix_fmt, context.extradata)
    packets = segment_packets(path, clock)
    times = tuple(cast(int, packet.pts) for packet in packets)
    return Segment(path, start, times, max(times) + cast(int, packets[-1].duration), identity)
