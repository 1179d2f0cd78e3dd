"""DiffAugment for videos: against literal loops, its gradients, and that a video and its condition stay a pair."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hvgcli.config import AUGMENTATIONS
from hvgcli.data.pyramid import downsample_space, subsample_time
from hvgcli.training.augment import DRAWS, augment

KINDS = [combination for n in (1, 2, 3) for combination in combinations(AUGMENTATIONS, n)]


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_video(batch: int, frames: int, size: int, seed: int = 0) -> Tensor:
    memory = 2 * uniform(batch, frames, size, size, 3, seed=seed) - 1
    return memory.permute(0, 1, 4, 2, 3)


def pooled(video: Tensor, factor: int) -> Tensor:
    return F.avg_pool2d(video.flatten(0, 1), factor).unflatten(0, video.shape[:2])


def literal_color(sample: Tensor, mean: float, draws: list[float]) -> Tensor:
    """The paper's three steps on `(T, 3, H, W)`, around the given mean of the video."""
    brightness, saturation, contrast = draws[0] - 0.5, 2 * draws[1], draws[2] + 0.5
    x = sample + brightness
    grey = (x[:, 0:1] + x[:, 1:2] + x[:, 2:3]) / 3
    x = (x - grey) * saturation + grey
    return (x - (mean + brightness)) * contrast + (mean + brightness)


def literal_translation(sample: Tensor, cells: int, draws: list[float]) -> Tensor:
    size = sample.shape[-1]
    largest = int(cells / 8 + 0.5)
    down, right = (int(draw * (2 * largest + 1)) - largest for draw in draws[3:5])
    down, right = down * size // cells, right * size // cells
    out = torch.zeros_like(sample)
    for y in range(size):
        for x in range(size):
            if 0 <= y - down < size and 0 <= x - right < size:
                out[:, :, y, x] = sample[:, :, y - down, x - right]
    return out


def literal_cutout(sample: Tensor, cells: int, draws: list[float]) -> Tensor:
    size, side = sample.shape[-1], int(cells / 2 + 0.5)
    cell = size // cells
    top, left = (int(draw * (cells + 1 - side % 2)) - side // 2 for draw in draws[5:7])
    out = sample.clone()
    for y in range(size):
        for x in range(size):
            if top <= y // cell < top + side and left <= x // cell < left + side:
                out[:, :, y, x] = 0
    return out


def literal(part: Tensor, video: Tensor, cells: int, kinds: tuple[str, ...], draws: Tensor) -> Tensor:
    """What becomes of `part`, the video itself or its condition."""
    samples = []
    for sample, whole, row in zip(part, video, draws.tolist(), strict=True):
        if "color" in kinds:
            sample = literal_color(sample, whole.mean().item(), row)
        if "translation" in kinds:
            sample = literal_translation(sample, cells, row)
        if "cutout" in kinds:
            sample = literal_cutout(sample, cells, row)
        samples.append(sample)
    return torch.stack(samples)


@pytest.mark.parametrize("kinds", KINDS, ids="+".join)
@pytest.mark.parametrize("cells", [8, 16])
def test_the_literal_loops(kinds: tuple[str, ...], cells: int) -> None:
    video, low, draws = make_video(6, 4, 16), make_video(6, 2, cells, 1), uniform(6, DRAWS, seed=2)
    draws[0], draws[1] = 0, 1 - 2**-40  # both ends of every range
    changed, changed_low = augment(video, low, kinds, draws)
    assert changed_low is not None
    torch.testing.assert_close(changed, literal(video, video, cells, kinds, draws), rtol=0, atol=1e-12)
    torch.testing.assert_close(changed_low, literal(low, video, cells, kinds, draws), rtol=0, atol=1e-12)
    alone, nothing = augment(video, None, kinds, draws)
    assert nothing is None
    torch.testing.assert_close(alone, literal(video, video, 16, kinds, draws), rtol=0, atol=1e-12)
    assert not torch.equal(alone, video)


def test_no_kinds_return_the_inputs_themselves() -> None:
    video, low = make_video(2, 2, 8), make_video(2, 1, 4)
    changed, changed_low = augment(video, low, (), uniform(2, DRAWS))
    assert changed is video
    assert changed_low is low


@pytest.mark.parametrize("kinds", KINDS, ids="+".join)
def test_pooling_the_changed_video_gives_the_changed_condition(kinds: tuple[str, ...]) -> None:
    video, draws = make_video(8, 4, 32), uniform(8, DRAWS, seed=3)
    changed, low = augment(video, pooled(subsample_time(video, 2), 4), kinds, draws)
    torch.testing.assert_close(low, pooled(subsample_time(changed, 2), 4), rtol=0, atol=1e-12)


def test_colors_commute_with_the_pyramid() -> None:
    video = make_video(8, 4, 32)
    changed, low = augment(video, downsample_space(subsample_time(video, 2), 8), ("color",), uniform(8, DRAWS))
    torch.testing.assert_close(low, downsample_space(subsample_time(changed, 2), 8), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["translation", "cutout"])
def test_the_pyramid_sees_a_moved_pair_as_a_pair_but_at_edges(kind: str) -> None:
    """f_s looks half a pixel of x^{l-1} further than a pixel; away from edges, old and new, the pair is exact."""
    video = make_video(8, 1, 64)
    draws = uniform(8, DRAWS, seed=5)
    changed, low = augment(video, downsample_space(video, 16), (kind,), draws)
    _, kept = augment(video, torch.ones(8, 1, 3, 16, 16).double(), (kind,), draws)
    assert low is not None
    assert kept is not None
    # Within one pixel of an edge or of what was cleared; one more, since f_s weighs otherwise at the old edges.
    near = F.max_pool2d(F.pad(1 - kept[:, 0], (2, 2, 2, 2), value=1.0), 5, 1)
    difference = (low - downsample_space(changed, 16))[:, 0]
    assert difference[near == 0].abs().max() < 1e-12
    assert (near == 0).double().mean() > 0.1


@pytest.mark.parametrize("kinds", [("color",), ("translation",), ("cutout",), AUGMENTATIONS], ids="+".join)
def test_gradients(kinds: tuple[str, ...]) -> None:
    video, low = make_video(2, 2, 8).requires_grad_(), make_video(2, 1, 4).requires_grad_()
    draws = uniform(2, DRAWS, seed=4)
    assert torch.autograd.gradcheck(lambda x, y: augment(x, y, kinds, draws), (video, low))


@pytest.mark.parametrize("kinds", KINDS, ids="+".join)
def test_a_video_does_not_see_the_rest_of_its_batch(kinds: tuple[str, ...]) -> None:
    video, low, draws = make_video(4, 2, 16).float(), make_video(4, 2, 8).float(), uniform(4, DRAWS).float()
    changed, changed_low = augment(video, low, kinds, draws)
    assert changed_low is not None
    for i in range(4):
        one, one_low = augment(video[i : i + 1], low[i : i + 1], kinds, draws[i : i + 1])
        assert one_low is not None
        torch.testing.assert_close(one[0], changed[i], rtol=0, atol=1e-6)
        torch.testing.assert_close(one_low[0], changed_low[i], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kinds", KINDS, ids="+".join)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_order_and_precision_are_kept(kinds: tuple[str, ...], dtype: torch.dtype) -> None:
    draws = uniform(2, DRAWS).float()
    plain = make_video(2, 3, 16).to(dtype)
    for video in (plain, plain.contiguous()):
        low = pooled(video, 2)
        for part in augment(video, low, kinds, draws):
            assert part is not None
            assert part.dtype == dtype
            assert part.permute(0, 1, 3, 4, 2).is_contiguous()


def test_every_change_has_draws_of_its_own() -> None:
    """Columns of other changes do not matter, whichever are on."""
    video = make_video(5, 2, 16)
    columns = {"color": (0, 1, 2), "translation": (3, 4), "cutout": (5, 6)}
    for kind, own in columns.items():
        draws, others = uniform(5, DRAWS, seed=6), uniform(5, DRAWS, seed=7)
        others[:, own] = draws[:, own]
        assert torch.equal(augment(video, None, (kind,), draws)[0], augment(video, None, (kind,), others)[0])
    swapped = augment(video, None, tuple(reversed(AUGMENTATIONS)), draws)[0]
    assert torch.equal(swapped, augment(video, None, AUGMENTATIONS, draws)[0])


def test_every_place_and_move_is_as_likely() -> None:
    draws = torch.zeros(500, DRAWS)
    draws[:, 3:] = (torch.arange(500)[:, None] + 0.5) / 500
    ones = torch.ones(500, 1, 3, 16, 16)
    moved = augment(ones, None, ("translation",), draws)[0]
    widths = moved[:, 0, 0].amax(1).sum(1)  # 16 - |move|
    assert torch.bincount(widths.long(), minlength=17).tolist()[14:] == [200, 200, 100]
    cleared = 16 * 16 - augment(ones, None, ("cutout",), draws)[0][:, 0, 0].sum((1, 2))
    assert cleared.max() == 64
    assert cleared.min() == 16


def test_misfits_are_refused() -> None:
    with pytest.raises(ValueError, match="condition of 6"):
        augment(torch.zeros(1, 1, 3, 16, 16), torch.zeros(1, 1, 3, 6, 6), ("color",), torch.zeros(1, DRAWS))
    with pytest.raises(ValueError, match="draws"):
        augment(torch.zeros(2, 1, 3, 16, 16), None, ("color",), torch.zeros(1, DRAWS))
