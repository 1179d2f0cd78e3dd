"""Training in two real processes against one, and how a batch is shared among processes and parts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
import two_processes
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from small_networks import small_config, small_hierarchy
from torch import Tensor
from two_processes import CASES, normalise, train

from hvgcli.config import TrainingConfig
from hvgcli.data.cache import FrameCache
from hvgcli.data.clips import scan
from hvgcli.errors import UsageError
from hvgcli.training.batches import BatchSource, Conditions
from hvgcli.training.distributed import Share, World, joined, launched_size
from hvgcli.training.level import LevelBatch

CPU = torch.device("cpu")
LIMIT_S = 300  # far more than two processes take, so that a deadlock ends as a failed test


def free_port() -> int:
    with socket.socket() as known:
        known.bind(("127.0.0.1", 0))
        return int(known.getsockname()[1])


def run_two(folder: Path) -> list[int]:
    """Run the script in two processes, each on one thread; returns their exit codes."""
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    script = [sys.executable, "-W", "error", two_processes.__file__, str(folder)]
    processes = [
        subprocess.Popen(script, env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]
    try:
        return [process.wait(LIMIT_S) for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    """What each of two processes computed."""
    folder = tmp_path_factory.mktemp("two")
    codes = run_two(folder)
    if any(codes):  # another program may have taken the port in between
        codes = run_two(folder)
    assert codes == [0, 0]
    return [load_file(folder / f"{rank}.safetensors") for rank in range(2)]


def of(results: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}/"): value for key, value in results.items() if key.startswith(f"{name}/")}


def difference(ours: dict[str, Tensor], theirs: dict[str, Tensor], start: str) -> float:
    """Largest absolute difference between the tensors whose names begin so."""
    keys = [key for key in theirs if key.startswith(start)]
    assert keys
    assert {key for key in ours if key.startswith(start)} == set(keys)
    return max(float((ours[key] - theirs[key]).abs().max()) for key in keys)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_as_one(name: str, two: list[dict[str, Tensor]]) -> None:
    """HVG on N GPUs is HVG on one: losses, outputs and weights after five steps (three in float32).

    Weights are not compared in float32: biases before a batch norm have no true gradient, and Adam makes
    whole steps of its rounding. Where that is of a gradient that is nearly none, it is seen in the output.
    """
    one = train(CASES[name], World())
    bounds = {"metrics": 1e-4, "output": 1e-2}
    if CASES[name].dtype == torch.float64:
        bounds = dict.fromkeys(("metrics", "output", "weights"), 1e-8)
    for results in two:
        ours = of(results, name)
        assert ours["output"].dtype == CASES[name].dtype
        for start, bound in bounds.items():
            assert difference(ours, one, start) < bound, start


@pytest.mark.parametrize("name", CASES)
def test_both_processes_hold_the_same_weights(name: str, two: list[dict[str, Tensor]]) -> None:
    first, second = (of(results, name) for results in two)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_without_synchronised_norms_the_difference_would_be_seen(two: list[dict[str, Tensor]]) -> None:
    one = train(CASES["outline"], World())
    apart = of(two[0], "outline apart")
    assert difference(apart, one, "metrics") > 1e-2
    assert difference(apart, one, "weights") > 1e-4


def test_without_pairs_of_all_processes_the_difference_would_be_seen(two: list[dict[str, Tensor]]) -> None:
    """Mixed projection pairs each sample with all of the batch (TrIVD-GAN equation 15)."""
    one = train(CASES["predictor with mixed projection"], World())
    assert difference(of(two[0], "ungathered"), one, "metrics") > 1e-4
    assert difference(of(two[0], "ungathered"), one, "weights") > 1e-4


def test_parts_see_their_own_batch_statistics() -> None:
    """So accumulation is not equal to a larger batch, and the cases with two parts test something of their own."""
    case = CASES["outline in two parts"]
    whole = replace(case, training=case.training | {"accumulate": 1})
    assert difference(train(case, World()), train(whole, World()), "metrics") > 1e-3


def literal_norm() -> dict[str, Tensor]:
    """The norm of the whole batch, one timestep and channel at a time, and its gradients by autograd."""
    norm, inputs, weight = two_processes.norm_inputs()
    video, cond = inputs["video"].requires_grad_(), inputs["cond"].requires_grad_()
    gain, bias = 1 + cond @ norm.to_gain.weight.t(), cond @ norm.to_bias.weight.t()
    rows = []
    for t in range(video.shape[1]):
        for c in range(video.shape[2]):
            x = video[:, t, c]
            mean = x.sum() / x.numel()
            var = (x - mean).square().sum() / x.numel()
            rows.append(gain[:, c, None, None] * (x - mean) / torch.sqrt(var + 1e-5) + bias[:, c, None, None])
    output = torch.relu(torch.stack(rows, 1).unflatten(1, video.shape[1:3]))
    leaves = {"video": video, "cond": cond} | dict(norm.named_parameters())
    gradients = torch.autograd.grad((output * weight).sum(), list(leaves.values()))
    return {"output": output.detach()} | {f"gradients/{k}": g for k, g in zip(leaves, gradients, strict=True)}


def joint_norm(two: list[dict[str, Tensor]], name: str) -> dict[str, Tensor]:
    """Samples of both processes one after the other; gradients of weights added up, as those of a sum are."""
    first, second = (of(results, name) for results in two)
    samples = ("output", "gradients/video", "gradients/cond")
    return {key: torch.cat((first[key], second[key])) if key in samples else first[key] + second[key] for key in first}


def test_the_synchronised_norm_is_the_literal_loop_over_the_whole_batch(two: list[dict[str, Tensor]]) -> None:
    literal, ours = literal_norm(), joint_norm(two, "norm")
    assert set(ours) == set(literal)
    for key, value in literal.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(normalise(World())[key], value, rtol=1e-10, atol=1e-10)


def test_norms_that_are_not_synchronised_differ_from_it(two: list[dict[str, Tensor]]) -> None:
    literal, apart = literal_norm(), joint_norm(two, "norm apart")
    assert difference(apart, literal, "output") > 0.1
    assert difference(apart, literal, "gradients/video") > 0.1


def test_a_mean_over_processes_has_the_gradient_of_the_mean(two: list[dict[str, Tensor]]) -> None:
    """|2.5 - 3|: the mean is below 3 although one of the numbers is above, and both processes are pushed up.

    Each has the gradient of the sum of both losses, which is that of their mean times 2, as DDP expects it.
    """
    assert [float(results["average/value"]) for results in two] == [0.5, 0.5]
    assert [float(results["average/gradient"]) for results in two] == [-1.0, -1.0]


def test_what_one_process_says_all_know(two: list[dict[str, Tensor]]) -> None:
    assert [results["any"].tolist() for results in two] == [[True, False], [True, False]]
    assert World().any(True)
    assert not World().any(False)


# -- shares


@given(size=st.integers(1, 5), parts=st.integers(1, 5), count=st.integers(1, 4))
def test_shares_partition_the_batch_in_order(size: int, parts: int, count: int) -> None:
    """Part after part, process after process, each sample once; and each process cuts just its own."""
    total = size * parts * count
    shares = [World(rank, size).shares(total, parts) for rank in range(size)]
    in_order = [shares[rank][part] for part in range(parts) for rank in range(size)]
    drawn = torch.arange(total)
    assert torch.cat([share.of(drawn) for share in in_order]).tolist() == drawn.tolist()
    assert {len(share.of(drawn)) for share in in_order} == {count}
    assert {share.total for share in in_order} == {total}
    # A part is the same samples whatever the number of processes.
    alone = World().shares(total, parts)
    for part in range(parts):
        together = torch.cat([shares[rank][part].of(drawn) for rank in range(size)])
        assert torch.equal(together, alone[part].of(drawn))


@pytest.mark.parametrize(("batch", "parts", "size"), [(6, 1, 4), (8, 2, 3), (2, 1, 4), (9, 2, 1)])
def test_a_batch_that_does_not_divide_is_refused(batch: int, parts: int, size: int) -> None:
    with pytest.raises(UsageError, match=rf"batch of {batch} ") as caught:
        World(0, size).shares(batch, parts)
    assert "--batch-size" in str(caught.value)
    assert f"multiple of {parts * size}" in str(caught.value)
    assert f"--accumulate ({parts})" in str(caught.value)
    assert f"processes ({size})" in str(caught.value)
    assert "\n" not in str(caught.value)


def source(folder: Path, world: World, accumulate: int) -> BatchSource:
    """Level 2 with conditions, made of real clips; `world` need not exist, for data ask nobody."""
    config = small_config((2,), num_classes=2)
    training = TrainingConfig(steps=1, batch_size=8, accumulate=accumulate, condition_reuse=2, random_scale=(0.5, 1.0))
    hierarchy = small_hierarchy(config)
    lower = replace(hierarchy, generators=hierarchy.generators[:1], tables=hierarchy.tables[:1])
    conditions = Conditions(lower, 2, 8, 2, 5, torch.ones(2))
    index, cache = scan(folder), FrameCache(1 << 24)
    return BatchSource(config, 2, training, index, cache, conditions, 5, CPU, lambda clip, why: None, world)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, make_clip: Callable[..., Path]) -> Path:
    root = tmp_path_factory.mktemp("clips")
    for number, name in enumerate(("cats", "dogs")):
        (root / name).mkdir()
        make_clip(root / name / "0.mp4", frames=12, size=(24, 32), rate=Fraction(25), seed=number)
    return root


def videos(batch: LevelBatch) -> list[Tensor]:
    tensors = (batch.video, batch.low, batch.fake_low, batch.labels, batch.fake_labels)
    return [tensor for tensor in tensors if tensor is not None]


def test_processes_together_see_the_batch_of_one(clips: Path) -> None:
    """Data, generated conditions and classes: each process makes its own samples, and they are those of one."""
    whole = source(clips, World(), 1)
    sources = [source(clips, World(rank, 2), 2) for rank in range(2)]
    for step in (1, 2):  # two batches of conditions
        expected = videos(whole.batches(step, 1)[0])
        parts = [one.batches(step, 1) for one in sources]
        in_order = [parts[rank][part] for part in range(2) for rank in range(2)]
        assert [batch.share.first for batch in in_order] == [0, 2, 4, 6]
        joined_up = [torch.cat(pieces) for pieces in zip(*map(videos, in_order), strict=True)]
        assert len(joined_up) == len(expected) == 5
        for ours, theirs in zip(joined_up, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
        assert not torch.equal(expected[1], expected[2])  # generated conditions are not the real ones


def test_data_loaded_ahead_is_the_data_loaded_at_once(clips: Path) -> None:
    one = source(clips, World(1, 2), 2)
    ahead = [one.load(step, 0) for step in range(2)]
    assert [len(part) for part in ahead] == [2, 2]
    assert all(labels is not None and len(crops) == len(labels) == 2 for crops, labels in ahead[0])
    for step in range(2):
        at_once, later = one.batches(step, 0), one.batches(step, 0, ahead[step])
        for ours, theirs in zip(later, at_once, strict=True):
            assert ours.share == theirs.share
            assert all(torch.equal(a, b) for a, b in zip(videos(ours), videos(theirs), strict=True))


def test_without_conditions_real_ones_stand_in(clips: Path) -> None:
    one = source(clips, World(), 2)
    for batch in one.batches(0, 0, conditions=False):
        assert batch.fake_low is batch.low
        assert batch.fake_labels is batch.labels


def test_a_sheet_of_one_process_has_all_samples_of_the_batch(clips: Path) -> None:
    sheets = []
    for world in (World(), World(1, 2)):
        conditions = source(clips, world, 1).conditions
        assert conditions is not None
        sheets.append(conditions.windows(0, "sheet", CPU))
    assert len(sheets[0][0]) == 8
    torch.testing.assert_close(sheets[0], sheets[1])


# -- joining


def test_one_process_joins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined(CPU) as world:
        assert world == World()
        assert world.main
        assert world.group is None
        assert world.mean({"loss": 2.0}) == {"loss": 2.0}
        world.wait()


@pytest.mark.parametrize("value", ["0", "-1", "two", ""])
def test_a_world_size_that_is_no_number_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", value)
    with pytest.raises(UsageError, match="torchrun"):
        launched_size()


def test_several_processes_without_torchrun_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match=r"MASTER_ADDR, MASTER_PORT.*torchrun"), joined(CPU):
        pass


def test_a_share_of_all_is_all() -> None:
    drawn = torch.arange(6)
    assert torch.equal(Share.whole(6).of(drawn), drawn)
