"""Feature networks from TorchScript files that the tests script themselves."""

from __future__ import annotations

import hashlib
import shutil
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from hvgcli import hub
from hvgcli.errors import DataError, HvgError, UsageError, WeightsError
from hvgcli.metrics import networks
from hvgcli.metrics.frame_statistics import FrameStatistics
from hvgcli.metrics.networks import I3D_SHA256, TorchScriptNetwork, load_script, name_of, resolve

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


class Plain(nn.Module):
    """Logits from the mean colour; needs two frames."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(5, 3))

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        if x.shape[2] < 2:
            raise ValueError("needs two frames")
        if rescale:
            x = x / 127.5 - 1
        logits = (x[:, :, 0].mean((2, 3)) - x[:, :, 1].mean((2, 3))) @ self.weight.T
        return logits if return_features else logits.softmax(1)


class WithFeatures(nn.Module):
    """Logits = an affine map of `features`, or of their squares."""

    def __init__(self, squared: bool) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.weight = nn.Parameter(torch.randn(4, 6))
        self.bias = nn.Parameter(torch.randn(4))
        self.squared = squared

    @torch.jit.export
    def features(self, x: Tensor, rescale: bool = False, resize: bool = False) -> Tensor:
        x = x / 255 if rescale else x
        return torch.cat((x.mean((2, 3, 4)), x.std((2, 3, 4))), dim=1)

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        hidden = self.features(x, rescale, resize)
        logits = torch.addmm(self.bias, hidden.square() if self.squared else hidden, self.weight.T)
        return logits if return_features else logits.softmax(1)


class Classifier(nn.Module):
    def forward(self, frames: Tensor) -> Tensor:
        return frames.mean((2, 3, 4))


class Wrong(nn.Module):
    """Gives NaN, or too few rows."""

    def __init__(self, nan: bool) -> None:
        super().__init__()
        self.nan = nan

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        found = x.mean((2, 3, 4))
        return found.log() - found.log() if self.nan else found[:1]


def script(module: nn.Module, path: Path) -> Path:
    torch.jit.script(module).save(str(path))
    return path


def videos(count: int = 3, frames: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, frames, 6, 8, 3), generator=generator, dtype=torch.uint8)


def message(path: Path | str) -> str:
    with pytest.raises(WeightsError) as error:
        resolve(str(path))
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- features ----------------------------------------------------------------------------------


def test_frames_are_given_as_the_convention_says(tmp_path: Path) -> None:
    network = resolve(str(script(Plain(), tmp_path / "My_net v2.pt")))
    assert (network.name, network.classifier, network.has_pooled) == ("my-net-v2", True, False)
    assert network.sha256 == hashlib.sha256((tmp_path / "My_net v2.pt").read_bytes()).hexdigest()
    x = videos().permute(0, 4, 1, 2, 3).float()  # (N, 3, T, H, W)
    expected = Plain()(x, rescale=True, return_features=True)
    assert torch.equal(network.logits(videos()), expected.detach())
    assert network.pooled(videos()) is None
    assert network.locations(videos()) is None
    logits, pooled = network.both(videos())
    assert pooled is None
    assert torch.equal(logits, expected)


def test_large_videos_go_in_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = resolve(str(script(Plain(), tmp_path / "net.pt")))
    whole = network.logits(videos(5))
    monkeypatch.setattr(networks, "INPUT_BYTES", 1)
    torch.testing.assert_close(network.logits(videos(5)), whole)


@pytest.mark.parametrize("squared", [False, True])
def test_both_is_logits_and_pooled(tmp_path: Path, squared: bool) -> None:
    network = TorchScriptNetwork(script(WithFeatures(squared), tmp_path / "net.pt"))
    assert network.has_pooled
    for part in (videos(), videos(7)):
        logits, pooled = network.both(part)
        assert pooled is not None
        torch.testing.assert_close(logits, network.logits(part))
        torch.testing.assert_close(pooled, network.pooled(part))
        assert not logits.requires_grad
    assert (network._head is None) == squared


# ---- names -------------------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=12).filter(lambda text: not set(text) & set("/\0")))
def test_no_other_file_is_named_as_i3d_or_as_the_statistics(stem: str) -> None:
    for text in (stem, "i3d_k400", "i3d", "frames", "I3D k400"):
        name = name_of(Path(f"{text}.pt"), "ab" * 32)
        assert name
        assert name not in ("i3d-k400", "i3d", "frames")
        assert name_of(Path(f"{text}.pt"), I3D_SHA256) == "i3d-k400"


def test_names() -> None:
    assert isinstance(resolve("frames"), FrameStatistics)
    assert name_of(Path("a/movinet_a0_k600.pt"), "00") == "movinet-a0-k600"
    with pytest.raises(UsageError, match="unknown feature network 'i3dd': use frames, i3d or a TorchScript file"):
        resolve("i3dd")


# ---- files that are no networks ----------------------------------------------------------------


def test_files_that_are_not_torchscript(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("hello")
    with zipfile.ZipFile(tmp_path / "weights.pt", "w") as archive:
        archive.writestr("weights/data.pkl", b"\x80\x02.")
    with zipfile.ZipFile(tmp_path / "false.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py", "version"):
            archive.writestr(f"false/{name}", b"3\n")
    assert "damaged or not a TorchScript file" in message(tmp_path / "text.pt")
    assert "weights without a program" in message(tmp_path / "weights.pt")
    assert "cannot be read as TorchScript" in message(tmp_path / "false.pt")
    assert "missing" in message(tmp_path / "none.pt")
    assert "is not a file" in message(tmp_path)


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_file_that_is_cut_off(tmp_path: Path, keep: float) -> None:
    path = script(Plain(), tmp_path / "net.pt")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    assert "damaged" in message(path)


def test_a_flipped_bit_gives_a_network_or_one_line(tmp_path: Path) -> None:
    good, path = script(Plain(), tmp_path / "good.pt").read_bytes(), tmp_path / "bad.pt"
    messages = []
    for place in range(0, len(good), max(1, len(good) // 40)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x40]) + good[place + 1 :])
        try:
            load_script(path)
        except HvgError as error:
            messages.append(str(error))
    assert len(messages) > 3
    assert not [text for text in messages if "\n" in text]


def test_a_program_with_other_arguments(tmp_path: Path) -> None:
    text = message(script(Classifier(), tmp_path / "net.pt"))
    assert "is called as forward(frames): a feature network is called as forward(x, rescale, resize" in text


@pytest.mark.parametrize(("nan", "error", "text"), [(True, DataError, "not finite"), (False, WeightsError, "not one")])
def test_wrong_numbers(tmp_path: Path, nan: bool, error: type[HvgError], text: str) -> None:
    network = resolve(str(script(Wrong(nan), tmp_path / "net.pt")))
    with pytest.raises(error, match=text) as caught:
        network.logits(torch.zeros(3, 2, 4, 4, 3, dtype=torch.uint8))
    assert "\n" not in str(caught.value)


def test_videos_too_short_for_the_network(tmp_path: Path) -> None:
    network = resolve(str(script(Plain(), tmp_path / "net.pt")))
    with pytest.raises(DataError, match=r"net cannot take videos of 1 frames of 8x6 \(.*needs two frames") as error:
        network.logits(videos(frames=1))
    assert "\n" not in str(error.value)


# ---- the I3D file ------------------------------------------------------------------------------


def test_i3d_is_only_that_very_file(own_cache: Path, tmp_path: Path) -> None:
    assert "is not on this machine: download it with --fetch, put i3d_torchscript.pt" in message("i3d")
    path = networks.i3d_path()
    path.parent.mkdir(parents=True)
    shutil.copy(script(Plain(), tmp_path / "net.pt"), path)
    assert f"must begin with {I3D_SHA256[:12]}" in message("i3d")
    assert resolve(str(path)).name == "i3d-torchscript"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[bytes]:
    """A server on this machine that gives one file, as the Hub would; its bytes."""
    body = b"the weights of a network"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            headers = {"Content-Length": str(len(body)), "X-Repo-Commit": "0" * 40, "ETag": '"1234"'}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None:
            """Nothing: the server is part of a test."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{running.server_address[1]}")
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield body
        running.shutdown()
        thread.join()


def test_a_fetched_file_is_taken_when_its_checksum_is_right(server: bytes, own_cache: Path) -> None:
    target = own_cache / "networks" / "net.pt"
    with pytest.raises(WeightsError, match="was not taken"):
        networks.fetch_i3d()
    with pytest.raises(WeightsError, match="was not taken"):
        resolve("i3d", fetch=True)
    assert list(target.parent.iterdir()) == []
    right = hashlib.sha256(server).hexdigest()
    assert hub.fetch_file("me/net", "net.pt", "main", target, sha256=right).read_bytes() == server
    assert list(target.parent.iterdir()) == [target]


def test_nothing_is_fetched_offline(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    with pytest.raises(WeightsError, match="--offline"):
        networks.fetch_i3d(offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE"):
        resolve("i3d", fetch=True)
    assert not networks.i3d_path().exists()
