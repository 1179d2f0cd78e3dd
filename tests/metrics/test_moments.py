"""Streaming moments: against literal loops, over any split, over processes, and what they refuse."""

from __future__ import annotations

from functools import reduce
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hvgcli.errors import DataError
from hvgcli.metrics import moments as module
from hvgcli.metrics.moments import Moments, vectors


def sample(count: int, dimension: int, seed: int = 0, offset: float = 3.0) -> Tensor:
    x = torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed))
    return x * torch.arange(1, dimension + 1) + offset


def literal(features: Tensor, ddof: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance, one product at a time."""
    x = features.double().numpy()
    count, dimension = x.shape
    mean = np.zeros(dimension)
    for i in range(count):
        for a in range(dimension):
            mean[a] += x[i, a] / count
    covariance = np.zeros((dimension, dimension))
    for i in range(count):
        for a in range(dimension):
            for b in range(dimension):
                covariance[a, b] += (x[i, a] - mean[a]) * (x[i, b] - mean[b]) / (count - ddof)
    return mean, covariance


def assert_same(one: Moments, other: Moments, rtol: float = 1e-12) -> None:
    assert one.count == other.count
    torch.testing.assert_close(one.mean, other.mean, rtol=rtol, atol=1e-12)
    torch.testing.assert_close(one.scatter, other.scatter, rtol=rtol, atol=1e-12 * float(other.scatter.abs().max()))


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_mean_and_covariance_are_those_of_literal_loops(ddof: int, dtype: torch.dtype) -> None:
    features = sample(11, 4).to(dtype)
    mean, covariance = literal(features, ddof)
    moments = Moments.of(features)
    assert moments.count == 11
    np.testing.assert_allclose(moments.mean.numpy(), mean, rtol=1e-12)
    np.testing.assert_allclose(moments.covariance(ddof).numpy(), covariance, rtol=1e-12)


def test_a_large_mean_does_not_drown_the_covariance() -> None:
    """A sum of squares minus the square of the sum would be off by about 1 here."""
    features = sample(300, 3).double() + 1e8
    near = Moments.of(sample(300, 3).double()).covariance()
    torch.testing.assert_close(Moments.of(features).covariance(), near, rtol=1e-6, atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(1, 5), st.integers(0, 99))
def test_any_split_gives_the_whole(sizes: list[int], dimension: int, seed: int) -> None:
    features = sample(sum(sizes) + 1, dimension, seed)
    blocks = features.split([*sizes, 1])
    streamed = Moments.empty(dimension)
    for block in blocks:
        streamed.update(block)
    assert_same(streamed, Moments.of(features))
    assert_same(reduce(Moments.merge, [Moments.of(block) for block in blocks]), Moments.of(features))


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    features = sample(50, 3)
    whole = Moments.of(features)
    monkeypatch.setattr(module, "BLOCK", 7)
    assert_same(Moments.of(features), whole)


def test_merging_leaves_its_parts_as_they_were() -> None:
    one, other = Moments.of(sample(5, 3)), Moments.of(sample(6, 3, 1))
    before = one.packed(), other.packed()
    one.merge(other).update(sample(4, 3, 2))
    one.merge(Moments.empty(3)).update(sample(4, 3, 2))
    assert torch.equal(one.packed(), before[0])
    assert torch.equal(other.packed(), before[1])


def test_selected_features_have_their_own_moments() -> None:
    features, chosen = sample(20, 6), torch.tensor([4, 0, 3])
    assert_same(Moments.of(features).select(chosen), Moments.of(features[:, chosen]))


def one_process(rank: int, world: int, store: str, folder: str) -> None:
    """Moments of every `world`-th vector, merged with those of the other processes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    packed = Moments.of(sample(41, 5)[rank::world]).packed()
    everyone = [torch.empty_like(packed) for _ in range(world)]
    dist.all_gather(everyone, packed)
    whole = reduce(Moments.merge, [Moments.unpacked(part, 5) for part in everyone])
    np.save(Path(folder) / f"{rank}.npy", whole.packed().numpy())
    dist.destroy_process_group()


def test_parts_of_two_processes_make_the_whole(tmp_path: Path) -> None:
    mp.spawn(one_process, args=(2, str(tmp_path / "store"), str(tmp_path)), nprocs=2)
    results = [torch.from_numpy(np.load(tmp_path / f"{rank}.npy")) for rank in range(2)]
    assert torch.equal(results[0], results[1])
    assert_same(Moments.unpacked(results[0], 5), Moments.of(sample(41, 5)))


def test_bad_features_are_refused_in_one_line() -> None:
    spoilt = sample(9, 3)
    spoilt[2, 1], spoilt[5, 0], spoilt[5, 2] = float("nan"), float("inf"), -float("inf")
    cases = {
        "NaN or infinity in 2 of 9 vectors": lambda: Moments.of(spoilt),
        r"\(4, 2\), expected \(n, 3\)": lambda: Moments.empty(3).update(sample(4, 2)),
        "got 3 and 2 dimensions": lambda: Moments.empty(3).merge(Moments.empty(2)),
        "got 1 vector, expected at least 2": lambda: Moments.of(sample(1, 3)).covariance(),
        r"x: got shape \(3,\), expected \(N, d\)": lambda: vectors(torch.zeros(3), "x"),
        "x: got 1 vector, expected at least 2": lambda: vectors(torch.zeros(1, 3), "x"),
        "x: got NaN or infinity in 2 of 9": lambda: vectors(spoilt, "x"),
    }
    for message, call in cases.items():
        with pytest.raises(DataError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
