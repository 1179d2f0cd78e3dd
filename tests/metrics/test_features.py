"""Features of a set, and their cache: a second run costs nothing, and a bad file is not believed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hvgcli.data.clips import scan
from hvgcli.metrics.features import FeatureSet, cache_folder, extract
from hvgcli.metrics.frame_statistics import FrameStatistics
from hvgcli.metrics.videos import RealVideos, VideoBatch
from hvgcli.metrics.windows import Sampling

Maker = Callable[..., Path]
SAMPLING = Sampling(6, 2, (16, 16), "windows")


class Halves:
    """A network of its own kind: the mean colours of the left and the right half; it counts what it has seen."""

    name, sha256, classifier, has_pooled = "halves", "5" * 64, False, True

    def __init__(self) -> None:
        self.seen = 0

    def logits(self, video: Tensor) -> Tensor:
        self.seen += len(video)
        return video[..., : video.shape[3] // 2, :].float().mean((1, 2, 3))

    def pooled(self, video: Tensor) -> Tensor | None:
        return video[..., video.shape[3] // 2 :, :].float().mean((1, 2, 3))

    def both(self, video: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.logits(video), self.pooled(video)

    def locations(self, video: Tensor) -> Tensor | None:
        return None


@pytest.fixture
def source(tmp_path: Path, make_clip: Maker) -> Path:
    make_clip(tmp_path / "set" / "fire" / "a.mp4", frames=30, seed=1)
    make_clip(tmp_path / "set" / "sea" / "b.mp4", frames=24, seed=2)
    return tmp_path / "set"


def videos(source: Path, sampling: Sampling = SAMPLING) -> RealVideos:
    return RealVideos(scan(source), sampling, name="set")


def same(first: FeatureSet, second: FeatureSet) -> bool:
    pairs = [(getattr(first, n), getattr(second, n)) for n in ("logits", "pooled", "labels", "takes")]
    equal = all(a is b is None or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)
    return equal and (first.classes, first.left_out, first.network) == (second.classes, second.left_out, second.network)


def refuse(_: object) -> None:
    raise AssertionError("nothing was to be told")


def test_features_are_those_of_every_video_in_order(source: Path) -> None:
    made = videos(source)
    network, done, watched = Halves(), [], []
    found = extract(made, network, batch=5, watch=watched.append, progress=done.append, warn=refuse)
    frames = torch.cat([batch.frames for batch in made.batches(100)])
    expected = [frames[i].float().mean((0, 1)) for i in range(made.count)]  # (W, 3)
    torch.testing.assert_close(found.logits, torch.stack([each[:8].mean(0) for each in expected]))
    torch.testing.assert_close(found.pooled, torch.stack([each[8:].mean(0) for each in expected]))
    assert found.labels is not None
    assert (len(found), network.seen, sum(done)) == (made.count,) * 3
    assert torch.equal(found.labels, found.takes)  # here each class is one file
    assert torch.bincount(found.labels).tolist() == list(made.class_counts.values())
    assert torch.equal(torch.cat([batch.frames for batch in watched]), frames)
    assert same(found, extract(made, Halves(), batch=3))


def test_a_second_run_costs_nothing(source: Path, own_cache: Path) -> None:
    first, again = Halves(), Halves()
    found = extract(videos(source), first, cache=cache_folder())
    done: list[int] = []
    kept = extract(videos(source), again, cache=cache_folder(), progress=done.append, warn=refuse)
    assert (first.seen, again.seen, sum(done)) == (len(found), 0, len(found))
    assert same(found, kept)
    assert [path.suffix for path in (own_cache / "features").iterdir()] == [".safetensors"]


def test_what_watches_sees_all_videos_also_with_kept_features(source: Path) -> None:
    network, watched = Halves(), list[VideoBatch]()
    extract(videos(source), Halves(), cache=cache_folder())
    extract(videos(source), network, cache=cache_folder(), watch=watched.append)
    frames = torch.cat([batch.frames for batch in videos(source).batches(100)])
    assert network.seen == 0
    assert torch.equal(torch.cat([batch.frames for batch in watched]), frames)


def test_other_files_windows_and_networks_are_kept_apart(source: Path, make_clip: Maker) -> None:
    found = extract(videos(source), Halves(), cache=cache_folder())
    for change in (
        lambda: extract(videos(source, Sampling(5, 2, (16, 16), "windows")), Halves(), cache=cache_folder()),
        lambda: extract(videos(source), FrameStatistics(), cache=cache_folder()),
        lambda: (
            (make_clip(source / "sea" / "b.mp4", frames=24, seed=8), None)[1]
            or extract(videos(source), Halves(), cache=cache_folder())
        ),
    ):
        before = len(list(cache_folder().iterdir()))
        assert not same(change(), found)
        assert len(list(cache_folder().iterdir())) == before + 1


def test_without_pooled_activations(source: Path) -> None:
    found = extract(videos(source), Halves(), cache=cache_folder(), pooled=False)
    assert found.pooled is None
    network = Halves()
    full = extract(videos(source), network, cache=cache_folder())
    assert network.seen == len(found)
    assert full.pooled is not None
    assert extract(videos(source), network, cache=cache_folder(), pooled=False).pooled is None
    assert same(extract(videos(source), network, cache=cache_folder(), warn=refuse), full)
    assert network.seen == len(found)
    statistics = extract(videos(source), FrameStatistics(), cache=cache_folder())
    assert same(extract(videos(source), FrameStatistics(), cache=cache_folder(), warn=refuse), statistics)


@pytest.mark.parametrize("damage", ["cut", "rubbish", "nan", "other"])
def test_a_damaged_file_is_told_and_made_again(source: Path, damage: str) -> None:
    found = extract(videos(source), Halves(), cache=cache_folder())
    (path,) = cache_folder().iterdir()
    good = path.read_bytes()
    if damage == "other":
        extract(videos(source, Sampling(5, 2, (16, 16), "windows")), Halves(), cache=cache_folder())
        (other,) = set(cache_folder().iterdir()) - {path}
        other.replace(path)
    else:
        nan = good[:-4] + b"\x00\x00\xc0\x7f"
        path.write_bytes({"cut": good[:-40], "rubbish": b"rubbish", "nan": nan}[damage])
    network, told = Halves(), list[str]()
    again = extract(videos(source), network, cache=cache_folder(), warn=told.append)
    assert same(again, found)
    assert network.seen == len(found)
    assert len(told) == 1
    assert "computed again" in told[0]
    assert "\n" not in told[0]
    assert path.read_bytes() == good


def test_features_that_cannot_be_kept_are_told(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    told: list[str] = []
    found = extract(videos(source), Halves(), cache=tmp_path / "file", warn=told.append)
    assert len(found) == found.logits.shape[0] > 0
    assert len(told) == 1
    assert "cannot write" in told[0]


def test_a_file_that_cannot_be_decoded_is_named_again(source: Path, make_clip: Maker) -> None:
    bad = make_clip(source / "sea" / "c.mp4", frames=24)
    index = scan(source)
    bad.write_bytes(bad.read_bytes()[:-500])
    made = RealVideos(index, SAMPLING, name="set")
    found = extract(made, Halves(), cache=cache_folder())
    assert len(found) < made.count
    assert ["c.mp4" in line for line in found.left_out] == [True]
    again = extract(RealVideos(index, SAMPLING, name="set"), Halves(), cache=cache_folder(), warn=refuse)
    assert same(again, found)
