"""List files: what they name, and one line for what is wrong in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from hvgcli.data.cache import decode
from hvgcli.data.clips import scan
from hvgcli.data.sources import list_source
from hvgcli.errors import DataError
from hvgcli.video import read_video

Maker = Callable[..., Path]


def test_parts_of_videos(tmp_path: Path, make_clip: Maker) -> None:
    video = make_clip(tmp_path / "clips" / "a.mp4", frames=30, rate=Fraction(10))
    (tmp_path / "list.csv").write_text(
        "\ufeffPath, label,start,end\nclips/a.mp4,sea 10,0.1,1.2\n\nclips/a.mp4,sea 9,,1\nclips/a.mp4,sea 10,2.5,\n",
        encoding="utf-8",
    )
    index = scan(tmp_path / "list.csv")
    assert index.classes == ("sea 9", "sea 10")
    assert [(c.label, c.start, c.frames) for c in index.clips] == [(1, 1, 11), (0, 0, 10), (1, 25, 5)]
    every = read_video(video)
    assert (decode(index.clips[0]).numpy() == every[1:12]).all()
    assert (decode(index.clips[2], numbers=range(1, 5, 2)).numpy() == every[26:30:2]).all()


def test_jsonl_is_the_same_as_csv(tmp_path: Path, make_clip: Maker) -> None:
    make_clip(tmp_path / "a.mp4", frames=20)
    rows = [{"path": "a.mp4", "label": 3, "end": 0.5}, {"path": str(tmp_path / "a.mp4"), "label": "x", "start": None}]
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    (tmp_path / "list.csv").write_text(f"end,path,label\n0.5,a.mp4,3\n,{tmp_path}/a.mp4,x\n")
    assert scan(tmp_path / "list.jsonl").clips == scan(tmp_path / "list.csv").clips
    assert scan(tmp_path / "list.jsonl").classes == ("3", "x")


def test_a_list_without_labels_is_unconditional(tmp_path: Path, make_clip: Maker) -> None:
    make_clip(tmp_path / "a.mp4")
    (tmp_path / "list.csv").write_text("path\na.mp4\n")
    index = scan(str(tmp_path / "list.csv"))
    assert (index.classes, [clip.label for clip in index.clips]) == ((), [None])


def test_a_start_behind_the_end_of_the_video_is_skipped(tmp_path: Path, make_clip: Maker) -> None:
    make_clip(tmp_path / "a.mp4", frames=25)
    (tmp_path / "list.csv").write_text("path,start\na.mp4,0\na.mp4,1\n")
    index = scan(tmp_path / "list.csv")
    assert len(index.clips) == 1
    assert "no frames from 1 s on: it has 1 s" in index.skipped[0][1]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "file,label\na.mp4,x\n", "line 1: has an unknown column 'file'"),
        ("a.csv", "label\nx\n", "line 1: has no column path"),
        ("a.csv", "path,path\nx,x\n", "line 1: names a column twice"),
        ("a.csv", "", "line 1: has no column path"),
        ("a.csv", "path\n", "names no videos"),
        ("a.csv", "path,label\na.mp4\n", "line 2: has 1 cells, its header 2"),
        ("a.csv", 'path\n"a.mp4\n', "is not CSV"),
        ("a.csv", "path\nb.mp4\n", "line 2: .*b.mp4 is missing"),
        ("a.csv", "path\n.\n", "line 2: .* is not a file"),
        ("a.csv", "path,label\na.mp4,x\na.mp4,\n", "line 3: has no label, others have"),
        ("a.csv", "path,start\na.mp4,soon\n", "line 2: start must be seconds from 0, not 'soon'"),
        ("a.csv", "path,start\na.mp4,-1\n", "line 2: start must be"),
        ("a.csv", "path,end\na.mp4,nan\n", "line 2: end must be"),
        ("a.csv", "path,start,end\na.mp4,2,2\n", "line 2: start 2 must be before end 2"),
        ("a.csv", "path,end\na.mp4,0\n", "line 2: start 0 must be before end 0"),
        ("a.jsonl", "{}\n", "line 1: has no column path"),
        ("a.jsonl", '{"path": "a.mp4"}\n\n{"path"\n', "line 3: is not JSON"),
        ("a.jsonl", "[1]\n", "line 1: must be an object"),
        ("a.jsonl", '{"path": 3}\n', "line 1: its path must be the name of a file, not 3"),
        ("a.jsonl", '{"path": "a.mp4", "label": [1]}\n', "line 1: its label must be"),
        ("a.jsonl", '{"path": "a.mp4", "start": true}\n', "line 1: start must be"),
        ("a.jsonl", '{"path": "a.mp4", "lable": "x"}\n', "line 1: has an unknown column 'lable'"),
    ],
)
def test_what_is_wrong_in_a_list(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        list_source(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"path\n\xff\xfe.mp4\n")
    with pytest.raises(DataError, match="is not text in UTF-8"):
        list_source(tmp_path / "a.csv")


def test_a_name_with_a_scheme_like_part_is_a_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        scan("data:set")
