"""Linear and convolution layers as the papers use them: orthogonal initialisation, spectral norm."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

LayerT = TypeVar("LayerT", nn.Linear, nn.Conv2d, nn.Conv3d, nn.Embedding)


def full_precision(tensor: Tensor) -> AbstractContextManager[object]:
    """No autocast on the tensor's device, for what is too small to gain by it and would lose digits."""
    if tensor.is_meta:  # has no autocast to switch off
        return nullcontext()
    return torch.autocast(tensor.device.type, enabled=False)


class SpectralNorm(nn.Module):
    """W / sigma(W), sigma the first singular value (Miyato et al. 2018; HVG appendix A).

    The singular vectors are followed by one power iteration a *step* (`power_iterate`), not at
    every call: within one step all uses of a weight see the same sigma, and nothing is computed twice.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows, columns = weight.flatten(1).shape
        self.register_buffer("u", torch.full((rows,), rows**-0.5, device=weight.device, dtype=weight.dtype))
        self.register_buffer("v", torch.full((columns,), columns**-0.5, device=weight.device, dtype=weight.dtype))
        if weight.device.type != "meta":
            generator = torch.Generator().manual_seed(rows * 1_000_003 + columns)
            self.u.copy_(nn.functional.normalize(torch.randn(rows, generator=generator), dim=0))
            self.update(weight, iterations=5)

    def forward(self, weight: Tensor) -> Tensor:
        with full_precision(weight):
            sigma = torch.dot(self.u, torch.mv(weight.flatten(1), self.v))
            return weight / sigma

    @torch.no_grad()
    def update(self, weight: Tensor, iterations: int = 1, eps: float = 1e-12) -> None:
        """Power iterations on `weight` (rows first), in place on u and v."""
        matrix = weight.detach().flatten(1)
        for _ in range(iterations):
            self.v.copy_(nn.functional.normalize(torch.mv(matrix.t(), self.u), dim=0, eps=eps))
            self.u.copy_(nn.functional.normalize(torch.mv(matrix, self.v), dim=0, eps=eps))


def init_orthogonal(layer: LayerT, spectral: bool) -> LayerT:
    """Orthogonal weight, zero bias, and spectral norm if asked for; returns the same layer."""
    if layer.weight.device.type != "meta":
        nn.init.orthogonal_(layer.weight)
        if getattr(layer, "bias", None) is not None:
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    if spectral:
        parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight), unsafe=True)
    return layer


def linear(in_features: int, out_features: int, *, spectral: bool, bias: bool = True) -> nn.Linear:
    """`(..., in_features) -> (..., out_features)`."""
    return init_orthogonal(nn.Linear(in_features, out_features, bias=bias), spectral)


def conv2d(
    in_channels: int,
    out_channels: int,
    kernel: int | tuple[int, int] = 3,
    *,
    spectral: bool,
    hold_edges: bool = False,
) -> nn.Conv2d:
    """Size-keeping 2D convolution, stride 1 (HVG appendix A: 3x3, padding 1).

    Beyond the edges are zeros, or with `hold_edges` the values at the edges again.
    """
    mode = "replicate" if hold_edges else "zeros"
    return init_orthogonal(nn.Conv2d(in_channels, out_channels, kernel, padding="same", padding_mode=mode), spectral)


def conv3d(in_channels: int, out_channels: int, kernel: int = 3, *, spectral: bool) -> nn.Conv3d:
    """Size-keeping 3D convolution, stride 1 (HVG appendix A: 3x3x3, padding 1)."""
    return init_orthogonal(nn.Conv3d(in_channels, out_channels, kernel, padding=kernel // 2), spectral)


def embedding(num: int, dim: int, *, spectral: bool) -> nn.Embedding:
    """`(...)` indices below `num` -> `(..., dim)`."""
    # nn.Embedding's own initialisation imports torch._dynamo on the meta device: most of a second at start-up.
    return init_orthogonal(nn.Embedding.from_pretrained(torch.empty(num, dim), freeze=False), spectral)


def _normalised(module: nn.Module) -> list[tuple[Any, Any]]:
    found = []
    for layer in module.modules():
        if parametrize.is_parametrized(layer, "weight"):
            found.append((layer, layer.parametrizations["weight"]))  # type: ignore[union-attr, index]
    return found


def power_iterate(module: nn.Module) -> None:
    """One power iteration for every spectral norm in `module`: call once before each update."""
    for _, parametrization in _normalised(module):
        parametrization[0].update(parametrization.original)


def bake_spectral_norm(module: nn.Module) -> None:
    """Replace every W by W / sigma for good, in place: for inference and for released weights."""
    for layer, parametrization in _normalised(module):
        valued = not parametrization.original.is_meta  # there is nothing to divide on the meta device
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=valued)
