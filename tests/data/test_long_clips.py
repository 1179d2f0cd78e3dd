"""Windows of videos that are too long to keep: exact, and without decoding what lies before."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from hvgcli import video
from hvgcli.data import cache as caches
from hvgcli.data.cache import FrameCache
from hvgcli.data.clips import Clip, scan
from hvgcli.data.windows import WindowSpec, choose, load
from hvgcli.errors import MediaError
from hvgcli.video import seeking
from hvgcli.video.ffmpeg import ffmpeg_program

Maker = Callable[..., Path]
FRAMES = 300
ENCODINGS = {
    "b_frames.mp4": ("-c:v", "libx264", "-g", "40", "-bf", "3", "-x264-params", "open-gop=1"),
    "b_frames.mkv": ("-c:v", "libx264", "-g", "40", "-bf", "3"),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-g", "40", "-b:v", "0", "-crf", "30"),
    "stream.ts": ("-c:v", "libx264", "-g", "40", "-bf", "3"),
    "old.avi": ("-c:v", "mpeg4", "-g", "40", "-bf", "2"),
    "one_key.mp4": ("-c:v", "libx264", "-g", "1000", "-bf", "3"),
}


@pytest.fixture(scope="module")
def long_videos(tmp_path_factory: pytest.TempPathFactory, make_clip: Maker) -> Path:
    folder = tmp_path_factory.mktemp("long")
    source = make_clip(folder / "source.mp4", frames=FRAMES, rate=Fraction(30000, 1001))
    for name, options in ENCODINGS.items():
        command = [ffmpeg_program(), "-loglevel", "error", "-i", str(source), "-threads", "1", *options]
        subprocess.run([*command, str(folder / name)], check=True)
    cut = ["-ss", "3", "-i", str(folder / "b_frames.mp4"), "-c", "copy", str(folder / "cut.mp4")]  # an edit list
    subprocess.run([ffmpeg_program(), "-loglevel", "error", *cut], check=True)
    return folder


@pytest.mark.parametrize("name", [*ENCODINGS, "cut.mp4"])
def test_seeking_keeps_the_numbers(long_videos: Path, name: str) -> None:
    every = video.read_video(long_videos / name)
    for start in (64, 79, 80, 81, 119, 137, 160, len(every) - 3):
        found = list(video.iter_frames(long_videos / name, start=start, stop=start + 4, seek=True))
        assert np.array_equal(np.stack(found), every[start : start + 4])
    assert not list(video.iter_frames(long_videos / name, start=len(every) + 70, stop=len(every) + 80, seek=True))


def test_a_window_of_a_long_video_decodes_only_itself(long_videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = long_videos / "b_frames.mp4"
    (clip,) = (clip for clip in scan(long_videos).clips if clip.path == path)
    decoded = 0
    plain = seeking.decoded

    def counted(*args: object) -> object:
        nonlocal decoded
        for frame in plain(*args):  # type: ignore[arg-type]
            decoded += 1
            yield frame

    whole = FrameCache(1 << 28).window(clip, range(250, 260, 2))
    monkeypatch.setattr(seeking, "decoded", counted)
    small = FrameCache(1 << 20)
    assert torch.equal(small.window(clip, range(250, 260, 2)), whole)
    assert decoded < 150, "less than half of the video"
    assert (len(small), small.bytes) == (0, 0)


def test_training_windows_are_the_same(long_videos: Path) -> None:
    index = scan(long_videos)
    spec = WindowSpec(frames=5, stride=4, resolution=16, random_scale=(0.5, 1.0), batch_size=len(index.clips))
    kept, small = FrameCache(1 << 28), FrameCache(0)
    for sample in range(len(index.clips)):
        choice = choose(index, spec, 0, 0, sample)
        assert torch.equal(load(kept, index, choice, spec), load(small, index, choice, spec))


def test_a_long_video_shorter_than_its_header_says(long_videos: Path) -> None:
    clip = Clip(long_videos / "one_key.mp4", None, 1000, Fraction(25), 48, 64)
    for cache in (FrameCache(1 << 28), FrameCache(0)):
        with pytest.raises(MediaError, match=r"has 300 frames, not 1000|no frames from 400"):
            cache.window(clip, range(400, 410))


def test_a_clip_is_decoded_once_by_many_threads(long_videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (clip, *_) = scan(long_videos).clips
    calls: list[Clip] = []
    plain = caches.decode

    def counted(clip: Clip, short_side: int | None = None, numbers: range | None = None) -> torch.Tensor:
        calls.append(clip)
        return plain(clip, short_side, numbers)

    monkeypatch.setattr(caches, "decode", counted)
    cache = FrameCache(1 << 28)
    found: list[torch.Tensor] = []
    threads = [threading.Thread(target=lambda: found.append(cache.frames(clip))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert all(frames is found[0] for frames in found)
    assert len(found) == 6
