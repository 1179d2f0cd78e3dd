"""Configurations: round trips, what is refused, and the published numbers of the presets."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.config import (
    DiscriminatorConfig,
    LevelConfig,
    ModelConfig,
    ReconstructionConfig,
    TrainingConfig,
    model_from_dict,
    to_dict,
    training_from_dict,
)
from hvgcli.errors import ConfigError
from hvgcli.presets import PRESETS


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(to_dict(value)))


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_go_through_json_and_back(name: str) -> None:
    preset = PRESETS[name]
    assert model_from_dict(through_json(preset.model)) == preset.model
    for training in preset.training:
        assert training_from_dict(through_json(training)) == training


widths = st.builds(
    DiscriminatorConfig, st.integers(1, 64), st.lists(st.integers(1, 64), min_size=2, max_size=6).map(tuple)
)


@st.composite
def models(draw: st.DrawFn) -> ModelConfig:
    levels: list[LevelConfig] = []
    size, stride = draw(st.sampled_from([8, 16])), draw(st.sampled_from([4, 8]))
    for number in range(draw(st.integers(1, 3))):
        if number:
            size *= draw(st.sampled_from([1, 2, 4]))
            stride //= draw(st.sampled_from([1, 2]))
        doublings = size.bit_length() - 3
        count = draw(st.integers(doublings, doublings + 2))
        levels.append(
            LevelConfig(
                4 * draw(st.integers(1, 12)),
                size,
                stride,
                draw(st.integers(1, 64)),
                tuple(draw(st.lists(st.integers(1, 16), min_size=count, max_size=count))),
                draw(widths),
                draw(widths),
                draw(widths) if number else None,
                draw(st.integers(1, 256)),
                draw(st.integers(1, 256)),
                draw(st.booleans()),
            )
        )
    classes = tuple(draw(st.lists(st.text(min_size=1, max_size=8), max_size=4)))
    return ModelConfig("made-up", tuple(levels), len(classes), classes, draw(st.sampled_from(["25", "30000/1001"])))


@settings(deadline=None, max_examples=50)
@given(models())
def test_any_model_goes_through_json_and_back(model: ModelConfig) -> None:
    again = model_from_dict(through_json(model))
    assert again == model
    assert hash(again) == hash(model)  # tuples all the way down


@settings(deadline=None, max_examples=50)
@given(models())
def test_sizes_are_derived(model: ModelConfig) -> None:
    last = len(model.levels)
    assert model.frames == model.levels[0].frames * model.frame_factor(last)
    factor = 1
    for number in range(2, last + 1):
        factor *= model.times_time(number)
        assert model.frame_factor(number) == factor
        assert model.levels[number - 2].resolution * model.times_space(number) == model.levels[number - 1].resolution
        assert model.rate(number) == model.rate(1) * factor
    assert 4 * 2 ** model.levels[-1].doublings == model.resolution
    assert model.conditional == bool(model.classes)
    assert model.with_classes(()).num_classes == 0


# ---- what is refused -----------------------------------------------------------------------------


def good() -> dict[str, Any]:
    data: dict[str, Any] = through_json(PRESETS["hvg-kinetics600-48x128"].model)
    return data


def refused(data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        model_from_dict(data)
    assert "\n" not in str(caught.value)


def test_unknown_and_missing_fields_are_named() -> None:
    refused(good() | {"colour": "red"}, "unknown field colour.*newer")
    for path in ("levels", "name"):
        data = good()
        del data[path]
        refused(data, path)
    data = good()
    data["levels"][1]["tempo"] = 3
    refused(data, "level 2 has unknown field tempo")
    data = good()
    data["levels"][1]["spatial"]["tempo"] = 3
    refused(data, r"level 2\.spatial has unknown field tempo")
    data = good()
    del data["levels"][0]["frames"]
    refused(data, "level 1 is incomplete.*frames")


@pytest.mark.parametrize("data", [None, 3, [], "x", {"levels": 3}, {"levels": [3], "name": "x"}, {"levels": []}])
def test_what_is_no_config_is_refused(data: Any) -> None:
    with pytest.raises(ConfigError):
        model_from_dict(data)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("frames", 0, "frames 0"),
        ("frames", 10**9, "frames 1000000000"),
        ("resolution", 4, "resolution 4 must be a power of two"),
        ("resolution", 48, "resolution 48"),
        ("resolution", 8192, "resolution 8192"),
        ("resolution", -32, "resolution -32"),
        ("stride", 0, "stride 0"),
        ("channels", 0, "channels 0"),
        ("channels", 10**6, "channels 1000000"),
        ("multipliers", [8, 8], "2 multipliers cannot reach 32 pixels: give 3 or more"),
        ("multipliers", [], "multipliers"),
        ("multipliers", [8, 0, 4], "multipliers"),
        ("multipliers", [8, -1, 4], "multipliers"),
        ("z_dim", 0, "z_dim"),
        ("embed_dim", 10**6, "embed_dim"),
        ("frames", "many", "wrong type"),
        ("matching", {"channels": 4, "multipliers": [1, 2]}, "level 1 has no condition: its matching"),
        ("spatial", {"channels": 0, "multipliers": [1, 2]}, "discriminator channels 0"),
        ("spatial", {"channels": 4, "multipliers": [1]}, "discriminator multipliers"),
        ("spatial", {"channels": 4, "multipliers": [1, 65]}, "discriminator multipliers"),
        ("spatial", {"channels": 4, "multipliers": [1, 2], "detail": -1}, "discriminator detail -1"),
        ("temporal_pool", 3, "temporal_pool 3 must be 1 or 2"),
        ("temporal", 7, r"level 1\.temporal must be an object"),
    ],
)
def test_numbers_out_of_range_are_named(field: str, value: Any, message: str) -> None:
    data = good()
    data["levels"][0][field] = value
    refused(data, message)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("stride", 3, "level 2: stride 3 does not divide 8"),
        ("resolution", 16, "level 2: resolution 16 is below 32"),
        ("frames", 7, "level 2: a window of 7 frames is not a multiple of 2"),
        ("unit", "gated", "unit 'gated' must be separable or recurrent"),
    ],
)
def test_levels_that_do_not_fit_together_are_named(field: str, value: Any, message: str) -> None:
    data = good()
    data["levels"][1][field] = value
    refused(data, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["cat", "dog"]}, "2 class names for 600 classes"),
        ({"num_classes": -1}, "num_classes -1"),
        ({"num_classes": 10**7}, "num_classes 10000000"),
        ({"source_rate": "0"}, "source_rate 0"),
        ({"source_rate": "x"}, "wrong type"),
        ({"source_rate": "1/0"}, "wrong type"),
        ({"levels": [good()["levels"][0]] * 9}, "1..8 levels"),
        ({"levels": []}, "1..8 levels"),
    ],
)
def test_a_model_that_does_not_fit_is_named(changes: dict[str, Any], message: str) -> None:
    refused(good() | changes, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "--steps"),
        ({"batch_size": 1}, "--batch-size"),
        ({"precision": "fp8"}, "precision 'fp8'"),
        ({"ema": 1.0}, "ema 1.0"),
        ({"ema": -0.1}, "ema -0.1"),
        ({"random_scale": (0.0, 1.0)}, "random_scale"),
        ({"random_scale": (0.9, 0.5)}, "random_scale"),
        ({"random_scale": (0.5, 1.5)}, "random_scale"),
        ({"discriminator_updates": 0}, "discriminator_updates"),
        ({"spatial_frames": 0}, "spatial_frames"),
        ({"condition_reuse": 0}, "condition_reuse"),
        ({"condition_noise": -1.0}, "condition_noise"),
        ({"lr_generator": 0.0}, "lr_generator"),
        ({"lr_discriminator": -1e-4}, "lr_discriminator"),
    ],
)
def test_training_that_cannot_work_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingConfig(**changes)


def test_training_with_unknown_fields_is_refused() -> None:
    with pytest.raises(ConfigError, match="training has unknown field colour"):
        training_from_dict(through_json(TrainingConfig()) | {"colour": "red"})
    aid = through_json(TrainingConfig(reconstruction=ReconstructionConfig(3, 1.0)))
    aid["reconstruction"]["colour"] = "red"
    with pytest.raises(ConfigError, match="reconstruction has unknown field colour"):
        training_from_dict(aid)


def test_configs_cannot_be_changed() -> None:
    level = PRESETS["hvg-mini"].model.levels[0]
    with pytest.raises(AttributeError):
        level.frames = 3  # type: ignore[misc]


# ---- the published numbers (HVG section 5, appendices A and B) -----------------------------------


def test_presets_are_named_after_themselves_and_train_every_level() -> None:
    for name, preset in PRESETS.items():
        assert preset.model.name == name
        assert len(preset.training) == len(preset.model.levels)
        assert preset.source


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("hvg-") and "mini" not in name])
def test_published_training(name: str) -> None:
    for training in PRESETS[name].training:
        assert training.batch_size == 512
        assert training.lr_generator == 1e-4
        assert training.lr_discriminator == 5e-4
        assert (training.beta1, training.beta2) == (0.0, 0.999)
        assert training.discriminator_updates == 2
        assert training.spatial_frames == 8
        assert training.ema == 0.0
        assert training.condition_reuse == 1
        assert training.condition_noise == 0.0
        assert training.reconstruction is None
        assert training.adversarial_weight == 1.0
        assert training.random_scale == (1.0, 1.0)
        assert training.precision == "fp32"
        assert training.steps == (300_000 if "kinetics" in name else 100_000)


@pytest.mark.parametrize(("name", "window"), [("hvg-kinetics600-48x128", 12), ("hvg-kinetics600-48x128-w3", 6)])
def test_kinetics(name: str, window: int) -> None:
    model = PRESETS[name].model
    first, second = model.levels
    assert model.num_classes == 600
    assert (model.frames, model.resolution) == (48, 128)
    assert (first.frames, first.resolution, first.stride) == (24, 32, 8)
    assert (first.channels, first.multipliers) == (128, (8, 8, 4, 2))
    assert first.spatial == first.temporal == DiscriminatorConfig(128, (2, 4, 8, 16, 16))
    assert first.matching is None
    assert (second.frames, second.resolution, second.stride) == (window, 128, 4)
    assert (second.channels, second.multipliers) == (128, (8, 8, 4, 2, 1))
    assert second.spatial == second.temporal == second.matching == DiscriminatorConfig(96, (1, 2, 4, 8, 16, 16))
    assert all((level.z_dim, level.embed_dim, level.spectral_norm) == (128, 128, True) for level in model.levels)
    assert (model.times_time(2), model.times_space(2)) == (2, 4)
    assert [level.doublings for level in model.levels] == [3, 5]


def test_bdd100k() -> None:
    model = PRESETS["hvg-bdd100k-48x256"].model
    first, second, third = model.levels
    assert not model.conditional
    assert (model.frames, model.resolution) == (48, 256)
    assert [(level.frames, level.resolution, level.stride) for level in model.levels] == [
        (12, 64, 8),
        (12, 128, 4),
        (12, 256, 2),
    ]
    assert (first.channels, first.multipliers) == (128, (8, 8, 4, 2))
    assert (second.channels, second.multipliers) == (96, (8, 8, 4, 2, 1))
    assert (third.channels, third.multipliers) == (96, (8, 4, 4, 4, 2, 1))
    assert first.spatial == first.temporal == DiscriminatorConfig(128, (2, 4, 8, 16, 16))
    assert second.spatial == second.temporal == second.matching == DiscriminatorConfig(96, (1, 2, 4, 8, 16, 16))
    assert third.spatial == third.temporal == third.matching == DiscriminatorConfig(96, (1, 2, 4, 8, 8, 16, 16))
    assert all((level.z_dim, level.spectral_norm) == (128, True) for level in model.levels)
    assert [level.doublings for level in model.levels] == [4, 5, 6]


@pytest.mark.parametrize(("name", "times_time"), [("hvg-mini", [2, 1]), ("hvg-mini-two-level", [2])])
def test_small_models_end_at_48_frames_of_128_pixels_and_say_that_they_are_ours(
    name: str, times_time: list[int]
) -> None:
    preset = PRESETS[name]
    assert (preset.model.frames, preset.model.resolution, preset.model.num_classes) == (48, 128, 11)
    assert preset.model.levels[0].frames == 24
    upper = range(2, len(preset.model.levels) + 1)
    assert [preset.model.times_time(level) for level in upper] == times_time
    assert preset.model.times_space(upper[-1]) == 4
    assert preset.model.rate() == Fraction(25, 2)
    assert preset.source.startswith("ours")


def test_a_preset_for_other_classes_has_the_same_networks() -> None:
    model = PRESETS["hvg-mini"].model
    other = model.with_classes(("cat", "dog"))
    assert other.levels == model.levels
    assert other.class_names() == ("cat", "dog")
    assert model.class_names() == tuple(str(index) for index in range(11))
    assert replace(other, name=model.name) == other
