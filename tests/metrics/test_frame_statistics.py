"""The `frames` statistics, against literal loops in float64, and what they must and must not feel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from patterns import moving_pattern

from hvgcli.metrics.frame_statistics import (
    DIMENSIONS,
    FLOOR,
    SCALES,
    FrameStatistics,
    place_statistics,
    velocity,
    video_statistics,
)

NETWORK = FrameStatistics()


def pattern(frames: int = 7, size: tuple[int, int] = (18, 22), seed: int = 0) -> torch.Tensor:
    noise = np.random.default_rng(seed).integers(0, 30, (frames, *size, 3))
    return torch.from_numpy(np.clip(moving_pattern(frames, size, seed) + noise, 0, 255).astype(np.uint8))


def named(values: torch.Tensor) -> dict[str, np.ndarray]:
    """The groups of the statistics by name, in their own units again."""
    parts = values.double().split([count for _, count, _ in SCALES])
    return {name: part.numpy() * scale for part, (name, _, scale) in zip(parts, SCALES, strict=True)}


# ---- literal loops -----------------------------------------------------------------------------


def opponents(frames: torch.Tensor) -> np.ndarray:
    """(T, H, W, 3) of L, A, B."""
    rgb = frames.double().numpy()
    found = np.empty_like(rgb)
    for place in np.ndindex(rgb.shape[:3]):
        r, g, b = rgb[place]
        found[place] = (r + g + b) / 3 / 255, (r - g) / 255, (r + g - 2 * b) / 2 / 255
    return found


def halved(light: np.ndarray) -> np.ndarray:
    time, height, width = light.shape
    found = np.empty((time, height // 2, width // 2))
    for t, y, x in np.ndindex(found.shape):
        found[t, y, x] = light[t, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean()
    return found


def change(light: np.ndarray, lag: int) -> float:
    steps = [abs(light[t + lag] - light[t]).mean() for t in range(len(light) - lag)]
    return float(np.mean(steps)) if steps else 0.0


def log(value: float) -> float:
    return math.log(value + FLOOR)


def gradients(light: np.ndarray) -> tuple[list[float], list[float]]:
    time, height, width = light.shape
    across = [light[t, y, x + 1] - light[t, y, x] for t, y, x in np.ndindex(time, height, width - 1)]
    down = [light[t, y + 1, x] - light[t, y, x] for t, y, x in np.ndindex(time, height - 1, width)]
    return across, down


def literal(frames: torch.Tensor) -> dict[str, np.ndarray]:
    channels = opponents(frames)
    light = channels[..., 0]
    flat = channels.reshape(-1, 3)
    mean, deviation = flat.mean(0), flat.std(0)
    scales = [light, halved(light), halved(halved(light))]
    histogram, hue = np.zeros(8), np.zeros(6)
    for lum, a, b in flat:
        histogram[min(int(lum * 8), 7)] += 1 / len(flat)
        hue[min(int((math.atan2(b, a) + math.pi) / (2 * math.pi) * 6), 5)] += math.hypot(a, b) / len(flat)
    slopes = [gradients(level) for level in scales]
    both = [np.array(across + down) for across, down in slopes]
    jerk = [abs(light[t + 2] - 2 * light[t + 1] + light[t]).mean() for t in range(len(light) - 2)]
    return {
        "mean": mean,
        "deviation": deviation,
        "skewness": ((flat - mean) ** 3).mean(0) / (deviation + FLOOR) ** 3,
        "histogram": np.sqrt(histogram),
        "hue": hue,
        "gradient": np.array([log(np.mean(np.abs(part))) for pair in slopes for part in pair]),
        "sparseness": np.array([log(np.sqrt((s**2).mean())) - log(np.abs(s).mean()) for s in both]),
        "change": np.array([log(change(level, lag)) for level in (scales[0], scales[2]) for lag in (1, 2, 4)]),
        "jerk": np.array([log(float(np.mean(jerk)))]),
        "flicker": np.array([log(np.std([f.mean() for f in light])), log(np.std([f.std() for f in light]))]),
        "drift": np.array([log(abs(light[-1] - light[0]).mean())]),
    }


@pytest.mark.parametrize("seed", range(3))
def test_statistics_are_those_of_literal_loops(seed: int) -> None:
    frames = pattern(seed=seed)
    found = named(video_statistics(frames))
    for name, expected in literal(frames).items():
        np.testing.assert_allclose(found[name], expected, rtol=2e-4, atol=2e-5, err_msg=name)


def test_the_grids() -> None:
    frames = pattern(5, (16, 24))
    light = opponents(frames)[..., 0]
    found = named(video_statistics(frames))
    cells = [light[:, 4 * r : 4 * r + 4, 6 * c : 6 * c + 6].mean() - light.mean() for r in range(4) for c in range(4)]
    np.testing.assert_allclose(found["grid"], cells, atol=1e-5)
    steps = np.abs(np.diff(light, axis=0))
    quarters = [steps[:, 8 * r : 8 * r + 8, 12 * c : 12 * c + 12].mean() for r in range(2) for c in range(2)]
    np.testing.assert_allclose(found["grid change"], [log(q) - log(steps.mean()) for q in quarters], atol=1e-4)


# ---- what they feel ----------------------------------------------------------------------------


def test_there_are_64() -> None:
    assert sum(count for _, count, _ in SCALES) == DIMENSIONS == 64
    assert NETWORK.logits(pattern()[None]).shape == (1, 64)
    assert NETWORK.pooled(pattern()[None]) is None


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 9), st.integers(1, 12), st.integers(1, 12), st.integers(0, 9))
def test_any_size_gives_finite_numbers_that_no_batch_changes(frames: int, height: int, width: int, seed: int) -> None:
    videos = torch.stack([pattern(frames, (height, width), seed + i) for i in range(3)])
    together = NETWORK.logits(videos)
    assert together.isfinite().all()
    assert torch.equal(together, torch.cat([NETWORK.logits(video[None]) for video in videos]))
    places = NETWORK.locations(videos)
    assert places is not None
    assert places.isfinite().all()


@pytest.mark.parametrize("value", [0, 100, 255])
def test_constant_videos(value: int) -> None:
    found = named(video_statistics(torch.full((6, 16, 16, 3), value, dtype=torch.uint8)))
    np.testing.assert_allclose(found["mean"], [value / 255, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found["change"], math.log(FLOOR), atol=1e-3)
    np.testing.assert_allclose(found["gradient"], math.log(FLOOR), atol=1e-3)
    assert found["histogram"].max() == pytest.approx(1)


def test_the_order_of_frames_matters_to_motion_alone() -> None:
    frames = pattern(8)
    found, mixed = (named(video_statistics(f)) for f in (frames, frames[torch.tensor([3, 0, 6, 1, 7, 4, 2, 5])]))
    for name in ("mean", "deviation", "skewness", "grid", "histogram", "hue", "gradient", "sparseness", "flicker"):
        np.testing.assert_allclose(found[name], mixed[name], atol=1e-4, err_msg=name)
    assert (mixed["change"][:1] > found["change"][:1] + 0.1).all()


def test_a_mirror_turns_the_velocity_and_the_grid() -> None:
    frames = pattern(6, (16, 16))
    found, mirrored = (named(video_statistics(f)) for f in (frames, frames.flip(2)))
    np.testing.assert_allclose(mirrored["velocity"], found["velocity"] * [-1, 1], atol=1e-3)
    np.testing.assert_allclose(mirrored["grid"].reshape(4, 4), found["grid"].reshape(4, 4)[:, ::-1], atol=1e-5)
    np.testing.assert_allclose(mirrored["gradient"], found["gradient"], atol=1e-4)


@pytest.mark.parametrize(("across", "down"), [(0.5, 0.0), (-0.4, 0.3), (0.0, -0.7)])
def test_velocity_of_a_moving_wave(across: float, down: float) -> None:
    t, y, x = torch.meshgrid(torch.arange(6.0), torch.arange(40.0), torch.arange(40.0), indexing="ij")
    x, y = x - across * t, y - down * t
    light = 0.5 + 0.2 * torch.sin(x / 4) + 0.2 * torch.sin(y / 5)
    torch.testing.assert_close(velocity(light), torch.tensor([across, down]), atol=0.02, rtol=0)


def test_noise_is_far_from_pictures() -> None:
    pictures = NETWORK.logits(torch.stack([pattern(6, (32, 32), seed) for seed in range(4)]))
    generator = torch.Generator().manual_seed(0)
    noise = NETWORK.logits(torch.randint(0, 256, (4, 6, 32, 32, 3), generator=generator, dtype=torch.uint8))
    away = torch.cdist(pictures, noise)
    assert away.min() > 4 * torch.cdist(noise, noise).max()
    assert away.min() > torch.cdist(pictures, pictures).mean()
    edges = slice(39, 41)  # gradients at full resolution
    assert (noise[:, edges].amin(0) > pictures[:, edges].amax(0)).all()


def test_places_are_those_of_literal_loops() -> None:
    frames = pattern(9, (19, 17))
    channels = opponents(frames)
    light = channels[..., 0]
    steps = np.zeros((9, 19, 17, 3))
    for t, y, x in np.ndindex(9, 19, 17):
        steps[t, y, x, 0] = abs(light[t, y, x + 1] - light[t, y, x]) if x < 16 else 0
        steps[t, y, x, 1] = abs(light[t, y + 1, x] - light[t, y, x]) if y < 18 else 0
        steps[t, y, x, 2] = abs(light[t + 1, y, x] - light[t, y, x]) if t < 8 else 0
    expected = []
    for t, y, x in np.ndindex(2, 2, 2):
        place = np.s_[4 * t : 4 * t + 4, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8]
        part = channels[place].reshape(-1, 3)
        expected.append([*part.mean(0), *part.std(0), *steps[place].reshape(-1, 3).mean(0)])
    np.testing.assert_allclose(place_statistics(frames).double().numpy(), expected, atol=2e-4)
