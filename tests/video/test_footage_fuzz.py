"""Damaged files: an error of one line or frames, never anything else, in bounded time and memory."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from inputs import encode, pattern

from hvgcli.errors import MediaError
from hvgcli.video.footage import examine, timed_frames

H264 = ("-c:v", "libx264", "-bf", "2", "-g", "5", "-pix_fmt", "yuv420p")
SOUND = ("-f", "lavfi", "-i", "sine=duration=0.4")
SEEDS = {
    "a.mp4": (H264, SOUND),
    "a.mkv": (H264, SOUND),
    "a.webm": (("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"), ()),
    "a.avi": (("-c:v", "mpeg4", "-bf", "2"), ()),
    "a.gif": ((), ()),
    "a.png": (("-frames:v", "1", "-pix_fmt", "rgb48be"), ()),
}
EACH = 50
FIRST = 400  # bytes where headers are


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder, frames = tmp_path_factory.mktemp("seeds"), pattern(10, (32, 48))
    return {name: encode(folder / name, frames, *SEEDS[name][0], inputs=SEEDS[name][1]).read_bytes() for name in SEEDS}


def mutated(rng: random.Random, whole: bytes, heads: list[bytes]) -> bytes:
    """One way of damage: cut off, flipped bits, random header bytes, the header of another format, a piece lost."""
    data = bytearray(whole)
    way = rng.randrange(5)
    if way == 0:
        return bytes(data[: rng.randrange(len(data))])
    if way == 1:
        for _ in range(rng.randint(1, 40)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif way == 2:
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(min(FIRST, len(data)))] = rng.randrange(256)
    elif way == 3:
        head = rng.choice(heads)
        data[: len(head)] = head
    else:
        at, size = rng.randrange(len(data)), rng.randint(1, 200)
        data[at : at + size] = b"\xff" * size if rng.random() < 0.5 else b""
    return bytes(data)


@pytest.mark.parametrize("name", SEEDS)
def test_damaged_files_are_read_or_refused(tmp_path: Path, seeds: dict[str, bytes], name: str) -> None:
    heads = [data[:64] for data in seeds.values()]
    messages = []
    for number in range(EACH):
        path = tmp_path / name
        path.write_bytes(mutated(random.Random(f"{name} {number}"), seeds[name], heads))
        try:
            footage = examine(path)
            assert sum(1 for _ in timed_frames(footage)) == footage.frames
        except MediaError as error:
            messages.append(str(error))
    assert all(message.startswith(f"{path}: ") and "\n" not in message for message in messages)
    assert 0.2 * EACH < len(messages) < EACH, "both ends are met"
