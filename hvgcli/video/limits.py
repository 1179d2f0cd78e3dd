"""What is refused in an input before memory and time are spent on it."""

from __future__ import annotations

from pathlib import Path

from hvgcli.errors import MediaError

MAX_SIDE = 16384  # pixels
MAX_PIXELS = 1 << 26  # 8192x8192: 200 MB a frame in RGB
MAX_FRAMES = 10_000_000  # 46 hours at 60 frames per second
MAX_SECONDS = 30 * 24 * 3600


def check_size(path: Path, height: int, width: int) -> None:
    """Refuse frames without pixels, or with so many that the header must be damaged; MediaError."""
    if height < 1 or width < 1:
        raise MediaError(f"{path}: is damaged (its frames are {width}x{height} pixels)")
    if max(height, width) > MAX_SIDE or height * width > MAX_PIXELS:
        limit = f"at most {MAX_SIDE} a side and {MAX_PIXELS // 1_000_000} million in all"
        raise MediaError(f"{path}: its frames are {width}x{height} pixels, but {limit} can be read: make it smaller")


def check_count(path: Path, frames: int) -> None:
    """Refuse more frames than a clip can have; MediaError."""
    if frames > MAX_FRAMES:
        raise MediaError(f"{path}: has more than {MAX_FRAMES:,} frames: cut it into parts first")


def check_length(path: Path, seconds: float) -> None:
    """Refuse a length that only a damaged header gives; MediaError."""
    if seconds > MAX_SECONDS:
        days = round(seconds / 86400)
        raise MediaError(f"{path}: its last frame is {days:,} days after its first: the times in it are damaged")
