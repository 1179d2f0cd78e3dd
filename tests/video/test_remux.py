"""Joined files, as other programs see them: times, sound, chapters, tags, and what cannot be kept."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from clip_files import (
    complaints,
    decoded_planes,
    ffmpeg,
    frame_times,
    rich_source,
    stream_packets,
    write_segments,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from patterns import moving_pattern

from hvgcli.errors import MediaError, UsageError
from hvgcli.video import provenance
from hvgcli.video.encoding import Encoding, clock_of
from hvgcli.video.remux import assemble, send

KINDS = ["mp4", "mov", "mkv", "webm"]
TICK = {"mkv": Fraction(1, 1000), "webm": Fraction(1, 1000)}  # what the container counts in; others in any clock
CLOCK = clock_of(Fraction(1, 24000), 2)
STEP = Fraction(1001, 48000)
AAC_FRAME = Fraction(1024, 44100)


def plan(kind: str = "mp4", size: tuple[int, int] = (32, 48), clock: Fraction = CLOCK) -> Encoding:
    return Encoding(kind, size, Fraction(48000, 1001), clock, aspect=Fraction(8, 9), colour=(1, 1, 1, 1))  # type: ignore[arg-type]


def evenly(count: int, start: Fraction = Fraction(0)) -> list[Fraction]:
    return [start + n * STEP for n in range(count)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Sources with sound, subtitles and chapters, each kind made once."""
    made: dict[str, Path] = {}
    folder = tmp_path_factory.mktemp("sources")

    def of(kind: str) -> Path:
        if kind not in made:
            made[kind] = rich_source(folder, kind)
        return made[kind]

    return of


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Path]]:
    """Segments of 48 frames in one second, as for each kind of file; each kind made once."""
    made: dict[str, list[Path]] = {}

    def of(kind: str) -> list[Path]:
        if kind not in made:
            folder = tmp_path_factory.mktemp("segments")
            made[kind] = write_segments(
                folder, plan(kind), moving_pattern(48, (32, 48)), evenly(48), every=11, last=STEP
            )
        return made[kind]

    return of


@pytest.mark.parametrize("kind", KINDS)
def test_everything_of_the_source_is_there(tmp_path: Path, source: Callable, cut: Callable, kind: str) -> None:
    path, segments, original = tmp_path / f"out.{kind}", cut(kind), source(kind)
    warnings = assemble(segments, original, path, encoding=plan(kind), metadata={"seed": 7})
    assert warnings == (["tags that this kind of file does not hold: description"] if kind == "mov" else [])
    assert complaints(path) == ""
    assert os.listdir(tmp_path) == [path.name]
    assert provenance(path) == {"seed": 7}
    times = frame_times(path)
    assert len(times) == 48
    assert max(abs(a - b) for a, b in zip(times, evenly(48), strict=True)) <= TICK.get(kind, 0) / 2
    for number in (1, 2, 3):
        before, after = stream_packets(original, number), stream_packets(path, number)
        assert [data for _, data in before] == [data for _, data in after]
        assert [time for time, _ in before] == [time for time, _ in after]
    with av.open(str(original)) as old, av.open(str(path)) as new:
        assert abs(new.duration - old.duration) <= STEP * 1_000_000
        assert [(s.type, s.language) for s in new.streams] == [(s.type, s.language) for s in old.streams]
        assert [s.disposition for s in new.streams][1:3] == [s.disposition for s in old.streams][1:3]
        for one, other in zip(new.chapters(), old.chapters(), strict=True):
            assert one["metadata"] == other["metadata"]
            assert one["start"] * one["time_base"] == other["start"] * other["time_base"]
            assert one["end"] * one["time_base"] == other["end"] * other["time_base"]
        tags = {key.lower(): value for key, value in new.metadata.items()}
        assert (tags["title"], tags["artist"], tags.get("description", "hello")) == ("My clip", "Somebody", "hello")
        video = new.streams.video[0]
        shown = video.sample_aspect_ratio * 48
        assert abs(shown - 48 * Fraction(8, 9)) <= (Fraction(1, 2) if kind == "webm" else 0), "webm has whole pixels"
        assert video.codec_context.colorspace == 1
        if kind in ("mp4", "mov"):
            assert (video.average_rate, video.frames) == (Fraction(48000, 1001), 48)


@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_frames_are_those_of_the_segments(tmp_path: Path, cut: Callable, kind: str) -> None:
    assemble(cut(kind), None, tmp_path / "a", encoding=plan(kind))
    apart = [frame for segment in cut(kind) for frame in decoded_planes(segment)]
    assert np.array_equal(np.stack(decoded_planes(tmp_path / "a")), np.stack(apart))


def test_an_mp4_is_ready_to_stream_and_the_same_each_time(tmp_path: Path, source: Callable, cut: Callable) -> None:
    for name in ("a.mp4", "b.mp4"):
        assemble(cut("mp4"), source("mp4"), tmp_path / name, encoding=plan(), metadata={"seed": 7})
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert data == (tmp_path / "b.mp4").read_bytes()


@settings(max_examples=8, deadline=None)
@given(
    gaps=st.lists(st.integers(1, 60), min_size=1, max_size=16),
    every=st.integers(1, 13),
    start=st.integers(0, 200),
    last=st.integers(1, 60),
)
def test_variable_rates_stay_exact_over_joints(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[int], every: int, start: int, last: int
) -> None:
    clock = Fraction(1, 240)
    times = [start * clock]
    for gap in gaps:
        times.append(times[-1] + gap * clock)
    folder = tmp_path_factory.mktemp("variable")
    encoding = plan(size=(16, 16), clock=clock)
    frames = moving_pattern(len(times), (16, 16))
    segments = write_segments(folder / "parts", encoding, frames, times, every=every, last=last * clock)
    assemble(segments, None, folder / "a.mp4", encoding=encoding)
    assert frame_times(folder / "a.mp4") == times
    with av.open(str(folder / "a.mp4")) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert all(a.dts < b.dts for a, b in pairwise(packets))
        assert all(packet.dts <= packet.pts for packet in packets)
        end = times[-1] + last * clock
        assert abs(Fraction(container.duration, 1_000_000) - (end - times[0])) < Fraction(1, 900)
    assert complaints(folder / "a.mp4") == ""


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "vp9"), ("mkv", "vp9"), ("mp4", "av1"), ("webm", "av1")])
def test_other_codecs(tmp_path: Path, kind: str, codec: str) -> None:
    encoding = replace(plan(kind), codec=codec)
    times = evenly(20, start=Fraction(1, 2))
    segments = write_segments(tmp_path / "parts", encoding, moving_pattern(20, (32, 48)), times)
    assemble(segments, None, tmp_path / "out", encoding=encoding)
    found = frame_times(tmp_path / "out")
    assert max(abs(a - b) for a, b in zip(found, times, strict=True)) <= TICK.get(kind, 0) / 2
    assert complaints(tmp_path / "out") == ""


def test_what_does_not_fit_is_named(tmp_path: Path, source: Callable, cut: Callable) -> None:
    warnings = assemble(cut("mkv"), source("mkv"), tmp_path / "a.mp4", encoding=plan("mp4"))
    assert len(warnings) == 1
    assert warnings[0].startswith("stream 3 (subtitle, ")
    assert "left out" in warnings[0]
    warnings = assemble(cut("webm"), source("mp4"), tmp_path / "a.webm", encoding=plan("webm"))
    assert [warning[:23] for warning in warnings] == [
        "stream 1 (audio, aac) c",
        "stream 2 (audio, aac) c",
        "stream 3 (subtitle, mov",
    ]
    assert len(frame_times(tmp_path / "a.webm")) == 48


def test_without_sound(tmp_path: Path, source: Callable, cut: Callable) -> None:
    assert assemble(cut("mp4"), source("mp4"), tmp_path / "a.mp4", encoding=plan(), audio=False) == []
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video", "subtitle", "data"]


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_a_span_begins_at_zero_with_the_packets_of_its_time(tmp_path: Path, source: Callable, kind: str) -> None:
    span = (STEP * 14, STEP * 38)
    times = evenly(24, start=span[0])
    segments = write_segments(tmp_path / "parts", plan(kind), moving_pattern(24, (32, 48)), times, last=STEP)
    path = tmp_path / f"out.{kind}"
    assert assemble(segments, source(kind), path, encoding=plan(kind), span=span) == []
    tick = TICK.get(kind, Fraction(0))
    assert max(abs(a - b) for a, b in zip(frame_times(path), evenly(24), strict=True)) <= tick / 2
    expected = [(time, data) for time, data in stream_packets(source(kind), 1) if span[0] <= time < span[1]]
    found = stream_packets(path, 1)
    assert [data for _, data in found] == [data for _, data in expected]
    assert max(abs(a[0] - (b[0] - span[0])) for a, b in zip(found, expected, strict=True)) <= Fraction(1, 1000)
    with av.open(str(path)) as container:
        seconds = Fraction(container.duration, 1_000_000) - (AAC_FRAME if kind == "mkv" else 0)
        assert abs(seconds - 24 * STEP) <= AAC_FRAME + tick, "Matroska counts the frame of sound before the first"
        chapters = [(c["start"] * c["time_base"], c["end"] * c["time_base"]) for c in container.chapters()]
        half = Fraction(2, 5) - span[0]
        for found_ends, ends in zip(chapters, [(0, half), (half, span[1] - span[0])], strict=True):
            assert max(abs(a - b) for a, b in zip(found_ends, ends, strict=True)) < Fraction(1, 1000)
        subtitles = [packet for packet in container.demux(container.streams.subtitles[0]) if packet.size > 2]
    starts = [float(packet.pts * packet.time_base) for packet in subtitles]
    ends = [float((packet.pts + packet.duration) * packet.time_base) for packet in subtitles]
    assert starts == pytest.approx([0, 0.7 - float(span[0])], abs=0.002), "the first was on screen before the span"
    assert ends == pytest.approx([0.6 - float(span[0]), float(span[1] - span[0])], abs=0.002)


def test_a_late_start_is_kept_and_the_clock_of_a_broadcast_is_not(tmp_path: Path, cut: Callable) -> None:
    tone = ["-f", "lavfi", "-i", "sine=440:d=1", "-f", "lavfi", "-i", "testsrc=s=32x32:r=25:d=1"]
    ffmpeg(*tone, "-c:v", "libx264", "-c:a", "aac", str(tmp_path / "in.ts"))
    with av.open(str(tmp_path / "in.ts")) as container:
        origin = Fraction(container.start_time, 1_000_000)
        first = container.streams.video[0].start_time * container.streams.video[0].time_base
    assert origin > 1
    times = evenly(10, start=first)
    segments = write_segments(tmp_path / "parts", plan(), moving_pattern(10, (32, 48)), times)
    assemble(segments, tmp_path / "in.ts", tmp_path / "a.mp4", encoding=plan())
    assert float(frame_times(tmp_path / "a.mp4")[0]) == pytest.approx(float(first - origin), abs=1e-4)
    sound = next(n for n in (0, 1) if stream_packets(tmp_path / "in.ts", n)[0][0] != first)
    before, after = stream_packets(tmp_path / "in.ts", sound)[0][0], stream_packets(tmp_path / "a.mp4", 1)[0][0]
    assert float(before - first) == pytest.approx(float(after - frame_times(tmp_path / "a.mp4")[0]), abs=1e-4)


def test_cover_pictures_and_fonts_are_copied(tmp_path: Path, source: Callable, cut: Callable) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=16x16:d=1", "-frames:v", "1", str(tmp_path / "cover.png"))
    (tmp_path / "font.ttf").write_bytes(b"\0\1\0\0 not a font")
    picture = ["-i", str(tmp_path / "cover.png"), "-map", "0:v", "-map", "0:a:0", "-map", "1"]
    ffmpeg(
        "-i", str(source("mp4")), *picture, "-c", "copy", "-disposition:v:1", "attached_pic", str(tmp_path / "in.mp4")
    )
    font = ["-attach", str(tmp_path / "font.ttf"), "-metadata:s:t", "mimetype=application/x-truetype-font"]
    ffmpeg("-i", str(source("mkv")), "-map", "0", "-c", "copy", *font, str(tmp_path / "in.mkv"))
    assert assemble(cut("mp4"), tmp_path / "in.mp4", tmp_path / "a.mp4", encoding=plan()) == []
    with av.open(str(tmp_path / "a.mp4")) as container:
        cover = next(stream for stream in container.streams.video if stream.disposition & Disposition.attached_pic)
        packet = next(packet for packet in container.demux(cover) if packet.size)
        assert bytes(packet) == (tmp_path / "cover.png").read_bytes()
    assert assemble(cut("mkv"), tmp_path / "in.mkv", tmp_path / "a.mkv", encoding=plan("mkv")) == []
    with av.open(str(tmp_path / "a.mkv")) as container:
        assert container.streams[4].data == (tmp_path / "font.ttf").read_bytes()
        assert container.streams[4].name == "font.ttf"


def test_a_source_that_is_damaged_later_gives_what_it_has(tmp_path: Path, source: Callable, cut: Callable) -> None:
    whole = source("mkv").read_bytes()
    (tmp_path / "in.mkv").write_bytes(whole[: len(whole) // 2])
    assemble(cut("mkv"), tmp_path / "in.mkv", tmp_path / "a.mkv", encoding=plan("mkv"))
    assert len(frame_times(tmp_path / "a.mkv")) == 48
    found = stream_packets(tmp_path / "a.mkv", 1)
    assert 0 < len(found) < len(stream_packets(source("mkv"), 1))


def test_the_input_is_never_the_output(tmp_path: Path, source: Callable, cut: Callable) -> None:
    before = source("mp4").read_bytes()
    (tmp_path / "link.mp4").symlink_to(source("mp4"))
    with pytest.raises(UsageError, match="is the input"):
        assemble(cut("mp4"), source("mp4"), tmp_path / "link.mp4", encoding=plan())
    assert source("mp4").read_bytes() == before


def test_segments_that_do_not_belong_together(tmp_path: Path, cut: Callable) -> None:
    one, two = cut("mp4")[:2]
    target = tmp_path / "a.mp4"
    with pytest.raises(MediaError, match="nothing to join"):
        assemble([], None, target, encoding=plan())
    with pytest.raises(MediaError, match="begins before"):
        assemble([two, one], None, target, encoding=plan())
    other = replace(plan(), codec="vp9")
    strange = write_segments(tmp_path / "other", other, moving_pattern(2, (32, 48)), evenly(2, Fraction(9)))
    with pytest.raises(MediaError, match="was made with other settings"):
        assemble([one, *strange], None, target, encoding=plan())
    (tmp_path / "cut.mp4").write_bytes(two.read_bytes()[:-200])
    with pytest.raises(MediaError, match="not a segment that was finished"):
        assemble([one, tmp_path / "cut.mp4"], None, target, encoding=plan())
    with pytest.raises(MediaError, match="is a folder"):
        assemble([one], None, tmp_path, encoding=plan())
    assert not target.exists()
    assert not target.with_name("a.mp4.part").exists()


JOINER = """
    import resource, sys
    from fractions import Fraction
    from pathlib import Path
    from hvgcli.errors import MediaError
    from hvgcli.video.encoding import Encoding
    from hvgcli.video.remux import assemble
    target, source, *segments = map(Path, sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))
    encoding = Encoding("mp4", (32, 48), Fraction(48000, 1001), Fraction(1, 48000))
    try:
        assemble(segments, source, target, encoding=encoding)
    except MediaError as error:
        print(error)
"""


def test_a_full_disk_is_one_line_and_the_older_file_stays(tmp_path: Path, source: Callable, cut: Callable) -> None:
    """A limit on the size of files stands for the disk: the system refuses to write in the same way."""
    target = tmp_path / "a.mp4"
    target.write_bytes(b"older")
    paths = [str(path) for path in (target, source("mp4"), *cut("mp4"))]
    command = [sys.executable, "-c", textwrap.dedent(JOINER), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{target}: cannot be written (File too large)\n"
    assert os.listdir(tmp_path) == ["a.mp4"]
    assert target.read_bytes() == b"older"


def test_a_finished_file_can_be_sent(tmp_path: Path, cut: Callable) -> None:
    assemble(cut("mp4"), None, tmp_path / "a.mp4", encoding=plan())
    stream = io.BytesIO()
    send(tmp_path / "a.mp4", stream)
    assert stream.getvalue() == (tmp_path / "a.mp4").read_bytes()
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(MediaError, match="standard output cannot be written"), os.fdopen(writing, "wb", 0) as closed:
        send(tmp_path / "a.mp4", closed)
