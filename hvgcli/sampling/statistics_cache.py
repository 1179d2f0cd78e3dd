"""Standing statistics that were measured on this machine, kept in the cache for the next time.

A file holds the table of one level, for one length (or any) and one sigma, of the model whose weights
have one sha. Classes are drawn uniformly while statistics are measured ("uniform" in the name).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hvgcli import hub
from hvgcli.checkpoints import load_tensors, save_tensors
from hvgcli.errors import MediaError, WeightsError
from hvgcli.sampling import statistics
from hvgcli.sampling.hierarchy import Hierarchy, Progress, level_frames, missing_statistics
from hvgcli.sampling.measure import measure_any_length, record
from hvgcli.sampling.statistics import PASS_BATCH, PASSES, Passes, StandingTable

CLASS_MODE = "uniform"

Warn = Callable[[str], None]


def path_of(sha: str, level: int, frames: int, sigma: float) -> Path:
    """Where the table of a level is kept. frames: the length it serves at that level, 0 = any."""
    name = f"level{level}_{frames or 'any'}_sigma{sigma!r}_{CLASS_MODE}.safetensors"
    return hub.cache_folder() / "statistics" / sha / name


def _key(sha: str, level: int, frames: int, sigma: float) -> dict[str, object]:
    return {"sha": sha, "level": level, "frames": frames, "sigma": sigma, "classes": CLASS_MODE}


def save(sha: str, level: int, table: StandingTable, passes: int, batch: int) -> Path:
    """Keep a table of `passes` passes of `batch` videos; returns its file. `MediaError` when it cannot be written."""
    tensors, described = statistics.to_tensors([table])
    path = path_of(sha, level, table.frames, table.sigma)
    key = _key(sha, level, table.frames, table.sigma)
    save_tensors(path, tensors, {"statistics": described, "key": key, "passes": passes, "batch": batch})
    return path


def find(
    hierarchy: Hierarchy, level: int, frames: int, sigma: float, *, passes: int, batch: int, warn: Warn
) -> StandingTable | None:
    """The kept table of a level for `frames` frames (0 = any), if it is of at least `passes` passes of `batch` videos.

    Passes of few videos make fainter samples, and more of them do not mend it (`statistics`).

    A file that is damaged or does not fit counts as not there; `warn` is told.
    """
    path = path_of(hierarchy.sha, level, frames, sigma)
    if not hierarchy.sha or not path.exists():
        return None
    try:
        tensors, metadata = load_tensors(path)
        _, tables = statistics.from_tensors(tensors, metadata.get("statistics"))
        if metadata.get("key") != _key(hierarchy.sha, level, frames, sigma) or len(tables) != 1:
            raise WeightsError(f"{path} is of another model or length")
        _check(path, hierarchy, level, tables[0], frames, sigma)
    except WeightsError as error:
        warn(f"{error}: its statistics are measured again")
        return None
    known = [metadata.get(key) for key in ("passes", "batch")]
    enough = all(isinstance(n, int) and n >= least for n, least in zip(known, (passes, batch), strict=True))
    return tables[0] if enough else None


def _check(path: Path, hierarchy: Hierarchy, level: int, table: StandingTable, frames: int, sigma: float) -> None:
    layout = table.layout
    fits = (table.sigma, table.frames) == (sigma, frames) and min(layout.head, layout.period, layout.tail) >= 0
    fits = fits and not statistics.misfit(hierarchy.generators[level - 1], table)
    for mean, var in table.moments.values():
        fits = fits and bool(mean.isfinite().all()) and bool((var >= 0).all())
    if not fits or not table.serves(sigma, frames or 1):
        raise WeightsError(f"{path} does not fit level {level}")


def attach(
    hierarchy: Hierarchy, frames: int, sigma: float, levels: int, *, passes: int = PASSES, warn: Warn
) -> list[int]:
    """Add kept tables for a video of `frames` frames at level `levels`; returns the levels still without any.

    A level that was trained with its tables takes no others. `ConfigError` where the model does not make this length.
    """
    hierarchy.config.require_length(frames)
    for number, total in enumerate(level_frames(hierarchy, frames, levels), start=1):
        if statistics.trained_with(hierarchy.tables[number - 1]):
            continue
        exact = find(hierarchy, number, total, sigma, passes=1, batch=1, warn=warn)  # whoever measured it chose these
        if exact is not None:
            hierarchy.tables[number - 1].insert(0, exact)
    for number in _need_any_length(hierarchy, frames, sigma, levels):
        count = Passes.of(passes, number).total
        table = find(hierarchy, number, 0, sigma, passes=count, batch=PASS_BATCH, warn=warn)
        if table is not None:
            hierarchy.tables[number - 1].append(table)
    return _need_any_length(hierarchy, frames, sigma, levels)


def _need_any_length(hierarchy: Hierarchy, frames: int, sigma: float, levels: int) -> list[int]:
    """Levels to measure: those that lack statistics, and those below them that serve one length only."""
    top = max(missing_statistics(hierarchy, frames, sigma, levels), default=0)
    serving = [[t for t in tables if t.suits(sigma) and t.layout.period] for tables in hierarchy.tables]
    return [number for number in range(1, top + 1) if not serving[number - 1]]


def _keep(sha: str, level: int, table: StandingTable, passes: int, batch: int, warn: Warn) -> None:
    if sha:
        try:
            save(sha, level, table, passes, batch)
        except MediaError as error:
            warn(f"{error}: these statistics will be measured again")


def measure_missing(
    hierarchy: Hierarchy,
    frames: int,
    sigma: float,
    levels: int,
    *,
    passes: int = PASSES,
    batch: int = PASS_BATCH,
    warn: Warn,
    progress: Progress | None = None,
) -> None:
    """Measure tables for any length where `attach` found none, and keep them.

    progress is called with 1 after each of `Passes.of(passes, level).total` passes of each such level.
    """
    for number in _need_any_length(hierarchy, frames, sigma, levels):
        long, short = count = Passes.of(passes, number)
        table = measure_any_length(hierarchy, number, sigma, passes=long, short=short, batch=batch, progress=progress)
        hierarchy.tables[number - 1].append(table)
        _keep(hierarchy.sha, number, table, count.total, batch, warn)


def measure_level(
    hierarchy: Hierarchy,
    level: int,
    frames: int,
    sigma: float,
    *,
    passes: int = PASSES,
    batch: int = PASS_BATCH,
    progress: Progress | None = None,
) -> Path:
    """Measure the exact table of a level for `frames` frames at that level, use it, and keep it; returns its file.

    The levels below must have statistics for that length. `MediaError` when the cache cannot be written.
    """
    moments = record(hierarchy, level, frames, sigma, passes=passes, batch=batch, progress=progress)
    table = statistics.exact_table(sigma, moments)
    hierarchy.tables[level - 1].insert(0, table)
    return save(hierarchy.sha, level, table, passes, batch)
