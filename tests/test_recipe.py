"""`examples/train_hvg_mini.sh`: clips in, a finished model and samples out, with the presets that it names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tiny_training import write_preset

from hvgcli.checkpoints import level_metadata, read_model_config
from hvgcli.config import DiscriminatorConfig, Preset
from hvgcli.presets import find_preset
from hvgcli.video import count_frames

EXAMPLES = Path(__file__).parents[1] / "examples"
HOUR = EXAMPLES / "hvg_mini_hour.json"
SIDES = (8, 16, 32)


def small(preset: Preset) -> Preset:
    """Its levels and aids at tiny widths, for two steps: one of reconstruction, one with discriminators."""

    def narrow(discriminator: DiscriminatorConfig | None) -> DiscriminatorConfig | None:
        return discriminator and replace(discriminator, channels=4, multipliers=(1, 2))

    levels = tuple(
        replace(
            level,
            frames=4,
            resolution=side,
            channels=4,
            multipliers=(2, 1, 1, 1, 1)[: 3 + number],
            spatial=narrow(level.spatial),
            temporal=narrow(level.temporal),
            matching=narrow(level.matching),
        )
        for number, (level, side) in enumerate(zip(preset.model.hierarchy, SIDES, strict=True))
    )
    model = replace(preset.model, name="small", levels=levels, num_classes=2, classes=())
    training = []
    for part in preset.training:
        assert part.reconstruction is not None
        aid = replace(part.reconstruction, steps=1)
        training.append(replace(part, steps=2, batch_size=2, spatial_frames=2, reconstruction=aid))
    return Preset(model, tuple(training), preset.source)


def test_the_recipe_makes_a_model_of_clips_alone(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    clips, runs = tmp_path / "clips", tmp_path / "runs"
    for number, label in enumerate(("cats", "dogs")):
        (clips / label).mkdir(parents=True)
        make_clip(clips / label / "a.mp4", frames=24, size=(36, 40), seed=number)
    preset = write_preset(tmp_path / "small.json", small(find_preset(str(HOUR))))
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    command = ["bash", str(EXAMPLES / "train_hvg_mini.sh"), str(clips), str(runs), str(preset), "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PATH": path}, timeout=400)
    assert done.returncode == 0, done.stderr
    model = runs / "level3-standing" / "model"
    assert read_model_config(model).classes == ("cats", "dogs")
    assert [level_metadata(model, number)["steps"] for number in (1, 2, 3)] == [2, 3, 3]  # of both parts
    assert count_frames(runs / "samples.mp4") > 0


def test_the_hour_is_the_recipe_with_fewer_steps() -> None:
    """Levels of the same shapes: only then is it a comparison of times. Steps count by their videos."""
    hour, whole = find_preset(str(HOUR)), find_preset("hvg-mini")
    assert [(level.frames, level.resolution, level.stride, level.widths) for level in hour.model.hierarchy] == [
        (level.frames, level.resolution, level.stride, level.widths) for level in whole.model.hierarchy
    ]
    videos = [[training.steps * training.batch_size for training in preset.training] for preset in (hour, whole)]
    assert all(3 * few <= many for few, many in zip(*videos, strict=True))
    assert json.loads(HOUR.read_text())["model"]["name"] == hour.model.name == "hvg-mini-hour"
