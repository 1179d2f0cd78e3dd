"""Seconds and memory of the distances between two sets of features, once the features are there.

    python benchmarks/distances.py            # writes benchmarks/results/distances.json

Two sets of 10,000 vectors of 2048 dimensions, float32: a random covariance of falling spectrum, like that of pooled
features, and a few dimensions that never change.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable

import torch
from machine import save
from torch import Tensor

from hvgcli.metrics.frechet import (
    frechet_distance,
    frechet_infinity,
    frechet_of_features,
    frechet_random_features,
    principal_components,
)
from hvgcli.metrics.kernel import kernel_distance
from hvgcli.metrics.moments import Moments

COUNT, DIMENSION = 10_000, 2048
LIMIT = 60.0
"""Seconds asked for the parts named in `ASKED` together, on two cores."""
ASKED = ("moments of both", "Frechet distance", "the same of 64 principal components", "kernel distance")


def features(seed: int) -> Tensor:
    """(COUNT, DIMENSION) float32; all seeds share the axes, not the means and variances."""
    axes = torch.randn(DIMENSION, DIMENSION, generator=torch.Generator().manual_seed(0)) / DIMENSION**0.5
    generator = torch.Generator().manual_seed(seed)
    scales = torch.arange(1, DIMENSION + 1) ** -0.5 * (1 + 0.1 * torch.randn(DIMENSION, generator=generator))
    x: Tensor = (torch.randn(COUNT, DIMENSION, generator=generator) * scales + 0.1 * scales) @ axes
    x[:, :16] = 0
    return x


def timed(function: Callable[[], object]) -> dict[str, object]:
    """Wall and processor seconds of one call, and its result. With one thread the second is free of other load."""
    wall, cpu = time.perf_counter(), time.process_time()
    value = function()
    return {"seconds": time.perf_counter() - wall, "processor seconds": time.process_time() - cpu, "value": value}


def components(real: Tensor, fake: Tensor) -> float:
    projection = principal_components(real, 64)
    return frechet_of_features(projection(real), projection(fake))


def measure(real: Tensor, fake: Tensor) -> dict[str, dict[str, object]]:
    """Seconds and result of every distance, each computed once."""
    first, second = Moments.empty(DIMENSION), Moments.empty(DIMENSION)

    def both() -> None:
        first.update(real)
        second.update(fake)

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    parts: dict[str, Callable[[], object]] = {
        "moments of both": both,
        "Frechet distance": lambda: frechet_distance(first, second),
        "the same of 64 principal components": lambda: components(real, fake),
        "kernel distance": lambda: kernel_distance(real, fake, generator=generator()).value,
        "Frechet distance of 50 random features, 50 trials": lambda: (
            frechet_random_features(real, fake, generator=generator()).value
        ),
        "extrapolated Frechet distance, two sizes, no interval": lambda: (
            frechet_infinity(real, fake, points=2, trials=0, generator=generator()).value
        ),
        "Frechet distance of 1000 + 1000 vectors (nuclear norm)": lambda: frechet_of_features(real[:1000], fake[:1000]),
    }
    rows: dict[str, dict[str, object]] = {}
    for name, part in parts.items():
        row = rows[name] = timed(part)
        print(
            f"{row['seconds']:8.2f} s, {row['processor seconds']:8.2f} s on a processor  {name}: {row['value']}",
            flush=True,
        )
    return rows


def main() -> None:
    torch.linalg.eigvalsh(torch.eye(8))  # the library's start is not counted
    real, fake = features(1), features(2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = measure(real, fake)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    totals = {kind: sum(float(str(rows[name][kind])) for name in ASKED) for kind in ("seconds", "processor seconds")}
    result: dict[str, object] = {
        "vectors": COUNT,
        "dimensions": DIMENSION,
        "asked, seconds": LIMIT,
        "asked parts": totals,
        "load of the machine": os.getloadavg()[0],
        "parts": rows,
        "peak MiB before": before,
        "peak MiB": peak,
    }
    print(json.dumps({"asked parts": totals, "peak MiB": peak}, indent=2))
    print(save("distances", result))


if __name__ == "__main__":
    main()
