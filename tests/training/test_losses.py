"""Losses against loops over samples and scores."""

from __future__ import annotations

import math

import pytest
import torch

from hvgcli.sampling.noise import seeded
from hvgcli.training import losses

B, S, Z = 3, 5, 4


def scores(seed: int) -> torch.Tensor:
    return 2 * torch.randn(B, S, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_hinge_of_the_discriminator_is_averaged_over_samples_and_scores() -> None:
    real, fake = scores(0), scores(1)
    expected = 0.0
    for b in range(B):
        for s in range(S):
            expected += max(0.0, 1 - real[b, s].item()) / (B * S)
            expected += max(0.0, 1 + fake[b, s].item()) / (B * S)
    assert losses.geometric_hinge_discriminator(real, fake).item() == pytest.approx(expected, rel=1e-12)


def test_hinge_of_the_generator() -> None:
    fake = scores(1)
    expected = -sum(fake[b, s].item() for b in range(B) for s in range(S)) / (B * S)
    assert losses.geometric_hinge_generator(fake).item() == pytest.approx(expected, rel=1e-12)


def test_scores_beyond_the_margin_have_no_gradient_in_the_discriminator() -> None:
    real = torch.tensor([[2.0, 0.5]], requires_grad=True)
    fake = torch.tensor([[-2.0, -0.5]], requires_grad=True)
    losses.geometric_hinge_discriminator(real, fake).backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert real.grad.tolist() == [[0.0, -0.5]]
    assert fake.grad.tolist() == [[0.0, 0.5]]


def test_summed_scores_are_one_a_video() -> None:
    own, projected = scores(0), scores(1)
    for b in range(B):
        expected = sum(own[b, t].item() for t in range(S))
        assert losses.summed_scores(own, None)[b].item() == pytest.approx(expected, rel=1e-12)
        expected += sum(projected[b, t].item() for t in range(S))
        assert losses.summed_scores(own, projected)[b].item() == pytest.approx(expected, rel=1e-12)
    assert losses.summed_scores(own, projected).shape == (B,)


@pytest.mark.parametrize("others", [B, 2 * B], ids=["one process", "two processes"])
def test_mixed_scores_pair_every_video_with_every_class_part(others: int) -> None:
    """o[b, b', t] = r_x[b, t] + sum over t' of r_xy[b', t'] (TrIVD-GAN equation 15)."""
    own, projected = scores(0), torch.cat((scores(1), scores(2)))[:others]
    mixed = losses.mixed_scores(own, projected)
    assert mixed.shape == (B, others, S)
    for b in range(B):
        for other in range(others):
            for t in range(S):
                expected = own[b, t].item() + sum(projected[other, when].item() for when in range(S))
                assert mixed[b, other, t].item() == pytest.approx(expected, rel=1e-12)


def test_mixed_scores_without_classes_are_those_of_the_frames() -> None:
    assert torch.equal(losses.mixed_scores(scores(0), None), scores(0)[:, None])


def test_the_hinge_of_mixed_scores_is_averaged_over_all_of_them() -> None:
    """D = B x B x T outputs (TrIVD-GAN equations 13-15)."""
    real, fake = (losses.mixed_scores(scores(seed), scores(seed + 5)) for seed in (0, 1))
    expected = 0.0
    for b in range(B):
        for other in range(B):
            for t in range(S):
                expected += max(0.0, 1 - real[b, other, t].item()) / (B * B * S)
                expected += max(0.0, 1 + fake[b, other, t].item()) / (B * B * S)
    assert losses.geometric_hinge_discriminator(real, fake).item() == pytest.approx(expected, rel=1e-12)


def literal_penalty(weight: torch.Tensor) -> torch.Tensor:
    """Squares of the inner products of all pairs of different rows, or of columns where there are more rows."""
    rows = weight.reshape(len(weight), -1)
    rows = rows if rows.shape[0] <= rows.shape[1] else rows.T
    total = 0 * weight.sum()  # so that a single row has a gradient too
    for i in range(len(rows)):
        for j in range(len(rows)):
            if i != j:
                total = total + (rows[i] * rows[j]).sum() ** 2
    return total


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 2, 3, 3), (1, 4)])
def test_the_orthogonality_penalty_and_its_gradient(shape: tuple[int, ...]) -> None:
    weights = [torch.randn(shape, generator=seeded("w", n), dtype=torch.float64).requires_grad_() for n in range(2)]
    ours = losses.orthogonal_penalty(weights)
    theirs = literal_penalty(weights[0]) + literal_penalty(weights[1])
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    gradients = [torch.autograd.grad(total, weights) for total in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


def test_orthogonal_weights_have_no_penalty_whatever_their_size() -> None:
    for shape in ((3, 8), (8, 3), (4, 4)):
        weight = torch.nn.init.orthogonal_(torch.empty(shape, dtype=torch.float64))
        lengths = torch.rand(min(shape), generator=seeded("lengths"), dtype=torch.float64) + 0.5
        stretched = lengths[:, None] * weight if shape[0] <= shape[1] else weight * lengths
        assert losses.orthogonal_penalty([stretched]).item() < 1e-20
    assert losses.orthogonal_penalty([]).item() == 0


def test_the_penalty_keeps_its_digits_under_autocast() -> None:
    weight = torch.randn(8, 40, generator=seeded("w"))
    with torch.autocast("cpu", torch.bfloat16):
        lowered = losses.orthogonal_penalty([weight])
    assert torch.equal(lowered, losses.orthogonal_penalty([weight]))


def test_divergence_from_the_prior() -> None:
    rng = torch.Generator().manual_seed(2)
    mean = torch.randn(B, Z, generator=rng, dtype=torch.float64)
    log_var = torch.randn(B, Z, generator=rng, dtype=torch.float64)
    kl = losses.gaussian_kl(mean, log_var)
    for b in range(B):
        expected = 0.0
        for z in range(Z):
            m, v = mean[b, z].item(), math.exp(log_var[b, z].item())
            expected += 0.5 * (v + m * m - 1 - math.log(v))
        assert kl[b].item() == pytest.approx(expected, rel=1e-12)
    normal = torch.distributions.Normal
    reference = torch.distributions.kl_divergence(
        normal(mean, (log_var / 2).exp()), normal(torch.zeros_like(mean), torch.ones_like(mean))
    )
    torch.testing.assert_close(kl, reference.sum(1))
    assert losses.gaussian_kl(torch.zeros(1, Z), torch.zeros(1, Z)).item() == 0


@pytest.mark.parametrize(("nats", "expected"), [(1.0, 1.0), (2.0, 0.0), (5.0, 3.0)])
def test_capacity_pulls_from_both_sides(nats: float, expected: float) -> None:
    assert losses.capacity(torch.tensor(2.0), nats).item() == pytest.approx(expected)


def test_reconstruction_error_is_the_mean_absolute_difference() -> None:
    a, b = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, -1.0]])
    assert losses.reconstruction_error(a, b).item() == pytest.approx(1.25)


def test_codes_have_the_mean_and_spread_asked_for() -> None:
    mean, log_var = torch.full((20_000, 1), 3.0), torch.full((20_000, 1), math.log(4.0))
    noise = torch.randn(mean.shape, generator=seeded("code"))
    code = losses.sample_code(mean, log_var, noise)
    assert code.mean().item() == pytest.approx(3.0, abs=0.08)
    assert code.std().item() == pytest.approx(2.0, abs=0.06)
    torch.testing.assert_close(code, 3.0 + 2.0 * noise)


def test_motion_error_is_that_of_the_differences_between_frames():
    generator = torch.Generator().manual_seed(5)
    output, target = (torch.rand(2, 4, 3, 2, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    total, count = 0.0, 0
    for b in range(2):
        for t in range(1, 4):
            wanted = target[b, t] - target[b, t - 1]
            total += float((output[b, t] - output[b, t - 1] - wanted).abs().sum())
            count += wanted.numel()
    assert float(losses.motion_error(output, target)) == pytest.approx(total / count)
    assert losses.motion_error(output + 0.3, output) < 1e-12  # a frozen offset is no error of motion
    assert losses.motion_error(output[:, :1], target[:, :1]) == 0


def literal_structure(video: torch.Tensor, regions: int) -> torch.Tensor:
    """`(9, regions, regions)` of one video, pixel by pixel."""
    rows = []
    for dim in (0, 2, 3):
        for lag in (1, 2, 4):
            size = video.shape[dim] - lag
            if size < 1:
                rows.append(torch.zeros(regions, regions, dtype=video.dtype))
                continue
            change = torch.zeros(video.shape[2:], dtype=video.dtype)
            change = change[: size if dim == 2 else None, : size if dim == 3 else None]
            for y in range(change.shape[0]):
                for x in range(change.shape[1]):
                    here = video[: size if dim == 0 else None, :, y, x]
                    there = video[lag if dim == 0 else 0 :, :, y + lag * (dim == 2), x + lag * (dim == 3)]
                    change[y, x] = (there - here).abs().mean()
            rows.append(adaptive_pool(change, regions))
    return torch.stack(rows)


def adaptive_pool(plane: torch.Tensor, regions: int) -> torch.Tensor:
    """Means of `regions` x `regions` parts that cover the plane and may share a row or column."""
    parts = [[(i * n // regions, -(-(i + 1) * n // regions)) for i in range(regions)] for n in plane.shape]
    return torch.stack([torch.stack([plane[a:b, c:d].mean() for c, d in parts[1]]) for a, b in parts[0]])


@pytest.mark.parametrize("frames", [1, 3, 6])
def test_structure_functions_are_the_mean_changes_at_a_distance(frames: int) -> None:
    generator = torch.Generator().manual_seed(6)
    output, target = (torch.rand(2, frames, 3, 8, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    expected = torch.stack([literal_structure(video, 4) for video in output])
    torch.testing.assert_close(losses.structure(output), expected, rtol=0, atol=1e-12)
    other = torch.stack([literal_structure(video, 4) for video in target])
    error = losses.structure_error(output, target).item()
    assert error == pytest.approx((expected - other).abs().mean().item(), abs=1e-12)


def test_structure_functions_ask_for_as_much_motion_but_not_for_the_same() -> None:
    video = torch.rand(1, 8, 3, 16, 16, generator=torch.Generator().manual_seed(7))
    assert losses.structure_error(video.flip(1), video) < 1e-6  # backwards in time
    assert losses.structure_error(video.mean(1, keepdim=True).expand_as(video), video) > 0.1  # frozen
    assert losses.structure_error(video + 0.3, video) < 1e-6
