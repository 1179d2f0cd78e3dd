"""What a run costs, said before: parameters and states exactly, memory within a factor of what is measured."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_networks import small_config
from tiny_training import CPU, PRESET, TRAINING, train

from hvgcli.config import Preset
from hvgcli.presets import PRESETS
from hvgcli.training.estimate import estimate, steps_per_epoch
from hvgcli.training.level import LevelTraining
from hvgcli.training.plan import Run
from hvgcli.training.run_state import states

# One full step with real numbers; prints how far the process grew, in bytes.
MEASURE = """
import sys, torch
from dataclasses import replace
from pathlib import Path
from hvgcli.presets import PRESETS
from hvgcli.training.distributed import Share
from hvgcli.training.level import LevelBatch, LevelTraining, discriminator_update, generator_update
torch.set_num_threads(1)
preset, number, batch = PRESETS["hvg-mini"], int(sys.argv[1]), int(sys.argv[2])
aid = replace(preset.training[number - 1].reconstruction, steps=0)
training = replace(preset.training[number - 1], batch_size=batch, precision="fp32", reconstruction=aid)
x = torch.randn(8, 8, 16, 16); torch.nn.functional.conv2d(x, torch.randn(8, 8, 3, 3))
def peak():  # of this program alone; getrusage begins with what the parent had
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])
before = peak()
level = LevelTraining(preset.model, number, training, torch.device("cpu"))
spec = preset.model.levels[number - 1]
video = torch.rand(batch, spec.frames, spec.resolution, spec.resolution, 3).permute(0, 1, 4, 2, 3)
labels, low = torch.zeros(batch, dtype=torch.long), None
if number > 1:
    below = preset.model.levels[number - 2].resolution
    low = torch.rand(batch, spec.frames // preset.model.times_time(number), below, below, 3).permute(0, 1, 4, 2, 3)
parts = [LevelBatch(video, labels, low, low, labels, Share.whole(batch))]
discriminator_update(level, parts, 0, 0)
generator_update(level, parts, 0)
print((peak() - before) * 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc for the memory of one program")
@pytest.mark.parametrize(("number", "batch"), [(1, 4), (2, 2)])
def test_memory_is_near_what_a_step_takes(number: int, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # pages of the usual size, so that what is resident is what is used
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(number), str(batch)], capture_output=True, text=True, check=True
    )
    preset = PRESETS["hvg-mini"]
    training = preset.training[number - 1]
    assert training.reconstruction is not None
    training = replace(
        training, batch_size=batch, precision="fp32", ema=0.5, reconstruction=replace(training.reconstruction, steps=0)
    )
    expected = estimate(Run(Path(), preset.model, number, training, Path(), None)).memory
    assert 0.6 < expected / int(done.stdout) < 1.6


def test_activations_grow_with_the_share_of_one_process() -> None:
    def activations(**changes: object) -> int:
        training = replace(PRESETS["hvg-mini"].training[1], batch_size=8, **changes)  # type: ignore[arg-type]
        return estimate(Run(Path(), PRESETS["hvg-mini"].model, 2, training, Path(), None)).activations

    whole = activations()
    assert activations(accumulate=2) == pytest.approx(whole / 2, rel=0.1)
    assert whole < activations(precision="fp32") < 2.2 * whole


def test_published_models_are_estimated_without_their_memory() -> None:
    preset = PRESETS["hvg-kinetics600-48x128"]
    cost = estimate(Run(Path(), preset.model, 2, preset.training[1], Path(), None), processes=128)
    assert cost.generator_parameters == 148_595_075
    assert cost.activations > 2**30


def test_parameters_and_states_are_exact(data: Path, tmp_path: Path) -> None:
    made = train(data, tmp_path / "run")
    cost = estimate(made.run)
    level = LevelTraining(made.run.config, 1, made.run.training, CPU)
    assert cost.generator_parameters == sum(parameter.numel() for parameter in level.generator.parameters())
    assert cost.discriminator_parameters == sum(parameter.numel() for parameter in level.discriminator.parameters())
    path = states(made.run.out)[-1][1]
    header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    extra = torch.get_rng_state().nbytes + 4 * sum(key.endswith("/step") for key in made.state())
    assert path.stat().st_size - header == cost.state + extra
    assert steps_per_epoch(made.run, made.index) == 4 / (2 * 2)  # four clips, batches of two, two updates a step


def test_an_unconditional_level_without_aids_is_estimated_too() -> None:
    plain = replace(TRAINING, reconstruction=None, ema=0.0, accumulate=1)
    preset = Preset(small_config((2,), num_classes=0), (plain, plain), "for tests")
    costs = [estimate(Run(Path(), preset.model, number, plain, Path(), None)) for number in (1, 2)]
    assert all(cost.activations > 0 and cost.encoder_parameters == 0 for cost in costs)
    assert json.dumps([cost.memory for cost in costs])
    assert PRESET.model != preset.model
