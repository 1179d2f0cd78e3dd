"""A job of many segments: equal to one segment, and after any interruption to a job that was never interrupted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clip_files import frame_times, lossless, stream_packets
from patterns import moving_pattern
from PIL import Image
from real_models import make_working_model

from hvgcli.errors import MediaError, OutputExistsError, UsageError
from hvgcli.sampling.hierarchy import Level, load_level
from hvgcli.sampling.upscale import Enlarger
from hvgcli.sampling.upscale_job import Job, SourceError
from hvgcli.video import VideoWriter
from hvgcli.video.encoding import Encoding, Kind, clock_of
from hvgcli.video.footage import examine

FRAMES, SEGMENT = 22, 6  # of the source: four segments, the last one shorter
Made = Callable[..., Job]


@pytest.fixture(scope="module")
def level(tmp_path_factory: pytest.TempPathFactory) -> Level:
    return load_level(make_working_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "in.mp4"
    with VideoWriter(path, size=(12, 18), rate=Fraction(25)) as writer:
        writer.write(moving_pattern(FRAMES, (12, 18)))
    return path


@pytest.fixture
def job(level: Level) -> Made:
    def make(source: Path, target: Path, *, kind: Kind = "mp4", crf: int | None = None, **more: Any) -> Job:
        footage, enlarger = examine(source), Enlarger(level)
        height, width = (side * enlarger.times_space for side in footage.size)
        clock = clock_of(footage.time_base, enlarger.times_time)
        rate = footage.rate * enlarger.times_time
        encoding = Encoding(kind, (height, width), rate, clock, alpha=footage.alpha, crf=crf)
        return Job(footage, target, enlarger, encoding, **{"settings": {"seed": 0}, "segment": SEGMENT, **more})

    return make


@pytest.fixture(scope="module")
def whole(level: Level, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file that a job makes that is not interrupted."""
    footage, target = examine(clip), tmp_path_factory.mktemp("whole") / "out.mp4"
    encoding = Encoding("mp4", (24, 36), Fraction(50), clock_of(footage.time_base, 2))
    Job(footage, target, Enlarger(level), encoding, settings={"seed": 0}, segment=SEGMENT).run(
        resume=False, progress=nothing
    )
    return target.read_bytes()


def nothing(frames: int) -> None:
    """For whom progress does not matter."""


def interrupt_after(frames: int) -> Callable[[int], None]:
    """A progress function that is a Ctrl-C when so many enlarged frames are made."""
    left = [frames]

    def progress(made: int) -> None:
        left[0] -= made
        if left[0] <= 0:
            raise KeyboardInterrupt

    return progress


def interrupted(job: Job, frames: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        job.run(resume=False, progress=interrupt_after(frames))


def pictures(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])


# ---- segments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("segment", [1, 5, FRAMES])
def test_segments_do_not_show(job: Made, clip: Path, tmp_path: Path, segment: int) -> None:
    job(clip, tmp_path / "one", kind="png", segment=1000).run(resume=False, progress=nothing)
    progress: list[int] = []
    done = job(clip, tmp_path / "many", kind="png", segment=segment).run(resume=False, progress=progress.append)
    one, many = pictures(tmp_path / "one"), pictures(tmp_path / "many")
    assert one.shape == many.shape == (2 * FRAMES, 24, 36, 3)
    differences = np.abs(one.astype(int) - many)
    assert differences.max() <= 1, "rounding apart"
    assert (differences > 0).mean() < 0.01
    assert (done.frames, sum(progress), done.resumed) == (2 * FRAMES, 2 * FRAMES, 0)
    assert done.error.values == FRAMES * 12 * 18 * 3
    assert done.error.mean <= 1 / 255
    assert sorted(path.name for path in tmp_path.iterdir()) == ["many", "one"]


def test_a_part_of_a_clip_of_variable_rate(job: Made, tmp_path: Path) -> None:
    times = np.cumsum([0, 40, 10, 150, 10, 190, *[33] * 9, 70]).tolist()
    source = lossless(tmp_path / "in.mkv", moving_pattern(16, (12, 18)), times)
    job(source, tmp_path / "out.mkv", kind="mkv", frames=range(2, 15), segment=4).run(resume=False, progress=nothing)
    made, wanted = frame_times(tmp_path / "out.mkv"), [Fraction(time - times[2], 1000) for time in times[2:15]]
    assert made[::2] == wanted
    middles = [(a + b) / 2 for a, b in pairwise([*wanted, Fraction(times[15] - times[2], 1000)])]
    assert all(abs(time - middle) <= Fraction(1, 1000) for time, middle in zip(made[1::2], middles, strict=True))


# ---- interruptions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "finished"), [(13, 1), (30, 2), (2 * FRAMES, 3)])
def test_an_interrupted_job_gives_the_same_file(
    job: Made, clip: Path, tmp_path: Path, whole: bytes, frames: int, finished: int
) -> None:
    target = tmp_path / "out.mp4"
    interrupted(job(clip, target), frames)
    assert job(clip, target).unfinished == finished
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4.segments"]
    assert job(clip, target).run(resume=True, progress=nothing).resumed == finished
    assert target.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_what_has_no_finished_segment_leaves_nothing(job: Made, clip: Path, tmp_path: Path) -> None:
    interrupted(job(clip, tmp_path / "out.mp4"), 3)
    assert list(tmp_path.iterdir()) == []


def test_without_resume_it_starts_anew(job: Made, clip: Path, tmp_path: Path, whole: bytes) -> None:
    interrupted(job(clip, tmp_path / "out.mp4", settings={"seed": 1}), 30)
    assert job(clip, tmp_path / "out.mp4").run(resume=False, progress=nothing).resumed == 0
    assert (tmp_path / "out.mp4").read_bytes() == whole


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("000001.mp4", flip),
        ("000001.mp4", lambda path: path.write_bytes(path.read_bytes()[:-9])),
        ("000001.mp4", Path.unlink),
        ("000001.json", Path.unlink),
        ("000001.json", lambda path: path.write_text("{")),
        ("000001.json", lambda path: path.write_text('{"sha256": "0", "grounding": {}}')),
        ("000001.mp4", lambda path: path.rename(path.with_name("000001.mp4.part"))),
    ],
)
def test_a_damaged_segment_is_made_again(
    job: Made, clip: Path, tmp_path: Path, whole: bytes, name: str, damage: Callable[[Path], object]
) -> None:
    target = tmp_path / "out.mp4"
    interrupted(job(clip, target), 40)
    damage(tmp_path / "out.mp4.segments" / name)
    assert job(clip, target).run(resume=True, progress=nothing).resumed == 2
    assert target.read_bytes() == whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"seed": 5}}, "seed was 0, and is 5 now"),
        ({"frames": range(1, FRAMES)}, r"frames was \[0, 22\], and is \[1, 22\] now"),
        ({"crf": 30}, "crf was None, and is 30 now"),
        ({"segment": 9}, "segment was 6, and is 9 now"),
    ],
)
def test_other_settings_do_not_go_on(
    job: Made, clip: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    target = tmp_path / "out.mp4"
    interrupted(job(clip, target), 30)
    with pytest.raises(UsageError, match=message):
        job(clip, target, **changes).run(resume=True, progress=nothing)
    assert job(clip, target).unfinished == 2


def test_another_input_does_not_go_on(job: Made, clip: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.mp4", tmp_path / "out.mp4"
    source.write_bytes(clip.read_bytes())
    interrupted(job(source, target), 30)
    os.utime(source, (1, 1))
    with pytest.raises(UsageError, match="the input has been changed"):
        job(source, target).run(resume=True, progress=nothing)
    with pytest.raises(UsageError, match=r"source was .*in\.mp4, and is"):
        job(clip, target).run(resume=True, progress=nothing)
    (tmp_path / "out.mp4.segments" / "job.json").write_text("[")
    with pytest.raises(UsageError, match="its record is damaged"):
        job(source, target).run(resume=True, progress=nothing)


# ---- others, and faults ------------------------------------------------------------------------------

HOLDER = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks")
def test_two_processes_do_not_make_one_file(job: Made, clip: Path, tmp_path: Path, whole: bytes) -> None:
    target = tmp_path / "out.mp4"
    interrupted(job(clip, target), 30)
    lock = tmp_path / "out.mp4.segments" / "lock"
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(UsageError, match="is being made by another process"):
            job(clip, target).run(resume=True, progress=nothing)
        assert job(clip, target).unfinished == 2
        other.kill()
    assert job(clip, target).run(resume=True, progress=nothing).resumed == 2
    assert target.read_bytes() == whole


def test_a_fault_of_the_source_leaves_nothing(job: Made, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, frame in enumerate(moving_pattern(16, (12, 18))):
        Image.fromarray(frame).save(tmp_path / "in" / f"{number}.png")
    broken = tmp_path / "in" / "14.png"
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(SourceError, match=r"14\.png"):
        job(tmp_path / "in", tmp_path / "out.mp4").run(resume=False, progress=nothing)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert len(list((tmp_path / "in").iterdir())) == 16


def test_a_fault_of_the_disk_keeps_what_is_finished(job: Made, clip: Path, tmp_path: Path, whole: bytes) -> None:
    target, blocking = tmp_path / "out.mp4", tmp_path / "out.mp4.segments" / "000002.mp4"

    def block(frames: int) -> None:
        blocking.mkdir(exist_ok=True)

    with pytest.raises(MediaError, match=r"000002\.mp4: cannot be written"):
        job(clip, target).run(resume=False, progress=block)
    assert not target.exists()
    blocking.rmdir()
    assert job(clip, target).run(resume=True, progress=nothing).resumed == 2
    assert target.read_bytes() == whole


def test_files_of_others_stay(job: Made, clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out.mp4.segments"
    folder.mkdir()
    (folder / "holiday.mp4").write_text("mine")
    with pytest.raises(MediaError, match="holds another file"):
        job(clip, tmp_path / "out.mp4").run(resume=False, progress=nothing)
    assert (folder / "holiday.mp4").read_text() == "mine"
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"notes\.txt"):
        job(clip, tmp_path / "frames", kind="png").run(resume=False, progress=interrupt_after(1))
    (tmp_path / "film.mp4").mkdir()
    with pytest.raises(MediaError, match="is a folder"):
        job(clip, tmp_path / "film.mp4").run(resume=False, progress=interrupt_after(1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "frames", "out.mp4.segments"]


def test_a_job_that_replaces_a_file_leaves_it_until_it_is_done(
    job: Made, clip: Path, tmp_path: Path, whole: bytes
) -> None:
    target = tmp_path / "out.mp4"
    target.write_text("old")
    interrupted(job(clip, target), 30)
    assert target.read_text() == "old"
    job(clip, target).run(resume=True, progress=nothing)
    assert target.read_bytes() == whole
    assert len(stream_packets(target, 0)) == 2 * FRAMES
