"""The networks of a whole model: what `config.json` of a model folder holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from hvgcli.config.checks import MAX_CLASSES, require
from hvgcli.config.levels import LevelConfig
from hvgcli.config.one_stage import OneStageConfig
from hvgcli.config.single import SingleConfig
from hvgcli.errors import ConfigError


@dataclass(frozen=True)
class ModelConfig:
    """A hierarchy: level 1 makes an outline, each further level enlarges the one below."""

    name: str
    levels: tuple[LevelConfig | OneStageConfig | SingleConfig, ...]
    """From the outline up; a one-stage model, or one of a single clip, has one."""
    num_classes: int = 0
    """0 = unconditional."""
    classes: tuple[str, ...] = ()
    """Names of the classes, or empty when only their number is known."""
    source_rate: str = "25"
    """Frames per second of the training clips, as a fraction; divided by the stride it is the output's."""
    sigma: float = 0.5
    """Default standard deviation of z for pictures (HVG appendix H); `evaluate` uses 1."""

    def __post_init__(self) -> None:
        require(1 <= len(self.levels) <= 8, f"a model has 1..8 levels, not {len(self.levels)}")
        require(0 <= self.num_classes <= MAX_CLASSES, f"num_classes {self.num_classes} must be 0..{MAX_CLASSES}")
        require(
            not self.classes or len(self.classes) == self.num_classes,
            f"{len(self.classes)} class names for {self.num_classes} classes",
        )
        require(0 < Fraction(self.source_rate) <= 1000, f"source_rate {self.source_rate} must be in 0..1000")
        if not self.one_stage and self.single is None:
            self._check_hierarchy()
        require(not (self.predictor and self.num_classes), "a predictor has no classes: num_classes must be 0")
        require(not (self.single and self.num_classes), "a model of one clip has no classes: num_classes must be 0")

    def _check_hierarchy(self) -> None:
        """How the levels of a hierarchy fit together."""
        levels = self.hierarchy
        require(not levels[0].output_residual, "level 1 has nothing to enlarge: output_residual must be false")
        require(not levels[0].hold_edges, "level 1 has no input that tells places apart: hold_edges must be false")
        require(levels[0].matching is None, "level 1 has no condition: its matching discriminator must be null")
        for number, (below, level) in enumerate(pairwise(levels), start=2):
            require(level.code_components == 0, f"level {number}: code_components is for level 1, it must be 0")
            require(
                below.stride % level.stride == 0,
                f"level {number}: stride {level.stride} does not divide {below.stride}, the stride below",
            )
            require(
                level.resolution % below.resolution == 0,
                f"level {number}: resolution {level.resolution} is below {below.resolution}",
            )
            times_time = below.stride // level.stride
            require(
                not level.output_residual or len(level.multipliers) >= 2 * times_time,
                f"level {number}: output_residual needs {2 * times_time} units or more to look a frame ahead",
            )
            require(
                level.frames % times_time == 0,
                f"level {number}: a window of {level.frames} frames is not a multiple of {times_time}",
                "--window",
            )

    @property
    def hierarchy(self) -> tuple[LevelConfig, ...]:
        """The levels of a hierarchy; `ConfigError` for a one-stage model."""
        levels = tuple(level for level in self.levels if isinstance(level, LevelConfig))
        require(
            len(levels) == len(self.levels),
            "a one-stage model, or one of a single clip, stands alone: it is no level of a hierarchy",
        )
        return levels

    @property
    def one_stage(self) -> bool:
        """Whether this is DVD-GAN or a predictor, which has one level of its own kind."""
        return len(self.levels) == 1 and isinstance(self.levels[0], OneStageConfig)

    @property
    def system(self) -> str:
        """ "hvg", "dvd-gan", "dvd-gan-fp", "trivd-gan-fp" or "hp-vae-gan".

        The two predictors differ in how a video is scored; the rest is a choice in both.
        """
        first = self.levels[0]
        if not isinstance(first, OneStageConfig):
            return first.family if isinstance(first, SingleConfig) else "hvg"
        if not first.predictor:
            return "dvd-gan"
        return "trivd-gan-fp" if first.projection == "mixed" else "dvd-gan-fp"

    @property
    def single(self) -> SingleConfig | None:
        """The numbers of hp-VAE-GAN, whose one level stands alone; None for all other models."""
        first = self.levels[0]
        return first if len(self.levels) == 1 and isinstance(first, SingleConfig) else None

    @property
    def context(self) -> int:
        """Conditioning frames of a predictor; 0 for all other models."""
        first = self.levels[0]
        return first.context if isinstance(first, OneStageConfig) else 0

    @property
    def predictor(self) -> bool:
        """Whether this model continues clips."""
        return self.context > 0

    @property
    def conditional(self) -> bool:
        return self.num_classes > 0

    @property
    def one_length(self) -> bool:
        """Whether all videos have as many frames as in training: attention looks at all of them."""
        first = self.levels[0]
        return isinstance(first, OneStageConfig) and first.attention > 0

    def require_length(self, frames: int) -> None:
        """`ConfigError` where a video of the last level cannot have `frames` frames."""
        require(
            not self.one_length or frames == self.frames,
            f"{self.name} attends to all frames at once, so it makes {self.frames} of them, not {frames}: "
            f"give --frames {self.frames}",
        )

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
        spec = levels[level - 1]
        if isinstance(spec, SingleConfig):
            raise ConfigError("a model of one clip is trained on its own window: change its config")
        levels[level - 1] = replace(spec, frames=frames)
        return replace(self, levels=tuple(levels))
