"""What a video file says about itself."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from hvgcli.errors import MediaError
from hvgcli.video.opening import decoded, opened, quarter_turn, rate_of

if TYPE_CHECKING:
    from av.container import InputContainer


@dataclass(frozen=True)
class StreamInfo:
    """A stream of a file other than its video."""

    index: int
    kind: str
    """"audio", "subtitle", "data" or "attachment"."""
    codec: str | None
    language: str | None


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
    """Width of a pixel over its height."""
    codec: str
    pix_fmt: str | None
    colour: tuple[int, int, int, int]
    """Matrix, primaries, transfer and range by the codes of ISO/IEC 23091-2 (1 = BT.709, 2 = unknown);
    range 0 = unknown, 1 = limited, 2 = full."""
    streams: tuple[StreamInfo, ...]
    metadata: dict[str, str]
    """Tags of the container, keys in lower case."""


def _other_streams(container: InputContainer) -> tuple[StreamInfo, ...]:
    others = (stream for stream in container.streams if stream.type != "video")
    return tuple(
        StreamInfo(s.index, s.type, s.codec_context.name if s.codec_context else None, s.metadata.get("language"))
        for s in others
    )


def probe(path: Path) -> VideoInfo:
    """Read what a video file says about itself; decodes one frame, for the rotation.

    Raises:
        MediaError: the file is missing, a folder, unreadable, without video, or its first frame is damaged.
    """
    with opened(path) as (container, stream), contextlib.closing(decoded(container, stream, path)) as frames:
        first = next(frames, None)
        if first is None:
            raise MediaError(f"{path}: has no frames")
        turn, context, aspect = quarter_turn(first), stream.codec_context, stream.sample_aspect_ratio
        height, width = first.height, first.width
        colour = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
        return VideoInfo(
            path=path,
            container=container.format.name,
            duration=container.duration / 1_000_000 if container.duration else None,
            width=height if turn in (90, -90) else width,
            height=width if turn in (90, -90) else height,
            coded_size=(height, width),
            rate=rate_of(stream),
            frames=stream.frames or None,
            rotation=turn,
            sample_aspect_ratio=Fraction(aspect) if aspect else Fraction(1),
            codec=context.name,
            pix_fmt=context.pix_fmt,
            colour=(int(colour[0]), int(colour[1]), int(colour[2]), int(colour[3])),
            streams=_other_streams(container),
            metadata={key.lower(): value for key, value in container.metadata.items()},
        )
