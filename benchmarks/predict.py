"""Prediction and training with each recurrent unit at equal width: frames per second, and a step against ConvGRU's.

    python benchmarks/predict.py               # writes benchmarks/results/predict.{json,md}
    python benchmarks/predict.py --batch 2 --rounds 1 --units ConvGRU TSRU_p      # printed only

Whole models, those of the preset `trivd-gan-fp-mini` with another unit: 5 frames -> 11 of 64x64. The units take turns;
times are processor seconds of one thread, which other load does not count in, and each unit's least counts. A step is
two updates of the discriminators and one of the generator, with the "faster" decomposition, as where the paper
compares units (section 4.3).
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import torch
from machine import RESULTS, describe, save
from one_stage import noise, noise_batch, step, training

from hvgcli.layers.units import UNITS
from hvgcli.models.frame_prediction import FramePredictor
from hvgcli.training.level import LevelTraining

PRESET = "trivd-gan-fp-mini"
LIMIT = 1.3  # asked of TSRU's step, in units of ConvGRU's
PAPER = {"ConvGRU": 284, "TSRU_p": 354}  # ms of a step (appendix F.4)


@torch.inference_mode()
def predicting(level: LevelTraining, count: int) -> float:
    """Frames a processor second of a batch of `count` continuations, with the statistics of the batch."""
    predictor = level.generator
    assert isinstance(predictor, FramePredictor)
    spec = predictor.level
    context, z = noise(count, spec.context, spec.resolution), torch.randn(count, spec.z_dim)
    start = time.process_time()
    with torch.autocast("cpu", torch.bfloat16):
        predictor(context, z)
    return count * spec.frames / (time.process_time() - start)


def compare(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Of every unit: parameters, the fastest prediction and the fastest step, over rounds that take turns."""
    levels = {name: training(PRESET, options.batch, unit=name, decomposition="faster") for name in options.units}
    batches = {name: noise_batch(level) for name, level in levels.items()}
    speed, seconds = dict.fromkeys(levels, 0.0), dict.fromkeys(levels, float("inf"))
    for number in range(options.rounds + 1):
        for name, level in levels.items():
            fps, taken = predicting(level, options.batch), step(level, batches[name], number)
            if number:
                speed[name], seconds[name] = max(speed[name], fps), min(seconds[name], taken)
        print(f"round {number} of {options.rounds}", flush=True)
    return {
        name: {
            "parameters": sum(parameter.numel() for parameter in level.generator.parameters()),
            "frames per second": speed[name],
            "step, s": seconds[name],
            "step ratio": seconds[name] / seconds["ConvGRU"],
        }
        for name, level in levels.items()
    }


def page(rows: dict[str, dict[str, Any]], options: argparse.Namespace) -> str:
    """The results for people."""
    machine = describe()
    lines = [
        "# Recurrent units of the predictors",
        "",
        f"Taken by `python benchmarks/predict.py` on {machine['processor']}, one thread, torch {machine['torch']}: "
        f"{PRESET} with each unit at equal width,",
        f"batch {options.batch}, bfloat16 autocast; processor seconds, best of {options.rounds} rounds in turn.",
        "A step is two updates of the discriminators (faster decomposition) and one of the generator.",
        "",
        "| unit | generator, parameters | prediction, frames/s | step, s | relative to ConvGRU | paper |",
        "|---" * 6 + "|",
    ]
    for name, row in rows.items():
        paper = f"{PAPER[name] / PAPER['ConvGRU']:.2f}" if name in PAPER else ""
        cells = (
            name, f"{row['parameters']:,}", f"{row['frames per second']:.1f}", f"{row['step, s']:.2f}",
            f"{row['step ratio']:.2f}", paper,
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Asked of TSRU's step: at most {LIMIT} times ConvGRU's."]) + "\n"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", nargs="+", choices=UNITS, default=list(UNITS))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = compare(options)
    for name, row in rows.items():
        print(name, row)
    if options.units == list(UNITS):
        (RESULTS / "predict.md").write_text(page(rows, options))
        print(save("predict", {"batch": options.batch, "rounds": options.rounds, "units": rows}))


if __name__ == "__main__":
    main(sys.argv[1:])
