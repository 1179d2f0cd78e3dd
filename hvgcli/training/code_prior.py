"""The prior of codes, fitted once a level is trained: Gaussians for each class (Ghosh et al. 2020, section 4).

Codes are drawn for windows of the training clips as training draws them, each several times with the encoder's own
spread, so that the mixture is one of the aggregated posterior and no component narrower than what a code tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from hvgcli.models.recurrent_generator import RecurrentGenerator
from hvgcli.sampling.noise import seeded
from hvgcli.training.batches import BatchSource
from hvgcli.training.level import LevelBatch, LevelTraining

WINDOWS = 1536  # of all classes together
DRAWS = 4  # codes of each window
ROUNDS = 100  # of expectation and maximisation
FLOOR = 1e-3  # added to the variances: N(0, I) has 1


@dataclass(frozen=True)
class Mixture:
    """K Gaussians over d dimensions, float64."""

    weights: Tensor
    """`(K,)`, with sum 1."""
    means: Tensor
    """`(K, d)`."""
    factors: Tensor
    """Lower triangular L `(K, d, d)` of the covariances L L^T."""

    def log_densities(self, x: Tensor) -> Tensor:
        """log(weight_k N(x; mean_k, L_k L_k^T)) `(N, K)` of points `(N, d)`."""
        components = MultivariateNormal(self.means, scale_tril=self.factors)
        return components.log_prob(x[:, None]) + self.weights.log()


def fit_mixture(codes: Tensor, components: int, chooser: torch.Generator, rounds: int = ROUNDS) -> Mixture:
    """The mixture of `components` Gaussians that is most likely for codes `(N, d)`, found by EM.

    It begins at codes that lie far apart (k-means++, Arthur and Vassilvitskii 2007).
    """
    codes = codes.double()
    means = _far_apart(codes, components, chooser)
    nearest = torch.cdist(codes, means).argmin(1)
    shares = torch.eye(components, dtype=torch.float64)[nearest]
    mixture = maximise(codes, shares)
    for _ in range(rounds):
        mixture = maximise(codes, mixture.log_densities(codes).softmax(1))
    return mixture


def maximise(codes: Tensor, shares: Tensor) -> Mixture:
    """The weights, means and covariances of codes `(N, d)` that belong to component k by `shares` `(N, K)`."""
    counts = shares.sum(0)
    some = counts.clamp(min=1e-6)[:, None]
    means = shares.T @ codes / some
    apart = codes[:, None] - means
    covariances = torch.einsum("nk,nki,nkj->kij", shares, apart, apart) / some[:, :, None]
    floor = FLOOR * torch.eye(codes.shape[1], dtype=torch.float64)
    return Mixture(counts.clamp(min=1e-12) / counts.sum(), means, torch.linalg.cholesky(covariances + floor))


def _far_apart(codes: Tensor, count: int, chooser: torch.Generator) -> Tensor:
    """`count` of the codes, each drawn in proportion to its squared distance from those before."""
    chosen = [int(torch.randint(len(codes), (1,), generator=chooser))]
    for _ in range(count - 1):
        distances = torch.cdist(codes, codes[chosen]).min(1).values.square()
        chosen.append(int(torch.multinomial(distances + 1e-12, 1, generator=chooser)))
    return codes[chosen]


@torch.no_grad()
def fit_code_prior(level: LevelTraining, generator: RecurrentGenerator, source: BatchSource) -> None:
    """Fit the prior of `generator` to the codes of the clips; `level` has the encoder that learned with it.

    The numbers are rounded to bfloat16, as the weights that are shipped with them. Classes without a clip keep
    N(0, I).
    """
    assert generator.prior is not None
    assert level.encoder is not None
    found = list(_codes(level, source))
    codes = torch.cat([codes for codes, _ in found])
    labels = torch.cat([labels for _, labels in found])
    for row in labels.unique().tolist():
        chooser = seeded("code prior", source.seed, row)
        mixture = fit_mixture(codes[labels == row], len(generator.prior.weights[row]), chooser)
        for name in ("weights", "means", "factors"):
            getattr(generator.prior, name)[row] = getattr(mixture, name).to(torch.bfloat16).to(level.dtype)


def _codes(level: LevelTraining, source: BatchSource) -> Iterator[tuple[Tensor, Tensor]]:
    """Codes `(DRAWS x B, z_dim)` of batches of windows, on the CPU, and the row of the prior that they are for."""
    seen = number = 0
    while seen < WINDOWS:
        for batch in source.batches(number, 0):
            with level.autocast():
                codes = torch.cat([_encoded(level, batch, number, draw) for draw in range(DRAWS)])
            labels = torch.zeros(len(batch.video), dtype=torch.long) if batch.labels is None else batch.labels.cpu()
            seen += len(batch.video)
            yield codes.double().cpu(), labels.repeat(DRAWS)
        number += 1


def _encoded(level: LevelTraining, batch: LevelBatch, number: int, draw: int) -> Tensor:
    return level.encode(batch, "prior", number, draw)[0]
