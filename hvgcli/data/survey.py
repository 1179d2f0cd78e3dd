"""What a data source holds, in numbers and in pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from hvgcli import video
from hvgcli.data.cache import decode, resize_uint8
from hvgcli.data.clips import Clip, ClipIndex
from hvgcli.errors import MediaError
from hvgcli.video import Frames

BLANK = 255


def summary(index: ClipIndex) -> dict[str, Any]:
    """Numbers of a source as JSON values: sizes as WIDTHxHEIGHT and rates with their clips, the most usual first.

    `per_class` has one entry a class, also for one without clips; without classes it is empty.
    """
    return {
        **_numbers(index.clips),
        "classes": len(index.classes),
        "skipped": len(index.skipped),
        "sizes": _counted(f"{clip.width}x{clip.height}" for clip in index.clips),
        "rates": _counted(str(clip.rate) for clip in index.clips),
        "per_class": [
            {"class": name, **_numbers([clip for clip in index.clips if clip.label == label])}
            for label, name in enumerate(index.classes)
        ],
    }


def _numbers(clips: Sequence[Clip]) -> dict[str, Any]:
    lengths = [clip.frames for clip in clips]
    return {
        "clips": len(clips),
        "seconds": round(sum(float(clip.frames / clip.rate) for clip in clips), 3),
        "shortest": min(lengths, default=0),
        "longest": max(lengths, default=0),
        "bytes": _bytes(clips),
    }


def _counted(values: Any) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _bytes(clips: Sequence[Clip]) -> int:
    """Bytes of the encoded frames; a file that several clips are parts of counts once."""
    files = {clip.path for clip in clips if clip.member is None}
    in_files = sum(path.stat().st_size for path in files if path.is_file())
    return in_files + sum(size for clip in clips if clip.member is not None for _, size, _ in clip.member.spans)


def contact_sheet(index: ClipIndex, columns: int = 8, side: int = 112) -> Frames:
    """The middle frames of some clips, evenly spread: a row a class, or as many rows as columns without classes.

    Returns:
        uint8 (H, W, 3). A clip that cannot be decoded is left white.
    """
    if index.classes:
        rows = [[clip for clip in index.clips if clip.label == label] for label in range(len(index.classes))]
        wanted = [_spread(row, columns) for row in rows]
    else:
        chosen = _spread(index.clips, columns * columns)
        wanted = [chosen[i : i + columns] for i in range(0, len(chosen), columns)]
    width = max(len(row) for row in wanted)
    tiles = [_tile(row[i] if i < len(row) else None, side) for row in wanted for i in range(width)]
    return video.tile(np.stack(tiles), width)


def _spread(clips: Sequence[Clip], count: int) -> list[Clip]:
    step = max(1.0, len(clips) / count)
    return [clips[int(i * step)] for i in range(min(count, len(clips)))]


def _tile(clip: Clip | None, side: int) -> Frames:
    """The middle square of a clip's middle frame, uint8 (side, side, 3)."""
    blank = np.full((side, side, 3), BLANK, np.uint8)
    if clip is None:
        return blank
    middle = clip.frames // 2
    try:
        frame = decode(clip, numbers=range(middle, middle + 1))
    except MediaError:
        return blank
    return _square(frame, side).numpy()


def _square(frame: torch.Tensor, side: int) -> torch.Tensor:
    height, width = frame.shape[1:3]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    return resize_uint8(frame[:, top : top + short, left : left + short], (side, side))[0]
