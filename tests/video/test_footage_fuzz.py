"""Damaged files: an error of one line or frames, never anything else, in bounded time and memory."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from clip_files import encode, pattern
from damage import mutated

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


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder, frames = tmp_path_factory.mktemp("seeds"), pattern(10, (32, 48))
    return {name: encode(folder / name, frames, *SEEDS[name][0], inputs=SEEDS[name][1]).read_bytes() for name in SEEDS}


@pytest.mark.parametrize("name", SEEDS)
def test_damaged_files_are_read_or_refused(tmp_path: Path, seeds: dict[str, bytes], name: str) -> None:
    messages = []
    for number in range(EACH):
        path = tmp_path / name
        path.write_bytes(mutated(random.Random(f"{name} {number}"), seeds[name], list(seeds.values())))
        try:
            footage = examine(path)
            assert sum(1 for _ in timed_frames(footage)) == footage.frames
        except MediaError as error:
            messages.append(str(error))
    assert all(message.startswith(f"{path}: ") and "\n" not in message for message in messages)
    assert 0.2 * EACH < len(messages) < EACH, "both ends are met"
