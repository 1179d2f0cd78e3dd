"""A predictor beside two trivial baselines on held-out clips, all by `hvg evaluate`: distances, and the best of l.

    python benchmarks/predictors.py DATA [--features FILE]    # or HVG_DATA; writes benchmarks/results/predictors.md

The baselines copy the last frame and go on along a straight line; they and the model continue the same windows of the
clips in DATA. Best of l: of l continuations of each window the best by mean SSIM (PSNR), as in TrIVD-GAN's
figure 5; beside z = 0, which has one continuation, and the last frame with noise, which has diversity and no sense.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from machine import RESULTS, describe

SETS = {
    "model, z as in training": (),
    "model, truncation 0.8": ("--truncation", "0.8"),
    "model, z = 0": ("--truncation", "0"),
    "last frame copied": ("--baseline", "copy"),
    "linear extrapolation": ("--baseline", "linear"),
}


def evaluate(folder: Path, options: argparse.Namespace, *more: str) -> dict[str, Any]:
    """One `hvg evaluate`; what its evaluation.json holds."""
    features = ("--features", options.features) if options.features else ()
    common = ("--model", options.model, "--data", options.data, *features)
    command = [sys.executable, "-m", "hvgcli", "evaluate", *common, "--out", str(folder), "--no-progress", *more]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    return found


def metric(found: dict[str, Any], start: str) -> str:
    """The value of the metric whose name begins so, with its interval where there is one."""
    for row in found["metrics"]:
        if row["name"].startswith(start):
            span = f" ({row['low']:.3g} to {row['high']:.3g})" if row.get("low") is not None else ""
            return f"{row['value']:.4g}{span}"
    return ""


def distances(work: Path, options: argparse.Namespace) -> list[str]:
    """A row for each set, a column for each distance."""
    found = {
        name: evaluate(work / str(number), options, "--num", str(options.num), "--metrics", "fvd,kvd,psd", *more)
        for number, (name, more) in enumerate(SETS.items())
    }
    names = [row["name"] for row in next(iter(found.values()))["metrics"]]
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(metric(part, key) for key in names)} |" for name, part in found.items()]
    protocol = next(iter(found.values()))["protocol"]
    real = protocol["real"]
    return [
        *lines,
        "",
        f"{real['videos']} windows of {real['frames']} frames ({protocol['generated']['context']} known, "
        f"{protocol['generated']['predicted']} new) of {real['size']} from {real['takes']} takes, stride "
        f"{real['stride']}; the same windows for all rows. Network {protocol['network']}, sha256 "
        f"{protocol['network_sha256'][:16]}.",
    ]


def best_of(work: Path, options: argparse.Namespace) -> list[str]:
    """Mean SSIM and PSNR of the best of l for each l, of the model and of what it has to beat."""
    counts = [int(count) for count in options.best_of.split(",")]
    found = evaluate(
        work / "best", options, "--metrics", "ssim,psnr", "--best-of", options.best_of, "--clips", str(options.clips)
    )["best_of"]
    lines = [
        f"| score | of | {' | '.join(f'l = {count}' for count in counts)} | gain |",
        "|---" * (len(counts) + 3) + "|",
    ]
    values: dict[tuple[str, str], dict[int | None, float]] = {}
    for row in found["rows"]:
        values.setdefault((row["score"], row["of"]), {})[row["best_of"]] = row["value"]
    for (score, of), known in values.items():
        row = [known.get(count, known.get(None, float("nan"))) for count in counts]
        cells = " | ".join(f"{value:.4g}" for value in row)
        lines.append(f"| {score.upper()} | {of} | {cells} | {row[-1] - row[0]:.3g} |")
    return [*lines, "", f"{found['windows']} windows of {found['takes']} takes."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default=os.environ.get("HVG_DATA"), help="folder of held-out clips")
    parser.add_argument("--model", default="trivd-gan-fp-mini")
    parser.add_argument("--features", help="frames (default), i3d, or a TorchScript file")
    parser.add_argument("--num", type=int, default=2048, help="windows at most")
    parser.add_argument("--best-of", default="1,10,100")
    parser.add_argument("--clips", type=int, default=32, help="windows of the best of l")
    parser.add_argument("--out", type=Path, default=RESULTS / "predictors.md")
    options = parser.parse_args()
    if not options.data:
        parser.error("give a folder of clips, or set HVG_DATA")
    machine = describe()
    with tempfile.TemporaryDirectory() as folder:
        lines = [
            f"# {Path(options.model).name} on held-out clips",
            "",
            f"Taken by `python benchmarks/predictors.py` on {machine['processor']}, torch {machine['torch']}.",
            "",
            *distances(Path(folder), options),
            "",
            *best_of(Path(folder), options),
        ]
    options.out.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
