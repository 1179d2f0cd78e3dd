"""Videos much longer than the model's own: memory does not grow, and no statistics have to be measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hvgcli.video import probe

pytestmark = pytest.mark.slow


def peak_memory(frames: int, folder: Path) -> int:
    """Largest resident size in KiB of `hvg generate` making `frames` frames."""
    path = folder / f"{frames}.mp4"
    command = [sys.executable, "-m", "hvgcli", "generate", "--class", "ocean", "--seed", "1", "--frames", str(frames)]
    process = subprocess.Popen([*command, "-o", str(path), "--json"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    record = json.loads(process.stdout.read())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    process.stdout.close()
    assert record["frames"] == frames
    assert probe(path).frames == frames
    return usage.ru_maxrss


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs wait4 for the memory of one process")
def test_4800_frames_take_the_memory_of_48(tmp_path: Path) -> None:
    assert peak_memory(4800, tmp_path) < 1.2 * peak_memory(48, tmp_path)
