"""`hvg upscale` of damaged files: a result or one line, never a traceback, a hang or half a file."""

from __future__ import annotations

import json
import random
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clip_files import encode, frame_times
from damage import mutated
from patterns import moving_pattern
from PIL import Image

H264 = ("-c:v", "libx264", "-bf", "2", "-g", "4", "-pix_fmt", "yuv420p")
SOUND = ("-f", "lavfi", "-i", "sine=duration=0.2")
SEEDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "a.mp4": (H264, SOUND),
    "a.mkv": (H264, SOUND),
    "a.avi": (("-c:v", "mpeg4", "-bf", "2"), ()),
    "a.gif": ((), ()),
    "a.png": ((), ()),
}
FRAMES, SIZE = 6, (8, 12)
EACH = 41  # of five formats: more than 200
STARTING, LONGEST = 120, 20  # seconds

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="waits for a pipe")


class Worker:
    """A process that runs `hvg upscale`."""

    def __init__(self, model: Path) -> None:
        self.model = model
        command = [sys.executable, str(Path(__file__).with_name("upscale_worker.py"))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._answer(STARTING) == "ready\n"

    def _answer(self, seconds: float) -> str:
        """A line of the process; empty where it ended or took longer."""
        assert self.process.stdout is not None
        waiting, _, _ = select.select([self.process.stdout], [], [], seconds)
        return self.process.stdout.readline() if waiting else ""

    def upscale(self, *args: object) -> dict[str, Any]:
        """Exit code and what was printed."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(["--model", str(self.model), *map(str, args)]) + "\n")
        self.process.stdin.flush()
        answer = self._answer(LONGEST)
        assert answer, f"crashed ({self.process.poll()}) or hung"
        value: dict[str, Any] = json.loads(answer)
        return value

    def end(self) -> str:
        """What the process wrote to stderr past Python; it ends with its input."""
        try:
            return self.process.communicate(timeout=LONGEST)[1]
        finally:
            self.process.kill()


@pytest.fixture(scope="module")
def worker(models: Path) -> Iterator[Worker]:
    started = Worker(models / "tiny")
    yield started
    assert started.end() == "", "nothing is said past Python, by a library in C"


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A sound file of each format."""
    folder, frames = tmp_path_factory.mktemp("seeds"), moving_pattern(FRAMES, SIZE)
    Image.fromarray(frames[0]).save(folder / "a.png")
    made = {
        name: encode(folder / name, frames, *how, inputs=more) for name, (how, more) in SEEDS.items() if name != "a.png"
    }
    return {name: path.read_bytes() for name, path in (made | {"a.png": folder / "a.png"}).items()}


def damaged_input(place: Path, name: str, rng: random.Random, seeds: dict[str, bytes]) -> Path:
    """A damaged file, or for PNG a folder of three with a damaged one."""
    data = mutated(rng, seeds[name], list(seeds.values()))
    if name != "a.png":
        (place / name).write_bytes(data)
        return place / name
    (place / "shots").mkdir()
    for number in range(3):
        (place / "shots" / f"{number}.png").write_bytes(seeds[name])
    (place / "shots" / f"{rng.randrange(3)}.png").write_bytes(data)
    return place / "shots"


def contents(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def check_result(place: Path, before: dict[str, bytes], done: dict[str, Any]) -> None:
    """Only the result is new, and it has all its frames."""
    told = json.loads(done["out"])
    result = Path(told["path"])
    new = set(contents(place)) - set(before)
    if result.is_dir():
        assert new == {f"{result.name}/{number:06d}.png" for number in range(told["frames"])}
    else:
        assert new == {result.name}
        assert len(frame_times(result)) == told["frames"] or result.suffix == ".gif"


@pytest.mark.parametrize("name", SEEDS)
def test_damaged_files(tmp_path: Path, worker: Worker, seeds: dict[str, bytes], name: str) -> None:
    codes = []
    for number in range(EACH):
        place = tmp_path / str(number)
        place.mkdir()
        source = damaged_input(place, name, random.Random(f"{name} {number}"), seeds)
        before = contents(place)
        done = worker.upscale(source, "--json")
        codes.append(done["code"])
        assert done["code"] in (0, 3), (number, done)
        assert "Traceback" not in done["errors"]
        assert before.items() <= contents(place).items(), "the input is as it was"
        if done["code"] == 0:
            check_result(place, before, done)
        else:
            assert contents(place) == before
            assert sorted(path.name for path in place.iterdir()) == [source.name]
            assert done["errors"].splitlines()[-1].startswith("hvg: error: ")
            assert done["errors"].count("hvg: error") == 1
    assert 0 < codes.count(0) < EACH, "both ends are met"
