"""What a video file says about itself."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from hvgcli.errors import MediaError
from hvgcli.video.opening import alpha_decoder, decoded, is_cover, opened, rate_of
from hvgcli.video.pixels import bits_of, has_alpha, orientation

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream


@dataclass(frozen=True)
class StreamInfo:
    """A stream of a file other than its video."""

    index: int
    kind: str
    """"audio", "subtitle", "data" or "attachment"; "video" for a second video, "cover" for a picture."""
    codec: str | None
    language: str | None
    title: str | None = None
    channels: int | None = None
    """Of sound."""
    sample_rate: int | None = None
    """Of sound, Hz."""


@dataclass(frozen=True)
class VideoInfo:
    """What a file says about its first video stream."""

    path: Path
    container: str
    """Names of the container format, as ffmpeg has them ("mov,mp4,m4a,3gp,3g2,mj2")."""
    duration: float | None
    """Seconds; None where the file does not say."""
    width: int
    """Pixels as displayed, after rotation and before the pixel aspect."""
    height: int
    coded_size: tuple[int, int]
    """(height, width) of the stored frames, before rotation."""
    rate: Fraction
    """Frames per second; the average of a file with a variable rate."""
    frames: int | None
    """Frames by the file's header; None where it does not say (see `count_frames`)."""
    rotation: int
    """Degrees, counterclockwise, that make a stored frame upright: 0, 90, 180 or -90."""
    sample_aspect_ratio: Fraction
    """Width of a stored pixel over its height."""
    codec: str
    pix_fmt: str | None
    colour: tuple[int, int, int, int]
    """Matrix, primaries, transfer and range by the codes of ISO/IEC 23091-2 (1 = BT.709, 2 = unknown);
    range 0 = unknown, 1 = limited, 2 = full."""
    streams: tuple[StreamInfo, ...]
    metadata: dict[str, str]
    """Tags of the container, keys in lower case."""
    usual_rate: Fraction
    """The rate that most frames seem to keep, where it differs from the average."""
    mirrored: bool
    """Whether left and right are exchanged after the rotation."""
    bits: int
    """Of a sample: 8, or more, at most 16."""
    alpha: bool
    interlaced: bool
    """Whether the first frame is made of two fields."""
    chapters: tuple[str, ...]
    """Titles, "" for a chapter without."""

    @property
    def aspect(self) -> Fraction:
        """Width of an upright pixel over its height."""
        ratio = self.sample_aspect_ratio
        return 1 / ratio if self.rotation in (90, -90) else ratio

    @property
    def hdr(self) -> str | None:
        """ "PQ" or "HLG" for a transfer of high dynamic range, else None."""
        return {16: "PQ", 18: "HLG"}.get(self.colour[2])


def _stream_info(stream: Stream) -> StreamInfo:
    context = stream.codec_context
    kind = "cover" if is_cover(stream) else str(stream.type)
    return StreamInfo(
        index=stream.index,
        kind=kind,
        codec=context.name if context else None,
        language=stream.metadata.get("language"),
        title=stream.metadata.get("title"),
        channels=getattr(context, "channels", None) if kind == "audio" else None,
        sample_rate=getattr(context, "sample_rate", None) if kind == "audio" else None,
    )


def _chapters(container: InputContainer) -> tuple[str, ...]:
    return tuple(chapter["metadata"].get("title", "") for chapter in container.chapters())


def probe(path: Path) -> VideoInfo:
    """Read what a video file says about itself; decodes one frame, for the rotation.

    Raises:
        MediaError: the file is missing, a folder, unreadable, without video, or its first frame is damaged.
    """
    with opened(path) as (container, stream), contextlib.closing(decoded(container, stream, path)) as frames:
        first = next(frames, None)
        if first is None:
            raise MediaError(f"{path}: has no frames")
        turn, context, aspect = orientation(first), stream.codec_context, stream.sample_aspect_ratio
        height, width = first.height, first.width
        colour = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
        return VideoInfo(
            path=path,
            container=container.format.name,
            duration=container.duration / 1_000_000 if container.duration else None,
            width=height if turn.transpose else width,
            height=width if turn.transpose else height,
            coded_size=(height, width),
            rate=rate_of(stream),
            frames=stream.frames or None,
            rotation=turn.rotation,
            sample_aspect_ratio=Fraction(aspect) if aspect else Fraction(1),
            codec=context.name,
            pix_fmt=context.pix_fmt,
            colour=(int(colour[0]), int(colour[1]), int(colour[2]), int(colour[3])),
            streams=tuple(_stream_info(other) for other in container.streams if other.index != stream.index),
            metadata={key.lower(): value for key, value in container.metadata.items()},
            usual_rate=stream.guessed_rate or rate_of(stream),
            mirrored=turn.mirrored,
            bits=bits_of(first.format),
            alpha=has_alpha(first.format) or alpha_decoder(stream) is not None,
            interlaced=first.interlaced_frame,
            chapters=_chapters(container),
        )
