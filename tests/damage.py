"""Ways in which files get damaged."""

from __future__ import annotations

import random
from collections.abc import Sequence

FIRST = 400  # bytes where headers are
HEAD = 64  # bytes that tell formats apart


def mutated(rng: random.Random, whole: bytes, others: Sequence[bytes]) -> bytes:
    """One way of damage: cut off, flipped bits, random header bytes, another header, another half, a piece lost."""
    data = bytearray(whole)
    way = rng.randrange(6)
    if way == 0:
        return bytes(data[: rng.randrange(len(data))])
    if way == 1:
        for _ in range(rng.randint(1, 40)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif way == 2:
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(min(FIRST, len(data)))] = rng.randrange(256)
    elif way == 3:
        data[:HEAD] = rng.choice(others)[:HEAD]
    elif way == 4:
        other = rng.choice(others)
        data[len(data) // 2 :] = other[len(other) // 2 :]
    else:
        at, size = rng.randrange(len(data)), rng.randint(1, 200)
        data[at : at + size] = b"\xff" * size if rng.random() < 0.5 else b""
    return bytes(data)
