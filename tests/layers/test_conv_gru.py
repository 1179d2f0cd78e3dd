"""ConvGRU against the equations of DVD-GAN appendix B.1, written as a loop in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hvgcli.layers.conv_gru import ConvGRU

B, T, C, H, W = 2, 5, 3, 4, 3


def make_gru(spectral: bool = False) -> ConvGRU:
    torch.manual_seed(0)
    gru = ConvGRU(C, spectral=spectral).double()
    for conv in (gru.reset, gru.update, gru.candidate):
        torch.nn.init.normal_(conv.bias, std=0.3)
    return gru


def make_input(steps: int = T) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(B, steps, C, H, W, generator=generator, dtype=torch.float64)
    return x, torch.randn(B, C, H, W, generator=generator, dtype=torch.float64)


def literal(gru: ConvGRU, x: Tensor, h: Tensor | None) -> Tensor:
    """r = s(W_r*[h; x] + b_r), u = s(W_u*[h; x] + b_u), c = relu(W_c*[x; r h] + b_c), h' = u h + (1 - u) c."""
    if h is None:
        h = torch.zeros_like(x[:, 0])
    states = []
    for t in range(x.shape[1]):
        hx = torch.cat((h, x[:, t]), dim=1)
        r = torch.sigmoid(F.conv2d(hx, gru.reset.weight, gru.reset.bias, padding=1))
        u = torch.sigmoid(F.conv2d(hx, gru.update.weight, gru.update.bias, padding=1))
        xrh = torch.cat((x[:, t], r * h), dim=1)
        c = torch.relu(F.conv2d(xrh, gru.candidate.weight, gru.candidate.bias, padding=1))
        h = u * h + (1 - u) * c
        states.append(h)
    return torch.stack(states, dim=1)


@pytest.mark.parametrize("carried", [True, False])
def test_states_are_those_of_the_equations(carried: bool) -> None:
    gru = make_gru()
    x, h = make_input()
    states, last = gru(x, h if carried else None)
    expected = literal(gru, x, h if carried else None)
    torch.testing.assert_close(states, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(last, expected[:, -1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("spectral", [False, True])
def test_all_gradients_are_those_of_the_equations(spectral: bool) -> None:
    gru = make_gru(spectral)
    x, h = (part.requires_grad_() for part in make_input())
    weight = torch.randn(B, T, C, H, W, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    inputs = [x, h, *gru.parameters()]
    assert len(inputs) == 8  # three weights, three biases
    expected = torch.autograd.grad((literal(gru, x, h) * weight).sum(), inputs)
    got = torch.autograd.grad((gru(x, h)[0] * weight).sum(), inputs)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_gradient_of_the_last_state_alone() -> None:
    gru = make_gru()
    x, h = (part.requires_grad_() for part in make_input())
    expected = torch.autograd.grad(literal(gru, x, h)[:, -1].square().sum(), [x, h])
    got = torch.autograd.grad(gru(x, h)[1].square().sum(), [x, h])
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("cut", [1, 2, 4])
def test_in_pieces_with_the_state_carried_is_the_whole(cut: int) -> None:
    gru = make_gru()
    x, _ = make_input()
    whole, last = gru(x, None)
    first, state = gru(x[:, :cut], None)
    second, end = gru(x[:, cut:], state)
    torch.testing.assert_close(torch.cat((first, second), dim=1), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(end, last, rtol=1e-12, atol=1e-12)


def test_steps_is_the_same_input_repeated() -> None:
    gru = make_gru()
    x, h = make_input(1)
    repeated = x.repeat(1, T, 1, 1, 1)
    (ours, last), (theirs, end) = gru(x, h, T), gru(repeated, h)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(last, end, rtol=1e-12, atol=1e-12)


def test_gradient_of_a_repeated_input_is_the_sum_over_steps() -> None:
    gru = make_gru()
    x, _ = make_input(1)
    x = x.requires_grad_()
    inputs = [x, *gru.parameters()]
    got = torch.autograd.grad(gru(x, None, T)[0].square().sum(), inputs)
    expected = torch.autograd.grad(literal(gru, x.expand(-1, T, -1, -1, -1), None).square().sum(), inputs)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_samples_of_a_batch_do_not_meet() -> None:
    gru = make_gru()
    x, h = make_input()
    whole, _ = gru(x, h)
    alone, _ = gru(x[1:], h[1:])
    torch.testing.assert_close(whole[1:], alone, rtol=1e-12, atol=1e-12)
