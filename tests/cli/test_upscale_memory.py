"""`hvg upscale` of long clips: memory does not grow with their length."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from patterns import moving_pattern

from hvgcli.video import VideoWriter, probe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs wait4 for the memory of one process"),
]
SIZE, FRAMES = (48, 64), 200  # all the enlarged frames of six times as many are a quarter of what the process takes


def peak_memory(source: Path, model: Path, frames: int) -> int:
    """Largest resident size in KiB of a process that enlarges `frames` frames."""
    with VideoWriter(source, size=SIZE, rate=Fraction(15)) as writer:
        for first in range(0, frames, 100):
            writer.write(moving_pattern(100, SIZE, seed=first))
    command = [sys.executable, "-m", "hvgcli", "upscale", str(source), "--model", str(model), "-q"]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "2"}, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert probe(source.with_name(f"{source.stem}.x2.mp4")).frames == 2 * frames
    return usage.ru_maxrss


def test_six_times_the_frames_take_the_same_memory(tmp_path: Path, models: Path) -> None:
    short = peak_memory(tmp_path / "short.mp4", models / "tiny", FRAMES)
    assert peak_memory(tmp_path / "long.mp4", models / "tiny", 6 * FRAMES) <= 1.15 * short
