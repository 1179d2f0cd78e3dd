"""`hvg stats MODEL --frames N`: measure the standing statistics of one length ahead of time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hvgcli.cli.options import AsJson, Debug, NoProgress, Quiet, complete_model, examples
from hvgcli.cli.output import Advance, Output, make_output

if TYPE_CHECKING:
    from hvgcli.sampling.hierarchy import Hierarchy

EXAMPLES = examples("hvg stats hvg-mini --frames 96", "hvg stats ./mine --frames 48 --sigma 0.5,1.0 --passes 100")


def stats(
    model: Annotated[str, typer.Argument(help="Name or folder of a model.", autocompletion=complete_model)],
    frames: Annotated[int, typer.Option(help="Frames of the videos that they are for.")],
    sigma: Annotated[
        str | None, typer.Option(help="One or several, like 0.5,1.0. Default: the model's.", metavar="SIGMAS")
    ] = None,
    passes: Annotated[int, typer.Option(help="Batches of random videos.")] = 8,
    batch_size: Annotated[int, typer.Option(help="Videos in a pass.")] = 32,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:INDEX or mps.")] = "auto",
    dtype: Annotated[Literal["auto", "fp32", "bf16"], typer.Option(help="As for hvg generate.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Measure again what is in the cache.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Measure the standing statistics of a length exactly, and keep them for hvg generate."""
    from hvgcli.checkpoints import read_model_config
    from hvgcli.cli import families, values
    from hvgcli.hub import resolve
    from hvgcli.runtime import choose_device, choose_half, tune_allocator

    tune_allocator()
    output = make_output(as_json=as_json, quiet=quiet, no_progress=no_progress)
    folder = resolve(model)
    config = read_model_config(folder)
    families.refuse_measuring(model, config)
    values.check_frames(frames)
    config.require_length(frames)
    sigmas = [config.sigma] if sigma is None else values.parse_sigmas(sigma)
    values.check_count("--passes", passes)
    values.check_count("--batch-size", batch_size)

    from hvgcli.sampling.hierarchy import level_frames, load
    from hvgcli.sampling.statistics import trained_with

    chosen = choose_device(device)
    hierarchy = load(folder, device=chosen)
    hierarchy.half = choose_half(dtype, chosen, hierarchy.levels)
    fixed = [trained_with(tables) for tables in hierarchy.tables]
    if overwrite and any(fixed):
        output.note("--overwrite: levels that were trained with their statistics keep them")
    total = len(sigmas) * passes * fixed.count(False)
    with output.progress("statistics", total=total) as advance:
        for value in sigmas:
            for level, count in enumerate(level_frames(hierarchy, frames, hierarchy.levels), start=1):
                job = {"level": level, "frames": count, "sigma": value, "passes": passes, "batch": batch_size}
                if fixed[level - 1]:
                    _report_fixed(output, model, hierarchy, job)
                else:
                    _report(output, model, hierarchy, job, _measure(hierarchy, job, overwrite, advance, output))


def _measure(
    hierarchy: Hierarchy, job: dict[str, Any], overwrite: bool, advance: Advance, output: Output
) -> tuple[Path, float | None]:
    """The file of one table, and the seconds that it took (None where it was there already)."""
    from hvgcli.sampling import statistics_cache

    level, frames, sigma, passes = (job[key] for key in ("level", "frames", "sigma", "passes"))
    advance(0, description=f"level {level}, sigma {sigma}")
    if not overwrite:
        least = {"passes": passes, "batch": job["batch"]}
        known = statistics_cache.find(hierarchy, level, frames, sigma, **least, warn=output.warn)
        if known is not None:
            hierarchy.tables[level - 1].insert(0, known)
            advance(passes)
            return statistics_cache.path_of(hierarchy.sha, level, frames, sigma), None
    start = time.perf_counter()
    path = statistics_cache.measure_level(
        hierarchy, level, frames, sigma, passes=passes, batch=job["batch"], progress=advance
    )
    return path, time.perf_counter() - start


def _report(
    output: Output, model: str, hierarchy: Hierarchy, job: dict[str, Any], made: tuple[Path, float | None]
) -> None:
    path, seconds = made
    record = {"model": model, "sha": hierarchy.sha, **job, "path": str(path), "cached": seconds is None}
    took = "already measured" if seconds is None else f"{job['passes']} passes in {seconds:.1f} s"
    line = f"level {job['level']}, {job['frames']} frames, sigma {job['sigma']}: {took}"
    output.emit(record | {"seconds": seconds, "trained": False}, line=line, ident=path)


def _report_fixed(output: Output, model: str, hierarchy: Hierarchy, job: dict[str, Any]) -> None:
    """Of a level that was trained with its statistics: they are in the model, and none are measured."""
    made = dict.fromkeys(("passes", "batch", "path", "seconds"))
    record = {"model": model, "sha": hierarchy.sha, **job, **made, "cached": False, "trained": True}
    known = f"level {job['level']}, {job['frames']} frames, sigma {job['sigma']}"
    output.emit(record, line=f"{known}: it was trained with its statistics, which stay")
