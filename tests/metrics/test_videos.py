"""Sets of real videos, against a slow literal reading of the same files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_folders import make_shards

from hvgcli import video
from hvgcli.data.cache import resize_uint8
from hvgcli.data.clips import scan
from hvgcli.errors import DataError, UsageError
from hvgcli.metrics import videos
from hvgcli.metrics.videos import RealVideos
from hvgcli.metrics.windows import Sampling, even_quotas

Maker = Callable[..., Path]
SIZE = (24, 24)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, make_clip: Maker) -> Path:
    """Two classes: a landscape of 40 and one of 21 frames, a portrait of 30, and 5 frames that are too short."""
    root = tmp_path_factory.mktemp("real")
    make_clip(root / "fire" / "a.mp4", frames=40, size=(48, 64), seed=1)
    make_clip(root / "fire" / "b.mp4", frames=21, size=(48, 80), seed=2)
    make_clip(root / "sea" / "c.mp4", frames=30, size=(56, 32), seed=3)
    make_clip(root / "sea" / "short.mp4", frames=5, size=(48, 64), seed=4)
    return root


def make(source: Path, sampling: Sampling, **options: int) -> RealVideos:
    return RealVideos(scan(source), sampling, name="set", **options)


def frames_of(made: RealVideos, size: int = 4) -> torch.Tensor:
    return torch.cat([batch.frames for batch in made.batches(size)])


def literal(source: Path, frames: int, stride: int, size: tuple[int, int]) -> list[torch.Tensor]:
    """All windows of the `windows` sampler, one by one from whole decoded files."""
    found = []
    for path in sorted(source.glob("*/*.mp4")):
        whole = torch.from_numpy(video.read_video(path))
        count, height, width, _ = whole.shape
        side = min(height, width)
        for start in range(0, count, 8):
            if start + frames * stride > count:
                break
            for part in range(3):
                top, left = (height - side) * part // 2, (width - side) * part // 2
                window = whole[start : start + frames * stride : stride, top : top + side, left : left + side]
                resized = resize_uint8(window, size)
                found += [resized, resized.flip(2)]
    return found


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("block", [1, 1 << 16, 1 << 30])
def test_windows_are_all_starts_crops_and_mirrors(
    source: Path, monkeypatch: pytest.MonkeyPatch, stride: int, block: int
) -> None:
    monkeypatch.setattr(videos, "BLOCK_BYTES", block)
    made = make(source, Sampling(6, stride, SIZE, "windows"), workers=0 if block == 1 else 2)
    expected = literal(source, 6, stride, SIZE)
    assert made.count == made.available == len(expected)
    assert torch.equal(frames_of(made), torch.stack(expected))


def test_folder_takes_the_middle_of_the_first_frames(source: Path) -> None:
    made = make(source, Sampling(6, 2, SIZE))
    whole = torch.from_numpy(video.read_video(source / "fire" / "b.mp4"))
    assert torch.equal(frames_of(made)[1], resize_uint8(whole[0:12:2, :, 16:64], SIZE))
    assert made.count == 3
    assert [line.split(": ", 1)[1] for line in made.left_out] == [
        "has 5 frames, a window needs 12 frames (6 at stride 2)"
    ]
    batch = next(made.batches(3))
    assert batch.labels is not None
    assert (batch.labels.tolist(), batch.takes.tolist()) == ([0, 0, 1], [0, 1, 2])
    assert made.class_counts == {"fire": 2, "sea": 1}
    described = made.described
    assert (described["videos"], described["takes"], described["size"], described["left_out"]) == (3, 3, "24x24", 1)


def test_a_size_that_is_not_square_crops_to_its_shape(source: Path) -> None:
    made = make(source / "fire", Sampling(2, 1, (16, 32)))
    whole = torch.from_numpy(video.read_video(source / "fire" / "a.mp4"))
    assert torch.equal(frames_of(made)[0], resize_uint8(whole[:2, 8:40], (16, 32)))


def test_without_a_size_frames_stay_as_they_are(source: Path) -> None:
    (made,) = frames_of(make(source / "sea", Sampling(30)))
    assert torch.equal(made, torch.from_numpy(video.read_video(source / "sea" / "c.mp4")))


def test_without_a_size_all_must_have_the_same(source: Path) -> None:
    with pytest.raises(DataError, match=r"mixed sizes, 64x48 \(a.mp4\) and 80x48 \(b.mp4\).*--size") as error:
        make(source, Sampling(20))
    assert "\n" not in str(error.value)


def test_a_set_of_short_videos_only(source: Path) -> None:
    with pytest.raises(DataError, match=r"no video has 80 frames \(40 at stride 2\), the longest has 40"):
        make(source, Sampling(40, 2))


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"frames": 4, "stride": 0}, {"frames": 4, "num": 0}])
def test_numbers_that_cannot_be(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="must be at least 1"):
        Sampling(**wrong)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(0, 120), st.integers(0, 5))
def test_quotas_are_even(sizes: list[int], total: int, seed: int) -> None:
    quotas = even_quotas(sizes, total, np.random.default_rng(seed))
    assert sum(quotas) == min(total, sum(sizes))
    assert all(0 <= quota <= size for quota, size in zip(quotas, sizes, strict=True))
    unfilled = [quota for quota, size in zip(quotas, sizes, strict=True) if quota < size]
    assert max(quotas) - min(unfilled, default=max(quotas)) <= 1  # nobody has two more than one who could have more


def test_a_subset_is_even_over_takes_and_depends_on_the_seed(source: Path) -> None:
    full = make(source, Sampling(6, 2, SIZE, "windows"))
    few = make(source, Sampling(6, 2, SIZE, "windows", num=9, seed=1))
    assert few.count == 9
    assert few.available == full.count
    assert [sum(window.clip == clip for window in few.windows) for clip in range(3)] == [3, 3, 3]
    assert few.windows == sorted(set(few.windows) & set(full.windows))
    places = [full.windows.index(window) for window in few.windows]
    assert torch.equal(frames_of(few), frames_of(full)[places])
    assert few.windows == make(source, Sampling(6, 2, SIZE, "windows", num=9, seed=1)).windows
    assert few.windows != make(source, Sampling(6, 2, SIZE, "windows", num=9, seed=2)).windows


@pytest.mark.parametrize("size", [1, 5, 100])
def test_the_batch_size_changes_no_video(source: Path, size: int) -> None:
    made = make(source, Sampling(6, 2, SIZE, "windows"))
    parts = list(made.batches(size))
    assert [len(part.frames) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert torch.equal(torch.cat([part.frames for part in parts]), frames_of(made))


def test_a_file_that_is_cut_off_gives_what_can_be_decoded(tmp_path: Path, make_clip: Maker) -> None:
    good, bad = make_clip(tmp_path / "good.mp4", frames=32), make_clip(tmp_path / "worse.mp4", frames=32, seed=1)
    index = scan(tmp_path)
    bad.write_bytes(bad.read_bytes()[:-600])
    made = RealVideos(index, Sampling(8, 1, SIZE, "windows"), name="set")
    batch = next(made.batches(1000))
    counts = torch.bincount(batch.takes)
    assert counts[0] == 4 * 6
    assert 0 <= counts[1:].sum() < 4 * 6
    assert len(made.left_out) == 1
    assert "worse.mp4" in made.left_out[0]
    good.write_bytes(b"")
    bad.write_bytes(b"")
    with pytest.raises(DataError, match="none of its videos can be decoded") as error:
        next(RealVideos(index, Sampling(8, 1, SIZE), name="set").batches(4))
    assert "\n" not in str(error.value)


def test_a_header_that_promises_too_much_is_told(tmp_path: Path, make_clip: Maker) -> None:
    make_clip(tmp_path / "a.mp4", frames=32)
    index = scan(tmp_path)
    make_clip(tmp_path / "b.mp4", frames=20).replace(tmp_path / "a.mp4")
    made = RealVideos(index, Sampling(8, 1, SIZE, "windows"), name="set")
    assert len(frames_of(made)) == 2 * 6  # starts 0 and 8
    assert "fewer frames than the 32" in made.left_out[0]


def test_the_key_follows_files_and_preprocessing(tmp_path: Path, make_clip: Maker) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=32)
    sampling = Sampling(8, 1, SIZE, "windows")
    key = make(tmp_path, sampling).key
    assert make(tmp_path, sampling).key == key
    others = [Sampling(8, 1, (32, 32), "windows"), Sampling(8, 2, SIZE, "windows"), Sampling(8, 1, SIZE)]
    keys = {make(tmp_path, other).key for other in others}
    os.utime(path, (1, 1))
    keys.add(make(tmp_path, sampling).key)
    assert len(keys | {key}) == 5


def test_parts_of_one_source_in_shards_are_one_take(source: Path, tmp_path: Path) -> None:
    make_shards(source, tmp_path / "shards", codec="jpeg", seconds=0.4, clips_per_shard=4, size=48)
    made = make(tmp_path / "shards", Sampling(6, 1, SIZE))
    batch = next(made.batches(100))
    sources = [clip.member.source for clip in made.index.clips if clip.member is not None]
    windows = [sources[window.clip] for window in made.windows]
    assert len(windows) > len(set(windows)) == made.described["takes"] == 3
    assert len(set(zip(windows, batch.takes.tolist(), strict=True))) == 3
    assert made.key == make(tmp_path / "shards", Sampling(6, 1, SIZE)).key
    assert batch.labels is not None
    assert batch.labels.tolist() == [int(name.startswith("sea")) for name in windows]
