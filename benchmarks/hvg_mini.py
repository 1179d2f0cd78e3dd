"""The table of hvg-mini on held-out clips: distances of all rows, and the six criteria (a) to (f).

    python benchmarks/hvg_mini.py DATA --features FILE     # writes benchmarks/results/hvg-mini.md and hvg-mini.json

DATA has a folder of clips in class folders for training (`train`) and one of held-out clips (`val`). Features are
kept in the cache of `hvg`, and finished rows in the JSON file: the same command goes on where it was stopped, and
measures again only what has changed, as a model with another sha. `--rows` measures some parts only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import hvg_mini_criteria as criteria
from hvg_mini_page import page
from hvg_mini_picture import outside, save_picture
from hvg_mini_sets import LONG, SHORT, Changed, Noise, Sets, frozen, outline_enlarged
from machine import RESULTS, describe

from hvgcli.checkpoints import level_metadata, read_model_config, write_json
from hvgcli.hub import resolve
from hvgcli.metrics.networks import TorchScriptNetwork
from hvgcli.metrics.videos import Videos

SIGMAS = (1.0, 0.5)
TRUNCATION = (0.25, 0.5, 0.75, 1.0)  # as in DVD-GAN's table 1
VERSION = 2  # of what rows hold: another one measures all again


@dataclass(frozen=True)
class Part:
    """A row of the table, or a criterion."""

    name: str
    depends: Callable[[], list[Any]]
    """What it is measured on, as JSON values: when that changes it is measured again."""
    measure: Callable[[], dict[str, Any]]


def row(sets: Sets, name: str, make: Callable[[int], Videos], frames: int, trials: int, *, late: bool = False) -> Part:
    """Distances of a set of videos to the held-out windows; with `late`, also what becomes of its last frames.

    Their axes are those of the training windows.
    """
    parts = late and frames == LONG

    def measure() -> dict[str, Any]:
        real, fake = sets.gather(sets.held_out(frames), parts=frames == LONG), sets.gather(make(frames), parts=parts)
        found: dict[str, Any] = {"videos": len(fake), "takes": fake.described["takes"]}
        found["distances"] = criteria.distances(real, fake, criteria.axes_of(sets, frames), trials)
        found |= {"spectra": criteria.spectra(real, fake)} if frames == LONG else {}
        return found | ({"late": criteria.late(real, fake, trials)} if parts else {})

    def depends() -> list[Any]:
        return [make(frames).described, sets.held_out(frames).key, sets.pool(frames).key]

    return Part(f"{name}, {frames} frames", depends, measure)


def generated_rows(sets: Sets, models: list[str], trials: int) -> list[Part]:
    """The models at both values of sigma."""
    return [
        row(sets, criteria.titled(model, sigma), partial(sets.generated, model, sigma), frames, trials, late=True)
        for frames in (LONG, SHORT)
        for sigma in SIGMAS
        for model in models
    ]


def real_rows(sets: Sets, sides: list[tuple[int, int]], trials: int) -> list[Part]:
    """Real clips, whole and with less and less left of them.

    sides: of outlines, with the frames of the video for one of theirs.
    """

    def changed(source: Callable[[int], Videos], name: str, change: Callable[..., Any], frames: int) -> Videos:
        return Changed(source(frames), name, change)

    kinds: dict[str, Callable[[int], Videos]] = {"training clips": sets.training}
    for side, step in sides:
        change = partial(outline_enlarged, side=side, step=step)
        kinds[f"training clips of {side}x{side}, enlarged"] = partial(
            changed, sets.training, f"{side}x{side}, every {step}", change
        )
    side, step = sides[0]
    change = partial(outline_enlarged, side=side, step=step)
    kinds[f"the held-out clips themselves of {side}x{side}, enlarged"] = partial(
        changed, sets.held_out, f"{side}x{side}, every {step}", change
    )
    kinds["first frames of training clips, frozen"] = partial(changed, sets.training, "frozen", frozen)
    kinds["noise"] = lambda frames: Changed(sets.training(frames), "noise", Noise())
    return [
        row(sets, name, make, frames, trials, late=name == "training clips")
        for frames in (LONG, SHORT)
        for name, make in kinds.items()
    ]


def criteria_parts(sets: Sets, models: list[str], sides: list[tuple[int, int]], trials: int) -> list[Part]:
    """(a) to (f), but for the parts of (c), which are in the rows.

    models: the one that the table is about first, the one of one stage last.
    """
    model, other = models[0], models[-1]
    shas = [sets.model(name).sha for name in models]

    def part(name: str, measure: Callable[[], dict[str, Any]], *also: Any, pool: int = 0) -> Part:
        """pool: frames of the training windows that it is measured with; 0 = it needs none."""

        def depends() -> list[Any]:
            real = [sets.held_out(frames).described for frames in (LONG, SHORT)]
            return [shas, *real, *also, sets.pool(pool).key if pool else None]

        return Part(name, depends, measure)

    pairs = {
        criteria.titled(name, s): partial(criteria.against, sets, name, other, s, trials)
        for name in models[:-1]
        for s in SIGMAS
    }
    errors = {f"sigma {s:g}": partial(criteria.grounding, sets, model, s) for s in SIGMAS}
    return [
        part("classes", lambda: criteria.probed(sets, models, SIGMAS), sets.extra, pool=LONG),
        part("motion", lambda: criteria.motion(sets, models, SIGMAS), sets.extra, pool=LONG),
        Part("outlines", lambda: [sets.pool(LONG).key, sides], lambda: criteria.outlines_motion(sets, sides)),
        part("truncation", lambda: criteria.truncation(sets, model, TRUNCATION), TRUNCATION, pool=LONG),
        part("against", lambda: {name: measure() for name, measure in pairs.items()}, trials, pool=LONG),
        part("grounding", lambda: {name: measure() for name, measure in errors.items()}),
        part("copies", lambda: criteria.copies(sets, models, SIGMAS), sets.extra, pool=SHORT),
    ]


# ---- rows that are there ---------------------------------------------------------------------------


def key_of(depends: list[Any]) -> str:
    return hashlib.sha256(json.dumps([VERSION, depends], sort_keys=True).encode()).hexdigest()[:16]


def measured(parts: list[Part], known: dict[str, Any], common: list[Any], wanted: list[str]) -> list[tuple[Part, str]]:
    """The parts that are still to be measured, with their keys. wanted: beginnings of names; none = all."""
    asked = [part for part in parts if not wanted or any(part.name.startswith(name) for name in wanted)]
    keys = [(part, key_of([*common, part.depends()])) for part in asked]
    return [(part, key) for part, key in keys if known.get(part.name, {}).get("key") != key]


def run(parts: list[Part], result: dict[str, Any], file: Path, common: list[Any], wanted: list[str]) -> None:
    """Measure what is missing, and keep each part as soon as it is there."""
    rows = result.setdefault("parts", {})
    waiting = measured(parts, rows, common, wanted)
    for number, (part, key) in enumerate(waiting, start=1):
        print(f"[{number}/{len(waiting)}] {part.name}", file=sys.stderr, flush=True)
        begun = time.perf_counter()
        found = part.measure()
        rows[part.name] = {"key": key, "seconds": round(time.perf_counter() - begun, 1), **found}
        write_json(file, result)


def load_sets(options: argparse.Namespace) -> Sets:
    """Frames, size and stride are those of the model's last level."""
    config = read_model_config(resolve(options.model))
    own = config.levels[-1]
    return Sets(
        data=Path(options.data),
        train=options.train,
        val=options.val,
        network=TorchScriptNetwork(Path(options.features)),
        num=options.num,
        extra=options.extra,
        size=(own.resolution, own.resolution),
        stride=own.stride,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )


def outlines(model: str) -> list[tuple[int, int]]:
    """(side, frames of the video for one of it) of the levels below the last, the largest first; 32 for one level."""
    config = read_model_config(resolve(model))
    last, factor = len(config.levels), config.frame_factor
    below = range(last - 1, 0, -1)
    return [(config.levels[level - 1].resolution, factor(last) // factor(level)) for level in below] or [(32, 2)]


def models_of(options: argparse.Namespace) -> list[str]:
    """The model that the table is about, those beside it, and the one of one stage."""
    return [options.model, *options.beside, options.against]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default=os.environ.get("HVG_DATA"), help="folder with train and val")
    parser.add_argument("--features", required=True, help="TorchScript file of the feature network")
    parser.add_argument("--model", default="hvg-mini")
    parser.add_argument("--against", default="dvd-gan-mini", help="the model of one stage to compare with")
    parser.add_argument("--beside", action="append", default=[], help="one more model of the table, again for others")
    parser.add_argument("--train", default="train", help="name of the folder of training clips")
    parser.add_argument("--val", default="val", help="name of the folder of held-out clips")
    parser.add_argument("--num", type=int, default=264, help="videos of a set at most")
    parser.add_argument("--extra", type=int, default=24, help="generated videos of each class that is not held out")
    parser.add_argument("--trials", type=int, default=100, help="bootstrap samples over takes")
    parser.add_argument("--rows", default="", help="names, or beginnings of them, with / between; all without")
    parser.add_argument("--picture", type=Path, help="PNG of samples over their nearest training windows")
    parser.add_argument("--out", type=Path, default=RESULTS / "hvg-mini.md")
    options = parser.parse_args()
    if not options.data:
        parser.error("give a folder of clips, or set HVG_DATA")
    names = [Path(name).name for name in models_of(options)]
    if twice := [name for name in names if names.count(name) > 1]:
        parser.error(f"two models are called {twice[0]}: name folders with different names")
    if options.picture and not outside(options.picture):
        parser.error(f"{options.picture} is in the repository, and clips may not be copied there: choose another place")
    return options


def main() -> None:
    options = parsed()
    file = options.out.with_suffix(".json")
    result: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    sets = load_sets(options)
    models, sides = models_of(options), outlines(options.model)
    parts = [
        *generated_rows(sets, models, options.trials),
        *criteria_parts(sets, models, sides, options.trials),
        *real_rows(sets, sides, options.trials),
    ]
    result |= {"machine": describe(), "protocol": protocol(sets, models, options), "order": [p.name for p in parts]}
    names = [name.strip() for name in options.rows.split("/") if name.strip()]
    run(parts, result, file, [sets.network.sha256, options.trials], names)
    write_json(file, result)
    options.out.write_text(page(result))
    print(options.out)
    if options.picture:
        save_picture(sets, options.model, SIGMAS[0], result["parts"]["copies"]["samples"], options.picture)
        print(options.picture)


def trained_seconds(model: str) -> float | None:
    """What the training of all levels of a model took, by its own account; None where it tells nothing."""
    folder = resolve(model)
    levels = range(1, len(read_model_config(folder).levels) + 1)
    told = [level_metadata(folder, number).get("seconds") for number in levels]
    return None if None in told else sum(told)


def protocol(sets: Sets, models: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """What all parts have in common."""
    return {
        "network": sets.network.name,
        "network_sha256": sets.network.sha256,
        "models": {Path(name).name: sets.model(name).sha for name in models},
        "seconds": {Path(name).name: trained_seconds(name) for name in models},
        "real": {str(frames): sets.held_out(frames).described for frames in (LONG, SHORT)},
        "pool": {str(frames): sets.pool(frames).described for frames in (LONG, SHORT)},
        "extra": options.extra,
        "trials": options.trials,
    }


if __name__ == "__main__":
    main()
