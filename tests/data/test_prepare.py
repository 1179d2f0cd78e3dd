"""Making shards: the same bytes whatever happens on the way."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shard_folders import make_shards

from hvgcli.data.clips import Clip, scan
from hvgcli.data.prepare import Options, cuts_of
from hvgcli.data.sources import list_source
from hvgcli.errors import DataError, MediaError, OutputExistsError, UsageError

Maker = Callable[..., Path]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@given(st.integers(1, 5000), st.integers(0, 500), st.floats(0.01, 60), st.fractions(1, 120, max_denominator=1001))
def test_cuts_cover_a_video(frames: int, start: int, seconds: float, rate: Fraction) -> None:
    cuts = cuts_of(Clip(Path("a.mp4"), None, frames, rate, 8, 8, start), seconds)
    assert (cuts[0][0], cuts[-1][1]) == (start, start + frames)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(cuts))
    longest = max(1, int(Fraction(repr(seconds)) * rate))
    assert all(stop - first == longest for first, stop in cuts[:-1])
    last = cuts[-1][1] - cuts[-1][0]
    assert last <= longest + rate
    assert len(cuts) == 1 or last >= min(longest, rate)


def test_clips_of_a_source(shards: dict[str, Path]) -> None:
    index = scan(shards["h264"])
    assert index.classes == ("fire", "sea")
    # 12 frames at 10/s are one clip (the rest of 0.2 s joins it); 40 are four; 30 at 29.97/s are one
    assert sorted(clip.frames for clip in index.clips) == [10] * 8 + [12] * 2 + [30] * 2
    files = sorted(path.name for path in shards["h264"].iterdir())
    assert files == ["index.json", *(f"shard-{n:06d}.tar" for n in range(3)), "skipped.jsonl"]
    mixed = {tuple(sorted({c.label or 0 for c in index.clips if c.shard == number})) for number in range(3)}
    assert (0, 1) in mixed, "a shard has clips of several classes"


def test_the_same_bytes_again_with_other_workers(videos: Path, shards: dict[str, Path], tmp_path: Path) -> None:
    moved = shutil.copytree(videos, tmp_path / "moved")
    make_shards(moved, tmp_path / "out", workers=2, codec="jpeg", seconds=1.0, clips_per_shard=4, size=32)
    assert contents(tmp_path / "out") == contents(shards["jpeg"])


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_continued(videos: Path, shards: dict[str, Path], tmp_path: Path, workers: int) -> None:
    out, chance = tmp_path / "out", random.Random(workers)
    command = [sys.executable, "-m", "hvgcli", "data", "prepare", str(videos), str(out), "--codec", "h264"]
    command += ["--seconds", "1", "--clips-per-shard", "4", "--size", "32", "--workers", str(workers), "-q"]
    kills = 0
    for wanted in (1, 2):
        process = subprocess.Popen(command, start_new_session=True)
        while process.poll() is None and len(list(out.glob("shard-*.tar"))) < wanted:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.1))
        if process.poll() is None:
            process.kill()  # alone: its workers must notice
            kills += 1
        process.wait()
        kept = {path: path.stat().st_mtime_ns for path in out.glob(".progress/shard-*.json")}
        finished = {out / path.stem: (out / path.stem).stat().st_mtime_ns for path in kept}
    assert kills
    assert subprocess.run(command, check=False).returncode == 0
    assert contents(out) == contents(shards["h264"])
    assert all(path.stat().st_mtime_ns == changed for path, changed in finished.items()), "made again"


def test_interrupted_from_the_keyboard(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "hvgcli", "data", "prepare", str(videos), str(out), "--seconds", "0.2"]
    process = subprocess.Popen(
        [*command, "--clips-per-shard", "1", "--workers", "1"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while process.poll() is None and not list(out.glob("shard-*.tar")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (130, "hvg: error: interrupted\n")
    assert not (out / "index.json").exists()
    assert not list(out.glob(".progress/*.part"))


def test_what_cannot_be_decoded_is_skipped(tmp_path: Path, make_clip: Maker) -> None:
    source = tmp_path / "src"
    for number in range(3):
        make_clip(source / f"{number}.mp4", frames=40, rate=Fraction(10), seed=number)
    (source / "bad.mp4").write_text("no video")
    data = (source / "1.mp4").read_bytes()
    (source / "1.mp4").write_bytes(data[: len(data) * 2 // 3])
    result = make_shards(source, tmp_path / "out", seconds=1.0)
    assert result.fresh
    told = {entry["source"]: entry for entry in result.skipped}
    assert set(told) == {"bad.mp4", "1.mp4"}
    assert told["bad.mp4"]["clips"] is None
    assert 1 <= told["1.mp4"]["clips"] <= 4
    assert "frame" in told["1.mp4"]["reason"]
    lines = (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == result.skipped
    assert result.clips == len(scan(tmp_path / "out").clips) == 12 - told["1.mp4"]["clips"]
    assert scan(tmp_path / "out").classes == ()
    assert not make_shards(source, tmp_path / "out", seconds=1.0).fresh


def test_nothing_can_be_decoded(tmp_path: Path, make_clip: Maker) -> None:
    source = tmp_path / "src"
    make_clip(source / "a.mp4", frames=20)
    data = (source / "a.mp4").read_bytes()
    at = data.index(b"mdat") + 8
    (source / "a.mp4").write_bytes(data[:at])
    with pytest.raises(DataError, match="none of its"):
        make_shards(source, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_parts_in_a_list_become_clips(tmp_path: Path, make_clip: Maker) -> None:
    make_clip(tmp_path / "a.mp4", frames=60, rate=Fraction(10))
    (tmp_path / "list.csv").write_text("path,label,start,end\na.mp4,x,0.5,1.5\na.mp4,y,3,5.5\na.mp4,x,1,2\n")
    make_shards(tmp_path / "list.csv", tmp_path / "out")
    clips = scan(tmp_path / "out").clips
    assert sorted((clip.label, clip.frames) for clip in clips) == [(0, 10), (0, 10), (1, 25)]
    entries = json.loads((tmp_path / "out" / "index.json").read_text())["clips"]
    assert sorted(entry["start"] for entry in entries) == ["1", "1/2", "3"]


def test_other_options_or_files_are_refused(videos: Path, shards: dict[str, Path], tmp_path: Path) -> None:
    out = shutil.copytree(shards["jpeg"], tmp_path / "out")
    same = {"codec": "jpeg", "seconds": 1.0, "clips_per_shard": 4, "size": 32}
    assert not make_shards(videos, out, **same).fresh
    with pytest.raises(OutputExistsError, match="another --seconds: name a new folder"):
        make_shards(videos, out, **{**same, "seconds": 2.0})
    with pytest.raises(OutputExistsError, match="the source files"):
        make_shards(videos / "fire", out, **same)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"holds other files \(notes.txt"):
        make_shards(videos, tmp_path / "full")
    with pytest.raises(OutputExistsError, match="is a file"):
        make_shards(videos, tmp_path / "full" / "notes.txt")


def test_two_at_once(videos: Path, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "out" / ".progress").mkdir(parents=True)
    with (tmp_path / "out" / ".progress" / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(OutputExistsError, match="another process prepares it"):
            make_shards(videos, tmp_path / "out")


@pytest.mark.skipif(os.name != "posix", reason="needs a limit on the size of files")
def test_a_full_disk(videos: Path, tmp_path: Path) -> None:
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000));"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "from hvgcli.cli.main import run; sys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "data", "prepare", str(videos), str(tmp_path / "out"), "--codec", "jpeg"]
    done = subprocess.run([*command, "--workers", "1"], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("\n") == 1
    assert "cannot be written" in done.stderr
    assert not list((tmp_path / "out").glob("shard-*"))


def test_a_folder_that_cannot_be_made(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(MediaError, match="cannot be written"):
        make_shards(videos, tmp_path / "file" / "out")


@pytest.mark.parametrize(
    "options",
    [{"quality": 52}, {"codec": "jpeg", "quality": 0}, {"size": 4}, {"seconds": 0.0}, {"clips_per_shard": 0}],
)
def test_options_out_of_range(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="must be"):
        Options(**options)  # type: ignore[arg-type]


def test_classes_without_clips_keep_their_label(tmp_path: Path, make_clip: Maker) -> None:
    make_clip(tmp_path / "src" / "b" / "a.mp4")
    (tmp_path / "src" / "a").mkdir()
    (tmp_path / "src" / "a" / "bad.mp4").write_text("x")
    assert list_source(tmp_path / "src").classes == ("a", "b")
    make_shards(tmp_path / "src", tmp_path / "out")
    assert [clip.label for clip in scan(tmp_path / "out").clips] == [1]


def test_workers_start_without_torch() -> None:
    code = "import sys, hvgcli.data.prepare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
