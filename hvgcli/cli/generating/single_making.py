"""What a call of `hvg generate` makes with a model of one clip or image: names, records, memory."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from hvgcli import __version__
from hvgcli.cli.generating.making import BASE_BYTES, seeds_text
from hvgcli.cli.generating.single_source import Source
from hvgcli.cli.targets import NAME, slug
from hvgcli.config import ModelConfig, SingleConfig
from hvgcli.errors import UsageError
from hvgcli.hub import DEFAULT_MODEL
from hvgcli.sampling.single import output_sizes
from hvgcli.sampling.single_blocks import largest_block
from hvgcli.video import Format

STILL = "{class}_s{seed:04d}"
MAPS = 3  # hidden maps of a block that are alive at a time
VOLUMES = 7  # float32 RGB volumes of the finest scale that are alive at a time
FLOAT = 4  # bytes


@dataclass(frozen=True)
class SingleJob:
    """A call, complete."""

    model: str
    """As it was typed."""
    name: str
    """As it is recorded."""
    config: ModelConfig
    sha: str
    seeds: tuple[int, ...]
    frame_size: tuple[int, int]
    """(height, width) of a video."""
    frames: int
    sigma: float
    batch: int
    source: Source | None
    """What the model starts from; None for noise."""
    rate: Fraction
    kind: Format
    crf: int | None
    grid: bool

    @property
    def single(self) -> SingleConfig:
        config = self.config.single
        assert config is not None
        return config

    @property
    def stills(self) -> bool:
        """Whether the model makes pictures."""
        return not self.single.volumetric

    @property
    def count(self) -> int:
        """Videos of the call."""
        return len(self.seeds)

    @property
    def columns(self) -> int:
        """Videos in a row of the grid."""
        return -int(-(self.count**0.5) // 1)

    @property
    def size_text(self) -> str:
        """WIDTHxHEIGHT."""
        return f"{self.frame_size[1]}x{self.frame_size[0]}"

    @property
    def usual(self) -> bool:
        """Whether the size is that of the training."""
        return self.frame_size == self.single.usual_size

    @property
    def same_for_all_seeds(self) -> bool:
        """Whether no scale that --from goes through adds noise, so that every seed makes the same."""
        return self.source is not None and self.source.scale > 0 and self.single.vae_scales >= self.single.built

    def default_name(self) -> str:
        """The template of a file's name, where -o gives none."""
        size = "" if self.usual or self.source is not None else "_{size}"
        return (STILL if self.stills else NAME) + size + ("_grid" if self.grid else "")

    def names(self) -> list[dict[str, Any]]:
        """Values of the fields of a template: for each video, or once for a grid."""
        name = self.config.name if self.source is None else f"{self.source.path.stem}_at{self.source.scale}"
        return [
            {
                "model": self.config.name,
                "class": slug(name),
                "seed": seed,
                "frames": self.frames,
                "size": self.size_text,
                "sigma": self.sigma,
                "index": index,
            }
            for index, seed in enumerate(self.seeds[:1] if self.grid else self.seeds)
        ]

    # ---- records ---------------------------------------------------------------------------------

    def provenance(self, half: Sequence[bool], number: int | None, sheet: int | None = None) -> dict[str, Any]:
        """What a file says about how it was made: video `number`, or None for all of them in one picture.

        half: whether the only level computes in bfloat16. sheet: frames of each video on the contact sheet,
        where the file is that.
        """
        dtype = "bf16" if any(half) else "fp32"
        seeds = self.seeds if number is None else (self.seeds[number],)
        words = self._command(dtype, seeds) + (["--sheet", str(sheet)] if sheet else [])
        words += ["--grid"] if self.grid else []
        return {
            "model": self.name,
            "sha": self.sha,
            "version": __version__,
            "seed": seeds_text(seeds) if number is None else seeds[0],
            **({} if self.source is None else self.source.record()),
            "sigma": self.sigma,
            "frames": self.frames,
            **({} if self.stills else {"fps": str(self.rate)}),
            "size": self.size_text,
            "dtype": dtype,
            "command": shlex.join(words),
        }

    def _command(self, dtype: str, seeds: Sequence[int]) -> list[str]:
        """The command line that makes a file again, whatever was chosen at random or by default."""
        words = ["hvg", "generate"]
        words += ["--model", self.model] if self.model != DEFAULT_MODEL else []
        words += self._source_words()
        words += ["--seed", seeds_text(seeds)]
        words += [] if self.usual and self.source is None else ["--size", self.size_text]
        words += [] if self.stills else ["--frames", str(self.frames)]
        words += ["--sigma", repr(self.sigma)]
        words += ["--fps", str(self.rate)] if self.rate != self.config.rate() else []
        words += ["--dtype", dtype]
        words += ["--format", self.kind] if self.kind != ("png" if self.stills else "mp4") else []
        return words + (["--crf", str(self.crf)] if self.crf is not None else [])

    def _source_words(self) -> list[str]:
        source = self.source
        if source is None:
            return []
        words = ["--from", str(source.path), "--at-scale", str(source.scale)]
        return words + (["--mask", str(source.mask.path)] if source.mask is not None else [])

    def memory(self, videos: int) -> int:
        """Bytes that a call needs at its peak, roughly: program, weights, volumes of the output, maps of a block.

        videos: how many are computed at a time.
        """
        config = self.single
        sizes = output_sizes(config, self.frame_size, self.frames)
        reach = config.blocks * (config.kernel // 2)
        halo = (reach if config.volumetric else 0, reach, reach)
        maps = max(largest_block(size, halo, config.channels, videos) for size in sizes)
        frames, height, width = sizes[-1]
        return BASE_BYTES + FLOAT * (MAPS * maps + VOLUMES * 3 * frames * height * width * videos)


def still_format(model: ModelConfig, kind: Format, output: str | None) -> None:
    """`UsageError` where a video is asked of a model that makes pictures."""
    if kind != "png":
        asked = f"-o {output}" if output and Path(output).suffix else f"--format {kind}"
        raise UsageError(f"{asked}: {model.name} learned an image, so it makes PNG pictures: leave it out")
