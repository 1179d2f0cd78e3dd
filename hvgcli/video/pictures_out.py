"""Gifs and folders of PNG frames, made from lossless segments."""

from __future__ import annotations

import re
import shutil
import struct
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from hvgcli.errors import OutputExistsError
from hvgcli.video.encoding import Encoding
from hvgcli.video.files import beside
from hvgcli.video.pictures import FIRST_FRAME, add_gif_comment, comment_tag
from hvgcli.video.segments import Segment, opened_segment, segment_packets, writing

if TYPE_CHECKING:
    from av.filter.context import FilterContext
    from av.filter.graph import Graph
    from av.video.frame import VideoFrame

HUNDREDTH = Fraction(1, 100)  # the clock of gifs, in seconds
HALF = Fraction(1, 2)
SHORTEST = 2  # hundredths: browsers show shorter frames for 10
OPAQUE_FROM = 128  # gif has pixels that are there or not
PALETTE = "stats_mode=diff"  # as for generated clips
DITHER = f"dither=floyd_steinberg:diff_mode=rectangle:alpha_threshold={OPAQUE_FROM}"
PNG_HEAD = 33  # bytes of signature and IHDR, after which text may stand


class Placed(NamedTuple):
    """A frame of a gif."""

    frame: VideoFrame
    time: int
    """Hundredths of a second from the first frame."""
    end: int


def _frames(segments: Sequence[Segment], clock: Fraction) -> Iterator[tuple[VideoFrame, Fraction, Fraction]]:
    """All frames, each with its start and end in seconds."""
    for segment in segments:
        ends = [*segment.times[1:], segment.length]  # lossless frames are stored in the order of display
        with opened_segment(segment.path) as (container, stream):
            decoded = container.decode(stream)
            for frame, time, end in zip(decoded, segment.times, ends, strict=True):
                yield frame, segment.start + time * clock, segment.start + end * clock


def _placed(segments: Sequence[Segment], clock: Fraction) -> Iterator[Placed]:
    """The frames that a gif can show: none less than `SHORTEST` after the one before it."""
    shown = -SHORTEST
    for frame, start, end in _frames(segments, clock):
        time, close = (round((moment - segments[0].start) / HUNDREDTH) for moment in (start, end))
        if time - shown >= SHORTEST:
            shown = time
            yield Placed(frame, time, close)


def _source_node(graph: Graph, frame: VideoFrame) -> FilterContext:
    return graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=HUNDREDTH)


def _push(node: FilterContext, frame: VideoFrame, time: int) -> None:
    frame.pts, frame.time_base = time, HUNDREDTH
    node.push(frame)


def _pulled(sink: FilterContext) -> Iterator[VideoFrame]:
    """The frames that a graph has ready. Only this makes it work: what is pushed and not asked for piles up."""
    try:
        while True:
            yield cast("VideoFrame", sink.pull())
    except (BlockingIOError, EOFError):  # it needs more, or has ended
        return


class Palette(NamedTuple):
    """What is known of a gif after all frames were seen once."""

    colours: VideoFrame
    """256 colours for all of them."""
    frames: int
    """Those that the gif shows."""
    last: int
    """Hundredths of a second for which the last one is shown."""


def _palette(segments: Sequence[Segment], encoding: Encoding) -> Palette:
    from av.filter import Graph

    graph, source, frames, last = Graph(), None, 0, SHORTEST
    sink = graph.add("buffersink")
    for placed in _placed(segments, encoding.clock):
        if source is None:
            source = _source_node(graph, placed.frame)
            generator = graph.add("palettegen", f"{PALETTE}:reserve_transparent={int(encoding.alpha)}")
            graph.link_nodes(source, generator, sink).configure()
        _push(source, placed.frame, placed.time)
        deque(_pulled(sink), maxlen=0)  # nothing comes before the last frame
        frames, last = frames + 1, max(placed.end - placed.time, SHORTEST)
    cast("FilterContext", source).push(None)
    return Palette(next(_pulled(sink)), frames, last)


def _with_palette(segments: Sequence[Segment], encoding: Encoding, palette: VideoFrame) -> Iterator[VideoFrame]:
    """The frames in the 256 colours of the palette."""
    from av.filter import Graph

    graph, source = Graph(), None
    sink = graph.add("buffersink")
    for placed in _placed(segments, encoding.clock):
        if source is None:
            source, colours = _source_node(graph, placed.frame), _source_node(graph, palette)
            mapping = graph.add("paletteuse", DITHER)
            source.link_to(mapping, 0, 0)
            colours.link_to(mapping, 0, 1)
            mapping.link_to(sink)
            graph.configure()
            _push(colours, palette, 0)
            colours.push(None)
        _push(source, placed.frame, placed.time)
        yield from _pulled(sink)
    cast("FilterContext", source).push(None)
    yield from _pulled(sink)


def _loops(source: Path | None) -> int:
    """How often a gif like the source is played, as ffmpeg counts: 0 for ever, -1 once; for ever if it is no gif."""
    from PIL import Image

    if source is None or not source.is_file():
        return 0
    try:
        with Image.open(source, formats=["GIF"]) as image:
            return int(image.info.get("loop", -1)) if getattr(image, "is_animated", False) else 0
    except (OSError, SyntaxError, ValueError, EOFError):
        return 0


def write_gif(
    segments: Sequence[Segment],
    encoding: Encoding,
    part: Path,
    source: Path | None,
    metadata: Mapping[str, Any] | None,
) -> list[str]:
    """Write a gif with the delays of the frames, rounded to 1/100 s without drift; transparent where alpha is low.

    Returns:
        A warning where frames follow each other too fast for a gif, and are left out.
    """
    import av

    palette, plain = _palette(segments, encoding), beside(part, ".plain")
    options = {"loop": str(_loops(source)), "final_delay": str(palette.last), "fflags": "+bitexact"}
    try:
        with av.open(f"file:{plain}", "w", format="gif", container_options=options) as out:
            stream = out.add_stream("gif", rate=100)
            context = stream.codec_context
            context.height, context.width, context.pix_fmt = *encoding.size, "pal8"
            context.time_base = stream.time_base = HUNDREDTH
            # A frame that leaves out what did not change cannot make anything transparent again.
            context.options = {"gifflags": "-offsetting-transdiff"} if encoding.alpha else {}
            for frame in _with_palette(segments, encoding, palette.colours):
                frame.time_base = HUNDREDTH
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        add_gif_comment(plain, part, comment_tag(metadata).get("comment", ""))
    finally:
        plain.unlink(missing_ok=True)
    total = sum(len(segment.times) for segment in segments)
    dropped = total - palette.frames
    return [f"{dropped} of {total} frames are left out: a gif shows at most 50 a second"] if dropped else []


def _text(key: str, value: str) -> bytes:
    """A text chunk of a PNG."""
    body = b"tEXt" + key.encode("latin-1") + b"\0" + value.encode("latin-1", "replace")
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def check_folder(folder: Path) -> None:
    """`OutputExistsError` where a folder cannot be replaced: when there is anything in it but frames."""
    if folder.is_dir():
        other = next((f.name for f in folder.iterdir() if not re.fullmatch(r"\d{6,}\.png", f.name)), None)
        if other is not None:
            raise OutputExistsError(f"{folder}: is a folder with other files ({other}): name a new folder")
    elif folder.exists():
        raise OutputExistsError(f"{folder}: is a file where a folder of frames should be: name another")


def _varies(segments: Sequence[Segment], encoding: Encoding) -> bool:
    """Whether a frame is more than half a frame away from where the average rate puts it."""
    start, places = segments[0].start, count()
    times = (segment.start - start + time * encoding.clock for segment in segments for time in segment.times)
    return any(abs(time * encoding.rate - place) > HALF for time, place in zip(times, places, strict=False))


def _write_frames(segments: Sequence[Segment], encoding: Encoding, folder: Path, tags: bytes) -> int:
    """Write each packet of the segments, which is a whole PNG, as a file; the count of them."""
    number = 0
    for segment in segments:
        for packet in segment_packets(segment.path, encoding.clock):
            data = bytes(packet)
            (folder / f"{number:06d}.png").write_bytes(data[:PNG_HEAD] + tags + data[PNG_HEAD:])
            number += 1
    return number


def _put(part: Path, folder: Path) -> None:
    """Give a finished folder its name; an older one of that name is whole until then."""
    old = beside(folder, ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.is_dir():
        folder.replace(old)
    part.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def write_folder(
    segments: Sequence[Segment], encoding: Encoding, target: Path, metadata: Mapping[str, Any] | None
) -> list[str]:
    """Write a folder of 000000.png, 000001.png, ..., named as `target` without ".png", with the rate as text.

    With a single frame and a `target` that ends in ".png", that file. An older folder of frames is replaced.

    Returns:
        A warning where the times of the frames vary, which a folder cannot say.

    Raises:
        OutputExistsError: the folder holds other files than frames.
        MediaError: it cannot be written.
    """
    folder = target.with_suffix("") if target.suffix.lower() == ".png" else target
    single = folder != target and sum(len(segment.times) for segment in segments) == 1
    if not single:
        check_folder(folder)
    part, varies = beside(target), _varies(segments, encoding)
    tags = b"".join(_text(*tag) for tag in {**comment_tag(metadata), "rate": str(encoding.rate)}.items())
    with writing(target):
        shutil.rmtree(part, ignore_errors=True)  # left by a run that was killed
        part.mkdir()
        try:
            _write_frames(segments, encoding, part, tags)
            if single:
                (part / FIRST_FRAME).replace(target)
            else:
                _put(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return [f"the frames are not evenly spaced, and a folder says only {encoding.rate} a second"] if varies else []
