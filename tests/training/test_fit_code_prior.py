"""Fitting the prior of codes: EM against a literal loop, and a run that ends with one."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_training import PRESET, finish_run, train
from torch import Tensor

from hvgcli.config import Preset
from hvgcli.errors import UsageError
from hvgcli.models.level1 import Outline
from hvgcli.sampling.hierarchy import Sample, generate, level_latents, load
from hvgcli.sampling.unroll import join
from hvgcli.training.code_prior import FLOOR, Mixture, fit_mixture, maximise


def points(seed: int = 0) -> Tensor:
    """Three clouds in a plane, of 40, 40 and 20 points."""
    rng = torch.Generator().manual_seed(seed)
    clouds = ((40, (3.0, 0.0), (0.3, 0.1)), (40, (-3.0, 1.0), (0.2, 0.5)), (20, (0.0, -4.0), (0.4, 0.4)))
    parts = [
        torch.tensor(mean) + torch.randn(count, 2, generator=rng) * torch.tensor(spread)
        for count, mean, spread in clouds
    ]
    return torch.cat(parts).double()


def literal_log_density(x: list[float], mean: list[float], covariance: list[list[float]]) -> float:
    """log N(x; mean, covariance) in two dimensions, written out."""
    (a, b), (_, d) = covariance
    determinant = a * d - b * b
    u, v = x[0] - mean[0], x[1] - mean[1]
    squared = (d * u * u - 2 * b * u * v + a * v * v) / determinant
    return -0.5 * squared - math.log(2 * math.pi) - 0.5 * math.log(determinant)


def test_a_round_of_em_is_the_literal_one() -> None:
    x = points()[::5]
    shares = torch.rand(len(x), 2, generator=torch.Generator().manual_seed(1)).double().softmax(1)
    mixture = maximise(x, shares)
    densities = mixture.log_densities(x)
    for k in range(2):
        weight = sum(float(share) for share in shares[:, k])
        mean = [sum(float(shares[n, k] * x[n, i]) for n in range(len(x))) / weight for i in range(2)]
        covariance = [
            [
                sum(float(shares[n, k] * (x[n, i] - mean[i]) * (x[n, j] - mean[j])) for n in range(len(x))) / weight
                + (FLOOR if i == j else 0.0)
                for j in range(2)
            ]
            for i in range(2)
        ]
        assert float(mixture.weights[k]) == pytest.approx(weight / len(x))
        assert mixture.means[k].tolist() == pytest.approx(mean)
        found = mixture.factors[k] @ mixture.factors[k].T
        assert found.flatten().tolist() == pytest.approx([*covariance[0], *covariance[1]])
        for n in range(len(x)):
            expected = math.log(weight / len(x)) + literal_log_density(x[n].tolist(), mean, covariance)
            assert float(densities[n, k]) == pytest.approx(expected)


def test_em_finds_clouds_that_lie_apart() -> None:
    mixture = fit_mixture(points(), 3, torch.Generator().manual_seed(0))
    order = mixture.means[:, 0].argsort()
    assert mixture.weights[order].tolist() == pytest.approx([0.4, 0.2, 0.4], abs=0.01)
    assert mixture.means[order].flatten().tolist() == pytest.approx([-3, 1, 0, -4, 3, 0], abs=0.25)


def test_em_raises_the_likelihood() -> None:
    x = points()
    chooser = torch.Generator().manual_seed(4)
    likely = [
        float(fit_mixture(x, 4, chooser.manual_seed(4), rounds).log_densities(x).logsumexp(1).mean())
        for rounds in (0, 1, 5, 30)
    ]
    assert likely == sorted(likely)
    assert likely[-1] > likely[0]


def test_equal_codes_make_a_mixture_of_equal_components() -> None:
    mixture = fit_mixture(torch.ones(9, 3), 2, torch.Generator().manual_seed(0))
    assert torch.isfinite(mixture.factors).all()
    assert isinstance(mixture, Mixture)
    assert float(mixture.weights.sum()) == pytest.approx(1.0)


def coded_preset() -> Preset:
    first, *above = PRESET.model.levels
    levels = (replace(first, code_components=2), *above)
    return replace(PRESET, model=replace(PRESET.model, levels=levels))


@pytest.fixture(scope="module")
def coded(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished level 1 with a prior of codes."""
    return finish_run(train(data, tmp_path_factory.mktemp("coded"), preset=coded_preset()))


def test_a_run_ends_with_a_fitted_prior_that_samples_come_from(coded: Path) -> None:
    model = load(coded, levels=1)
    generator = model.generators[0]
    assert isinstance(generator, Outline)
    assert generator.prior is not None
    assert (generator.prior.means.abs().amax(dim=(1, 2)) > 0).all()  # of both classes
    assert generator.prior.weights.sum(1).tolist() == pytest.approx([1.0, 1.0], abs=0.01)
    samples = [Sample(seed, label) for seed in (1, 2) for label in (0, 1)]
    codes = level_latents(model, samples, 1, 0.0)
    for code, sample in zip(codes, samples, strict=True):  # sigma 0: the means of components, none between them
        assert min(float((code - mean).abs().max()) for mean in generator.prior.means[sample.label]) < 1e-6
    together = join(generate(model, samples, 4, sigma=1.0))
    for row, sample in zip(together, samples, strict=True):
        assert (join(generate(model, [sample], 4, sigma=1.0))[0] - row).abs().max() < 1e-5


def test_a_walk_goes_from_one_code_to_the_other(coded: Path) -> None:
    model = load(coded, levels=1)
    start, end = level_latents(model, [Sample(1, 0), Sample(2, 1)], 1, 1.0)
    for blend in (0.0, 0.25, 1.0):
        walked = level_latents(model, [Sample(1, 0, to_seed=2, to_label=1, blend=blend)], 1, 1.0)[0]
        assert (walked - (start + blend * (end - start))).abs().max() < 1e-6


def test_codes_need_the_reconstruction_that_teaches_them(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has a prior of codes, which reconstruction teaches"):
        train(data, tmp_path, preset=coded_preset(), reconstruction=None)
