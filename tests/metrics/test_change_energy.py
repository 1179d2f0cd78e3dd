"""Change energy by literal loops, its scale, and means by class."""

from __future__ import annotations

import pytest
import torch

from hvgcli.errors import DataError
from hvgcli.metrics.motion import change_energy, class_means, within_factor


def some(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_literal_loops() -> None:
    videos = some((2, 4, 3, 2))
    for video, found in zip(videos.tolist(), change_energy(videos).tolist(), strict=True):
        squares = [
            (video[t + 1][y][x][c] - video[t][y][x][c]) ** 2
            for t in range(3)
            for y in range(3)
            for x in range(2)
            for c in range(3)
        ]
        assert found == pytest.approx(sum(squares) / len(squares), rel=1e-6)


def test_a_still_video_has_none_and_it_grows_with_the_square() -> None:
    still = some((1, 1, 4, 4)).expand(1, 5, 4, 4, 3)
    assert change_energy(still).tolist() == [0.0]
    flicker = torch.zeros(2, 6, 4, 4, 3, dtype=torch.uint8)
    flicker[0, ::2], flicker[1, ::2] = 10, 30
    assert change_energy(flicker).tolist() == [100.0, 900.0]


def test_means_of_classes() -> None:
    found = class_means(torch.tensor([1.0, 2.0, 4.0]), ["b", "a", "b"])
    assert list(found.items()) == [("a", 2.0), ("b", 2.5)]


@pytest.mark.parametrize(("ratio", "holds"), [(0.49, False), (0.5, True), (1.0, True), (2.0, True), (2.01, False)])
def test_a_factor_of_two_both_ways(ratio: float, holds: bool) -> None:
    assert within_factor(ratio, 2.0) is holds


@pytest.mark.parametrize("frames", [some((1, 1, 2, 2)), some((2, 2, 2)), some((1, 2, 2, 2)).float()])
def test_what_is_refused(frames: torch.Tensor) -> None:
    with pytest.raises(DataError, match="uint8 videos"):
        change_energy(frames)
