"""Orthogonal initialisation and spectral norm."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hvgcli.layers.weights import (
    SpectralNorm,
    bake_spectral_norm,
    conv2d,
    conv3d,
    embedding,
    linear,
    power_iterate,
)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: linear(6, 4, spectral=False),
        lambda: linear(4, 6, spectral=False),
        lambda: conv2d(3, 5, spectral=False),
        lambda: conv2d(3, 4, (3, 1), spectral=False),
        lambda: conv3d(2, 7, spectral=False),
        lambda: embedding(9, 4, spectral=False),
    ],
)
def test_weights_start_orthogonal_and_biases_zero(layer) -> None:  # type: ignore[no-untyped-def]
    made = layer()
    matrix = made.weight.detach().flatten(1)
    rows, columns = matrix.shape
    gram = matrix @ matrix.t() if rows <= columns else matrix.t() @ matrix
    torch.testing.assert_close(gram, torch.eye(min(rows, columns)), rtol=1e-5, atol=1e-5)
    if getattr(made, "bias", None) is not None:
        assert made.bias.abs().max() == 0


def random_conv() -> nn.Conv2d:
    layer = conv2d(5, 7, spectral=True)
    generator = torch.Generator().manual_seed(0)
    layer.parametrizations.weight.original.data.copy_(torch.randn(7, 5, 3, 3, generator=generator))
    return layer


def test_converges_to_the_first_singular_value() -> None:
    layer = random_conv()
    original = layer.parametrizations.weight.original.detach()
    for _ in range(200):
        power_iterate(layer)
    largest = torch.linalg.svdvals(original.flatten(1))[0]
    torch.testing.assert_close(layer.weight.detach(), original / largest, rtol=1e-5, atol=1e-6)
    assert torch.linalg.svdvals(layer.weight.detach().flatten(1))[0] == pytest.approx(1.0, abs=1e-5)


def test_one_power_iteration_a_step_and_none_at_a_call() -> None:
    layer = random_conv()
    norm = layer.parametrizations.weight[0]
    original = layer.parametrizations.weight.original.detach().flatten(1)
    u, v = norm.u.clone(), norm.v.clone()
    x = torch.randn(2, 5, 4, 4)
    first = layer(x)
    assert torch.equal(layer(x), first)
    assert torch.equal(norm.u, u)
    assert torch.equal(norm.v, v)
    power_iterate(layer)
    v = nn.functional.normalize(original.t() @ u, dim=0)
    torch.testing.assert_close(norm.v, v)
    torch.testing.assert_close(norm.u, nn.functional.normalize(original @ v, dim=0))
    assert not torch.equal(norm.u, u)


def test_singular_vectors_are_saved_and_are_not_trained() -> None:
    layer = random_conv()
    assert {"parametrizations.weight.0.u", "parametrizations.weight.0.v"} <= set(layer.state_dict())
    assert {name for name, _ in layer.named_parameters()} == {"bias", "parametrizations.weight.original"}


def test_gradient_goes_through_sigma() -> None:
    torch.manual_seed(0)
    weight = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    norm = SpectralNorm(weight.detach()).double()
    assert torch.autograd.gradcheck(norm, (weight,))
    # W / sigma does not change along W itself, so neither does any loss of it
    loss = (norm(weight) * torch.randn(4, 6, dtype=torch.float64)).sum()
    (grad,) = torch.autograd.grad(loss, weight)
    assert abs((grad * weight).sum().item()) < 1e-10
    assert grad.abs().max() > 1e-3


def test_the_start_is_the_same_each_time() -> None:
    weight = torch.randn(4, 6)
    assert torch.equal(SpectralNorm(weight).u, SpectralNorm(weight).u)


def test_baking_keeps_the_outputs_and_leaves_plain_keys() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(random_conv(), nn.Flatten(), linear(7 * 16, 3, spectral=True), nn.ReLU())
    network[0].parametrizations.weight.original.data *= 3
    x = torch.randn(2, 5, 4, 4)
    before = network(x)
    bake_spectral_norm(network)
    torch.testing.assert_close(network(x), before, rtol=1e-6, atol=1e-6)
    assert set(network.state_dict()) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    power_iterate(network)  # nothing is left to update
    torch.testing.assert_close(network(x), before, rtol=1e-6, atol=1e-6)


def test_on_the_meta_device_nothing_is_computed() -> None:
    with torch.device("meta"):
        layer = conv2d(3, 4, spectral=True)
    bake_spectral_norm(layer)
    assert layer.weight.is_meta
    assert set(layer.state_dict()) == {"weight", "bias"}
