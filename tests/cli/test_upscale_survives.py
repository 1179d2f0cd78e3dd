"""`hvg upscale` as a program: kills, Ctrl-C, full disks, closed folders. Never a broken file under the final name."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from clip_files import complaints, decoded_planes, encode, frame_times, stream_packets
from patterns import moving_pattern
from PIL import Image
from programs import end, start, until

from hvgcli.cli.main import run

FRAMES = 300  # of the source: four segments
SOUND = ("-f", "lavfi", "-i", "sine=440:d=300:r=48000")  # so long that joining takes a moment
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")
AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0

Program = Callable[..., "subprocess.Popen[str]"]
Upscale = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-pix_fmt", "yuv420p")
    sound = ("-c:a", "flac", "-compression_level", "0", "-frame_size", "512")
    path = tmp_path_factory.mktemp("source") / "in.mkv"
    return encode(path, moving_pattern(FRAMES, (12, 16)), *options, *sound, inputs=SOUND)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As in the programs: sums over more threads round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(source: Path, models: Path, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run makes that nothing interrupts."""
    path = tmp_path_factory.mktemp("whole") / "out.mkv"
    assert run(["upscale", "--model", str(models / "tiny"), str(source), "-o", str(path)]) == 0
    return path


@pytest.fixture
def upscale(models: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> Upscale:
    """Runs `hvg upscale` here, in this process."""

    def call(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["upscale", "--model", str(models / "tiny"), *map(str, args)])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def program(source: Path, models: Path, place: Path) -> Program:
    """Starts `hvg upscale SOURCE -o out.mkv` in the test's folder."""

    def begin(*options: object, limit_file_bytes: int | None = None) -> subprocess.Popen[str]:
        command = ("upscale", "--model", models / "tiny", source, "-o", "out.mkv", *options)
        return start(*command, limit_file_bytes=limit_file_bytes)

    return begin


def finished(place: Path) -> int:
    """Segments that are there."""
    return len(list(place.glob("out.mkv.segments/0*.json")))


def joins(place: Path) -> bool:
    """Whether the segments are being joined."""
    return (place / "out.mkv.part").exists()


def assert_same(made: Path, whole: Path) -> None:
    """The same frames, times and sound, and nothing beside them."""
    assert all(np.array_equal(a, b) for a, b in zip(decoded_planes(made), decoded_planes(whole), strict=True))
    assert frame_times(made) == frame_times(whole)
    assert stream_packets(made, 1) == stream_packets(whole, 1)
    assert [path.name for path in made.parent.iterdir()] == [made.name]


# ---- kills ---------------------------------------------------------------------------------------------


@POSIX
def test_kills_at_any_moment(program: Program, upscale: Upscale, place: Path, source: Path, whole: Path) -> None:
    rng = random.Random(5)
    for segments in (0, 1, 2):
        process = program("--resume")
        assert until(lambda: (place / "out.mkv.segments").exists() and finished(place) >= segments, process)  # noqa: B023
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        assert end(process)[:2] == (-signal.SIGKILL, "")
        assert not (place / "out.mkv").exists()
    process = program("--resume")
    assert until(lambda: joins(place), process)
    process.kill()
    assert end(process)[:2] == (-signal.SIGKILL, "")
    assert sorted(path.name for path in place.iterdir()) == ["out.mkv.part", "out.mkv.segments"]
    code, out, errors = upscale(source, "-o", "out.mkv", "--resume", "--json")
    assert code == 0, errors
    assert json.loads(out)["segments_kept"] == 4
    assert_same(place / "out.mkv", whole)
    assert complaints(place / "out.mkv") == ""


@POSIX
@pytest.mark.parametrize("moment", ["segments", "joining"])
def test_ctrl_c(program: Program, upscale: Upscale, place: Path, source: Path, whole: Path, moment: str) -> None:
    process = program()
    assert until(lambda: joins(place) if moment == "joining" else finished(place) >= 1, process)
    process.send_signal(signal.SIGINT)
    code, out, errors = end(process)
    assert (code, out) == (130, "")
    assert errors.splitlines()[-1] == "hvg: error: interrupted"
    assert errors.splitlines()[-2].endswith("out.mkv.segments: the same command with --resume goes on")
    assert [path.name for path in place.iterdir()] == ["out.mkv.segments"]
    code, out, errors = upscale(source, "-o", "out.mkv")
    assert (code, out) == (3, "")
    assert "--resume goes on, --overwrite starts anew" in errors
    code, out, errors = upscale(source, "-o", "out.mkv", "--resume", "--json")
    assert code == 0, errors
    assert json.loads(out)["segments_kept"] >= (4 if moment == "joining" else 1)
    assert_same(place / "out.mkv", whole)


# ---- disks and folders -----------------------------------------------------------------------------------


@POSIX
def test_a_full_disk(program: Program, upscale: Upscale, place: Path, source: Path, whole: Path) -> None:
    code, out, errors = end(program(limit_file_bytes=4_000))
    assert (code, out) == (3, "")
    assert "out.mkv.segments" in errors.splitlines()[-1]
    assert list(place.iterdir()) == [], "no segment fits: there is nothing to go on with"
    code, out, errors = end(program(limit_file_bytes=2_000_000))
    assert (code, out) == (3, "")
    assert errors.splitlines()[-1].startswith("hvg: error: out.mkv: cannot be written")
    assert "--resume goes on" in errors.splitlines()[-2]
    assert [path.name for path in place.iterdir()] == ["out.mkv.segments"]
    code, _, errors = upscale(source, "-o", "out.mkv", "--resume")
    assert code == 0, errors
    assert_same(place / "out.mkv", whole)


@pytest.mark.skipif(AS_ROOT, reason="root may write and read everything")
@POSIX
def test_no_permission(upscale: Upscale, place: Path, source: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o500)
    code, _, errors = upscale(source, "-o", "closed/out.mkv")
    assert (code, errors.count("\n")) == (3, 1)
    assert "no permission in" in errors
    (place / "in.mkv").write_bytes(b"secret")
    (place / "in.mkv").chmod(0)
    code, _, errors = upscale("in.mkv")
    assert (code, errors.count("\n")) == (3, 1)
    assert "in.mkv" in errors


@POSIX
def test_no_input_is_replaced(upscale: Upscale, place: Path, make_clip: Callable[..., Path]) -> None:
    make_clip(place / "a.mp4", frames=2, size=(12, 16))
    make_clip(place / "a.x2.mp4", frames=2, size=(12, 16))
    (place / "soft.mp4").symlink_to("a.mp4")
    (place / "hard.mp4").hardlink_to(place / "a.mp4")
    (place / "shots").mkdir()
    Image.fromarray(moving_pattern(1, (12, 16))[0]).save(place / "shots" / "0.png")
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    for inputs, output in (
        (["a.mp4"], ["-o", "a.mp4"]),
        (["a.mp4"], ["-o", "soft.mp4"]),
        (["a.mp4"], ["-o", "hard.mp4"]),
        (["soft.mp4"], ["-o", "a.mp4"]),
        (["a.mp4", "a.x2.mp4"], []),
        (["shots"], ["-o", "shots/0.png"]),
        (["shots", "a.mp4"], ["-o", "{name}.mp4"]),
    ):
        code, _, errors = upscale(*inputs, *output, "--overwrite")
        assert (code, errors.count("\n")) == (2, 1), errors
        assert "is the input: name another output" in errors
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
