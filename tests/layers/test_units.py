"""The recurrent units against their equations (TrIVD-GAN 3.2.2 and F.1 to F.3), written as loops in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from literal_warp import literal_kernels, literal_warp
from torch import Tensor, nn

from hvgcli.layers.units import UNITS, used_kernels
from hvgcli.layers.warping import warp
from hvgcli.layers.weights import bake_spectral_norm, power_iterate

B, T, C, H, W = 2, 3, 2, 4, 3
NAMES = tuple(UNITS)
WARPING = ("K-TrajGRU", "TSRU_c", "TSRU_p", "TSRU_s", "PTSRU_s")


def rand(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_unit(name: str, *, spectral: bool = False) -> nn.Module:
    torch.manual_seed(0)
    unit = UNITS[name](C, spectral=spectral).double()
    for key, parameter in unit.named_parameters():
        if key.endswith("bias"):
            nn.init.normal_(parameter, std=0.3)
        else:
            parameter.data *= 1.5
    return unit


def make_input(steps: int = T) -> tuple[Tensor, Tensor]:
    return rand(B, steps, C, H, W, seed=1), rand(B, C, H, W, seed=2)


def convolved(layer: nn.Module, *parts: Tensor) -> Tensor:
    """W * [parts] + b."""
    return F.conv2d(torch.cat(parts, dim=1), layer.weight, layer.bias, padding=1)


def warped(unit: nn.Module, h: Tensor, x: Tensor, factorised: bool = True) -> Tensor:
    """w(h; f(h, x)), pixel by pixel."""
    layers = {
        f"{name}.{kind}": getattr(layer, kind)
        for name, layer in unit.kernels.named_children()
        for kind in ("weight", "bias")
    }
    samples = zip(h, torch.cat((h, x), dim=1), strict=True)
    return torch.stack([literal_warp(state, literal_kernels(factorised, layers, theta)) for state, theta in samples])


def conv_gru(unit: nn.Module, h: Tensor, x: Tensor) -> Tensor:
    r = torch.sigmoid(convolved(unit.reset, h, x))
    c = torch.relu(convolved(unit.candidate, x, r * h))
    u = torch.sigmoid(convolved(unit.update, h, x))
    return u * h + (1 - u) * c


def conv_lstm(unit: nn.Module, state: Tensor, x: Tensor) -> Tensor:
    h, memory = state[:, : C // 2], state[:, C // 2 :]
    i, f, o = (torch.sigmoid(convolved(gate, h, x)) for gate in (unit.input, unit.forget, unit.output))
    memory = f * memory + i * torch.relu(convolved(unit.candidate, h, x))
    return torch.cat((o * torch.relu(memory), memory), dim=1)


def k_traj_gru(unit: nn.Module, h: Tensor, x: Tensor) -> Tensor:
    """Equations 16 to 22: h without warping in the last one."""
    moved = warped(unit, h, x)
    r = torch.sigmoid(convolved(unit.reset, moved, x))
    c = torch.tanh(convolved(unit.candidate, r * moved, x))
    u = torch.sigmoid(convolved(unit.update, moved, x))
    return u * h + (1 - u) * c


def tsru_c(unit: nn.Module, h: Tensor, x: Tensor) -> Tensor:
    """Equations 6 to 10."""
    moved = warped(unit, h, x)
    c = torch.relu(convolved(unit.candidate, moved, x))
    u = torch.sigmoid(convolved(unit.update, h, x))
    return u * moved + (1 - u) * c


def tsru_p(unit: nn.Module, h: Tensor, x: Tensor) -> Tensor:
    moved = warped(unit, h, x)
    c = torch.relu(convolved(unit.candidate, h, x))
    u = torch.sigmoid(convolved(unit.update, h, x))
    return u * moved + (1 - u) * c


def tsru_s(unit: nn.Module, h: Tensor, x: Tensor, factorised: bool = True) -> Tensor:
    moved = warped(unit, h, x, factorised)
    c = torch.relu(convolved(unit.candidate, moved, x))
    u = torch.sigmoid(convolved(unit.update, moved, c))
    return u * moved + (1 - u) * c


STEPS: dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    "ConvGRU": conv_gru,
    "ConvLSTM": conv_lstm,
    "K-TrajGRU": k_traj_gru,
    "TSRU_c": tsru_c,
    "TSRU_p": tsru_p,
    "TSRU_s": tsru_s,
    "PTSRU_s": partial(tsru_s, factorised=False),
}


def literal(name: str, unit: nn.Module, x: Tensor, state: Tensor | None) -> Tensor:
    h = torch.zeros_like(x[:, 0]) if state is None else state
    states = []
    for t in range(x.shape[1]):
        h = STEPS[name](unit, h, x[:, t])
        states.append(h)
    return torch.stack(states, dim=1)


def test_the_units_are_those_of_table_2() -> None:
    assert set(UNITS) == set(STEPS)


@pytest.mark.parametrize("carried", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_the_equations(name: str, carried: bool) -> None:
    unit = make_unit(name)
    x, state = make_input()
    outputs, last = unit(x, state if carried else None)
    expected = literal(name, unit, x, state if carried else None)
    torch.testing.assert_close(outputs, expected, rtol=1e-11, atol=1e-12)
    assert torch.equal(last, outputs[:, -1])


@pytest.mark.parametrize("spectral", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_all_gradients_are_those_of_the_equations(name: str, spectral: bool) -> None:
    unit = make_unit(name, spectral=spectral)
    x, state = (part.requires_grad_() for part in make_input())
    inputs = [x, state, *unit.parameters()]
    weight = rand(B, T, C, H, W, seed=3)
    expected = torch.autograd.grad((literal(name, unit, x, state) * weight).sum(), inputs)
    got = torch.autograd.grad((unit(x, state)[0] * weight).sum(), inputs)
    for ours, theirs in zip(got, expected, strict=True):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_the_last_state_alone(name: str) -> None:
    unit = make_unit(name)
    x, state = (part.requires_grad_() for part in make_input())
    inputs = [x, state, *unit.parameters()]
    expected = torch.autograd.grad(literal(name, unit, x, state)[:, -1].square().sum(), inputs)
    got = torch.autograd.grad(unit(x, state)[1].square().sum(), inputs)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", WARPING)
def test_gradcheck_through_time(name: str) -> None:
    unit = make_unit(name)
    x, state = rand(1, 2, C, 4, 3, seed=4).requires_grad_(), rand(1, C, 4, 3, seed=5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, state: unit(x, state)[0], (x, state))


@pytest.mark.parametrize("name", NAMES)
def test_the_way_back_can_be_walked_twice(name: str) -> None:
    unit = make_unit(name)
    x, state = make_input()
    loss = unit(x, state)[0].square().sum()
    first = torch.autograd.grad(loss, list(unit.parameters()), retain_graph=True)
    second = torch.autograd.grad(loss, list(unit.parameters()))
    for ours, theirs in zip(first, second, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_a_walk_for_x_alone_leaves_nothing_behind(name: str) -> None:
    unit = make_unit(name)
    x, state = make_input()
    x.requires_grad_()
    outputs, _ = unit(x, state)
    torch.autograd.grad(outputs.square().sum(), x, retain_graph=True)
    got = torch.autograd.grad(outputs[:, 0].square().sum(), list(unit.parameters()))
    expected = torch.autograd.grad(unit(x[:, :1], state)[0].square().sum(), list(unit.parameters()))
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_frozen_weights_let_the_gradient_through(name: str) -> None:
    unit = make_unit(name)
    x, state = make_input()
    x.requires_grad_()
    (expected,) = torch.autograd.grad(unit(x, state)[0].square().sum(), x)
    unit.requires_grad_(False)
    (got,) = torch.autograd.grad(unit(x, state)[0].square().sum(), x)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cut", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_in_pieces_with_the_state_carried_is_the_whole(name: str, cut: int) -> None:
    unit = make_unit(name)
    x, _ = make_input()
    whole, last = unit(x, None)
    first, state = unit(x[:, :cut], None)
    second, end = unit(x[:, cut:], state)
    torch.testing.assert_close(torch.cat((first, second), dim=1), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(end, last, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_steps_is_the_same_input_repeated(name: str) -> None:
    unit = make_unit(name)
    x, state = make_input(1)
    x.requires_grad_()
    inputs = [x, *unit.parameters()]
    outputs, _ = unit(x, state, T)
    expected, _ = unit(x.repeat(1, T, 1, 1, 1), state)
    torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)
    got = torch.autograd.grad(outputs.square().sum(), inputs)
    wanted = torch.autograd.grad(expected.square().sum(), inputs)
    for ours, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_without_gradients_the_outputs_are_the_same(name: str) -> None:
    unit = make_unit(name)
    x, state = make_input()
    with torch.no_grad():
        quiet, _ = unit(x, state)
    torch.testing.assert_close(quiet, unit(x, state)[0].detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_samples_of_a_batch_do_not_meet(name: str) -> None:
    unit = make_unit(name)
    x, state = make_input()
    whole, _ = unit(x, state)
    alone, _ = unit(x[1:], state[1:])
    torch.testing.assert_close(whole[1:], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_baked_spectral_norm_keeps_the_outputs(name: str) -> None:
    unit = make_unit(name, spectral=True)
    power_iterate(unit)
    x, state = make_input()
    before = unit(x, state)[0].detach()
    bake_spectral_norm(unit)
    assert not any("parametrizations" in key for key in unit.state_dict())
    torch.testing.assert_close(unit(x, state)[0].detach(), before, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_trains_in_bfloat16(name: str) -> None:
    torch.manual_seed(0)
    unit = UNITS[name](8, spectral=True)
    x = torch.randn(2, 3, 8, 8, 8, requires_grad=True)
    exact = unit(x, None)[0].detach()
    with torch.autocast("cpu", torch.bfloat16):
        outputs, state = unit(x, None)
        again, _ = unit(x[:, :1], state.float())  # as from an encoder in full precision
    assert outputs.dtype == again.dtype == torch.bfloat16
    torch.testing.assert_close(outputs.detach().float(), exact, rtol=0.05, atol=0.05)
    (outputs.float().square().mean() + again.float().square().mean()).backward()
    assert all(
        p.grad is not None and p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in unit.parameters()
    )


@pytest.mark.parametrize("name", WARPING)
def test_kernels_of_a_call_can_be_had_afterwards(name: str) -> None:
    unit = make_unit(name)
    x, state = make_input()
    outputs, _ = unit(x, state)
    kernels = used_kernels(unit, x, outputs, state)
    assert kernels is not None
    assert kernels.shape == (B, T, 9, H, W)
    before = torch.cat((state[:, None], outputs[:, :-1]), dim=1)
    for t in range(T):
        expected = warped(unit, before[:, t], x[:, t], factorised=name != "PTSRU_s")
        torch.testing.assert_close(warp(before[:, t], kernels[:, t]), expected, rtol=1e-10, atol=1e-12)


def test_kernels_of_a_repeated_input_from_zeros() -> None:
    unit = make_unit("TSRU_p")
    x, _ = make_input(1)
    outputs, _ = unit(x, None, T)
    got = used_kernels(unit, x, outputs)
    wanted = used_kernels(unit, x.repeat(1, T, 1, 1, 1), outputs, torch.zeros(B, C, H, W, dtype=torch.float64))
    assert torch.equal(got, wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["ConvGRU", "ConvLSTM"])
def test_units_that_do_not_warp_have_no_kernels(name: str) -> None:
    unit = make_unit(name)
    x, state = make_input()
    assert used_kernels(unit, x, unit(x, state)[0], state) is None


def test_an_odd_width_does_not_fit_a_memory_cell() -> None:
    with pytest.raises(ValueError, match="got 3 channels, expected an even number"):
        UNITS["ConvLSTM"](3, spectral=False)


def test_steps_needs_a_single_timestep() -> None:
    unit = make_unit("TSRU_p")
    x, state = make_input()
    with pytest.raises(ValueError, match="got 3 timesteps of x and steps=2"):
        unit(x, state, 2)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_between_pieces_does_not_grow(name: str) -> None:
    unit = make_unit(name)
    x, state = make_input()
    kept = []
    with torch.no_grad():
        for _ in range(4):
            _, state = unit(x, state)
            kept.append(state.untyped_storage().nbytes())
    assert len(set(kept)) == 1
    assert kept[0] <= (T + 1) * state.nbytes


@pytest.mark.filterwarnings("ignore")  # of torch's compiler about itself
@pytest.mark.parametrize("name", ["ConvLSTM", "TSRU_p"])
def test_compiled_units_have_the_same_gradients(name: str) -> None:
    unit = make_unit(name)
    x, _ = make_input(2)
    outputs, _ = unit(x, None)
    expected = torch.autograd.grad(outputs.square().sum(), list(unit.parameters()))
    compiled, _ = torch.compile(unit, backend="aot_eager")(x, None)
    torch.testing.assert_close(compiled, outputs, rtol=1e-12, atol=1e-12)
    got = torch.autograd.grad(compiled.square().sum(), list(unit.parameters()))
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
