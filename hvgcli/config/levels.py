"""The numbers of one level of a hierarchy, and of a discriminator (HVG appendix B)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hvgcli.config.checks import (
    BASE_RESOLUTION,
    MAX_CHANNELS,
    MAX_FRAMES,
    MAX_RESOLUTION,
    is_power_of_two,
    require,
    require_components,
)

UNITS = ("separable", "recurrent")
MAX_DETAIL = 1000


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Widths of one discriminator, from its input to its output (HVG appendix B)."""

    channels: int
    """Base number of channels `ch`."""
    multipliers: tuple[int, ...]
    """Width of each residual block, as a multiple of `channels`."""
    patches: bool = False
    """One score for each place of the last map, instead of one for each frame (hp-VAE-GAN's; not in HVG or DVD-GAN).

    A small batch then holds thousands of judged patches, and none of them knows where in the picture it is.
    """
    detail: int = 0
    """How many times enlarged it also sees what local means take away, in channels of its own; 0 = not (the papers).

    Beside layout and colour, fine detail and the change from frame to frame are so faint that a network of few
    steps and channels hardly learns to judge them.
    """

    def __post_init__(self) -> None:
        require(1 <= self.channels <= MAX_CHANNELS, f"discriminator channels {self.channels} must be 1..{MAX_CHANNELS}")
        require(
            len(self.multipliers) >= 2 and all(1 <= m <= 64 for m in self.multipliers),
            f"discriminator multipliers {self.multipliers} must be at least two numbers in 1..64",
        )
        require(0 <= self.detail <= MAX_DETAIL, f"discriminator detail {self.detail} must be 0..{MAX_DETAIL}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Output channels of each block."""
        return tuple(self.channels * m for m in self.multipliers)


@dataclass(frozen=True)
class LevelConfig:
    """One level of a hierarchy: its generator and the discriminators that train it."""

    frames: int
    """Frames that the level makes in training: the whole outline at level 1, a window above."""
    resolution: int
    """Height and width of its output."""
    stride: int
    """Source frames between two of its frames (f_t)."""
    channels: int
    """Base number of channels `ch` of the generator."""
    multipliers: tuple[int, ...]
    """Width of each unit of the generator, as a multiple of `channels`."""
    spatial: DiscriminatorConfig
    temporal: DiscriminatorConfig
    matching: DiscriminatorConfig | None
    """None at level 1, which has no condition to match; above it, None is the ablation of HVG table 2."""
    z_dim: int = 128
    embed_dim: int = 128
    """Size of the class embedding e(y); unused without classes."""
    spectral_norm: bool = True
    """Spectral norm on the generator's weights. The discriminators always have it."""
    unit: str = "separable"
    """What joins the frames in a unit above level 1: "separable" 3D blocks, or "recurrent" ones (HVG figure 9)."""
    output_residual: bool = False
    """Above level 1: the network adds to the linear enlargement of x^{l-1} instead of making x^l anew.

    Not in the paper. Batch norm hides the mean brightness of a batch from the network, which a batch of 512
    does not feel and one of 4 does; the enlargement carries it past the norms.
    """
    hold_edges: bool = False
    """Above level 1: beyond the edges of a map its edge is repeated, not zeros; the first map is one value all over.

    Not in the paper. Zeros and a first map with a value for each place tell a level where it is, and an adversary of
    few clips and small batches makes it paint that: lines at fixed places. This way all it knows of places is x^{l-1}.
    """
    code_components: int = 0
    """At level 1: Gaussians of each class in the fitted distribution of codes; 0 = z is N(0, I), as in the paper."""
    temporal_pool: int = 2
    """Side of the squares whose means the temporal discriminator sees; 2 in the paper (section 3), 1 = all pixels.

    In an outline of 16x16 most of the motion is in what the means of 2x2 leave out, and all pixels are few.
    """

    def __post_init__(self) -> None:
        require(1 <= self.frames <= MAX_FRAMES, f"frames {self.frames} must be 1..{MAX_FRAMES}")
        require(
            is_power_of_two(self.resolution) and BASE_RESOLUTION < self.resolution <= MAX_RESOLUTION,
            f"resolution {self.resolution} must be a power of two in {2 * BASE_RESOLUTION}..{MAX_RESOLUTION}",
        )
        require(1 <= self.stride <= 1024, f"stride {self.stride} must be 1..1024")
        require(
            self.channels >= 1 and self.channels * max(self.multipliers, default=MAX_CHANNELS + 1) <= MAX_CHANNELS,
            f"channels {self.channels} x multipliers {self.multipliers} must be at most {MAX_CHANNELS}",
        )
        require(all(m >= 1 for m in self.multipliers), f"multipliers {self.multipliers} must be at least 1")
        require(
            len(self.multipliers) >= self.doublings,
            f"{len(self.multipliers)} multipliers cannot reach {self.resolution} pixels: give {self.doublings} or more",
        )
        require(1 <= self.z_dim <= 4096 and 1 <= self.embed_dim <= 4096, "z_dim and embed_dim must be 1..4096")
        require(
            not self.hold_edges or self.unit == "separable",
            "hold_edges is for the convolutions of separable units: choose those",
        )
        require_components(self.code_components, self.z_dim)
        require(self.temporal_pool in (1, 2), f"temporal_pool {self.temporal_pool} must be 1 or 2")
        require(self.unit in UNITS, f"unit {self.unit!r} must be {' or '.join(UNITS)}")
        require(
            not self.output_residual or self.unit == "separable",
            "output_residual looks a frame ahead, which recurrent units do not: choose separable ones",
        )

    @property
    def doublings(self) -> int:
        """Units that double the resolution: log2(resolution / 4), counted from the first."""
        return int(math.log2(self.resolution // BASE_RESOLUTION))

    @property
    def widths(self) -> tuple[int, ...]:
        """Output channels of each unit."""
        return tuple(self.channels * m for m in self.multipliers)
