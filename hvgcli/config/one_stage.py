"""The numbers of a one-stage video GAN: DVD-GAN, DVD-GAN-FP and TrIVD-GAN-FP."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hvgcli.config.checks import (
    MAX_CHANNELS,
    MAX_FRAMES,
    MAX_RESOLUTION,
    is_power_of_two,
    require,
    require_components,
)
from hvgcli.config.levels import DiscriminatorConfig

FAMILY = "one-stage"
"""What tells such a level apart from one of a hierarchy in JSON."""
RECURRENT_UNITS = ("ConvGRU", "ConvLSTM", "K-TrajGRU", "TSRU_c", "TSRU_p", "TSRU_s", "PTSRU_s")
DECOMPOSITIONS = (
    "clip",
    "downsampled",
    "cropped",
    "cropped-downsampled",
    "mocogan-1",
    "mocogan-8",
    "dvd-gan",
    "faster",
    "stronger",
    "phi-identity",
    "phi-4x4",
    "phi-crop",
)
PROJECTIONS = ("sum", "mixed")


@dataclass(frozen=True)
class OneStageConfig:
    """A generator that makes the whole video in one stage, and the discriminators that train it.

    With `context` frames to go on from, a predictor (DVD-GAN-FP, TrIVD-GAN-FP); without, DVD-GAN.
    """

    frames: int
    """Frames that it makes in training; a predictor's, without its context."""
    resolution: int
    """Height and width of its output."""
    stride: int
    """Source frames between two of its frames."""
    channels: int
    """Base number of channels `ch` of the generator."""
    multipliers: tuple[int, ...]
    """As multiples of `channels`: ch_0 of the first map, then the width of each stage, all of which double."""
    discriminator: DiscriminatorConfig
    """Widths of every discriminator, and of a predictor's encoder."""
    decomposition: str = "dvd-gan"
    """Which discriminators there are and what they see (`hvgcli.models.decompositions`)."""
    projection: str = "sum"
    """Scores of a video: the "sum" over its frames (DVD-GAN), or "mixed" projection (TrIVD-GAN equation 15)."""
    unit: str = "ConvGRU"
    """Recurrent unit, by its name in TrIVD-GAN's table 2."""
    context: int = 0
    """Conditioning frames; 0 = none."""
    base: int = 4
    """Height and width of the first map: 4 in DVD-GAN, 8 in the predictors."""
    attention: int = 0
    """Resolution at which separable attention follows a stage (DVD-GAN appendix A); 0 = none, as in the paper."""
    z_dim: int = 120
    embed_dim: int = 120
    """Size of the class embedding e(y); without classes, y is 0 for all in a predictor and absent in DVD-GAN."""
    spectral_norm: bool = True
    """Spectral norm on the generator's weights. The discriminators always have it."""
    frame_kernel: int = 0
    """k of the kernels with which a predictor warps its last frame into the next one; 0 = none, as in the papers.

    Where there is one, what the network makes is fused with the warped frame (`hvgcli.models.frame_fusion`).
    """
    code_components: int = 0
    """Gaussians of each class in the fitted distribution of codes; 0 = z is N(0, I), as in the papers."""
    family: str = FAMILY

    def __post_init__(self) -> None:
        require(self.family == FAMILY, f"family {self.family!r} must be {FAMILY}: it may be of a newer version of hvg")
        require(1 <= self.frames <= MAX_FRAMES, f"frames {self.frames} must be 1..{MAX_FRAMES}")
        require(0 <= self.context <= 1024, f"context {self.context} must be 0..1024")
        require(
            is_power_of_two(self.base) and self.base >= 2 and is_power_of_two(self.resolution),
            f"base {self.base} and resolution {self.resolution} must be powers of two",
        )
        require(
            self.base < self.resolution <= MAX_RESOLUTION,
            f"resolution {self.resolution} must be in {2 * self.base}..{MAX_RESOLUTION}",
        )
        require(1 <= self.stride <= 1024, f"stride {self.stride} must be 1..1024")
        require(
            self.channels >= 1 and self.channels * max(self.multipliers, default=MAX_CHANNELS + 1) <= MAX_CHANNELS,
            f"channels {self.channels} x multipliers {self.multipliers} must be at most {MAX_CHANNELS}",
        )
        require(all(m >= 1 for m in self.multipliers), f"multipliers {self.multipliers} must be at least 1")
        require(
            len(self.multipliers) == self.doublings + 1,
            f"{len(self.multipliers)} multipliers for {self.resolution} pixels from {self.base}: "
            f"give {self.doublings + 1}, ch_0 and one a stage",
        )
        require(1 <= self.z_dim <= 4096 and 1 <= self.embed_dim <= 4096, "z_dim and embed_dim must be 1..4096")
        require_components(self.code_components, self.z_dim)
        require(
            not (self.code_components and self.predictor),
            "a predictor's z is what its context leaves open: code_components must be 0",
        )
        for name, value, known in (
            ("unit", self.unit, RECURRENT_UNITS),
            ("decomposition", self.decomposition, DECOMPOSITIONS),
            ("projection", self.projection, PROJECTIONS),
        ):
            require(value in known, f"{name} {value!r} must be one of {', '.join(known)}")
        require(
            not self.discriminator.patches or self.projection == "sum",
            "mixed projection adds up the scores of whole frames: discriminators of patches have projection sum",
        )
        require(
            self.unit != "ConvLSTM" or all(width % 2 == 0 for width in (self.first_width, *self.widths[:-1])),
            "ConvLSTM splits its channels into two halves: all widths but the last must be even",
        )
        require(
            self.frame_kernel == 0 or (self.predictor and self.frame_kernel in range(1, 16, 2)),
            f"frame_kernel {self.frame_kernel} must be 0, or an odd number up to 15 in a predictor",
        )
        sizes = [2 * self.base << stage for stage in range(self.doublings)]
        require(
            self.attention in (0, *sizes), f"attention at {self.attention} must be 0 or one of {sizes}, a stage's size"
        )
        require(
            not (self.predictor and self.attention), "a predictor has no attention: its length is not that of its clip"
        )
        require(
            not self.predictor or len(self.discriminator.multipliers) >= self.doublings,
            f"an encoder down to {self.base} pixels needs {self.doublings} blocks: give as many multipliers",
        )

    @property
    def predictor(self) -> bool:
        """Whether it goes on from conditioning frames."""
        return self.context > 0

    @property
    def doublings(self) -> int:
        """Stages, each of which doubles the resolution: log2(resolution / base)."""
        return int(math.log2(self.resolution // self.base))

    @property
    def first_width(self) -> int:
        """ch_0: channels of the first map and of the first recurrent unit."""
        return self.channels * self.multipliers[0]

    @property
    def widths(self) -> tuple[int, ...]:
        """Output channels of each stage."""
        return tuple(self.channels * m for m in self.multipliers[1:])
