"""Features of real clips from their files, against the network alone on frames that are already in memory.

    python benchmarks/features.py CLIPS NETWORK [--num 800] [--frames 12] [--size 128] [--batch 8]

CLIPS is a data source as `hvg evaluate --data` takes it, NETWORK a TorchScript file or `frames`. The windows
are those of the `windows` sampler at stride 2. Times are of one pass each; what is kept on disk is read
in a third one. Peak memory is taken after a quarter of the videos and after all of them.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from machine import save


class Took(NamedTuple):
    wall: float
    """Seconds."""
    processor: float
    """Seconds of all threads: what counts where a machine has other work too."""
    result: Any


def _timed(function: Callable[[], Any]) -> Took:
    start, busy = time.perf_counter(), time.process_time()
    result = function()
    return Took(time.perf_counter() - start, time.process_time() - busy, result)


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips")
    parser.add_argument("network")
    for name, value in (("num", 800), ("frames", 12), ("size", 128), ("batch", 8)):
        parser.add_argument(f"--{name}", type=int, default=value)
    return parser.parse_args()


def main() -> None:
    asked = _arguments()
    from hvgcli.data.clips import scan
    from hvgcli.metrics.features import extract
    from hvgcli.metrics.networks import resolve
    from hvgcli.metrics.videos import RealVideos
    from hvgcli.metrics.windows import Sampling

    network, index = resolve(asked.network), scan(asked.clips)

    def videos(num: int) -> RealVideos:
        sampling = Sampling(asked.frames, 2, (asked.size, asked.size), "windows", num=num)
        return RealVideos(index, sampling, name=Path(asked.clips).name)

    extract(videos(max(1, asked.num // 4)), network, batch=asked.batch)  # also what a first call costs
    quarter = _peak_mib()
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        files = _timed(lambda: extract(videos(asked.num), network, batch=asked.batch, cache=cache))
        whole = _peak_mib()
        again = _timed(lambda: extract(videos(asked.num), network, batch=asked.batch, cache=cache))
    decoding = _timed(lambda: list(videos(asked.num).batches(asked.batch)))
    batches = decoding.result
    alone = _timed(lambda: [network.both(batch.frames) for batch in batches])
    some = batches[: max(1, len(batches) // 8)]
    apart = _timed(lambda: [(network.logits(batch.frames), network.pooled(batch.frames)) for batch in some])
    count, few = len(files.result), sum(len(batch.frames) for batch in some)
    result = {
        "network": network.name,
        "videos": count,
        "frames": asked.frames,
        "size": asked.size,
        "batch": asked.batch,
        "clips per second from files": round(count / files.wall, 2),
        "clips per second of the network alone": round(count / alone.wall, 2),
        "processor ms a clip from files": round(1000 * files.processor / count, 1),
        "processor ms a clip of the network alone": round(1000 * alone.processor / count, 1),
        "processor ms a clip of its two outputs asked for apart": round(1000 * apart.processor / few, 1),
        "processor ms a clip of decoding alone": round(1000 * decoding.processor / count, 1),
        "seconds of a second run": round(again.wall, 3),
        "peak MiB after a quarter of the videos": quarter,
        "peak MiB after all": whole,
    }
    for name, value in result.items():
        print(f"{name}: {value}")
    save(f"features-{network.name}", result)


if __name__ == "__main__":
    main()
