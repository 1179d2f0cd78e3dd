"""Motion fields as colours: hues of the directions, strength by size."""

from __future__ import annotations

import colorsys
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hvgcli.errors import UsageError
from hvgcli.sampling.flow_colours import flow_colours, largest_motion, wheel


def field(*motions: tuple[float, float]) -> Tensor:
    """A field `(1, 1, 2, 1, N)` of (right, down) in pixels."""
    return torch.tensor(motions).t()[None, None, :, None]


def random_field(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_four_axes_have_four_hues_a_quarter_of_the_wheel_apart() -> None:
    colours = flow_colours(field((2, 0), (0, 2), (-2, 0), (0, -2)))[0, 0, 0]
    assert colours.tolist() == [[255, 0, 0], [128, 255, 0], [0, 255, 255], [128, 0, 255]]  # right, down, left, up


def test_no_motion_is_white() -> None:
    assert (flow_colours(torch.zeros(2, 3, 2, 4, 5)) == 255).all()
    assert flow_colours(field((0, 0), (1, 0)))[0, 0, 0, 0].tolist() == [255, 255, 255]


@settings(deadline=None, max_examples=60)
@given(st.floats(-math.pi, math.pi), st.floats(0, 1))
def test_a_colour_is_that_of_hue_and_saturation(angle: float, size: float) -> None:
    got = flow_colours(field((size * math.cos(angle), size * math.sin(angle))), largest=1.0)[0, 0, 0, 0]
    expected = colorsys.hsv_to_rgb(angle / (2 * math.pi) % 1, size, 1)
    assert (got.double() - 255 * torch.tensor(expected, dtype=torch.float64)).abs().max() <= 0.51


def test_all_shapes_and_places_are_kept() -> None:
    flow = random_field(0, 2, 3, 2, 4, 5)
    colours = flow_colours(flow, largest=2.0)
    assert colours.shape == (2, 3, 4, 5, 3)
    assert colours.dtype == torch.uint8
    for place in ((0, 0, 0, 0), (1, 2, 3, 4), (0, 1, 2, 1)):
        b, t, i, j = place
        alone = flow_colours(flow[b, t, :, i, j].view(1, 1, 2, 1, 1), largest=2.0)
        assert torch.equal(colours[place], alone[0, 0, 0, 0])


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 100), st.integers(-10, 10))
def test_colours_do_not_depend_on_the_scale(seed: int, power: int) -> None:
    flow = random_field(seed, 1, 2, 2, 3, 3)
    assert torch.equal(flow_colours(flow * 2.0**power), flow_colours(flow))
    assert torch.equal(flow_colours(flow * 2.0**power, largest=3 * 2.0**power), flow_colours(flow, largest=3.0))


def test_the_largest_motion_has_a_full_colour_and_is_the_default_scale() -> None:
    flow = field((3, 4), (0, 0.5), (-1, -1))
    assert largest_motion(flow) == 5
    colours = flow_colours(flow)
    assert colours[0, 0, 0, 0].min() == 0
    assert colours[0, 0, 0, 1:].min() > 0
    assert torch.equal(colours, flow_colours(flow, largest=5.0))
    assert not torch.equal(colours, flow_colours(flow, largest=10.0))


def test_larger_motions_than_the_given_one_are_drawn_as_that() -> None:
    colours = flow_colours(field((1, 1), (50, 50)), largest=math.sqrt(2))[0, 0, 0]
    assert torch.equal(colours[0], colours[1])


def test_half_precision_fields_are_taken() -> None:
    flow = field((1, 0), (0, 0.5))
    assert torch.equal(flow_colours(flow.bfloat16()), flow_colours(flow))


def test_an_empty_field_gives_empty_pictures() -> None:
    assert flow_colours(torch.zeros(1, 0, 2, 4, 4)).shape == (1, 0, 4, 4, 3)
    assert largest_motion(torch.zeros(1, 0, 2, 4, 4)) == 0


@pytest.mark.parametrize("size", [16, 17])
def test_the_wheel_shows_motions_where_they_lead(size: int) -> None:
    picture = wheel(size)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == torch.uint8
    middle, last = size // 2, size - 1
    rim = {"right": picture[middle, last], "down": picture[last, middle], "left": picture[middle, 0]}
    assert rim["right"].argmax() == 0
    assert rim["down"].argmax() == 1
    assert rim["left"].argmin() == 0
    assert picture[0, middle].argmax() == 2
    assert (picture[[0, 0, last, last], [0, last, 0, last]] == 255).all()  # outside the disc
    assert picture[middle, middle].min() > 225  # white in the middle
    assert picture.min() < 20
    assert torch.equal(picture[:, middle:].amin(dim=2), picture[:, : size - middle].flip(1).amin(dim=2))


@pytest.mark.parametrize("shape", [(2, 4, 4), (1, 1, 3, 4, 4), (1, 2, 4, 4)])
def test_what_is_no_motion_field_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="expected \\(B, t, 2, H, W\\)"):
        flow_colours(torch.zeros(shape))


@pytest.mark.parametrize("largest", [0.0, -1.0, math.nan, math.inf])
def test_a_largest_motion_that_is_none_is_refused(largest: float) -> None:
    with pytest.raises(UsageError, match="expected more than 0"):
        flow_colours(field((1, 0)), largest)


def test_a_wheel_without_pixels_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        wheel(0)
