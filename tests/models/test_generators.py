"""All generators: sizes of every preset; those of a hierarchy: classes stay with their videos, reach in time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_networks import made_up_table, randomise_biases, small_config, small_hierarchy
from torch import Tensor, nn

from hvgcli.config import DiscriminatorConfig, LevelConfig, ModelConfig, OneStageConfig
from hvgcli.layers.norm import TimestepNorm
from hvgcli.layers.table import RowLayout
from hvgcli.layers.weights import bake_spectral_norm
from hvgcli.models import build_discriminator, build_generator
from hvgcli.models.upsampler import Upsampler
from hvgcli.presets import PRESETS
from hvgcli.sampling.statistics import StandingTable, install, norms

# Trained parameters of (generator, discriminators) of each level.
PARAMETERS = {
    ("hvg-kinetics600-48x128", 1): (287_763_459, 317_094_914),
    ("hvg-kinetics600-48x128", 2): (148_595_075, 264_410_211),
    ("hvg-kinetics600-48x128-w3", 1): (287_763_459, 317_094_914),
    ("hvg-kinetics600-48x128-w3", 2): (148_595_075, 264_410_211),
    ("hvg-bdd100k-48x256", 1): (282_575_107, 314_637_314),
    ("hvg-bdd100k-48x256", 2): (81_186_723, 261_645_411),
    ("hvg-bdd100k-48x256", 3): (66_736_035, 295_272_291),
    ("hvg-mini", 1): (3_150_179, 430_618),
    ("hvg-mini", 2): (2_407_203, 882_499),
    ("hvg-mini", 3): (2_334_355, 510_347),
    ("hvg-mini-two-level", 1): (4_297_635, 424_666),
    ("hvg-mini-two-level", 2): (2_334_355, 510_347),
    ("dvd-gan-12x64", 1): (287_177_283, 317_094_914),
    ("dvd-gan-48x64", 1): (287_177_283, 317_094_914),
    ("dvd-gan-12x128", 1): (166_059_939, 175_879_298),
    ("dvd-gan-48x128", 1): (166_059_939, 175_879_298),
    ("dvd-gan-12x256", 1): (180_218_787, 198_297_218),
    ("dvd-gan-48x256", 1): (180_218_787, 198_297_218),
    ("dvd-gan-fp", 1): (84_127_587, 314_641_410),
    ("trivd-gan-fp", 1): (322_788_801, 476_097_795),
    ("trivd-gan-fp-bair", 1): (55_890_777, 245_975_067),
    ("dvd-gan-mini", 1): (2_091_659, 801_346),
    ("dvd-gan-fp-mini", 1): (3_248_173, 1_688_002),
    ("trivd-gan-fp-mini", 1): (3_671_355, 2_597_379),
}
MINI = {name for name in PRESETS if "mini" in name}
LEVELS = [(name, number) for name, preset in PRESETS.items() for number in range(1, len(preset.model.levels) + 1)]


def narrow(config: ModelConfig) -> ModelConfig:
    """The same model with a base width of 2; of one stage, with few frames too."""

    def thin(widths: DiscriminatorConfig | None) -> DiscriminatorConfig | None:
        return widths and replace(widths, channels=2)

    levels = []
    for level in config.levels:
        names = ("discriminator",) if isinstance(level, OneStageConfig) else ("spatial", "temporal", "matching")
        widths = {name: thin(getattr(level, name)) for name in names}
        frames = min(level.frames, 12) if isinstance(level, OneStageConfig) else level.frames
        levels.append(replace(level, frames=frames, channels=2, z_dim=4, embed_dim=4, **widths))
    return replace(config, levels=tuple(levels))


@pytest.mark.parametrize(("name", "number"), LEVELS)
def test_presets_build_and_have_their_number_of_parameters(name: str, number: int) -> None:
    config = PRESETS[name].model
    with torch.device("meta"):
        networks = build_generator(config, number), build_discriminator(config, number)
    counts = tuple(sum(parameter.numel() for parameter in network.parameters()) for network in networks)
    assert counts == PARAMETERS[name, number]
    bake_spectral_norm(networks[0])
    assert counts[0] == sum(parameter.numel() for parameter in networks[0].parameters())
    assert not any("parametrizations" in key for key in networks[0].state_dict())


def test_every_level_is_counted_and_the_embedded_model_is_small() -> None:
    assert set(LEVELS) == set(PARAMETERS)
    config = PRESETS["hvg-mini"].model
    with torch.device("meta"):
        generators = [build_generator(config, number) for number in range(1, len(config.levels) + 1)]
    weights = sum(parameter.numel() for generator in generators for parameter in generator.parameters())
    assert 2 * weights < 25e6  # bytes in bfloat16; with standing statistics the folder stays below 30 MB


@pytest.mark.parametrize(("name", "number"), LEVELS)
def test_presets_run_at_reduced_width(name: str, number: int) -> None:
    config = narrow(PRESETS[name].model)
    level = config.levels[number - 1]
    torch.manual_seed(0)
    generator, discriminator = build_generator(config, number), build_discriminator(config, number)
    labels = torch.tensor([config.num_classes - 1]) if config.conditional else None
    z, low = torch.randn(1, 4), None
    with torch.no_grad():
        if config.predictor:
            low = torch.rand(1, config.context, 3, level.resolution, level.resolution)
            video = generator(low, z)
        elif number == 1:
            video = generator(z, labels)
        else:
            below = config.levels[number - 2].resolution
            low = torch.rand(1, level.frames // config.times_time(number), 3, below, below)
            video = generator(low, z, labels)
        if config.one_stage:
            parts = discriminator.parts(video, video[:, :3], labels, low, None)
            scores = torch.cat([score for part in parts.values() for score in part], dim=1)
        else:
            scores = discriminator(video, video[:, :3], labels, low)
    assert video.shape == (1, level.frames, 3, level.resolution, level.resolution)
    assert video.dtype == torch.float32
    assert video.abs().max() <= 1
    if config.one_stage:  # all of them are with classes: those of a predictor are 0
        clips = [config.context + level.frames] * (2 if level.decomposition == "stronger" else 1)
        assert scores.shape == (1, 2 * (3 + sum(clips)))
    else:
        expected = 3 * places(level.spatial, level.resolution) + level.frames * places(
            level.temporal, level.resolution // 2
        )
        if level.matching is not None:
            expected += level.frames * places(level.matching, config.levels[number - 2].resolution)
        assert scores.shape == (1, expected)
    assert scores.isfinite().all()


def places(discriminator: DiscriminatorConfig, side: int) -> int:
    """Scores of a frame: one, or one for each place of the last map, which is halved down to 4x4 at most."""
    for _ in discriminator.multipliers:
        side = side // 2 if side > 4 else side
    return side**2 if discriminator.patches else 1


def without_spectral_norm(network: nn.Module) -> set[str]:
    """Names of the weights that have none."""
    return {
        key for key, parameter in network.named_parameters() if parameter.dim() > 1 and "parametrizations" not in key
    }


@pytest.mark.parametrize(("name", "number"), LEVELS)
def test_every_weight_of_published_presets_has_spectral_norm(name: str, number: int) -> None:
    """All but the predictors' first linear layer (TrIVD-GAN appendix A); small generators have none at all."""
    config = PRESETS[name].model
    with torch.device("meta"):
        generator, discriminator = build_generator(config, number), build_discriminator(config, number)
    assert without_spectral_norm(discriminator) == set()
    every = {key for key, parameter in generator.named_parameters() if parameter.dim() > 1}
    bare = {"generator.first.project.weight"} if config.predictor else set()
    assert without_spectral_norm(generator) == (every if name in MINI else bare)


@pytest.mark.parametrize("size", [8, 32])
def test_units_double_until_the_resolution_is_reached(size: int) -> None:
    """Four units from 4x4 to 32x32: all double but the last; the widths follow the multipliers."""
    widths = DiscriminatorConfig(2, (1, 1))
    level = LevelConfig(2, size, 1, 2, (4, 3, 2, 1), widths, widths, None, 3)
    generator = build_generator(ModelConfig("x", (level,)), 1)
    shapes: list[tuple[int, ...]] = []
    for unit in generator.units:
        unit.recurrent.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output[0].shape[2:])))
        unit.block2.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[2:])))
    generator(torch.randn(2, 3), None)
    sides = [4, 8, 8, 8, 8] if size == 8 else [4, 8, 16, 32, 32]
    recurrent = [(width, side, side) for width, side in zip([8, 8, 6, 4], sides, strict=False)]
    blocks = [(width, side, side) for width, side in zip([8, 6, 4, 2], sides[1:], strict=True)]
    assert shapes == [shape for pair in zip(recurrent, blocks, strict=True) for shape in pair]


# ---- a class stays with its video ----------------------------------------------------------------


def run(config: ModelConfig, number: int, z: Tensor, labels: Tensor | None, low: Tensor) -> Tensor:
    """Standing statistics, float64: batched and single convolutions round differently in float32."""
    generator = small_hierarchy(config).generators[number - 1].double()
    return generator(z, labels, 5) if number == 1 else generator(low, z, labels)


def inputs(batch: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(3)
    z = torch.randn(batch, 5, generator=rng, dtype=torch.float64)
    low = torch.rand(batch, 3, 3, 8, 8, generator=rng, dtype=torch.float64)
    return z, torch.tensor([2, 0, 1, 2])[:batch], low * 2 - 1


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("num_classes", [3, 0], ids=["conditional", "unconditional"])
def test_a_sample_of_a_batch_is_the_sample_alone(number: int, num_classes: int) -> None:
    config = small_config(num_classes=num_classes)
    z, labels, low = inputs()
    labels = labels if num_classes else None
    batch = run(config, number, z, labels, low)
    for i in range(len(z)):
        alone = run(config, number, z[i : i + 1], None if labels is None else labels[i : i + 1], low[i : i + 1])
        torch.testing.assert_close(batch[i : i + 1], alone, rtol=0, atol=1e-10)
    assert (batch[0] - batch[3]).abs().max() > 0.01


@pytest.mark.parametrize("number", [1, 2])
def test_permuting_the_batch_permutes_the_videos(number: int) -> None:
    config = small_config()
    z, labels, low = inputs()
    order = torch.tensor([3, 1, 0, 2])
    before, after = run(config, number, z, labels, low), run(config, number, z[order], labels[order], low[order])
    torch.testing.assert_close(after, before[order], rtol=0, atol=1e-10)


@pytest.mark.parametrize("number", [1, 2])
def test_a_class_changes_all_frames_of_its_video_and_no_other(number: int) -> None:
    config = small_config()
    z, labels, low = inputs()
    changed = labels.clone()
    changed[1] = 2
    before, after = run(config, number, z, labels, low), run(config, number, z, changed, low)
    difference = (after - before).abs().amax((2, 3, 4))  # (B, T)
    assert (difference[1] > 1e-3).all()
    assert difference[[0, 2, 3]].max() < 1e-10


@pytest.mark.parametrize("number", [1, 2])
def test_weights_of_a_mixture_of_classes(number: int) -> None:
    config = small_config()
    z, labels, low = inputs()
    one_hot = torch.eye(3, dtype=torch.float64)[labels]
    torch.testing.assert_close(
        run(config, number, z, one_hot, low), run(config, number, z, labels, low), rtol=0, atol=1e-10
    )
    blended = run(config, number, z, 0.5 * one_hot + 0.5 * one_hot[2], low)
    assert (blended - run(config, number, z, labels, low))[0].abs().max() > 1e-3


@pytest.mark.parametrize("number", [1, 2])
def test_classes_are_asked_for_where_there_are_some_and_refused_where_there_are_none(number: int) -> None:
    z, labels, low = inputs()
    with pytest.raises(ValueError, match="unconditional"):
        run(small_config(num_classes=0), number, z, labels, low)
    with pytest.raises(ValueError, match="labels"):
        run(small_config(), number, z, None, low)


def test_training_mode_with_the_statistics_of_the_batch_keeps_the_order_too() -> None:
    config = small_config()
    z, labels, low = inputs()
    order = torch.tensor([2, 3, 1, 0])
    torch.manual_seed(0)
    for number, extra in ((1, ()), (2, (low,))):
        generator = build_generator(config, number).double()
        before = generator(*extra, z, labels)
        after = generator(*(part[order] for part in extra), z[order], labels[order])
        torch.testing.assert_close(after, before[order], rtol=0, atol=1e-10)


# ---- the upsampler's condition, and how far it reaches in time -----------------------------------


def plain_table(generator: nn.Module) -> StandingTable:
    """Mean 0 and variance 1 everywhere: nothing but the network itself tells frames apart."""
    return StandingTable(
        1.0,
        0,
        RowLayout(0, 1),
        {name: (torch.zeros(1, norm.channels), torch.ones(1, norm.channels)) for name, norm in norms(generator)},
    )


def upsampler(units: int, times_time: int) -> Upsampler:
    widths = DiscriminatorConfig(2, (1, 1))
    level = LevelConfig(4, 8, 1, 4, (1,) * units, widths, widths, widths, 3)
    torch.manual_seed(0)
    generator = Upsampler(level, 0, input_size=8, times_time=times_time)
    randomise_biases(generator)
    generator.to(torch.float64)
    install(generator, plain_table(generator))
    return generator


@pytest.mark.parametrize("times_time", [1, 2, 3])
@pytest.mark.parametrize("units", [2, 4])
def test_an_input_frame_changes_the_outputs_within_reach_only(units: int, times_time: int) -> None:
    generator = upsampler(units, times_time)
    assert generator.reach == units  # one temporal convolution a unit
    low = torch.rand(1, 16, 3, 8, 8, dtype=torch.float64)
    z = torch.randn(1, 3, dtype=torch.float64)
    changed = low.clone()
    changed[:, 7] = -changed[:, 7]
    difference = (generator(low, z, None) - generator(changed, z, None)).abs().amax((0, 2, 3, 4))
    touched = difference.nonzero().flatten().tolist()
    # The condition joins after the first unit's temporal convolution, so one of them does not see it.
    first, last = 7 * times_time - (units - 1), 8 * times_time - 1 + (units - 1)
    assert touched == list(range(first, last + 1))


def test_the_end_of_a_video_is_felt_as_far_as_the_reach_says() -> None:
    generator = upsampler(3, 2)
    low, z = torch.rand(1, 20, 3, 8, 8, dtype=torch.float64), torch.randn(1, 3, dtype=torch.float64)
    whole, cut = generator(low, z, None), generator(low[:, :12], z, None)
    difference = (whole[:, :24] - cut).abs().amax((0, 2, 3, 4))
    assert difference.nonzero().flatten().tolist() == list(range(24 - generator.reach, 24))


def test_frames_are_repeated_in_time() -> None:
    """Without temporal weights, the frames that one input frame makes are equal, and those of another are not."""
    generator = upsampler(3, 3)
    with torch.no_grad():
        for unit in generator.units:
            unit.block3d.temporal.conv.parametrizations.weight.original[:, :, [0, 2]] = 0
    low, z = torch.rand(2, 4, 3, 8, 8, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    video = generator(low, z, None)
    groups = video.unflatten(1, (4, 3))
    assert (groups - groups[:, :, :1]).abs().max() < 1e-12
    assert (groups[:, 0] - groups[:, 1]).abs().max() > 1e-3
    alone = generator(low[:, 2:3], z, None)
    torch.testing.assert_close(groups[:, 2], alone, rtol=0, atol=1e-12)


def test_the_condition_is_added_where_the_map_is_not_larger_than_it() -> None:
    widths = DiscriminatorConfig(2, (1, 1))
    level = LevelConfig(4, 32, 1, 4, (4, 2, 1), widths, widths, widths, 3)
    generator = Upsampler(level, 0, input_size=8, times_time=2)
    added = [[not isinstance(residual, nn.Identity) for residual in unit.residuals] for unit in generator.units]
    # unit 1: 4x4, 4x4, 8x8; unit 2: 8x8, 8x8, 16x16; unit 3: 16x16, 16x16, 32x32
    assert added == [[True, True, True], [True, True, False], [False, False, False]]
    channels = [
        residual.out_channels
        for unit in generator.units
        for residual in unit.residuals
        if residual.__dict__.get("out_channels")
    ]
    assert channels == [16, 16, 16, 16, 8]


def test_the_condition_is_resized_by_nearest_neighbour_and_goes_through_a_1x1_convolution() -> None:
    generator = upsampler(2, 1)
    unit, x = generator.units[0], torch.zeros(2, 3, 4, 4, 4, dtype=torch.float64)
    low = torch.rand(2, 3, 3, 8, 8, dtype=torch.float64)
    conv = unit.residuals[0]
    expected = torch.einsum("oc,btchw->btohw", conv.weight[:, :, 0, 0], low[..., ::2, ::2])
    expected = expected + conv.bias[None, None, :, None, None]
    torch.testing.assert_close(unit.add(0, x, low), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(1, 2, 3, 16, 16), (1, 2, 1, 8, 8), (1, 2, 3, 8, 4)])
def test_an_input_of_another_size_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        upsampler(2, 1)(torch.zeros(shape, dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64), None)


def test_the_last_norm_is_unconditional_and_all_others_see_z_and_class() -> None:
    for generator in small_hierarchy(small_config()).generators:
        dims = {name: norm.cond_dim for name, norm in norms(generator)}
        assert dims.pop("norm") is None
        assert set(dims.values()) == {5 + 3}
        assert all(isinstance(module, TimestepNorm) for _, module in norms(generator))


def test_an_outline_starts_without_a_past() -> None:
    """Its first frames do not depend on how many follow."""
    generator = small_hierarchy(small_config()).generators[0].double()
    install(generator, made_up_table(generator, RowLayout(3, 1)))
    z, labels, _ = inputs()
    torch.testing.assert_close(generator(z, labels, 3), generator(z, labels, 9)[:, :3], rtol=0, atol=1e-10)
