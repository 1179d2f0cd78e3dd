"""Feature networks: what turns a video into the numbers that sets of videos are compared by.

The name of a network goes into the name of every figure taken with it, as FVD[i3d-k400], because
figures of different networks have nothing to do with each other.

A network is a TorchScript file that is called as the widely used I3D file is:
`net(x, rescale=True, resize=True, return_features=True)` with x float32 (N, 3, T, H, W) in 0..255 gives
its logits (N, K). It may also have `features(x, rescale=True, resize=True)`: its last hidden activations.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from hvgcli import hub
from hvgcli.checkpoints import sha256
from hvgcli.errors import DataError, ResourceError, UsageError, WeightsError
from hvgcli.metrics.frame_statistics import NAME as FRAMES
from hvgcli.metrics.frame_statistics import FrameStatistics

I3D = "i3d-k400"
I3D_FILE = "i3d_torchscript.pt"  # I3D trained on Kinetics-400, as the PyTorch ports of FVD have it
I3D_SHA256 = "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2"
I3D_REPOSITORY, I3D_REVISION = "flateon/FVD-I3D-torchscript", "1c2d61711c52571ad617a1063e6fa691b212e184"
I3D_BYTES = 51_235_320
NAMES = (FRAMES, "i3d")

OPTIONS = ("rescale", "resize", "return_features")
CONVENTION = "forward(x, rescale, resize, return_features)"
INPUT_BYTES = 256 << 20  # float32 input that is given to a network at a time, at least one video


class FeatureNetwork(Protocol):
    """What turns videos, uint8 (N, T, H, W, 3) RGB, into features: float32 on the CPU."""

    name: str
    """How figures name it: "i3d-k400", "frames", or made of the name of its file."""
    sha256: str
    """Of its file; for "frames" of its version."""
    classifier: bool
    """Whether softmax(logits) are probabilities of classes, so that an inception score has a meaning."""

    has_pooled: bool
    """Whether `pooled` gives anything."""

    def logits(self, video: Tensor) -> Tensor:
        """(N, K), before the softmax."""

    def pooled(self, video: Tensor) -> Tensor | None:
        """(N, d), the last hidden activations; None where the network does not give them."""

    def both(self, video: Tensor) -> tuple[Tensor, Tensor | None]:
        """`logits` and `pooled`, in less time than the two together where that is possible."""

    def locations(self, video: Tensor) -> Tensor | None:
        """(N, P, d), one vector a place in space and time; None where the network has none."""


class LogitsOnly:
    """A `FeatureNetwork` without hidden activations and places: the one who inherits gives name, sha256 and logits."""

    has_pooled = False

    def logits(self, video: Tensor) -> Tensor:
        raise TypeError(f"{type(self).__name__} gives no logits")

    def both(self, video: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.logits(video), None

    def pooled(self, video: Tensor) -> Tensor | None:
        return None

    def locations(self, video: Tensor) -> Tensor | None:
        return None


def resolve(
    name_or_path: str, *, device: torch.device | None = None, fetch: bool = False, progress: bool = False
) -> FeatureNetwork:
    """The network that `frames`, `i3d` or the path of a TorchScript file names.

    `i3d` is looked for in the cache (`i3d_path`); with `fetch` it is downloaded when it is not there.

    Raises:
        UsageError: another name, which is no file either.
        WeightsError: the file is missing, damaged, or no network of that convention.
    """
    if name_or_path == FRAMES:
        return FrameStatistics()
    if name_or_path in ("i3d", I3D):
        return TorchScriptNetwork(_i3d_file(fetch, progress), device)
    path = Path(name_or_path).expanduser()
    if not path.exists() and "/" not in name_or_path and not path.suffix:
        raise UsageError(f"unknown feature network {name_or_path!r}: use {', '.join(NAMES)} or a TorchScript file")
    return TorchScriptNetwork(path, device)


def i3d_path() -> Path:
    """Where the cache has the I3D file."""
    return hub.cache_folder() / "networks" / I3D_FILE


def fetch_i3d(*, offline: bool = False, progress: bool = False) -> Path:
    """Download the I3D file (51 MB) into the cache; returns its path. Errors as `hub.fetch_file`."""
    return hub.fetch_file(
        I3D_REPOSITORY, I3D_FILE, I3D_REVISION, i3d_path(), sha256=I3D_SHA256, offline=offline, progress=progress
    )


def _i3d_file(fetch: bool, progress: bool) -> Path:
    path = i3d_path()
    if path.is_file() and sha256(path) == I3D_SHA256:
        return path
    if fetch:
        return fetch_i3d(progress=progress)
    if path.is_file():
        raise WeightsError(f"{path} is not the {I3D} file: its SHA-256 must begin with {I3D_SHA256[:12]}: replace it")
    raise WeightsError(
        f"the {I3D} network is not on this machine: download it with --fetch, put {I3D_FILE} at {path}, "
        "or name its path"
    )


def name_of(path: Path, digest: str) -> str:
    """How figures name a TorchScript file: its stem with hyphens, or `i3d-k400` for that very file and no other."""
    if digest == I3D_SHA256:
        return I3D
    name = re.sub(r"[^0-9A-Za-z.]+", "-", path.stem).strip("-").lower() or "network"
    return f"{name}-{digest[:8]}" if name in (I3D, "i3d", FRAMES) else name


def load_script(path: Path) -> Any:
    """The module of a TorchScript file, on the CPU.

    A TorchScript file holds a program that runs in an interpreter of its own; of its pickles only tensors and
    plain values are read. Files that hold anything else are refused before torch sees them.

    Raises:
        WeightsError: the file is missing, something else, damaged, or of a later version.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is {'not a file' if path.exists() else 'missing'}: expected a TorchScript file")
    try:
        with zipfile.ZipFile(path) as archive:
            parts = {name.partition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise WeightsError(
            f"{path} is damaged or not a TorchScript file ({error}): save it by torch.jit.save"
        ) from error
    if not {"data.pkl", "constants.pkl"} <= parts or not any(part.startswith("code/") for part in parts):
        raise WeightsError(f"{path} holds weights without a program, not TorchScript: save it by torch.jit.save")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch would like torch.export, which this file is not
            return torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError, OSError, EOFError, UnicodeError, KeyError, IndexError, TypeError) as error:
        raise WeightsError(f"{path} cannot be read as TorchScript ({_first_line(error)}): fetch it again") from error


def _first_line(error: BaseException) -> str:
    """The line of a TorchScript error that says what is wrong: the last one, after the traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception): ", line)]
    return (named or lines or [type(error).__name__])[-1 if named else 0][:200]


def _arguments(method: Any) -> tuple[str, ...]:
    """Names of the arguments of a method of a TorchScript module; none for anything else."""
    schema = getattr(method, "schema", None)
    return tuple(argument.name for argument in schema.arguments[1:]) if schema is not None else ()


class TorchScriptNetwork:
    """A network of the module's convention, from a file.

    Its frames are those given, as float32 in 0..255; scaling and resizing are the network's own, which is
    the published preprocessing where it is I3D.

    Raises:
        WeightsError: as `load_script`, and for a program with other arguments.
    """

    classifier = True

    def __init__(self, path: Path, device: torch.device | None = None) -> None:
        self.path = path
        self.device = device or torch.device("cpu")
        module = load_script(path)
        arguments = _arguments(getattr(module, "forward", None))
        if not arguments or not set(OPTIONS) <= set(arguments[1:]):
            got = f"forward({', '.join(arguments)})"
            raise WeightsError(f"{path} is called as {got}: a feature network is called as {CONVENTION}")
        self.sha256 = sha256(path)
        self.name = name_of(path, self.sha256)
        self._net = module.to(self.device)
        self._features = getattr(module, "features", None)
        self.has_pooled = {"rescale", "resize"} <= set(_arguments(self._features)[1:])
        self._head: tuple[Tensor, Tensor] | None = None
        self._head_sought = False

    def logits(self, video: Tensor) -> Tensor:
        """uint8 (N, T, H, W, 3) -> float32 (N, K).

        Raises:
            DataError: the network refuses such videos (too short, too small), or its output is not finite.
            ResourceError: there is not enough memory.
        """
        return self._run(self._logits, video)

    def pooled(self, video: Tensor) -> Tensor | None:
        """uint8 (N, T, H, W, 3) -> float32 (N, d), or None where the file has no `features`. Errors as `logits`."""
        return self._run(self._pooled, video) if self.has_pooled else None

    def both(self, video: Tensor) -> tuple[Tensor, Tensor | None]:
        """`logits` and `pooled`; one pass where the logits are found to be an affine function of `pooled`."""
        pooled = self.pooled(video)
        if pooled is None:
            return self.logits(video), None
        if not self._head_sought:
            logits = self.logits(video)
            self._head, self._head_sought = self._find_head(pooled, logits), True
            return logits, pooled
        if self._head is None:
            return self.logits(video), pooled
        return torch.addmm(self._head[1], pooled, self._head[0].T), pooled

    def locations(self, video: Tensor) -> Tensor | None:
        return None

    def _logits(self, x: Tensor) -> Any:
        return self._net(x, rescale=True, resize=True, return_features=True)

    def _pooled(self, x: Tensor) -> Any:
        return self._features(x, rescale=True, resize=True)  # type: ignore[misc]

    @torch.no_grad()
    def _run(self, method: Any, video: Tensor) -> Tensor:
        each = 4 * video[:1].numel()
        parts = [self._checked(method, part) for part in video.split(max(1, INPUT_BYTES // each))]
        return torch.cat(parts)

    def _checked(self, method: Any, video: Tensor) -> Tensor:
        count, frames, height, width, _ = video.shape
        x = video.to(self.device).permute(0, 4, 1, 2, 3).float()  # (N, 3, T, H, W)
        what = f"videos of {frames} frames of {width}x{height}"
        try:
            found = method(x)
        except (RuntimeError, torch.jit.Error) as error:
            if "out of memory" in str(error):
                raise ResourceError(f"not enough memory for {count} {what} at a time: use --batch-size 1") from error
            raise DataError(f"{self.name} cannot take {what} ({_first_line(error)}): try more --frames") from error
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != count:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise WeightsError(f"{self.path} gives {shape} for {count} videos, not one row of numbers each")
        found = found.float().cpu()
        if not found.isfinite().all():
            raise DataError(f"{self.name} gives numbers that are not finite for {what}: the network or its file is bad")
        return found

    def _find_head(self, pooled: Tensor, logits: Tensor) -> tuple[Tensor, Tensor] | None:
        """The file's own (weight (K, d), bias (K,)) with logits = pooled W^T + b, if there are such."""
        own = [*self._net.parameters(), *self._net.buffers()]
        weights = [t for t in own if t.shape == (logits.shape[1], pooled.shape[1])]
        biases = [t for t in own if t.shape == (logits.shape[1],)]
        for weight, bias in ((w, b) for w in weights for b in biases):
            made = (weight.detach().float().cpu(), bias.detach().float().cpu())
            if torch.allclose(torch.addmm(made[1], pooled, made[0].T), logits, rtol=1e-4, atol=1e-4):
                return made
        return None
