"""`examples/probe_discriminators.py`: its pairs, what its probes learn, and the whole program on tiny clips."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from real_models import make_working_model

from hvgcli.config import DiscriminatorConfig

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXAMPLES)
    import probe_discriminators

    return probe_discriminators


@pytest.fixture
def clips(tmp_path: Path, make_clip: Callable[..., Path]) -> Path:
    for number, label in enumerate(("cat", "cat", "dog")):
        (tmp_path / "clips" / label).mkdir(parents=True, exist_ok=True)
        make_clip(tmp_path / "clips" / label / f"{number}.mp4", frames=16, size=(24, 20), seed=number)
    return tmp_path / "clips"


def some_pairs(program: ModuleType, pattern: float) -> object:
    """24 smooth videos, and the same with every second pixel so much darker."""
    chooser = torch.Generator().manual_seed(1)
    coarse = torch.rand(24, 12, 4, 4, generator=chooser)
    real = torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear").view(24, 4, 3, 16, 16) * 1.6 - 0.8
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    made = real - pattern * ((rows + columns) % 2)
    return program.Pairs(real, made, torch.arange(24) % 2)


@pytest.mark.parametrize("temporal", [False, True])
def test_equal_pairs_teach_nothing(program: ModuleType, temporal: bool) -> None:
    pairs = some_pairs(program, 0.0)
    probe = program.Probe(program.Arm(DiscriminatorConfig(4, (1, 2), True, 10), temporal=temporal), 16, 2, 0)
    losses = [probe.update(pairs.of(torch.arange(8))) for _ in range(4)]
    assert min(losses) >= 2 - 1e-3
    real, made = probe.judge(pairs)
    assert torch.equal(real, made)
    assert real.shape == (24,)


def test_detail_shows_a_faint_pattern(program: ModuleType) -> None:
    """Without it so small a discriminator cannot tell a pattern of 0.02 from none in so few updates."""
    pairs = some_pairs(program, 0.02)
    losses = {}
    for detail in (0, 10):
        probe = program.Probe(program.Arm(DiscriminatorConfig(8, (1, 2), True, detail), lr=5e-3), 16, 2, 0)
        losses[detail] = sum([probe.update(pairs.of(torch.arange(16))) for _ in range(40)][-10:]) / 10
    assert losses[10] < 0.5 < 1.9 < losses[0], losses


def test_judging_changes_nothing(program: ModuleType) -> None:
    pairs = some_pairs(program, 0.5)
    probe = program.Probe(program.Arm(DiscriminatorConfig(4, (1, 2), True)), 16, 2, 0)
    before = {name: value.clone() for name, value in probe.network.state_dict().items()}
    probe.judge(pairs)
    assert all(torch.equal(value, before[name]) for name, value in probe.network.state_dict().items())
    assert probe.network.training


def test_pairs_are_windows_and_what_the_level_makes_of_them(program: ModuleType, clips: Path, tmp_path: Path) -> None:
    model = make_working_model(tmp_path / "model")
    config, pairs = program.pairs_of(model, 2, clips, 6, 0)
    level = config.levels[1]
    assert pairs.real.shape == pairs.made.shape == (8, level.frames, 3, level.resolution, level.resolution)
    assert pairs.made.abs().max() <= 1
    assert not torch.equal(pairs.real, pairs.made)
    again = program.pairs_of(model, 2, clips, 6, 0)[1]
    assert torch.equal(again.made, pairs.made)
    part = pairs.of(torch.tensor([5, 2]))
    assert torch.equal(part.real, pairs.real[[5, 2]])
    assert torch.equal(part.labels, pairs.labels[[5, 2]])


def test_the_whole_program(clips: Path, tmp_path: Path) -> None:
    model = make_working_model(tmp_path / "model")
    numbers = ["--level", "2", "--pairs", "8", "--updates", "2", "--batch", "3"]
    names = ["--arms", "patches,temporal-detail", "--out", str(tmp_path / "tables")]
    command = [sys.executable, str(EXAMPLES / "probe_discriminators.py"), str(clips), "--model", str(model)]
    done = subprocess.run([*command, *numbers, *names], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "tables" / "ablation_detail_level2.md").read_text()
    lines = text.splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("|")][2:] == ["patches", "temporal-detail"]
    assert "8 windows" in text
    assert "2 updates on 3 pairs" in text


def test_an_unknown_arm_is_refused(program: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program.options_of(["clips", "--arms", "patches,nothing"])
    assert "unknown arm 'nothing'" in capsys.readouterr().err
