"""The sets of videos of the table of hvg-mini, and what is kept of each video of a set."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hvgcli.data.clips import ClipIndex, scan
from hvgcli.data.pyramid import downsample_space, frames_of, subsample_time, video_of
from hvgcli.data.windows import to_float
from hvgcli.errors import DataError
from hvgcli.hub import resolve
from hvgcli.metrics.bands import video_spectra
from hvgcli.metrics.features import FeatureSet, cache_folder, extract
from hvgcli.metrics.frame_statistics import FrameStatistics
from hvgcli.metrics.generated import GeneratedVideos, labels_like
from hvgcli.metrics.motion import change_energy
from hvgcli.metrics.networks import FeatureNetwork, LogitsOnly
from hvgcli.metrics.spectrum import frames_within
from hvgcli.metrics.videos import RealVideos, VideoBatch, Videos
from hvgcli.metrics.windows import Sampling, subset, take_numbers
from hvgcli.runtime import choose_half
from hvgcli.sampling import statistics_cache
from hvgcli.sampling.hierarchy import Hierarchy, load
from hvgcli.sampling.noise import seeded
from hvgcli.sampling.render import to_pixels

LONG, SHORT = 48, 12  # frames of a video, and of a piece
SMALL_SIDE, SMALL_FRAMES = 16, 4  # of the copies in which pixels are compared
POOL_EACH = 4  # training windows of each take at least
VERSION = 1  # of the profile: another one makes other keys in the cache
BATCH = 8
CPU = torch.device("cpu")


# ---- what is kept of a video -----------------------------------------------------------------------


def small_copies(frames: Tensor) -> Tensor:
    """uint8 (B, T, H, W, 3) -> (B, 4 * 16 * 16 * 3) whole numbers: frames spread over a video, by f_s."""
    chosen = torch.linspace(0, frames.shape[1] - 1, SMALL_FRAMES).round().long()
    small = downsample_space(to_float(frames[:, chosen]), SMALL_SIDE)
    return torch.from_numpy(to_pixels(small)).flatten(1)


class Profile(LogitsOnly):
    """All that the table needs of a video in one row, as a feature network: one pass gives it, and the cache keeps it.

    Columns: `columns(T, side)` of fixed width, then the network's features of the whole video, and with `parts`
    those of its first and last 12 frames.
    """

    def __init__(self, network: FeatureNetwork, parts: bool = False) -> None:
        self.network, self.parts = network, parts
        self.name = network.name
        self.sha256 = hashlib.sha256(f"profile {VERSION} {network.sha256} {parts}".encode()).hexdigest()
        self._frames = FrameStatistics()

    def logits(self, video: Tensor) -> Tensor:
        """uint8 (N, T, H, W, 3) -> float32 (N, columns)."""
        numbers = frames_within(video.shape[1])
        fixed = [
            self._frames.logits(video),
            change_energy(video)[:, None],
            small_copies(video),
            video_spectra(video, numbers).flatten(1),
        ]
        parts = [video[:, :SHORT], video[:, -SHORT:]] if self.parts else []
        return torch.cat([x.float() for x in (*fixed, *(self.network.logits(part) for part in (video, *parts)))], dim=1)


def columns(frames: int, side: int) -> dict[str, int]:
    """Widths of the columns before the network's."""
    copies = SMALL_FRAMES * SMALL_SIDE * SMALL_SIDE * 3
    return {"frames": 64, "motion": 1, "small": copies, "spectra": len(frames_within(frames)) * (side // 2)}


@dataclass(frozen=True)
class Gathered:
    """What is kept of N videos; the tensors are float32."""

    described: dict[str, Any]
    names: tuple[str, ...]
    """Class of each video."""
    takes: Tensor
    """int64 (N,)."""
    table: dict[str, Tensor]
    """frames (N, 64), motion (N, 1), small (N, 3072), spectra (N, F * R), video (N, K); perhaps first, last (N, K)."""

    def __len__(self) -> int:
        return len(self.takes)

    @property
    def spectra(self) -> Tensor:
        """float64 (N, F, R) in dB."""
        frames = len(frames_within(self.described["frames"]))
        return self.table["spectra"].double().unflatten(1, (frames, -1))

    @property
    def numbers(self) -> tuple[int, ...]:
        """The frames that spectra are of."""
        return frames_within(self.described["frames"])

    def of_classes(self, names: Sequence[str]) -> Gathered:
        """The videos of some classes."""
        return self.rows(torch.tensor([i for i, name in enumerate(self.names) if name in names], dtype=torch.long))

    def rows(self, rows: Tensor) -> Gathered:
        names = tuple(self.names[i] for i in rows.tolist())
        table = {key: value[rows] for key, value in self.table.items()}
        return Gathered(self.described, names, self.takes[rows], table)

    def join(self, other: Gathered) -> Gathered:
        """Both sets; takes of the second one are others than those of the first."""
        takes = torch.cat((self.takes, other.takes + self.takes.max() + 1))
        table = {key: torch.cat((value, other.table[key])) for key, value in self.table.items()}
        return Gathered(self.described, self.names + other.names, takes, table)


def unpacked(found: FeatureSet, described: dict[str, Any], parts: bool) -> Gathered:
    """The rows of a `Profile` by the names of their columns."""
    side = int(described["size"].split("x")[0])
    widths = columns(described["frames"], side)
    count = 3 if parts else 1
    width = (found.logits.shape[1] - sum(widths.values())) // count
    widths |= dict.fromkeys(("video", "first", "last")[:count], width)
    table = dict(zip(widths, found.logits.split(list(widths.values()), dim=1), strict=True))
    assert found.labels is not None
    names = tuple(found.classes[label] for label in found.labels.tolist())
    return Gathered(described, names, found.takes, table)


# ---- real clips, changed ---------------------------------------------------------------------------


@dataclass
class Changed:
    """A set whose videos are changed: `change` takes uint8 (B, T, H, W, 3) and the takes' numbers, and gives the same.

    A `Videos`, known to the cache by the set that it was made from and its name.
    """

    videos: Videos
    name: str
    change: Callable[[Tensor], Tensor]

    @property
    def count(self) -> int:
        return self.videos.count

    @property
    def classes(self) -> tuple[str, ...]:
        return self.videos.classes

    @property
    def left_out(self) -> tuple[str, ...]:
        return self.videos.left_out

    @property
    def described(self) -> dict[str, Any]:
        return self.videos.described | {"changed": self.name}

    @property
    def key(self) -> str:
        return hashlib.sha256(f"{VERSION} {self.name} {self.videos.key}".encode()).hexdigest()

    def batches(self, size: int) -> Iterator[VideoBatch]:
        for part in self.videos.batches(size):
            yield replace(part, frames=self.change(part.frames))


def outline_enlarged(frames: Tensor, side: int, step: int) -> Tensor:
    """A perfect outline, and nothing that adds detail: f_t and f_s, then bicubic in space and linear in time.

    Frames after the last one of the outline repeat it.
    """
    video = to_float(frames)
    low = downsample_space(subsample_time(video, step), side)
    size = (video.shape[-2], video.shape[-1])
    large = F.interpolate(frames_of(low), size=size, mode="bicubic", align_corners=False)
    known = video_of(large, len(video))
    place = (torch.arange(video.shape[1]) / step).clamp(max=known.shape[1] - 1)
    before = place.long()
    after = (before + 1).clamp(max=known.shape[1] - 1)
    share = (place - before)[:, None, None, None]
    return torch.from_numpy(to_pixels(torch.lerp(known[:, before], known[:, after], share)))


def frozen(frames: Tensor) -> Tensor:
    """The first frame, held."""
    return frames[:, :1].expand_as(frames).contiguous()


class Noise:
    """Bytes drawn uniformly, in the order in which they are asked for."""

    def __init__(self) -> None:
        self.generator = seeded("noise")

    def __call__(self, frames: Tensor) -> Tensor:
        return torch.randint(0, 256, frames.shape, dtype=torch.uint8, generator=self.generator)


# ---- all sets of the table -------------------------------------------------------------------------


def limited(videos: RealVideos, counts: Mapping[str, int], seed: int = 0) -> None:
    """Keep so many windows of each class, spread evenly over its takes; all where it has fewer."""
    takes = take_numbers(videos.index)
    labels = videos.labels or []
    kept = []
    for label, name in enumerate(videos.classes):
        windows = [window for window, own in zip(videos.windows, labels, strict=True) if own == label]
        if (wanted := counts.get(name, 0)) and windows:
            kept += subset(windows, takes, min(wanted, len(windows)), seed)
    if not kept:
        raise DataError(f"{videos.name} has no windows of the classes {', '.join(counts)}")
    videos.windows = kept


@dataclass
class Sets:
    """Where the sets come from. Each is measured when it is first asked for, and kept in the cache."""

    data: Path
    train: str
    val: str
    network: FeatureNetwork
    num: int
    """Videos of a set at most: of the held-out windows, and of what is compared with them."""
    extra: int
    """Generated videos of each class that the held-out windows lack."""
    size: tuple[int, int]
    stride: int
    seed: int = 0
    say: Callable[[str], None] = print
    models: dict[str, Hierarchy] = field(default_factory=dict)
    measured: dict[tuple[str, bool], Gathered] = field(default_factory=dict)

    @cached_property
    def indices(self) -> dict[str, ClipIndex]:
        return {name: scan(self.data / name) for name in (self.train, self.val)}

    def real(self, split: str, frames: int, num: int | None = None) -> RealVideos:
        """Windows of a split; all of them without `num`."""
        sampling = Sampling(frames, self.stride, self.size, "windows", num, self.seed)
        return RealVideos(self.indices[split], sampling, name=split, workers=1)

    def held_out(self, frames: int) -> RealVideos:
        return self.real(self.val, frames, self.num)

    def training(self, frames: int) -> RealVideos:
        """As many training windows of each class as the held-out set has."""
        videos = self.real(self.train, frames)
        limited(videos, self.held_out(frames).class_counts, self.seed)
        return videos

    def pool(self, frames: int) -> RealVideos:
        """Training windows of all classes: every one of 12 frames, and some of each take of the longer ones."""
        some = max(2 * self.num, POOL_EACH * len(self.indices[self.train].clips))
        return self.real(self.train, frames, None if frames == SHORT else some)

    def model(self, name: str) -> Hierarchy:
        if name not in self.models:
            hierarchy = load(resolve(name))
            hierarchy.half = choose_half("auto", CPU, hierarchy.levels)
            self.models[name] = hierarchy
        return self.models[name]

    def generated(self, model: str, sigma: float, frames: int) -> GeneratedVideos:
        """Videos of the classes of the held-out windows, in their proportions."""
        hierarchy = self.model(model)
        real = self.held_out(frames)
        labels = labels_like(hierarchy.config, real.class_counts, min(self.num, real.count))
        return self._made(model, labels, frames, sigma, self.seed)

    def others(self, model: str, sigma: float, frames: int) -> GeneratedVideos | None:
        """Videos of the classes that the held-out windows lack, with seeds of their own; None where it lacks none."""
        hierarchy, counts = self.model(model), self.held_out(frames).class_counts
        lacking = {name: 1 for name in hierarchy.config.class_names() if not counts.get(name)}
        if not lacking:
            return None
        labels = labels_like(hierarchy.config, lacking, len(lacking) * self.extra)
        return self._made(model, labels, frames, sigma, self.seed + 1_000_000)

    def _made(self, model: str, labels: Sequence[int | None], frames: int, sigma: float, seed: int) -> GeneratedVideos:
        hierarchy = self.model(model)
        made = GeneratedVideos(hierarchy, labels, frames=frames, sigma=sigma, seed=seed, name=Path(model).name)
        if made.size != self.size:
            raise DataError(f"{model} makes {made.size[1]}x{made.size[0]}: the table compares {self.size[1]} pixels")
        for length in made.lengths:
            if statistics_cache.attach(hierarchy, length, sigma, made.levels, warn=self.say):
                statistics_cache.measure_missing(hierarchy, length, sigma, made.levels, warn=self.say)
        return made

    def gather(self, videos: Videos, *, parts: bool = False) -> Gathered:
        """What is kept of every video of a set, from the cache where it is there."""
        if (videos.key, parts) not in self.measured:
            described = videos.described
            self.say(f"{described['videos']} videos: {described}")
            found = extract(
                videos, Profile(self.network, parts), batch=BATCH, cache=cache_folder(), pooled=False, warn=self.say
            )
            self.measured[videos.key, parts] = unpacked(found, described | classes_of(found), parts)
        return self.measured[videos.key, parts]


def classes_of(found: FeatureSet) -> dict[str, Any]:
    """Videos of each class, and takes, of a set as it was measured."""
    assert found.labels is not None
    counts = Counter(found.classes[label] for label in found.labels.tolist())
    return {"classes": dict(sorted(counts.items())), "takes": len(found.takes.unique())}
