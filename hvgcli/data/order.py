"""The order of clips: every epoch is a permutation of them, a pure function of (seed, epoch).

Position p of a run, counted over all updates and samples, is clip `p % n` of the permutation of epoch
`p // n`. Nothing depends on workers, processes or where a run was resumed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Numbers = np.ndarray[Any, np.dtype[np.int64]]

SHARDS_TOGETHER = 8  # shards whose clips are mixed: a cache of twice as many fetches each shard once an epoch


def permuted(numbers: Numbers, shards: Numbers | None, seed: int, epoch: int) -> Numbers:
    """The order of the clips `numbers` in one epoch.

    Without shards it is any permutation. With them, the shards are permuted first and taken
    `SHARDS_TOGETHER` at a time, whose clips are permuted: neighbours in the order come from few shards.

    Args:
        numbers: int64 (n,), the clips that are drawn from.
        shards: int64 (n,), the shard of each; None for files of their own.
        seed, epoch: not negative.
    """
    # A spawn key of its own keeps these draws apart from those within the clips, which come from the same seed.
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, epoch), spawn_key=(1,))))
    if shards is None:
        return rng.permutation(numbers)
    names, which = np.unique(shards, return_inverse=True)
    group = rng.permutation(len(names))[which] // SHARDS_TOGETHER
    shuffled = rng.permutation(len(numbers))
    return numbers[shuffled[np.argsort(group[shuffled], kind="stable")]]
