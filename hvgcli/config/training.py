"""How one level is trained: what `run.json` of a run folder holds."""

from __future__ import annotations

from dataclasses import dataclass

from hvgcli.config.checks import require
from hvgcli.config.model import ModelConfig
from hvgcli.config.single import SingleTrainingConfig

AUGMENTATIONS = ("color", "translation", "cutout")


@dataclass(frozen=True)
class ReconstructionConfig:
    """A training aid of the small presets, not of the papers: reconstruction first, adversary after.

    Level 1 starts as a conditional VAE whose code carries about `nats` of information, so that the
    codes of the clips fill the prior; the levels above start as plain super-resolvers. With as many
    steps here as the training has, the discriminators take no part.
    """

    steps: int
    """Generator steps before the discriminators join."""
    weight: float
    """Weight of the reconstruction error beside the adversarial loss afterwards."""
    lr: float = 1e-3
    """Learning rate of the generator during these steps."""
    motion_weight: float = 0.0
    """Weight of the error of the differences between successive frames, beside that of the frames."""
    structure_weight: float = 0.0
    """Weight of the error of the structure functions: how much each region changes over 1, 2, 4 frames and pixels."""
    nats: float = 10.0
    """Information that the level-1 code may carry about a clip, in nats."""
    capacity_weight: float = 0.01
    """Weight of |KL - nats| beside the mean absolute error of the reconstruction."""
    judged: bool = False
    """Whether the discriminators judge the reconstructions, in place of videos from N(0, I) and generated conditions.

    Real and generated videos then differ in what the generator has to learn only, not in which clips they are of:
    with batches of 4 to 16, and few takes, that difference is the larger one. With a prior of codes it is always so.
    """


@dataclass(frozen=True)
class TrainingConfig:
    """How one level is trained. The defaults are HVG's (section 5.1, appendix A)."""

    steps: int = 300_000
    """Generator updates."""
    batch_size: int = 512
    lr_generator: float = 1e-4
    lr_discriminator: float = 5e-4
    beta1: float = 0.0
    beta2: float = 0.999
    discriminator_updates: int = 2
    """Discriminator updates for each generator update."""
    spatial_frames: int = 8
    """k: full-resolution frames that the spatial discriminator sees of each video."""
    ema: float = 0.0
    """Decay of the generator's moving average; 0 = none."""
    ema_start: int = 0
    """Step at which the moving average begins, from the weights of that moment (20,000 in DVD-GAN)."""
    orthogonal_penalty: float = 0.0
    """Weight of the penalty on generator weights whose rows are not orthogonal (1e-4 in TrIVD-GAN, E.2)."""
    random_scale: tuple[float, float] = (1.0, 1.0)
    """Side of the random crop, as a range of fractions of the clip's short side."""
    random_stride: bool = False
    """Cut half of the windows at half the stride (where it is even), so that more speeds are seen (not in HVG)."""
    condition_noise: float = 0.0
    """Largest standard deviation of the noise added to real conditions (levels above the first)."""
    condition_reuse: int = 1
    """Steps for which one batch of generated conditions serves, a different window each time (1 in HVG)."""
    balance_classes: bool = False
    """Draw the class first, then the clip, so that classes with few clips are seen as often."""
    reconstruction: ReconstructionConfig | None = None
    adversarial_weight: float = 1.0
    """Weight of the adversarial loss of the generator."""
    precision: str = "fp32"
    """"fp32", or "bf16" for autocast; parameters and optimizers stay float32."""
    accumulate: int = 1
    """Parts that a batch is computed in, one after the other, to save memory.

    Batch norm and mixed projection see each part alone, so it is not a larger batch.
    """
    augment: tuple[str, ...] = ()
    """Changes that the discriminators see in real and generated videos alike (DiffAugment; none in the papers)."""
    standing: bool = False
    """Normalise by the standing statistics of the model that training begins with, not by those of each batch.

    What is trained is then what is sampled: a small batch normalises its videos otherwise than inference does.
    It is for the last part of a training: reconstruction is not alone at its beginning.
    """

    @property
    def steps_alone(self) -> int:
        """Steps at the beginning in which reconstruction is alone, without the discriminators."""
        return 0 if self.reconstruction is None or self.standing else self.reconstruction.steps

    def __post_init__(self) -> None:
        require(self.steps >= 1, f"steps {self.steps} must be at least 1", "--steps")
        require(self.accumulate >= 1, f"accumulate {self.accumulate} must be at least 1", "--accumulate")
        require(
            self.batch_size % self.accumulate == 0 and self.batch_size // self.accumulate >= 2,
            f"batch size {self.batch_size} in {self.accumulate} parts must leave equal parts of at least 2 videos "
            "for batch norm",
            "--batch-size or --accumulate",
        )
        unknown = [kind for kind in self.augment if kind not in AUGMENTATIONS]
        require(not unknown, f"augment {', '.join(unknown)} must be of {', '.join(AUGMENTATIONS)}", "--augment")
        for name in ("lr_generator", "lr_discriminator"):
            require(getattr(self, name) > 0, f"{name} {getattr(self, name)} must be above 0")
        for name in ("discriminator_updates", "spatial_frames", "condition_reuse"):
            require(getattr(self, name) >= 1, f"{name} {getattr(self, name)} must be at least 1")
        require(self.condition_noise >= 0, f"condition_noise {self.condition_noise} must not be negative")
        require(self.precision in ("fp32", "bf16"), f"precision {self.precision!r} must be fp32 or bf16", "--precision")
        require(0.0 <= self.ema < 1.0, f"ema {self.ema} must be in [0, 1)", "--ema")
        require(self.ema_start >= 0, f"ema_start {self.ema_start} must not be negative")
        require(self.orthogonal_penalty >= 0, f"orthogonal_penalty {self.orthogonal_penalty} must not be negative")
        low, high = self.random_scale
        require(0 < low <= high <= 1, f"random_scale {self.random_scale} must be in (0, 1] and ordered")


@dataclass(frozen=True)
class Preset:
    """A published or small model: its networks and the training of each level."""

    model: ModelConfig
    training: tuple[TrainingConfig, ...]
    source: str
    """Where its numbers come from; for small presets, that they are ours."""


@dataclass(frozen=True)
class SinglePreset:
    """A preset of hp-VAE-GAN: its networks, to be fitted to the clip's size, and their training."""

    model: ModelConfig
    training: SingleTrainingConfig
    source: str
    """Where its numbers come from; for small presets, that they are ours."""
