"""What `hvg evaluate` says of sets whose answer is known: two halves of real clips, a half in squares, and noise.

    python benchmarks/evaluate_halves.py CLIPS [--features frames|i3d|FILE]

CLIPS is a folder of class folders. The halves are every other file; no file is in both. FVD_inf of the halves
should be near 0, with 0 in its interval; that of noise, of the same size and count, far from it.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
from machine import RESULTS, describe

from hvgcli.data.sources import list_source
from hvgcli.video import Frames, VideoWriter, iter_frames

SIZE = 64


def halves(clips: Path, folder: Path) -> tuple[Path, Path]:
    """Two lists of every other file, each class shared out evenly."""
    listing = list_source(clips)
    paths = []
    for half in (0, 1):
        chosen = [item for label in range(len(listing.classes)) for item in _of(listing.items, label)[half::2]]
        paths.append(folder / f"half{half + 1}.csv")
        with paths[-1].open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["path", "label"])
            rows.writerows([item.path.resolve(), listing.classes[item.label or 0]] for item in chosen)
    return paths[0], paths[1]


def _of(items: object, label: int) -> list:  # type: ignore[type-arg]
    return [item for item in items if item.label == label]  # type: ignore[attr-defined]


def changed(half: Path, folder: Path, kind: str) -> Path:
    """The clips of a list, each replaced by noise of its length, or of squares of 8x8 pixels."""
    with half.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rng = np.random.default_rng(0)
    for number, row in enumerate(rows):
        frames = np.stack(list(iter_frames(Path(row["path"]))))
        path = folder / kind / row["label"] / f"{number:04d}.mp4"
        made = rng.integers(0, 256, (len(frames), SIZE, SIZE, 3), np.uint8) if kind == "noise" else squares(frames)
        with VideoWriter(path, size=made.shape[1:3], rate=Fraction(25), crf=4) as writer:
            writer.write(made)
    return folder / kind


def squares(frames: Frames) -> Frames:
    """Averages of 8x8 pixels, as large as before."""
    height, width = (side // 8 * 8 for side in frames.shape[1:3])
    cells = frames[:, :height, :width].reshape(len(frames), height // 8, 8, width // 8, 8, 3).mean((2, 4))
    return np.repeat(np.repeat(cells, 8, 1), 8, 2).round().astype(np.uint8)


def evaluate(fake: Path, real: Path, options: argparse.Namespace) -> dict[str, object]:
    chosen = ["--frames", options.frames, "--num", options.num, "--features", options.features]
    fixed = ["--sampler", "windows", "--size", f"{SIZE}x{SIZE}", "--metrics", "fvd,kvd,prdc", "--json", "--quiet"]
    command = [sys.executable, "-m", "hvgcli", "evaluate", "--fake", fake, "--real", real, *fixed, *chosen]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True)
    result: dict[str, object] = json.loads(done.stdout)
    return result


def table(results: dict[str, dict[str, object]]) -> str:
    names = [metric["name"] for metric in next(iter(results.values()))["metrics"]]  # type: ignore[index, union-attr]
    lines = ["| against half 1 | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for name, result in results.items():
        cells = [_cell(metric) for metric in result["metrics"]]  # type: ignore[attr-defined]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(metric: dict[str, float]) -> str:
    if metric["low"] is None or not str(metric["key"]).endswith("inf"):
        return _number(metric["value"])
    return f"{_number(metric['value'])} ({_number(metric['low'])} to {_number(metric['high'])})"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--features", default="frames")
    parser.add_argument("--frames", default="16")
    parser.add_argument("--num", default="2048")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        first, second = halves(options.clips, Path(scratch))
        fakes = {"half 2": second} | {
            f"half 2, {kind}": changed(second, Path(scratch), kind) for kind in ("squares", "noise")
        }
        results = {name: evaluate(fake, first, options) for name, fake in fakes.items()}
    protocol = next(iter(results.values()))["protocol"]
    text = table(results)
    name = protocol["network"]  # type: ignore[index]
    (RESULTS / f"evaluate_halves_{name}.json").write_text(
        json.dumps(
            {"machine": describe(), "results": {key: value["metrics"] for key, value in results.items()}}, indent=1
        )
        + "\n"
    )
    known = {key: value for key, value in protocol.items() if key not in ("real", "generated")}  # type: ignore[attr-defined]
    (RESULTS / f"evaluate_halves_{name}.md").write_text(
        f"# Sets whose answer is known, by `{name}`\n\n{text}\n\n"
        f"Two halves of {options.clips.name}, no file in both: {json.dumps(known)}; "
        f"real {json.dumps(protocol['real'])}.\n"  # type: ignore[index]
    )
    print(text)


if __name__ == "__main__":
    main()
