"""Features of a set of videos: a network over all its batches, kept on disk for the next time.

What is kept depends on the frames (`Videos.key`) and on the network (its SHA-256), and on nothing else;
so a second measurement against the same real set runs no network. Features taken on another device
differ in the last digits only, and are taken as the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hvgcli import hub
from hvgcli.checkpoints import load_tensors, save_tensors
from hvgcli.errors import DataError, MediaError, WeightsError
from hvgcli.metrics.networks import FeatureNetwork
from hvgcli.metrics.videos import VideoBatch, Videos

KIND = "features"
BATCH = 8  # videos that a network sees at a time: more are not faster on a CPU

Warn = Callable[[str], None]


@dataclass(frozen=True)
class FeatureSet:
    """Features of N videos."""

    network: str
    """Name of the network, for the names of figures."""
    sha256: str
    """Of the network."""
    logits: Tensor
    """float32 (N, K), perhaps read from a file as it is used."""
    pooled: Tensor | None
    """float32 (N, d): last hidden activations."""
    labels: Tensor | None
    """int64 (N,), into `classes`."""
    takes: Tensor
    """int64 (N,): number of the source file of each video, for bootstraps over files."""
    classes: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    """One line for each file that was left out, with the reason."""

    def __len__(self) -> int:
        return len(self.logits)


def cache_folder() -> Path:
    """Where features are kept between calls."""
    return hub.cache_folder() / "features"


def extract(
    videos: Videos,
    network: FeatureNetwork,
    *,
    batch: int = BATCH,
    cache: Path | None = None,
    pooled: bool = True,
    watch: Callable[[VideoBatch], None] | None = None,
    progress: Callable[[int], None] | None = None,
    warn: Warn | None = None,
) -> FeatureSet:
    """The features of all videos of a set, from the cache where they are there.

    Memory grows by the features alone: 4 (K + d) bytes a video.

    Args:
        videos: the set. One without a key is not cached.
        network: what to run. Its `pooled` activations are left out with `pooled=False`.
        batch: videos at a time; it changes speed and memory, not the features but in their last digits.
        cache: folder to keep features in (`cache_folder()`); None keeps nothing.
        watch: sees every batch. With cached features it still sees them, but no network runs.
        progress: called with the number of videos just done.
        warn: told when cached features are damaged, or cannot be kept.

    Raises:
        DataError: no video can be decoded, the network refuses them, or its numbers are not finite.
    """
    path = _path(cache, videos, network)
    kept = _load(path, videos, network, pooled, warn or _ignore) if path is not None else None
    if kept is not None:
        if watch is not None:
            _show(videos, batch, watch, progress or _ignore)
        elif progress is not None:
            progress(len(kept))
        return kept
    made = _compute(videos, network, batch, pooled, watch or _ignore, progress or _ignore)
    if path is not None:
        _save(path, made, videos.key, warn or _ignore)
    return made


def _ignore(_: object) -> None:
    """Nothing."""


def _show(videos: Videos, batch: int, watch: Callable[[VideoBatch], None], progress: Callable[[int], None]) -> None:
    for part in videos.batches(batch):
        watch(part)
        progress(len(part.frames))


class _Rows:
    """Rows of a table of known length that come in parts."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.table: Tensor | None = None
        self.filled = 0

    def add(self, part: Tensor) -> None:
        if self.table is None:
            self.table = torch.empty((self.count, *part.shape[1:]), dtype=part.dtype)
        self.table[self.filled : self.filled + len(part)] = part
        self.filled += len(part)

    def all(self) -> Tensor | None:
        """What has come; None where nothing has."""
        if self.table is None or self.filled == self.count:
            return self.table
        return self.table[: self.filled].clone()


def _compute(
    videos: Videos,
    network: FeatureNetwork,
    batch: int,
    pooled: bool,
    watch: Callable[[VideoBatch], None],
    progress: Callable[[int], None],
) -> FeatureSet:
    logits, hidden, labels, takes = (_Rows(videos.count) for _ in range(4))
    for part in videos.batches(batch):
        scores, activations = network.both(part.frames) if pooled else (network.logits(part.frames), None)
        for rows, new in ((logits, scores), (hidden, activations), (labels, part.labels), (takes, part.takes)):
            if new is not None:
                rows.add(new)
        watch(part)
        progress(len(part.frames))
    table, numbers = logits.all(), takes.all()
    if table is None or numbers is None:
        raise DataError("there are no videos to measure: check the folder and --frames")
    return FeatureSet(
        network.name, network.sha256, table, hidden.all(), labels.all(), numbers, videos.classes, videos.left_out
    )


# ---- on disk -----------------------------------------------------------------------------------


def _path(cache: Path | None, videos: Videos, network: FeatureNetwork) -> Path | None:
    if cache is None or not videos.key:
        return None
    digest = hashlib.sha256(f"{videos.key} {network.sha256}".encode()).hexdigest()
    return cache / f"{digest[:32]}.safetensors"


def _save(path: Path, made: FeatureSet, key: str, warn: Warn) -> None:
    tables = {"logits": made.logits, "pooled": made.pooled, "labels": made.labels, "takes": made.takes}
    header = {
        "kind": KIND,
        "key": key,
        "network": made.sha256,
        "left_out": list(made.left_out),
    }
    try:
        save_tensors(path, {name: table for name, table in tables.items() if table is not None}, header)
    except MediaError as error:
        warn(f"{error}: these features will be computed again")


def _load(path: Path, videos: Videos, network: FeatureNetwork, pooled: bool, warn: Warn) -> FeatureSet | None:
    """What is kept for this set and network; None where it is not there, damaged, or lacks `pooled`."""
    if not path.exists():
        return None
    try:
        tables, header = load_tensors(path)
        if (header.get("kind"), header.get("key"), header.get("network")) != (KIND, videos.key, network.sha256):
            raise WeightsError(f"{path} holds features of something else")
        _check(path, tables, videos)
    except WeightsError as error:
        warn(f"{error}: these features are computed again")
        return None
    if pooled and "pooled" not in tables and network.has_pooled:
        return None
    return FeatureSet(
        network.name,
        network.sha256,
        tables["logits"],
        tables.get("pooled") if pooled else None,
        tables.get("labels"),
        tables["takes"],
        videos.classes,
        tuple(map(str, header.get("left_out", ()))),
    )


def _check(path: Path, tables: dict[str, Tensor], videos: Videos) -> None:
    """`WeightsError` where the tables cannot be features of these videos."""
    logits, takes = tables.get("logits"), tables.get("takes")
    if logits is None or takes is None or ("labels" in tables) != bool(videos.classes):
        raise WeightsError(f"{path} lacks a table")
    if not 1 <= len(takes) <= videos.count or any(len(table) != len(takes) for table in tables.values()):
        raise WeightsError(f"{path} has {len(takes)} rows for {videos.count} videos")
    floats = [table for table in (logits, tables.get("pooled")) if table is not None]
    if any(t.ndim != 2 or t.dtype != torch.float32 or not t.isfinite().all() for t in floats):
        raise WeightsError(f"{path} holds something that is no features")
