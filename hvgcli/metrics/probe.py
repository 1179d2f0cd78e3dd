"""A linear classifier on the features of real videos, asked what generated ones show.

Multinomial logistic regression on standardised features, on all videos at once. The weight decay makes the loss
strictly convex in the weights, so there is one best classifier, and no random number takes part.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hvgcli.errors import DataError
from hvgcli.metrics.moments import same_dimension, vectors

DECAY = 0.1
"""Of the weights, a priori: with features of variance 1 and few takes a class the exact value matters little."""
STEPS = 200  # of L-BFGS at most; a few dozen are usual
FLAT = 1e-6  # largest slope at which it stops


@dataclass(frozen=True)
class LinearProbe:
    """argmax over classes of W (x - mean) / scale + b."""

    mean: Tensor
    """(d,) float64: of the features that it was fitted to."""
    scale: Tensor
    """(d,) float64: their standard deviation; 1 where a feature does not vary."""
    weight: Tensor
    """(K, d) float64."""
    bias: Tensor
    """(K,) float64."""

    def scores(self, features: Tensor) -> Tensor:
        """(N, d) of any floating type -> log-probabilities (N, K) float64."""
        same_dimension(len(self.mean), features.shape[-1])
        return F.linear((features.double() - self.mean) / self.scale, self.weight, self.bias).log_softmax(-1)

    def predict(self, features: Tensor) -> Tensor:
        """(N, d) -> the most probable class of each, int64 (N,)."""
        return self.scores(features).argmax(-1)


def fit_probe(features: Tensor, labels: Tensor, classes: int, *, decay: float = DECAY) -> LinearProbe:
    """The classifier with the least mean cross-entropy + decay / 2 |W|^2, each class of equal weight in the mean.

    Args:
        features: (N, d) of any floating type.
        labels: int64 (N,), 0 .. classes - 1.
        classes: K, at least 2.
        decay: above 0; of the weights, not of the biases.

    Raises:
        DataError: a class without features, labels of another number, or features that are no finite vectors.
    """
    vectors(features)
    counts = labels.bincount(minlength=classes)
    if len(labels) != len(features) or len(counts) != classes or not counts.all():
        raise DataError(
            f"a classifier: got {len(features)} features and labels of {int((counts > 0).sum())} classes, "
            f"expected a label of each and features of all {classes} classes: give real videos of every class"
        )
    x = features.to("cpu", torch.float64)
    mean, scale = x.mean(0), x.std(0, unbiased=False)
    scale = torch.where(scale > 0, scale, 1.0)
    importance = (1 / counts.double())[labels] / classes  # sums to 1
    weight, bias = _least((x - mean) / scale, labels, importance, classes, decay)
    return LinearProbe(mean, scale, weight, bias)


def _least(x: Tensor, labels: Tensor, importance: Tensor, classes: int, decay: float) -> tuple[Tensor, Tensor]:
    """Weights and biases at the least loss."""
    weight = x.new_zeros(classes, x.shape[1]).requires_grad_()
    bias = x.new_zeros(classes).requires_grad_()
    search = torch.optim.LBFGS(
        [weight, bias],
        max_iter=STEPS,
        tolerance_grad=FLAT,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        search.zero_grad()
        errors = F.cross_entropy(F.linear(x, weight, bias), labels, reduction="none")
        value: Tensor = (importance * errors).sum() + decay / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        search.step(loss)
    return weight.detach(), bias.detach()


def recalls(predicted: Tensor, labels: Tensor, classes: int) -> list[float | None]:
    """Share of each class's videos that are named rightly; None for a class without videos. Both int64 (N,)."""
    right = predicted == labels
    return [float(right[labels == k].double().mean()) if (labels == k).any() else None for k in range(classes)]
