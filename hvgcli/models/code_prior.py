"""What codes a class has: a mixture of Gaussians for each class, in place of N(0, I).

Not part of the papers on HVG and DVD-GAN, and only for the small presets, whose generators start as conditional VAEs.
The codes of the training clips do not fill N(0, I): they lie in a few narrow places for each class, and a generator
makes a blend of clips of what it is given in between. A mixture that is fitted to the codes when training is over
("ex-post density estimation", Ghosh et al. 2020, "From Variational to Deterministic Autoencoders", section 4) leads
there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CodePrior(nn.Module):
    """One mixture of `components` Gaussians over codes `(z_dim,)` for each of `rows` classes.

    Unfitted it is N(0, I). It belongs to the generator's file, but is drawn from before the generator runs.
    """

    weights: Tensor
    """`(rows, components)`, each row with sum 1."""
    means: Tensor
    """`(rows, components, z_dim)`."""
    factors: Tensor
    """L `(rows, components, z_dim, z_dim)`, lower triangular: the covariances are L L^T."""

    def __init__(self, rows: int, components: int, z_dim: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.full((rows, components), 1 / components))
        self.register_buffer("means", torch.zeros(rows, components, z_dim))
        factors = torch.zeros(rows, components, z_dim, z_dim)
        factors.diagonal(dim1=2, dim2=3).fill_(1)  # torch.eye on the meta device would first import a compiler
        self.register_buffer("factors", factors)

    def forward(self, z: Tensor, choice: Tensor, labels: Tensor | None) -> Tensor:
        """The codes of z `(B, z_dim)`, uniform `choice` `(B,)` in [0, 1) and classes `(B,)`: mean_k + L_k z.

        `choice` picks the component k of each video. A smaller z (sigma below 1) stays nearer to the means of the
        components, and leaves none of them out. Without classes `labels` is None.
        """
        row = torch.zeros(len(z), dtype=torch.long, device=z.device) if labels is None else labels
        reached = self.weights.double().cumsum(1)[row] <= choice.to(z.device).double()[:, None]
        component = reached.sum(1).clamp(max=self.weights.shape[1] - 1)  # the sum may round to below 1
        spread = self.factors[row, component].to(z.dtype) @ z[:, :, None]
        return self.means[row, component].to(z.dtype) + spread[:, :, 0]


def build_code_prior(components: int, num_classes: int, z_dim: int) -> CodePrior | None:
    """The prior of a generator of whole clips; None for 0 components, where codes are N(0, I)."""
    return CodePrior(max(1, num_classes), components, z_dim) if components else None
