"""Seconds of a full training step, two discriminator updates and one of the generator (HVG appendix A), and its parts.

    python benchmarks/train_step.py                     # all cases, writes benchmarks/results/train_step.{json,md}
    python benchmarks/train_step.py --cases outline-16 --steps 1 --rounds 1
    python benchmarks/train_step.py --data CLIPS        # loads a folder of clips instead of ones made for it

Ours in float32 and bfloat16 against `plain_training.py`, in rounds in which the sides take turns, each
in a process of its own. `plain` runs under the C library's default allocator, as any script would;
`plain, tuned allocator` has the allocator settings of `hvg` too. The part of the data is measured with
real clips, at 128x128. On a GPU: also bfloat16 with torch.compile, and the paper-size level 2 as a share
of the measured peak of matrix products.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from machine import RESULTS, describe, median, save
from training_cases import CASES, UPDATES, case_config, make_training, our_step, plain_step

SIDES = {
    "plain": "plain",
    "tuned": "plain, tuned allocator",
    "fp32": "ours, fp32",
    "bf16": "ours, bf16",
    "compiled": "ours, bf16, compiled",
}
PARTS = ("forward", "backward", "optimizer")


# ---- measurements, each in a process of its own ---------------------------------------------------


@contextmanager
def _timed(owner: type, method: str, spent: dict[str, float], name: str) -> Iterator[None]:
    """While it lasts, seconds in `owner.method` are added to `spent[name]`."""
    original = getattr(owner, method)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        started = clock()
        try:
            return original(*args, **kwargs)
        finally:
            spent[name] += clock() - started

    setattr(owner, method, wrapper)
    try:
        yield
    finally:
        setattr(owner, method, original)


def clock() -> float:
    """Seconds, after the work that was given to a GPU is done."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def measure(step: Callable[[int], None], steps: int) -> dict[str, float]:
    """Seconds of the median of `steps` steps, and of its parts, after two that are not counted.

    In the first two the memory is new: its pages are given by the system when they are first written to.
    """
    import torch

    step(0)
    step(1)
    rows = []
    for index in range(2, steps + 2):
        spent = dict.fromkeys(PARTS, 0.0)
        with ExitStack() as stack:
            stack.enter_context(_timed(torch.Tensor, "backward", spent, "backward"))
            stack.enter_context(_timed(torch.optim.Adam, "step", spent, "optimizer"))
            started = clock()
            step(index)
            total = clock() - started
        spent["forward"] = total - spent["backward"] - spent["optimizer"]
        rows.append({"step": total, **spent})
    return sorted(rows, key=lambda row: row["step"])[len(rows) // 2]


def worker_step(name: str, side: str, steps: int, batch: int, device: str) -> dict[str, float]:
    if side != "plain":
        from hvgcli.runtime import tune_allocator

        tune_allocator()
    plain = side in ("plain", "tuned")
    return measure(plain_step(name, batch, device) if plain else our_step(name, side, batch, device), steps)


def make_clips(folder: Path, count: int = 16, frames: int = 64) -> Path:
    """H.264 clips of moving waves with noise, 144 pixels high, as phones and web sites make them."""
    import numpy as np

    from hvgcli.video import VideoWriter

    folder.mkdir()
    y, x = np.mgrid[0:144, 0:192]
    for number in range(count):
        rng = np.random.default_rng(number)
        speed, angle = rng.uniform(0.05, 0.5, 3), rng.uniform(0, 6.3, 3)
        with VideoWriter(folder / f"clip{number}.mp4", size=(144, 192), rate=25) as writer:
            for t in range(frames):
                waves = [np.sin((x * np.cos(a) + y * np.sin(a)) / 9 + s * t) for a, s in zip(angle, speed, strict=True)]
                noisy = 127 + 100 * np.stack(waves, 2) + rng.normal(0, 6, (144, 192, 3))
                writer.write(noisy.clip(0, 255).astype(np.uint8)[None])
    return folder


def worker_data(name: str, clips: str, steps: int, batch: int, device: str) -> dict[str, float]:
    """The loop of training on real clips: what part of a step it waits for data, from the first step on."""
    from hvgcli.runtime import tune_allocator

    tune_allocator()
    from hvgcli.data.ahead import Ahead
    from hvgcli.data.cache import FrameCache
    from hvgcli.data.clips import scan
    from hvgcli.training.batches import BatchSource
    from hvgcli.training.level import discriminator_update, generator_update
    from hvgcli.training.loop import CACHE_BYTES

    config, number = case_config(name)
    level = make_training(config, number, "bf16", batch, device)
    source = BatchSource(
        config,
        number,
        level.training_config,
        scan(Path(clips)),
        FrameCache(CACHE_BYTES),
        None,
        0,
        level.device,
        lambda clip, reason: print(f"skipped {clip.path}: {reason}", file=sys.stderr),
    )
    rows = []
    with Ahead(lambda key: source.load(*divmod(key, UPDATES)), lambda key: key + 1, workers=1, depth=1) as ahead:
        for index in range(steps + 1):
            waited, started = 0.0, clock()
            for update in range(UPDATES):
                before = clock()
                videos = source.batches(index, update, ahead(index * UPDATES + update))
                waited += clock() - before
                if update < UPDATES - 1:
                    discriminator_update(level, videos, index, update)
                else:
                    generator_update(level, videos, index)
            rows.append((waited, clock() - started))
    later = rows[1:]
    return {
        "first step": rows[0][1],
        "first step, data": rows[0][0],
        "later steps": sum(total for _, total in later) / len(later),
        "later steps, data": sum(waited for waited, _ in later) / len(later),
        "share": sum(waited for waited, _ in later) / sum(total for _, total in later),
    }


def matmul_peak(device: str) -> float:
    """FLOP/s of a large bfloat16 matrix product."""
    import torch

    size = 8192
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(12):
        started = clock()
        for _ in range(10):
            a @ b
        times.append((clock() - started) / 10)
    return 2 * size**3 / min(times[2:])


def worker_paper(name: str, side: str, steps: int, batch: int, device: str) -> dict[str, float]:
    """Level 2 of a published model: seconds of a step and its share of the peak of matrix products."""
    from torch.utils.flop_counter import FlopCounterMode

    step = our_step(name, "bf16", batch, device)
    with FlopCounterMode(display=False) as counter:
        step(0)
    flops = counter.get_total_flops()
    row = measure(step if side == "bf16" else our_step(name, side, batch, device), steps)
    peak = matmul_peak(device)
    return {**row, "tflop": flops / 1e12, "peak_tflops": peak / 1e12, "share": flops / row["step"] / peak}


WORKERS = {"step": worker_step, "data": worker_data, "paper": worker_paper}


def in_process(worker: str, *arguments: object) -> dict[str, float]:
    """Run a measurement in a fresh process and read the JSON that it prints last."""
    command = [sys.executable, __file__, "--worker", worker, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


# ---- results --------------------------------------------------------------------------------------


def compare(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """All sides of a case, in rounds; ratios are medians of those of the rounds."""
    sides = [side for side in SIDES if side != "compiled" or options.device == "cuda"]
    rounds = []
    for _ in range(options.rounds):
        rounds.append(
            {side: in_process("step", name, side, options.steps, options.batch, options.device) for side in sides}
        )
    seconds = {side: {key: median([row[side][key] for row in rounds]) for key in ("step", *PARTS)} for side in sides}
    ratios = {
        f"{plain} / {side}": median([row[plain]["step"] / row[side]["step"] for row in rounds])
        for plain in ("plain", "tuned")
        for side in sides[2:]
    }
    return {"seconds": seconds, "ratios": ratios}


def data_share(options: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        clips = options.data or make_clips(Path(folder) / "clips")
        return in_process("data", "upsampler-128", clips, max(2, options.steps), options.batch, options.device)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def step_table(cases: dict[str, Any]) -> list[str]:
    """Seconds and ratios of every case."""
    sides, pairs = ("plain", "fp32", "bf16"), ("plain / fp32", "plain / bf16", "tuned / bf16")
    lines = [_row("case", *(f"{SIDES[side]}, s" for side in sides), *pairs), "|---" * 7 + "|"]
    for name, case in cases.items():
        seconds = [f"{case['seconds'][side]['step']:.2f}" for side in sides]
        lines.append(_row(CASES[name], *seconds, *(f"{case['ratios'][pair]:.2f}" for pair in pairs)))
    return lines


def split_table(cases: dict[str, Any]) -> list[str]:
    """Which share of a step each part takes."""
    lines = [_row("case", "side", *PARTS), "|---" * 5 + "|"]
    for name, case in cases.items():
        for side, row in case["seconds"].items():
            lines.append(_row(CASES[name], SIDES[side], *(f"{100 * row[part] / row['step']:.0f} %" for part in PARTS)))
    return lines


def page(results: dict[str, Any], options: argparse.Namespace) -> str:
    """The results for people."""
    machine, data = describe(), results["data"]
    lines = [
        "# Seconds of a training step",
        "",
        f"Taken by `python benchmarks/train_step.py --device {options.device}` on {machine['processor']}, "
        f"{machine['threads']} threads, torch {machine['torch']};",
        "the numbers are in the JSON file beside this one. Two updates of the discriminators and one of the",
        f"generator, batch {options.batch}, no training aids; medians of {options.rounds} rounds in which the sides "
        "take turns, each in a process of its own.",
        "Plain is `benchmarks/plain_training.py`: the same networks and weights in contiguous float32, as one writes",
        "them first from the paper. Tuned is plain with the allocator settings of `hvg`.",
        "",
        "DVD-GAN is the published model for 12/128x128 and 600 classes with 16 channels where it has 96: recurrent",
        "units up to 64 pixels, and the hinge losses of its two discriminators, added.",
        "",
        *step_table(results["cases"]),
        "",
        "Asked of levels 1 and 2: at least 2.5 times the plain reference.",
        "",
        *split_table(results["cases"]),
        "",
        "Forward is all that is not backward or optimizer, power iterations included.",
        "",
        f"Data, with clips 144 pixels high, at 128x128, loaded by one thread ahead: a step waits "
        f"{data['later steps, data']:.3f} s of {data['later steps']:.2f} s,",
        f"{100 * data['share']:.1f} % (asked: at most 5 %). The first step of a run waits "
        f"{data['first step, data']:.2f} s of {data['first step']:.2f} s for the clips to be decoded.",
    ]
    for side, row in results.get("paper", {}).items():
        lines += [
            "",
            f"Level 2 of hvg-kinetics600-48x128, {SIDES[side]}: {row['step']:.2f} s a step, {100 * row['share']:.0f} % "
            f"of the measured peak of matrix products, {row['peak_tflops']:.0f} TFLOP/s (asked: at least 35 %).",
        ]
    return "\n".join(lines) + "\n"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3, help="measured steps of a process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", default=os.environ.get("HVG_DATA"), help="folder of clips, for the part of the data")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--worker"]:
        values = [int(value) if value.isdigit() else value for value in arguments[2:]]
        print(json.dumps(WORKERS[arguments[1]](*values)))
        return
    options = parse(arguments)
    results: dict[str, Any] = {"cases": {}}
    for name in options.cases:
        results["cases"][name] = compare(name, options)
        print(json.dumps({name: results["cases"][name]}, indent=2), flush=True)
    results["data"] = data_share(options)
    print(json.dumps({"data": results["data"]}, indent=2), flush=True)
    if options.device == "cuda":
        results["paper"] = {
            side: in_process("paper", "paper-128", side, options.steps, options.batch, "cuda")
            for side in ("bf16", "compiled")
        }
        print(json.dumps({"paper": results["paper"]}, indent=2), flush=True)
    if options.cases == list(CASES):
        name = "train_step" if options.device == "cpu" else "train_step_gpu"
        (RESULTS / f"{name}.md").write_text(page(results, options))
        print(save(name, {"batch": options.batch, "rounds": options.rounds, **results}))


if __name__ == "__main__":
    main(sys.argv[1:])
