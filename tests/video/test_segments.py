"""Segments of clips: exact times, joinable packets, colours, and nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clip_files import decoded_planes, frame_times, write_segments
from hypothesis import given, settings
from hypothesis import strategies as st
from patterns import moving_pattern

from hvgcli.errors import MediaError, UsageError
from hvgcli.video.colour import coded_planes
from hvgcli.video.encoding import Encoding, clock_of, stored_colour
from hvgcli.video.segments import SegmentWriter, read_segment, segment_packets

RATE = Fraction(48000, 1001)
CLOCK = clock_of(Fraction(1, 24000), 2)
TIMES = [Fraction(7) + n * Fraction(1001, 48000) for n in range(12)]


def encoding(kind: str = "mp4", size: tuple[int, int] = (48, 64), **changes: object) -> Encoding:
    return Encoding(kind, size, RATE, CLOCK, **changes)  # type: ignore[arg-type]


def psnr(a: np.ndarray, b: np.ndarray, peak: int = 255) -> float:
    return float(10 * np.log10(peak**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9)))


STORED = [
    ("mp4", None, 8, "h264", "yuv420p"),
    ("mov", None, 10, "h264", "yuv420p10le"),
    ("mkv", "av1", 12, "libdav1d", "yuv420p10le"),
    ("webm", None, 8, "vp9", "yuv420p"),
    ("webm", None, 10, "libdav1d", "yuv420p10le"),
    ("gif", None, 8, "png", "rgb24"),
    ("png", None, 16, "png", "rgb48be"),
]


@pytest.mark.parametrize(("kind", "codec", "bits", "name", "pixels"), STORED)
def test_times_are_exact_and_frames_come_back(
    tmp_path: Path, kind: str, codec: str, bits: int, name: str, pixels: str
) -> None:
    frames = moving_pattern(12, (48, 64))
    if bits > 8:
        frames = frames.astype(np.uint16) * 257
    plan = encoding(kind, codec=codec, bits=bits)
    (path,) = write_segments(tmp_path, plan, frames, TIMES, every=12, last=Fraction(1001, 48000))
    segment = read_segment(path, CLOCK)
    assert segment.start == 7
    assert [segment.start + time * CLOCK for time in sorted(segment.times)] == TIMES
    assert segment.length * CLOCK == 12 * Fraction(1001, 48000)
    assert sorted(os.listdir(tmp_path)) == [path.name]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert packets[0].is_keyframe
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == (name, pixels)
        container.seek(0)
        shown = [frame.to_ndarray(format="rgb48le" if bits > 8 else "rgb24") for frame in container.decode(video=0)]
    assert len(shown) == 12
    assert psnr(np.stack(shown), frames, np.iinfo(frames.dtype).max) > (90 if kind in ("gif", "png") else 33)


@settings(max_examples=10, deadline=None)
@given(gaps=st.lists(st.integers(1, 90), min_size=1, max_size=9), start=st.fractions(-9, 9, max_denominator=90))
def test_any_times_survive(tmp_path_factory: pytest.TempPathFactory, gaps: list[int], start: Fraction) -> None:
    clock = Fraction(1, 90)
    times = [start]
    for gap in gaps:
        times.append(times[-1] + gap * clock)
    frames = moving_pattern(len(times), (16, 16))
    plan = Encoding("mp4", (16, 16), Fraction(25), clock)
    (path,) = write_segments(tmp_path_factory.mktemp("times"), plan, frames, times, every=99, last=5 * clock)
    segment = read_segment(path, clock)
    assert [segment.start + time * clock for time in sorted(segment.times)] == times
    assert segment.length == sum(gaps) + 5
    packets = segment_packets(path, clock)
    assert sorted(packet.pts for packet in packets) == sorted(segment.times)


def test_two_frames_that_round_to_one_tick_are_kept_apart(tmp_path: Path) -> None:
    times = [Fraction(0), Fraction(1, 1_000_000), Fraction(2, 1_000_000)]
    (path,) = write_segments(tmp_path, encoding(), moving_pattern(3, (48, 64)), times)
    assert sorted(read_segment(path, CLOCK).times) == [0, 1, 2]


@pytest.mark.parametrize("kind", ["mp4", "webm", "gif"])
def test_same_frames_give_the_same_bytes(tmp_path: Path, kind: str) -> None:
    frames, times = moving_pattern(40, (64, 96)), [n * Fraction(1001, 48000) for n in range(40)]
    plan = encoding(kind, (64, 96))
    made = [write_segments(tmp_path / name, plan, frames, times, every=40)[0].read_bytes() for name in "abcd"]
    assert len(set(made)) == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (31, 17), (2, 2), (34, 50)])
@pytest.mark.parametrize("kind", ["mp4", "webm", "png"])
def test_any_size(tmp_path: Path, kind: str, size: tuple[int, int]) -> None:
    (path,) = write_segments(tmp_path, encoding(kind, size), moving_pattern(3, size), TIMES[:3])
    assert len(frame_times(path)) == 3
    with av.open(str(path)) as container:
        assert (container.streams.video[0].height, container.streams.video[0].width) == size


@pytest.mark.parametrize("colour", [(1, 1, 1, 1), (9, 9, 16, 1), (9, 9, 18, 1), (6, 6, 6, 2), (2, 2, 2, 0)])
@pytest.mark.parametrize("bits", [8, 10])
def test_planes_are_those_of_the_tags_and_the_tags_are_there(
    tmp_path: Path, colour: tuple[int, int, int, int], bits: int
) -> None:
    flat = np.full((32, 32, 3), (230, 60, 20), np.uint8)
    if bits > 8:
        flat = flat.astype(np.uint16) * 257
    plan = encoding(size=(32, 32), colour=colour, bits=bits, aspect=Fraction(8, 9), crf=1)
    (path,) = write_segments(tmp_path, plan, np.stack([flat] * 2), TIMES[:2])
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        frame = next(container.decode(video=0))
        found = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
        assert tuple(int(code) for code in found) == colour
        assert stream.sample_aspect_ratio == Fraction(8, 9)
    expected = coded_planes(flat, matrix=colour[0], full=colour[3] == 2, bits=bits, halved=True)
    kind = np.uint8 if bits == 8 else np.uint16
    for plane, values in zip(frame.planes, expected, strict=True):
        middle = np.frombuffer(plane, kind).reshape(plane.height, -1)[plane.height // 2, plane.width // 2]
        assert abs(int(middle) - int(values[0, 0])) <= 1


def test_alpha_is_kept_by_png_and_put_on_black_elsewhere(tmp_path: Path) -> None:
    frames = np.full((2, 32, 32, 3), 200, np.uint8)
    alpha = np.zeros((2, 32, 32), np.uint8)
    alpha[:, :, 16:] = 255
    plan = encoding("png", (32, 32), alpha=True)
    (path,) = write_segments(tmp_path, plan, frames, TIMES[:2], alpha=alpha)
    assert plan.keeps_alpha
    assert np.array_equal(decoded_planes(path)[0], np.dstack([frames[0], alpha[0]]))
    plan = encoding("mp4", (32, 32), alpha=True)
    (path,) = write_segments(tmp_path, plan, frames, TIMES[:2], alpha=alpha)
    assert not plan.keeps_alpha
    luma = decoded_planes(path)[0][:32]
    assert luma[8, 2] == pytest.approx(16, abs=2)
    assert luma[8, 28] == pytest.approx(16 + 219 * 200 / 255, abs=2)


def test_sixteen_bits_become_eight_by_rounding(tmp_path: Path) -> None:
    frame = np.arange(0, 65536, 16).reshape(64, 64).astype(np.uint16)
    deep = np.repeat(frame[..., None], 3, axis=2)
    (path,) = write_segments(tmp_path, encoding("gif", (64, 64), bits=16), deep[None], TIMES[:1])
    expected = np.rint(deep / 257).astype(np.uint8)
    assert np.array_equal(decoded_planes(path)[0], expected)


def spoil(path: Path) -> None:
    """Begin a segment and leave it by an error, with its first frames in the file."""
    with SegmentWriter(path, encoding("png")) as writer:
        for frame, time in zip(moving_pattern(12, (48, 64)), TIMES, strict=True):
            writer.write(frame, time, Fraction(1, 25))
        assert path.with_name(path.name + ".part").exists()
        raise RuntimeError("stop")


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stop"):
        spoil(tmp_path / "a.mov")
    with pytest.raises(MediaError, match="no frames"), SegmentWriter(tmp_path / "b.mp4", encoding()):
        pass
    with (
        pytest.raises(ValueError, match=r"uint8 or uint16 \(48, 64, 3\)"),
        SegmentWriter(tmp_path / "c.mp4", encoding()) as writer,
    ):
        writer.write(np.zeros((48, 60, 3), np.uint8), Fraction(0), Fraction(1, 25))
    assert not list(tmp_path.iterdir())


WRITER = """
    import sys
    from fractions import Fraction
    from pathlib import Path
    import numpy as np
    from hvgcli.video.encoding import Encoding
    from hvgcli.video.segments import SegmentWriter
    noise = np.random.default_rng(0).integers(0, 256, (64, 256, 256, 3)).astype(np.uint8)
    with SegmentWriter(Path(sys.argv[1]), Encoding("png", (256, 256), Fraction(25), Fraction(1, 25))) as writer:
        for n in range(100_000):
            writer.write(noise[n % 64], Fraction(n, 25), Fraction(1, 25))
            if n == 20:
                print("on the way", flush=True)
                sys.stdin.readline()  # until it is killed
"""


def test_a_killed_writer_leaves_only_a_part(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path / "a.mov")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"on the way\n"
        process.send_signal(signal.SIGKILL)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mov.part"]
    with pytest.raises(MediaError, match="not a segment that was finished"):
        read_segment(tmp_path / "a.mov.part", Fraction(1, 25))


FULL = """
    import resource, sys
    from hvgcli.errors import MediaError
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
    try:
        exec(sys.stdin.read())
    except MediaError as error:
        print(error)
"""


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the system refuses to write in the same way."""
    command = [sys.executable, "-c", textwrap.dedent(FULL), str(tmp_path / "a.mov")]
    done = subprocess.run(command, input=textwrap.dedent(WRITER), capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1].startswith(f"{tmp_path}/a.mov: cannot be written (File too large)")
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "webm", "codec": "h264"}, "--codec h264 cannot be put into webm: choose vp9 or av1"),
        ({"crf": 60}, r"--crf 60 must be 0\.\.51 for h264"),
        ({"kind": "gif", "crf": 20}, "--crf 20 has no meaning for gif"),
        ({"preset": "best"}, "preset 'best' is none of ultrafast"),
        ({"kind": "webm", "bits": 10, "size": (4, 90)}, "--codec av1 needs 8 pixels each way"),
    ],
)
def test_bad_choices_are_told(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        encoding(**changes)  # type: ignore[arg-type]


def test_clocks_and_colours() -> None:
    assert clock_of(Fraction(1, 90000), 2) == Fraction(1, 180000)
    assert clock_of(Fraction(1001, 24000), 2) == Fraction(1, 48000), "multiples of half of 1001/24000"
    assert clock_of(Fraction(1, 2**30), 2) == Fraction(1, 1_000_000)
    assert stored_colour((9, 9, 16, 1), "mp4") == (9, 9, 16, 1)
    assert stored_colour((0, 1, 13, 2), "mp4") == (1, 1, 13, 1)
    assert stored_colour((9, 9, 16, 1), "png") == (0, 9, 16, 2)
