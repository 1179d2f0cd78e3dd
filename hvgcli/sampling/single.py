"""Samples of a model of one clip or one image: from noise, and from a user's own image (Gur et al. 2020, section 3.2).

A seed means one video, whatever is made beside it: every scale of every seed has a generator of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvgcli.checkpoints import load_strict, model_sha, read_level, read_model_config
from hvgcli.config import ModelConfig, SingleConfig
from hvgcli.data.pyramid import downsample_space
from hvgcli.errors import UsageError, WeightsError
from hvgcli.layers.volume import VolumeNorm, enlarge, require_statistics
from hvgcli.layers.weights import bake_spectral_norm
from hvgcli.models.hp_vae_gan import HpVaeGan, Size, set_compute
from hvgcli.sampling.noise import seeded
from hvgcli.sampling.single_blocks import in_blocks

COARSEST = 4
"""Pixels of the coarsest scale below which nothing of the clip is left."""
PASSES = 50
"""Random samples whose statistics are pooled: each has thousands of places."""
FEATHER = 5
"""Pixels over which a mask fades, as its blurred edge in SinGAN."""


@dataclass(frozen=True)
class SeedNoise:
    """Standard normal noise `(B, channels, *size)` of each scale; row i depends on seeds[i] and the scale only."""

    seeds: Sequence[int | str]
    latent: int
    """Channels of the noise that G^0 starts from."""
    device: torch.device
    sigma: float = 1.0

    def __call__(self, scale: int, size: Size) -> Tensor:
        shape = (3 if scale else self.latent, *size)
        rows = [torch.randn(shape, generator=seeded("single", seed, scale)) for seed in self.seeds]
        return (self.sigma * torch.stack(rows)).to(self.device)


def random_path(network: HpVaeGan, noise: Callable[[int, Size], Tensor], sizes: Sequence[Size], scales: int) -> Tensor:
    """x-bar_rand of scale `scales` - 1, `(B, 3, T, H, W)` (equation 9)."""
    return network.grow(network.first(noise(0, sizes[0])), range(1, scales), sizes, noise)


# ---- standing statistics ---------------------------------------------------------------------------


@torch.no_grad()
def record_statistics(
    network: HpVaeGan, recorded: range, *, passes: int = PASSES, enough: Callable[[], bool] = lambda: False
) -> None:
    """Record the standing statistics of the scales `recorded`, over random samples up to the last of them.

    passes: as many samples, or fewer where `enough` says so after one.

    The scales below use those that they have. All are in inference mode afterwards. These are statistics of
    random samples alone: those of the reconstruction are so far from them at the patch-VAE scales that neither
    comes out well with the other's, or with what is between (measured after 250 iterations a scale: a mean
    squared error of the reconstruction of 0.24 instead of 0.007). So it has its `own_statistics`.
    """
    network.eval()
    device = network.amplitudes.device
    norms = [part for n in recorded for part in network.generators[n].modules() if isinstance(part, VolumeNorm)]
    for norm in norms:
        norm.train()
        norm.begin_recording()
    for number in range(passes):
        noise = SeedNoise([f"statistics {number}"], network.latent, device)
        random_path(network, noise, network.config.sizes, recorded.stop)
        if enough():
            break
    for norm in norms:
        norm.end_recording(number + 1)
    network.eval()


@contextmanager
def own_statistics(module: nn.Module) -> Iterator[None]:
    """While the block runs, the norms of `module` use the mean and variance of what they get, as in training.

    For reconstructions, one sample at a time: samples of one batch would share them.
    """
    norms = [(part, part.training) for part in module.modules() if isinstance(part, VolumeNorm)]
    try:
        for norm, _ in norms:
            norm.train()
        yield
    finally:
        for norm, before in norms:
            norm.train(before)


# ---- loaded models -----------------------------------------------------------------------------------


@dataclass
class Single:
    """A model of one clip or image, in inference mode."""

    model: ModelConfig
    network: HpVaeGan
    sha: str = ""
    own_moments: dict[str, Tensor] = field(default_factory=dict)
    """Of the norms, by name, while those of another length are in their place (`single_lengths`)."""

    @property
    def config(self) -> SingleConfig:
        """Its numbers."""
        return self.network.config

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.network.amplitudes.device


def load_single(folder: Path, *, device: torch.device | None = None, half: bool = False) -> Single:
    """A model folder of hp-VAE-GAN. half: compute convolutions in bfloat16.

    Errors: `WeightsError` on any damage, and for a model of another kind.
    """
    model = read_model_config(folder)
    if model.single is None:
        raise WeightsError(f"{folder} is no model of a single clip: choose one that hvg train-single made")
    with torch.device("meta"):
        network = HpVaeGan(model.single)
        bake_spectral_norm(network)
    load_strict(network, read_level(folder, 1, config=model), str(folder))
    network = network.to(device or torch.device("cpu")).eval().requires_grad_(False)
    require_statistics(network)
    set_compute(network, torch.bfloat16 if half else torch.float32)
    network.generators = nn.ModuleList(in_blocks(network.generators))
    return Single(model, network, model_sha(folder))


# ---- samples -------------------------------------------------------------------------------------------


def output_sizes(config: SingleConfig, size: tuple[int, int] | None, frames: int | None) -> tuple[Size, ...]:
    """Sizes of all scales for an output of `size` (height, width) and `frames`; None for those of the training.

    Errors: `UsageError` for frames of an image, and for what is too small for the coarsest scale.
    """
    _, height, width = config.sizes[config.built - 1]
    low = smallest_size(config)
    height, width = size or (height, width)
    frames = config.frames if frames is None else frames
    if frames < 1:
        raise UsageError(f"--frames {frames} must be at least 1")
    if height < low[0] or width < low[1]:
        raise UsageError(f"--size {width}x{height} is too small for the coarsest scale: give {low[1]}x{low[0]} or more")
    if not config.volumetric and frames != 1:
        raise UsageError(f"this model learned an image, so it makes 1 frame, not {frames}: leave out --frames")
    return config.sizes_of(frames, height, width)


def smallest_size(config: SingleConfig) -> tuple[int, int]:
    """(height, width) below which an output has fewer than `COARSEST` pixels, or the training's, at scale 0."""
    _, height, width = config.sizes[config.built - 1]
    _, coarse_height, coarse_width = config.sizes[0]
    return (
        -(-min(COARSEST, coarse_height) * height // coarse_height),
        -(-min(COARSEST, coarse_width) * width // coarse_width),
    )


@torch.inference_mode()
def generate(
    single: Single,
    seeds: Sequence[int],
    *,
    size: tuple[int, int] | None = None,
    frames: int | None = None,
    sigma: float = 1.0,
) -> Tensor:
    """Videos `(B, T, 3, H, W)` in [-1, 1], one for each seed, of any size (height, width) and length.

    sigma: standard deviation of z and of every z_n. For another length than the training's, `single_lengths` gives
    the model its statistics first. Errors: `UsageError` as `output_sizes`.
    """
    network = single.network
    sizes = output_sizes(single.config, size, frames)
    noise = SeedNoise(seeds, network.latent, single.device, sigma)
    return random_path(network, noise, sizes, len(sizes)).transpose(1, 2)


@torch.inference_mode()
def inject(single: Single, image: Tensor, scale: int, seeds: Sequence[int], *, sigma: float = 1.0) -> Tensor:
    """What the scales from `scale` up make of the user's own image or clip: `(B, T, 3, H, W)` in [-1, 1].

    The coarse scales are left out: `image` `(1, T, 3, H, W)` in [-1, 1], of any size, takes the place of their
    output (SinGAN, section 5). So a drawing becomes a picture (paint-to-image, coarse scales), a pasted object
    takes on its surroundings (harmonisation) and moved parts fit again (editing; both fine scales and `blend`).
    At scale 0 the encoder reads it. Patch-VAE scales treat it as a reconstruction.

    Errors: `UsageError` for a scale that is not there, or scale 0 without an encoder.
    """
    height, width = image.shape[-2:]
    sizes = output_sizes(single.config, (height, width), image.shape[1])
    check_scale(single.config, scale)
    below = _reduced(image.to(single.device).float(), sizes[max(0, scale - 1)])
    with own_statistics(single.network.generators[: single.config.vae_scales]):
        made = [_injected(single, below, scale, seed, sigma, sizes) for seed in seeds]
    return torch.cat(made).transpose(1, 2)


def check_scale(config: SingleConfig, scale: int) -> None:
    """`UsageError` for a scale that `inject` cannot begin with."""
    lowest, highest = 0 if config.vae_scales else 1, config.built - 1
    if lowest > highest:
        raise UsageError("this model has one scale, without an encoder: it makes nothing of pictures")
    if not lowest <= scale <= highest:
        raise UsageError(f"--at-scale {scale} is not one of {lowest}..{highest} of this model")


def _injected(single: Single, below: Tensor, scale: int, seed: int, sigma: float, sizes: Sequence[Size]) -> Tensor:
    """One volume `(1, 3, T, H, W)` of the finest scale, from `below` in the place of a coarser scale's output."""
    network = single.network
    noise = SeedNoise([seed], network.latent, single.device, sigma)
    if scale > 0:
        return network.grow(below, range(scale, len(sizes)), sizes, noise)
    assert network.encoder is not None
    mean, log_var = network.encoder(below)
    x = network.first(mean + (0.5 * log_var).exp() * noise(0, sizes[0]))
    return network.grow(x, range(1, len(sizes)), sizes, noise)


def _reduced(video: Tensor, size: Size) -> Tensor:
    """`(B, T, 3, H, W)` as the volume `(B, 3, *size)` that a coarser scale would have made."""
    return enlarge(downsample_space(video, size[1:]).transpose(1, 2), size)


def blend(made: Tensor, image: Tensor, mask: Tensor, feather: int = FEATHER) -> Tensor:
    """`made` where the mask is 1, `image` where it is 0, with a soft edge: all in [-1, 1] but the mask.

    made: `(B, T, 3, H, W)`; image: `(1, T, 3, H, W)`; mask: `(H, W)` in [0, 1], whose edge becomes `feather`
    pixels wide.
    """
    soft = mask.to(made)[None, None]
    if feather > 1:
        side = 2 * (feather // 2) + 1
        soft = F.avg_pool2d(F.pad(soft, (side // 2,) * 4, mode="replicate"), side, stride=1)
    return image.to(made) + soft * (made - image.to(made))
