"""Samples over their nearest training windows, to look at: never inside the repository, because it shows clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from hvg_mini_sets import SHORT, Sets
from torch import Tensor

from hvgcli.metrics.videos import RealVideos
from hvgcli.metrics.windows import Window
from hvgcli.video import tile
from hvgcli.video.pictures import save_png

SHOWN = 8
REPOSITORY = Path(__file__).resolve().parents[1]


def outside(path: Path) -> bool:
    """Whether a file would be outside the repository."""
    return REPOSITORY not in path.resolve().parents


def middle_frames(videos: RealVideos, windows: list[Window]) -> list[Tensor]:
    """The middle frame (H, W, 3) of each of some windows of a set."""
    found = []
    for window in windows:
        videos.windows = [window]
        found += [part.frames[0, SHORT // 2] for part in videos.batches(1)]
    return found


def save_picture(sets: Sets, model: str, sigma: float, samples: list[dict[str, Any]], path: Path) -> None:
    """Three rows: samples, their nearest training windows in features, and those in small pictures."""
    chosen = samples[:SHOWN]
    made = [sets.generated(model, sigma, SHORT), sets.others(model, sigma, SHORT)]
    frames = {}
    for videos, first in zip(made, (0, made[0].count if made[0] else 0), strict=True):
        places = [sample["place"] - first for sample in chosen]
        for part in videos.batches(8) if videos else ():
            frames |= {
                int(n) + first: x[SHORT // 2] for n, x in zip(part.takes, part.frames, strict=True) if n in places
            }
    pool = sets.pool(SHORT)
    windows = list(pool.windows)
    rows = [[frames[sample["place"]] for sample in chosen]]
    for space in ("video", "small"):
        rows.append(middle_frames(pool, [windows[sample[space]["window"]] for sample in chosen]))
    sheet = tile(torch.stack([frame for row in rows for frame in row]).numpy(), columns=len(chosen))
    save_png(path, np.ascontiguousarray(sheet), {})
