"""How far the tables for any length are from a full measurement of one length, on the embedded model.

    python benchmarks/any_length.py [FRAMES ...]      # 96 240 by default

For each length, standing statistics are measured for just that length (as `hvg stats --frames N` does)
and the same videos are made with them and with the model's tables for any length. Levels that were trained with
their statistics keep them in both. What a finite number of passes alone changes is shown by the same comparison at
48 frames, between the shipped table and one from the passes that `hvg stats` makes.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

from machine import save

SEEDS = 3  # videos a class


def _measured(hierarchy, frames: int, sigma: float):  # type: ignore[no-untyped-def]
    """A copy of the hierarchy that has nothing but tables of just this length."""
    from hvgcli.sampling.hierarchy import level_frames
    from hvgcli.sampling.measure import record
    from hvgcli.sampling.statistics import exact_table, trained_with

    exact = replace(hierarchy, tables=[tables if trained_with(tables) else [] for tables in hierarchy.tables])
    for level, total in enumerate(level_frames(hierarchy, frames, hierarchy.levels), start=1):
        if not exact.tables[level - 1]:
            exact.tables[level - 1] = [exact_table(sigma, record(exact, level, total, sigma))]
    return exact


def _difference(first, second, frames: int, sigma: float) -> dict[str, float]:  # type: ignore[no-untyped-def]
    """Mean and largest per-frame mean absolute difference, in steps of 255, over videos of every class."""
    from hvgcli.sampling.hierarchy import Sample, generate
    from hvgcli.sampling.unroll import join

    means, worst = [], 0.0
    for label in range(first.config.num_classes):
        samples = [Sample(seed, label) for seed in range(SEEDS)]
        one, two = (join(generate(h, samples, frames, sigma=sigma)) for h in (first, second))
        by_frame = (one - two).abs().mean((2, 3, 4)) * 127.5  # (B, T)
        means.append(by_frame.mean().item())
        worst = max(worst, by_frame.max().item())
    return {"mean": sum(means) / len(means), "worst frame": worst}


def main() -> None:
    from hvgcli.runtime import tune_allocator

    tune_allocator()
    from hvgcli.hub import resolve
    from hvgcli.sampling import hierarchy

    shipped = hierarchy.load(resolve("hvg-mini"))
    sigma = shipped.config.sigma
    any_length = replace(shipped, tables=[[t for t in tables if t.frames == 0] for tables in shipped.tables])
    rows: dict[str, dict[str, float]] = {}
    for frames in [int(argument) for argument in sys.argv[1:]] or [96, 240]:
        start = time.perf_counter()
        exact = _measured(any_length, frames, sigma)
        spent = time.perf_counter() - start
        rows[f"any length against measured, {frames} frames"] = {
            **_difference(any_length, exact, frames, sigma),
            "seconds to measure": spent,
        }
    few = _measured(shipped, shipped.config.frames, sigma)
    rows[f"measured again against shipped, {shipped.config.frames} frames"] = _difference(
        shipped, few, shipped.config.frames, sigma
    )
    for name, row in rows.items():
        print(name + ": " + ", ".join(f"{key} {value:.3f}" for key, value in row.items()))
    save("any_length", {"unit": "1/255", "videos a class": SEEDS, "rows": rows})


if __name__ == "__main__":
    main()
