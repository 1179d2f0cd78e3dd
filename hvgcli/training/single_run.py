"""The training of hp-VAE-GAN on one clip or image, scale after scale, in a run folder.

run folder:
    run.json                      model, training, clip, seed
    state-00001000.safetensors    the scale in training after so many iterations in all; the last two are kept
    metrics.csv                   a row an iteration
    samples/scale-03.png          the real clip, its reconstruction, and samples, when a scale is finished
    model/                        the model of the scales that are finished: it can be used at any time
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hvgcli import __version__
from hvgcli.checkpoints import CHECKSUMS, load_metadata
from hvgcli.config import SingleConfig, SingleTrainingConfig
from hvgcli.data.single import scale_pyramid
from hvgcli.errors import HvgError, UsageError
from hvgcli.models.hp_vae_gan import HpVaeGan
from hvgcli.sampling.single import PASSES, record_statistics
from hvgcli.training.health import Health
from hvgcli.training.report import Scalars
from hvgcli.training.run_folder import lock_of, machine
from hvgcli.training.run_state import load_state, remove_leftovers, save_state, states
from hvgcli.training.single import Metrics, ScaleTraining, start_from
from hvgcli.training.single_finish import SAMPLES, write_model, write_preview
from hvgcli.training.single_folder import SingleRun, claim

METRICS = ("reconstruction", "coarse", "kl", "loss_d", "penalty", "loss_g")
COLUMNS = ("step", "scale", "iteration", "seconds", *METRICS)
KEEP = 2  # states
SHEET = 2 + SAMPLES  # videos of a sheet, each about as long to make as a random sample
ADVICE = "use --precision fp32, or a preset file with a lower lr"
STATISTICS_SHARE = 0.1  # of a scale's minutes: a small budget is not spent on standing statistics


@dataclass(frozen=True)
class Progress:
    """Where a run is, after an iteration."""

    scale: int
    iteration: int
    """Iterations of this scale that are done."""
    share: float
    """Of the whole training that is done, 0..1: of its minutes, or of the pixels of its iterations."""
    seconds: float
    """Of training so far, those of interrupted parts too."""
    metrics: Metrics


@dataclass
class _Place:
    """How far a run is."""

    clock: Callable[[], float]
    """Seconds of this part of the run."""
    step: int = 0
    """Iterations of all scales."""
    iteration: int = 0
    seconds: float = 0.0
    """Of the parts of the run before this one, up to what they saved."""
    since: float = 0.0
    """Seconds at which the scale began."""
    until: float = 0.0
    """Seconds at which the scale ends; 0 = by its iterations alone."""
    saved: int = 0

    def spent(self) -> float:
        """Seconds of training, up to now."""
        return self.seconds + self.clock()

    def record(self, finished: bool) -> dict[str, Any]:
        """What a state keeps of it, as JSON values. When the scale ends follows from the budget, which may change."""
        return {"iteration": self.iteration, "seconds": self.spent(), "since": self.since, "finished": finished}


def stopwatch() -> Callable[[], float]:
    """A clock of the seconds since now."""
    begun = time.monotonic()
    return lambda: time.monotonic() - begun


def scale_shares(config: SingleConfig) -> tuple[float, ...]:
    """Which part of a budget each scale gets, together 1: in proportion to the square root of its size.

    Equal times would give the coarse scales, which decide the structure, needlessly many iterations, and equal
    iterations would leave them hardly any time.
    """
    roots = [(frames * height * width) ** 0.5 for frames, height, width in config.sizes]
    return tuple(root / sum(roots) for root in roots)


def deadline(config: SingleConfig, training: SingleTrainingConfig, scale: int, spent: float) -> float:
    """Seconds of training at which `scale` ends, when it begins after `spent`: its share of what is left; 0 = none."""
    if not training.minutes:
        return 0.0
    shares = scale_shares(config)
    left = max(0.0, 60 * training.minutes - spent)
    return spent + left * shares[scale] / sum(shares[scale:])


# ---- the run --------------------------------------------------------------------------------------------


def train_single(
    run: SingleRun,
    *,
    device: torch.device,
    progress: Callable[[Progress], None] = lambda progress: None,
    preview: Callable[[int, Path], None] = lambda scale, sheet: None,
    stop: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None] = lambda message: None,
    save_seconds: float = 60.0,
    table: bool = True,
    tensorboard: bool = False,
    command: str = "",
    clock: Callable[[], float] | None = None,
) -> str:
    """Train all scales, or go on with a run that was stopped: "done" or "stopped".

    After each scale, `run.out/model` is the model of the scales so far.

    Args:
        progress: called after every iteration.
        preview: called with a finished scale and the file of its sheet of samples.
        stop: asked before every iteration; where it says so, the state is saved and the run ends.
        save_seconds: at least so long between two states.
        table: write metrics.csv. tensorboard: write events.
        command: the command line, for run.json.
        clock: the seconds of the budget that this part of the run has spent; without one, those since this call.

    Raises:
        UsageError: the folder holds another run, or is in use.
        TrainingError: a loss is not finite or explodes.
        MediaError: the folder cannot be written.
    """
    with ExitStack() as opened:
        run.out.mkdir(parents=True, exist_ok=True)
        opened.enter_context(lock_of(run.out))
        claim(run, machine(device, 1, command), warn)
        remove_leftovers(run.out)
        torch.manual_seed(run.seed)
        network = HpVaeGan(run.config).to(device)
        pyramid = [x.to(device) for x in scale_pyramid(run.clip, run.config)]
        place = _Place(clock or stopwatch())
        level, finished = _resume(run, network, pyramid, place, warn)
        scalars = opened.enter_context(
            Scalars(run.out, place.step, table=table, tensorboard=tensorboard, columns=COLUMNS)
        )
        while True:
            if level is None or finished:
                scale = 0 if level is None else level.scale + 1
                if scale == run.config.scales:
                    return "done"
                level = _begin(run, network, pyramid, scale, place, level)
            if not _train_scale(run, level, place, scalars, progress, stop, save_seconds):
                return "stopped"
            _finish_scale(run, level, place, preview)
            scalars.sync()
            _save(run, level, place, finished=True)
            finished = True


def _begin(
    run: SingleRun,
    network: HpVaeGan,
    pyramid: list[torch.Tensor],
    scale: int,
    place: _Place,
    below: ScaleTraining | None,
) -> ScaleTraining:
    """The next scale, which starts from the one below where its weights fit."""
    if scale > 0:
        start_from(network.generators[scale], network.generators[scale - 1])
    discriminator = None if below is None else below.discriminator
    level = ScaleTraining(network, scale, pyramid, run.training, run.seed, discriminator)
    level.set_amplitude()
    place.iteration, place.since = 0, place.spent()
    place.until = deadline(run.config, run.training, scale, place.since)
    return level


def _train_scale(
    run: SingleRun,
    level: ScaleTraining,
    place: _Place,
    scalars: Scalars,
    progress: Callable[[Progress], None],
    stop: Callable[[], bool],
    save_seconds: float,
) -> bool:
    """Iterate until the scale is over; False where it was stopped before. At least one iteration is made."""
    health, saved_at, reserve = Health(ADVICE), place.spent(), _reserve(level, place)
    last = 0.0  # seconds of an iteration: none is begun that would not fit
    while not place.iteration or not _over(run, place, reserve + last):
        if stop():
            if place.step > place.saved:
                scalars.sync()
                _save(run, level, place, finished=False)
            return False
        started = place.spent()
        metrics = level.update(place.iteration)
        last = place.spent() - started
        place.iteration += 1
        place.step += 1
        health.check(place.step, metrics, place.saved)
        row = {"scale": level.scale, "iteration": place.iteration, "seconds": last}
        scalars.write(place.step, row | metrics)
        progress(_progress(run, level.scale, place, metrics))
        if place.spent() - saved_at >= save_seconds:
            scalars.sync()
            _save(run, level, place, finished=False)
            saved_at = place.spent()
    return True


def _over(run: SingleRun, place: _Place, reserve: float) -> bool:
    """Whether a scale has had its iterations or its time, of which `reserve` seconds are kept for its end."""
    return place.iteration >= run.training.iterations or bool(place.until and place.spent() + reserve >= place.until)


def _progress(run: SingleRun, scale: int, place: _Place, metrics: Metrics) -> Progress:
    if run.training.minutes:
        share = place.spent() / (60 * run.training.minutes)
    else:
        pixels = [frames * height * width for frames, height, width in run.config.sizes]
        share = (sum(pixels[:scale]) + pixels[scale] * place.iteration / run.training.iterations) / sum(pixels)
    return Progress(scale, place.iteration, min(1.0, share), place.spent(), metrics)


# ---- the end of a scale -----------------------------------------------------------------------------------


def _pass_seconds(level: ScaleTraining, clock: Callable[[], float]) -> float:
    """Seconds of one random sample of this scale."""
    started = clock()
    with torch.no_grad():
        level.sample(level.noise("probe", "probe"))
    return clock() - started


def _reserve(level: ScaleTraining, place: _Place) -> float:
    """Seconds of a budget that are kept for what a scale ends with: statistics and a sheet; 0 without a budget."""
    if not place.until:
        return 0.0
    once = _pass_seconds(level, place.clock)
    statistics = min(PASSES * once, max(once, STATISTICS_SHARE * (place.until - place.spent())))
    return SHEET * once + statistics


def _finish_scale(run: SingleRun, level: ScaleTraining, place: _Place, preview: Callable[[int, Path], None]) -> None:
    """Record the standing statistics, write the model of the scales so far, and show samples of it."""
    sheet_seconds = SHEET * _pass_seconds(level, place.clock) if place.until else 0.0

    def enough() -> bool:
        return bool(place.until) and place.spent() + sheet_seconds >= place.until

    record_statistics(level.network, level.recorded, enough=enough)
    training = {"iterations": place.step, "seconds": round(place.spent()), "seed": run.seed, "version": __version__}
    write_model(run.out / "model", run.model, level.network, level.scale + 1, run.source, training)
    sheet = write_preview(run.out, level)
    preview(level.scale, sheet)


# ---- states ---------------------------------------------------------------------------------------------


def _save(run: SingleRun, level: ScaleTraining, place: _Place, *, finished: bool) -> None:
    save_state(run.out, level, place.step, KEEP, watch=place.record(finished), last_good=place.saved, advice=ADVICE)
    place.saved = place.step


def _resume(
    run: SingleRun,
    network: HpVaeGan,
    pyramid: list[torch.Tensor],
    place: _Place,
    warn: Callable[[str], None],
) -> tuple[ScaleTraining | None, bool]:
    """The scale of the newest good state, and whether it is finished; None for a new run."""
    for _, path in reversed(states(run.out)):
        try:
            level, header = _load(run, network, pyramid, path)
        except HvgError as error:
            warn(f"{error}; trying the state before it")
            continue
        known = header["watch"]
        place.step = place.saved = int(header["step"])
        place.iteration, place.since = int(known["iteration"]), float(known["since"])
        place.seconds = float(known["seconds"])
        place.until = deadline(run.config, run.training, level.scale, place.since)
        # a scale whose model has gone is ended once more
        return level, bool(known["finished"]) and (run.out / "model" / CHECKSUMS).is_file()
    return None, False


def _load(
    run: SingleRun, network: HpVaeGan, pyramid: list[torch.Tensor], path: Path
) -> tuple[ScaleTraining, dict[str, Any]]:
    number = load_metadata(path).get("level")
    if not isinstance(number, int) or not 1 <= number <= run.config.scales:
        raise UsageError(f"{path} is of scale {number}, which this run has not")
    level = ScaleTraining(network, number - 1, pyramid, run.training, run.seed)
    return level, load_state(path, level)
