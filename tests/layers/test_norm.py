"""Batch norm per timestep: against a loop over timesteps and channels, its gradient, and the standing tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from hvgcli.errors import WeightsError
from hvgcli.layers.norm import EPS, TimestepNorm, moments, synchronised

B, T, C, H, W, DIM = 3, 4, 5, 3, 2, 6


def make_norm(cond_dim: int | None = DIM) -> TimestepNorm:
    torch.manual_seed(0)
    norm = TimestepNorm(C, cond_dim, spectral=False).double()
    if cond_dim is None:
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    return norm


def make_input() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    offset = 3 * torch.arange(T, dtype=torch.float64)[:, None, None, None]  # each timestep has its own mean
    video = offset + 2 * torch.randn(B, T, C, H, W, generator=generator, dtype=torch.float64)
    return video, torch.randn(B, DIM, generator=generator, dtype=torch.float64)


def literal(norm: TimestepNorm, video: Tensor, cond: Tensor) -> Tensor:
    """relu((1 + W_g c) (x - mean_tc) / sqrt(var_tc + eps) + W_b c), one timestep and channel at a time."""
    out = torch.empty_like(video)
    for t in range(video.shape[1]):
        for c in range(video.shape[2]):
            x = video[:, t, c]
            count = x.numel()
            mean = x.sum() / count
            var = (x - mean).square().sum() / count
            for b in range(len(video)):
                if norm.cond_dim is None:
                    gain, bias = norm.weight[c], norm.bias[c]
                else:
                    gain = 1 + norm.to_gain.weight[c] @ cond[b]
                    bias = norm.to_bias.weight[c] @ cond[b]
                out[b, t, c] = torch.relu(gain * (x[b] - mean) / torch.sqrt(var + EPS) + bias)
    return out


@pytest.mark.parametrize("cond_dim", [DIM, None], ids=["conditional", "unconditional"])
def test_training_mode_is_the_literal_loop(cond_dim: int | None) -> None:
    norm = make_norm(cond_dim)
    video, cond = make_input()
    torch.testing.assert_close(norm(video, cond, None), literal(norm, video, cond), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cond_dim", [DIM, None], ids=["conditional", "unconditional"])
def test_gradients_are_those_of_the_literal_loop(cond_dim: int | None) -> None:
    norm = make_norm(cond_dim)
    video, cond = (x.requires_grad_() for x in make_input())
    weight = torch.randn(video.shape, dtype=torch.float64)
    inputs = [video, *norm.parameters()] + ([cond] if cond_dim else [])
    expected = torch.autograd.grad((literal(norm, video, cond) * weight).sum(), inputs)
    got = torch.autograd.grad((norm(video, cond, None) * weight).sum(), inputs)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_gradients_pass_the_numerical_check() -> None:
    norm = make_norm()
    video, cond = (x.requires_grad_() for x in make_input())
    assert torch.autograd.gradcheck(lambda v, c: norm(v, c, None), (video, cond))


def test_moments_are_shifted_before_squaring() -> None:
    """E[x^2] - E[x]^2 in float32 would have no correct digit here."""
    x = torch.randn(4, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.1 + 1000.0
    mean, var = moments(x)
    exact = x.double().permute(1, 2, 0, 3, 4).flatten(2)
    torch.testing.assert_close(mean.double(), exact.mean(2), rtol=1e-6, atol=0)
    torch.testing.assert_close(var.double(), exact.var(2, unbiased=False), rtol=1e-3, atol=0)


def test_one_timestep_does_not_see_another() -> None:
    norm = make_norm()
    video, cond = make_input()
    changed = video.clone()
    changed[:, 2] *= -3
    before, after = norm(video, cond, None), norm(changed, cond, None)
    same = [torch.equal(before[:, t], after[:, t]) for t in range(T)]
    assert same == [True, True, False, True]


def test_standing_statistics_of_the_row_asked_for() -> None:
    norm = make_norm()
    video, cond = make_input()
    generator = torch.Generator().manual_seed(2)
    mean = torch.randn(7, C, generator=generator, dtype=torch.float64)
    var = torch.rand(7, C, generator=generator, dtype=torch.float64) + 0.5
    norm.table = (mean, var)
    rows = torch.tensor([6, 0, 3, 3])
    out = norm(video, cond, rows)
    for b in range(B):
        gain, bias = 1 + norm.to_gain.weight @ cond[b], norm.to_bias.weight @ cond[b]
        for t, row in enumerate(rows.tolist()):
            x = (video[b, t] - mean[row][:, None, None]) / torch.sqrt(var[row] + EPS)[:, None, None]
            expected = torch.relu(gain[:, None, None] * x + bias[:, None, None])
            torch.testing.assert_close(out[b, t], expected, rtol=1e-12, atol=1e-12)


def test_standing_statistics_do_not_depend_on_the_batch() -> None:
    norm = make_norm()
    norm.table = (torch.zeros(T, C, dtype=torch.float64), torch.ones(T, C, dtype=torch.float64))
    video, cond = make_input()
    whole = norm(video, cond, torch.arange(T))
    torch.testing.assert_close(whole[1:2], norm(video[1:2], cond[1:2], torch.arange(T)), rtol=1e-12, atol=1e-12)


def test_without_a_table_rows_are_refused() -> None:
    video, cond = make_input()
    with pytest.raises(WeightsError, match="hvg stats"):
        make_norm()(video, cond, torch.arange(T))


def test_table_of_its_own_batch_is_training_mode() -> None:
    norm = make_norm()
    video, cond = make_input()
    norm.table = moments(video)
    torch.testing.assert_close(norm(video, cond, torch.arange(T)), norm(video, cond, None), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", [None, torch.arange(T)], ids=["batch", "standing"])
def test_bfloat16_is_close_to_float32(rows: Tensor | None) -> None:
    norm = make_norm().float()
    video, cond = (x.float() for x in make_input())
    norm.table = moments(video)
    exact = norm(video, cond, rows)
    half = norm(video.bfloat16(), cond, rows)
    assert half.dtype == torch.bfloat16
    # eps of bfloat16 is 2^-8 of the largest number in the sum, here the mean of the last timestep
    assert (half.float() - exact).abs().max() < 0.15 * exact.abs().max()
    assert (half.float() - exact).abs().mean() < 0.02 * exact.abs().mean()


def test_gradient_in_bfloat16_is_close_to_float32() -> None:
    norm = make_norm().float()
    video, cond = (x.float() for x in make_input())
    video = video - video.mean((0, 3, 4), keepdim=True)
    weight = torch.randn(video.shape)
    grads = []
    for dtype in (torch.float32, torch.bfloat16):
        x = video.to(dtype).requires_grad_()
        out = norm(x, cond, None)
        grads.append(torch.autograd.grad((out.float() * weight).sum(), x)[0].float())
    assert (grads[0] - grads[1]).norm() < 0.05 * grads[0].norm()


def test_observer_is_told_the_moments_of_the_batch() -> None:
    norm = make_norm()
    video, cond = make_input()
    seen: list[tuple[Tensor, Tensor]] = []
    norm.observe = lambda mean, var: seen.append((mean, var))
    norm(video, cond, None)
    (mean, var), expected = seen[0], moments(video)
    assert torch.equal(mean, expected[0])
    assert torch.equal(var, expected[1])


@pytest.fixture
def group_of_one(tmp_path: Path) -> Iterator[dist.ProcessGroup]:
    """A real process group with this process alone."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    assert dist.group.WORLD is not None
    yield dist.group.WORLD
    dist.destroy_process_group()


@pytest.mark.parametrize("cond_dim", [DIM, None], ids=["conditional", "unconditional"])
def test_a_group_of_one_process_changes_nothing(cond_dim: int | None, group_of_one: dist.ProcessGroup) -> None:
    norm = make_norm(cond_dim)
    results = []
    for group in (None, group_of_one):
        video, cond = (x.requires_grad_() for x in make_input())
        with synchronised(norm, group):
            out = norm(video, cond, None)
        results.append([out, *torch.autograd.grad(out.square().sum(), [video, *norm.parameters()])])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*results, strict=True))


def test_norms_are_synchronised_within_the_block_only(group_of_one: dist.ProcessGroup) -> None:
    """So that samples or standing statistics, which one process makes alone, wait for nobody."""
    norms = torch.nn.ModuleList([make_norm(), torch.nn.Sequential(make_norm(None))])
    found = [part for part in norms.modules() if isinstance(part, TimestepNorm)]
    seen = []

    def stopped() -> None:
        with synchronised(norms, group_of_one):
            seen.extend(part.group for part in found)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert seen == [group_of_one, group_of_one]
    assert [part.group for part in found] == [None, None]
    with synchronised(norms, None):
        assert [part.group for part in found] == [None, None]
