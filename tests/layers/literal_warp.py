"""Kernel-based warping of TrIVD-GAN appendix B, pixel by pixel, for the tests to compare with."""

from __future__ import annotations

import torch
from torch import Tensor

K = 3


def literal_warp(h: Tensor, weights: Tensor) -> Tensor:
    """Equation 11. h `(C, H, W)`, weights `(K*K, H, W)`; h padded with zeros."""
    height, width = h.shape[1:]
    rows = []
    for i in range(height):
        pixels = []
        for j in range(width):
            total = torch.zeros_like(h[:, 0, 0])
            for m in range(K):
                for n in range(K):
                    row, column = i + m - (K - 1) // 2, j + n - (K - 1) // 2
                    if 0 <= row < height and 0 <= column < width:
                        total = total + weights[m * K + n, i, j] * h[:, row, column]
            pixels.append(total)
        rows.append(torch.stack(pixels, dim=-1))
    return torch.stack(rows, dim=-2)


def literal_weights(basis: Tensor, selection: Tensor) -> Tensor:
    """Equation 12. basis `(N, K*K)`, selection `(N, H, W)` -> `(K*K, H, W)`."""
    height, width = selection.shape[1:]
    weights = torch.empty(K * K, height, width, dtype=basis.dtype).tolist()
    for q in range(K * K):
        for i in range(height):
            for j in range(width):
                weights[q][i][j] = sum(selection[n, i, j] * basis[n, q] for n in range(len(basis)))
    return torch.stack([torch.stack([torch.stack(row) for row in plane]) for plane in weights])


def literal_kernels(factorised: bool, layers: dict[str, Tensor], theta: Tensor) -> Tensor:
    """f of appendix F.1 on one sample's [h; x] `(2C, H, W)` -> per-pixel weights `(K*K, H, W)`.

    `layers` holds the weights and biases of the parts of f by their names.
    """

    def conv(name: str, x: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(x[None], layers[f"{name}.weight"], layers[f"{name}.bias"], padding=1)[0]

    def line(name: str, x: Tensor) -> Tensor:
        return layers[f"{name}.weight"] @ x + layers[f"{name}.bias"]

    features = conv("features", theta).relu()
    if not factorised:
        return conv("weights", conv("hidden", features).relu()).softmax(dim=0)
    basis = line("basis", line("hidden", pooled(features).flatten()).relu())
    basis = torch.stack([kernel.softmax(dim=0) for kernel in basis.split(K * K)])
    return literal_weights(basis, conv("selection", theta).softmax(dim=0))


def pooled(features: Tensor, size: int = 4) -> Tensor:
    """Adaptive max-pooling `(C, H, W)` -> `(C, size, size)`, from floor(i H / size) to ceil((i + 1) H / size)."""
    _, height, width = features.shape
    rows = []
    for i in range(size):
        top, bottom = i * height // size, -(-(i + 1) * height // size)
        bins = []
        for j in range(size):
            left, right = j * width // size, -(-(j + 1) * width // size)
            bins.append(features[:, top:bottom, left:right].amax(dim=(1, 2)))
        rows.append(torch.stack(bins, dim=-1))
    return torch.stack(rows, dim=-2)
