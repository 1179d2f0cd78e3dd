"""Speed and memory of `hvg generate`, as ratios taken in one run.

    python benchmarks/generate.py            # all parts, writes benchmarks/results/generate.json
    python benchmarks/generate.py plain      # one part

Each part runs in processes of its own. `plain` is the same network in contiguous float32, batch 1,
whole video at once (`plain.py`), under the C library's default allocator as any script would run it;
`plain, tuned allocator` gives it the allocator settings of `hvg` too.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import convolution_peak, median, save, seconds

FRAMES = 48
ROUNDS = 3  # the two sides take turns, so that a slow spell of the machine meets both


def _worker(name: str, *arguments: str) -> dict[str, float]:
    """Run one measurement in a fresh process and read the JSON that it prints last."""
    command = [sys.executable, __file__, "--worker", name, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


# ---- measurements, each in a process of its own ---------------------------------------------------


def _loaded(model: str, frames: int):  # type: ignore[no-untyped-def]
    from hvgcli.hub import resolve
    from hvgcli.sampling import hierarchy

    loaded = hierarchy.load(resolve(model))
    sigma = loaded.config.sigma
    hierarchy.prepare(loaded, frames, sigma, loaded.levels)
    samples = [hierarchy.Sample(1, 0 if loaded.config.conditional else None)]
    latents = [hierarchy.level_latents(loaded, samples, n, sigma) for n in range(1, loaded.levels + 1)]
    return loaded, samples, latents, hierarchy.sample_labels(loaded, samples)


def worker_plain(tuned: str) -> dict[str, float]:
    if tuned == "tuned":
        from hvgcli.runtime import tune_allocator

        tune_allocator()
    import plain

    loaded, _, latents, labels = _loaded("hvg-mini", FRAMES)
    return {"seconds": median(seconds(lambda: plain.generate(loaded.generators, latents, labels, FRAMES), 3))}


def worker_ours(dtype: str, frames: str) -> dict[str, float]:
    from hvgcli.runtime import tune_allocator

    tune_allocator()
    import torch

    from hvgcli.runtime import choose_half
    from hvgcli.sampling.hierarchy import generate

    loaded, samples, _, _ = _loaded("hvg-mini", int(frames))
    loaded.half = choose_half(dtype, torch.device("cpu"), loaded.levels)

    def run() -> None:
        for _ in generate(loaded, samples, int(frames), sigma=loaded.config.sigma):
            pass

    return {"seconds": median(seconds(run, 3 if int(frames) <= 96 else 1))}


def worker_difference() -> dict[str, float]:
    """Mean and largest absolute difference of `auto` to float32, in n/255, over several classes."""
    import torch

    from hvgcli.runtime import choose_half
    from hvgcli.sampling.hierarchy import Sample, generate
    from hvgcli.sampling.unroll import join

    loaded, *_ = _loaded("hvg-mini", FRAMES)
    samples = [Sample(seed, seed % max(1, loaded.config.num_classes)) for seed in range(8)]
    videos = []
    for dtype in ("fp32", "auto"):
        loaded.half = choose_half(dtype, torch.device("cpu"), loaded.levels)
        videos.append(join(generate(loaded, samples, FRAMES, sigma=loaded.config.sigma)))
    difference = (videos[0] - videos[1]).abs() * 127.5
    return {"mean": difference.mean().item(), "max": difference.max().item()}


def worker_paper(name: str) -> dict[str, float]:
    """A published model with random weights: seconds for its full video, and the share of the convolution peak."""
    from hvgcli.runtime import tune_allocator

    tune_allocator()
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from hvgcli.layers.table import RowLayout
    from hvgcli.layers.weights import bake_spectral_norm
    from hvgcli.models import build_generator
    from hvgcli.presets import PRESETS
    from hvgcli.sampling.statistics import norms
    from hvgcli.sampling.unroll import unroll

    config = PRESETS[name].model
    generators = []
    for number in range(1, len(config.levels) + 1):
        with torch.device("meta"):
            generator = build_generator(config, number)
            bake_spectral_norm(generator)
        generator.to_empty(device="cpu").eval().requires_grad_(False)
        for parameter in generator.parameters():
            parameter.normal_(std=0.02)
        frames = config.levels[0].frames * config.frame_factor(number)
        for _, norm in norms(generator):
            norm.table = (torch.zeros(frames, norm.channels), torch.ones(frames, norm.channels))
        generator.rows = RowLayout(frames)
        generators.append(generator)
    latents = [torch.randn(1, level.z_dim) for level in config.levels]
    labels = torch.tensor([7]) if config.conditional else None
    half = [True] * len(generators)

    def run() -> None:
        for _ in unroll(generators, latents, labels, config.frames, 12, half):
            pass

    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            run()
        times = seconds(run, 2)
    peak = convolution_peak(half=True)
    flops = counter.get_total_flops()
    return {"seconds": min(times), "tflop": flops / 1e12, "peak_gflops": peak / 1e9, "share": flops / min(times) / peak}


# ---- parts ----------------------------------------------------------------------------------------


def part_plain() -> dict[str, object]:
    """How many times faster than the plain reference."""
    rows = []
    for _ in range(ROUNDS):
        rows.append(
            {
                "plain": _worker("plain", "default")["seconds"],
                "plain_tuned": _worker("plain", "tuned")["seconds"],
                "fp32": _worker("ours", "fp32", str(FRAMES))["seconds"],
                "auto": _worker("ours", "auto", str(FRAMES))["seconds"],
            }
        )
    return {
        "seconds": {key: median([row[key] for row in rows]) for key in rows[0]},
        "plain / auto": median([row["plain"] / row["auto"] for row in rows]),
        "plain with tuned allocator / auto": median([row["plain_tuned"] / row["auto"] for row in rows]),
        "plain / fp32": median([row["plain"] / row["fp32"] for row in rows]),
    }


def part_length() -> dict[str, object]:
    """Time for 480 frames in units of that for 48."""
    ratios = []
    for _ in range(3):
        short = _worker("ours", "auto", "48")["seconds"]
        ratios.append(_worker("ours", "auto", "480")["seconds"] / short)
    return {"480 frames / 48 frames": median(ratios)}


def _process(frames: int) -> tuple[float, float]:
    """Wall seconds and peak memory (MiB) of `hvg generate` as a process, ffmpeg not counted in the memory."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hvgcli", "generate", "--class", "skydiving", "--seed", "1", "-q"]
        command += ["--frames", str(frames), "-o", str(Path(folder) / "out.mp4")]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        status = os.wait4(process.pid, 0)
        process.returncode = status[1]
        if status[1] != 0:
            raise SystemExit(f"{' '.join(command)} failed")
        return time.perf_counter() - start, status[2].ru_maxrss / 1024


def part_process() -> dict[str, object]:
    """`hvg generate` as a whole process: wall time, and peak memory for 48 and for 4800 frames."""
    _process(FRAMES)
    runs = [_process(FRAMES) for _ in range(ROUNDS)]
    computing = median([_worker("ours", "auto", str(FRAMES))["seconds"] for _ in range(3)])
    wall = median([run[0] for run in runs])
    memory = median([run[1] for run in runs])
    long_wall, long_memory = _process(4800)
    return {
        "wall seconds, 48 frames": wall,
        "of which not computing frames": wall - computing,
        "peak MiB, 48 frames": memory,
        "peak MiB, 4800 frames": long_memory,
        "memory 4800 / 48": long_memory / memory,
        "wall seconds, 4800 frames": long_wall,
    }


def part_help() -> dict[str, object]:
    """`hvg --help`, wall seconds."""

    def run() -> None:
        subprocess.run([sys.executable, "-m", "hvgcli", "--help"], check=True, capture_output=True)

    return {"hvg --help seconds": median(seconds(run, ROUNDS))}


def part_difference() -> dict[str, object]:
    """What bfloat16 changes, in n/255."""
    return {"auto to float32, n/255": _worker("difference")}


def part_paper() -> dict[str, object]:
    """The paper-size model with random weights."""
    return {"hvg-kinetics600-48x128": _worker("paper", "hvg-kinetics600-48x128")}


PARTS = {
    "plain": part_plain,
    "length": part_length,
    "process": part_process,
    "help": part_help,
    "difference": part_difference,
    "paper": part_paper,
}


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--worker"]:
        worker = globals()[f"worker_{arguments[1]}"]
        result = worker(*arguments[2:])
        result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(result))
        return
    chosen = arguments or list(PARTS)
    results: dict[str, object] = {}
    for name in chosen:
        results[name] = PARTS[name]()
        print(json.dumps({name: results[name]}, indent=2), flush=True)
    if chosen == list(PARTS):
        print(save("generate", results))


if __name__ == "__main__":
    main(sys.argv[1:])
