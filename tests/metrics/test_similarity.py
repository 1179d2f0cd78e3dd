"""SSIM and PSNR against literal loops, and the best of several predictions."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.errors import DataError
from hvgcli.metrics.similarity import best_of, expected_best_of, psnr, sample_scores, ssim


def some_frames(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def noisy(frames: torch.Tensor, amount: float, seed: int) -> torch.Tensor:
    noise = amount * torch.randn(frames.shape, generator=torch.Generator().manual_seed(seed))
    return (frames + noise).round().clamp(0, 255).byte()


def loop_ssim(x: torch.Tensor, y: torch.Tensor) -> float:
    """Equations 13 to 16 of Wang et al. 2004 for frames (H, W, C), window by window and pixel by pixel."""
    a, b = x.double().tolist(), y.double().tolist()
    height, width, channels = x.shape
    weights = [[math.exp(-(i * i + j * j) / (2 * 1.5**2)) for j in range(-5, 6)] for i in range(-5, 6)]
    total = sum(map(sum, weights))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    scores: list[float] = []
    for top in range(height - 10):
        for left in range(width - 10):
            for c in range(channels):
                pixels = [
                    (weights[i][j] / total, a[top + i][left + j][c], b[top + i][left + j][c])
                    for i in range(11)
                    for j in range(11)
                ]
                mean_a, mean_b = sum(w * p for w, p, _ in pixels), sum(w * q for w, _, q in pixels)
                var_a = sum(w * (p - mean_a) ** 2 for w, p, _ in pixels)
                var_b = sum(w * (q - mean_b) ** 2 for w, _, q in pixels)
                covariance = sum(w * (p - mean_a) * (q - mean_b) for w, p, q in pixels)
                scores.append(
                    (2 * mean_a * mean_b + c1)
                    * (2 * covariance + c2)
                    / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
                )
    return sum(scores) / len(scores)


@pytest.mark.parametrize("shape", [(11, 11, 3), (13, 15, 1), (12, 14, 3)])
def test_ssim_equal_to_the_loop(shape: tuple[int, int, int]) -> None:
    for x, y in (
        (some_frames(*shape), some_frames(*shape, seed=1)),
        (some_frames(*shape), noisy(some_frames(*shape), 20, 1)),
    ):
        assert ssim(x, y).item() == pytest.approx(loop_ssim(x, y), rel=1e-10)


def test_ssim_of_plain_frames_is_the_luminance_term() -> None:
    x, y = torch.full((16, 16, 3), 100, dtype=torch.uint8), torch.full((16, 16, 3), 200, dtype=torch.uint8)
    c1 = (0.01 * 255) ** 2
    assert ssim(x, y).item() == pytest.approx((2 * 100 * 200 + c1) / (100**2 + 200**2 + c1), rel=1e-9)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000), st.floats(1, 120))
def test_ssim_properties(seed: int, amount: float) -> None:
    x = some_frames(2, 13, 12, 3, seed=seed)
    y = noisy(x, amount, seed + 1)
    assert ssim(x, x).tolist() == [1.0, 1.0]
    assert torch.equal(ssim(x, y), ssim(y, x))
    assert (ssim(x, y) < 1).all()
    assert (ssim(x, y) >= -1).all()


def test_scores_are_per_frame() -> None:
    x = some_frames(2, 3, 12, 13, 3)
    y = some_frames(2, 3, 12, 13, 3, seed=1)
    for score in (ssim, psnr):
        whole = score(x, y)
        assert whole.shape == (2, 3)
        for video in range(2):
            for frame in range(3):
                alone = score(x[video, frame], y[video, frame])
                assert whole[video, frame].item() == pytest.approx(alone.item(), rel=1e-12)


def test_psnr_equal_to_the_loop() -> None:
    x, y = some_frames(4, 5, 3), some_frames(4, 5, 3, seed=1)
    errors = [(a - b) ** 2 for a, b in zip(x.flatten().tolist(), y.flatten().tolist(), strict=True)]
    assert psnr(x, y).item() == pytest.approx(10 * math.log10(255**2 / (sum(errors) / len(errors))), rel=1e-12)


def test_psnr_of_known_errors() -> None:
    x = torch.full((2, 4, 4, 3), 10, dtype=torch.uint8)
    assert psnr(x, x + 1).tolist() == pytest.approx([20 * math.log10(255)] * 2)
    assert psnr(x, x).tolist() == [math.inf, math.inf]


def test_the_best_has_the_highest_mean_not_the_best_single_frame() -> None:
    scores = torch.tensor([[0.5, 0.5, 0.5], [0.9, 0.1, 0.1], [0.6, 0.7, 0.8], [1.0, 1.0, 0.0]])
    assert best_of(scores, 1).tolist() == scores[0].tolist()
    assert best_of(scores, 2).tolist() == scores[0].tolist()
    assert best_of(scores, 4).tolist() == scores[2].tolist()


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(0, 1000))
def test_best_of_equal_to_the_loop_and_never_falling(videos: int, samples: int, frames: int, seed: int) -> None:
    scores = torch.rand(videos, samples, frames, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    means = []
    for count in range(1, samples + 1):
        best = best_of(scores, count)
        for video in range(videos):
            expected = max(scores[video, :count].tolist(), key=lambda row: sum(row) / len(row))
            assert best[video].tolist() == expected
        means.append(best.mean(-1))
    assert all((later >= earlier).all() for earlier, later in pairwise(means))


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 2), st.integers(1, 6), st.integers(1, 3), st.integers(0, 1000))
def test_expected_best_is_the_mean_over_all_choices(videos: int, samples: int, frames: int, seed: int) -> None:
    scores = torch.rand(videos, samples, frames, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    means = []
    for count in range(1, samples + 1):
        expected = expected_best_of(scores, count)
        for video in range(videos):
            best = [
                max((scores[video, i].tolist() for i in chosen), key=lambda row: sum(row) / len(row))
                for chosen in combinations(range(samples), count)
            ]
            by_loop = [sum(row[frame] for row in best) / len(best) for frame in range(frames)]
            assert expected[video].tolist() == pytest.approx(by_loop, rel=1e-12)
        means.append(expected.mean(-1))
    assert torch.allclose(expected, best_of(scores, samples), rtol=1e-14)
    assert all((later >= earlier - 1e-12).all() for earlier, later in pairwise(means))


def test_expected_best_of_infinite_scores() -> None:
    scores = torch.tensor([[math.inf, math.inf], [1.0, 2.0], [math.inf, 5.0]])
    assert expected_best_of(scores, 3).tolist() == best_of(scores, 3).tolist() == [math.inf, math.inf]
    assert expected_best_of(scores[1:], 1).tolist() == [math.inf, 3.5]


def test_the_best_prediction_is_the_nearest() -> None:
    real = some_frames(3, 12, 12, 3)
    samples = [noisy(real, amount, seed) for seed, amount in enumerate((60.0, 10.0, 30.0))]
    for score in (ssim, psnr):
        scores = sample_scores(real, iter(samples), score)
        assert scores.shape == (3, 3)
        assert torch.equal(best_of(scores, 3), score(real, samples[1]))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (some_frames(10, 20, 3), some_frames(10, 20, 3), "20x10 is too small"),
        (some_frames(12, 12, 3), some_frames(12, 13, 3), "(12, 13, 3)"),
        (some_frames(12, 12, 3).float(), some_frames(12, 12, 3), "torch.float32 and torch.uint8"),
        (some_frames(12, 12), some_frames(12, 12), "(12, 12)"),
        (some_frames(0, 12, 12, 3), some_frames(0, 12, 12, 3), "(0, 12, 12, 3)"),
    ],
)
def test_bad_frames_are_one_line(x: torch.Tensor, y: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError) as raised:
        ssim(x, y)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_too_few_predictions() -> None:
    with pytest.raises(DataError, match="at least one"):
        sample_scores(some_frames(1, 12, 12, 3), [])
    with pytest.raises(DataError, match="best of 4 was asked of 3"):
        best_of(torch.zeros(3, 2), 4)
    with pytest.raises(DataError, match="best of 0"):
        best_of(torch.zeros(3, 2), 0)
    with pytest.raises(DataError, match="best of 4 was asked of 3"):
        expected_best_of(torch.zeros(3, 2), 4)
