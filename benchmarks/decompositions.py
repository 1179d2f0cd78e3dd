"""TrIVD-GAN's table 1 at mini scale: a training step and its memory for each discriminator decomposition.

    python benchmarks/decompositions.py            # writes benchmarks/results/decompositions.{json,md}
    python benchmarks/decompositions.py --batch 2 --rounds 1 --rows dvd-gan faster     # printed only

The generator is that of `trivd-gan-fp-mini`. A step is two updates of the discriminators and one of the generator
(appendix E.3), adversarial alone. Each row runs in processes of its own, in turn with the others; times are processor
seconds of one thread, which other load does not count in, and the least counts. Memory is the process's peak less that
of a process which has only built the networks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

import torch
from machine import RESULTS, describe, save
from one_stage import noise_batch, peak_bytes, step, training

from hvgcli.models.decompositions import DECOMPOSITIONS

PRESET = "trivd-gan-fp-mini"
PAPER = {  # name in the paper, what it sees, ms and GB of its table 1
    "clip": ("Clip", "clV", 488, 3.49),
    "downsampled": ("Downsampled", "dV", 370, 3.01),
    "cropped": ("Cropped", "crV", 371, 3.10),
    "cropped-downsampled": ("Cropped & Downsampled", "dV, crV", 467, 3.30),
    "mocogan-1": ("MoCoGAN-like, K = 1", "F, clV", 568, 3.95),
    "mocogan-8": ("MoCoGAN-like, K = 8", "F, clV", 660, 3.95),
    "dvd-gan": ("DVD-GAN-FP", "F, dV", 537, 3.53),
    "faster": ("DVD-GAN-FP faster", "dF, crV", 453, 3.54),
    "stronger": ("DVD-GAN-FP stronger", "dF, dV, crV", 548, 3.65),
}
BASE = "dvd-gan"


def pixels(name: str) -> int:
    """Pixels of a video that the discriminators see, all together (section 3.1)."""
    level = training(PRESET, 2, decomposition=name).config.levels[0]
    total = 0
    for view in DECOMPOSITIONS[name].values():
        frames = (view.count or 8) if view.single else level.frames + level.context  # type: ignore[union-attr]
        total += frames * (level.resolution // view.factor) ** 2
    return total


def worker(name: str, batch: int, steps: int) -> dict[str, float]:
    """Seconds of the fastest of `steps` steps after one that is not counted, and bytes of the peak."""
    torch.set_num_threads(1)
    level = training(PRESET, batch, decomposition=name)
    videos, built = noise_batch(level), peak_bytes()
    times = [step(level, videos, number) for number in range(steps + 1)][1:]
    return {"seconds": min(times), "bytes": peak_bytes() - built} if steps else {"seconds": 0.0, "bytes": 0.0}


def measured(name: str, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--worker", name, str(options.batch), str(options.steps)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return row


def page(rows: dict[str, dict[str, Any]], options: argparse.Namespace) -> str:
    """The results for people, beside the paper's."""
    machine = describe()
    lines = [
        "# Discriminator decompositions (TrIVD-GAN table 1)",
        "",
        f"Taken by `python benchmarks/decompositions.py` on {machine['processor']}, one thread, torch "
        f"{machine['torch']}: networks of {PRESET},",
        f"batch {options.batch}, bfloat16 autocast; processor seconds, least of {options.rounds} x {options.steps} "
        "steps. Memory is what a step adds to the networks.",
        "Relative to DVD-GAN-FP, and the same of the paper (its models at batch 512 on TPUs).",
        "F: frames, dF: downsampled frames, clV: clip, dV: downsampled clip, crV: cropped clip.",
        "",
        "| decomposition | sees | pixels a video | step, s | memory, MiB | step, relative | paper | memory, relative | "
        "paper |",
        "|---" * 9 + "|",
    ]
    base, known = rows[BASE], PAPER[BASE]
    for name, row in rows.items():
        title, sees, ms, gb = PAPER[name]
        cells = (
            title, sees, f"{row['pixels']:,}", f"{row['seconds']:.2f}", f"{row['bytes'] / 2**20:.0f}",
            f"{row['seconds'] / base['seconds']:.2f}", f"{ms / known[2]:.2f}",
            f"{row['bytes'] / base['bytes']:.2f}", f"{gb / known[3]:.2f}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--worker"]:
        print(json.dumps(worker(arguments[1], int(arguments[2]), int(arguments[3]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=PAPER, default=list(PAPER))
    parser.add_argument("--batch", type=int, default=8, help="the paper's, on each of its replicas (appendix E.3)")
    parser.add_argument("--steps", type=int, default=2, help="counted steps of a process")
    parser.add_argument("--rounds", type=int, default=2, help="processes of each row")
    options = parser.parse_args(arguments)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in options.rows}
    for _ in range(options.rounds):
        for name, runs in found.items():
            runs.append(measured(name, options))
            print(name, runs[-1], flush=True)
    rows: dict[str, dict[str, Any]] = {
        name: {
            "pixels": pixels(name),
            "seconds": min(run["seconds"] for run in runs),
            "bytes": min(run["bytes"] for run in runs),
        }
        for name, runs in found.items()
    }
    if options.rows == list(PAPER):
        (RESULTS / "decompositions.md").write_text(page(rows, options))
        print(save("decompositions", {"batch": options.batch, "rounds": options.rounds, "rows": rows}))


if __name__ == "__main__":
    main(sys.argv[1:])
