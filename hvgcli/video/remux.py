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
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast

from hvgcli.errors import MediaError, UsageError
from hvgcli.video.encoding import Encoding, Kind
from hvgcli.video.ffmpeg import Ffmpeg
from hvgcli.video.files import beside, reason
from hvgcli.video.pictures_out import check_folder, write_folder, write_gif
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
VideoPacket: TypeAlias = "Packet[VideoStream]"
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


class _Order:
    """When the frames of a whole clip are shown and decoded, in ticks of its clock.

    A frame is decoded `depth` frames before it is shown, `depth` being the largest that any segment
    needs: so decoding times rise without a step at the joints, also where the rate varies.
    """

    def __init__(self, segments: Sequence[Segment], clock: Fraction, shift: Fraction) -> None:
        self.segments = segments
        self.depth = max(segment.depth for segment in segments)
        self._starts = [round((segment.start + shift) / clock) for segment in segments]
        self.end = self._starts[-1] + segments[-1].length

    def shown(self, number: int) -> list[int]:
        """Times of the frames of a segment, in the order of display."""
        return [self._starts[number] + time for time in sorted(self.segments[number].times)]

    def before(self) -> list[int]:
        """Decoding times of the packets that are decoded before the first frame is shown.

        Players take a file to be as long as its decoding, which ends when the last packet's own frame has
        been shown for its time: so decoding begins before the first frame by as much as it ends early.
        """
        first, early = self.shown(0)[0], self._early()
        return [first - early * ahead // self.depth for ahead in range(self.depth, 0, -1)]

    def _early(self) -> int:
        """Ticks from the end of decoding to the end of the clip."""
        last: list[int] = []
        for number in reversed(range(len(self.segments))):
            last = [*self.shown(number), *last]
            if len(last) > self.depth:
                break
        own = self._starts[-1] + self.segments[-1].times[-1]
        ends = dict(zip(last, [*last[1:], self.end], strict=True))
        return self.end - (ends[own] - own) - last[-1 - self.depth]


def _video_packets(
    segments: Sequence[Segment], clock: Fraction, shift: Fraction
) -> Iterator[tuple[float, VideoPacket]]:
    """The packets of all segments with the times of the whole clip, each after its time of decoding in seconds."""
    order = _Order(segments, clock, shift)
    shown = deque(order.before(), maxlen=order.depth + 1)
    for number, segment in enumerate(segments):
        times = order.shown(number)
        start = times[0]
        lengths = dict(zip(times, [*times[1:], start + segment.length], strict=True))
        for packet, following in zip(segment_packets(segment.path, clock), times, strict=True):
            shown.append(following)
            time = start + cast(int, packet.pts)
            packet.pts, packet.dts, packet.duration = time, shown[0], lengths[time] - time
            yield float(packet.dts * clock), packet


def _video_stream(out: OutputContainer, segment: Segment, encoding: Encoding, tags: Mapping[str, str]) -> VideoStream:
    import av

    with av.open(f"file:{segment.path}", "r", options={"protocol_whitelist": "file"}) as container:
        stream = out.add_stream_from_template(container.streams.video[0], opaque=True)
    stream.time_base = encoding.clock
    context = stream.codec_context
    context.framerate = encoding.rate
    stream.metadata.update(tags)
    return stream


def _container_options(encoding: Encoding) -> dict[str, str]:
    options = {"fflags": "+bitexact"}  # no random identifiers: the same packets, the same file
    if encoding.kind in ("mp4", "mov"):
        ticks = encoding.clock.denominator
        coarse = ticks * -(-COARSEST // ticks)  # chapters and edits count in this; the usual 1000 moves frames
        options |= {"movflags": "faststart", "video_track_timescale": str(ticks), "movie_timescale": str(coarse)}
    return options


def _mux(
    out: OutputContainer,
    video: Iterable[tuple[float, VideoPacket]],
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
        _mux(out, _video_packets(segments, encoding.clock, shift), stream, others.packets())
    return [*warnings, *others.warnings, *lost_tags(part, tags)]


def _forgets_aspect(encoding: Encoding) -> bool:
    """Whether PyAV writes no pixel aspect: to Matroska, where the codec has none of its own."""
    return encoding.kind in ("mkv", "webm") and encoding.codec != "h264" and encoding.aspect != 1


def _set_aspect(part: Path, encoding: Encoding, target: Path) -> None:
    """Copy a finished file through the ffmpeg program, which can give it a pixel aspect."""
    second = beside(part, ".aspect")
    height, width = encoding.size
    shown = encoding.aspect * width / height
    copy = ["-copyts", "-i", f"file:{part}", "-map", "0", "-c", "copy"]
    aspect = ["-aspect:v:0", f"{shown.numerator}:{shown.denominator}", "-fflags", "+bitexact"]
    ffmpeg = Ffmpeg([*copy, *aspect, "-f", FORMATS[encoding.kind], f"file:{second}"], target)
    try:
        ffmpeg.finish()
        second.replace(part)
    finally:
        ffmpeg.stop()
        second.unlink(missing_ok=True)


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


def check_target(target: Path, kind: Kind) -> None:
    """Refuse a place where `assemble` could not put its result, before anything is made for it.

    Raises:
        MediaError: a file is to stand where a folder is.
        OutputExistsError: a folder of frames is to stand where other files are.
    """
    if kind == "png" and target.suffix.lower() != ".png":
        check_folder(target)
    elif target.is_dir():
        raise MediaError(f"{target}: is a folder: name a file")


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
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    if encoding.kind == "png":
        return write_folder(checked, encoding, target, metadata)
    check_target(target, encoding.kind)
    part = beside(target)
    try:
        with writing(target):
            if encoding.kind == "gif":
                warnings = write_gif(checked, encoding, part, source, metadata)
            else:
                with _source(source) as container:
                    cut = None if span is None else Span(*span)
                    warnings = _join(part, checked, encoding, container, audio, cut, metadata)
            if _forgets_aspect(encoding):
                _set_aspect(part, encoding, target)
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
