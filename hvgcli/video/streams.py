"""The streams of a source other than its video: which of them another kind of file can hold, and their packets."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from hvgcli.video.files import reason
from hvgcli.video.opening import is_cover
from hvgcli.video.pictures import comment_tag

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream

NO_PACKETS = "attachment"
# Tags about the old file and its old streams, not about the clip.
STRUCTURE = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "vendor_id", "rotate"}
STATISTICS = ("bps", "number_of_", "_statistics", "source_id")
REMOVABLE = "cannot be put into this kind of file and is left out"


class Span(NamedTuple):
    """A stretch of the source, in seconds."""

    start: Fraction
    end: Fraction


def kept_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that still hold for the new file, by the keys that they have."""
    return {
        key: value
        for key, value in tags.items()
        if key.lower() not in STRUCTURE and not key.lower().startswith(STATISTICS)
    }


def _is_provenance(comment: str) -> bool:
    try:
        found = json.loads(comment)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and "hvg" in found


def joined_tags(source: InputContainer | None, metadata: Mapping[str, Any] | None) -> tuple[dict[str, str], list[str]]:
    """Tags of the new file: the source's, and provenance as its comment; and warnings.

    A comment that the source has moves to the tag "description", where that is free.
    """
    tags = {} if source is None else kept_tags(source.metadata)
    mine = comment_tag(metadata)
    if not mine:
        return tags, []
    old = {key.lower(): value for key, value in tags.items()}
    tags = {key: value for key, value in tags.items() if key.lower() != "comment"}
    comment = old.get("comment", "")
    if not comment or _is_provenance(comment):
        return {**tags, **mine}, []
    if "description" in old:
        return {**tags, **mine}, ["the comment of the source makes place for how this file was made"]
    return {**tags, "description": comment, **mine}, []


def lost_tags(file: Path, tags: Mapping[str, str]) -> list[str]:
    """A warning with the names of the tags that a new file turned out not to hold."""
    import av

    with av.open(f"file:{file}", "r", options={"protocol_whitelist": "file"}, metadata_errors="replace") as container:
        held = {key.lower() for key in container.metadata}
    lost = sorted(key for key in tags if key.lower() not in held)
    return [f"tags that this kind of file does not hold: {', '.join(lost)}"] if lost else []


def _is_cover(stream: Stream) -> bool:
    return stream.type == "video" and is_cover(stream)


def _described(stream: Stream) -> str:
    codec = stream.codec_context.name if stream.codec_context else "unknown"
    kind = "cover picture" if _is_cover(stream) else stream.type
    return f"stream {stream.index} ({kind}, {codec})"


def _is_chapter_text(stream: Stream, source: InputContainer) -> bool:
    """Whether a stream of an mp4 is only its chapters once more; they are written as chapters."""
    return stream.type == "data" and stream.name == "bin_data" and bool(source.chapters())


def _added(out: OutputContainer, stream: Stream) -> Stream:
    """Add a stream like `stream` to a file; errors where that kind of file cannot hold it."""
    added = out.add_stream_from_template(stream, opaque=True)
    added.metadata.update(kept_tags(stream.metadata))
    added.disposition = stream.disposition
    added.time_base = stream.time_base
    return added


def _refusal(stream: Stream, format: str) -> str | None:
    """Why a kind of file cannot hold a stream, or None: by writing the head of such a file."""
    import av

    try:
        with av.open(io.BytesIO(), "w", format=format) as trial:
            _added(trial, stream)
            trial.start_encoding()
    except (av.FFmpegError, OSError, ValueError) as error:
        return reason(error)
    return None


@dataclass
class Others:
    """What is copied from a source beside its video."""

    source: InputContainer | None
    chosen: list[Stream]
    shift: Fraction = Fraction(0)
    """Seconds to add to all times."""
    span: Span | None = None
    warnings: list[str] = field(default_factory=list)
    video_tags: dict[str, str] = field(default_factory=dict)
    """Tags of the source's video stream, its language and title."""
    placed: dict[int, Stream] = field(default_factory=dict)
    """Streams of the new file by the number that they have in the source."""

    def add_to(self, out: OutputContainer) -> None:
        """Add the streams and chapters to a file that has no header yet."""
        if self.source is None:
            return
        for stream in self.chosen:
            self.placed[stream.index] = _added(out, stream)
        chapters = self._chapters(self.source)
        if chapters:
            out.set_chapters(cast(Any, chapters))

    def _chapters(self, source: InputContainer) -> list[dict[str, Any]]:
        moved = []
        for chapter in source.chapters():
            unit = Fraction(chapter["time_base"] or Fraction(1, 1000))
            start, end = chapter["start"] * unit, chapter["end"] * unit
            if self.span is not None:
                start, end = max(start, self.span.start), min(end, self.span.end)
            if start < end or self.span is None:
                start, end = max(start + self.shift, Fraction(0)), max(end + self.shift, Fraction(0))
                moved.append({**chapter, "start": round(start / unit), "end": round(end / unit)})
        return moved

    def packets(self) -> Iterator[tuple[float, Packet[Stream]]]:
        """The packets with their new times, each after its time of decoding in seconds."""
        import av

        wanted = [stream for stream in self.chosen if stream.type != NO_PACKETS]
        if self.source is None or not wanted:
            return
        reached = 0.0
        try:
            for packet in self.source.demux(wanted):
                if packet.size and self._moved(packet):
                    reached = max(reached, float(cast(int, packet.dts) * packet.time_base))
                    yield reached, packet
        except (av.FFmpegError, OSError, ValueError) as error:
            self.warnings.append(f"sound and other streams end at {reached:.2f} s: damaged there ({reason(error)})")

    def _moved(self, packet: Packet[Stream]) -> bool:
        """Put a packet into its new stream and time; False for one that does not belong to the span."""
        if _is_cover(packet.stream):
            packet.pts = packet.dts = 0
        else:
            packet.pts = packet.pts if packet.pts is not None else packet.dts
            if packet.pts is None or not (self.span is None or self._within(packet, self.span)):
                return False
            packet.dts = packet.dts if packet.dts is not None else packet.pts
            ticks = round(self.shift / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
        packet.stream = self.placed[packet.stream_index]
        return True

    def _within(self, packet: Packet[Stream], span: Span) -> bool:
        """Whether a packet belongs to the span. A subtitle on screen at its start or end is cut to it."""
        unit, start = packet.time_base, cast(int, packet.pts)
        end = start + (packet.duration or 0)
        first, last = -(-span.start // unit), span.end // unit
        if packet.stream.type == "subtitle" and start < last and end > first and packet.duration:
            packet.pts = packet.dts = max(start, first)
            packet.duration = min(end, last) - packet.pts
            return True
        return first <= start < span.end / unit


def no_others() -> Others:
    return Others(None, [])


def others_of(source: InputContainer, format: str, shift: Fraction, span: Span | None, audio: bool) -> Others:
    """Choose what a file of a format (by ffmpeg's name) can hold of a source; the rest is named in `warnings`."""
    others = Others(source, [], shift, span)
    main = next((stream for stream in source.streams.video if not _is_cover(stream)), None)
    others.video_tags = {} if main is None else kept_tags(main.metadata)
    for stream in source.streams:
        if stream is main or (stream.type == "audio" and not audio) or _is_chapter_text(stream, source):
            continue
        if stream.type == "video" and not _is_cover(stream):
            others.warnings.append(f"{_described(stream)} is left out: only the first video of a file is enlarged")
            continue
        refusal = _refusal(stream, format)
        if refusal is None:
            others.chosen.append(stream)
        else:
            others.warnings.append(f"{_described(stream)} {REMOVABLE} ({refusal})")
    return others
