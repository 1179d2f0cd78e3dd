"""Separable attention against the definition of DVD-GAN appendix A, place by place in float64."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from hvgcli.layers.attention import HEIGHT, TIME, WIDTH, Matrices, SeparableAttention, attend, separable_attention
from hvgcli.layers.layout import as_video_order
from hvgcli.layers.weights import bake_spectral_norm

B, T, H, W, C = 2, 3, 4, 5, 2
AXES = (TIME, HEIGHT, WIDTH)


def rand(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def triple(seed: int, channels: int = C) -> Matrices:
    return tuple(rand(channels, channels, seed=10 * seed + n) for n in range(3))  # type: ignore[return-value]


def dense_attention(x: np.ndarray, matrices: Matrices, axes: tuple[int, ...]) -> np.ndarray:
    """Self-attention over all places of one `(T, H, W, C)` at once; a pair counts if it differs in `axes` alone."""
    q, k, v = (matrix.numpy() for matrix in matrices)
    places = list(product(*map(range, x.shape[:3])))
    out = np.zeros_like(x)
    for here in places:
        weights, values = [], []
        for there in places:
            if all(here[axis - 1] == there[axis - 1] for axis in AXES if axis not in axes):
                weights.append(math.exp((x[here] @ q) @ (x[there] @ k)))
                values.append(x[there] @ v)
        out[here] = sum(w * value for w, value in zip(weights, values, strict=True)) / sum(weights)
    return out


def literal(x: np.ndarray, time: Matrices, height: Matrices, width: Matrices) -> np.ndarray:
    """The three passes as loops over the lines of one `(T, H, W, C)`; the softmax is over the last index."""
    for axis, matrices in enumerate((time, height, width)):
        q, k, v = (matrix.numpy() for matrix in matrices)
        out = np.zeros_like(x)
        for first, second in product(*(range(size) for n, size in enumerate(x.shape[:3]) if n != axis)):
            index: list[Any] = [first, second]
            index.insert(axis, slice(None))
            line = x[tuple(index)]  # (N, C)
            for i in range(len(line)):
                scores = [float((line[i] @ q) @ (line[j] @ k)) for j in range(len(line))]
                total = sum(math.exp(score) for score in scores)
                for j, score in enumerate(scores):
                    out[tuple(index)][i] += math.exp(score) / total * (line[j] @ v)
        x = out
    return x


def channels_last(video: Tensor) -> Tensor:
    return video.permute(0, 1, 3, 4, 2)


@pytest.mark.parametrize("axis", AXES)
def test_a_pass_is_dense_attention_with_all_other_places_masked(axis: int) -> None:
    x = rand(B, T, H, W, C, seed=1)
    expected = np.stack([dense_attention(sample.numpy(), triple(axis), (axis,)) for sample in x])
    torch.testing.assert_close(attend(x, axis, triple(axis)), torch.from_numpy(expected), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("axis", AXES)
def test_a_pass_over_the_only_axis_is_dense_attention(axis: int) -> None:
    shape = [1, 1, 1]
    shape[axis - 1] = 6
    x = rand(1, *shape, C, seed=2)
    expected = torch.from_numpy(dense_attention(x[0].numpy(), triple(1), AXES))[None]
    torch.testing.assert_close(attend(x, axis, triple(1)), expected, rtol=1e-12, atol=1e-13)


def test_the_three_passes_are_time_then_height_then_width() -> None:
    video = rand(B, T, C, H, W, seed=3)
    passes = [triple(n) for n in (1, 2, 3)]
    expected = np.stack([literal(sample, *passes) for sample in channels_last(video).numpy()])
    got = separable_attention(video, *passes)
    torch.testing.assert_close(channels_last(got), torch.from_numpy(expected), rtol=1e-12, atol=1e-13)
    other = separable_attention(video, passes[1], passes[0], passes[2])
    assert (other - got).abs().max() > 1e-2  # the order matters, so it is tested


def test_every_place_hears_of_every_other() -> None:
    video = rand(1, T, C, H, W, seed=4).requires_grad_()
    made = separable_attention(video, *(triple(n) for n in (1, 2, 3)))
    (heard,) = torch.autograd.grad(made[0, 0, 0, 0, 0], video)
    assert (heard.abs().amax(dim=2) > 0).all()


def test_gradcheck() -> None:
    video = rand(1, 2, C, 3, 2, seed=5).requires_grad_()
    matrices = [matrix.requires_grad_() for n in (1, 2, 3) for matrix in triple(n)]

    def made(video: Tensor, *flat: Tensor) -> Tensor:
        return separable_attention(video, flat[:3], flat[3:6], flat[6:])  # type: ignore[arg-type]

    assert torch.autograd.gradcheck(made, (video, *matrices))


# ---- the block -----------------------------------------------------------------------------------


def make_block(gate: float | None = None, *, spectral: bool = False, channels: int = C) -> SeparableAttention:
    torch.manual_seed(0)
    block = SeparableAttention(channels, spectral=spectral).double()
    if gate is not None:
        torch.nn.init.constant_(block.gate, gate)
    return block


def test_a_new_block_changes_nothing_and_can_learn() -> None:
    block, video = make_block(), rand(B, T, C, H, W, seed=6)
    assert torch.equal(block(video), video)
    (block(video) * rand(B, T, C, H, W, seed=7)).sum().backward()
    assert block.gate.shape == ()
    assert block.gate.grad.abs() > 1e-3  # type: ignore[union-attr]


def test_the_block_adds_what_the_paper_defines() -> None:
    block, video = make_block(0.7), rand(B, T, C, H, W, seed=8)
    passes = [
        [getattr(axis, name).weight.detach().t() for name in ("query", "key", "value")]
        for axis in (block.time, block.height, block.width)
    ]
    expected = np.stack([literal(sample, *passes) for sample in channels_last(video).numpy()])  # type: ignore[arg-type]
    got = channels_last(block(video).detach())
    torch.testing.assert_close(got, channels_last(video) + 0.7 * torch.from_numpy(expected), rtol=1e-12, atol=1e-13)


def test_gradcheck_of_the_block() -> None:
    block = make_block(0.5)
    video = rand(1, 2, C, 2, 3, seed=9).requires_grad_()
    inputs = (video, *block.parameters())
    assert len(inputs) == 11  # the video, three times Q, K, V, and the gate

    def made(video: Tensor, *_: Tensor) -> Tensor:
        return block(video)  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(made, inputs)


@pytest.mark.parametrize("ordered", [False, True])
def test_the_result_is_in_the_memory_order_of_the_house(ordered: bool) -> None:
    video = rand(B, T, C, H, W, seed=10)
    video = as_video_order(video) if ordered else video
    for made in (make_block(0.5)(video), separable_attention(video, *(triple(n) for n in (1, 2, 3)))):
        assert made.shape == video.shape
        assert channels_last(made).is_contiguous()


def test_samples_of_a_batch_do_not_meet() -> None:
    block, video = make_block(0.5), rand(B, T, C, H, W, seed=11)
    torch.testing.assert_close(block(video)[1:], block(video[1:]), rtol=1e-12, atol=1e-13)


def test_spectral_norm_bounds_the_nine_matrices_and_can_be_baked() -> None:
    block, video = make_block(0.5, spectral=True), rand(B, T, C, H, W, seed=12)
    with torch.no_grad():
        for layer in (layer for axis in (block.time, block.height, block.width) for layer in axis.children()):
            layer.parametrizations.weight.original.mul_(3)  # type: ignore[union-attr]
            layer.parametrizations.weight[0].update(layer.parametrizations.weight.original, 50)  # type: ignore
            norm = torch.linalg.matrix_norm(layer.weight, 2)  # type: ignore[arg-type]
            torch.testing.assert_close(norm, torch.tensor(1.0, dtype=torch.float64), rtol=1e-6, atol=0)
    before = block(video).detach()
    baked = copy.deepcopy(block)
    bake_spectral_norm(baked)
    assert sorted(name for name, _ in baked.named_parameters()) == sorted(
        [
            "gate",
            *(f"{axis}.{name}.weight" for axis in ("time", "height", "width") for name in ("query", "key", "value")),
        ]
    )
    torch.testing.assert_close(baked(video).detach(), before, rtol=1e-12, atol=1e-13)


def test_trains_in_bfloat16() -> None:
    torch.manual_seed(0)
    block = SeparableAttention(8, spectral=True)
    torch.nn.init.constant_(block.gate, 0.5)
    video = torch.randn(2, 3, 8, 4, 4)
    exact = block(video).detach()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = block(video.bfloat16())
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.detach().float(), exact, rtol=0.05, atol=0.05)
    rounded.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in block.parameters())


# ---- memory --------------------------------------------------------------------------------------


class Sizes(TorchDispatchMode):
    """Counts the values of every tensor that an operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.counted.extend(_counts(made))
        return made


def _counts(made: Any) -> Iterator[int]:
    return (part.numel() for part in tree_iter(made) if isinstance(part, Tensor))


@pytest.mark.parametrize(("frames", "height", "width"), [(9, 4, 5), (4, 9, 5), (4, 5, 9)])
def test_the_largest_table_is_that_of_the_longest_axis(frames: int, height: int, width: int) -> None:
    video = rand(1, frames, C, height, width, seed=13)
    with Sizes() as sizes:
        separable_attention(video, *(triple(n) for n in (1, 2, 3)))
    places = frames * height * width
    assert max(sizes.counted) == max(places * height, places * width, places * frames)  # H^2WT, HW^2T, HWT^2
