"""What is asked of `hvg train-single`, as a record, and the preset, clip and run that its texts mean."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import torch

from hvgcli.cli.upscaling.files import STANDARD, Item, find_inputs, scratch_folder
from hvgcli.config import SingleConfig, SinglePreset, SingleTrainingConfig
from hvgcli.data.excerpt import decimal
from hvgcli.data.single import SingleClip, fit, read_clip
from hvgcli.errors import MediaError, UsageError
from hvgcli.presets import find_single_preset
from hvgcli.runtime import has_fast_bfloat16
from hvgcli.training.single_folder import SingleRun

UNLIMITED = 10**9  # iterations, where only a budget of minutes ends a scale


@dataclass(frozen=True)
class Request:
    """What is to be learned, as it was asked for; None is for what the preset or the clip decides."""

    input: str
    out: Path
    preset: str
    start: Fraction | None
    frames: int | None
    height: int | None
    rate: Fraction | None
    whole: bool
    scales: int | None
    vae_scales: int | None
    minutes: float | None
    iterations: int | None
    precision: str
    """"auto", "fp32" or "bf16"."""
    seed: int


@dataclass(frozen=True)
class Planned:
    """A run, and what the user should know of it."""

    run: SingleRun
    preset: SinglePreset
    """As it was chosen, before it was fitted to the clip."""
    warnings: tuple[str, ...]


def planned(request: Request, device: torch.device) -> Planned:
    """Read the clip and plan the run; all is checked but the run folder's own, and nothing is written.

    Errors: `UsageError` for options that contradict each other, an unknown preset, or more than one input,
    `ConfigError` for numbers that do not fit together, `MediaError` for a clip that cannot be learned.
    """
    check_out(request.out)
    preset = chosen_preset(request, device)
    config = preset.model.single
    assert config is not None
    clip, name = _read(request, config)
    model = replace(fit(preset.model, clip), name=model_name(name))
    run = SingleRun(model, preset.training, clip, request.out, request.seed, _source(request, name, clip))
    return Planned(run, preset, (*clip.notes, *_rate_warnings(request, config, clip)))


def check_out(out: Path) -> None:
    """`MediaError` where a run folder cannot be, because it or a folder above is a file."""
    for path in (out, *out.parents):
        if path.exists() and not path.is_dir():
            raise MediaError(f"{path} is a file: --out takes a folder")


# ---- the preset ---------------------------------------------------------------------------------------


def chosen_preset(request: Request, device: torch.device) -> SinglePreset:
    """The preset with the user's changes.

    Errors: `UsageError` for an unknown preset, and --minutes with --iterations; `ConfigError` where changes do not
    fit.
    """
    preset = find_single_preset(request.preset)
    config = preset.model.single
    assert config is not None
    model = replace(preset.model, levels=(_networks(config, request),))
    return replace(preset, model=model, training=_training(preset.training, request, device))


def _networks(config: SingleConfig, request: Request) -> SingleConfig:
    window = config.window if request.frames is None else request.frames
    scales = config.scales if request.scales is None else request.scales
    height = config.height if request.height is None else request.height
    return replace(
        config,
        window=window,
        rates=_rates(config.rates, window),
        volumetric=window > 1,
        height=height,
        scales=scales,
        vae_scales=min(config.vae_scales, scales) if request.vae_scales is None else request.vae_scales,
    )


def _rates(rates: tuple[int, ...], window: int) -> tuple[int, ...]:
    """Those of Omega that a window ends on. `UsageError` where there are none."""
    if window == 1:
        return (1,)
    fitting = tuple(rate for rate in rates if (window - 1) % rate == 0)
    if not fitting:
        least = next(n for n in range(window, 2 * window + max(rates)) if any((n - 1) % rate == 0 for rate in rates))
        raise UsageError(
            f"--frames {window} ends on no rate of {', '.join(map(str, rates))}: it must be one more than a multiple "
            f"of one of them, like {least}"
        )
    return fitting


def _training(training: SingleTrainingConfig, request: Request, device: torch.device) -> SingleTrainingConfig:
    if request.minutes is not None and request.iterations is not None:
        raise UsageError("--minutes and --iterations are two budgets: give one of them")
    if request.minutes is not None:
        if not request.minutes > 0:
            raise UsageError(f"--minutes {request.minutes:g} must be above 0")
        training = replace(training, minutes=request.minutes)
    if request.iterations is not None:
        training = replace(training, minutes=0.0, iterations=request.iterations)
    if training.minutes:  # also where they are the preset's: one budget takes the place of the other
        training = replace(training, iterations=UNLIMITED)
    precision = request.precision
    if precision == "auto":
        precision = "bf16" if has_fast_bfloat16(device) else "fp32"
    return replace(training, precision=precision)


# ---- the clip -----------------------------------------------------------------------------------------


def _read(request: Request, config: SingleConfig) -> tuple[SingleClip, str]:
    """The clip and its name."""
    with scratch_folder(request.input == STANDARD) as scratch:
        item = _one_input(request.input, Path(scratch))
        clip = read_clip(
            item.path,
            start=request.start or Fraction(0),
            window=config.window,
            height=config.height,
            rate=request.rate,
            whole=request.whole,
        )
    return clip, item.name


def _one_input(text: str, scratch: Path) -> Item:
    items = find_inputs([text], scratch)
    if len(items) > 1:
        raise UsageError(f"{text} has {len(items)} videos, and one is learned: name it")
    return items[0]


def _rate_warnings(request: Request, config: SingleConfig, clip: SingleClip) -> list[str]:
    """What a window means that does not end on every rate."""
    preset = find_single_preset(request.preset).model.single
    assert preset is not None
    left = [rate for rate in preset.rates if rate not in config.rates]
    if clip.image or not left:
        return []
    even = math.lcm(*preset.rates)
    better = -(-(config.window - 1) // even) * even + 1
    return [
        f"a window of {config.window} frames does not end on every {' or '.join(map(str, left))} frames, so that no "
        f"scale is as coarse in time: --frames {better} would"
    ]


def _source(request: Request, name: str, clip: SingleClip) -> str:
    """What is learned, for run.json and the card."""
    if clip.image:
        return name
    parts, frames = clip.frames.shape[:2]
    what = f"{parts} windows of {frames} frames" if parts > 1 else f"{frames} frames"
    return f"{name}, {what} at {decimal(clip.rate)} frames/s from {decimal(request.start or Fraction(0))} s on"


def model_name(name: str) -> str:
    """ "My clip.mp4" -> "single-My-clip": what a model may be called."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(name).stem).strip("-.")
    return f"single-{plain or 'clip'}"[:96]
