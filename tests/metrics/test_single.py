"""Distances within pairs of clips, and crops, against literal loops."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.errors import DataError
from hvgcli.metrics.single import CropGrid, crop_grid, crops, sifid, svfid


def some_video(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def gaussian(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_svfid_of_diagonal_gaussians_has_a_closed_form() -> None:
    """Equal to sum of (mean difference)^2 + (sigma - sigma')^2 when the axes are those of the covariances."""
    corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)), dtype=torch.float64)
    scales, shift = torch.tensor([[1.0, 2.0, 3.0], [0.5, 0.0, -1.0]], dtype=torch.float64)
    real, fake = corners, corners * scales + shift
    variance = 8 / 7  # of +-1, ddof=1
    expected = shift.square().sum() + variance * (scales - 1).square().sum()
    assert svfid(real, fake) == pytest.approx(expected.item(), rel=1e-9)


def test_the_same_places_in_another_order_are_at_distance_zero() -> None:
    real = gaussian(50, 6, seed=0)
    assert svfid(real, real.flip(0)) == pytest.approx(0, abs=1e-9)
    assert svfid(real[:4], real[:4].flip(0)) == pytest.approx(0, abs=1e-9)


def test_sifid_is_the_mean_over_pairs() -> None:
    real, fake = gaussian(3, 20, 4, seed=0), 2 * gaussian(3, 15, 4, seed=1)
    expected = [svfid(real[i], fake[i]) for i in range(3)]
    assert sifid(real, fake) == pytest.approx(sum(expected) / 3, rel=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_crops_cover_every_voxel_and_are_what_the_grid_says(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 7)] * 3))
    size = tuple(data.draw(st.integers(1, whole)) for whole in shape)
    stride = tuple(data.draw(st.integers(1, part)) for part in size)
    if size == shape:
        return
    video = some_video(*shape)
    grid = crop_grid(shape, size, stride)  # type: ignore[arg-type]
    found = list(crops(video, size, stride))  # type: ignore[arg-type]
    assert len(found) == grid.count
    seen = torch.zeros(shape, dtype=torch.bool)
    for crop, (t, y, x) in zip(found, itertools.product(*grid.starts), strict=True):
        place = (slice(t, t + size[0]), slice(y, y + size[1]), slice(x, x + size[2]))
        assert crop.shape == (*size, 3)
        assert torch.equal(crop, video[place])
        seen[place] = True
    assert seen.all()
    for whole, part, step, starts in zip(shape, size, stride, grid.starts, strict=True):
        assert starts[0] == 0
        assert starts[-1] == whole - part
        assert all(later - earlier == step for earlier, later in itertools.pairwise(starts[:-1]))


def test_a_grid_says_what_it_is() -> None:
    grid = crop_grid((16, 96, 128), (8, 48, 64))
    assert grid == CropGrid((8, 48, 64), (4, 24, 32), ((0, 4, 8), (0, 24, 48), (0, 32, 64)))
    assert str(grid) == "27 crops of 8 frames of 64x48, stride 4 frames, 32x24"


def test_a_variation_is_nearer_than_another_clip() -> None:
    """A clip mirrored is made of the parts of the clip; one with other colours is not."""

    def colours(video: torch.Tensor) -> torch.Tensor:
        """Mean and spread of the colours of each crop."""
        parts = torch.stack(list(crops(video, (4, 6, 8)))).flatten(1, 3) / 255
        return torch.cat((parts.mean(1), parts.std(1)), dim=1)

    real = some_video(8, 12, 16)
    real[:, :, 8:] //= 2
    other = 255 - real // 2
    assert svfid(colours(real), colours(real.flip(2))) < 0.01 * svfid(colours(real), colours(other))


@pytest.mark.parametrize(
    ("shape", "size", "stride", "message"),
    [
        ((8, 32, 32), (9, 16, 16), None, "do not fit"),
        ((8, 32, 32), (0, 16, 16), None, "do not fit"),
        ((8, 32, 32), (4, 16, 16), (5, 8, 8), "leave gaps"),
        ((8, 32, 32), (4, 16, 16), (0, 8, 8), "leave gaps"),
        ((8, 32, 32), (8, 32, 32), None, "one crop"),
    ],
)
def test_bad_grids_are_one_line(
    shape: tuple[int, int, int], size: tuple[int, int, int], stride: tuple[int, int, int] | None, message: str
) -> None:
    with pytest.raises(DataError, match=message) as raised:
        crop_grid(shape, size, stride)
    assert "\n" not in str(raised.value)


def test_bad_clips_and_features_are_one_line() -> None:
    with pytest.raises(DataError, match="float32"):
        next(crops(some_video(4, 4, 4).float(), (2, 2, 2)))
    with pytest.raises(DataError, match=r"real clip .*\(1, 4\)"):
        svfid(gaussian(1, 4, seed=0), gaussian(5, 4, seed=1))
    with pytest.raises(DataError, match="generated clip"):
        svfid(gaussian(5, 4, seed=0), gaussian(5, seed=1))
    with pytest.raises(DataError, match="NaN"):
        svfid(gaussian(5, 4, seed=0), torch.full((5, 4), float("nan")))
    with pytest.raises(DataError, match="pairs of images"):
        sifid(gaussian(2, 5, 4, seed=0), gaussian(3, 5, 4, seed=1))
