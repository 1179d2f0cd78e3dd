"""The prior of codes: which component a video gets, what its code is, and how generators carry it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import small_config

from hvgcli.config import ModelConfig
from hvgcli.errors import ConfigError
from hvgcli.models import build_generator
from hvgcli.models.code_prior import CodePrior
from hvgcli.models.level1 import Outline


def some_prior(rows: int = 3, components: int = 4, z_dim: int = 5) -> CodePrior:
    rng = torch.Generator().manual_seed(1)
    prior = CodePrior(rows, components, z_dim)
    prior.weights.copy_(torch.rand(rows, components, generator=rng).softmax(1))
    prior.means.normal_(generator=rng)
    prior.factors.copy_(torch.randn(rows, components, z_dim, z_dim, generator=rng).tril())
    return prior.double()


def with_components(count: int, times: tuple[int, ...] = (2,)) -> ModelConfig:
    config = small_config(times)
    return replace(config, levels=(replace(config.levels[0], code_components=count), *config.levels[1:]))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 2)), min_size=1, max_size=5))
def test_a_code_is_mean_plus_factor_times_z(asked: list[tuple[float, int]]) -> None:
    prior = some_prior()
    z = torch.randn(len(asked), 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    codes = prior(z, torch.tensor([choice for choice, _ in asked]), torch.tensor([label for _, label in asked]))
    for code, noise, (choice, label) in zip(codes, z, asked, strict=True):
        component, reached = 0, float(prior.weights[label, 0])
        while reached <= torch.tensor(choice) and component < 3:
            component += 1
            reached += float(prior.weights[label, component])
        mean, factor = prior.means[label, component], prior.factors[label, component]
        expected = [float(mean[i]) + sum(float(factor[i, j]) * float(noise[j]) for j in range(5)) for i in range(5)]
        assert code.tolist() == pytest.approx(expected, abs=1e-9)


def test_components_are_drawn_as_often_as_their_weights_say() -> None:
    prior = some_prior(rows=1)
    prior.factors.zero_()
    choices = (torch.arange(1000) + 0.5) / 1000
    codes = prior(torch.zeros(1000, 5, dtype=torch.float64), choices, None)
    for mean, weight in zip(prior.means[0], prior.weights[0], strict=True):
        share = (codes == mean).all(1).double().mean()
        assert float(share) == pytest.approx(float(weight), abs=2e-3)


def test_unfitted_codes_are_z() -> None:
    z = torch.randn(6, 5, generator=torch.Generator().manual_seed(3))
    codes = CodePrior(3, 4, 5)(z, torch.rand(6), torch.tensor([0, 1, 2, 0, 1, 2]))
    assert torch.equal(codes, z)


def test_a_choice_beyond_the_rounded_sum_of_the_weights_gets_the_last_component() -> None:
    prior = CodePrior(1, 2, 5)
    prior.weights.copy_(torch.tensor([[0.5, 0.49]]))
    prior.means[0, 1] = 7.0
    assert prior(torch.zeros(1, 5), torch.tensor([0.995]), None).tolist() == [[7.0] * 5]


def test_the_prior_is_part_of_the_first_level_only() -> None:
    config = with_components(4)
    first, second = (build_generator(config, number) for number in (1, 2))
    assert isinstance(first, Outline)
    assert first.prior is not None
    assert first.prior.means.shape == (3, 4, 5)
    assert {"prior.weights", "prior.means", "prior.factors"} <= set(first.state_dict())
    assert not any(name.startswith("prior") for name in second.state_dict())
    assert not any(name.startswith("prior") for name in build_generator(small_config((2,)), 1).state_dict())


def test_components_are_refused_where_there_is_no_code_of_a_clip() -> None:
    config = small_config((2,))
    with pytest.raises(ConfigError, match="level 2: code_components is for level 1, it must be 0"):
        replace(config, levels=(config.levels[0], replace(config.levels[1], code_components=2)))
    with pytest.raises(ConfigError, match=r"code_components 1000 must be 0\.\.256"):
        replace(config.levels[0], code_components=1000)
    with pytest.raises(ConfigError, match="code_components needs a z_dim up to 256, got 300"):
        replace(config.levels[0], code_components=2, z_dim=300)
