"""How much a level enlarges, and what each way to do so is called in the results of `upscale.py`."""

from __future__ import annotations

from typing import NamedTuple

from hvgcli.config import ModelConfig

OURS, UNGROUNDED, BETWEEN = "ours", "ours, --no-ground", "ours, minterpolate between"
WHOLE = "ours, --detail 1"


class Factors(NamedTuple):
    """What one level does to a clip."""

    space: int
    """Enlargement of height and width."""
    time: int
    """Frames for each frame; with 1 there are none between those of the input."""

    @classmethod
    def of(cls, config: ModelConfig, number: int) -> Factors:
        """Those of level `number`, 2..L."""
        return cls(config.times_space(number), config.times_time(number))

    @property
    def peer(self) -> str:
        """The name of what ffmpeg does."""
        return "lanczos + minterpolate" if self.time > 1 else "lanczos"

    @property
    def plain(self) -> str:
        """The name of plain interpolation."""
        return "bilinear + linear" if self.time > 1 else "bilinear"

    @property
    def words(self) -> str:
        rate = f"and {self.time} times in time" if self.time > 1 else "at the same frame rate"
        return f"{self.space} times in space {rate}"
