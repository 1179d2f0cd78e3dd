"""Samples of a model of one clip: seeds, sizes, standing statistics, and the user's own image."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_single import image_config, small_config, small_model
from tiny_models import make_model

from hvgcli.config import SingleConfig
from hvgcli.errors import UsageError, WeightsError
from hvgcli.models.hp_vae_gan import HpVaeGan
from hvgcli.sampling.single import Single, blend, generate, inject, load_single, own_statistics, record_statistics
from hvgcli.training.single_finish import write_model


def network_of(config: SingleConfig) -> HpVaeGan:
    """Random weights with noise at the patch-GAN scales, and standing statistics."""
    torch.manual_seed(0)
    network = HpVaeGan(config)
    network.amplitudes.copy_(torch.tensor([0.3 * (n >= config.vae_scales) for n in range(config.built)]))
    record_statistics(network, range(config.built), passes=3)
    return network.requires_grad_(False)


def small_single(config: SingleConfig | None = None) -> Single:
    config = config or small_config()
    return Single(small_model(config), network_of(config))


def test_a_seed_is_one_video_whatever_is_made_beside_it() -> None:
    single = small_single()
    together = generate(single, [3, 4, 5])
    for row, seed in enumerate((3, 4, 5)):
        torch.testing.assert_close(generate(single, [seed])[0], together[row], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_sizes_and_lengths_are_free() -> None:
    single = small_single()
    assert generate(single, [1]).shape == (1, 5, 3, 12, 16)
    assert generate(single, [1], size=(30, 20), frames=11).shape == (1, 11, 3, 30, 20)
    assert generate(single, [1], frames=1).shape == (1, 1, 3, 12, 16)
    with pytest.raises(UsageError, match="at least 1"):
        generate(single, [1], frames=0)


def test_an_image_has_one_frame() -> None:
    single = small_single(image_config())
    assert generate(single, [1], size=(20, 24)).shape == (1, 1, 3, 20, 24)
    with pytest.raises(UsageError, match="makes 1 frame, not 3"):
        generate(single, [1], frames=3)


def test_sigma_0_is_one_video_for_all_seeds() -> None:
    videos = generate(small_single(), [1, 2], sigma=0.0)
    torch.testing.assert_close(videos[0], videos[1])


def test_standing_statistics_of_a_scale_leave_those_below_alone() -> None:
    network = network_of(small_config())
    before = [norm.mean.clone() for generator in network.generators for norm in generator.norms]
    record_statistics(network, range(2, 3), passes=5)
    after = [norm.mean for generator in network.generators for norm in generator.norms]
    moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert moved == [False] * 4 + [True] * 2 + [False] * 2
    assert not network.training


def test_weights_go_to_a_folder_and_back(tmp_path: Path) -> None:
    single = small_single()
    told = {"iterations": 1, "seconds": 1, "seed": 0}
    write_model(tmp_path / "m", single.model, single.network, 4, "noise", told)
    loaded = load_single(tmp_path / "m")
    assert loaded.sha
    torch.testing.assert_close(generate(loaded, [7]), generate(single, [7]), atol=1e-5, rtol=1e-5)
    half = load_single(tmp_path / "m", half=True)
    assert (generate(half, [7]) - generate(single, [7])).abs().mean() < 0.1
    write_model(tmp_path / "part", single.model, single.network, 2, "noise", told)
    frames, height, width = small_config().sizes[1]
    assert generate(load_single(tmp_path / "part"), [7]).shape == (1, frames, 3, height, width)


def test_models_of_another_kind_and_without_statistics_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no model of a single clip"):
        load_single(make_model(tmp_path / "tiny"))
    fresh = HpVaeGan(small_config())
    told = {"iterations": 0, "seconds": 0, "seed": 0}
    write_model(tmp_path / "fresh", small_model(), fresh, 4, "noise", told)
    with pytest.raises(WeightsError, match="no standing statistics"):
        load_single(tmp_path / "fresh")


# ---- the user's own image -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0, 1, 3])
def test_an_image_goes_in_at_any_scale(scale: int) -> None:
    single = small_single(image_config())
    made = inject(single, torch.rand(1, 1, 3, 20, 28) * 2 - 1, scale, [1, 2])
    assert made.shape == (2, 1, 3, 20, 28)


@pytest.mark.parametrize("scale", [0, 1, 3])
def test_a_seed_means_one_result_for_an_image_too(scale: int) -> None:
    single = small_single(image_config())
    image = torch.rand(1, 1, 3, 20, 28) * 2 - 1
    torch.testing.assert_close(inject(single, image, scale, [1, 2])[1:], inject(single, image, scale, [2]))


def test_statistics_of_a_reconstruction_are_its_own_and_others_stay() -> None:
    network = network_of(small_config())
    norms = [norm for generator in network.generators for norm in generator.norms]
    before = [norm.mean.clone() for norm in norms]
    with own_statistics(network.generators[:2]):
        assert [norm.training for norm in norms] == [True] * 4 + [False] * 4
        y = norms[0](5 + 3 * torch.randn(1, 4, 2, 8, 8))
        torch.testing.assert_close(y.mean((0, 2, 3, 4)), torch.zeros(4), atol=1e-5, rtol=0)
    assert not any(norm.training for norm in norms)
    assert all(torch.equal(norm.mean, mean) for norm, mean in zip(norms, before, strict=True))


def test_the_finest_scale_changes_the_image_least() -> None:
    single = small_single(image_config())
    image = torch.linspace(-0.5, 0.5, 16).expand(1, 1, 3, 12, 16).contiguous()
    change = [float((inject(single, image, scale, [1]) - image).abs().mean()) for scale in (1, 3)]
    assert change[1] < change[0]


def test_a_clip_goes_in_too() -> None:
    assert inject(small_single(), torch.zeros(1, 5, 3, 12, 16), 2, [1]).shape == (1, 5, 3, 12, 16)


@pytest.mark.parametrize(
    ("config", "scale"), [(image_config(), 4), (image_config(), -1), (image_config(vae_scales=0), 0)]
)
def test_scales_that_are_not_there_are_refused(config: SingleConfig, scale: int) -> None:
    with pytest.raises(UsageError, match="--at-scale"):
        inject(small_single(config), torch.zeros(1, 1, 3, 12, 16), scale, [1])


def test_blend_keeps_the_image_outside_of_the_mask() -> None:
    made, image = torch.ones(2, 1, 3, 9, 9), -torch.ones(1, 1, 3, 9, 9)
    mask = torch.zeros(9, 9)
    mask[:, 5:] = 1
    sharp = blend(made, image, mask, feather=1)
    assert bool((sharp[..., 5:] == 1).all())
    assert bool((sharp[..., :5] == -1).all())
    soft = blend(made, image, mask, feather=3)
    assert bool((soft[..., :4] == -1).all())
    assert bool((soft[..., 6:] == 1).all())
    assert -1 < float(soft[0, 0, 0, 4, 4]) < float(soft[0, 0, 0, 4, 5]) < 1
