"""f_s, f_t and the pyramid."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.config import DiscriminatorConfig, LevelConfig, ModelConfig
from hvgcli.data.pyramid import downsample_space, frames_of, pyramid, subsample_time, video_of

SMALL = DiscriminatorConfig(8, (1, 2))


def level(frames: int, resolution: int, stride: int, first: bool = False) -> LevelConfig:
    multipliers = (1,) * 6
    return LevelConfig(frames, resolution, stride, 8, multipliers, SMALL, SMALL, None if first else SMALL)


THREE = ModelConfig("three", (level(3, 8, 8, True), level(4, 16, 4), level(8, 64, 1)))


def random_video(batch: int = 2, time: int = 5, height: int = 16, width: int = 24) -> torch.Tensor:
    memory = torch.rand(batch, time, height, width, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return memory.permute(0, 1, 4, 2, 3)


def in_memory_order(video: torch.Tensor) -> bool:
    return video.permute(0, 1, 3, 4, 2).is_contiguous()


def test_frames_are_a_channels_last_view() -> None:
    video = random_video()
    frames = frames_of(video)
    assert frames.data_ptr() == video.data_ptr()
    assert frames.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(frames[6], video[1, 1])
    assert video_of(frames, 2).data_ptr() == video.data_ptr()
    assert torch.equal(video_of(frames, 2), video)


def test_another_memory_order_is_copied() -> None:
    video = random_video().contiguous()
    assert torch.equal(frames_of(video), video.flatten(0, 1))


@settings(deadline=None, max_examples=20)
@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    batch=st.integers(1, 2),
    time=st.integers(1, 4),
)
def test_downsample_space(size: tuple[int, int], batch: int, time: int) -> None:
    video = random_video(batch, time)
    small = downsample_space(video, size)
    assert small.shape == (batch, time, 3, *size)
    assert in_memory_order(small)
    assert small.min() >= -1 - 1e-6
    assert small.max() <= 1 + 1e-6
    alone = torch.nn.functional.interpolate(video[0, :1], size=size, mode="bilinear", antialias=True)
    torch.testing.assert_close(small[0, :1], alone)


def test_downsample_space_keeps_constants_and_gradients() -> None:
    video = torch.full((1, 2, 3, 32, 32), 0.25).requires_grad_()
    small = downsample_space(video, 8)
    torch.testing.assert_close(small, torch.full((1, 2, 3, 8, 8), 0.25))
    small.sum().backward()
    assert video.grad is not None
    torch.testing.assert_close(video.grad.sum(), torch.tensor(float(small.numel())))


def test_downsample_space_to_the_same_size_is_the_video_itself() -> None:
    video = random_video(height=16, width=16)
    assert downsample_space(video, 16) is video


@given(time=st.integers(1, 12), step=st.integers(1, 5))
def test_subsample_time(time: int, step: int) -> None:
    video = random_video(1, time, 2, 2)
    kept = subsample_time(video, step)
    assert torch.equal(kept, video[:, list(range(0, time, step))])
    assert kept.data_ptr() == video.data_ptr()


@pytest.mark.parametrize(("number", "time"), [(1, 3), (2, 6), (3, 24)])
def test_pyramid(number: int, time: int) -> None:
    side = THREE.levels[number - 1].resolution
    video = random_video(2, time, side, side)
    views = pyramid(video, THREE, number)
    assert views[-1] is video
    assert [tuple(v.shape) for v in views] == [(2, 3, 3, 8, 8), (2, 6, 3, 16, 16), (2, 24, 3, 64, 64)][:number]
    for upper in range(number, 1, -1):  # x^l = f_s(f_t(x^{l+1}))
        below = downsample_space(subsample_time(views[upper - 1], THREE.times_time(upper)), views[upper - 2].shape[-1])
        assert torch.equal(views[upper - 2], below)
    assert all(in_memory_order(view) for view in views)
