"""Inception score: does each video look like one class, and do the videos together show many? (Salimans et al. 2016)

IS = exp(mean over videos of KL(p(y | video) || p(y))), with p(y) the mean of p(y | video). It lies between 1
(every video predicts the same) and the number of classes. The published protocol, for images, takes 50,000 of them
in 10 splits, and reports the mean and the standard deviation over the splits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hvgcli.errors import DataError
from hvgcli.metrics.estimate import Estimate
from hvgcli.metrics.moments import vectors

SPLITS = 10


def inception_score(logits: Tensor, splits: int = SPLITS, seed: int = 0) -> Estimate:
    """The mean score of the splits; `low` and `high` are one standard deviation over the splits (ddof=0) away.

    The published code cuts the videos in the order given, which takes for granted that it is random. A folder
    is often sorted by class, so here the order is drawn first: a split is a random part of the set.

    Args:
        logits: (N, K) float, N >= 2 * splits: activations before the softmax.
        splits: equal parts (within one video), each with its own p(y); 1 for small sets.
        seed  : of the order; the score of one split does not depend on it.

    Raises:
        DataError: fewer than two videos a split (the score of one video is 1, whatever it shows), another
            shape, or logits that are not finite.
    """
    _check(logits, splits)
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(seed))
    scores = torch.tensor([_score(logits[part]) for part in order.tensor_split(splits)], dtype=torch.float64)
    value, deviation = scores.mean().item(), scores.std(unbiased=False).item()
    return Estimate(value, value - deviation, value + deviation)


def small_sample(videos: int, classes: int, splits: int = SPLITS) -> str | None:
    """One line that says why the score of so few videos is too low, or None where there are enough.

    A split of n videos scores at most n, because p(y) holds 1/n of each of them: with fewer videos than
    classes the scale itself is cut off. The bound is ours; the published protocol has 5 images a class and split.
    """
    if videos >= splits * classes:
        return None
    return (
        f"the inception score of {videos} videos in {splits} splits is biased low: a split has fewer videos than "
        f"the network has classes ({classes}): take {splits * classes} videos or fewer splits"
    )


def _score(logits: Tensor) -> float:
    """exp(mean KL) of one split, in float64 and from log-probabilities, so that no probability of 0 is divided by."""
    log_p = logits.double().log_softmax(1)  # (n, K)
    log_marginal = log_p.logsumexp(0) - math.log(len(log_p))  # (K,)
    return math.exp((log_p.exp() * (log_p - log_marginal)).sum(1).mean().item())


def _check(logits: Tensor, splits: int) -> None:
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise DataError(f"the inception score needs logits (videos, classes), and got {tuple(logits.shape)}")
    if splits < 1 or len(logits) < 2 * splits:
        raise DataError(
            f"an inception score in {splits} splits of {len(logits)} videos has fewer than 2 videos a split: "
            "take more videos or fewer splits"
        )
    vectors(logits, "the logits")
