"""Listing a data folder of real files."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvgcli.data.clips import natural_key, scan
from hvgcli.errors import DataError

Maker = Callable[..., Path]


def test_class_folders(tmp_path: Path, make_clip: Maker) -> None:
    for name in ("waves/clip10.mp4", "waves/clip2.webm", "fire/a.gif", "fire/B.mp4", ".hidden/c.mp4", "fire/.d.mp4"):
        make_clip(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a clip")
    (tmp_path / "empty").mkdir()
    index = scan(tmp_path)
    assert index.classes == ("fire", "waves")
    assert [(c.path.name, c.label) for c in index.clips] == [
        ("a.gif", 0),
        ("B.mp4", 0),
        ("clip2.webm", 1),
        ("clip10.mp4", 1),
    ]
    assert {(c.frames, c.rate, c.height, c.width) for c in index.clips} == {(8, Fraction(25), 48, 64)}
    assert index.skipped == ()
    assert scan(tmp_path).clips == index.clips


def test_flat_folder(tmp_path: Path, make_clip: Maker) -> None:
    target = make_clip(tmp_path / "elsewhere" / "long.mp4", rate=Fraction(24000, 1001), frames=5)
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "link.mp4").symlink_to(target)
    done: list[tuple[int, int]] = []
    index = scan(tmp_path / "flat", progress=lambda i, n: done.append((i, n)))
    assert index.classes == ()
    assert [(c.label, c.frames, c.rate) for c in index.clips] == [(None, 5, Fraction(24000, 1001))]
    assert done == [(1, 1)]


def test_bad_files_are_skipped_with_their_reason(tmp_path: Path, make_clip: Maker) -> None:
    make_clip(tmp_path / "good" / "a.mp4")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "b.mp4").write_text("no video")
    (tmp_path / "bad" / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    index = scan(tmp_path)
    assert [(c.path.name, c.label) for c in index.clips] == [("a.mp4", 1)]
    assert [path.name for path, _ in index.skipped] == ["b.mp4", "gone.mp4"]
    assert "cannot be read as a video" in index.skipped[0][1]
    assert index.classes == ("bad", "good"), "a class keeps its label though its files are bad"


def test_folders_without_clips(tmp_path: Path, make_clip: Maker) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.mp4").write_text("no video")
    make_clip(tmp_path / "mixed" / "fire" / "a.mp4")
    make_clip(tmp_path / "mixed" / "b.mp4")
    expected = {
        "missing": "no such folder",
        "file": "not a folder",
        "empty": "has no videos",
        "bad": "none of its 1 videos",
        "mixed": "beside class folders",
    }
    for name, message in expected.items():
        with pytest.raises(DataError, match=message) as caught:
            scan(tmp_path / name)
        assert "expected a folder of class folders" in str(caught.value)


@given(st.lists(st.text(alphabet="ab10_é²", max_size=6), unique=True))
def test_natural_order_is_total(names: list[str]) -> None:
    ordered = sorted(names, key=natural_key)
    random.Random(0).shuffle(names)
    assert sorted(names, key=natural_key) == ordered


def test_natural_order() -> None:
    assert sorted(["c10", "C2", "c1", "10", "9", "b"], key=natural_key) == ["9", "10", "b", "c1", "C2", "c10"]
