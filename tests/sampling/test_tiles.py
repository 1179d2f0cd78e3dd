"""Tiles: they cover any frame, and put back together they are the frame."""

from __future__ import annotations

from itertools import pairwise
from math import cos, pi, sin

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.errors import UsageError
from hvgcli.sampling.tiles import Blend, cut, mirrored, plan_tiles, ramps

LENGTHS = st.integers(1, 70)


def literal_ramps(starts: tuple[int, ...], tile: int, length: int, times: int) -> list[list[float]]:
    """The raised cosine, pixel by pixel."""
    weights = [[0.0] * (tile * times) for _ in starts]
    for number, start in enumerate(starts):
        for place in range(tile * times):
            weight = 1.0
            if number > 0:
                common = (starts[number - 1] + tile - start) * times
                if place < common:
                    weight *= sin(pi / 2 * (place + 0.5) / common) ** 2
            if number + 1 < len(starts):
                common = (start + tile - starts[number + 1]) * times
                left = tile * times - 1 - place
                if left < common:
                    weight *= sin(pi / 2 * (left + 0.5) / common) ** 2
            if 0 <= start * times + place < length * times:
                weights[number][place] = weight
    for pixel in range(length * times):
        inside = [n for n, start in enumerate(starts) if 0 <= pixel - start * times < tile * times]
        total = sum(weights[n][pixel - starts[n] * times] for n in inside)
        for n in inside:
            weights[n][pixel - starts[n] * times] /= total
    return weights


@settings(deadline=None, max_examples=60)
@given(LENGTHS, st.sampled_from([4, 8, 32]), st.data())
def test_tiles_cover_the_frame_with_the_overlap_and_are_as_few_as_can_be(
    length: int, tile: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, tile // 2))
    plan = plan_tiles((length, 1), tile, overlap)
    starts = plan.tops
    if length <= tile:
        assert len(starts) == 1
        assert starts[0] <= 0 <= starts[0] + tile - length
        assert abs(-starts[0] - (starts[0] + tile - length)) <= 1  # in the middle
        return
    assert starts[0] == 0
    assert starts[-1] == length - tile
    gaps = [after - before for before, after in pairwise(starts)]
    assert all(1 <= gap <= tile - overlap for gap in gaps)
    assert max(gaps) - min(gaps) <= 1
    assert (len(starts) - 2) * (tile - overlap) + tile < length  # one tile fewer would leave a gap


@settings(deadline=None, max_examples=40)
@given(LENGTHS, st.sampled_from([4, 8]), st.integers(1, 4), st.data())
def test_weights_are_the_raised_cosine_and_sum_to_one(length: int, tile: int, times: int, data: st.DataObject) -> None:
    starts = plan_tiles((length, 1), tile, data.draw(st.integers(0, tile // 2))).tops
    weights = ramps(starts, tile, length, times)
    literal = torch.tensor(literal_ramps(starts, tile, length, times), dtype=torch.float64)
    assert (weights - literal).abs().max() <= 1e-12
    line = torch.zeros(length * times, dtype=torch.float64)
    for start, weight in zip(starts, weights, strict=True):
        for place, value in enumerate(weight):
            if 0 <= start * times + place < length * times:
                line[start * times + place] += value
            else:
                assert value == 0
    assert (line - 1).abs().max() <= 1e-12


def test_two_tiles_cross_over_as_cosine_and_sine() -> None:
    left, right = ramps((0, 4), 8, 12, 1)
    for place in range(4):
        angle = pi / 2 * (place + 0.5) / 4
        assert right[place].item() == pytest.approx(sin(angle) ** 2)
        assert left[4 + place].item() == pytest.approx(cos(angle) ** 2)


@given(st.integers(-80, 80), st.integers(1, 40), st.integers(1, 9))
def test_mirroring_repeats_the_ends(start: int, count: int, length: int) -> None:
    def bounced(place: int) -> int:
        while not 0 <= place < length:
            place = -1 - place if place < 0 else 2 * length - 1 - place
        return place

    assert mirrored(start, count, length).tolist() == [bounced(start + offset) for offset in range(count)]


@settings(deadline=None, max_examples=40)
@given(LENGTHS, LENGTHS, st.integers(0, 4), st.integers(1, 3), st.integers(1, 5))
def test_enlarged_tiles_blend_into_the_enlarged_frame(
    height: int, width: int, overlap: int, times: int, batch: int
) -> None:
    """Tiles that are enlarged alike, whatever is around them, leave no trace of their edges."""
    plan = plan_tiles((height, width), 8, overlap)
    video = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(height * 100 + width))
    blend = Blend(plan, times, video.device)
    canvas = blend.canvas(2)
    for at in range(0, len(plan.corners), batch):
        corners = plan.corners[at : at + batch]
        tiles = cut(video, plan, corners)
        assert tiles.shape == (len(corners), 2, 3, 8, 8)
        large = tiles.repeat_interleave(times, -1).repeat_interleave(times, -2)
        blend.add(canvas, large, corners)
    expected = video.repeat_interleave(times, -1).repeat_interleave(times, -2)
    assert (canvas.permute(0, 3, 1, 2) - expected).abs().max() <= 1e-5


def test_a_plan_says_what_was_chosen_and_why() -> None:
    assert "6x5 tiles of 32x32 for a frame of 160x120" in str(plan_tiles((120, 160), 32, 4))
    assert "overlapping by 6-10" in str(plan_tiles((120, 160), 32, 4))
    small = str(plan_tiles((1, 20), 32))
    assert "1 tile of 32x32" in small
    assert "mirrored" in small
    assert "no other size" in small


@pytest.mark.parametrize("overlap", [-1, 17, 32])
def test_an_overlap_that_does_not_fit_is_refused(overlap: int) -> None:
    with pytest.raises(UsageError, match="give 0 to 16"):
        plan_tiles((100, 100), 32, overlap)
