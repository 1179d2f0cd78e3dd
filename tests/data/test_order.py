"""The order of clips: a permutation each epoch, near in shards."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.data.order import SHARDS_TOGETHER, permuted


@settings(deadline=None)
@given(
    count=st.integers(1, 200),
    seed=st.integers(0, 2**63),
    epoch=st.integers(0, 10**6),
    shards=st.none() | st.integers(1, 40),
)
def test_every_epoch_is_a_permutation(count: int, seed: int, epoch: int, shards: int | None) -> None:
    numbers = np.arange(count) * 3
    which = None if shards is None else np.arange(count) % shards
    order = permuted(numbers, which, seed, epoch)
    assert sorted(order) == numbers.tolist()
    assert np.array_equal(order, permuted(numbers, which, seed, epoch))


def test_epochs_and_seeds_differ() -> None:
    numbers = np.arange(50)
    orders = {tuple(permuted(numbers, None, seed, epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_neighbours_come_from_few_shards() -> None:
    shards = np.repeat(np.arange(40), 25)
    order = permuted(np.arange(1000), shards, 0, 3)
    size = 25 * SHARDS_TOGETHER
    groups = [set(shards[order[i : i + size]]) for i in range(0, 1000, size)]
    assert [len(group) for group in groups] == [SHARDS_TOGETHER] * 5
    assert len(set.union(*groups)) == 40, "each shard is in one group"
    assert groups != [set(range(i, i + SHARDS_TOGETHER)) for i in range(0, 40, SHARDS_TOGETHER)]
    first = shards[order[:size]]
    assert (first[:-1] != first[1:]).mean() > 0.6, "the clips of a group are mixed"
