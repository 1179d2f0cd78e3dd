"""Continuing a video: draws of z, feeding back beyond the horizon, statistics, and the baselines."""

from __future__ import annotations

import gc
import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import made_up_table, randomise_biases, small_config, small_hierarchy, small_predictor
from torch import Tensor

from hvgcli.errors import HvgError, UsageError, WeightsError
from hvgcli.layers.table import RowLayout
from hvgcli.layers.units import UNITS
from hvgcli.models import build_generator
from hvgcli.models.frame_prediction import FramePredictor
from hvgcli.sampling.hierarchy import Hierarchy
from hvgcli.sampling.noise import latents
from hvgcli.sampling.predict import (
    Draw,
    continuation,
    copy_last,
    deviation,
    draw_latents,
    extrapolate,
    predictor,
    prepare,
)
from hvgcli.sampling.statistics import StandingTable, install, norms
from hvgcli.sampling.unroll import join

SIGMAS = (0.0, 0.5, 1.0)


def tables(network: FramePredictor) -> list[StandingTable]:
    """Made-up statistics for the horizon, other ones for each sigma."""
    horizon = network.level.frames
    return [
        replace(made_up_table(network, RowLayout(horizon), seed), sigma=sigma, frames=horizon)
        for seed, sigma in enumerate(SIGMAS)
    ]


def untrained(unit: str = "TSRU_p") -> Hierarchy:
    config = small_predictor(unit)
    torch.manual_seed(0)
    network = build_generator(config, 1)
    assert isinstance(network, FramePredictor)
    randomise_biases(network)
    return Hierarchy(config, [network.eval().requires_grad_(False)], [tables(network)])


@cache
def shared() -> Hierarchy:
    return untrained()


def clip(batch: int, frames: int | None = None, seed: int = 0) -> Tensor:
    """Contexts `(B, C, 3, D, D)` of noise in [-1, 1]."""
    level = predictor(shared()).level
    shape = (batch, frames or level.context, 3, level.resolution, level.resolution)
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 1


def continued(context: Tensor, seeds: list[int], frames: int, draw: Draw | None = None, **options: bool) -> Tensor:
    return join(continuation(shared(), context, seeds, frames, draw or Draw(), **options))


# ---- z -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", [Draw(), Draw(0.5), Draw(1.0, 0.8), Draw(2.0, 0.1)])
def test_a_row_depends_on_its_seed_alone(draw: Draw) -> None:
    batch = draw_latents([5, 6, 7], 8, draw)
    assert batch.dtype == torch.float32
    assert torch.equal(batch[1], draw_latents([6], 8, draw)[0])
    assert torch.equal(batch, draw_latents([5, 6, 7], 8, draw))
    assert not torch.equal(batch[0], batch[1])


def test_without_truncation_z_is_that_of_the_first_level() -> None:
    assert torch.equal(draw_latents([3, 4], 8, Draw(0.5)), 0.5 * latents([3, 4], 1, 8))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.01, 3), st.floats(1e-3, 5))
def test_truncation_bounds_all_and_changes_only_what_is_above(seed: int, sigma: float, threshold: float) -> None:
    whole, cut = (draw_latents([seed], 64, Draw(sigma, truncation)) for truncation in (None, threshold))
    assert cut.abs().max() <= threshold * (1 + 1e-6)
    kept = whole.abs() <= threshold * (1 - 1e-6)
    assert torch.equal(cut[kept], whole[kept])
    above = whole.abs() > threshold * (1 + 1e-6)
    assert (cut[above] != whole[above]).all()


@pytest.mark.parametrize("draw", [Draw(), Draw(0.5), Draw(1.0, 0.8), Draw(0.5, 0.8), Draw(2.0, 0.5), Draw(1.0, 1e-9)])
def test_moments_are_those_of_the_closed_form(draw: Draw) -> None:
    z = draw_latents(range(2000), 200, draw).double()
    expected, count = deviation(draw), z.numel()
    assert abs(z.mean() / expected) < 4 / math.sqrt(count)
    assert abs(z.std() / expected - 1) < 4 * math.sqrt(0.5 / count)
    assert abs(z.pow(3).mean() / expected**3) < 4 * math.sqrt(15 / count)


def by_quadrature(draw: Draw) -> float:
    """The standard deviation of the cut-off density, by the midpoint rule."""
    assert draw.truncation is not None
    width = min(draw.truncation, 10 * draw.sigma)
    x = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000 * width
    density = torch.exp(-(x / draw.sigma).square() / 2)
    return float(((x.square() * density).sum() / density.sum()).sqrt())


@settings(deadline=None, max_examples=40)
@given(st.floats(0.05, 3), st.floats(-12, 4))
def test_deviation_is_that_of_the_cut_off_density(sigma: float, power: float) -> None:
    draw = Draw(sigma, 10**power)
    assert deviation(draw) == pytest.approx(by_quadrature(draw), rel=1e-6)


def test_entries_that_are_kept_have_the_distribution_of_drawing_again() -> None:
    """Against the literal loop: draw until all are within, and compare the shares of ten bins."""
    threshold, count = 0.8, 100_000
    generator = torch.Generator().manual_seed(0)
    literal = torch.randn(count, generator=generator)
    while (outside := literal.abs() > threshold).any():
        literal[outside] = torch.randn(int(outside.sum()), generator=generator)
    ours = draw_latents(range(500), count // 500, Draw(1.0, threshold)).flatten()
    shares = [torch.histc(z, 10, -threshold, threshold) / count for z in (literal, ours)]
    assert (shares[0] - shares[1]).abs().max() < 5 * math.sqrt(2 * 0.1 * 0.9 / count)


@pytest.mark.parametrize("draw", [Draw(1.0, 0.0), Draw(0.0), Draw(0.0, 0.8), Draw(0.0, 0.0)])
def test_a_constant_draw_is_zero_for_all_seeds(draw: Draw) -> None:
    assert draw.constant
    assert torch.equal(draw_latents([1, 2, 99], 8, draw), torch.zeros(3, 8))
    assert deviation(draw) == 0


@pytest.mark.parametrize("draw", [Draw(1e-300, 1e300), Draw(1e300, 1e-300), Draw(1.0, 1e-320)])
def test_extreme_thresholds_stay_finite(draw: Draw) -> None:
    assert draw_latents([1], 8, draw).isfinite().all()
    assert math.isfinite(deviation(draw))


@pytest.mark.parametrize(
    ("sigma", "truncation"), [(-1, None), (math.nan, None), (1, -0.1), (1, math.nan), (math.inf, 1)]
)
def test_a_draw_that_is_none_is_refused(sigma: float, truncation: float | None) -> None:
    with pytest.raises(UsageError, match=r"expected 0 or more: give another --(sigma|truncation)"):
        Draw(sigma, truncation)


# ---- statistics ----------------------------------------------------------------------------------


def installed_sigma(hierarchy: Hierarchy) -> float:
    """Which of the tables the network now uses."""
    name, norm = next(norms(hierarchy.generators[0]))
    assert norm.table is not None
    (found,) = (table.sigma for table in hierarchy.tables[0] if torch.equal(table.moments[name][0], norm.table[0]))
    return found


@pytest.mark.parametrize(("deviated", "sigma"), [(0.0, 0.0), (0.24, 0.0), (0.442, 0.5), (0.76, 1.0), (3.0, 1.0)])
def test_the_nearest_statistics_are_installed(deviated: float, sigma: float) -> None:
    hierarchy = untrained()
    prepare(hierarchy, deviated)
    assert installed_sigma(hierarchy) == sigma


@pytest.mark.parametrize(("draw", "sigma"), [(Draw(), 1.0), (Draw(1.0, 0.8), 0.5), (Draw(1.0, 0.0), 0.0)])
def test_a_continuation_uses_the_statistics_of_its_draw(draw: Draw, sigma: float) -> None:
    hierarchy = untrained()
    next(continuation(hierarchy, clip(1), [1], 1, draw))
    assert installed_sigma(hierarchy) == sigma


def test_statistics_of_another_length_do_not_serve() -> None:
    hierarchy = untrained()
    hierarchy.tables[0] = [replace(table, frames=1, layout=RowLayout(1)) for table in hierarchy.tables[0]]
    with pytest.raises(WeightsError, match="no standing statistics for its"):
        prepare(hierarchy, 1.0)
    hierarchy.tables[0] = []
    with pytest.raises(WeightsError, match="pull the model again"):
        next(continuation(hierarchy, clip(1), [1], 1, Draw()))


# ---- continuation --------------------------------------------------------------------------------


def horizon() -> int:
    return predictor(shared()).level.frames


def test_within_the_horizon_it_is_the_network_itself() -> None:
    hierarchy, context = untrained(), clip(2)
    network = predictor(hierarchy)
    install(network, hierarchy.tables[0][2])
    with torch.inference_mode():
        expected = network(context, latents([7, 8], 1, network.level.z_dim))
    got = continued(context, [7, 8], horizon())
    assert expected.std() > 0.05
    assert torch.equal(got, expected)


def test_beyond_the_horizon_the_last_frames_are_fed_back() -> None:
    hierarchy, context = shared(), clip(2)
    network = predictor(hierarchy)
    frames = 3 * horizon() - 1
    got = continued(context, [7, 8], frames)
    z = latents([7, 8], 1, network.level.z_dim)
    known = context
    with torch.inference_mode():
        for _ in range(3):
            known = torch.cat((known, network.predict(known[:, -network.context :], z, horizon())), dim=1)
    assert got.shape[1] == frames
    torch.testing.assert_close(got, known[:, network.context :][:, :frames], rtol=0, atol=1e-5)
    first, second = got[:, : horizon()], got[:, horizon() : 2 * horizon()]
    assert (first - second).abs().max() > 1e-2  # it does go on, not round


def test_a_horizon_below_the_context_keeps_older_frames() -> None:
    hierarchy = untrained()
    level = predictor(hierarchy).level
    config = replace(level, frames=level.context - 1)
    network = FramePredictor(config).eval().requires_grad_(False)
    short = Hierarchy(hierarchy.config, [network], [tables(network)])
    context = clip(1)
    got = join(continuation(short, context, [3], 2 * config.frames, Draw()))
    z = latents([3], 1, level.z_dim)
    with torch.inference_mode():
        first = network(context, z)
        second = network(torch.cat((context[:, -1:], first), dim=1), z)
    torch.testing.assert_close(got, torch.cat((first, second), dim=1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("unit", tuple(UNITS))
def test_fewer_frames_are_a_prefix_of_more(unit: str) -> None:
    hierarchy = untrained(unit)
    whole = join(continuation(hierarchy, clip(1), [5], 10, Draw()))
    assert whole.std() > 0.05
    for frames in (1, 3, 4, 5, 9):
        got = join(continuation(hierarchy, clip(1), [5], frames, Draw()))
        assert got.shape[1] == frames
        torch.testing.assert_close(got, whole[:, :frames], rtol=0, atol=1e-5)


@pytest.mark.parametrize("draw", [Draw(), Draw(1.0, 0.8)])
def test_a_seed_means_one_continuation_in_any_batch(draw: Draw) -> None:
    contexts, frames = clip(3), 2 * horizon()
    batch = continued(contexts, [7, 8, 9], frames, draw)
    for row in range(3):
        alone = continued(contexts[row : row + 1], [7 + row], frames, draw)
        torch.testing.assert_close(batch[row : row + 1], alone, rtol=0, atol=1e-4)


def test_seeds_and_contexts_matter_and_a_constant_z_hides_the_seed() -> None:
    same = clip(1).expand(2, -1, -1, -1, -1)
    drawn = continued(same, [1, 2], horizon())
    assert (drawn[0] - drawn[1]).abs().max() > 1e-2
    constant = continued(same, [1, 2], 2 * horizon(), Draw(1.0, 0.0))
    torch.testing.assert_close(constant[0], constant[1], rtol=0, atol=1e-5)
    assert torch.equal(continued(clip(1), [1], 3, Draw(1.0, 0.0)), continued(clip(1), [2], 3, Draw(1.0, 0.0)))
    contexts = continued(clip(2), [1, 1], horizon())
    assert (contexts[0] - contexts[1]).abs().max() > 1e-2


def test_pieces_are_horizons_in_the_range_of_a_video() -> None:
    pieces = list(continuation(shared(), clip(2), [1, 2], 2 * horizon() + 1, Draw()))
    assert [piece.shape[1] for piece in pieces] == [horizon(), horizon(), 1]
    assert all(piece.dtype == torch.float32 and piece.abs().max() <= 1 for piece in pieces)


def living_bytes() -> int:
    """Memory of all tensors that there are: of their whole storages, of which they may be small views."""
    gc.collect()
    tensors = [found for found in gc.get_objects() if type(found) is Tensor and found.device.type == "cpu"]
    storages = [tensor.untyped_storage() for tensor in tensors]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def test_memory_does_not_grow_with_the_length() -> None:
    stream = continuation(shared(), clip(1), [1], 1000 * horizon(), Draw())
    sizes = []
    for number in range(9):
        piece = next(stream)
        if number in (2, 8):
            sizes.append(living_bytes())
    assert sizes[0] == sizes[1] > piece.nbytes


def test_between_pieces_no_more_is_kept_than_context_z_and_a_piece() -> None:
    context = clip(1)
    stream = continuation(shared(), context, [1], 1000 * horizon(), Draw())
    next(stream)
    next(stream)
    before = living_bytes()
    stream.close()
    frame = context[:, 0].nbytes
    kept = (before - living_bytes()) / frame
    assert kept < predictor(shared()).context + horizon() + 0.1  # the frames of the context and of the last piece


def test_the_context_may_have_any_memory_order_and_is_left_alone() -> None:
    context = clip(2)
    before = context.clone()
    swapped = context.transpose(3, 4).contiguous().transpose(3, 4)
    got = continued(context, [1, 2], 2 * horizon())
    assert torch.equal(context, before)
    torch.testing.assert_close(continued(swapped, [1, 2], 2 * horizon()), got, rtol=0, atol=1e-5)


def test_bfloat16_is_near_and_can_be_the_models_own_choice() -> None:
    exact = continued(clip(1), [1], horizon())
    rounded = continued(clip(1), [1], horizon(), half=True)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.2
    chosen = replace(shared(), half=(True,))
    assert torch.equal(join(continuation(chosen, clip(1), [1], horizon(), Draw())), rounded)
    assert torch.equal(join(continuation(chosen, clip(1), [1], horizon(), Draw(), half=False)), exact)


def refused(context: Tensor, seeds: list[int], frames: int) -> str:
    with pytest.raises(UsageError) as error:
        next(continuation(shared(), context, seeds, frames, Draw()))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_does_not_fit_is_refused_in_one_line() -> None:
    level = predictor(shared()).level
    few = level.context - 1
    assert f"got {few} context frames, expected {level.context}" in refused(clip(1)[:, :few], [1], 4)
    assert f"expected {level.context}" in refused(clip(1, level.context + 1), [1], 4)
    assert f"3, {level.resolution}, {level.resolution}" in refused(clip(1)[..., :-1], [1], 4)
    assert "resize" in refused(clip(1)[0], [1], 4)
    assert "2 seeds for 1 contexts" in refused(clip(1), [1, 2], 4)
    for frames in (0, -3):
        assert "expected at least 1: give another --frames" in refused(clip(1), [1], frames)


def test_a_model_that_does_not_predict_is_refused() -> None:
    outline = small_hierarchy(small_config(()))
    for call in (lambda: predictor(outline), lambda: prepare(outline, 1.0)):
        with pytest.raises(UsageError, match="expected a predictor: give --model"):
            call()
    with pytest.raises(HvgError, match="expected a predictor"):
        next(continuation(outline, clip(1), [1], 4, Draw()))


# ---- baselines -----------------------------------------------------------------------------------


def test_copy_last_is_the_last_frame_again_and_again() -> None:
    context = clip(2, 3)
    copied = copy_last(context, 4)
    assert copied.shape == (2, 4, *context.shape[2:])
    for n in range(4):
        assert torch.equal(copied[:, n], context[:, -1])
    copied[:, 0] = 5.0
    assert copied[:, 1].max() <= 1  # frames of its own, not views of one
    assert context.max() <= 1


def test_extrapolation_goes_on_in_a_line_and_stops_at_black_and_white() -> None:
    context = clip(2, 3).double()
    video = extrapolate(context, 5)
    assert video.shape == (2, 5, *context.shape[2:])
    for b, c, i, j in ((0, 0, 0, 0), (1, 2, 3, 1), (1, 1, 0, 2), (0, 2, 5, 7)):
        before, last = float(context[b, 1, c, i, j]), float(context[b, 2, c, i, j])
        for n in range(5):
            expected = min(1.0, max(-1.0, last + (n + 1) * (last - before)))
            assert float(video[b, n, c, i, j]) == pytest.approx(expected, abs=1e-12)
    assert video.min() == -1
    assert video.max() == 1


def test_a_still_context_is_extrapolated_as_a_still() -> None:
    still = clip(1, 1).expand(-1, 3, -1, -1, -1)
    assert torch.equal(extrapolate(still, 4), copy_last(still, 4))


def test_one_frame_is_copied() -> None:
    context = clip(2, 1)
    assert torch.equal(extrapolate(context, 3), copy_last(context, 3))


@pytest.mark.parametrize("baseline", [copy_last, extrapolate])
def test_baselines_are_in_the_memory_order_of_the_house(baseline: object) -> None:
    video = baseline(clip(2, 2), 3)  # type: ignore[operator]
    assert video.permute(0, 1, 3, 4, 2).is_contiguous()


@pytest.mark.parametrize("baseline", [copy_last, extrapolate])
@pytest.mark.parametrize(("known", "frames"), [(0, 3), (2, 0), (2, -1)])
def test_baselines_need_a_frame_and_make_one(baseline: object, known: int, frames: int) -> None:
    with pytest.raises(UsageError, match="expected at least 1 from at least 1"):
        baseline(clip(1, 2)[:, :known], frames)  # type: ignore[operator]
