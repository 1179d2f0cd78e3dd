"""CIELAB against published colours, and diversity against a literal loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hvgcli.errors import DataError
from hvgcli.metrics.diversity import lab_diversity, srgb_to_lab


def some_videos(count: int, seed: int = 0, low: int = 0, high: int = 256) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (count, 2, 3, 4, 3), dtype=torch.uint8, generator=rng)


@pytest.mark.parametrize(
    ("colour", "lab"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((255, 255, 0), (97.14, -21.55, 94.48)),
        ((0, 255, 255), (91.11, -48.09, -14.13)),
        ((255, 0, 255), (60.32, 98.23, -60.82)),
        ((128, 128, 128), (53.59, 0, 0)),
        ((10, 10, 10), (2.74, 0, 0)),
    ],
)
def test_published_colours(colour: tuple[int, int, int], lab: tuple[float, float, float]) -> None:
    """The corners of sRGB in CIELAB with D65, as colour calculators print them, to two places."""
    assert srgb_to_lab(torch.tensor(colour, dtype=torch.uint8)).tolist() == pytest.approx(lab, abs=0.03)


def test_greys_have_no_colour_and_lightness_grows() -> None:
    lab = srgb_to_lab(torch.arange(256, dtype=torch.uint8)[:, None].expand(256, 3))
    assert lab[:, 1:].abs().max().item() < 1e-12
    assert (lab[:, 0].diff() > 0).all()


def test_equal_to_the_loop() -> None:
    videos, real = some_videos(5), some_videos(1, seed=1, low=40, high=200)[0, :1]
    values = np.stack([srgb_to_lab(video).numpy() for video in videos])  # (5, T, H, W, 3)
    deviations = [np.std(values[(slice(None), *place)]) for place in np.ndindex(values.shape[1:])]
    reference = srgb_to_lab(real).numpy()
    spread = np.mean([np.std(reference[..., channel]) for channel in range(3)])
    expected = np.mean(deviations) / spread
    assert lab_diversity(videos, real) == pytest.approx(expected, rel=1e-12)
    assert lab_diversity(iter(videos), real) == pytest.approx(expected, rel=1e-12)


def test_copies_have_none_and_shuffled_voxels_about_all() -> None:
    real = some_videos(1)[0].repeat(1, 2, 2, 1)
    assert lab_diversity(real.expand(4, *real.shape), real) == pytest.approx(0, abs=1e-12)
    rng = torch.Generator().manual_seed(0)
    voxels = real.flatten(0, 2)
    shuffled = (voxels[torch.randperm(len(voxels), generator=rng)].reshape(real.shape) for _ in range(200))
    assert lab_diversity(shuffled, real) == pytest.approx(1, abs=0.03)


def test_order_does_not_matter() -> None:
    videos, real = some_videos(6), some_videos(1, seed=1)[0]
    assert lab_diversity(videos, real) == pytest.approx(lab_diversity(videos.flip(0), real), rel=1e-12)


@pytest.mark.parametrize(
    ("videos", "real", "message"),
    [
        (some_videos(1), some_videos(1)[0], "got 1"),
        ([], some_videos(1)[0], "got 0"),
        (some_videos(2), torch.full((2, 3, 4, 3), 9, dtype=torch.uint8), "one colour"),
        (some_videos(2).float(), some_videos(1)[0], "float32"),
        (some_videos(2), some_videos(1)[0].float(), "float32"),
        ([some_videos(1)[0], some_videos(1)[0, :1]], some_videos(1)[0], "one shape"),
    ],
)
def test_bad_videos_are_one_line(videos: object, real: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError) as raised:
        lab_diversity(videos, real)  # type: ignore[arg-type]
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
