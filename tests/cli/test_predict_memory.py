"""`hvg predict` of long clips, far on: memory grows neither with the clip nor with the continuation."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from patterns import moving_pattern
from predictor_models import make_predictor

from hvgcli.config import DiscriminatorConfig
from hvgcli.video import VideoWriter, probe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs wait4 for the memory of one process"),
]
SIZE = (96, 128)


def peak_memory(source: Path, model: Path, clip: int, frames: int) -> int:
    """Largest resident size in KiB of a process that goes on from a clip of `clip` frames, beside the truth."""
    with VideoWriter(source, size=SIZE, rate=Fraction(25)) as writer:
        for first in range(0, clip, 100):
            writer.write(moving_pattern(100, SIZE, seed=first))
    result = source.with_name(f"{source.stem}.out.mp4")
    command = [sys.executable, "-m", "hvgcli", "predict", str(source), "--model", str(model), "-q", "-o", str(result)]
    command += ["--frames", str(frames), "--seed", "1", "--compare", "--at", "2"]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert probe(result).frames == 3 + frames
    return usage.ru_maxrss


def test_ten_times_the_clip_and_the_frames_take_the_same_memory(tmp_path: Path) -> None:
    model = make_predictor(
        tmp_path / "tiny-fp", resolution=64, multipliers=(2, 2, 2, 2), discriminator=DiscriminatorConfig(4, (1, 2, 2))
    )
    short = peak_memory(tmp_path / "short.mp4", model, 300, 100)
    assert peak_memory(tmp_path / "long.mp4", model, 3000, 1000) <= 1.1 * short
