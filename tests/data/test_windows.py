"""Training samples: drawn purely, cut exactly, and never stopped by a bad file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.data.cache import FrameCache
from hvgcli.data.clips import Clip, ClipIndex, scan
from hvgcli.data.windows import Choice, WindowSpec, batch, choose, eligible, fitting_stride, load
from hvgcli.errors import DataError

Maker = Callable[..., Path]
DRAWN: list[tuple[int, int, int, int, int, int, bool]] = [
    (3, 3, 1, 7, 1, 23, False),
    (2, 11, 2, 8, 36, 22, False),
    (2, 1, 2, 1, 27, 27, True),
    (2, 8, 2, 7, 3, 32, True),
]
SPEC = WindowSpec(frames=4, stride=2, resolution=16, random_scale=(0.5, 1.0))


def fake_index(lengths: list[int], labels: list[int] | None = None) -> ClipIndex:
    """Clips that are only drawn from, never opened."""
    known = labels or [None] * len(lengths)
    clips = [
        Clip(Path(f"{i}.mp4"), y, n, Fraction(25), 40, 60) for i, (n, y) in enumerate(zip(lengths, known, strict=True))
    ]
    return ClipIndex(tuple(clips), ("a", "b") if labels else ())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_clip: Maker) -> Path:
    root = tmp_path_factory.mktemp("data")
    for number in range(2):
        make_clip(root / "fire" / f"{number}.mp4", frames=10, seed=number)
    make_clip(root / "sea" / "0.mp4", frames=12, size=(64, 48), seed=5)
    return root


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    frames=st.integers(1, 8),
    stride=st.integers(1, 8),
    seed=st.integers(0, 2**63),
    step=st.integers(0, 10**9),
    sample=st.integers(0, 4096),
    random_stride=st.booleans(),
)
def test_every_choice_fits_its_clip(
    lengths: list[int], frames: int, stride: int, seed: int, step: int, sample: int, random_stride: bool
) -> None:
    index = fake_index(lengths)
    spec = WindowSpec(frames, stride, 16, (0.3, 1.0), random_stride=random_stride)
    assert eligible(index, spec) == sum(n >= frames for n in lengths)
    if not eligible(index, spec):
        with pytest.raises(DataError, match=f"longest has {max(lengths)}"):
            choose(index, spec, seed, step, sample)
        return
    choice = choose(index, spec, seed, step, sample)
    assert choice == choose(index, spec, seed, step, sample)
    length = lengths[choice.clip_index]
    assert stride % choice.stride == 0
    assert random_stride or choice.stride == fitting_stride(length, frames, stride)
    assert choice.start >= 0
    assert choice.start + (frames - 1) * choice.stride < length
    assert 12 <= choice.side <= 40
    assert 0 <= choice.top <= 40 - choice.side
    assert 0 <= choice.left <= 60 - choice.side


def test_choices_differ_by_seed_step_and_sample() -> None:
    index = fake_index([500, 500])
    keys = [(s, t, n) for s in range(4) for t in range(4) for n in range(4)]
    assert len({choose(index, SPEC, *key) for key in keys}) == len(keys)


def test_failed_clips_are_drawn_no_more() -> None:
    index = fake_index([5000, 50, 50])
    drawn = Counter(choose(index, SPEC, 0, step, 0, without=frozenset({0})).clip_index for step in range(100))
    assert set(drawn) == {1, 2}
    with pytest.raises(DataError, match="all 3 clips"):
        choose(index, SPEC, 0, 0, 0, without=frozenset({0, 1, 2}))


def test_fitting_stride() -> None:
    assert [fitting_stride(n, 4, 6) for n in (19, 18, 10, 9, 7, 4, 3)] == [6, 3, 3, 2, 2, 1, None]
    assert fitting_stride(1, 1, 8) == 8


def test_balanced_clips_are_drawn_by_their_number_of_starts() -> None:
    index = fake_index([7 + 99, 7 + 299, 5], [0, 0, 0])  # 100, 300 and, at stride 1, 2 starts
    spec = replace(SPEC, balance_classes=True)
    drawn = Counter(choose(index, spec, 0, step, 0).clip_index for step in range(3000))
    assert drawn[1] / drawn[0] == pytest.approx(3, rel=0.15)
    assert 0 < drawn[2] < 50


def test_balanced_classes_are_drawn_evenly() -> None:
    index = fake_index([1000, 1000, 1000, 20, 3], [0, 0, 0, 1, 1])
    spec = replace(SPEC, balance_classes=True)
    drawn = Counter(index.clips[choose(index, spec, 0, step, 0).clip_index].label for step in range(2000))
    assert drawn[0] / 2000 == pytest.approx(0.5, abs=0.04)


def test_balanced_draws_are_those_of_runs_that_exist() -> None:
    index = fake_index([100, 60, 30, 9], [0, 0, 1, 1])
    spec = WindowSpec(frames=6, stride=2, resolution=32, random_scale=(0.5, 1.0), balance_classes=True, batch_size=8)
    chosen = [choose(index, spec, 5, step, sample) for step in (0, 77) for sample in (0, 3)]
    assert [(c.clip_index, c.start, c.stride, c.top, c.left, c.side, c.flip) for c in chosen] == DRAWN


def test_unbalanced_clips_come_once_an_epoch() -> None:
    index = fake_index([1000, 50, 3, 20, 60])  # the third is too short
    spec = replace(SPEC, batch_size=3)
    drawn = [choose(index, spec, 1, step, sample).clip_index for step in range(8) for sample in range(3)]
    epochs = [drawn[i : i + 4] for i in range(0, 24, 4)]
    assert all(sorted(epoch) == [0, 1, 3, 4] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    again = [choose(index, replace(spec, batch_size=1), 1, position, 0).clip_index for position in range(24)]
    assert again == drawn, "the order does not depend on how it is cut into batches"


def test_flip_and_random_stride_are_options() -> None:
    index = fake_index([100])
    several = [choose(index, SPEC, 0, step, 0) for step in range(200)]
    assert 60 < sum(c.flip for c in several) < 140
    assert {c.stride for c in several} == {2}
    assert not any(choose(index, replace(SPEC, flip=False), 0, step, 0).flip for step in range(50))
    mixed = Counter(choose(index, replace(SPEC, random_stride=True), 0, step, 0).stride for step in range(200))
    assert set(mixed) == {1, 2}
    assert 60 < mixed[1] < 140


def test_load_cuts_exactly(folder: Path) -> None:
    index, cache = scan(folder), FrameCache(1 << 24)
    whole = cache.frames(index.clips[1])
    choice = Choice(clip_index=1, start=1, stride=2, top=3, left=10, side=20, flip=False)
    expected = whole[[1, 3, 5, 7], 3:23, 10:30]
    assert torch.equal(load(cache, index, choice, SPEC), expected)
    assert torch.equal(load(cache, index, replace(choice, flip=True), SPEC), expected.flip(2))


def test_load_from_a_smaller_copy(folder: Path) -> None:
    index, cache = scan(folder), FrameCache(1 << 24, short_side=24)
    choice = Choice(clip_index=0, start=0, stride=2, top=0, left=16, side=48, flip=False)
    assert torch.equal(load(cache, index, choice, SPEC), cache.frames(index.clips[0])[0:7:2, :, 8:32])
    for step in range(50):
        window = load(cache, index, choose(index, SPEC, 0, step, 0), SPEC)
        assert window.shape[0] == 4
        assert 12 <= window.shape[1] == window.shape[2] <= 24


def test_batch(folder: Path) -> None:
    index, cache = scan(folder), FrameCache(1 << 24)
    video, labels = batch(cache, index, SPEC, 3, 7, 6)
    assert video.shape == (6, 4, 3, 16, 16)
    assert video.dtype == torch.float32
    assert video.permute(0, 1, 3, 4, 2).is_contiguous()
    assert -1 <= video.min() < -0.3
    assert 0.3 < video.max() <= 1
    chosen = [choose(index, SPEC, 3, 7, i) for i in range(6)]
    assert labels is not None
    assert labels.dtype == torch.int64
    assert labels.tolist() == [index.clips[c.clip_index].label for c in chosen]
    crop = load(cache, index, chosen[2], SPEC).permute(0, 3, 1, 2).float() / 127.5 - 1
    exact = torch.nn.functional.interpolate(crop, size=(16, 16), mode="bilinear", antialias=True)
    torch.testing.assert_close(video[2], exact, atol=1.01 / 127.5, rtol=0)


def test_a_batch_can_be_split_over_processes(folder: Path) -> None:
    index, cache = scan(folder), FrameCache(1 << 24)
    video, labels = batch(cache, index, SPEC, 0, 1, 4)
    parts = [batch(FrameCache(0), index, SPEC, 0, 1, 2, first=first) for first in (0, 2)]
    assert torch.equal(torch.cat([part[0] for part in parts]), video)
    assert labels is not None
    assert [n for part in parts if part[1] is not None for n in part[1].tolist()] == labels.tolist()


def test_no_labels_without_classes(folder: Path) -> None:
    assert batch(FrameCache(1 << 24), scan(folder / "fire"), SPEC, 0, 0, 2)[1] is None


def test_bad_clips_are_replaced_the_same_way_in_every_run(tmp_path: Path, make_clip: Maker) -> None:
    for number in range(3):
        make_clip(tmp_path / f"{number}.mp4", frames=10, seed=number)
    index = scan(tmp_path)
    data = index.clips[1].path.read_bytes()
    index.clips[1].path.write_bytes(data[: len(data) * 2 // 3])
    bad: list[tuple[str, str]] = []
    runs = [
        batch(FrameCache(1 << 24), index, SPEC, 0, 0, 12, on_bad=lambda clip, why: bad.append((clip.path.name, why)))[0]
        for _ in range(2)
    ]
    assert torch.equal(*runs)
    assert {name for name, _ in bad} == {"1.mp4"}
    assert "frame" in bad[0][1]


def test_a_clip_shorter_than_its_header_says_is_replaced(folder: Path) -> None:
    found = scan(folder)
    index = ClipIndex((replace(found.clips[0], frames=1000), found.clips[1]), found.classes)
    bad: list[str] = []
    video, _ = batch(FrameCache(1 << 24), index, SPEC, 0, 0, 4, on_bad=lambda clip, why: bad.append(why))
    assert video.isfinite().all()
    assert bad
    assert "has 10 frames, not 1000" in bad[0]


def test_only_bad_clips_is_an_error() -> None:
    with pytest.raises(DataError, match="failed to decode"):
        batch(FrameCache(1 << 24), fake_index([50]), SPEC, 0, 0, 1)
