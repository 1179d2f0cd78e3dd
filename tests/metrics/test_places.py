"""Features at places, of a map and of crops, by networks that the tests script themselves."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hvgcli.errors import DataError
from hvgcli.metrics.networks import FeatureNetwork, resolve
from hvgcli.metrics.places import _grid, places_of, stretched

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


class Means(nn.Module):
    """Logits: mean colours. Activations: mean and number of values of each channel. Takes `least` frames or more."""

    def __init__(self, least: int = 1) -> None:
        super().__init__()
        self.least = least

    @torch.jit.export
    def features(self, x: Tensor, rescale: bool = False, resize: bool = False) -> Tensor:
        if x.size(2) < self.least:
            raise ValueError("too short")
        return torch.cat((x.mean((2, 3, 4)), torch.ones_like(x).sum((2, 3, 4))), dim=1)

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        return self.features(x, rescale, resize)[:, :3]


class Bare(nn.Module):
    """Without hidden activations."""

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        return x.mean((2, 3, 4))


def scripted(module: nn.Module, folder: Path) -> FeatureNetwork:
    path = folder / "means.pt"
    torch.jit.script(module).save(str(path))
    return resolve(str(path))


def some_video(*size: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_a_network_with_a_map_gives_its_own_places() -> None:
    network, video = resolve("frames"), some_video(9, 24, 16)
    places = places_of(network, (9, 24, 16))
    assert places.name == "frames"
    assert str(places) == "the map of frames"
    found = network.locations(video[None])
    assert found is not None
    assert found.shape[1] == 2 * 3 * 2
    torch.testing.assert_close(places(video), found[0])
    with pytest.raises(DataError, match="one place"):
        places_of(network, (4, 8, 8))


def test_crops_of_half_the_sides_and_three_fifths_of_the_frames(tmp_path: Path) -> None:
    video = some_video(13, 22, 40)
    places = places_of(scripted(Means(), tmp_path), (13, 22, 40))
    assert places.name == "means-crops"
    assert str(places) == "75 crops of 8 frames of 20x11, stride 3 frames, 5x3"
    starts = itertools.product((0, 3, 5), (0, 3, 6, 9, 11), (0, 5, 10, 15, 20))
    pixels = video.numpy().astype(np.float64)
    expected = [[*pixels[t : t + 8, y : y + 11, x : x + 20].mean((0, 1, 2)), *[8 * 11 * 20] * 3] for t, y, x in starts]
    np.testing.assert_allclose(places(video).numpy(), expected, rtol=1e-5)


def test_an_image_is_cropped_in_space(tmp_path: Path) -> None:
    image = some_video(1, 32, 32)
    places = places_of(scripted(Bare(), tmp_path), (1, 32, 32))
    assert str(places) == "81 crops of 1 frames of 16x16, stride 1 frames, 2x2"
    found = places(image)
    assert found.shape == (81, 3)
    torch.testing.assert_close(found[-1], image[0, 16:, 16:].double().mean((0, 1)).float())


def test_crops_are_repeated_for_a_network_that_needs_more_frames(tmp_path: Path) -> None:
    video = some_video(5, 20, 20)
    places = places_of(scripted(Means(least=10), tmp_path), (5, 20, 20))
    assert places.frames == 16
    assert str(places).endswith("each shown to the network as 16 frames")
    found = places(video)
    assert (found[:, 3] == 16 * 10 * 10).all()
    times = [0] * 6 + [1] * 5 + [2] * 5  # of the first crop, whose frames are 0, 1, 2
    expected = video[times, :10, :10].double().mean((0, 1, 2)).float()
    torch.testing.assert_close(found[0, :3], expected)


def test_a_network_that_needs_too_many_frames_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="32 frames"):
        places_of(scripted(Means(least=100), tmp_path), (13, 16, 16))


@settings(deadline=None, max_examples=30)
@given(st.integers(20, 300), st.integers(20, 300))
def test_the_number_of_crops_does_not_depend_on_the_size(height: int, width: int) -> None:
    assert _grid((13, height, width), (0.6, 0.5, 0.5), (3, 5, 5)).count == 75


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 20), st.integers(1, 40))
def test_stretching_keeps_the_order_and_shares_the_time(own: int, frames: int) -> None:
    video = torch.arange(own).view(own, 1, 1, 1)
    found = stretched(video, frames).flatten().tolist()
    assert found == sorted(found)
    assert len(found) == frames
    counts = [found.count(number) for number in range(own)]
    assert max(counts) - min(counts) <= 1
