"""The training loop of one level: one straight function, steps as functions (HVG section 2)."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import torch

from hvgcli.data.ahead import Ahead
from hvgcli.data.cache import FrameCache
from hvgcli.data.clips import Clip, ClipIndex
from hvgcli.errors import MediaError, WeightsError
from hvgcli.sampling import hierarchy as hierarchies
from hvgcli.training import standing
from hvgcli.training.agree import together
from hvgcli.training.batches import BatchSource, Conditions, Loaded, class_weights
from hvgcli.training.distributed import ALONE, Share, World
from hvgcli.training.health import Health, Watch
from hvgcli.training.level import LevelTraining, Metrics, discriminator_update, generator_update
from hvgcli.training.plan import Run
from hvgcli.training.report import Scalars, sample_sheet
from hvgcli.training.run_folder import claim, lock_of, machine
from hvgcli.training.run_state import remove_leftovers, resume, save_state
from hvgcli.training.start import start_from
from hvgcli.video import tile, write_image

CACHE_BYTES = 4 << 30
SHEET_ROWS = 32  # samples on a sheet, at most

Update = tuple[int, int]
"""Step, and number of the update within it."""


@dataclass(frozen=True)
class RunOptions:
    """How a run is kept and carried out, none of which changes its weights but `patience` and `compiled`."""

    samples_every: int = 200
    save_every: int = 100
    keep: int = 2
    table: bool = True
    """Write metrics.csv."""
    tensorboard: bool = False
    device: str = "cpu"
    compiled: bool = False
    """torch.compile the networks: other rounding, so not bit by bit the run without it."""
    workers: int = 1
    """Threads that load the next batches while the networks compute; 0 loads when a batch is needed."""
    watch: str = "reconstruction"
    """Metric of early stopping."""
    patience: int | None = None
    """Steps without a better smoothed metric after which training ends; None trains all steps."""
    command: str = ""
    """The command line, for run.json."""


@dataclass(frozen=True)
class Ended:
    """How a call of `train_level` ended."""

    step: int
    """Generator updates done in all."""
    reason: Literal["done", "early", "stopped"]
    """All steps are done; the watched metric stopped improving; `stop` asked for it."""

    @property
    def finished(self) -> bool:
        """Whether the run is at its end, so that the model can be made of it."""
        return self.reason != "stopped"


def train_level(
    run: Run,
    index: ClipIndex,
    options: RunOptions,
    *,
    progress: Callable[[int, Metrics], None],
    warn: Callable[[str], None],
    stop: Callable[[], bool] = lambda: False,
    world: World = ALONE,
) -> Ended:
    """Train until the run's steps are done, continuing from its last state.

    progress is called with the step and its metrics. When `stop` returns True in any process, all end after
    the same step with its state saved; so they do on an exception between two steps, Ctrl-C included. Within
    a step the last saved state stays, because a half-done step could not be continued exactly.

    Errors: `TrainingError` for losses or weights that went wrong, `MediaError` where the run folder cannot be
    written, `UsageError` where it belongs to another run, `PeerError` where another process has failed.
    """
    device = torch.device(options.device)
    with ExitStack() as opened:
        # -- the run folder: the same command continues, another one is refused
        with together(world):
            if world.main:
                run.out.mkdir(parents=True, exist_ok=True)
                opened.enter_context(lock_of(run.out))
                claim(run, machine(device, world.size, options.command), warn)
                remove_leftovers(run.out)
                if run.training.standing:
                    standing.keep(run)

        # -- networks, state, data
        with together(world):
            torch.manual_seed(run.seed)
            level = LevelTraining(run.config, run.level, run.training, device, run.seed, world)
            if run.training.standing:
                standing.install(run, level)
            header = resume(run.out, level, warn if world.main else lambda message: None)
            if run.start is not None and header["step"] == 0:
                taken, of = start_from(run.start, level)
                if world.main and taken < of:
                    warn(f"{run.start} gives {taken} of {of} weights; the others begin afresh")
            source = _source(run, index, device, warn, world)
        done = saved = int(header["step"])
        _check_same_state(world, done)
        health, watch = Health(), _watch(run, options)
        if watch is not None:
            watch.restore(header.get("watch"))
        if options.compiled:
            # shapes stay the same all along; with symbolic ones the compiler fails on resized maps (torch 2.13)
            level.generator.compile(dynamic=False)
            level.discriminator.compile(dynamic=False)

        def save() -> None:
            nonlocal saved
            with together(world):
                if world.main:
                    scalars.sync()
                    _save(run, level, done, options.keep, watch, saved)
            saved = done

        with together(world):
            written = world.main
            scalars = opened.enter_context(
                Scalars(run.out, done, table=options.table and written, tensorboard=options.tensorboard and written)
            )

        # -- the loop
        loads = opened.enter_context(_ahead(run, level, source, options.workers))
        while done < run.training.steps and not (watch and watch.over):
            if world.any(stop()):
                if done > saved:
                    save()
                return Ended(done, "stopped")
            metrics = _step(level, source, loads, done)
            with together(world):
                health.check(done + 1, metrics, saved)
            done += 1
            if watch is not None:
                watch.see(done, metrics)
            last = done == run.training.steps or bool(watch and watch.over)
            try:
                if world.main:
                    scalars.write(done, metrics)
                progress(done, metrics)
            except KeyboardInterrupt:
                save()
                raise
            if last or done % options.samples_every == 0:
                with together(world):
                    if world.main:
                        _write_samples(run, level, source, done, scalars)
            if last or done % options.save_every == 0:
                save()
        return Ended(done, "done" if done >= run.training.steps else "early")


def _step(level: LevelTraining, source: BatchSource, loads: Ahead[Update, Loaded], step: int) -> Metrics:
    """One step: the discriminators' updates, then the generator's. Its metrics, with the seconds it took."""
    started, waited = time.perf_counter(), 0.0
    metrics: Metrics = {}
    conditions = level.adversarial(step) and not level.judges_reconstructions
    for number in _updates(level, step):
        asked = time.perf_counter()
        with together(level.world):
            loaded = loads((step, number))
        waited += time.perf_counter() - asked
        batches = source.batches(step, number, loaded, conditions=conditions)
        if number < level.training_config.discriminator_updates:
            metrics |= discriminator_update(level, batches, step, number)
        else:
            metrics |= generator_update(level, batches, step)
    metrics["seconds"] = time.perf_counter() - started
    metrics["data_seconds"] = waited
    return metrics


def _updates(level: LevelTraining, step: int) -> range:
    """Numbers of the updates of a step; the last one is the generator's."""
    count = level.training_config.discriminator_updates
    return range(0 if level.adversarial(step) else count, count + 1)


def _ahead(run: Run, level: LevelTraining, source: BatchSource, workers: int) -> Ahead[Update, Loaded]:
    """Loads the data of the next updates while the networks compute."""

    def following(update: Update) -> Update | None:
        step, number = update
        if number < run.training.discriminator_updates:
            return step, number + 1
        return (step + 1, _updates(level, step + 1)[0]) if step + 1 < run.training.steps else None

    return Ahead(lambda update: source.load(*update), following, workers=workers, depth=workers)


def _check_same_state(world: World, step: int) -> None:
    """All processes read the run folder: `WeightsError` where they do not see the same state."""
    if world.any(world.mean({"step": float(step)})["step"] != step):
        raise WeightsError(
            f"process {world.rank} goes on from step {step} and others from another: "
            "--out must be a folder that all machines share"
        )


def _watch(run: Run, options: RunOptions) -> Watch | None:
    if options.patience is None:
        return None
    alone = run.training.steps_alone
    start = alone if alone < run.training.steps else 0
    return Watch(options.watch, options.patience, start)


def _source(run: Run, index: ClipIndex, device: torch.device, warn: Callable[[str], None], world: World) -> BatchSource:
    bad: dict[str, str] = {}

    def on_bad(clip: Clip, reason: str) -> None:
        if str(clip.path) not in bad:
            bad[str(clip.path)] = reason
            warn(f"skipped a clip ({len(bad)} so far): {reason}")

    cache = FrameCache(CACHE_BYTES)
    conditions = _conditions(run, index, device)
    return BatchSource(run.config, run.level, run.training, index, cache, conditions, run.seed, device, on_bad, world)


def _conditions(run: Run, index: ClipIndex, device: torch.device) -> Conditions | None:
    if run.below is None:
        return None
    lower = hierarchies.load(run.below, levels=run.level - 1, device=device)
    lower.config = run.config  # the same networks, with this run's window
    lower.half = (run.training.precision == "bf16",) * (run.level - 1)
    training = run.training
    weights = class_weights(index, training, run.config)
    return Conditions(lower, run.level, training.batch_size, training.condition_reuse, run.seed, weights)


def _save(run: Run, level: LevelTraining, step: int, keep: int, watch: Watch | None, saved: int) -> None:
    try:
        save_state(run.out, level, step, keep, watch=watch.record() if watch else None, last_good=saved)
    except MediaError as error:
        raise MediaError(
            f"{error}; the run is kept up to step {saved}: free some space, then give the same command again"
        ) from error


def _write_samples(run: Run, level: LevelTraining, source: BatchSource, step: int, scalars: Scalars) -> None:
    """A sheet of samples, one a row; above level 1 from generated conditions, with codes clips made from theirs."""
    batch, z = run.training.batch_size, None
    if run.config.predictor:
        low, labels = source.batches(0, 0)[0].low, None
        assert low is not None
        low = low[:SHEET_ROWS]
        count = len(low)
    elif level.coded:
        clips = source.batches(0, 0)[0]
        with torch.no_grad(), level.autocast():
            z = level.encode(clips, "sheet")[0][:SHEET_ROWS]
        count, low, labels = len(z), None, None if clips.labels is None else clips.labels[:SHEET_ROWS]
    elif source.conditions is None:
        count = min(max(batch, run.config.num_classes), SHEET_ROWS)
        labels = torch.arange(count, device=level.device) % run.config.num_classes if run.config.conditional else None
        low = None
    else:
        count = min(batch, SHEET_ROWS)
        low, labels = source.conditions.windows(0, "sheet", level.device, Share(0, count, batch))
    frames = sample_sheet(level, low, labels, count, z)
    sheet = tile(frames.flatten(0, 1).numpy(), columns=frames.shape[1])
    (run.out / "samples").mkdir(exist_ok=True)
    write_image(run.out / "samples" / f"step-{step:08d}.png", sheet, {})
    scalars.image(step, "samples", sheet)
