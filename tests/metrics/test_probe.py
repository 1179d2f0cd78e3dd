"""The linear probe: the least loss by literal sums, what scaling may not change, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.errors import DataError
from hvgcli.metrics.probe import LinearProbe, fit_probe, recalls


def some(seed: int, count: int = 30, dimension: int = 4, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    means = torch.randn(classes, dimension, generator=generator)
    return means[labels] + torch.randn(count, dimension, generator=generator), labels


def loss(probe: LinearProbe, weight: np.ndarray, bias: np.ndarray, x, labels, decay: float) -> float:
    """Mean over classes of the mean cross-entropy of their videos, and the decay, summed one by one."""
    classes = len(bias)
    of_class: list[list[float]] = [[] for _ in range(classes)]
    for row, label in zip(x.double().tolist(), labels.tolist(), strict=True):
        z = [(a - m) / s for a, m, s in zip(row, probe.mean.tolist(), probe.scale.tolist(), strict=True)]
        scores = [sum(w * v for w, v in zip(weight[k], z, strict=True)) + bias[k] for k in range(classes)]
        of_class[label].append(math.log(sum(map(math.exp, scores))) - scores[label])
    means = [sum(errors) / len(errors) for errors in of_class]
    return sum(means) / classes + decay / 2 * float((weight**2).sum())


def test_no_step_from_it_lowers_the_loss() -> None:
    x, labels = some(0)
    labels[:6] = 0  # classes of different size
    probe = fit_probe(x, labels, 3, decay=0.03)
    weight, bias = probe.weight.numpy(), probe.bias.numpy()
    best = loss(probe, weight, bias, x, labels, 0.03)
    for k in range(3):
        for way in (-1e-3, 1e-3):
            moved = bias.copy()
            moved[k] += way
            assert loss(probe, weight, moved, x, labels, 0.03) > best
            for i in range(x.shape[1]):
                other = weight.copy()
                other[k, i] += way
                assert loss(probe, other, bias, x, labels, 0.03) > best


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-50, 50))
def test_the_scale_of_a_feature_changes_nothing(seed: int, scale: float, shift: float) -> None:
    x, labels = some(seed)
    x = x.double()
    other = x.clone()
    other[:, 1] = other[:, 1] * scale + shift
    asked = some(seed + 1)[0].double()
    moved = asked.clone()
    moved[:, 1] = moved[:, 1] * scale + shift
    first, second = fit_probe(x, labels, 3), fit_probe(other, labels, 3)
    torch.testing.assert_close(first.scores(asked), second.scores(moved), atol=1e-4, rtol=1e-4)


def test_a_feature_that_never_varies_takes_no_part() -> None:
    x, labels = some(2)
    probe = fit_probe(torch.cat((x, torch.full((len(x), 1), 7.0)), dim=1), labels, 3)
    assert probe.scale[-1] == 1
    assert probe.weight[:, -1].abs().max() == 0
    torch.testing.assert_close(probe.scores(torch.cat((x, x[:, :1]), 1)), fit_probe(x, labels, 3).scores(x))


def test_classes_far_apart_are_named() -> None:
    labels = torch.arange(20) % 4
    x = 10 * torch.eye(4)[labels] + 0.1 * torch.randn(20, 4, generator=torch.Generator().manual_seed(3))
    probe = fit_probe(x, labels, 4)
    assert probe.predict(10 * torch.eye(4)).tolist() == [0, 1, 2, 3]
    assert probe.scores(x).exp().sum(1).tolist() == pytest.approx([1.0] * 20)


def test_recalls() -> None:
    predicted, labels = torch.tensor([0, 0, 1, 3]), torch.tensor([0, 1, 1, 0])
    assert recalls(predicted, labels, 4) == [0.5, 0.5, None, None]


@pytest.mark.parametrize("labels", [[0, 1, 0], [0, 0, 0, 0], [0, 1, 2, 3]])
def test_what_is_refused(labels: list[int]) -> None:
    with pytest.raises(DataError, match="classifier"):
        fit_probe(torch.randn(4, 2), torch.tensor(labels), 3)
