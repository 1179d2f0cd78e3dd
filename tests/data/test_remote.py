"""Shards behind pipes and a real HTTP server of this process."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from hvgcli.data import remote
from hvgcli.data.cache import FrameCache, decode
from hvgcli.data.clips import scan
from hvgcli.data.windows import WindowSpec, batch
from hvgcli.errors import MediaError, ResourceError, UsageError, WeightsError

pytestmark = pytest.mark.skipif(
    shutil.which("curl") is None or shutil.which("cat") is None, reason="needs curl and cat"
)
SPEC = WindowSpec(frames=4, stride=2, resolution=16, batch_size=12)


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder and remembers what was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def folder(shards: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(shards["h264"], tmp_path / "set")


@pytest.fixture
def server(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Address of `folder`, and the paths that are asked for."""
    handler = type("Served", (Handler,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_address[1]}", handler.asked  # type: ignore[attr-defined]
        served.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSE", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def one_batch(source: str | Path) -> torch.Tensor:
    return batch(FrameCache(1 << 24), scan(source), SPEC, 0, 0, 12)[0]


def kept(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "shards").glob("*.tar"))


def test_http(folder: Path, server: tuple[str, list[str]], own_cache: Path) -> None:
    address, asked = server
    expected = one_batch(folder)
    for url in (address, f"{address}/", f"{address}/index.json?key=secret", f"{address}/{{}}"):
        assert torch.equal(one_batch(url), expected)
    assert len([path for path in asked if path.endswith(".tar")]) == 3, "shards are fetched once"
    assert len([path for path in asked if "index.json" in path]) == 4
    assert "/index.json?key=secret" in asked
    assert len(kept(own_cache)) == 3
    assert "secret" not in str(scan(f"{address}/index.json?key=secret").clips[0].path)


def test_pipe_and_file(folder: Path) -> None:
    expected = one_batch(folder)
    assert torch.equal(one_batch(f"pipe:cat '{folder}/{{}}'"), expected)
    assert torch.equal(one_batch(f"file:{folder}"), expected)
    assert torch.equal(one_batch((folder / "index.json").as_uri()), expected)


def test_a_pipe_without_a_place_for_the_name() -> None:
    with pytest.raises(UsageError, match=r"needs \{\} where the name"):
        scan("pipe:cat index.json")


def test_what_is_not_there(server: tuple[str, list[str]]) -> None:
    with pytest.raises(WeightsError, match=r"cannot be fetched .*status 22") as caught:
        scan(f"{server[0]}/nowhere/")
    assert "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match="cannot be fetched"):
        scan("pipe:false {}")
    with pytest.raises(WeightsError, match="cannot be fetched"):
        scan("nosuchscheme://host/{}")


def test_a_damaged_shard_is_never_kept(folder: Path, own_cache: Path) -> None:
    index = scan(f"pipe:cat '{folder}/{{}}'")
    member = index.clips[0].member
    assert member is not None
    file = folder / member.shard.file
    data = bytearray(file.read_bytes())
    data[600] ^= 1
    file.write_bytes(data)
    with pytest.raises(MediaError, match="differs from its checksum"):
        decode(index.clips[0])
    file.write_bytes(data[:-1000])
    with pytest.raises(MediaError, match="bytes or more, not"):
        decode(index.clips[0])
    file.write_bytes(bytes(data) + b"0" * 4000)
    with pytest.raises(MediaError, match="bytes or more, not"):
        decode(index.clips[0])
    assert not [path for path in (own_cache / "shards").iterdir() if path.suffix in (".tar", ".part")]
    bad: list[str] = []
    frames, _ = batch(FrameCache(1 << 24), index, SPEC, 0, 0, 12, on_bad=lambda clip, why: bad.append(why))
    assert frames.isfinite().all()
    assert bad


def test_the_oldest_shards_give_way(folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = scan(f"pipe:cat '{folder}/{{}}'")
    by_shard = {clip.shard: clip for clip in index.clips}
    sizes = {number: clip.member.shard.size for number, clip in by_shard.items() if clip.member}
    monkeypatch.setenv(remote.LIMIT_VARIABLE, str((max(sizes.values()) * 2 + 100) / 1e9))
    for age, number in enumerate((0, 1)):
        member = by_shard[number].member
        assert member is not None
        os.utime(member.shard.path(), (1000 + age, 1000 + age))
    decode(by_shard[0])  # used: 1 is the oldest now
    decode(by_shard[2])
    names = {number: f"{clip.member.shard.sha256}.tar" for number, clip in by_shard.items() if clip.member}
    assert kept(own_cache) == sorted([names[0], names[2]])
    assert decode(by_shard[1]).shape[0] == by_shard[1].frames, "it is fetched again"
    monkeypatch.setenv(remote.LIMIT_VARIABLE, "lots")
    with pytest.raises(UsageError, match="must be a number of gigabytes"):
        remote.cache_limit()


def test_a_cache_that_cannot_be_written(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("HVG_CACHE", str(tmp_path / "file"))
    with pytest.raises(ResourceError, match="set HVG_CACHE"):
        scan(f"pipe:cat '{folder}/{{}}'")


def test_without_webdataset(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webdataset.gopen", None)
    with pytest.raises(WeightsError, match=r"needs webdataset: pip install 'hvgcli\[train\]'"):
        scan(f"pipe:cat '{folder}/{{}}'")
    assert len(scan(folder).clips) == 12, "shards on this machine need nothing"


def test_threads_fetch_a_shard_once(folder: Path, server: tuple[str, list[str]]) -> None:
    address, asked = server
    clips = [clip for clip in scan(address).clips if clip.shard == 0]
    cache = FrameCache(1 << 24)
    threads = [threading.Thread(target=cache.frames, args=(clip,)) for clip in clips * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cache) == len(clips)
    assert len([path for path in asked if path.endswith(".tar")]) == 1
