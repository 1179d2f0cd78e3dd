"""Standing statistics of hp-VAE-GAN for outputs of another length than the training's, measured once and cached.

The coarse scales have a few frames, so in training every convolution sees what is beyond both ends of the clip:
zeros, or with `hold_ends` its end frames again. In the middle of a longer video it does not: with the statistics of
the training, contrast and colours run away there (with zeros, 13 frames to 40: a standard deviation of 62 instead of
48 of 255). Larger frames need nothing: most places are far from an edge in training already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from hvgcli import hub
from hvgcli.checkpoints import load_tensors, save_tensors
from hvgcli.config import SingleConfig
from hvgcli.errors import MediaError, WeightsError
from hvgcli.layers.volume import VolumeNorm
from hvgcli.models.hp_vae_gan import HpVaeGan, PatchGenerator, Size
from hvgcli.sampling.single import SeedNoise, Single

LONGEST = 4
"""Beyond so many times the training's length, hardly a frame is near an end: longer videos share statistics."""
PLACES = 1 << 18
"""Places of a scale that are enough for its statistics ..."""
PASSES = range(3, 17)
"""... of at least and at most so many samples."""

MEASURE = 1
"""Number of the way in which statistics are measured: another one finds no kept files of this one."""

Warn = Callable[[str], None]
Progress = Callable[[int], None]


def measured_length(config: SingleConfig, frames: int) -> int:
    """Frames of the samples that statistics for videos of `frames` frames are measured on; 0: the model has them."""
    return 0 if frames == config.frames else min(frames, LONGEST * config.frames)


def sizes_for(config: SingleConfig, length: int) -> tuple[Size, ...]:
    """(frames, height, width) of each scale of those samples, as large as in training."""
    _, height, width = config.sizes[config.built - 1]
    return config.sizes_of(length, height, width)


def passes_for(sizes: tuple[Size, ...]) -> list[int]:
    """Samples for each scale: fewer for finer ones, which have more places."""
    wanted = [-(-PLACES // (frames * height * width)) for frames, height, width in sizes]
    return [min(max(PASSES), max(min(PASSES), *wanted[n:])) for n in range(len(wanted))]


def path_of(sha: str, length: int) -> Path:
    """Where statistics are kept."""
    return hub.cache_folder() / "statistics" / sha / f"single_{length}_m{MEASURE}.safetensors"


def is_kept(single_sha: str, config: SingleConfig, frames: int) -> bool:
    """Whether the model or the cache has statistics for videos of `frames` frames."""
    length = measured_length(config, frames)
    return not length or path_of(single_sha, length).exists()


def attach(single: Single, frames: int, *, warn: Warn) -> bool:
    """Use kept statistics for videos of `frames` frames; False where there are none. `warn` is told of damaged ones.

    For the training's length these are the model's own, even after those of another length.
    """
    length = measured_length(single.config, frames)
    if not length:
        _put(single.network, single.own_moments)
        return True
    path = path_of(single.sha, length)
    if not single.sha or not path.exists():
        return False
    try:
        tensors, metadata = load_tensors(path)
        if metadata.get("key") != _key(single.sha, length):
            raise WeightsError(f"{path} is of another model, length or measure")
        _use(single, tensors, path)
    except WeightsError as error:
        warn(f"{error}: its statistics are measured again")
        return False
    return True


def steps(config: SingleConfig, frames: int) -> int:
    """Calls of `progress` of `measure`."""
    return sum(passes_for(sizes_for(config, measured_length(config, frames))))


@torch.inference_mode()
def measure(single: Single, frames: int, *, warn: Warn, progress: Progress = lambda _: None) -> None:
    """Measure, use and keep statistics for videos of `frames` frames.

    Scale after scale, over random samples of the scales below with their new statistics. As in training, these
    are of sigma 1; and they are computed in float32, so that those that are kept are the same for all precisions.
    progress is called with 1 after each sample of a scale.
    """
    length = measured_length(single.config, frames)
    sizes = sizes_for(single.config, length)
    volumes: list[Tensor] = []
    _keep_own(single)
    with _float32(single.network):
        for scale, count in enumerate(passes_for(sizes)):
            volumes = _record(single, sizes, scale, count, volumes, progress)
    if single.sha:
        try:
            save_tensors(path_of(single.sha, length), _moments(single.network), {"key": _key(single.sha, length)})
        except MediaError as error:
            warn(f"{error}: these statistics will be measured again")


@contextmanager
def _float32(network: HpVaeGan) -> Iterator[None]:
    """While the block runs, all generators compute in float32."""
    parts = [(part, part.compute) for part in network.modules() if isinstance(part, PatchGenerator)]
    try:
        for part, _ in parts:
            part.compute = torch.float32
        yield
    finally:
        for part, before in parts:
            part.compute = before


def _record(
    single: Single, sizes: tuple[Size, ...], scale: int, count: int, below: list[Tensor], progress: Progress
) -> list[Tensor]:
    """Record the statistics of one scale over `count` samples; returns its output for each, with them."""
    network = single.network
    norms = [part for part in network.generators[scale].modules() if isinstance(part, VolumeNorm)]

    def sample(number: int) -> Tensor:
        noise = SeedNoise([f"length {number}"], network.latent, single.device)
        if scale == 0:
            return network.first(noise(0, sizes[0]))
        return network.grow(below[number], [scale], sizes, noise)

    for norm in norms:
        norm.train()
        norm.begin_recording()
    for number in range(count):
        sample(number)
        progress(1)
    for norm in norms:
        norm.end_recording(count)
        norm.eval()
    return [sample(number) for number in range(count)] if scale + 1 < len(sizes) else []


def _key(sha: str, length: int) -> dict[str, object]:
    return {"sha": sha, "length": length, "measure": MEASURE}


def _moments(network: HpVaeGan) -> dict[str, Tensor]:
    """Mean and variance of every norm, by name."""
    norms = [(name, part) for name, part in network.named_modules() if isinstance(part, VolumeNorm)]
    return {f"{name}.{kind}": getattr(norm, kind) for name, norm in norms for kind in ("mean", "var")}


def _keep_own(single: Single) -> None:
    """Remember the model's own statistics, before others take their place."""
    if not single.own_moments:
        single.own_moments = {key: tensor.clone() for key, tensor in _moments(single.network).items()}


def _use(single: Single, tensors: dict[str, Tensor], path: Path) -> None:
    """Put moments in their places; `WeightsError` where they do not fit."""
    own = _moments(single.network)
    fits = own.keys() == tensors.keys() and all(own[key].shape == tensors[key].shape for key in own)
    if not fits or not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise WeightsError(f"{path} does not fit this model")
    _keep_own(single)
    _put(single.network, tensors)


def _put(network: HpVaeGan, tensors: dict[str, Tensor]) -> None:
    places = _moments(network)
    for key, tensor in tensors.items():
        places[key].copy_(tensor)
