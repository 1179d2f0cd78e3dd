"""Processor seconds of one iteration of hp-VAE-GAN at its coarse scales, against `plain_single.py`.

    python benchmarks/single.py                        # scales 0-4, writes benchmarks/results/single.{json,md}
    python benchmarks/single.py --scales 0 --rounds 1  # prints only

The networks are the paper's, on a clip of 13 frames of 456x256 pixels, with one thread. The sides take turns,
each in a process of its own; ratios are medians of those of the rounds. Processor seconds, not wall time,
so that other programs on the machine count little. `plain` runs under the C library's default allocator, as
any script would; ours has the settings of `hvg`. All scales of hp-vae-gan-mini are timed too, by themselves.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from machine import RESULTS, describe, median, save

SIDES = ("plain", "fp32", "bf16")
ASKED = {0: 5, 1: 5, 2: 5, 3: 4, 4: 4}
SIZES = {"hp-vae-gan": (256, 456), "hp-vae-gan-mini": (96, 170)}
"""Height and width of the finest scale, of 13 frames."""


def config_of(preset: str) -> Any:
    """The networks of a preset, for the clip that is timed."""
    from hvgcli.presets import SINGLE_PRESETS

    height, width = SIZES[preset]
    return replace(SINGLE_PRESETS[preset].model.single, height=height, width=width)


def our_step(config: Any, scale: int, precision: str) -> Callable[[], object]:
    """One iteration of a scale, as a function; the scales below have random weights."""
    import torch

    from hvgcli.config import SingleTrainingConfig
    from hvgcli.models.hp_vae_gan import HpVaeGan
    from hvgcli.sampling.single import record_statistics
    from hvgcli.training.single import ScaleTraining

    torch.manual_seed(0)
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


def worker(preset: str, scale: int, side: str, steps: int) -> float:
    """Processor seconds of the median of `steps` iterations, after one that is not counted."""
    if side != "plain":
        from hvgcli.runtime import tune_allocator

        tune_allocator()
    import torch

    torch.set_num_threads(1)
    config = config_of(preset)
    if side == "plain":
        from plain_single import plain_step

        step: Callable[[], object] = plain_step(scale, config.vae_scales, clip(config.sizes))
    else:
        step = our_step(config, scale, side)
    step()
    times = []
    for _ in range(steps):
        started = time.process_time()
        step()
        times.append(time.process_time() - started)
    return median(times)


def in_process(preset: str, scale: int, side: str, steps: int) -> float:
    command = [sys.executable, __file__, "--worker", preset, str(scale), side, str(steps)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.split()[-1])


def compare(scale: int, steps: int, rounds: int) -> dict[str, Any]:
    """Medians of all sides at one scale of the paper's networks, and of the ratios of each round."""
    rows = [{side: in_process("hp-vae-gan", scale, side, steps) for side in SIDES} for _ in range(rounds)]
    seconds = {side: median([row[side] for row in rows]) for side in SIDES}
    ratios = {side: median([row["plain"] / row[side] for row in rows]) for side in ("fp32", "bf16")}
    return {"seconds": seconds, "ratios": ratios}


def mini(steps: int) -> list[dict[str, float]]:
    """Seconds of all scales of hp-vae-gan-mini."""
    preset = "hp-vae-gan-mini"
    sides = ("fp32", "bf16")
    return [
        {side: in_process(preset, scale, side, steps) for side in sides} for scale in range(config_of(preset).scales)
    ]


INTRO = """# Processor seconds of an iteration of hp-VAE-GAN

Taken by `python benchmarks/single.py` on {processor}, one thread, torch {torch}; the numbers are in the JSON file
beside this one. The paper's networks, on 13 frames of 456x256 pixels; medians over rounds in which the sides take
turns, each in a process of its own. Rounds: {rounds}; iterations a side and round, after one to warm up: {steps}.

Plain is `benchmarks/plain_single.py`: the same networks and losses in contiguous float32 with batch 1, as one writes
them first from the paper, with `autograd.grad` for the gradient penalty. It is not made slow: the discriminator has
no gradients of its weights while the generator is trained. At the coarse scales torch itself leaves oneDNN for
single small samples; that is left as it is.
"""

BOUNDS = """
What is left at scale 4 in bfloat16: nine tenths of the time are convolutions from 64 to 64 channels. Each of the three
such layers of a network has 6 forward passes, 5 gradients at its input and 5 of its weight, counted per sample: G
twice, D at a real, a generated and a mixed clip, and the chain of the penalty. Measured apart on an AMD EPYC, the first
two kinds run at 530 GFLOP/s and the gradients of weights at 400, where a matrix product of 2048x2048 runs at 400.
"""


def table(cases: dict[int, dict[str, Any]]) -> list[str]:
    """All scales of the paper's networks."""
    lines = [
        "| scale | plain, s | ours, fp32, s | ours, bf16, s | plain / fp32 | plain / bf16 | asked |",
        "|---|---|---|---|---|---|---|",
    ]
    for scale, case in cases.items():
        seconds = [f"{case['seconds'][side]:.2f}" for side in SIDES]
        ratios = [f"{case['ratios'][side]:.1f}" for side in ("fp32", "bf16")]
        lines.append(f"| {scale} | {' | '.join(seconds + ratios)} | {ASKED.get(scale, '')} |")
    return lines


def page(result: dict[str, Any], cases: dict[int, dict[str, Any]], small: list[dict[str, float]]) -> str:
    """Both tables, and what they mean."""
    lines = ["| scale | fp32, s | bf16, s |", "|---|---|---|"]
    lines += [f"| {scale} | {row['fp32']:.3f} | {row['bf16']:.3f} |" for scale, row in enumerate(small)]
    intro = INTRO.format(rounds=result["rounds"], steps=result["steps"], **describe())
    own = "\nhp-vae-gan-mini (32 channels), on 13 frames of 170x96 pixels:\n\n"
    return intro + "\n" + "\n".join(table(cases)) + "\n" + BOUNDS + own + "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--worker"]:
        preset, scale, side, steps = arguments[1:]
        print(worker(preset, int(scale), side, int(steps)))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scales", type=int, nargs="+", default=list(ASKED))
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    cases = {}
    for scale in options.scales:
        cases[scale] = compare(scale, options.steps, options.rounds)
        print(json.dumps({scale: cases[scale]}), flush=True)
    if options.scales == list(ASKED):
        small = mini(5)
        result = {"steps": options.steps, "rounds": options.rounds, "scales": cases, "mini": small}
        print(save("single", result))
        (RESULTS / "single.md").write_text(page(result, cases, small))


if __name__ == "__main__":
    main(sys.argv[1:])
