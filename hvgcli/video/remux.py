"""Joins segments into the final file, with everything of the source that is not its video.

Packets are copied, never encoded again: those of the segments and those of the source's sound,
subtitles, pictures and attachments. Times stay those of the source, so that what was in sync is.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from hvgcli.errors import MediaError, UsageError
from hvgcli.video.encoding import Encoding, Kind
from hvgcli.video.files import beside, reason
from hvgcli.video.pictures_out import write_folder, write_gif
from hvgcli.video.segments import Segment, read_segment, segment_packets, settle, writing
from hvgcli.video.streams import Others, Span, joined_tags, lost_tags, no_others, others_of

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

FORMATS: dict[Kind, str] = {"mp4": "mp4", "mov": "mov", "mkv": "matroska", "webm": "webm"}
OWN_CLOCK = ("mov", "matroska")  # containers whose times begin with the clip; those of broadcasts begin anywhere
COARSEST = 10_000  # ticks a second that an mp4 has at least, for all but its frames
Timed = tuple[float, "Packet[Stream]"]


def _checked(segments: Sequence[Path], encoding: Encoding) -> list[Segment]:
    """What the segments hold; MediaError where they do not follow each other."""
    if not segments:
        raise MediaError("nothing to join: no segment was made")
    read = [read_segment(path, encoding.clock) for path in segments]
    for before, after in itertools.pairwise(read):
        if after.identity != before.identity:
            raise MediaError(f"{after.path}: was made with other settings than {before.path}: start again from nothing")
        if after.start <= before.start + max(before.times) * encoding.clock:
            raise MediaError(f"{after.path}: begins before {before.path} ends: start again from nothing")
    return read


def _shift(first: Fraction, source: InputContainer | None, span: Span | None) -> Fraction:
    """Seconds to add to all times of the source, so that a span begins at 0 and no frame before it."""
    if span is not None:
        return -span.start
    origin = Fraction(0)
    if source is not None and source.format.name.split(",")[0] not in OWN_CLOCK and source.start_time is not None:
        origin = Fraction(source.start_time, 1_000_000)
    return -min(origin, first) if origin else max(-first, Fraction(0))


def _video_packets(
    segments: Sequence[Segment], encoding: Encoding, shift: Fraction
) -> Iterator[tuple[float, Packet[VideoStream]]]:
    """The packets of all segments with the times of the whole clip, each after its time of decoding in seconds.

    A frame is decoded `depth` frames before it is shown, `depth` being the largest that any segment
    needs: so decoding times rise without a step at the joints, also where the rate varies.
    """
    clock, depth = encoding.clock, max(segment.depth for segment in segments)
    shown: deque[int] = deque(maxlen=depth + 1)
    for segment in segments:
        start = round((segment.start + shift) / clock)
        order = sorted(segment.times)
        lengths = dict(zip(order, [*order[1:], segment.length], strict=True))
        if not shown:  # times before the first frame for those that are decoded before any is shown
            step = lengths[order[0]]
            shown.extend(start - step * ahead for ahead in range(depth, 0, -1))
        for packet, following in zip(segment_packets(segment.path, clock), order, strict=True):
            time = cast(int, packet.pts)
            shown.append(start + following)
            packet.pts, packet.dts, packet.duration = start + time, shown[0], lengths[time] - time
            yield float(packet.dts * clock), packet


def _video_stream(out: OutputContainer, segment: Segment, encoding: Encoding, tags: Mapping[str, str]) -> VideoStream:
    import av

    with av.open(f"file:{segment.path}", "r", options={"protocol_whitelist": "file"}) as container:
        stream = out.add_stream_from_template(container.streams.video[0], opaque=True)
    stream.time_base = encoding.clock
    context = stream.codec_context
    context.framerate = encoding.rate
    if encoding.codec == "h265" and encoding.kind in ("mp4", "mov"):
        context.codec_tag = "hvc1"  # QuickTime plays only this one of the two tags of H.265
    stream.metadata.update(tags)
    return stream


def _container_options(encoding: Encoding) -> dict[str, str]:
    options = {"fflags": "bitexact"}  # no random identifiers: the same packets, the same file
    if encoding.kind in ("mp4", "mov"):
        ticks = encoding.clock.denominator
        coarse = ticks * -(-COARSEST // ticks)  # chapters and edits count in this; the usual 1000 moves frames
        options |= {"movflags": "faststart", "video_track_timescale": str(ticks), "movie_timescale": str(coarse)}
    return options


def _mux(
    out: OutputContainer,
    video: Iterable[tuple[float, Packet[VideoStream]]],
    stream: VideoStream,
    others: Iterable[Timed],
) -> None:
    """Write packets of all streams in the order of their decoding times."""

    def of_video() -> Iterator[Timed]:
        for time, packet in video:
            packet.stream = stream
            yield time, cast("Packet[Stream]", packet)

    for _, packet in heapq.merge(of_video(), others, key=lambda timed: timed[0]):
        out.mux(packet)


def _join(
    part: Path,
    segments: Sequence[Segment],
    encoding: Encoding,
    source: InputContainer | None,
    audio: bool,
    span: Span | None,
    metadata: Mapping[str, Any] | None,
) -> list[str]:
    """Write the file and say what of the source it lacks."""
    import av

    kind = FORMATS[encoding.kind]
    shift = _shift(segments[0].start, source, span)
    with av.open(f"file:{part}", "w", format=kind, container_options=_container_options(encoding)) as out:
        tags, warnings = joined_tags(source, metadata)
        out.metadata.update(tags)
        others: Others = no_others() if source is None else others_of(source, kind, shift, span, audio)
        stream = _video_stream(out, segments[0], encoding, others.video_tags)
        others.add_to(out)
        _mux(out, _video_packets(segments, encoding, shift), stream, others.packets())
    return [*warnings, *others.warnings, *lost_tags(part, tags)]


@contextlib.contextmanager
def _source(path: Path | None) -> Iterator[InputContainer | None]:
    import av

    if path is None or path.is_dir():
        yield None
        return
    try:
        container = av.open(f"file:{path}", "r", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path}: cannot be read as a video ({reason(error)})") from error
    with container:
        yield container


def _refuse_source(source: Path | None, target: Path) -> None:
    if source is not None and target.exists() and target.samefile(source):
        raise UsageError(f"{target}: is the input: name another output")


def assemble(
    segments: Sequence[Path],
    source: Path | None,
    target: Path,
    *,
    encoding: Encoding,
    audio: bool = True,
    span: tuple[Fraction, Fraction] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> list[str]:
    """Join segments into one file, with the source's other streams, chapters and tags.

    The file appears under its name complete and on the disk, or not at all; a process that is killed
    leaves `<target>.part`. An existing file is replaced. Memory does not grow with the length.

    Args:
        segments: in order, all written with `encoding`.
        source: the file that the clip was read from; None or a folder of frames for no other streams.
        target: the file to write; for png the folder of frames, or with a single frame a file `x.png`.
        audio: whether to keep the sound.
        span: first and last moment of the source, in seconds, that the segments cover: only the
            packets of that span are copied, and the output begins at 0. None for all of the source.
        metadata: provenance, JSON values; `hvgcli.video.provenance` reads it back.

    Returns:
        One sentence for each thing of the source that this kind of file cannot hold.

    Raises:
        MediaError: a segment is missing, damaged or of other settings; the target cannot be written.
        UsageError: the target is the source.
        OutputExistsError: the target is a folder with other files than frames.
    """
    _refuse_source(source, target)
    checked = _checked(segments, encoding)
    target.parent.mkdir(parents=True, exist_ok=True)
    if encoding.kind == "png":
        return write_folder(checked, encoding, target, metadata)
    if target.is_dir():
        raise MediaError(f"{target}: is a folder: name a file")
    part = beside(target)
    try:
        with writing(target):
            if encoding.kind == "gif":
                warnings = write_gif(checked, encoding, part, source, metadata)
            else:
                with _source(source) as container:
                    cut = None if span is None else Span(*span)
                    warnings = _join(part, checked, encoding, container, audio, cut, metadata)
            settle(part, target)
    finally:
        part.unlink(missing_ok=True)
    return warnings


def send(file: Path, stream: BinaryIO) -> None:
    """Copy a finished file to a stream, as for `-o -`: what is sent is as good as a file, ready to seek.

    Raises:
        MediaError: the reader has gone, or the stream cannot be written.
    """
    try:
        with file.open("rb") as data:
            shutil.copyfileobj(data, stream)
        stream.flush()
    except OSError as error:
        raise MediaError(f"standard output cannot be written ({reason(error)})") from error
