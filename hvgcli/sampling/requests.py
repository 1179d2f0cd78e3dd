"""From seeds and classes to the list of videos to make: plain samples, and walks between them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from hvgcli.config import ModelConfig
from hvgcli.errors import UsageError
from hvgcli.sampling.hierarchy import Sample
from hvgcli.sampling.noise import random_labels


def plain_samples(config: ModelConfig, seeds: Sequence[int], labels: Sequence[int] | None) -> list[Sample]:
    """One video for each class and seed, class by class.

    labels: None draws the class of each video from its seed (a model without classes has none).
    """
    if labels is not None:
        return [Sample(seed, label) for label in labels for seed in seeds]
    if not config.conditional:
        return [Sample(seed) for seed in seeds]
    drawn = random_labels(seeds, config.num_classes).tolist()
    return [Sample(seed, label) for seed, label in zip(seeds, drawn, strict=True)]


def stations(points: int, count: int) -> list[tuple[int, Fraction]]:
    """`count` even steps along a path over `points` points: (point left behind, share of the way to the next).

    The first and the last step are on the first and the last point, with share 0.
    """
    if points < 2 or count < 2:
        raise UsageError(f"a walk needs two ends and two videos, got {points} and {count}")
    steps = [Fraction(step * (points - 1), count - 1) for step in range(count)]
    return [(int(step), step - int(step)) for step in steps]


def walk_seeds(seeds: Sequence[int], label: int | None, count: int) -> list[Sample]:
    """`count` videos of one class from the first seed over all others to the last."""
    return [
        Sample(seeds[at], label, to_seed=seeds[at + 1], blend=float(share)) if share else Sample(seeds[at], label)
        for at, share in stations(len(seeds), count)
    ]


def walk_labels(seed: int, labels: Sequence[int], count: int) -> list[Sample]:
    """`count` videos of one seed from the first class over all others to the last."""
    return [
        Sample(seed, labels[at], to_label=labels[at + 1], blend=float(share)) if share else Sample(seed, labels[at])
        for at, share in stations(len(labels), count)
    ]
