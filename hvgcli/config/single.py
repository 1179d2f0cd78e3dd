"""The numbers of hp-VAE-GAN, which learns one clip or one image (Gur et al. 2020), and of its training."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from hvgcli.config.checks import require

FAMILY = "hp-vae-gan"
"""What tells such a level apart from others in JSON."""
MAX_SCALES = 16
MAX_SIDE = 4096
MAX_WINDOW = 1024
KERNELS = (1, 3, 5, 7)


@dataclass(frozen=True)
class SingleConfig:
    """Patch-VAE and patch-GAN generators from a coarse scale 0 to a fine scale N, for one clip or image.

    The defaults are the paper's (section 4, appendix A), whose N is `scales` - 1 and whose M is `vae_scales`.
    """

    scales: int = 10
    """N + 1: scales from the coarsest to the finest."""
    vae_scales: int = 3
    """V: scales 0..V-1 are patch-VAE, V..N patch-GAN. 0: scale 0 is a patch-GAN from noise, as in SinGAN."""
    channels: int = 64
    """Channels of every hidden block."""
    latent: int = 128
    """Channels of the latent map z."""
    blocks: int = 5
    """Convolutions of E, of each G^n and of each D^n: their receptive field is 1 + blocks (kernel - 1)."""
    kernel: int = 3
    """Side of the convolutions of patch-GAN generators and of discriminators."""
    encoder_kernel: int = 3
    """Side of the encoder's convolutions; 1 is the paper's ablation with r = 1."""
    decoder_kernel: int = 3
    """Side of the convolutions of patch-VAE generators; 1 is the paper's ablation with r = 1."""
    rates: tuple[int, ...] = (1, 2, 3, 4)
    """Omega: every how many frames of the window a scale takes one; the largest at scale 0."""
    window: int = 13
    """Frames of the clip at the finest scale, one more than a multiple of every rate; 1 for an image."""
    height: int = 256
    """Pixels of the finest scale."""
    width: int = 256
    """Pixels of the finest scale."""
    min_height: int = 32
    """Pixels of scale 0."""
    factor: str = "1.33"
    """Height of a scale over that of the one below, as a number in text; larger where the scales would not suffice."""
    volumetric: bool = True
    """3D convolutions over a clip; 2D ones over an image without."""
    hold_ends: bool = False
    """What G^n and D^n see before the first frame and after the last one: these again, instead of zeros.

    Not in the paper. With zeros the ends of a clip are paler and less sharp than its middle until a long training has
    made up for it, and longer videos than the one that was learned have another contrast.
    """
    finished: int = 0
    """Scales that are trained and made, from the coarsest; 0 = all. A stopped training leaves fewer."""
    family: str = FAMILY

    def __post_init__(self) -> None:
        require(self.family == FAMILY, f"family {self.family!r} must be {FAMILY}: it may be of a newer version of hvg")
        require(1 <= self.scales <= MAX_SCALES, f"scales {self.scales} must be 1..{MAX_SCALES}", "--scales")
        require(
            0 <= self.vae_scales <= self.scales,
            f"vae_scales {self.vae_scales} must be 0..{self.scales}",
            "--vae-scales",
        )
        require(0 <= self.finished <= self.scales, f"finished {self.finished} must be 0..{self.scales}")
        require(1 <= self.channels <= 1024, f"channels {self.channels} must be 1..1024")
        require(1 <= self.latent <= 4096, f"latent {self.latent} must be 1..4096")
        require(2 <= self.blocks <= 16, f"blocks {self.blocks} must be 2..16")
        for name in ("kernel", "encoder_kernel", "decoder_kernel"):
            require(getattr(self, name) in KERNELS, f"{name} {getattr(self, name)} must be one of {KERNELS}")
        self._check_sizes()
        self._check_time()

    def _check_sizes(self) -> None:
        for name in ("height", "width"):
            side = getattr(self, name)
            require(8 <= side <= MAX_SIDE, f"{name} {side} must be 8..{MAX_SIDE} pixels", "--height")
            require(side % 2 == 0, f"{name} {side} must be even", "--height")
        require(8 <= self.min_height <= MAX_SIDE, f"min_height {self.min_height} must be 8..{MAX_SIDE} pixels")
        try:
            factor = Fraction(self.factor)
        except (ValueError, ZeroDivisionError):
            factor = Fraction(0)
        require(1 < factor <= 4, f"factor {self.factor!r} must be a number above 1 and up to 4")

    def _check_time(self) -> None:
        require(1 <= self.window <= MAX_WINDOW, f"window {self.window} must be 1..{MAX_WINDOW} frames", "--frames")
        require(
            self.volumetric == (self.window > 1),
            "an image has a window of 1 frame and no volumetric convolutions, a clip both",
            "--frames",
        )
        require(1 <= len(self.rates) <= 16, f"{len(self.rates)} rates must be 1..16")
        require(all(1 <= rate <= MAX_WINDOW for rate in self.rates), f"rates {self.rates} must be 1..{MAX_WINDOW}")
        require(all(a < b for a, b in pairwise(self.rates)), f"rates {self.rates} must rise")
        bad = [rate for rate in self.rates if (self.window - 1) % rate]
        require(
            not bad,
            f"a window of {self.window} frames does not end on every rate of {self.rates}: it must be one more than a "
            "multiple of each",
            "--frames",
        )

    @property
    def built(self) -> int:
        """Scales that the network has: all, or those that a stopped training finished."""
        return self.finished or self.scales

    @property
    def steps(self) -> tuple[int, ...]:
        """Of each scale, every how many frames of the window it takes one (section 3.2).

        Omega is indexed linearly, and downwards where that is no whole number: the paper does not say how.
        """
        falling, last = self.rates[::-1], max(1, self.scales - 1)
        places = [n * (len(falling) - 1) // last for n in range(self.scales)]
        return (*(falling[place] for place in places[:-1]), falling[-1])

    @property
    def lengths(self) -> tuple[int, ...]:
        """Frames of each scale; the first and the last frame of the window are in all of them."""
        return tuple((self.window - 1) // step + 1 for step in self.steps)

    @property
    def heights(self) -> tuple[int, ...]:
        """Pixels of each scale: `factor` times those of the scale below, up to `height` (appendix A.1)."""
        lowest = min(self.min_height, self.height)
        needed = (self.height / lowest) ** (1 / max(1, self.scales - 1))
        factor = max(float(Fraction(self.factor)), needed)
        below = [min(self.height, round(lowest * factor**n)) for n in range(self.scales - 1)]
        return (*below, self.height)

    @property
    def sizes(self) -> tuple[tuple[int, int, int], ...]:
        """(frames, height, width) of each scale, 0..N; the aspect is kept, with an even width."""
        across = [max(2, 2 * round(height * self.width / (2 * self.height))) for height in self.heights]
        return tuple(zip(self.lengths, self.heights, across, strict=True))

    def sizes_of(self, frames: int, height: int, width: int) -> tuple[tuple[int, int, int], ...]:
        """(frames, height, width) of each scale that is there, for an output of another size or length."""
        made = self.sizes[: self.built]
        _, last_height, last_width = made[-1]
        return tuple(
            (
                max(1, round((frames - 1) * self.stride / step) + 1),
                max(1, round(scale_height * height / last_height)),
                max(1, round(scale_width * width / last_width)),
            )
            for step, (_, scale_height, scale_width) in zip(self.steps, made, strict=False)
        )

    @property
    def widths(self) -> tuple[int, ...]:
        """Output channels of each hidden block."""
        return (self.channels,) * (self.blocks - 1)

    @property
    def frames(self) -> int:
        """Frames of the output: of the finest scale that is there."""
        return self.lengths[self.built - 1]

    @property
    def resolution(self) -> int:
        """Height of the output."""
        return self.heights[self.built - 1]

    @property
    def usual_size(self) -> tuple[int, int]:
        """(height, width) of the output unless another is asked for: even, as H.264 has it.

        The last scale of a stopped training may have an odd height.
        """
        _, height, width = self.sizes[self.built - 1]
        return max(2, height // 2 * 2), max(2, width // 2 * 2)

    @property
    def stride(self) -> int:
        """Frames of the window from one output frame to the next."""
        return self.steps[self.built - 1]

    def kernel_of(self, scale: int) -> int:
        """Side of the convolutions of G^scale."""
        return self.decoder_kernel if scale < self.vae_scales else self.kernel


@dataclass(frozen=True)
class SingleTrainingConfig:
    """How each scale is trained. The defaults are the paper's; where it is silent or unclear, DESIGN's."""

    iterations: int = 20_000
    """Updates a scale, unless `minutes` limits them (appendix A.1)."""
    minutes: float = 0.0
    """Budget of the whole training, spread over the scales; 0 = none."""
    lr: float = 5e-4
    lr_decay: float = 0.2
    """At each further patch-VAE scale, the learning rate of E and G^0 is multiplied by this."""
    beta1: float = 0.5
    beta2: float = 0.999
    reconstruction_weight: float = 10.0
    """Weight of the mean squared error of each reconstruction (equations 4 and 7)."""
    kl_weight: float = 1.0
    """Weight of the mean KL: 1 against 10 is the paper's beta of 0.1."""
    adversarial_weight: float = 1.0
    """Weight of the adversarial loss: 1 against 10 is the paper's beta of 0.1."""
    gradient_penalty: float = 0.1
    """lambda of equation 10."""
    noise: float = 0.1
    """Amplitude of z_n, as a share of the error that the scale has to mend."""
    freeze: bool = True
    """Train only what section 3.2 says; without, everything at every scale (the paper's ablation)."""
    precision: str = "fp32"
    """"fp32", or "bf16" for convolutions in bfloat16; parameters and optimizers stay float32."""

    def __post_init__(self) -> None:
        require(1 <= self.iterations <= 10**9, f"iterations {self.iterations} must be 1..10^9", "--iterations")
        require(0 <= self.minutes < 1e6, f"minutes {self.minutes} must be 0 or more", "--minutes")
        for name in ("lr", "lr_decay"):
            require(0 < getattr(self, name) <= 1, f"{name} {getattr(self, name)} must be above 0 and up to 1")
        for name in ("beta1", "beta2"):
            require(0 <= getattr(self, name) < 1, f"{name} {getattr(self, name)} must be in [0, 1)")
        for name in ("reconstruction_weight", "kl_weight", "adversarial_weight", "gradient_penalty", "noise"):
            require(0 <= getattr(self, name) <= 1e6, f"{name} {getattr(self, name)} must be 0..10^6")
        require(self.precision in ("fp32", "bf16"), f"precision {self.precision!r} must be fp32 or bf16")
