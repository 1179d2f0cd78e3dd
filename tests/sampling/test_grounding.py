"""Grounding: f_s and f_t of the result are the input, as nearly as the range of pixels allows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from hvgcli.data.pyramid import downsample_space
from hvgcli.sampling.grounding import ENOUGH, GroundedStream, Grounding, GroundingError, down_of_up, grounding_error

CPU = torch.device("cpu")
Line = NDArray[np.float64]


def literal_down(length: int, times: int) -> Line:
    """f_s along one axis as a matrix, pixel by pixel: a triangle as wide as two pixels of the result."""
    matrix = np.zeros((length, length * times))
    for row in range(length):
        centre = (row + 0.5) * times
        for pixel in range(length * times):
            matrix[row, pixel] = max(0.0, 1 - abs(pixel + 0.5 - centre) / times)
        matrix[row] /= matrix[row].sum()
    return matrix


def literal_up(length: int, times: int) -> Line:
    """Bilinear enlargement along one axis as a matrix, pixel by pixel."""
    matrix = np.zeros((length * times, length))
    for pixel in range(length * times):
        place = min(max((pixel + 0.5) / times - 0.5, 0), length - 1)
        low = min(int(place), length - 1)
        high = min(low + 1, length - 1)
        matrix[pixel, low] += 1 - (place - low)
        matrix[pixel, high] += place - low
    return matrix


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1) * scale


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(1, 5))
def test_the_matrix_is_f_s_of_the_enlargement(length: int, times: int) -> None:
    literal = literal_down(length, times) @ literal_up(length, times)
    matrix = down_of_up(length, times).numpy()
    assert np.abs(matrix - literal).max() <= 1e-12
    for row in range(length):
        assert not matrix[row, : max(0, row - 1)].any()
        assert not matrix[row, row + 2 :].any()  # three diagonals
    assert np.linalg.cond(matrix) < 4


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_literal_f_s_is_that_of_the_package(height: int, width: int, times: int) -> None:
    """So the matrices above speak of the same f_s, for 1-pixel strips too."""
    frame = random(1, 1, 3, height * times, width * times)
    down = downsample_space(frame, (height, width))[0, 0].double().numpy()
    rows, columns = literal_down(height, times), literal_down(width, times)
    for channel in range(3):
        assert np.abs(rows @ frame[0, 0, channel].double().numpy() @ columns.T - down[channel]).max() <= 1e-5


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 13), st.integers(1, 13), st.integers(1, 4))
def test_one_correction_is_exact_within_the_range(height: int, width: int, times: int) -> None:
    made = random(2, 3, height * times, width * times, scale=0.3)
    low = random(2, 3, height, width, seed=1, scale=0.02) + downsample_space(made[None], (height, width))[0]
    grounding = Grounding((height, width), times, CPU, rounds=1)
    result = grounding.correct(made, low)
    gap = (low - downsample_space(made[None], (height, width))[0]).double().numpy()
    up_rows, up_columns = literal_up(height, times), literal_up(width, times)
    inverse_rows = np.linalg.inv(literal_down(height, times) @ up_rows)
    inverse_columns = np.linalg.inv(literal_down(width, times) @ up_columns)
    step = up_rows @ inverse_rows @ gap @ (up_columns @ inverse_columns).T
    assert np.abs(made.double().numpy() + step - result.double().numpy()).max() <= 1e-5
    assert grounding_error(result, low).max <= 1e-6


def nearest_error(low: Line, times: int) -> float:
    """The least mean absolute error that the long search below finds for one channel, with pixels in [-1, 1]."""
    rows, columns = literal_down(low.shape[0], times), literal_down(low.shape[1], times)
    result = np.kron(low, np.ones((times, times)))
    best = np.inf
    for turn in range(4000):  # subgradient descent on the mean absolute error itself
        gap = low - rows @ result @ columns.T
        best = min(best, float(np.abs(gap).mean()) / 2)
        result = np.clip(result + 2 / (1 + turn / 20) * rows.T @ np.sign(gap) @ columns, -1, 1)
    return best


@pytest.mark.parametrize("scale", [0.3, 0.6])
def test_noise_is_grounded(scale: float) -> None:
    low = random(3, 3, 11, 14, scale=scale)
    result = Grounding((11, 14), 4, CPU).correct(random(3, 3, 44, 56, seed=1), low)
    assert result.abs().max() <= 1
    assert grounding_error(result, low).mean <= 1 / 255


@pytest.mark.parametrize("seed", [0, 1])
def test_a_clip_that_came_from_f_s_is_grounded_even_where_it_is_saturated(seed: int) -> None:
    """Black and white areas with edges as sharp as can be."""
    truth = torch.where(random(2, 3, 4, 5, seed=seed) > 0, 1.0, -1.0)
    truth = truth.repeat_interleave(22, -1).repeat_interleave(22, -2)[..., :80, :104]
    low = downsample_space(truth[None], (20, 26))[0]
    assert (low.abs() == 1).float().mean() > 0.4
    plain = torch.nn.functional.interpolate(low, size=(80, 104), mode="bilinear")
    assert grounding_error(plain, low).mean > 4 / 255
    result = Grounding((20, 26), 4, CPU).correct(plain, low)
    assert result.abs().max() <= 1
    assert grounding_error(result, low).mean <= 1 / 255


@pytest.mark.parametrize("value", [-1.0, 1.0, 0.0])
def test_a_plain_frame_is_grounded(value: float) -> None:
    low = torch.full((1, 3, 5, 7), value)
    result = Grounding((5, 7), 4, CPU).correct(random(1, 3, 20, 28), low)
    assert grounding_error(result, low).mean <= 1 / 255


def test_contrast_that_no_clip_has_is_met_as_nearly_as_can_be() -> None:
    """Black and white noise, pixel by pixel, is f_s of nothing; the error is near the least there is."""
    low = torch.where(random(1, 3, 8, 9) > 0, 1.0, -1.0)
    result = Grounding((8, 9), 4, CPU).correct(torch.zeros(1, 3, 32, 36), low)
    least = np.mean([nearest_error(channel.double().numpy(), 4) for channel in low[0]])
    assert least > 10 / 255
    assert grounding_error(result, low).mean <= 1.25 * least


def test_frames_are_corrected_each_by_itself() -> None:
    low, made = random(4, 3, 6, 5), random(4, 3, 24, 20, seed=1)
    low[2] = 0.2
    grounding = Grounding((6, 5), 4, CPU)
    together = grounding.correct(made, low)
    alone = torch.cat([grounding.correct(made[i : i + 1], low[i : i + 1]) for i in range(4)])
    assert (together - alone).abs().max() <= 1e-5


def test_no_rounds_change_nothing() -> None:
    made = random(1, 3, 8, 8)
    assert torch.equal(Grounding((2, 2), 4, CPU, rounds=0).correct(made, random(1, 3, 2, 2)), made)


# ---- over time -----------------------------------------------------------------------------------


def literal_stream(made: Tensor, low: Tensor, times_time: int, grounding: Grounding) -> Tensor:
    """Frame by frame over the whole clip."""
    anchors = grounding.correct(made[::times_time], low)
    corrections = anchors - made[::times_time]
    result = []
    for number in range(len(made)):
        before, step = divmod(number, times_time)
        after = min(before + 1, len(low) - 1)
        mixed = corrections[before] * (1 - step / times_time) + corrections[after] * (step / times_time)
        result.append((made[number] + mixed).clamp(-1, 1))
    return torch.stack(result)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(1, 4), st.lists(st.integers(1, 7), min_size=1, max_size=5))
def test_the_stream_is_the_whole_clip_at_once(inputs: int, times_time: int, pieces: list[int]) -> None:
    made = random(inputs * times_time, 3, 8, 12, scale=0.9)
    low = random(inputs, 3, 4, 6, seed=1, scale=0.9)
    grounding = Grounding((4, 6), 2, CPU)
    stream, out, at, number = GroundedStream(grounding, times_time), [], 0, 0
    while at < len(made):
        piece = made[at : at + pieces[number % len(pieces)]]
        first, last = -(-at // times_time), -(-(at + len(piece)) // times_time)
        out.append(stream.push(piece, low[first:last]))
        at, number = at + len(piece), number + 1
    out.append(stream.finish())
    whole = literal_stream(made, low, times_time, grounding)
    assert (torch.cat(out) - whole).abs().max() <= 1e-5
    if (error := grounding_error(whole[::times_time], low)).mean > 0:
        assert error.mean <= max(ENOUGH, grounding_error(grounding.correct(made[::times_time], low), low).mean + 1e-6)


def test_errors_of_parts_add_up() -> None:
    low, frames = random(3, 3, 4, 4), random(3, 3, 8, 8, seed=1)
    parts = [grounding_error(frames[:1], low[:1]), grounding_error(frames[1:], low[1:]), GroundingError()]
    merged = parts[0].merge(parts[1]).merge(parts[2])
    whole = grounding_error(frames, low)
    assert merged.values == whole.values == 3 * 3 * 4 * 4
    assert merged.mean == pytest.approx(whole.mean)
    assert merged.max == whole.max
    literal = max(
        abs(float(a - b)) / 2 for a, b in zip(downsample_space(frames[None], 4).flatten(), low.flatten(), strict=True)
    )
    assert whole.max == pytest.approx(literal)
