"""Peak memory of training for more and more output frames, as in figure 5 of HVG.

    python benchmarks/memory_scaling.py        # writes benchmarks/results/memory_scaling.{json,md,png}

Three ways, each point in a process of its own:

    level 1      the outline, trained at all of its frames
    level 2      trained on a window of 6 -> 12 frames, cut out of outlines of half the output's frames
    end to end   levels 1 and 2 together, at all frames, gradients through both

On the CPU the memory is the highest resident size above that of the process before the networks are
built (freed memory is given back at once, so it is what the tensors need); on a GPU the highest that
was allocated.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from typing import Any

from machine import RESULTS, describe, save

FRAMES = (12, 24, 48, 96)
WINDOW = 12
WAYS = {"level 1": "level 1, all frames", "level 2": "level 2, window 6 -> 12", "end to end": "end to end, all frames"}
STEPS = 2  # from the second on, optimizers have their memory too


# ---- one point, in a process of its own -----------------------------------------------------------


def make_config(outline: int, window: int):  # type: ignore[no-untyped-def]
    """A two-level model, 16x16 -> 64x64 (ch 8), with so many frames at level 1 and in the window of level 2."""
    from hvgcli.config import DiscriminatorConfig, LevelConfig, ModelConfig

    low, high = DiscriminatorConfig(8, (2, 4, 8)), DiscriminatorConfig(8, (1, 2, 4, 8))
    levels = (
        LevelConfig(outline, 16, 4, 8, (8, 8, 4), low, low, None, 16, 16),
        LevelConfig(window, 64, 2, 8, (8, 8, 4, 2), high, high, low, 16, 16),
    )
    return ModelConfig("memory", levels)


def random_video(batch: int, frames: int, size: int, device: str):  # type: ignore[no-untyped-def]
    import torch

    return (2 * torch.rand(batch, frames, size, size, 3, device=device) - 1).permute(0, 1, 4, 2, 3)


def frozen_outlines(config, batch: int, device: str):  # type: ignore[no-untyped-def]
    """Conditions for level 2: windows of full outlines from a frozen level 1 with made-up statistics."""
    import torch

    from hvgcli.layers.table import RowLayout
    from hvgcli.models import build_generator
    from hvgcli.sampling.hierarchy import Hierarchy
    from hvgcli.sampling.statistics import StandingTable, norms
    from hvgcli.training.batches import TRAINING_SIGMA, Conditions

    generator = build_generator(config, 1).to(device).eval().requires_grad_(False)
    frames = config.levels[0].frames
    moments = {
        name: (torch.zeros(frames, norm.channels), torch.ones(frames, norm.channels)) for name, norm in norms(generator)
    }
    table = StandingTable(TRAINING_SIGMA, 0, RowLayout(frames), moments)
    return Conditions(Hierarchy(config, [generator], [[table]], device=torch.device(device)), 2, batch, 1, 0, None)


def train(way: str, frames: int, batch: int, device: str) -> None:
    """A few full steps: two updates of the discriminators, one of the generator."""
    import torch

    from hvgcli.config import TrainingConfig
    from hvgcli.models import build_generator
    from hvgcli.training.distributed import Share
    from hvgcli.training.level import LevelBatch, LevelTraining, discriminator_update, generator_update

    config = make_config(frames if way == "level 1" else frames // 2, frames if way == "end to end" else WINDOW)
    number = 1 if way == "level 1" else 2
    level = LevelTraining(config, number, TrainingConfig(batch_size=batch), torch.device(device))
    spec, share = config.levels[number - 1], Share.whole(batch)
    conditions = frozen_outlines(config, batch, device) if way == "level 2" else None
    outline = build_generator(config, 1).to(device) if way == "end to end" else None

    def generated_low(step: int, use: str):  # type: ignore[no-untyped-def]
        if conditions is not None:
            return conditions.windows(step, use, level.device)[0]
        return None if outline is None else outline(torch.randn(batch, 16, device=device), None)

    def make_batch(step: int, use: str) -> list[LevelBatch]:
        video = random_video(batch, spec.frames, spec.resolution, device)
        low = random_video(batch, spec.frames // 2, 16, device) if number == 2 else None
        return [LevelBatch(video, None, low, generated_low(step, use), None, share)]

    for step in range(STEPS):
        for update in range(2):
            with torch.no_grad():
                videos = make_batch(step, f"{update}")
            discriminator_update(level, videos, step, update)
        generator_update(level, make_batch(step, "2"), step)


def warm_up(device: str) -> None:
    """Load what the first convolution loads, so that it is not counted."""
    import torch

    import hvgcli.training.batches  # noqa: F401

    convolution = torch.nn.Conv3d(4, 4, 3, device=device)
    optimizer = torch.optim.Adam(convolution.parameters())
    convolution(torch.zeros(1, 4, 4, 4, 4, device=device)).sum().backward()
    optimizer.step()


def peak_mib(device: str) -> float:
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def worker(way: str, frames: int, batch: int, device: str) -> float:
    """MiB at the peak above the start."""
    warm_up(device)
    before = peak_mib(device)
    train(way, frames, batch, device)
    return peak_mib(device) - before


# ---- results --------------------------------------------------------------------------------------


def point(way: str, frames: int, options: argparse.Namespace) -> float:
    command = [sys.executable, __file__, "--worker", way, str(frames), str(options.batch), options.device]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return float(done.stdout.splitlines()[-1])


def growth(row: dict[int, float]) -> float:
    """Memory at the most frames as a multiple of that at the fewest."""
    return row[max(row)] / row[min(row)]


def page(mib: dict[str, dict[int, float]], options: argparse.Namespace) -> str:
    machine = describe()
    where = "highest allocated GPU memory" if options.device == "cuda" else "highest resident memory above the start"
    lines = [
        "# Memory of training and output frames",
        "",
        f"Taken by `python benchmarks/memory_scaling.py --device {options.device}`; the numbers and the machine "
        f"({machine['processor']}) are in the JSON file beside this one.",
        f"MiB, {where}, each point in a process of its own; float32, batch {options.batch}, two levels of 16x16 and",
        "64x64 pixels with few channels, full steps with all discriminators.",
        "",
        f"| trained | {' | '.join(f'{frames} frames' for frames in FRAMES)} | last / first |",
        "|---" * (len(FRAMES) + 2) + "|",
    ]
    for way, row in mib.items():
        lines.append(f"| {WAYS[way]} | {' | '.join(f'{row[frames]:.0f}' for frames in FRAMES)} | {growth(row):.2f} |")
    lines += [
        "",
        "Frames are those of the output, but at level 1 its own. The level above is trained on a window, so its memory",
        "does not depend on the length of the video (HVG, figure 5).",
        "",
        "![Peak memory against output frames](memory_scaling.png)",
    ]
    return "\n".join(lines) + "\n"


def plot(mib: dict[str, dict[int, float]], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for (way, row), marker in zip(mib.items(), "os^", strict=True):
        axes.plot(list(row), list(row.values()), marker=marker, label=WAYS[way])
    axes.set(xlabel="output frames", ylabel="peak training memory, MiB", xticks=FRAMES, ylim=(0, None))
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--worker"]:
        way, frames, batch, device = arguments[1:]
        print(worker(way, int(frames), int(batch), device))
        return
    options = parse(arguments)
    mib: dict[str, dict[int, float]] = {}
    for way in WAYS:
        mib[way] = {frames: point(way, frames, options) for frames in FRAMES}
        print(json.dumps({way: mib[way]}), flush=True)
    RESULTS.mkdir(exist_ok=True)
    plot(mib, str(RESULTS / "memory_scaling.png"))
    (RESULTS / "memory_scaling.md").write_text(page(mib, options))
    result: dict[str, Any] = {"batch": options.batch, "device": options.device, "mib": mib}
    print(save("memory_scaling", result))


if __name__ == "__main__":
    main(sys.argv[1:])
