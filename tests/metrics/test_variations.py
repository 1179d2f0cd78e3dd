"""Measures of variations of one clip: against literal loops, and on clips whose order is known."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from patterns import moving_pattern
from small_single import TRAINING, image_config, small_clip, small_config, small_model
from torch import Tensor

from hvgcli.config import SingleConfig
from hvgcli.data.single import SingleClip, scale_pyramid
from hvgcli.errors import DataError
from hvgcli.layers.volume import enlarge
from hvgcli.metrics.diversity import lab_diversity
from hvgcli.metrics.networks import resolve
from hvgcli.metrics.places import places_of
from hvgcli.metrics.single import svfid
from hvgcli.metrics.variations import (
    learned_frames,
    measure_variations,
    nearest_difference,
    reconstructions,
    variations,
)
from hvgcli.models.hp_vae_gan import HpVaeGan
from hvgcli.sampling.single import Single, load_single, own_statistics, record_statistics
from hvgcli.training.single_finish import write_model
from hvgcli.training.single_folder import SingleRun
from hvgcli.training.single_run import train_single


def some_videos(*size: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def made(config: SingleConfig, scales: int, folder: Path) -> Single:
    """A loaded model of the first `scales` scales, which has learned nothing."""
    torch.manual_seed(0)
    network = HpVaeGan(config)
    record_statistics(network, range(config.scales), passes=2)
    training = {"iterations": 1, "seconds": 1, "seed": 0}
    write_model(folder, small_model(config), network, scales, "noise", training)
    return load_single(folder)


# ---- scores ------------------------------------------------------------------------------------------


def test_scores_are_those_of_each_variation() -> None:
    samples, real = some_videos(3, 8, 16, 24), some_videos(2, 8, 16, 24, seed=1)
    places = places_of(resolve("frames"), (8, 16, 24))
    scores = measure_variations(iter(samples), real, places)
    known = torch.cat([places(part) for part in real])
    distances = [svfid(known, places(sample)) for sample in samples]
    pixels, parts = samples.numpy().astype(float), real.numpy().astype(float)
    apart = [min(np.sqrt(((sample - part) ** 2).mean()) for part in parts) for sample in pixels]
    assert scores.distance is not None
    assert scores.distance.value == pytest.approx(np.mean(distances))
    assert scores.difference.value == pytest.approx(np.mean(apart))
    assert scores.difference.high == pytest.approx(np.mean(apart) + 1.96 * np.std(apart, ddof=1) / np.sqrt(3))
    assert scores.diversity == pytest.approx(lab_diversity(samples, real))
    assert scores.count == 3


def test_copies_of_the_clip_are_at_zero_in_all() -> None:
    real = some_videos(1, 8, 16, 24)
    scores = measure_variations([real[0]] * 3, real, places_of(resolve("frames"), (8, 16, 24)))
    assert scores.distance is not None
    assert scores.distance.value < 1e-9
    assert (scores.diversity, scores.difference.value) == (0, 0)


def test_without_places_there_is_no_distance() -> None:
    real = some_videos(1, 4, 8, 8)
    assert measure_variations(some_videos(2, 4, 8, 8, seed=1), real, None).distance is None


@pytest.mark.parametrize("shape", [(4, 8, 10), (3, 8, 8)])
def test_another_shape_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(DataError, match="a variation has the shape"):
        nearest_difference(some_videos(*shape), some_videos(1, 4, 8, 8))


def test_one_variation_has_no_diversity() -> None:
    with pytest.raises(DataError, match="at least 2 generated"):
        measure_variations(some_videos(1, 4, 8, 8), some_videos(1, 4, 8, 8), None)


def test_a_clip_is_nearer_to_its_next_frames_than_to_what_is_blurred_or_noisy() -> None:
    """A texture that moves on, by the statistics of frames at its places."""
    texture = some_videos(32, 48)
    clip = torch.stack([texture.roll(step, 1) for step in range(26)])
    real, following = clip[:13], clip[13:]
    pixels = real.float().permute(0, 3, 1, 2)
    blurred = F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, 1).permute(0, 2, 3, 1).byte()
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
    noisy = (real.float() + 40 * noise).clamp(0, 255).byte()
    places = places_of(resolve("frames"), (13, 32, 48))
    same, after, *worse = (svfid(places(real), places(video)) for video in (real, following, blurred, noisy))
    assert same < 1e-9 < after < min(worse)


# ---- the model's videos ------------------------------------------------------------------------------


@pytest.mark.parametrize("scales", [4, 2])
def test_what_was_learned_is_the_clip_or_a_coarser_scale_of_it(tmp_path: Path, scales: int) -> None:
    config, clip = small_config(), small_clip(parts=2)
    single = made(config, scales, tmp_path)
    real = learned_frames(single, clip)
    assert real.shape == (2, *config.sizes[scales - 1], 3)
    if scales == 4:
        torch.testing.assert_close(real, clip.frames, rtol=0, atol=0)
    volume = scale_pyramid(clip, config)[scales - 1]
    expected = ((volume.numpy() + 1) * 127.5).transpose(0, 2, 3, 4, 1)
    assert np.abs(real.numpy() - expected).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("config", [small_config(), image_config()])
def test_a_seed_is_the_same_variation_in_any_batch(tmp_path: Path, config: SingleConfig) -> None:
    single = made(config, 4, tmp_path)
    alone = torch.stack(list(variations(single, [4, 5, 6])))
    together = torch.stack(list(variations(single, [6, 4, 5], batch=2)))
    assert alone.shape == (3, *config.sizes[-1], 3)
    assert (alone.int() - together[[1, 2, 0]].int()).abs().max() <= 1  # rounding
    assert (alone[0] != alone[1]).any()
    still = list(variations(single, [4, 5], sigma=0.0))
    torch.testing.assert_close(still[0], still[1])


def test_a_reconstruction_is_equation_6_at_the_mean(tmp_path: Path) -> None:
    config, clip = small_config(), small_clip(parts=2)
    single = made(config, 4, tmp_path)
    found = reconstructions(single, clip)
    network, coarse = single.network, scale_pyramid(clip, config)[0]
    assert found is not None
    assert network.encoder is not None
    with torch.no_grad(), own_statistics(network):
        for part in range(2):
            x = torch.tanh(network.generators[0](network.encoder(coarse[part : part + 1])[0]))
            for generator, size in zip(network.generators[1:], config.sizes[1:], strict=True):
                x = enlarge(x, size)
                x = torch.tanh(x + generator(x))
            expected = (x[0].permute(1, 2, 3, 0) + 1) * 127.5
            assert (found[part] - expected).abs().max() <= 0.5 + 1e-2


def test_without_an_encoder_nothing_is_reconstructed(tmp_path: Path) -> None:
    assert reconstructions(made(small_config(vae_scales=0), 4, tmp_path), small_clip()) is None


def test_training_brings_the_reconstruction_nearer(tmp_path: Path) -> None:
    config = small_config(scales=1, vae_scales=1)
    clip = SingleClip(torch.from_numpy(moving_pattern(5, (12, 16), 1))[None], Fraction(24))
    errors = []
    for iterations in (1, 40):
        training = replace(TRAINING, iterations=iterations)
        run = SingleRun(small_model(config), training, clip, tmp_path / str(iterations))
        train_single(run, device=torch.device("cpu"))
        single = load_single(run.out / "model")
        found = reconstructions(single, clip)
        assert found is not None
        errors.append((found.float() - learned_frames(single, clip).float()).square().mean().sqrt())
    assert errors[1] < errors[0] / 2
