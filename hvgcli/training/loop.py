"""The training loop of one level: one straight function, steps as functions (HVG section 2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch

from hvgcli import __version__
from hvgcli.checkpoints import read_json, read_model_config, write_json
from hvgcli.config import FORMAT_VERSION, ModelConfig, Preset, TrainingConfig, to_dict, training_from_dict
from hvgcli.data.cache import FrameCache
from hvgcli.data.clips import Clip, ClipIndex, scan
from hvgcli.errors import UsageError
from hvgcli.sampling import hierarchy as hierarchies
from hvgcli.training.batches import BatchSource, Conditions, class_weights
from hvgcli.training.level import LevelTraining, Metrics, discriminator_update, generator_update
from hvgcli.training.report import Scalars, sample_sheet
from hvgcli.training.run_state import resume, save_state
from hvgcli.video import tile, write_image

CACHE_BYTES = 4 << 30


@dataclass(frozen=True)
class RunOptions:
    """How a run is kept, none of which changes its weights."""

    samples_every: int = 200
    save_every: int = 100
    keep: int = 2
    tensorboard: bool = True
    device: str = "cpu"


@dataclass(frozen=True)
class Run:
    """What is trained, from what, to where."""

    out: Path
    config: ModelConfig
    level: int
    training: TrainingConfig
    data: Path
    below: Path | None
    """Model folder with the levels below; None at level 1."""
    seed: int = 0


def plan(
    preset: Preset, level: int, data: Path, out: Path, below: Path | None, changes: dict[str, object], seed: int
) -> tuple[Run, ClipIndex]:
    """Check the request against the preset, the data and the model below; nothing is written."""
    if not 1 <= level <= len(preset.model.levels):
        raise UsageError(f"level {level} is not in {preset.model.name}: it has levels 1..{len(preset.model.levels)}")
    if (below is None) != (level == 1):
        raise UsageError(
            "level 1 has no model below: leave out --model"
            if level == 1
            else f"level {level} is trained on the levels below: give --model with the folder of level {level - 1}"
        )
    index = scan(data)
    config = preset.model.with_classes(index.classes if preset.model.conditional else ())
    if preset.model.conditional and not index.classes:
        raise UsageError(f"preset {preset.model.name} needs a folder a class, {data} is a flat folder of clips")
    training: TrainingConfig = replace(preset.training[level - 1], **changes)  # type: ignore[arg-type]
    if below is not None:
        lower = read_model_config(below)
        if lower.levels[: level - 1] != config.levels[: level - 1] or lower.classes != config.classes:
            raise UsageError(f"{below} has other levels or classes than {config.name} with {data}: train it again")
    return Run(out, config, level, training, data, below, seed), index


def train_level(
    run: Run,
    index: ClipIndex,
    options: RunOptions,
    *,
    progress: Callable[[int, Metrics], None],
    warn: Callable[[str], None],
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Train until the run's steps are done, continuing from its last state; returns the steps done.

    progress is called with the step and its metrics. When `stop` returns True the state is saved and
    the loop ends early, as it does on Ctrl-C.
    """
    # -- the run folder: the same command continues, another one is refused
    run.out.mkdir(parents=True, exist_ok=True)
    with _locked(run.out):
        _claim(run, warn)

        # -- networks, data
        device = torch.device(options.device)
        torch.manual_seed(run.seed)
        level = LevelTraining(run.config, run.level, run.training, device, run.seed)
        done = resume(run.out, level, warn)
        bad: dict[str, str] = {}

        def on_bad(clip: Clip, reason: str) -> None:
            if str(clip.path) not in bad:
                bad[str(clip.path)] = reason
                warn(f"skipped a clip ({len(bad)} so far): {reason}")

        conditions = _conditions(run, index, device)
        cache = FrameCache(CACHE_BYTES)
        source = BatchSource(run.config, run.level, run.training, index, cache, conditions, run.seed, device, on_bad)

        # -- the loop
        with Scalars(run.out, done, tensorboard=options.tensorboard) as scalars:
            try:
                while done < run.training.steps and not stop():
                    started = time.perf_counter()
                    metrics: Metrics = {}
                    adversarial = level.adversarial(done)
                    if adversarial:
                        for number in range(run.training.discriminator_updates):
                            metrics |= discriminator_update(level, source.batch(done, number), done, number)
                    last = source.batch(done, run.training.discriminator_updates, conditions=adversarial)
                    metrics |= generator_update(level, last, done)
                    done += 1
                    metrics["seconds"] = time.perf_counter() - started
                    scalars.write(done, metrics)
                    progress(done, metrics)
                    if done % options.samples_every == 0 or done == run.training.steps:
                        _write_samples(run, level, source, done, scalars)
                    if done % options.save_every == 0 or done == run.training.steps:
                        save_state(run.out, level, done, options.keep)
            except KeyboardInterrupt:
                save_state(run.out, level, done, options.keep)
                raise
            if done < run.training.steps:
                save_state(run.out, level, done, options.keep)
        return done


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep two processes from training in one folder; freed also when the process dies."""
    with (folder / "run.lock").open("w") as file:
        try:
            import fcntl  # not on Windows, where the check is left out

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except OSError as error:
            message = f"{folder} is being trained by another process: wait for it, or give a new --out"
            raise UsageError(message) from error
        yield


def _claim(run: Run, warn: Callable[[str], None]) -> None:
    """Write run.json, or check that the folder is of this very run.

    Other networks, another level or seed are refused. More steps only go on; whatever else differs is
    allowed, with a warning that the weights will not be those of one uninterrupted run.
    """
    record = {
        "format_version": FORMAT_VERSION,
        "version": __version__,
        "model": to_dict(run.config),
        "level": run.level,
        "training": to_dict(run.training),
        "data": str(run.data.resolve()),
        "below": None if run.below is None else str(run.below.resolve()),
        "seed": run.seed,
    }
    path = run.out / "run.json"
    if path.exists():
        known = read_json(path)
        for key in ("model", "level", "seed"):
            if _plain(known.get(key)) != _plain(record[key]):
                raise UsageError(f"{run.out} holds another run (its {key} differs): give a new --out folder")
        before = replace(training_from_dict(known["training"]), steps=run.training.steps)
        names = (field.name for field in fields(before))
        changed = [name for name in names if getattr(before, name) != getattr(run.training, name)]
        changed += [key for key in ("data", "below") if known.get(key) != record[key]]
        if changed:
            warn(f"{run.out} goes on with other settings than it began with: {', '.join(changed)}")
    write_json(path, record)


def _plain(value: object) -> object:
    """Tuples as lists, as JSON has them."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _conditions(run: Run, index: ClipIndex, device: torch.device) -> Conditions | None:
    if run.below is None:
        return None
    lower = hierarchies.load(run.below, levels=run.level - 1, device=device)
    lower.half = (run.training.precision == "bf16",) * (run.level - 1)
    training = run.training
    weights = class_weights(index, training, run.config)
    return Conditions(lower, run.level, training.batch_size, training.condition_reuse, run.seed, weights)


def _write_samples(run: Run, level: LevelTraining, source: BatchSource, step: int, scalars: Scalars) -> None:
    """A sheet of samples, one a row; above level 1 from generated conditions."""
    if source.conditions is None:
        count = max(run.training.batch_size, run.config.num_classes)
        labels = torch.arange(count, device=level.device) % run.config.num_classes if run.config.conditional else None
        low = None
    else:
        low, labels = source.conditions.windows(0, "sheet", level.device)
        count = len(low)
    frames = sample_sheet(level, low, labels, count)
    sheet = tile(frames.flatten(0, 1).numpy(), columns=frames.shape[1])
    (run.out / "samples").mkdir(exist_ok=True)
    write_image(run.out / "samples" / f"step-{step:08d}.png", sheet, {})
    scalars.image(step, "samples", sheet)

