"""Training as a program of its own: what signals, kills and torchrun do to it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

DEADLINE = 120  # seconds after which a test gives up on a program; none should take a tenth of it


def start(*arguments: object, processes: int = 1, limit_file_bytes: int | None = None) -> subprocess.Popen[str]:
    """`hvg ARGUMENTS`, by torchrun where there are several processes; leader of a process group of its own."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "hvgcli", *map(str, arguments)]
    return launch(command, limit_file_bytes)


def launch(command: list[str], limit_file_bytes: int | None = None) -> subprocess.Popen[str]:
    def limit() -> None:
        import resource

        if limit_file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_file_bytes, limit_file_bytes))

    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
        preexec_fn=limit,
    )


def end(program: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a program that ends by itself."""
    try:
        out, errors = program.communicate(timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, 9)
        raise
    return program.returncode, out, errors


def until(condition: Callable[[], bool], program: subprocess.Popen[str]) -> bool:
    """Wait for `condition`; False where the program ended before."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if program.poll() is not None:
            return False
        assert time.monotonic() < deadline, "the program neither ends nor does what is waited for"
        time.sleep(0.0005)
    return True


def rows(run: Path) -> int:
    """Steps that metrics.csv tells of."""
    path = run / "metrics.csv"
    return path.read_bytes().count(b"\n") - 1 if path.exists() else 0
