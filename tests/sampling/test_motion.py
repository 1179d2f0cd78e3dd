"""Motion beside a continuation: the same frames, each horizon's own motion, and pictures of one scale."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from predictor_models import tiny_predictor
from real_models import random_hierarchy
from small_networks import made_up_table

from hvgcli.errors import UsageError
from hvgcli.layers.table import RowLayout
from hvgcli.sampling.flow_colours import flow_colours, largest_motion
from hvgcli.sampling.hierarchy import Hierarchy
from hvgcli.sampling.motion import FlowPictures
from hvgcli.sampling.predict import Draw, continuation, draw_latents, moving_continuation, predictor, warps
from hvgcli.sampling.unroll import join

WARPING = ("K-TrajGRU", "TSRU_c", "TSRU_p", "TSRU_s", "PTSRU_s")


@cache
def hierarchy(unit: str = "TSRU_p") -> Hierarchy:
    """An untrained predictor of 3 + 4 frames of 16 pixels."""
    found = random_hierarchy(tiny_predictor(unit=unit))
    found.tables[0].append(made_up_table(found.generators[0], RowLayout(4)))
    return found


def context(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("unit", WARPING)
def test_frames_are_those_of_the_continuation(unit: str) -> None:
    pieces = list(moving_continuation(hierarchy(unit), context(), [1, 2], 9, Draw()))
    video = torch.cat([video for video, _ in pieces], dim=1)
    flow = torch.cat([flow for _, flow in pieces], dim=1)
    plain = join(continuation(hierarchy(unit), context(), [1, 2], 9, Draw()))
    torch.testing.assert_close(video, plain, rtol=0, atol=1e-5)
    assert flow.shape == (2, 9, 2, 16, 16)
    assert [len(video[0]) for video, _ in pieces] == [4, 4, 1]


def test_motion_beyond_the_horizon_is_that_of_the_frames_fed_back() -> None:
    first, second, _ = moving_continuation(hierarchy(), context(), [1, 2], 9, Draw())
    network = predictor(hierarchy())
    z = draw_latents([1, 2], network.level.z_dim, Draw())
    with torch.inference_mode():
        _, expected = network.flows(first[0][:, -3:], z, 4)
    torch.testing.assert_close(second[1], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("unit", ["ConvGRU", "ConvLSTM"])
def test_units_that_do_not_warp_have_none(unit: str) -> None:
    assert not warps(predictor(hierarchy(unit)).level)
    with pytest.raises(UsageError, match=f"no motion fields: its unit {unit} does not warp"):
        next(moving_continuation(hierarchy(unit), context(), [1, 2], 4, Draw()))


def test_which_units_warp() -> None:
    assert all(warps(predictor(hierarchy(unit)).level) for unit in WARPING)


def test_a_video_has_one_scale_whatever_is_beside_it() -> None:
    flow = torch.randn(2, 6, 2, 5, 7, generator=torch.Generator().manual_seed(1))
    pictures = FlowPictures()
    both = torch.cat([pictures(flow[:, :4]), pictures(flow[:, 4:])], dim=1)
    for number in range(2):
        own = flow[number : number + 1]
        expected = flow_colours(own, largest_motion(own[:, :4]))
        assert torch.equal(both[number : number + 1], expected)


def test_no_motion_is_white() -> None:
    assert (FlowPictures()(torch.zeros(1, 2, 2, 4, 4)) == 255).all()
