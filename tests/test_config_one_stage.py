"""Configs of DVD-GAN and the predictors: round trips, what is refused, published numbers, tampered files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import small_one_stage, small_predictor

from hvgcli.checkpoints import check_model_types, level_hash, read_model_config, write_model_config
from hvgcli.config import (
    DiscriminatorConfig,
    LevelConfig,
    ModelConfig,
    OneStageConfig,
    TrainingConfig,
    model_from_dict,
    to_dict,
    training_from_dict,
)
from hvgcli.config.one_stage import DECOMPOSITIONS, PROJECTIONS, RECURRENT_UNITS
from hvgcli.errors import ConfigError, WeightsError
from hvgcli.presets import PRESETS

ONE_STAGE = [name for name, preset in PRESETS.items() if preset.model.one_stage]


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(to_dict(value)))


@st.composite
def levels(draw: st.DrawFn) -> OneStageConfig:
    base, doublings = draw(st.sampled_from([2, 4, 8])), draw(st.integers(1, 4))
    context = draw(st.sampled_from([0, 1, 5]))
    widths = draw(st.lists(st.integers(1, 16), min_size=doublings + 1, max_size=doublings + 1))
    blocks = draw(st.lists(st.integers(1, 64), min_size=max(2, doublings), max_size=6))
    return OneStageConfig(
        draw(st.integers(1, 64)),
        base << doublings,
        draw(st.integers(1, 8)),
        2 * draw(st.integers(1, 32)),
        tuple(widths),
        DiscriminatorConfig(draw(st.integers(1, 64)), tuple(blocks)),
        draw(st.sampled_from(DECOMPOSITIONS)),
        draw(st.sampled_from(PROJECTIONS)),
        draw(st.sampled_from(RECURRENT_UNITS)),
        context=context,
        base=base,
        attention=0 if context else draw(st.sampled_from([0, base << doublings])),
        z_dim=draw(st.integers(1, 256)),
        embed_dim=draw(st.integers(1, 256)),
        spectral_norm=draw(st.booleans()),
        frame_kernel=draw(st.sampled_from([0, 3, 15])) if context else 0,
    )


@settings(deadline=None, max_examples=40)
@given(levels(), st.integers(0, 3))
def test_any_one_stage_model_goes_through_json_and_back(level: OneStageConfig, num_classes: int) -> None:
    model = ModelConfig("made-up", (level,), 0 if level.predictor else num_classes)
    again = model_from_dict(through_json(model))
    assert again == model
    assert hash(again) == hash(model)
    assert (again.one_stage, again.predictor, again.context) == (True, level.context > 0, level.context)
    assert again.frames == level.frames
    assert level.base << level.doublings == level.resolution == again.resolution
    assert (level.first_width, *level.widths) == tuple(level.channels * m for m in level.multipliers)


def test_families_are_told_apart() -> None:
    assert through_json(small_one_stage())["levels"][0]["family"] == "one-stage"
    hierarchy = PRESETS["hvg-mini"].model
    assert "family" not in through_json(hierarchy)["levels"][0]
    assert all(isinstance(level, LevelConfig) for level in model_from_dict(through_json(hierarchy)).levels)
    assert not hierarchy.one_stage
    assert hierarchy.context == 0
    with pytest.raises(ConfigError, match="stands alone"):
        _ = small_one_stage().hierarchy


# ---- what is refused -----------------------------------------------------------------------------


def refused(model: ModelConfig, field: str, value: Any, message: str) -> None:
    data = through_json(model)
    data["levels"][0][field] = value
    with pytest.raises(ConfigError, match=message) as caught:
        model_from_dict(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("family", "two-stage", "family 'two-stage' must be one-stage.*newer"),
        ("family", 3, "family is 3, of the wrong type"),
        ("frames", 0, "frames 0"),
        ("frames", 10**9, "frames 1000000000"),
        ("frames", 4.0, "frames is 4.0, of the wrong type"),
        ("frames", True, "frames is True, of the wrong type"),
        ("context", -1, "context -1"),
        ("context", 10**4, "context 10000"),
        ("base", 3, "base 3 and resolution 16 must be powers of two"),
        ("base", 1, "base 1"),
        ("base", 16, "resolution 16 must be in 32"),
        ("base", -4, "base -4"),
        ("resolution", 48, "resolution 48"),
        ("resolution", 4, "resolution 4 must be in 8"),
        ("resolution", 8192, "resolution 8192"),
        ("stride", 0, "stride 0"),
        ("stride", 2000, "stride 2000"),
        ("channels", 0, "channels 0"),
        ("channels", 10**6, "channels 1000000"),
        ("multipliers", [2, 2], "2 multipliers for 16 pixels from 4: give 3"),
        ("multipliers", [2, 2, 1, 1], "4 multipliers for 16 pixels from 4: give 3"),
        ("multipliers", [], "multipliers"),
        ("multipliers", [2, 0, 1], "multipliers"),
        ("multipliers", [2, 2, 1.5], "multipliers is .* of the wrong type"),
        ("z_dim", 0, "z_dim"),
        ("embed_dim", 10**6, "embed_dim"),
        ("unit", "GRU", "unit 'GRU' must be one of ConvGRU, ConvLSTM"),
        ("unit", ["ConvGRU"], "unit is .*, of the wrong type"),
        ("decomposition", "weaker", "decomposition 'weaker' must be one of clip, .* stronger"),
        ("projection", "both", "projection 'both' must be one of sum, mixed"),
        ("attention", 4, r"attention at 4 must be 0 or one of \[8, 16\]"),
        ("attention", 32, "attention at 32"),
        ("frame_kernel", 3, "frame_kernel 3 must be 0, .* in a predictor"),
        ("spectral_norm", 1, "spectral_norm is 1, of the wrong type"),
        ("discriminator", {"channels": 0, "multipliers": [1, 2]}, "discriminator channels 0"),
        ("discriminator", {"channels": 4, "multipliers": [1]}, "discriminator multipliers"),
        ("discriminator", 7, r"level 1\.discriminator must be an object"),
        ("spatial", {"channels": 4, "multipliers": [1, 2]}, "level 1 has unknown field spatial"),
        ("colour", "red", "level 1 has unknown field colour: it may be of a newer version"),
    ],
)
def test_numbers_that_cannot_be_are_named(field: str, value: Any, message: str) -> None:
    refused(small_one_stage(), field, value, message)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("attention", 8, "a predictor has no attention"),
        ("frame_kernel", 4, "frame_kernel 4 must be 0, or an odd number up to 15"),
        ("frame_kernel", 17, "frame_kernel 17"),
        ("frame_kernel", -1, "frame_kernel -1"),
        ("base", 2, "3 multipliers for 16 pixels from 2: give 4"),
    ],
)
def test_numbers_that_a_predictor_cannot_have_are_named(field: str, value: Any, message: str) -> None:
    refused(small_predictor(), field, value, message)


def test_an_encoder_needs_a_block_for_each_stage() -> None:
    with pytest.raises(ConfigError, match="an encoder down to 4 pixels needs 3 blocks: give as many multipliers"):
        small_predictor(resolution=32, multipliers=(2, 2, 1, 1))


def test_an_odd_width_cannot_be_split_into_two_halves() -> None:
    with pytest.raises(ConfigError, match="ConvLSTM splits its channels into two halves"):
        small_one_stage(unit="ConvLSTM", channels=3, multipliers=(2, 1, 1))
    small_one_stage(unit="ConvLSTM", channels=3, multipliers=(2, 2, 1))  # that of the last stage meets no unit


def test_a_one_stage_level_stands_alone() -> None:
    level = small_one_stage().levels[0]
    for levels_ in ((level, level), (PRESETS["hvg-mini"].model.levels[0], level)):
        with pytest.raises(ConfigError, match="stands alone") as caught:
            ModelConfig("x", levels_)
        assert "\n" not in str(caught.value)


def test_a_predictor_has_no_classes() -> None:
    with pytest.raises(ConfigError, match="a predictor has no classes: num_classes must be 0"):
        replace(small_predictor(), num_classes=3)


def test_an_incomplete_level_says_what_is_missing() -> None:
    for field in ("frames", "multipliers", "discriminator"):
        data = through_json(small_one_stage())
        del data["levels"][0][field]
        with pytest.raises(ConfigError, match=f"level 1 is incomplete.*{field}"):
            model_from_dict(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"ema_start": -1}, "ema_start -1"), ({"orthogonal_penalty": -0.1}, "orthogonal_penalty -0.1")],
)
def test_training_that_cannot_work_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        training_from_dict(through_json(TrainingConfig()) | changes)


def test_a_model_with_attention_has_one_length() -> None:
    config = small_one_stage(attention=8)
    assert config.one_length
    config.require_length(4)
    with pytest.raises(ConfigError, match="makes 4 of them, not 5: give --frames 4") as caught:
        config.require_length(5)
    assert "\n" not in str(caught.value)
    for other in (small_one_stage(), small_predictor(), PRESETS["hvg-mini"].model):
        assert not other.one_length
        other.require_length(1000)


# ---- config.json from anybody --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("frames", 1e300),
        ("frames", "4"),
        ("frames", None),
        ("resolution", 2**200),
        ("base", 2**200),
        ("channels", 16.5),
        ("channels", 10**30),
        ("context", True),
        ("context", 2.0),
        ("attention", False),
        ("multipliers", {"a": 1}),
        ("multipliers", "221"),
        ("multipliers", [[2], 2, 1]),
        ("unit", {"of": "ConvGRU"}),
        ("unit", "x" * 100),
        ("family", None),
        ("discriminator", None),
        ("discriminator", []),
        ("discriminator", {"channels": 4.5, "multipliers": [1, 2]}),
    ],
)
def test_a_tampered_file_is_refused_in_one_line(tmp_path: Path, field: str, value: Any) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    write_model_config(folder, small_one_stage())
    data = json.loads((folder / "config.json").read_text())
    check_model_types(data)
    data["levels"][0][field] = value
    (folder / "config.json").write_text(json.dumps(data))
    with pytest.raises(WeightsError) as caught:
        read_model_config(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_config_file_comes_back(tmp_path: Path) -> None:
    for config in (small_one_stage(), small_predictor(), PRESETS["trivd-gan-fp"].model):
        write_model_config(tmp_path, config)
        assert read_model_config(tmp_path) == config


def test_weights_are_of_their_own_numbers_only() -> None:
    changes: list[dict[str, Any]] = [{}, {"unit": "ConvGRU"}, {"decomposition": "faster"}, {"frame_kernel": 3}]
    assert len({level_hash(small_predictor(**change), 1) for change in changes}) == 4


def test_weights_from_before_later_fields_are_still_known() -> None:
    """Their hash knew no such fields; without them it is the same."""
    numbers = to_dict(small_predictor().levels[0])
    del numbers["frame_kernel"], numbers["code_components"]
    del numbers["discriminator"]["patches"], numbers["discriminator"]["detail"]
    old = hashlib.sha256(json.dumps([numbers, None, 0], sort_keys=True).encode()).hexdigest()[:16]
    assert level_hash(small_predictor(), 1) == old


# ---- the published numbers -----------------------------------------------------------------------


@pytest.mark.parametrize("frames", [12, 48])
@pytest.mark.parametrize(
    ("resolution", "ch", "multipliers", "discriminator"),
    [
        (64, 128, (8, 8, 8, 4, 2), DiscriminatorConfig(128, (2, 4, 8, 16, 16))),
        (128, 96, (8, 8, 8, 4, 2, 1), DiscriminatorConfig(96, (1, 2, 4, 8, 16, 16))),
    ],
)
def test_dvd_gan(
    frames: int, resolution: int, ch: int, multipliers: tuple[int, ...], discriminator: DiscriminatorConfig
) -> None:
    """Sections 2.3, 3.1, appendices B.2 and B.3."""
    preset = PRESETS[f"dvd-gan-{frames}x{resolution}"]
    level, training = preset.model.levels[0], preset.training[0]
    assert (level.frames, level.resolution, level.stride, level.base) == (frames, resolution, 2, 4)
    assert (level.channels, level.multipliers, level.discriminator) == (ch, multipliers, discriminator)
    assert (level.z_dim, level.embed_dim, level.unit, level.spectral_norm) == (120, 120, "ConvGRU", True)
    assert (level.decomposition, level.projection, level.attention) == ("dvd-gan", "sum", 0)
    assert preset.model.num_classes == 600
    assert (training.ema, training.ema_start, training.spatial_frames) == (0.9999, 20_000, 8)
    assert (training.steps, training.orthogonal_penalty) == (300_000, 0.0)
    assert "ours" not in preset.source


@pytest.mark.parametrize(("name", "ch"), [("dvd-gan-fp", 48), ("trivd-gan-fp", 120), ("trivd-gan-fp-bair", 48)])
def test_predictors(name: str, ch: int) -> None:
    """TrIVD-GAN sections 4.1 and 4.4, appendices A, C.1 and E."""
    preset = PRESETS[name]
    level, training = preset.model.levels[0], preset.training[0]
    ours, bair = name.startswith("trivd"), name.endswith("bair")
    assert (level.context, level.frames, level.resolution) == ((1, 15, 64) if bair else (5, 11, 64))
    assert (level.channels, level.multipliers, level.base, level.stride) == (ch, (8, 8, 4, 2), 8, 1)
    assert level.discriminator == DiscriminatorConfig(92 if bair else 128, (2, 4, 8, 16, 16))
    assert (level.z_dim, level.embed_dim, level.frame_kernel) == (128, 128, 0)
    assert level.unit == ("TSRU_p" if ours else "ConvGRU")
    assert level.decomposition == ("stronger" if ours else "dvd-gan")
    assert level.projection == ("mixed" if ours else "sum")
    assert training.orthogonal_penalty == (1e-4 if ours else 0.0)
    rates = (training.lr_generator, training.lr_discriminator)
    assert rates == ((2e-5, 3e-5) if bair else (1e-4, 5e-4))
    assert training.steps == (700_000 if ours else 1_000_000)
    assert not preset.model.conditional


@pytest.mark.parametrize("name", [name for name in ONE_STAGE if "mini" not in name])
def test_published_training(name: str) -> None:
    (training,) = PRESETS[name].training
    assert training.batch_size == 512
    assert (training.beta1, training.beta2, training.discriminator_updates) == (0.0, 0.999, 2)
    assert (training.ema, training.ema_start) == (0.9999, 20_000)
    assert training.reconstruction is None
    assert (training.random_scale, training.precision, training.augment) == ((1.0, 1.0), "fp32", ())


def test_what_is_ours_says_so() -> None:
    for name in ONE_STAGE:
        if "mini" in name:
            assert PRESETS[name].source.startswith("ours")
        elif "256" in name:
            assert "widths at 256 pixels are ours" in PRESETS[name].source
