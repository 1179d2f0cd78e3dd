"""Texts that people type for seeds, classes, rates and levels -> values, or a `UsageError` that helps."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from fractions import Fraction

from hvgcli.config import MAX_FRAMES, ModelConfig
from hvgcli.errors import UsageError

MAX_SEED = (1 << 63) - 1
MAX_VIDEOS = 100_000  # of one call
MAX_RATE = 1000  # frames per second
LARGEST_SIDE = 4096  # pixels
LISTED = 12  # names that an error lists


def parse_seeds(text: str) -> list[int]:
    """ "1,2,5-10" -> the seeds, in that order; each 0..2^63-1."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,19})(?:-([0-9]{1,19}))?\s*", part)
        if not match:
            raise UsageError(f"--seed {text!r} must be whole numbers from 0 and ranges of them, like 7 or 1,2,5-10")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if not first <= last <= MAX_SEED:
            raise UsageError(f"--seed {part.strip()!r} must rise and be at most {MAX_SEED}")
        if len(seeds) + last - first >= MAX_VIDEOS:
            raise UsageError(f"--seed {text!r} asks for more than {MAX_VIDEOS:,} videos")
        seeds += range(first, last + 1)
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"--seed {text!r} names a seed twice")
    return seeds


def parse_classes(text: str | None, config: ModelConfig) -> list[int] | None:
    """ "NAME", "INDEX", "a,b" or "all" -> class indices; None for "random", and for a model without classes."""
    if not config.conditional:
        if text is not None:
            raise UsageError(f"{config.name} has no classes: leave out --class")
        return None
    names = config.class_names()
    if text is None or (text == "random" and text not in names):
        return None
    if text == "all" and text not in names:
        return list(range(len(names)))
    parts = [text] if text in names else [part.strip() for part in text.split(",")]
    chosen = [_class_index(part, config) for part in parts]
    if len(set(chosen)) < len(chosen):
        raise UsageError(f"--class {text!r} names a class twice")
    return chosen


def _class_index(text: str, config: ModelConfig) -> int:
    names = config.class_names()
    if text in names:
        return names.index(text)
    if re.fullmatch(r"-?[0-9]{1,9}", text):
        if 0 <= int(text) < len(names):
            return int(text)
        raise UsageError(f"class {text} is not in {config.name}: it has classes 0..{len(names) - 1}")
    by_lower = {name.lower(): name for name in names}
    close = [by_lower[name] for name in difflib.get_close_matches(text.lower(), by_lower, n=3, cutoff=0.5)]
    if close:
        raise UsageError(f"unknown class {text!r}: did you mean {' or '.join(close)}?")
    known = ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
    raise UsageError(f"unknown class {text!r}: known are {known} (hvg classes lists them)")


def one_of(option: str, text: str, known: Sequence[str]) -> str:
    """`text`, which must be one of `known`; a `UsageError` that names the closest ones otherwise."""
    if text in known:
        return text
    by_lower = {name.lower(): name for name in known}
    close = [by_lower[name] for name in difflib.get_close_matches(text.lower(), by_lower, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(close)}?" if close else f"give one of {', '.join(known)}"
    raise UsageError(f"{option} {text!r} is not known: {hint}")


def parse_rate(text: str) -> Fraction:
    """ "25", "23.976" or "24000/1001" -> frames per second, exactly."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"--fps {text!r} must be a number or a fraction like 24000/1001") from None
    if not Fraction(1, 100) <= rate <= MAX_RATE or max(rate.numerator, rate.denominator) >= 1 << 31:
        raise UsageError(f"--fps {text} must be 0.01..{MAX_RATE} frames per second, of at most 9 digits")
    return rate


def parse_time(name: str, text: str | None) -> Fraction | None:
    """ "12.5", "1:02.5" or "1:00:00" -> seconds from the beginning; None stays None."""
    if text is None:
        return None
    if not re.fullmatch(r"(\d{1,4}:){0,2}\d{1,7}(\.\d{1,9})?", text):
        raise UsageError(f"{name} {text!r} must be seconds, or a time like 1:02.5 or 1:00:00")
    seconds = Fraction(0)
    for part in text.split(":"):
        seconds = 60 * seconds + Fraction(part)
    return seconds


def parse_size(text: str) -> tuple[int, int]:
    """ "128" or "160x120" (width x height) -> (height, width) in pixels."""
    match = re.fullmatch(r"([0-9]{1,4})(?:x([0-9]{1,4}))?", text.strip().lower())
    width, height = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
        raise UsageError(f"--size {text!r} must be a number of pixels or WIDTHxHEIGHT, each 1..{LARGEST_SIDE}")
    return height, width


def parse_tile(text: str) -> int | None:
    """ "auto" -> None, else pixels."""
    if text == "auto":
        return None
    if not re.fullmatch(r"[1-9]\d{0,4}", text):
        raise UsageError(f"--tile {text!r} must be auto or a number of pixels")
    return int(text)


def parse_levels(value: int | None, config: ModelConfig) -> int:
    """The level to stop at: the last one by default."""
    if value is None:
        return len(config.levels)
    if not 1 <= value <= len(config.levels):
        raise UsageError(f"--levels {value} is not in {config.name}: it has levels 1..{len(config.levels)}")
    return value


def check_frames(value: int) -> int:
    if value < 1:
        raise UsageError(f"--frames {value} must be at least 1")
    if value > 1000 * MAX_FRAMES:
        raise UsageError(f"--frames {value} must be at most {1000 * MAX_FRAMES:,}")
    return value


def check_count(name: str, value: int, largest: int = MAX_VIDEOS) -> int:
    """A number of things, 1..`largest`; `name` is the option's."""
    if not 1 <= value <= largest:
        raise UsageError(f"{name} {value} must be 1..{largest}")
    return value


def check_sigma(value: float) -> float:
    if not math.isfinite(value) or not 0 < value <= 100:
        raise UsageError(f"--sigma {value} must be above 0 and at most 100 (0.5 is usual, 1 is more varied)")
    return value


def parse_sigmas(text: str) -> list[float]:
    """ "0.5,1.0" -> the numbers, each once."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--sigma {text!r} must be a number, or several like 0.5,1.0") from None
    return [check_sigma(value) for value in dict.fromkeys(values)]
