"""Shards that were really made: read by webdataset and by us, and damaged in many ways."""

from __future__ import annotations

import gc
import io
import json
import shutil
import warnings
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hvgcli import video
from hvgcli.data.cache import FrameCache, decode
from hvgcli.data.clips import scan
from hvgcli.data.shards import verify
from hvgcli.data.windows import WindowSpec, batch, choose, load
from hvgcli.errors import DataError, MediaError

SPEC = WindowSpec(frames=4, stride=2, resolution=16, random_scale=(0.5, 1.0), batch_size=4)
Shards = dict[str, Path]


def samples(folder: Path) -> list[dict[str, Any]]:
    """Every sample, as WebDataset itself reads the tar files."""
    import webdataset

    files = sorted(str(path) for path in folder.glob("shard-*.tar"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves files for the garbage collector to close
        found = list(webdataset.WebDataset(files, shardshuffle=False, empty_check=False))
        gc.collect()
    return found


@pytest.mark.parametrize("codec", ["h264", "jpeg"])
def test_webdataset_reads_them(shards: Shards, codec: str) -> None:
    index = scan(shards[codec])
    found = samples(shards[codec])
    assert [sample["__key__"] for sample in found] == [clip.member.key for clip in index.clips if clip.member]
    assert len(found) == 12
    for sample, clip in zip(found, index.clips, strict=True):
        told = json.loads(sample["json"])
        assert (told["label"], told["class"]) == (clip.label, index.classes[clip.label or 0])
        assert (told["frames"], Fraction(told["rate"])) == (clip.frames, clip.rate)
        assert (told["height"], told["width"]) == (clip.height, clip.width) == (32, 44 if codec == "h264" else 43)
        assert told["source"].startswith(f"{told['class']}/")
        frames = [key for key in sample if key.endswith("jpg")]
        assert len(frames) == (clip.frames if codec == "jpeg" else 0)


@pytest.mark.parametrize("codec", ["h264", "jpeg"])
def test_windows_are_those_of_the_members(shards: Shards, codec: str, tmp_path: Path) -> None:
    index, cache = scan(str(shards[codec])), FrameCache(1 << 24)
    for number, (sample, clip) in enumerate(zip(samples(shards[codec]), index.clips, strict=True)):
        if codec == "h264":
            (tmp_path / f"{number}.mp4").write_bytes(sample["mp4"])
            whole = video.read_video(tmp_path / f"{number}.mp4")
        else:
            names = sorted(key for key in sample if key.endswith("jpg"))
            whole = np.stack([np.asarray(Image.open(io.BytesIO(sample[name]))) for name in names])
        assert np.array_equal(decode(clip).numpy(), whole)
        assert np.array_equal(decode(clip, numbers=range(3, 8, 2)).numpy(), whole[3:8:2])
    for step in range(6):
        choice = choose(index, SPEC, 0, step, 1)
        kept = load(cache, index, choice, SPEC)
        assert torch.equal(kept, load(FrameCache(0), index, choice, SPEC)), "of the window alone"


def test_clips_look_like_their_source(shards: Shards, videos: Path) -> None:
    for codec, folder in shards.items():
        for clip in scan(folder).clips:
            assert clip.member is not None
            source = video.read_video(videos / clip.member.source)
            entries = json.loads((folder / "index.json").read_text())["clips"]
            entry = next(entry for entry in entries if entry["key"] == clip.member.key)
            first = int(Fraction(entry["start"]) * clip.rate)
            expected = torch.from_numpy(source[first]).permute(2, 0, 1)[None]
            small = torch.nn.functional.interpolate(
                expected, size=(clip.height, clip.width), mode="bilinear", antialias=True
            )
            difference = small[0].permute(1, 2, 0).float() - decode(clip, numbers=range(1))[0].float()
            assert difference.abs().mean() < 4, codec


def test_batches_have_their_labels(shards: Shards) -> None:
    index = scan(shards["h264"])
    frames, labels = batch(FrameCache(1 << 24), index, SPEC, 0, 0, 4)
    assert frames.shape == (4, 4, 3, 16, 16)
    assert labels is not None
    drawn = [choose(index, SPEC, 0, 0, i).clip_index for i in range(4)]
    assert labels.tolist() == [index.clips[number].label for number in drawn]
    epoch = [choose(index, SPEC, 0, step, i).clip_index for step in range(3) for i in range(4)]
    assert sorted(epoch) == list(range(12))


@pytest.fixture
def copied(shards: Shards, tmp_path: Path) -> Path:
    return shutil.copytree(shards["h264"], tmp_path / "set")


def test_damage_is_found_by_the_byte(copied: Path) -> None:
    index = scan(copied)
    member = index.clips[1].member
    assert member is not None
    file = copied / member.shard.file
    data = bytearray(file.read_bytes())
    offset, size, _ = member.spans[0]
    data[offset + size // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(MediaError, match="is damaged in clip 00000001"):
        decode(index.clips[1])
    assert decode(index.clips[0]).shape[0] == index.clips[0].frames
    bad: list[str] = []
    frames, _ = batch(FrameCache(1 << 24), index, SPEC, 0, 0, 12, on_bad=lambda clip, why: bad.append(why))
    assert frames.isfinite().all()
    assert len(bad) >= 1
    assert Counter(bool(wrong) for _, wrong in verify(index)) == {True: 1, False: 2}


def test_a_shard_that_is_cut_off(copied: Path) -> None:
    index = scan(copied)
    member = index.clips[3].member
    assert member is not None
    file = copied / member.shard.file
    with file.open("r+b") as opened:
        opened.truncate(member.spans[0][0] + 10)
    with pytest.raises(MediaError, match="is cut off in clip 00000003"):
        decode(scan(copied).clips[3])
    assert "bytes, not" in dict(verify(index))[file.name]


def test_a_missing_shard(copied: Path) -> None:
    (copied / "shard-000001.tar").unlink()
    with pytest.raises(DataError, match=r"1 of 3 shards are missing \(shard-000001.tar"):
        scan(copied)


def first_clip(index: dict[str, Any], **changes: Any) -> None:
    index["clips"][0].update(changes)


CHANGES = {
    "a newer format": (lambda i: i.update(format_version=2), "has format 2, this hvg reads up to 1: update hvg"),
    "no format": (lambda i: i.pop("format"), "is not an index of shards"),
    "no version": (lambda i: i.pop("format_version"), "has no format version"),
    "no classes": (lambda i: i.pop("classes"), "lacks 'classes'"),
    "another codec": (lambda i: i.update(codec="exe"), "codec 'exe' is unknown"),
    "no clips": (lambda i: i.update(clips=[]), "has no clips"),
    "a path for a shard": (lambda i: i["shards"][0].update(file="../shard-000000.tar"), "is no shard"),
    "a wrong sum": (lambda i: i["shards"][0].update(sha256="x"), "is no sha256"),
    "a label too large": (lambda i: first_clip(i, label=2), "label 2 must be 0..1"),
    "no label": (lambda i: first_clip(i, label=None), "label None must be"),
    "another shard": (lambda i: first_clip(i, shard=3), "shard 3 must be 0..2"),
    "an offset outside": (lambda i: first_clip(i, members=[[1 << 40, 9, 0]]), "offset"),
    "a negative offset": (lambda i: first_clip(i, members=[[-512, 9, 0]]), "offset -512"),
    "a size outside": (lambda i: first_clip(i, members=[[512, 1 << 29, 0]]), "size of a clip"),
    "two members": (lambda i: first_clip(i, members=[[512, 9, 0]] * 2), "has 2 members"),
    "a key with a path": (lambda i: first_clip(i, key="../a"), "is no key"),
    "frames of text": (lambda i: first_clip(i, frames="8"), "frames '8' must be"),
    "a rate of nothing": (lambda i: first_clip(i, rate="1/0"), "is wrong"),
    "a size of nothing": (lambda i: first_clip(i, height=0), "height 0 must be"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_index_is_not_trusted(copied: Path, name: str) -> None:
    change, message = CHANGES[name]
    index = json.loads((copied / "index.json").read_text())
    change(index)
    (copied / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match=message) as caught:
        scan(copied / "index.json")
    assert "\n" not in str(caught.value)


def test_an_index_that_is_not_json(copied: Path) -> None:
    (copied / "index.json").write_text("{")
    with pytest.raises(DataError, match=r"index\.json"):
        scan(copied)


def test_a_jpeg_that_is_something_else(tmp_path: Path) -> None:
    from hvgcli.data.pictures import read_jpeg

    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, format="PNG")
    with pytest.raises(MediaError, match="a frame cannot be decoded"):
        read_jpeg(tmp_path, out.getvalue())
