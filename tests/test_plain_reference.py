"""The benchmark's plain reference computes the same videos: an independent reading of the networks."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from hvgcli.hub import DEFAULT_MODEL, resolve
from hvgcli.sampling.hierarchy import Sample, generate, level_latents, load
from hvgcli.sampling.unroll import join


def test_the_plain_way_gives_the_same_video(monkeypatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import plain

    model = load(resolve(DEFAULT_MODEL))
    samples = [Sample(3, 7)]
    ours = join(generate(model, samples, 12, sigma=0.5))
    latents = [level_latents(model, samples, number, 0.5) for number in range(1, model.levels + 1)]
    theirs = plain.generate(model.generators, latents, torch.tensor([7]), 12)
    assert sys.modules["plain"] is plain
    assert (ours - theirs).abs().max() < 1e-4
