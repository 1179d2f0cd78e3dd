"""Spectra: Parseval, single waves, literal loops, and sums of parts."""

from __future__ import annotations

import cmath
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.errors import DataError
from hvgcli.metrics.spectrum import (
    SpectrumSum,
    frames_within,
    luma,
    power_spectrum,
    radial_mean,
    rings,
)

sizes = st.tuples(st.integers(1, 13), st.integers(2, 13))


def some_videos(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def loop_spectrum(grey: list[list[float]]) -> list[float]:
    """Mean power of the rings up to 0.5 cycles/pixel, by the definition of the discrete Fourier transform."""
    height, width = len(grey), len(grey[0])
    step = max(height, width)
    rings_of: list[list[float]] = [[] for _ in range(2 * step)]
    for u in range(height):
        for v in range(width):
            wave = sum(
                grey[y][x] * cmath.exp(-2j * math.pi * (u * y / height + v * x / width))
                for y in range(height)
                for x in range(width)
            )
            down, right = min(u, height - u) / height, min(v, width - v) / width
            rings_of[round(math.hypot(down, right) * step)].append(abs(wave) ** 2 / (height * width))
    return [sum(ring) / len(ring) for ring in rings_of[: step // 2 + 1]]


@settings(deadline=None, max_examples=25)
@given(sizes)
def test_parseval(size: tuple[int, int]) -> None:
    """The mean over all frequencies is the mean square of the image, ring by ring too."""
    grey = luma(some_videos((2, *size)))
    power = power_spectrum(grey)
    squares = grey.square().sum((-2, -1))
    assert torch.allclose(power.sum((-2, -1)), squares, rtol=1e-12)
    numbers, _ = rings(*size)
    members = numbers.flatten().bincount()
    assert members.sum() == size[0] * size[1]
    assert torch.allclose((radial_mean(power, numbers) * members).sum(-1), squares, rtol=1e-12)


@pytest.mark.parametrize("size", [(6, 6), (5, 7), (7, 4), (1, 6)])
def test_curve_equal_to_the_loop(size: tuple[int, int]) -> None:
    videos = some_videos((2, 3, *size))
    spectra = SpectrumSum((2,), sets=1)
    spectra.update(videos)
    expected = [loop_spectrum(luma(video[1]).tolist()) for video in videos]
    mean = [(a + b) / 2 for a, b in zip(*expected, strict=True)]
    [curve] = spectra.curves()
    assert curve.frame == 2
    assert curve.power == pytest.approx(mean[1:], rel=1e-9, abs=1e-15)  # without the mean brightness
    assert spectra.frequencies == pytest.approx([n / max(size) for n in range(1, max(size) // 2 + 1)])


@pytest.mark.parametrize(("cycles", "along"), [(3, 0), (5, 1)])
def test_a_wave_has_its_power_at_its_frequency(cycles: int, along: int) -> None:
    """sin at c / N cycles/pixel with amplitude a: a^2 N^2 / 4 at each of +f and -f."""
    size, amplitude = 32, 0.25
    wave = amplitude * torch.sin(2 * math.pi * cycles * torch.arange(size, dtype=torch.float64) / size)
    grey = (wave[:, None] if along == 0 else wave[None, :]).expand(size, size)
    power = power_spectrum(grey)
    place = (cycles, 0) if along == 0 else (0, cycles)
    assert power[place].item() == pytest.approx(amplitude**2 * size**2 / 4, rel=1e-12)
    numbers, frequencies = rings(size, size)
    curve = radial_mean(power, numbers)[: len(frequencies)]
    assert frequencies[curve.argmax()].item() == cycles / size
    assert curve.sum().item() == pytest.approx(curve.max().item(), rel=1e-9)


def test_a_blurred_video_loses_its_high_frequencies_only() -> None:
    sharp = some_videos((6, 1, 16, 16))
    blurred = sharp.float()
    for dim in (2, 3):
        blurred = (blurred + blurred.roll(1, dim)) / 2
    curves = []
    for videos in (sharp, blurred.round().byte()):
        spectra = SpectrumSum((1,))
        spectra.update(videos)
        curves.append(spectra.curves()[0].power)
    assert curves[1][0] > 0.7 * curves[0][0]
    assert curves[1][-1] < 0.3 * curves[0][-1]


def test_grey_is_luma() -> None:
    colours = torch.tensor([[255, 255, 255], [0, 0, 0], [255, 0, 0]], dtype=torch.uint8)
    assert luma(colours).tolist() == pytest.approx([1, 0, 0.299])


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_batches_do_not_matter(batches: list[int]) -> None:
    videos = some_videos((sum(batches), 2, 4, 6))
    whole, streamed = SpectrumSum((1, 2)), SpectrumSum((1, 2))
    whole.update(videos)
    for part in torch.split(videos, batches):
        streamed.update(part)
    assert streamed.count == len(videos)
    assert streamed.curves() == whole.curves()


def test_merged_parts_are_the_whole_and_stay_as_they_were() -> None:
    videos = some_videos((9, 2, 4, 6))
    whole, first, second = (SpectrumSum((1, 2)) for _ in range(3))
    whole.update(videos)
    first.update(videos[:6])  # a multiple of the sets, so that both deal alike
    second.update(videos[6:])
    both = first.merge(second).merge(SpectrumSum((1, 2)))
    assert (first.count, second.count, both.count) == (6, 3, 9)
    for merged, expected in zip(both.curves(), whole.curves(), strict=True):
        assert merged.power == pytest.approx(expected.power, rel=1e-12)
        assert merged.deviation == pytest.approx(expected.deviation, rel=1e-12)


def test_the_deviation_is_that_of_the_sets() -> None:
    """HVG appendix D: the mean and the standard deviation of the averages of three sets."""
    videos = some_videos((6, 1, 5, 4))
    powers = [loop_spectrum(luma(video[0]).tolist()) for video in videos]
    sets = [[(powers[i][b] + powers[i + 3][b]) / 2 for i in range(3)] for b in range(len(powers[0]))]
    spectra = SpectrumSum((1,), sets=3)
    spectra.update(videos)
    [curve] = spectra.curves()
    deviations = [math.sqrt(sum((x - sum(s) / 3) ** 2 for x in s) / 3) for s in sets]
    assert curve.deviation == pytest.approx(deviations[1:], rel=1e-9)


def test_fewer_videos_than_sets_have_no_deviation() -> None:
    spectra = SpectrumSum((1,), sets=3)
    spectra.update(some_videos((2, 1, 4, 4)))
    assert spectra.curves()[0].deviation is None


@pytest.mark.parametrize(
    ("length", "frames"), [(48, (1, 10, 24, 48)), (12, (1, 10, 12)), (50, (1, 10, 24, 48, 50)), (1, (1,))]
)
def test_published_frames_within_a_length(length: int, frames: tuple[int, ...]) -> None:
    assert frames_within(length) == frames


@pytest.mark.parametrize(
    ("videos", "message"),
    [
        (some_videos((1, 5, 4, 4)), "frame 10"),
        (some_videos((1, 10, 1, 1)), "one pixel"),
        (some_videos((1, 10, 4, 4)).float(), "float32"),
        (some_videos((10, 4, 4)), "(10, 4, 4, 3)"),
    ],
)
def test_bad_videos_are_one_line_and_change_nothing(videos: torch.Tensor, message: str) -> None:
    spectra = SpectrumSum((1, 10))
    with pytest.raises(DataError) as raised:
        spectra.update(videos)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert spectra.count == 0
    assert spectra.size is None


def test_mixed_sizes_frames_and_nothing_at_all() -> None:
    spectra, other = SpectrumSum((1,)), SpectrumSum((1,))
    with pytest.raises(DataError, match="no videos"):
        spectra.curves()
    with pytest.raises(DataError, match="counted from 1"):
        SpectrumSum((0, 1))
    spectra.update(some_videos((1, 1, 4, 6)))
    with pytest.raises(DataError, match="6x4 and 5x4"):
        spectra.update(some_videos((1, 1, 4, 5)))
    other.update(some_videos((1, 1, 4, 5)))
    with pytest.raises(DataError, match="6x4 and 5x4"):
        spectra.merge(other)
    with pytest.raises(DataError, match="cannot be added"):
        spectra.merge(SpectrumSum((1, 2)))
