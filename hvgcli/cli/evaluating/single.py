"""The part of `hvg evaluate` that is for models of one clip or image: their variations against what they learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hvgcli.checkpoints import read_json, read_model_config
from hvgcli.cli.evaluating.request import CLIPS, NUM, SPLITS, Request, short_name
from hvgcli.cli.output import Output
from hvgcli.config import ModelConfig, SingleConfig
from hvgcli.data.excerpt import decimal
from hvgcli.data.single import SingleClip, read_clip
from hvgcli.errors import DataError, HvgError, UsageError
from hvgcli.hub import available, resolve
from hvgcli.metrics import seen as frames_seen
from hvgcli.metrics import variations as measures
from hvgcli.metrics.networks import FeatureNetwork
from hvgcli.metrics.places import Places, places_of
from hvgcli.metrics.protocol import plain
from hvgcli.metrics.results import Evaluation, Metric, SampleClip, metric
from hvgcli.metrics.seen import Seen
from hvgcli.metrics.variations import VariationScores, learned_frames, measure_variations, variations
from hvgcli.metrics.videos import VideoBatch
from hvgcli.sampling.single import Single, load_single

SAMPLES = 8  # variations that are kept with the results
DOUBTFUL = 0.5  # error of a reconstruction over the clip's own deviation, from which on it may be another clip


@dataclass(frozen=True)
class SingleModel:
    """A model of one clip or image, and its folder."""

    folder: Path
    model: ModelConfig

    @property
    def config(self) -> SingleConfig:
        config = self.model.single
        assert config is not None
        return config

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def learned(self) -> str:
        """What it learned, in a word."""
        return "clip" if self.config.volumetric else "image"

    @property
    def distance(self) -> str:
        """The kind of its distance."""
        return "svfid" if self.config.volumetric else "sifid"


def find_single(name: str | None) -> SingleModel | None:
    """The model of that name or folder if it is of one clip or image, and None if not. Errors: `WeightsError`."""
    if name is None:
        return None
    folder = resolve(name)
    model = read_model_config(folder)
    return SingleModel(folder, model) if model.single is not None else None


def usual_num(model: str | None) -> int:
    """Videos that are measured unless --num says otherwise."""
    return measures.NUM if find_single(model) else NUM


# ---- what is asked for -------------------------------------------------------------------------


def check_single(request: Request, model: SingleModel) -> tuple[str, ...]:
    """The kinds of numbers to take. `UsageError` for options that mean nothing for a model of one clip."""
    given = {
        "--frames": request.frames, "--stride": request.stride, "--levels": request.levels,
        "--truncation": request.truncation, "--baseline": request.baseline, "--best-of": request.best_of or None,
        "--skip-first": request.skip_first or None, "--clips": None if request.clips == CLIPS else request.clips,
        "--splits": None if request.splits == SPLITS else request.splits,
        "--sampler": None if request.sampler == "windows" else request.sampler,
    }  # fmt: skip
    for option, value in given.items():
        if value is not None:
            raise UsageError(f"{option} is not for {model.name}, a model of one {model.learned}: leave it out")
    known = (model.distance, "diversity", "psd")
    for kind in request.metrics or ():
        if kind not in known:
            raise UsageError(
                f"--metrics {kind} is not for {model.name}, a model of one {model.learned}: choose of {','.join(known)}"
            )
    return request.metrics or known


def check_no_single(request: Request) -> None:
    """`UsageError` for options that are for models of one clip, where the model is another."""
    for option, value in {"--start": request.start, "--whole": request.whole or None}.items():
        if value is not None:
            raise UsageError(f"{option} is for a model of one clip, by hvg train-single: leave it out")


# ---- the real clip -----------------------------------------------------------------------------


def read_learned(model: SingleModel, request: Request) -> SingleClip:
    """The window that the model learned, at its size and rate; with --whole all windows.

    Raises:
        DataError: the file gives a clip of another size, or an image for a clip.
        MediaError, UsageError: as `read_clip`.
    """
    config, path = model.config, Path(request.real).expanduser()
    clip = read_clip(
        path,
        start=request.start or Fraction(0),
        window=config.window,
        height=config.height,
        rate=Fraction(model.model.source_rate),
        whole=request.whole,
    )
    if clip.image == config.volumetric:
        other = "image" if clip.image else "clip"
        raise DataError(f"{path} is an {other}, but {model.name} learned one {model.learned}: give that as --data")
    if clip.size != (config.height, config.width):
        sizes = [f"{width}x{height}" for height, width in (clip.size, (config.height, config.width))]
        raise DataError(
            f"{path} is {sizes[0]} at most, {model.name} learned {sizes[1]}: give what it learned as --data"
        )
    return clip


def _other_window(model: SingleModel, clip: SingleClip) -> list[str]:
    """A warning where the run folder around the model says that it learned other pixels."""
    try:
        known = read_json(model.folder.resolve().parent / "run.json")
        pixels = known["clip"]["pixels"]
    except (HvgError, OSError, KeyError, TypeError):
        return []
    if pixels == [int(clip.frames.sum()), list(clip.frames.shape)]:
        return []
    source = known["clip"].get("source") or "other frames"
    return [f"these are not the frames that {model.name} learned ({source}): --start and --whole choose them"]


# ---- the evaluation ----------------------------------------------------------------------------


def evaluate_single(
    request: Request,
    model: SingleModel,
    network: FeatureNetwork,
    device: torch.device,
    output: Output,
    *,
    dry_run: bool,
) -> tuple[Evaluation, Fraction]:
    """Measure the variations of a model against what it learned; also the frame rate of both."""
    kinds = check_single(request, model)
    clip = read_learned(model, request)
    single = load_single(model.folder, device=device)
    real = learned_frames(single, clip)
    shape = (real.shape[1], real.shape[2], real.shape[3])
    places = places_of(network, shape) if model.distance in kinds else None
    work = _Work(request, model, single, clip, real, places, kinds, output)
    title = f"{work.name} against {short_name(request.real)}"
    evaluation = Evaluation(title, request.command, work.protocol())
    evaluation.warnings += [*clip.notes, *_other_window(model, clip)]
    if not dry_run:
        work.carry_out(evaluation)
    return evaluation, model.model.rate(1)


@dataclass(frozen=True)
class _Work:
    """What is measured, and on what."""

    request: Request
    model: SingleModel
    single: Single
    clip: SingleClip
    real: Tensor
    """uint8 (P, T, H, W, 3)."""
    places: Places | None
    kinds: tuple[str, ...]
    output: Output

    @property
    def name(self) -> str:
        """What tables call the model: its folder may just be `model`."""
        return str(self.request.model) if self.request.model in available() else self.model.name

    def carry_out(self, evaluation: Evaluation) -> None:
        """Add the numbers, spectra and samples; with several sigmas, the numbers of each."""
        sigmas = self.request.sigmas
        own = self._reconstruction(evaluation)
        for sigma in sigmas:
            seen = Seen(self.request.num)
            scores = self._measured(sigma, seen)
            rows = self._rows(scores)
            if len(sigmas) > 1:
                evaluation.add_point(sigma, rows)
        evaluation.metrics += [*rows, *own]
        real = Seen(len(self.real))
        real(_batch(self.real))
        if "psd" in self.kinds:
            evaluation.psd = frames_seen.curves(real, seen)
        evaluation.warnings += [line for line in (seen.warning("generated"),) if line]
        evaluation.clips = [*self._samples(seen), SampleClip("real", even(self.real[0]))]

    def _measured(self, sigma: float, seen: Seen) -> VariationScores:
        request = self.request
        seeds = range(request.seed, request.seed + request.num)
        with self.output.progress("variations", total=request.num) as advance:

            def watched() -> Iterator[Tensor]:
                for sample in variations(self.single, seeds, sigma=sigma, batch=request.batch):
                    seen(_batch(sample[None]))
                    yield sample
                    advance(1)

            return measure_variations(watched(), self.real, self.places)

    def _rows(self, scores: VariationScores) -> list[Metric]:
        """The numbers that were asked for."""
        rows, many = [], f"{scores.count} variations"
        if scores.distance is not None and self.places is not None:
            name = f"{self.model.distance.upper()}[{self.places.name}]"
            note = f"mean of {many}, with 1.96 standard errors; {self.places}"
            rows.append(metric(self.model.distance, name, scores.distance, "lower", note))
        if "diversity" in self.kinds:
            rows.append(metric("diversity", "Diversity[LAB]", scores.diversity, "", f"{many}; 0 for copies of one"))
        if self.request.metrics is None:
            note = f"mean of {many}, with 1.96 standard errors; 0 for copies of what was learned"
            rows.append(metric("difference", "Difference[RMS, 1/255]", scores.difference, "", note))
        return rows

    def _reconstruction(self, evaluation: Evaluation) -> list[Metric]:
        """How well the model makes the clip itself again; a warning where it hardly does."""
        made = measures.reconstructions(self.single, self.clip)
        if made is None:
            return []
        error = measures.root_mean_square(made, self.real)
        deviation = float(self.real.float().std(unbiased=False))
        if error > DOUBTFUL * deviation:
            evaluation.warnings.append(
                f"{self.model.name} hardly reconstructs {short_name(self.request.real)} (an error of {error:.1f}, "
                f"a deviation of {deviation:.1f}): is it what it learned, or was the training very short?"
            )
        if self.request.metrics is not None:
            return []
        return [metric("reconstruction", "Reconstruction[RMS, 1/255]", error, "lower", "error of the clip made again")]

    def _samples(self, seen: Seen) -> list[SampleClip]:
        first = self.request.seed
        return [
            SampleClip("generated", even(seen.clips[place]), seed=first + seen.numbers[place])
            for place in seen.spread(SAMPLES)
        ]

    def protocol(self) -> dict[str, Any]:
        """All that the numbers depend on, as JSON values."""
        request, model, places = self.request, self.model, self.places
        parts, frames, height, width, _ = self.real.shape
        start = None if self.clip.image else decimal(request.start or Fraction(0))
        return plain(
            {
                "network": places.network.name if places else None,
                "network_sha256": places.network.sha256 if places else None,
                "places": str(places) if places else None,
                "frames": frames,
                "size": f"{width}x{height}",
                "rate": None if self.clip.image else decimal(model.model.rate(1)),
                "sigma": request.sigma,
                "seed": request.seed,
                "real": {"name": short_name(request.real), "windows": parts, "start": start},
                "generated": {"name": self.name, "sha": self.single.sha, "videos": request.num},
            }
        )


def _batch(videos: Tensor) -> VideoBatch:
    return VideoBatch(videos, None, torch.arange(len(videos)))


def even(video: Tensor) -> Tensor:
    """(T, H, W, 3) without a last odd row and column, which video files cannot have."""
    return video[:, : max(2, video.shape[1] // 2 * 2), : max(2, video.shape[2] // 2 * 2)]
