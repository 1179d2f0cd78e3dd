"""Processor seconds of one iteration of hp-VAE-GAN at its coarse scales, against `plain_single.py`.

    python benchmarks/single.py                        # scales 0-4, writes benchmarks/results/single.{json,md}
    python benchmarks/single.py --scales 0 --rounds 1

The networks are the paper's, on a clip of 13 frames of 456x256 pixels, with one thread. The sides take turns,
each in a process of its own; ratios are medians of those of the rounds. Processor seconds, not wall time,
so that other programs on the machine count little. `plain` runs under the C library's default allocator, as
any script would; ours has the settings of `hvg`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from machine import RESULTS, median, save

SIDES = {"plain": "plain", "fp32": "ours, fp32", "bf16": "ours, bf16"}
HEIGHT, WIDTH = 256, 456


def our_step(scale: int, precision: str) -> Callable[[], object]:
    """One iteration of a scale, as a function; the scales below have random weights."""
    import torch

    from hvgcli.config import SingleConfig, SingleTrainingConfig
    from hvgcli.models.hp_vae_gan import HpVaeGan
    from hvgcli.sampling.single import record_statistics
    from hvgcli.training.single import ScaleTraining

    torch.manual_seed(0)
    config = SingleConfig(height=HEIGHT, width=WIDTH)
    network = HpVaeGan(config)
    if scale >= config.vae_scales:
        record_statistics(network, range(scale), passes=1)
    level = ScaleTraining(network, scale, clip(config.sizes), SingleTrainingConfig(precision=precision), seed=0)
    level.set_amplitude()
    iterations = iter(range(10**9))
    return lambda: level.update(next(iterations))


def clip(sizes: Any) -> list[Any]:
    """A pyramid of noise: what is in it changes no time."""
    import torch

    return [torch.rand(1, 3, *size) * 2 - 1 for size in sizes]


def worker(scale: int, side: str, steps: int) -> float:
    """Processor seconds of the median of `steps` iterations, after one that is not counted."""
    if side != "plain":
        from hvgcli.runtime import tune_allocator

        tune_allocator()
    import torch

    torch.set_num_threads(1)
    if side == "plain":
        from plain_single import plain_step

        from hvgcli.config import SingleConfig

        config = SingleConfig(height=HEIGHT, width=WIDTH)
        step: Callable[[], object] = plain_step(scale, config.vae_scales, clip(config.sizes))
    else:
        step = our_step(scale, side)
    step()
    times = []
    for _ in range(steps):
        started = time.process_time()
        step()
        times.append(time.process_time() - started)
    return median(times)


def in_process(scale: int, side: str, steps: int) -> float:
    command = [sys.executable, __file__, "--worker", str(scale), side, str(steps)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.split()[-1])


def compare(scale: int, steps: int, rounds: int) -> dict[str, Any]:
    """Medians of all sides at one scale, and of the ratios of each round."""
    rows = [{side: in_process(scale, side, steps) for side in SIDES} for _ in range(rounds)]
    seconds = {side: median([row[side] for row in rows]) for side in SIDES}
    ratios = {side: median([row["plain"] / row[side] for row in rows]) for side in ("fp32", "bf16")}
    return {"seconds": seconds, "ratios": ratios}


def page(cases: dict[int, dict[str, Any]]) -> str:
    """A table of all scales."""
    lines = [
        "# One iteration of hp-VAE-GAN",
        "",
        "Processor seconds with one thread, 13 frames of 456x256 pixels at the finest scale (`single.py`).",
        "",
        "| scale | plain | ours, fp32 | ours, bf16 | plain / fp32 | plain / bf16 |",
        "|---|---|---|---|---|---|",
    ]
    for scale, case in cases.items():
        seconds = [f"{case['seconds'][side]:.2f}" for side in SIDES]
        ratios = [f"{case['ratios'][side]:.1f}" for side in ("fp32", "bf16")]
        lines.append(f"| {scale} | {' | '.join(seconds + ratios)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--worker"]:
        print(worker(int(arguments[1]), arguments[2], int(arguments[3])))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scales", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    cases = {}
    for scale in options.scales:
        cases[scale] = compare(scale, options.steps, options.rounds)
        print(json.dumps({scale: cases[scale]}), flush=True)
    if len(cases) > 1:
        (RESULTS / "single.md").write_text(page(cases))
        print(save("single", {"steps": options.steps, "rounds": options.rounds, "scales": cases}))


if __name__ == "__main__":
    main(sys.argv[1:])
