"""Large outputs of hp-VAE-GAN in blocks, and statistics for other lengths."""

from __future__ import annotations

from itertools import product
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_single import image_config, small_config

from hvgcli.layers.volume import VolumeNorm
from hvgcli.models.hp_vae_gan import PatchGenerator
from hvgcli.sampling.single_blocks import Blockwise, count_parts, cuts, halo_of
from hvgcli.sampling.single_lengths import LONGEST, PASSES, measured_length, passes_for


def generator_of(config) -> PatchGenerator:
    """Random weights, and norms with statistics unlike those of what comes."""
    torch.manual_seed(0)
    generator = PatchGenerator(3, 3, config).eval().requires_grad_(False)
    for norm in generator.modules():
        if isinstance(norm, VolumeNorm):
            norm.mean.normal_(std=0.3)
            norm.var.uniform_(0.5, 2)
            norm.passes.fill_(1)
    return generator


@pytest.mark.parametrize("values", [1500, 4000, 1 << 20])
@pytest.mark.parametrize("size", [(9, 20, 13), (2, 8, 40), (23, 5, 6)])
@pytest.mark.parametrize("hold_ends", [False, True])
def test_blocks_are_the_whole(size, values, hold_ends):
    generator = generator_of(small_config(hold_ends=hold_ends))
    x = torch.randn(2, 3, *size)
    whole = generator(x)
    torch.testing.assert_close(Blockwise(generator, values)(x), whole, atol=1e-5, rtol=1e-5)


def test_blocks_of_an_image():
    generator = generator_of(image_config())
    assert halo_of(generator) == (0, 3, 3)
    x = torch.randn(1, 3, 1, 33, 50)
    torch.testing.assert_close(Blockwise(generator, 900)(x), generator(x), atol=1e-5, rtol=1e-5)


def test_own_statistics_are_those_of_the_whole():
    generator = generator_of(small_config()).train()
    x = torch.randn(1, 3, 5, 16, 16)
    assert torch.equal(Blockwise(generator, 500)(x), generator(x))


@settings(deadline=None, max_examples=40)
@given(st.tuples(*[st.integers(1, 60)] * 3), st.tuples(*[st.integers(0, 6)] * 3), st.integers(1, 5000))
def test_parts_cover_everything_once_and_fit(size, halo, limit):
    parts = count_parts(size, halo, limit)
    covered = torch.zeros(size, dtype=torch.long)
    for block in product(*map(cuts, size, parts)):
        covered[tuple(slice(*span) for span in block)] += 1
    assert bool((covered == 1).all())
    sides = [-(-side // part) for side, part in zip(size, parts, strict=True)]
    grown = prod(min(side, own + 2 * edge) for side, own, edge in zip(size, sides, halo, strict=True))
    smallest = all(side <= max(1, 2 * edge) for side, edge in zip(sides, halo, strict=True))
    assert grown <= limit or smallest or max(sides) <= max(1, 2 * max(halo))


def test_lengths_share_statistics_beyond_a_few_times_the_training():
    config = small_config()
    assert measured_length(config, config.frames) == 0
    assert measured_length(config, 3) == 3
    assert measured_length(config, 10_000) == measured_length(config, 20_000) == LONGEST * config.frames


def test_finer_scales_need_fewer_samples():
    counts = passes_for(((4, 32, 18), (5, 57, 32), (52, 256, 456)))
    assert counts == sorted(counts, reverse=True)
    assert (counts[0], counts[-1]) == (max(PASSES), min(PASSES))
