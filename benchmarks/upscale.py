"""Speed, memory and quality of `hvg upscale`, beside ffmpeg's scale=lanczos and minterpolate in the same run.

    python benchmarks/upscale.py FOLDER ...              # both parts, writes benchmarks/results/upscale.{json,md}
    python benchmarks/upscale.py --level 2 FOLDER ...    # another level than the last; results of the others stay
    python benchmarks/upscale.py --part speed --quick    # one part; the results of the other one stay
    python benchmarks/upscale.py --part quality FOLDER ... --features frames --features NETWORK.pt

A folder has clips, or a folder of clips for each class; without any it is $HVG_DATA. How much is enlarged, in space
and in time, is the level's own; where it makes no frames between, minterpolate is left out. `upscale_quality.py` says
how quality is measured. Speed is that of whole processes, from file to file, of clips that are made here.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from machine import RESULTS, describe, median, save
from upscale_factors import Factors
from upscale_page import page

from hvgcli.checkpoints import read_model_config
from hvgcli.hub import DEFAULT_MODEL, resolve
from hvgcli.video import Frames, VideoWriter, count_frames
from hvgcli.video.ffmpeg import ffmpeg_program

SIZES = ((48, 64), (72, 96), (120, 160))
LENGTHS, QUICK_LENGTHS = (16, 48, 96), (8, 16, 32)
RATE = 15


# ---- speed and memory -----------------------------------------------------------------------------


def moving_clip(frames: int, size: tuple[int, int]) -> Frames:
    """Colours and edges that drift, uint8 (frames, H, W, 3)."""
    time_, row, column = np.meshgrid(np.arange(frames), np.arange(size[0]), np.arange(size[1]), indexing="ij")
    waves = [np.sin((column * (c + 1) + row * (3 - c)) / 9 - 0.3 * (c + 1) * time_) for c in range(3)]
    stripes = 30 * ((column + row // 2 - time_) // 5 % 2)
    clip: Frames = (100 + 60 * np.stack(waves, axis=-1) + stripes[..., None]).clip(0, 255).astype(np.uint8)
    return clip


def our_command(source: Path, target: Path, model: str, level: int) -> list[str]:
    command = [sys.executable, "-m", "hvgcli", "upscale", str(source), "-o", str(target), "--quiet", "--overwrite"]
    return [*command, "--model", model, "--level", str(level)]


def peer_command(source: Path, target: Path, times: Factors) -> list[str]:
    """What a user types for the same job: as large, as many frames, H.264 of the same quality."""
    filters = f"scale=iw*{times.space}:ih*{times.space}:flags=lanczos"
    if times.time > 1:
        filters += f",minterpolate=fps={times.time * RATE}"
    command = [ffmpeg_program(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-i", str(source)]
    return [*command, "-vf", filters, "-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", str(target)]


def run_process(command: list[str], target: Path) -> dict[str, float]:
    """Wall and processor seconds, peak MiB and frames of one process that writes `target`."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}")
    return {
        "seconds": time.perf_counter() - start,
        "processor seconds": usage.ru_utime + usage.ru_stime,
        "peak MiB": usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10),
        "frames": count_frames(target),
    }


def measure_speed(options: argparse.Namespace, times: Factors) -> dict[str, Any]:
    """Both sides, of all sizes and lengths: medians over the rounds. They take turns: a slow spell meets both."""
    lengths = QUICK_LENGTHS if options.quick else LENGTHS
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.mp4", Path(folder) / "target.mp4"
        commands = {
            "ours": our_command(source, target, options.model, options.level),
            "ffmpeg": peer_command(source, target, times),
        }
        for size in SIZES:
            for length in lengths:
                with VideoWriter(source, size=size, rate=Fraction(RATE)) as writer:
                    writer.write(moving_clip(length, size))
                row = {"size": f"{size[1]}x{size[0]}", "source frames": length}
                row |= _sides(commands, target, options.rounds)
                rows.append(row)
                print(json.dumps(row), flush=True)
    return {"rounds": options.rounds, "load of the machine": os.getloadavg()[0], "rows": rows}


def _sides(commands: dict[str, list[str]], target: Path, rounds: int) -> dict[str, dict[str, float]]:
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in commands}
    for _ in range(rounds):
        for side, command in commands.items():
            runs[side].append(run_process(command, target))
    return {side: {key: median([run[key] for run in every]) for key in every[0]} for side, every in runs.items()}


# ---- quality --------------------------------------------------------------------------------------


def measure_quality(options: argparse.Namespace) -> dict[str, Any]:
    from hvgcli.runtime import tune_allocator

    tune_allocator()
    import upscale_quality as quality

    from hvgcli.metrics import networks

    start = time.perf_counter()
    chosen = quality.Options(
        options.model,
        options.level,
        options.windows,
        options.every,
        options.frames,
        options.variants,
        options.seed,
    )
    found = quality.measure(
        named(options.folders),
        [networks.resolve(name) for name in options.features or ["frames"]],
        chosen,
        lambda line: print(line, file=sys.stderr, flush=True),
    )
    return {
        "size": quality.SIZE,
        "frames": options.frames,
        "every": options.every,
        "resamplings": quality.RESAMPLINGS,
        "seconds": time.perf_counter() - start,
        "load of the machine": os.getloadavg()[0],
        "sets": found,
    }


def named(folders: list[Path]) -> dict[str, Path]:
    """Folders by the names of their sets: that of the folder above for `val`."""
    if not folders and "HVG_DATA" not in os.environ:
        raise SystemExit("no clips to measure quality with: name folders of them, or set HVG_DATA")
    folders = folders or [Path(os.environ["HVG_DATA"])]
    return {folder.resolve().parent.name if folder.name == "val" else folder.name: folder for folder in folders}


# ---- results --------------------------------------------------------------------------------------


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or folder")
    parser.add_argument("--level", type=int, help="that enlarges, from 2; default: the model's last")
    parser.add_argument("--part", action="append", choices=("speed", "quality"), help="default: both")
    parser.add_argument("--quick", action="store_true", help="speed: shorter clips")
    parser.add_argument("--rounds", type=int, default=3, help="speed: in which the sides take turns")
    parser.add_argument("--features", action="append", help="quality: frames, i3d or a TorchScript file; repeat")
    parser.add_argument("--windows", type=int, default=96, help="quality: of each set")
    parser.add_argument("--every", type=int, default=4, help="quality: PSNR and SSIM of every so many windows")
    parser.add_argument("--frames", type=int, default=24, help="quality: of a window")
    parser.add_argument("--seed", type=int, default=0, help="quality: of the choice of windows")
    parser.add_argument("--variants", action="store_true", help="quality: other settings of ours too")
    return parser.parse_args(arguments)


def choose_level(options: argparse.Namespace) -> Factors:
    """Put the number of the level where the options have none; what it does."""
    config = read_model_config(resolve(options.model))
    last = len(config.levels)
    options.level = last if options.level is None else options.level
    if not 2 <= options.level <= last:
        raise SystemExit(f"--level {options.level} of {options.model} enlarges nothing: choose 2 to {last}")
    return Factors.of(config, options.level)


def kept_levels() -> dict[str, Any]:
    """What earlier runs found of each level."""
    path = RESULTS / "upscale.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    return {key: value for key, value in found.items() if key.startswith("level ")}


def measure(options: argparse.Namespace, times: Factors) -> dict[str, Any]:
    """The parts that are asked for, each with the machine that it was taken on."""
    parts, found = options.part or ["speed", "quality"], {}
    if "speed" in parts:  # first: a process as large as the other part would count as the memory of its children
        found["speed"] = measure_speed(options, times)
    if "quality" in parts:
        found["quality"] = measure_quality(options)
    return {part: values | {"machine": describe()} for part, values in found.items()}


def joined(
    levels: dict[str, Any], options: argparse.Namespace, times: Factors, found: dict[str, Any]
) -> dict[str, Any]:
    """What is known of all levels, with what was found of one; the part of it that was not taken now stays."""
    same = {"model": options.model, "number": options.level, "factors": times._asdict()}
    kept = levels.get(f"level {options.level}", {})
    if any(kept.get(name) != value for name, value in same.items()):
        kept = {}  # another model's, or the same one's when its levels were others
    every = levels | {f"level {options.level}": kept | same | found}
    return dict(sorted(every.items(), key=lambda item: item[1]["number"]))


def main(arguments: list[str]) -> None:
    options = parse(arguments)
    times = choose_level(options)
    found = measure(options, times)
    levels = joined(kept_levels(), options, times, found)
    print(save("upscale", levels))
    (RESULTS / "upscale.md").write_text(page(list(levels.values())))


if __name__ == "__main__":
    main(sys.argv[1:])
