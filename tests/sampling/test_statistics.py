"""Standing statistics: what is recorded, how tables are laid out, and what they are for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_networks import made_up_table, small_config, small_hierarchy
from torch import Tensor, nn

from hvgcli.errors import WeightsError
from hvgcli.layers.norm import TimestepNorm
from hvgcli.layers.table import RowLayout
from hvgcli.sampling import statistics
from hvgcli.sampling.hierarchy import Hierarchy, Sample, generate, level_frames, missing_statistics, prepare
from hvgcli.sampling.measure import end_reach, measure_any_length, record
from hvgcli.sampling.noise import latents, random_labels
from hvgcli.sampling.statistics import HORIZON, Moments, Passes, Recorder, StandingTable
from hvgcli.sampling.unroll import join, unroll


@contextmanager
def listen(network: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Inputs `(B, T, C, H, W)` of every norm, call by call."""
    heard: dict[str, list[Tensor]] = {name: [] for name, _ in statistics.norms(network)}
    hooks = [
        norm.register_forward_pre_hook(lambda module, inputs, name=name: heard[name].append(inputs[0].double()))
        for name, norm in statistics.norms(network)
    ]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


def test_recorded_moments_are_those_of_all_passes_together() -> None:
    made = small_hierarchy(small_config(()))
    outline = made.generators[0]
    passes = 3
    with listen(outline) as heard, Recorder(outline, 5) as recorder, torch.no_grad():
        for number in range(passes):
            seeds = [10 * number, 10 * number + 1]
            for _ in unroll([outline], [latents(seeds, 1, 5)], random_labels(seeds, 3), 5, piece=2 + number):
                pass
            recorder.end_pass()
    assert not outline.training
    assert all(norm.observe is None for _, norm in statistics.norms(outline))
    moments = recorder.moments()
    for name, norm in statistics.norms(outline):
        frames = torch.cat(heard[name], dim=1).unflatten(1, (passes, 5))  # (B, passes, T, C, H, W)
        values = frames.permute(2, 3, 0, 1, 4, 5).flatten(2)  # (T, C, everything that was seen at t)
        mean, var = moments[name]
        assert mean.shape == (5, norm.channels)
        torch.testing.assert_close(mean.double(), values.mean(2), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(var.double(), values.var(2, unbiased=False), rtol=1e-4, atol=1e-5)


def test_a_frame_has_the_moments_of_the_passes_that_reach_it() -> None:
    outline = small_hierarchy(small_config(())).generators[0]
    lengths = (2, 5, 3)
    heard_by_pass = []
    with Recorder(outline, 5) as recorder, torch.no_grad():
        for number, frames in enumerate(lengths):
            seeds = [10 * number, 10 * number + 1]
            with listen(outline) as heard:
                for _ in unroll([outline], [latents(seeds, 1, 5)], random_labels(seeds, 3), frames, piece=2):
                    pass
            recorder.end_pass()
            heard_by_pass.append({name: torch.cat(parts, dim=1) for name, parts in heard.items()})  # (B, T, C, H, W)
    for name, (mean, var) in recorder.moments().items():
        for t in range(5):
            seen = [heard[name][:, t] for heard in heard_by_pass if t < heard[name].shape[1]]
            values = torch.stack(seen).transpose(0, 2).flatten(1)  # (C, everything that was seen at t)
            torch.testing.assert_close(mean[t].double(), values.mean(1), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(var[t].double(), values.var(1, unbiased=False), rtol=1e-4, atol=1e-5)


@given(st.integers(1, 200), st.integers(1, 3))
def test_passes_are_split_into_long_and_short_ones(passes: int, level: int) -> None:
    made = Passes.of(passes, level)
    assert made.long == max(1, passes // 4)
    assert made.total == (passes if level == 1 else made.long)


def test_short_passes_make_the_first_rows_surer_and_no_others() -> None:
    made = small_hierarchy(small_config(()))
    done: list[int] = []
    both = measure_any_length(made, 1, 1.0, passes=1, short=2, batch=2, progress=done.append)
    assert done == [1, 1, 1]
    outline = made.config.levels[0].frames
    assert both.layout == measure_any_length(made, 1, 1.0, passes=1, batch=2).layout
    shorter = record(made, 1, outline, 1.0, passes=3, batch=2)  # the same three batches
    for name, (mean, var) in both.moments.items():
        torch.testing.assert_close(mean[:outline], shorter[name][0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(var[:outline], shorter[name][1], rtol=1e-4, atol=1e-5)


def make_moments(rows: int, channels: int = 2) -> Moments:
    rng = torch.Generator().manual_seed(0)
    return {"norm": (torch.randn(rows, channels, generator=rng), torch.rand(rows, channels, generator=rng) + 0.1)}


def test_an_exact_table_has_a_row_a_frame() -> None:
    moments = make_moments(6)
    table = statistics.exact_table(0.5, moments)
    assert table.moments is moments
    assert table.layout.index(0, 6, 6).tolist() == list(range(6))
    assert table.serves(0.5, 6)
    assert not table.serves(1.0, 6)
    assert not table.serves(0.5, 5)
    assert not table.serves(0.5, 7)


@pytest.mark.parametrize(("period", "tail"), [(1, 0), (2, 3), (2, 4), (4, 5)])
def test_rows_of_a_table_for_any_length(period: int, tail: int) -> None:
    moments = make_moments(24)
    table = statistics.any_length_table(1.0, moments, period=period, tail=tail, stretch=8)
    mean, var = moments["norm"]
    made_mean, made_var = table.moments["norm"]
    assert made_mean.shape == made_var.shape == (table.layout.size, 2)
    rows = table.layout.index(0, 24, 24)
    head = table.layout.head
    assert head % period == 0
    assert 24 - tail - head < period
    for original, made in ((mean, made_mean), (var, made_var)):
        assert torch.equal(made[rows[:head]], original[:head])
        assert torch.equal(made[rows[24 - tail :]], original[24 - tail :])
    for phase in range(period):
        frames = [f for f in range(head - 8, head) if f % period == phase]
        torch.testing.assert_close(made_mean[head + phase], mean[frames].mean(0))
        spread = mean[frames].var(0, unbiased=False)
        torch.testing.assert_close(made_var[head + phase], var[frames].mean(0) + spread)
    for length in (1, 7, 24, 300):
        assert table.serves(1.0, length)


def test_tables_go_through_tensors_and_back() -> None:
    generator = small_hierarchy(small_config((2,))).generators[1]
    tables = [
        made_up_table(generator, RowLayout(3, 2, 4)),
        StandingTable(0.5, 4, RowLayout(4), made_up_table(generator, RowLayout(4)).moments, trained=True),
    ]
    tensors, described = statistics.to_tensors(tables)
    weights = {"units.0.weight": torch.ones(2)}
    rest, back = statistics.from_tensors(weights | tensors, described)
    assert set(rest) == set(weights)
    known = [[(t.sigma, t.frames, t.layout, t.trained) for t in part] for part in (back, tables)]
    assert known[0] == known[1]
    for ours, theirs in zip(back, tables, strict=True):
        assert set(ours.moments) == set(theirs.moments)
        for name, pair in theirs.moments.items():
            assert all(torch.equal(a, b) for a, b in zip(ours.moments[name], pair, strict=True))
    assert statistics.from_tensors(weights, None) == (weights, [])


@pytest.mark.parametrize(
    "described",
    [
        [{"sigma": 1.0, "frames": 0}],
        [{"sigma": "x", "frames": 0, "layout": [3, 2, 4]}],
        [{"sigma": 1.0, "frames": 0, "layout": [3, 2, 4, 5]}],
        [3],
        7,
    ],
)
def test_a_damaged_description_is_an_error_of_the_weights(described: object) -> None:
    generator = small_hierarchy(small_config((2,))).generators[1]
    tensors, _ = statistics.to_tensors([made_up_table(generator, RowLayout(3, 2, 4))])
    with pytest.raises(WeightsError, match="damaged"):
        statistics.from_tensors(tensors, described)


def test_the_exact_table_is_preferred() -> None:
    any_length = statistics.any_length_table(1.0, make_moments(12), period=1, tail=0, stretch=4)
    exact = statistics.exact_table(1.0, make_moments(6))
    for tables in ([any_length, exact], [exact, any_length]):
        assert statistics.choose(tables, 1.0, 6) is exact
        assert statistics.choose(tables, 1.0, 7) is any_length
        assert statistics.choose(tables, 0.5, 6) is None
    assert statistics.choose([exact], 1.0, 7) is None


def test_statistics_that_were_trained_with_serve_every_sigma() -> None:
    made = [
        replace(make(sigma), trained=True)
        for sigma in (0.5, 1.0)
        for make in (
            lambda sigma: statistics.any_length_table(sigma, make_moments(12), period=1, tail=0, stretch=4),
            lambda sigma: statistics.exact_table(sigma, make_moments(6)),
        )
    ]
    assert statistics.trained_with(made)
    for sigma, nearest in ((0.2, 0.5), (0.5, 0.5), (0.6, 0.5), (0.9, 1.0), (3.0, 1.0)):
        for frames, own in ((6, 6), (7, 0)):
            chosen = statistics.choose(made, sigma, frames)
            assert chosen is not None
            assert (chosen.sigma, chosen.frames) == (nearest, own)
    assert statistics.choose([made[1]], 0.5, 7) is None  # of six frames only
    assert not statistics.trained_with(replace(table, trained=False) for table in made)


def test_a_table_of_another_network_is_refused() -> None:
    made = small_hierarchy(small_config((2,)), tables=False)
    outline, level = made.generators
    good = made_up_table(outline, RowLayout(3, 1))
    with pytest.raises(WeightsError, match="do not fit"):
        statistics.install(level, good)
    name = next(iter(good.moments))
    mean, var = good.moments[name]
    for pair in ((mean[:, :1], var[:, :1]), (mean[:-1], var[:-1]), (mean, var[:-1])):
        bad = StandingTable(1.0, 0, good.layout, good.moments | {name: pair})
        with pytest.raises(WeightsError, match=name):
            statistics.install(outline, bad)
    statistics.install(outline, good)


def measure_exact(made: Hierarchy, frames: int, sigma: float, levels: int) -> None:
    """Give levels 1..levels tables for just `frames` frames at level `levels`."""
    for number, total in enumerate(level_frames(made, frames, levels), start=1):
        moments = record(made, number, total, sigma, passes=2)
        made.tables[number - 1].append(statistics.exact_table(sigma, moments))


def test_frames_without_statistics_are_an_error_and_are_named() -> None:
    made = small_hierarchy(small_config((2,)), tables=False)
    assert missing_statistics(made, 6, 1.0) == [1, 2]
    with pytest.raises(WeightsError, match="hvg stats"):
        next(generate(made, [Sample(0, 0)], 6, sigma=1.0))
    measure_exact(made, 6, 1.0, 1)
    assert missing_statistics(made, 6, 1.0) == [1, 2]  # 6 frames of level 1, where 3 are needed
    measure_exact(made, 6, 1.0, 2)
    assert missing_statistics(made, 6, 1.0) == missing_statistics(made, 5, 1.0) == []
    assert missing_statistics(made, 8, 1.0) == missing_statistics(made, 6, 0.5) == [1, 2]
    assert join(generate(made, [Sample(0, 0)], 5, sigma=1.0)).shape == (1, 5, 3, 16, 16)


def test_measuring_twice_gives_the_same() -> None:
    made = small_hierarchy(small_config((2,)))
    first = record(made, 2, 6, 1.0, passes=2, batch=3)
    second = record(made, 2, 6, 1.0, passes=2, batch=3)
    for name in first:
        assert all(torch.equal(a, b) for a, b in zip(first[name], second[name], strict=True))


def test_progress_counts_the_passes() -> None:
    made = small_hierarchy(small_config((2,)))
    done: list[int] = []
    record(made, 2, 4, 1.0, passes=3, batch=2, progress=done.append)
    assert done == [1, 1, 1]


def measured(times: tuple[int, ...], passes: int = 6) -> Hierarchy:
    """Networks with tables for any length, measured from the first level up."""
    made = small_hierarchy(small_config(times), tables=False)
    for number in range(1, made.levels + 1):
        made.tables[number - 1].append(measure_any_length(made, number, 1.0, passes=passes, batch=6))
    return made


@pytest.mark.parametrize("times", [(2,), (1, 2), (2, 2)])
def test_any_length_table_equals_the_exact_rows_where_both_were_measured(times: tuple[int, ...]) -> None:
    made = measured(times, passes=2)
    level = made.levels
    factor = made.config.frame_factor(level)
    table = made.tables[-1][0]
    assert (table.frames, table.layout.period, table.layout.tail) == (0, factor, end_reach(made, level))
    frames = 40 * factor
    exact = record(made, level, frames, 1.0, passes=2, batch=6)
    rows = table.layout.index(0, frames, frames)
    for name, norm in statistics.norms(made.generators[-1]):
        assert table.moments[name][0].shape == (table.layout.size, norm.channels)
        # The inputs drift little in untrained networks: what is left is the end, felt alike at every length.
        for ours, theirs in zip(table.moments[name], exact[name], strict=True):
            near = slice(0, min(table.layout.head, 4 * factor))
            torch.testing.assert_close(ours[rows][near], theirs[near], rtol=1e-3, atol=1e-4)
            error = (ours[rows] - theirs).abs().mean() / theirs.abs().mean()
            assert error < 0.2


def test_a_recurrent_level_is_measured_to_its_horizon_and_held() -> None:
    made = measured(())
    layout = made.tables[0][0].layout
    assert layout == RowLayout(HORIZON * 4, 1, 0)
    assert layout.index(0, 40, 40).tolist() == [*range(16), *[16] * 24]


@pytest.mark.parametrize("times", [(2,), (2, 2), (1, 2), (2, 1)])
def test_the_end_of_the_video_is_felt_through_all_levels(times: tuple[int, ...]) -> None:
    made = small_hierarchy(small_config(times), tables=False)
    for generator in made.generators:
        plain = {
            name: (torch.zeros(1, norm.channels), torch.ones(1, norm.channels))
            for name, norm in statistics.norms(generator)
        }
        statistics.install(generator.double(), StandingTable(1.0, 0, RowLayout(0, 1), plain))
    zs = [latents([1], n, 5).double() for n in range(1, made.levels + 1)]
    factor = made.config.frame_factor(made.levels)
    with torch.inference_mode():
        cut, whole = (
            join(unroll(made.generators, zs, torch.tensor([1]), count * factor, piece=40)) for count in (24, 40)
        )
    difference = (whole[:, : 24 * factor] - cut).abs().amax((0, 2, 3, 4))
    first = difference.nonzero().min().item()
    assert first == 24 * factor - end_reach(made, made.levels)


def normalised(made: Hierarchy, frames: int) -> tuple[float, float]:
    """Of the last level's norms the worst: mean |mean| and mean |log var| of its output by timestep and channel."""
    generator = made.generators[-1]
    seeds = list(range(32))  # not those that were measured with
    samples = [Sample(seed, int(label)) for seed, label in zip(seeds, random_labels(seeds, 3), strict=True)]
    with listen(generator) as heard:
        for _ in generate(made, samples, frames, sigma=1.0, piece=100):
            pass
    rows = generator.rows.index(0, frames, frames)
    means, spreads = [], []
    for name, norm in statistics.norms(generator):
        assert isinstance(norm, TimestepNorm)
        assert norm.table is not None
        mean, var = (part[rows][None, :, :, None, None] for part in norm.table)
        raw = torch.cat(heard[name], dim=1)
        alive = raw.var((0, 3, 4)) > 1e-3  # a channel that is always 0 cannot be normalised
        assert alive.float().mean() > 0.5
        x = (raw - mean) / (var + 1e-5).sqrt()
        means.append(x.mean((0, 3, 4))[alive].abs().mean().item())
        spreads.append(x.var((0, 3, 4))[alive].log().abs().mean().item())
    return max(means), max(spreads)


@pytest.mark.parametrize("times", [(), (2,)])
@pytest.mark.parametrize("frames", [6, 30])
def test_with_standing_statistics_every_frame_is_normalised_and_without_it_is_not(
    times: tuple[int, ...], frames: int
) -> None:
    made = measured(times)
    mean, spread = normalised(made, frames)
    assert mean < 0.25
    assert spread < 0.6
    prepare(made, frames, 1.0, made.levels)
    wrong = {
        name: (torch.zeros(1, norm.channels), torch.ones(1, norm.channels))
        for name, norm in statistics.norms(made.generators[-1])
    }
    made.tables[-1] = [StandingTable(1.0, 0, RowLayout(0, 1), wrong)]
    wrong_mean, wrong_spread = normalised(made, frames)
    assert wrong_mean > 1.5 * mean
    assert wrong_spread > 4 * spread


def test_frames_of_each_level() -> None:
    made = small_hierarchy(small_config((2, 2)))
    assert level_frames(made, 9, 3) == [3, 6, 12]
    assert level_frames(made, 9, 2) == [5, 10]
    assert level_frames(made, 9, 1) == [9]
