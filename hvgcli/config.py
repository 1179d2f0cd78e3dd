"""The numbers of every model and of its training: frozen dataclasses, and one table of presets.

A `ModelConfig` describes networks only and travels with the weights (`config.json`). A
`TrainingConfig` describes how one level is trained and travels with a run. Sizes are pixels of a
square frame, strides are source frames between two output frames.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from typing import Any

from hvgcli.errors import ConfigError

FORMAT_VERSION = 1
BASE_RESOLUTION = 4  # every generator starts from a 4x4 map
MAX_CLASSES = 100_000  # bounds keep a tampered config.json from asking for absurd memory
MAX_CHANNELS = 8192
MAX_RESOLUTION = 4096
MAX_FRAMES = 65_536
AUGMENTATIONS = ("color", "translation", "cutout")
UNITS = ("separable", "recurrent")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Widths of one discriminator, from its input to its output (HVG appendix B)."""

    channels: int
    """Base number of channels `ch`."""
    multipliers: tuple[int, ...]
    """Width of each residual block, as a multiple of `channels`."""

    def __post_init__(self) -> None:
        _require(
            1 <= self.channels <= MAX_CHANNELS, f"discriminator channels {self.channels} must be 1..{MAX_CHANNELS}"
        )
        _require(
            len(self.multipliers) >= 2 and all(1 <= m <= 64 for m in self.multipliers),
            f"discriminator multipliers {self.multipliers} must be at least two numbers in 1..64",
        )

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

    def __post_init__(self) -> None:
        _require(1 <= self.frames <= MAX_FRAMES, f"frames {self.frames} must be 1..{MAX_FRAMES}")
        _require(
            _is_power_of_two(self.resolution) and BASE_RESOLUTION < self.resolution <= MAX_RESOLUTION,
            f"resolution {self.resolution} must be a power of two in {2 * BASE_RESOLUTION}..{MAX_RESOLUTION}",
        )
        _require(1 <= self.stride <= 1024, f"stride {self.stride} must be 1..1024")
        _require(
            self.channels >= 1 and self.channels * max(self.multipliers, default=MAX_CHANNELS + 1) <= MAX_CHANNELS,
            f"channels {self.channels} x multipliers {self.multipliers} must be at most {MAX_CHANNELS}",
        )
        _require(all(m >= 1 for m in self.multipliers), f"multipliers {self.multipliers} must be at least 1")
        _require(
            len(self.multipliers) >= self.doublings,
            f"{len(self.multipliers)} multipliers cannot reach {self.resolution} pixels: give {self.doublings} or more",
        )
        _require(1 <= self.z_dim <= 4096 and 1 <= self.embed_dim <= 4096, "z_dim and embed_dim must be 1..4096")
        _require(self.unit in UNITS, f"unit {self.unit!r} must be {' or '.join(UNITS)}")
        _require(
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


@dataclass(frozen=True)
class ModelConfig:
    """A hierarchy: level 1 makes an outline, each further level enlarges the one below."""

    name: str
    levels: tuple[LevelConfig, ...]
    num_classes: int = 0
    """0 = unconditional."""
    classes: tuple[str, ...] = ()
    """Names of the classes, or empty when only their number is known."""
    source_rate: str = "25"
    """Frames per second of the training clips, as a fraction; divided by the stride it is the output's."""
    sigma: float = 0.5
    """Default standard deviation of z for pictures (HVG appendix H); `evaluate` uses 1."""

    def __post_init__(self) -> None:
        _require(1 <= len(self.levels) <= 8, f"a model has 1..8 levels, not {len(self.levels)}")
        _require(0 <= self.num_classes <= MAX_CLASSES, f"num_classes {self.num_classes} must be 0..{MAX_CLASSES}")
        _require(
            not self.classes or len(self.classes) == self.num_classes,
            f"{len(self.classes)} class names for {self.num_classes} classes",
        )
        _require(0 < Fraction(self.source_rate) <= 1000, f"source_rate {self.source_rate} must be in 0..1000")
        _require(not self.levels[0].output_residual, "level 1 has nothing to enlarge: output_residual must be false")
        _require(self.levels[0].matching is None, "level 1 has no condition: its matching discriminator must be null")
        for number, (below, level) in enumerate(zip(self.levels, self.levels[1:], strict=False), start=2):
            _require(
                below.stride % level.stride == 0,
                f"level {number}: stride {level.stride} does not divide {below.stride}, the stride below",
            )
            _require(
                level.resolution % below.resolution == 0,
                f"level {number}: resolution {level.resolution} is below {below.resolution}",
            )
            times_time = below.stride // level.stride
            _require(
                not level.output_residual or len(level.multipliers) >= 2 * times_time,
                f"level {number}: output_residual needs {2 * times_time} units or more to look a frame ahead",
            )
            _require(
                level.frames % times_time == 0,
                f"level {number}: a window of {level.frames} frames is not a multiple of {times_time}: change --window",
            )

    @property
    def conditional(self) -> bool:
        return self.num_classes > 0

    @property
    def frames(self) -> int:
        """Frames of a full video: the outline's, times every temporal factor."""
        return self.levels[0].frames * self.frame_factor(len(self.levels))

    @property
    def resolution(self) -> int:
        return self.levels[-1].resolution

    def times_time(self, level: int) -> int:
        """Frames that level `level` (2..L) makes of one frame below."""
        return self.levels[level - 2].stride // self.levels[level - 1].stride

    def times_space(self, level: int) -> int:
        """Enlargement of level `level` (2..L) in height and width."""
        return self.levels[level - 1].resolution // self.levels[level - 2].resolution

    def frame_factor(self, level: int) -> int:
        """Frames of level `level` (1..L) for one frame of the outline."""
        return self.levels[0].stride // self.levels[level - 1].stride

    def rate(self, level: int | None = None) -> Fraction:
        """Frames per second of a level's output (of the last level by default)."""
        return Fraction(self.source_rate) / self.levels[(level or len(self.levels)) - 1].stride

    def class_names(self) -> tuple[str, ...]:
        """Names of all classes; their numbers where no names are known."""
        return self.classes or tuple(str(index) for index in range(self.num_classes))

    def with_classes(self, classes: tuple[str, ...]) -> ModelConfig:
        """The same networks for another set of classes (none = unconditional)."""
        return replace(self, num_classes=len(classes), classes=classes)

    def with_window(self, level: int, frames: int) -> ModelConfig:
        """The same networks, level `level` (1..L) trained on `frames` frames."""
        levels = list(self.levels)
        levels[level - 1] = replace(levels[level - 1], frames=frames)
        return replace(self, levels=tuple(levels))


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
    random_scale: tuple[float, float] = (1.0, 1.0)
    """Side of the random crop, as a range of fractions of the clip's short side."""
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
    """Parts that a batch is computed in, one after the other, to save memory. Batch norm sees each part alone."""
    augment: tuple[str, ...] = ()
    """Changes that the discriminators see in real and generated videos alike (DiffAugment; none in the papers)."""

    def __post_init__(self) -> None:
        _require(self.steps >= 1, f"steps {self.steps} must be at least 1: change --steps")
        _require(self.accumulate >= 1, f"accumulate {self.accumulate} must be at least 1: change --accumulate")
        _require(
            self.batch_size % self.accumulate == 0 and self.batch_size // self.accumulate >= 2,
            f"batch size {self.batch_size} in {self.accumulate} parts must leave equal parts of at least 2 videos "
            "for batch norm: change --batch-size or --accumulate",
        )
        unknown = [kind for kind in self.augment if kind not in AUGMENTATIONS]
        _require(not unknown, f"augment {', '.join(unknown)} must be of {', '.join(AUGMENTATIONS)}: change --augment")
        for name in ("lr_generator", "lr_discriminator"):
            _require(getattr(self, name) > 0, f"{name} {getattr(self, name)} must be above 0")
        for name in ("discriminator_updates", "spatial_frames", "condition_reuse"):
            _require(getattr(self, name) >= 1, f"{name} {getattr(self, name)} must be at least 1")
        _require(self.condition_noise >= 0, f"condition_noise {self.condition_noise} must not be negative")
        _require(
            self.precision in ("fp32", "bf16"), f"precision {self.precision!r} must be fp32 or bf16: change --precision"
        )
        _require(0.0 <= self.ema < 1.0, f"ema {self.ema} must be in [0, 1): change --ema")
        low, high = self.random_scale
        _require(0 < low <= high <= 1, f"random_scale {self.random_scale} must be in (0, 1] and ordered")


@dataclass(frozen=True)
class Preset:
    """A published or small model: its networks and the training of each level."""

    model: ModelConfig
    training: tuple[TrainingConfig, ...]
    source: str
    """Where its numbers come from; for small presets, that they are ours."""


def to_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as plain JSON values."""
    return asdict(config)


# What JSON may hold for a field, by its annotation; a field of another kind is checked where it is built.
_JSON_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}


def _fits(value: Any, annotation: str) -> bool:
    if annotation.startswith("tuple["):
        items, _, rest = annotation.removeprefix("tuple[").removesuffix("]").partition(", ")
        many = isinstance(value, list | tuple) and (rest == "..." or len(value) == 2)  # (x, ...) or (low, high)
        return many and all(_fits(item, items) for item in value)
    wanted = _JSON_TYPES.get(annotation)
    if wanted is None:
        return True
    return isinstance(value, wanted) and (bool in wanted or not isinstance(value, bool))


def _build(kind: Any, data: Any, where: str) -> Any:
    _require(isinstance(data, dict), f"{where} must be an object, not {type(data).__name__}")
    known = {field.name: str(field.type) for field in fields(kind)}
    unknown = sorted(set(data) - set(known))
    _require(not unknown, f"{where} has unknown field {', '.join(unknown)}: it may be of a newer version of hvg")
    for key, value in data.items():
        wanted = known[key]
        _require(_fits(value, wanted), f"{where}: {key} is {_short(value)}, of the wrong type: expected {wanted}")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{where} is incomplete or has a value of the wrong type: {error}") from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _level_from_dict(data: Any, where: str) -> LevelConfig:
    _require(isinstance(data, dict), f"{where} must be an object")
    values = dict(data)
    for part in ("spatial", "temporal", "matching"):
        if values.get(part) is not None:
            values[part] = _build(DiscriminatorConfig, values[part], f"{where}.{part}")
    level: LevelConfig = _build(LevelConfig, values, where)
    return level


def model_from_dict(data: Any) -> ModelConfig:
    """`ModelConfig` from JSON values; ConfigError when a field is unknown, missing or out of range."""
    _require(isinstance(data, dict) and isinstance(data.get("levels"), list | tuple), "config has no list of levels")
    values = dict(data)
    values["levels"] = [_level_from_dict(level, f"level {n}") for n, level in enumerate(values["levels"], start=1)]
    try:
        model: ModelConfig = _build(ModelConfig, values, "config")
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"config has a value of the wrong type: {error}") from error
    return model


def training_from_dict(data: Any) -> TrainingConfig:
    """`TrainingConfig` from JSON values, checked like `model_from_dict`."""
    _require(isinstance(data, dict), f"training must be an object, not {type(data).__name__}")
    values = dict(data)
    if values.get("reconstruction") is not None:
        values["reconstruction"] = _build(ReconstructionConfig, values["reconstruction"], "reconstruction")
    training: TrainingConfig = _build(TrainingConfig, values, "training")
    return training


def preset_from_dict(data: Any) -> Preset:
    """`Preset` from JSON values `{"model": {...}, "training": [one a level], "source": "..."}`.

    `source` may be left out, and in `training` every field that keeps its default. Errors: `ConfigError` as
    `model_from_dict`, and where the levels of model and training are not as many.
    """
    _require(isinstance(data, dict), f"a preset must be an object, not {type(data).__name__}")
    unknown = sorted(set(data) - {"model", "training", "source"})
    _require(not unknown, f"a preset has model, training and source, not {', '.join(unknown)}")
    _require(isinstance(data.get("training"), list | tuple), "a preset needs training: a list with one object a level")
    model = model_from_dict(data.get("model"))
    training = tuple(training_from_dict(level) for level in data["training"])
    _require(
        len(training) == len(model.levels), f"a preset has {len(model.levels)} levels, but training for {len(training)}"
    )
    source = data.get("source", "a file")
    _require(isinstance(source, str), f"source is {_short(source)}, expected str")
    return Preset(model, training, source)
