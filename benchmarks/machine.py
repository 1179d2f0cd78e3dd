"""What every benchmark needs: a description of the machine, the convolution peak, timing, a results file."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def describe() -> dict[str, object]:
    """Processor, cores, memory and versions of this machine."""
    import torch

    cpuinfo = Path("/proc/cpuinfo")
    model = platform.processor()
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(gib, 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def seconds(function: Callable[[], object], repeats: int) -> list[float]:
    """Wall times of `repeats` calls after one that is not counted."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times


def median(times: list[float]) -> float:
    return statistics.median(times)


def convolution_peak(half: bool) -> float:
    """The best FLOP/s of a 3x3 convolution here, channels last, over a few sizes that the networks use."""
    import torch
    import torch.nn.functional as F

    best = 0.0
    for count, channels, size in ((48, 64, 64), (24, 256, 16), (12, 512, 16), (24, 128, 32)):
        dtype = torch.bfloat16 if half else torch.float32
        x = torch.randn(count, channels, size, size, dtype=dtype).to(memory_format=torch.channels_last)
        w = torch.randn(channels, channels, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            times = seconds(lambda x=x, w=w: F.conv2d(x, w, padding=1), 7)  # type: ignore[misc]
        best = max(best, 2 * 9 * channels**2 * size**2 * count / min(times))
    return best


def save(name: str, result: dict[str, object]) -> Path:
    """Write one benchmark's result beside the machine it was taken on."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": describe(), **result}, indent=2) + "\n")
    return path
