"""Folders that `hvg report` reads: evaluations in the format of `evaluation.json`, with real clips."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

NETWORK = "movinet-a0-k600"
CLASSES = ("clouds", "fire", "<script>alert(1)</script>")


def evaluation_record(title: str = "mini against val", scale: float = 1.0) -> dict[str, Any]:
    """An evaluation of three classes, one of them with a name that would hurt a careless page."""
    frequencies = [2.0 ** -(7 - i) for i in range(7)]
    return {
        "format": 1,
        "kind": "hvg-evaluation",
        "version": "0.1.0",
        "made": "2026-01-02T03:04:05+00:00",
        "command": "hvg evaluate --model mini --data val --out 'a & b'",
        "title": title,
        "protocol": {
            "network": NETWORK,
            "network_sha256": "0f" * 32,
            "frames": 12,
            "sampler": "windows",
            "sigma": 1.0,
            "real": {"name": "val", "videos": 894},
            "generated": {"name": title, "videos": 2048},
        },
        "metrics": [
            _metric(f"FVD[{NETWORK}]", 123.4 * scale, 113.0 * scale, 130.0 * scale, "lower", "894 against 2048 videos"),
            _metric(f"IS[{NETWORK}]", 11.5 / scale, None, None, "higher", "10 splits"),
            _metric("PSNR", None, None, None, "higher", "inf"),
        ],
        "per_class": [
            {"class": name, "real": 40, "generated": 8 + i, "values": {f"FID[{NETWORK}]": value}}
            for i, (name, value) in enumerate(zip(CLASSES, (30.0 * scale, 4.0 * scale, None), strict=True))
        ],
        "psd": {
            "frequencies": frequencies,
            "curves": [
                {"set": name, "frame": frame, "power": [10 - 20 * i * (scale if name == "generated" else 1)
                                                        for i in range(len(frequencies))]}
                for frame in (1, 24)
                for name in ("real", "generated")
            ],
        },
        "samples": [
            {"set": "generated", "class": CLASSES[0], "seed": 0, "file": "samples/generated_00.mp4"},
            {"set": "generated", "class": CLASSES[2], "seed": 1, "file": "samples/generated_01.mp4"},
            {"set": "real", "class": CLASSES[0], "file": "samples/real_00.mp4"},
        ],
        "warnings": ["894 videos are few"],
    }  # fmt: skip


def _metric(
    name: str, value: float | None, low: float | None, high: float | None, better: str, note: str
) -> dict[str, Any]:
    return {"key": name[:3], "name": name, "value": value, "low": low, "high": high, "better": better, "note": note}


def make_evaluation(folder: Path, make_clip: Callable[..., Path], record: dict[str, Any] | None = None) -> Path:
    """A folder as `hvg evaluate --out` leaves it."""
    record = evaluation_record() if record is None else record
    (folder / "samples").mkdir(parents=True)
    for seed, sample in enumerate(record["samples"]):
        make_clip(folder / sample["file"], frames=12, size=(64, 64), seed=seed)
    (folder / "evaluation.json").write_text(json.dumps(record), encoding="utf-8")
    return folder
