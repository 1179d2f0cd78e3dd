"""`hvg data` as people and scripts use it."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvgcli.cli.main import run


@pytest.fixture
def videos(tmp_path, make_clip) -> Path:
    for number, name in enumerate(("fire/a", "fire/b", "sea/c")):
        make_clip(tmp_path / "videos" / f"{name}.mp4", frames=20, rate=Fraction(10), seed=number)
    return tmp_path / "videos"


@pytest.fixture
def hvg(capsys):
    """Runs `hvg data`; returns exit code, stdout and stderr."""

    def call(*args: object) -> tuple[int, str, str]:
        code = run(["data", *map(str, args)])
        return code, *capsys.readouterr()

    return call


def test_prepare_and_info(hvg, videos, tmp_path):
    out = tmp_path / "out"
    code, told, _ = hvg("prepare", videos, out, "--size", 32, "--seconds", 1, "--workers", 1, "--json")
    assert code == 0
    record = json.loads(told)
    size = sum(path.stat().st_size for path in out.glob("*.tar"))
    assert record == {
        "schema": 1, "out": str(out), "clips": 6, "shards": 1, "bytes": size, "skipped": 0, "fresh": True
    }  # fmt: skip
    code, told, _ = hvg("info", out, "--json", "--verify", "--sheet", tmp_path / "sheet.png")
    assert code == 0
    info = json.loads(told)
    assert (info["clips"], info["seconds"], info["classes"], info["codec"]) == (6, 6.0, 2, "h264")
    assert (info["sizes"], info["rates"]) == ({"44x32": 6}, {"10": 6})
    assert [(row["class"], row["clips"]) for row in info["per_class"]] == [("fire", 4), ("sea", 2)]
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (2 * 112 + 2, 4 * 114 - 2, 3)
    assert (sheet[114:, 2 * 114 :] == 255).all(), "sea has two clips"
    assert (sheet[:112, 3 * 114 :] != 255).any()


def test_what_people_read(hvg, videos, tmp_path, make_clip):
    out = tmp_path / "out"
    code, told, _ = hvg("prepare", videos, out, "--codec", "jpeg", "--workers", 1)
    assert code == 0
    assert told.startswith(f"{out}: 3 clips in 1 shard, ")
    assert hvg("prepare", videos, out, "--codec", "jpeg", "-q") == (0, f"{out}\n", "")
    assert "nothing was left to do" in hvg("prepare", videos, out, "--codec", "jpeg")[1]
    code, told, _ = hvg("info", out)
    assert code == 0
    assert all(text in told for text in ("fire", "sea", "64x48 (3)", "jpeg"))
    make_clip(videos / "sea" / "d.mp4", size=(32, 64))
    assert "sizes differ" in hvg("info", videos)[2]
    assert hvg("info", videos, "-q")[1] == f"{videos}\n"


def test_dry_run_writes_nothing(hvg, videos, tmp_path):
    (videos / "sea" / "bad.mp4").write_text("x")
    code, told, warned = hvg("prepare", videos, tmp_path / "out", "--dry-run", "--seconds", 1, "--json")
    assert code == 0
    record = json.loads(told)
    assert (record["videos"], record["unreadable"], record["clips"], record["shards"]) == (4, 1, 6, 1)
    assert "cannot read sea/bad.mp4" in warned
    assert not (tmp_path / "out").exists()


def test_some_videos_fail(hvg, videos, tmp_path):
    (videos / "sea" / "bad.mp4").write_text("x")
    for _ in range(2):
        code, told, err = hvg("prepare", videos, tmp_path / "out", "-q", "--workers", 1)
        assert (code, told) == (6, f"{tmp_path / 'out'}\n")
        assert "hvg: warning: skipped all of sea/bad.mp4" in err
        assert err.splitlines()[-1].startswith("hvg: error: 1 videos could not be read in full")


def test_overwrite(hvg, videos, tmp_path):
    out = tmp_path / "out"
    assert hvg("prepare", videos, out, "--workers", 1)[0] == 0
    (out / "notes.txt").write_text("mine")
    code, _, err = hvg("prepare", videos, out, "--codec", "jpeg")
    assert (code, err.count("\n")) == (3, 1)
    assert "begun with another --codec" in err
    assert hvg("prepare", videos, out, "--codec", "jpeg", "--overwrite", "--workers", 1)[0] == 0
    assert json.loads((out / "index.json").read_text())["codec"] == "jpeg"
    assert (out / "notes.txt").read_text() == "mine"
    code, _, err = hvg("prepare", videos, videos, "--overwrite")
    assert (code, "holds other files" in err) == (3, True)
    assert len(list(videos.rglob("*.mp4"))) == 3


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["info", "nowhere"], 3, "no such folder"),
        (["info", "videos", "--verify"], 2, "--verify is for shards"),
        (["info", "videos", "--sheet", "a.jpg"], 2, "must end in .png"),
        (["info", "videos", "--sheet", "old.png"], 3, "--overwrite"),
        (["prepare", "nowhere", "out"], 3, "no such folder"),
        (["prepare", "videos", "out", "--quality", "99"], 2, "--quality 99 must be 0..51"),
        (["prepare", "list.csv", "out"], 3, "line 2: start 3 must be before end 1"),
        (["prepare", "empty", "out"], 3, "has no videos"),
    ],
)
def test_one_line_for_each_mistake(hvg, videos, tmp_path, monkeypatch, args, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.png").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.csv").write_text("path,start,end\nvideos/sea/c.mp4,3,1\n")
    found, _, err = hvg(*args)
    assert (found, err.count("\n")) == (code, 1), err
    assert message in err
    assert not (tmp_path / "out").exists()


def test_verify_finds_a_flipped_bit(hvg, videos, tmp_path):
    out = tmp_path / "out"
    assert hvg("prepare", videos, out, "--workers", 1)[0] == 0
    file = out / "shard-000000.tar"
    data = bytearray(file.read_bytes())
    data[700] ^= 1
    file.write_bytes(data)
    code, _, err = hvg("info", out, "--verify")
    assert (code, err.splitlines()[-1]) == (
        3, "hvg: error: 1 of 1 shards are bad: shard-000000.tar differs from its checksum: copy or prepare them again"
    )  # fmt: skip
