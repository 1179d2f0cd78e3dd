"""Gifs and PNG folders made from segments, as Pillow sees them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clip_files import write_segments
from hypothesis import given, settings
from hypothesis import strategies as st
from patterns import moving_pattern
from PIL import Image, ImageSequence

from hvgcli.errors import MediaError, OutputExistsError
from hvgcli.video import provenance
from hvgcli.video.encoding import Encoding, clock_of
from hvgcli.video.remux import assemble

SIZE = (32, 48)


def plan(kind: str, rate: Fraction = Fraction(20), **changes: object) -> Encoding:
    return Encoding(kind, SIZE, rate, clock_of(Fraction(1, 100), 2), **changes)  # type: ignore[arg-type]


def evenly(count: int, rate: Fraction = Fraction(20)) -> list[Fraction]:
    return [n / rate for n in range(count)]


def moving_mask(count: int) -> np.ndarray:
    """Alpha of a square that moves over nothing, uint8 (count, H, W)."""
    alpha = np.zeros((count, *SIZE), np.uint8)
    for number in range(count):
        alpha[number, 8:24, 2 * number : 2 * number + 12] = 255
    return alpha


def shown(path: Path) -> tuple[list[np.ndarray], list[int]]:
    """Frames of a gif as RGBA, and their delays in 1/100 s."""
    with Image.open(path) as image:
        frames = [
            (np.asarray(part.convert("RGBA")), part.info["duration"] // 10) for part in ImageSequence.Iterator(image)
        ]
    return [frame for frame, _ in frames], [delay for _, delay in frames]


@settings(max_examples=6, deadline=None)
@given(gaps=st.lists(st.integers(4, 60), min_size=1, max_size=12), last=st.integers(4, 60))
def test_delays_of_a_gif_do_not_drift(tmp_path_factory: pytest.TempPathFactory, gaps: list[int], last: int) -> None:
    folder, clock = tmp_path_factory.mktemp("delays"), Fraction(1, 200)
    times = [Fraction(3)]
    for gap in gaps:
        times.append(times[-1] + gap * clock)
    segments = write_segments(
        folder / "parts", plan("gif"), moving_pattern(len(times), SIZE), times, every=5, last=last * clock
    )
    assert assemble(segments, None, folder / "a.gif", encoding=plan("gif")) == []
    frames, delays = shown(folder / "a.gif")
    assert len(frames) == len(times)
    for number, time in enumerate(times[1:], start=1):
        assert abs(sum(delays[:number]) - 100 * (time - times[0])) <= Fraction(1, 2)
    assert abs(sum(delays) - 100 * (times[-1] + last * clock - times[0])) <= 1


def test_a_gif_keeps_colours_transparency_and_provenance(tmp_path: Path) -> None:
    frames, alpha = moving_pattern(8, SIZE), moving_mask(8)
    encoding = plan("gif", alpha=True)
    segments = write_segments(tmp_path / "parts", encoding, frames, evenly(8), every=3, alpha=alpha)
    assemble(segments, None, tmp_path / "a.gif", encoding=encoding, metadata={"seed": 7})
    found, delays = shown(tmp_path / "a.gif")
    assert np.array_equal(np.stack(found)[..., 3] > 0, alpha > 0), "what was shown before does not stay"
    inside = alpha > 0
    assert np.abs(np.stack(found)[..., :3][inside].astype(float) - frames[inside]).mean() < 12
    assert delays == [5] * 7 + [4]
    assert provenance(tmp_path / "a.gif") == {"seed": 7}
    assert sorted(os.listdir(tmp_path)) == ["a.gif", "parts"]


@pytest.mark.parametrize(("loop", "expected"), [(None, None), (0, 0), (3, 3)])
def test_a_gif_is_repeated_as_its_source(tmp_path: Path, loop: int | None, expected: int | None) -> None:
    first, *rest = (Image.fromarray(frame) for frame in moving_pattern(3, SIZE))
    more = {} if loop is None else {"loop": loop}
    first.save(tmp_path / "in.gif", save_all=True, append_images=rest, duration=50, **more)
    segments = write_segments(tmp_path / "parts", plan("gif"), moving_pattern(3, SIZE), evenly(3))
    assemble(segments, tmp_path / "in.gif", tmp_path / "a.gif", encoding=plan("gif"))
    with Image.open(tmp_path / "a.gif") as image:
        assert image.info.get("loop") == expected


def test_frames_too_fast_for_a_gif_are_left_out_and_counted(tmp_path: Path) -> None:
    rate = Fraction(60)
    segments = write_segments(
        tmp_path / "parts", plan("gif"), moving_pattern(30, SIZE), evenly(30, rate), last=1 / rate
    )
    warnings = assemble(segments, None, tmp_path / "a.gif", encoding=plan("gif"))
    frames, delays = shown(tmp_path / "a.gif")
    assert warnings == [f"{30 - len(frames)} of 30 frames are left out: a gif shows at most 50 a second"]
    assert min(delays) >= 2
    assert abs(sum(delays) - 50) <= 1


@pytest.mark.parametrize(("bits", "alpha"), [(8, False), (8, True), (16, False), (16, True)])
def test_png_frames_are_exact(tmp_path: Path, bits: int, alpha: bool) -> None:
    frames = moving_pattern(5, SIZE)
    if bits == 16:
        frames = frames.astype(np.uint16) * 211
    mask = moving_mask(5) if alpha else None
    encoding = plan("png", bits=bits, alpha=alpha)
    segments = write_segments(tmp_path / "parts", encoding, frames, evenly(5), every=2, alpha=mask)
    assert assemble(segments, None, tmp_path / "a", encoding=encoding, metadata={"seed": 7}) == []
    names = sorted(os.listdir(tmp_path / "a"))
    assert names == [f"{number:06d}.png" for number in range(5)]
    pixels = {(8, False): "rgb24", (8, True): "rgba", (16, False): "rgb48le", (16, True): "rgba64le"}[bits, alpha]
    for number, name in enumerate(names):
        with av.open(str(tmp_path / "a" / name)) as container:
            frame = next(container.decode(video=0))
            assert frame.format.name.removesuffix("be") == pixels.removesuffix("le")
            found = frame.to_ndarray(format=pixels)
        assert np.array_equal(found[..., :3], frames[number])
        if mask is not None:
            assert np.array_equal(found[..., 3] > 0, mask[number] > 0)
        with Image.open(tmp_path / "a" / name) as image:
            image.load()
            assert image.text["rate"] == "20"
    assert provenance(tmp_path / "a") == {"seed": 7}
    assert sorted(os.listdir(tmp_path)) == ["a", "parts"]


def test_one_frame_can_be_one_picture(tmp_path: Path) -> None:
    segments = write_segments(tmp_path / "parts", plan("png"), moving_pattern(1, SIZE), evenly(1))
    assemble(segments, None, tmp_path / "a.png", encoding=plan("png"))
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), moving_pattern(1, SIZE)[0])
    assert sorted(os.listdir(tmp_path)) == ["a.png", "parts"]


def test_a_folder_of_frames_is_replaced_and_any_other_is_not(tmp_path: Path) -> None:
    long = write_segments(tmp_path / "long", plan("png"), moving_pattern(4, SIZE), evenly(4))
    short = write_segments(tmp_path / "short", plan("png"), moving_pattern(2, SIZE), evenly(2))
    for segments, count in ((long, 4), (short, 2)):
        assemble(segments, None, tmp_path / "a.png", encoding=plan("png"))
        assert len(os.listdir(tmp_path / "a")) == count
    (tmp_path / "a" / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="other files"):
        assemble(long, None, tmp_path / "a", encoding=plan("png"))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputExistsError, match="is a file"):
        assemble(long, None, tmp_path / "file", encoding=plan("png"))
    assert len(os.listdir(tmp_path / "a")) == 3
    assert sorted(os.listdir(tmp_path)) == ["a", "file", "long", "short"]


def test_uneven_times_are_told_for_a_folder(tmp_path: Path) -> None:
    times = [Fraction(0), Fraction(1, 20), Fraction(1, 2)]
    segments = write_segments(tmp_path / "parts", plan("png"), moving_pattern(3, SIZE), times)
    warnings = assemble(segments, None, tmp_path / "a", encoding=plan("png"))
    assert warnings == ["the frames are not evenly spaced, and a folder says only 20 a second"]


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    segments = write_segments(tmp_path / "parts", plan("png"), moving_pattern(1, SIZE), evenly(1))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(MediaError, match="cannot be written"):
        assemble(segments, None, tmp_path / "file" / "a", encoding=plan("png"))


GIF_MAKER = """
    import sys
    from fractions import Fraction
    from pathlib import Path
    import numpy as np
    from hvgcli.video.encoding import Encoding
    from hvgcli.video.remux import assemble
    from hvgcli.video.segments import SegmentWriter
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    encoding = Encoding("gif", (512, 512), Fraction(25), Fraction(1, 25))
    segments = [folder / f"{first:06d}.mov" for first in range(0, count, 5)]
    for first, path in zip(range(0, count, 5), segments):
        with SegmentWriter(path, encoding) as writer:
            for n in range(first, first + 5):
                writer.write(np.full((512, 512, 3), n * 5, np.uint8), Fraction(n, 25), Fraction(1, 25))
    assemble(segments, None, folder / "a.gif", encoding=encoding)
    print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of one program alone from /proc")
def test_memory_of_a_gif_does_not_grow_with_its_length(tmp_path: Path) -> None:
    peaks = []
    for count in (5, 50):
        (tmp_path / str(count)).mkdir()
        command = [sys.executable, "-c", textwrap.dedent(GIF_MAKER), str(tmp_path / str(count)), str(count)]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert peaks[1] - peaks[0] < 10 * 1024, "45 frames more of 768 KiB each, in KiB"
