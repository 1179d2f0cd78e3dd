"""What `single_ablation.py` does for one variant on one clip: train it, generate variations, measure them.

Each variant has a run folder, RUNS/CLIP/VARIANT-MINUTESmin, as `hvg train-single` makes it. A finished one is not
trained again, one that was cut off goes on, and measures are kept beside the model in scores.json.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hvgcli.runtime import has_fast_bfloat16, tune_allocator

tune_allocator()  # before torch is imported: volumes are large

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image, ImageDraw  # noqa: E402
from torch import Tensor  # noqa: E402

from hvgcli.checkpoints import level_metadata, read_json, write_json  # noqa: E402
from hvgcli.config import ModelConfig, SingleConfig, SinglePreset, SingleTrainingConfig  # noqa: E402
from hvgcli.data.single import SingleClip, fit, read_clip  # noqa: E402
from hvgcli.metrics.networks import FeatureNetwork  # noqa: E402
from hvgcli.metrics.places import Places, places_of  # noqa: E402
from hvgcli.metrics.variations import learned_frames, measure_variations, variations  # noqa: E402
from hvgcli.sampling.single import Single, load_single  # noqa: E402
from hvgcli.training.single_folder import SingleRun  # noqa: E402
from hvgcli.training.single_run import Progress, train_single  # noqa: E402
from hvgcli.video import tile, write_image  # noqa: E402

CPU = torch.device("cpu")
SEED = 0  # of training, and of the first variation
COLUMNS = 6  # pictures in a row of a sheet
MARGIN = 84  # pixels for the names of its rows


@dataclass(frozen=True)
class Variant:
    """One model that is compared: what differs from the others."""

    name: str
    vae_scales: int
    freeze: bool = True
    encoder_kernel: int = 3
    decoder_kernel: int = 3


@dataclass(frozen=True)
class Result:
    """A variant on a clip, measured."""

    clip: str
    image: bool
    variant: str
    metric: str
    """SVFID or SIFID, with the network."""
    distance: float
    distance_error: float
    """1.96 standard errors over the variations."""
    diversity: float
    difference: float
    """Root mean square difference to the clip, in 1/255."""
    iterations: int
    seconds: int
    places: str


@dataclass(frozen=True)
class Lab:
    """How all variants are trained and measured."""

    runs: Path
    network: FeatureNetwork
    preset: SinglePreset
    minutes: float
    height: int
    scales: int
    channels: int
    num: int

    @property
    def config(self) -> SingleConfig:
        """The preset's, whose sizes and widths are replaced."""
        assert self.preset.model.single is not None
        return self.preset.model.single

    def clip(self, path: Path) -> SingleClip:
        """The first window of a clip, or an image."""
        return read_clip(path, window=self.config.window, height=self.height)

    def folder(self, path: Path, variant: Variant) -> Path:
        return self.runs / path.stem / f"{variant.name}-{self.minutes:g}min"

    # -- training

    def model(self, variant: Variant, clip: SingleClip) -> ModelConfig:
        """Scales lie evenly between the heights 32 and `height`: the factor is the least that reaches it."""
        config = replace(
            self.config,
            scales=self.scales,
            vae_scales=variant.vae_scales,
            channels=self.channels,
            latent=2 * self.channels,
            encoder_kernel=variant.encoder_kernel,
            decoder_kernel=variant.decoder_kernel,
            factor="1.05",
        )
        return fit(ModelConfig(f"ablation-{variant.name}", (config,)), clip)

    def training(self, variant: Variant) -> SingleTrainingConfig:
        """The preset's, but for its budget and what is compared."""
        precision = "bf16" if has_fast_bfloat16(CPU) else "fp32"
        return replace(
            self.preset.training, iterations=10**9, minutes=self.minutes, freeze=variant.freeze, precision=precision
        )

    def trained(self, path: Path, variant: Variant) -> Path:
        """The model folder; it is trained, or its training is finished, where that has not been done."""
        clip, out = self.clip(path), self.folder(path, variant)
        run = SingleRun(self.model(variant, clip), self.training(variant), clip, out, SEED, str(path))
        train_single(run, device=CPU, progress=Reporter(f"{path.stem} {variant.name}"), warn=say)
        return out / "model"

    # -- measuring

    def result(self, path: Path, variant: Variant) -> Result:
        """Train and measure a variant; what is kept from an earlier call is not measured again."""
        single = load_single(self.trained(path, variant))
        real = learned_frames(single, self.clip(path))
        places = places_of(self.network, (real.shape[1], real.shape[2], real.shape[3]))
        known = {"model": single.sha, "network": self.network.sha256, "places": str(places), "num": self.num}
        kept = self.folder(path, variant) / "scores.json"
        if kept.exists() and (found := read_json(kept))["of"] == known:
            return Result(**found["result"])
        result = self._measured(path, variant, single, real, places)
        write_json(kept, {"of": known, "result": asdict(result)})
        return result

    def _measured(self, path: Path, variant: Variant, single: Single, real: Tensor, places: Places) -> Result:
        scores = measure_variations(variations(single, range(SEED, SEED + self.num)), real, places)
        assert scores.distance is not None
        assert scores.distance.high is not None
        trained = level_metadata(self.folder(path, variant) / "model", 1)
        image = real.shape[1] == 1
        return Result(
            clip=path.stem,
            image=image,
            variant=variant.name,
            metric=f"{'SIFID' if image else 'SVFID'}[{places.name}]",
            distance=scores.distance.value,
            distance_error=scores.distance.high - scores.distance.value,
            diversity=scores.diversity,
            difference=scores.difference.value,
            iterations=int(trained["iterations"]),
            seconds=int(trained["seconds"]),
            places=str(places),
        )

    # -- pictures

    def write_sheet(self, path: Path, variants: Sequence[Variant]) -> Path:
        """RUNS/CLIP.png: frames of the real clip, and below, for each variant, the middle frame of some seeds."""
        clip = self.clip(path).frames[0]
        rows = {"real": clip[torch.linspace(0, len(clip) - 1, COLUMNS).round().long()]}
        for variant in variants:
            single = load_single(self.folder(path, variant) / "model")
            made = variations(single, range(SEED, SEED + COLUMNS))
            rows[variant.name] = torch.stack([sample[len(sample) // 2] for sample in made])
        sheet = self.runs / f"{path.stem}.png"
        write_image(sheet, named_rows(rows))
        return sheet


def named_rows(rows: dict[str, Tensor]) -> np.ndarray:
    """Rows of pictures, uint8 (N, H, W, 3) each, with their names on the left: uint8 (H', W', 3)."""
    pictures = tile(torch.cat(list(rows.values())).numpy(), columns=COLUMNS)
    sheet = Image.new("RGB", (MARGIN + pictures.shape[1], pictures.shape[0]), "white")
    sheet.paste(Image.fromarray(pictures), (MARGIN, 0))
    draw = ImageDraw.Draw(sheet)
    for number, name in enumerate(rows):
        draw.text((2, round(pictures.shape[0] * (number + 0.5) / len(rows)) - 6), name, fill="black")
    return np.asarray(sheet)


class Reporter:
    """Says on stderr which scale is trained, once a scale."""

    def __init__(self, name: str) -> None:
        self.name, self.scale = name, -1

    def __call__(self, progress: Progress) -> None:
        if progress.scale != self.scale:
            self.scale = progress.scale
            say(f"{self.name}: scale {progress.scale} after {progress.seconds:.0f} s")


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
