"""The options of one call of `hvg generate`, as they were typed, and which of them a model has no use for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hvgcli.cli import values
from hvgcli.errors import UsageError

if TYPE_CHECKING:
    from hvgcli.cli.targets import Files
    from hvgcli.video import Format

OF_LEVELS = {
    "--class": "class_", "--interpolate": "interpolate", "--levels": "levels", "--passes": "passes", "--piece": "piece",
}  # fmt: skip
OF_SINGLE = {"--size": "size", "--from": "source", "--at-scale": "at_scale", "--mask": "mask"}
OF_MOTION = {"--fps": "fps", "--sheet": "sheet", "--crf": "crf"}
"""Options by the fields that hold them, None where they were not given."""


@dataclass(frozen=True)
class Options:
    """Everything that was typed; None where an option was left out."""

    model: str
    class_: str | None
    frames: int | None
    num: int | None
    seed: str | None
    sigma: float | None
    interpolate: Literal["z", "class"] | None
    levels: int | None
    passes: int | None
    size: str | None
    source: str | None
    """--from."""
    at_scale: int | None
    mask: str | None
    output: str | None
    format: Format | None
    fps: str | None
    crf: int | None
    grid: bool
    sheet: int | None
    overwrite: bool
    skip_existing: bool
    metadata: bool
    batch: int
    device: str
    dtype: str
    piece: int | None
    dry_run: bool

    def __post_init__(self) -> None:
        values.check_count("--batch-size", self.batch)
        counts = {"--num": self.num, "--sheet": self.sheet, "--passes": self.passes, "--piece": self.piece}
        for name, value in counts.items():
            if value is not None:
                values.check_count(name, value)

    def refuse(self, options: Mapping[str, str], why: str) -> None:
        """`UsageError` where one of `options` (by name, the field that holds it) was given; `why` follows its name."""
        for name, field in options.items():
            if getattr(self, field) is not None:
                raise UsageError(f"{name} {why}: leave it out")

    def files(
        self, names: Sequence[Mapping[str, Any]], default_name: str, frames: int, *, stills: bool = False
    ) -> Files:
        """Where the videos with these `names` go: `targets.choose_files` for what was typed."""
        from hvgcli.cli.targets import choose_files

        return choose_files(
            names,
            self.output,
            self.format,
            default_name,
            frames,
            sheet=self.sheet is not None,
            overwrite=self.overwrite,
            skip_existing=self.skip_existing,
            stills=stills,
        )
