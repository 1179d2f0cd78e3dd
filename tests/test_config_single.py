"""The numbers of hp-VAE-GAN: its pyramid, JSON, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.config import (
    ModelConfig,
    SingleConfig,
    SingleTrainingConfig,
    model_from_dict,
    single_training_from_dict,
    to_dict,
)
from hvgcli.errors import ConfigError
from hvgcli.presets import PRESETS, SINGLE_PRESETS


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(to_dict(value)))


def model(**changes: Any) -> ModelConfig:
    return ModelConfig("single", (SingleConfig(**changes),), source_rate="24")


# ---- the pyramid (section 3.2, appendix A.1) -----------------------------------------------------------


def test_the_papers_pyramid() -> None:
    config = SingleConfig(width=456)
    assert (config.scales, config.vae_scales, config.channels, config.latent) == (10, 3, 64, 128)
    assert 1 + config.blocks * (config.kernel - 1) == 11  # r
    assert config.heights == (32, 43, 57, 75, 100, 133, 177, 236, 256, 256)
    assert config.steps == (4, 4, 4, 3, 3, 3, 2, 2, 2, 1)
    assert config.lengths == (4, 4, 4, 5, 5, 5, 7, 7, 7, 13)
    assert config.sizes[0] == (4, 32, 56)
    assert config.sizes[-1] == (13, 256, 456)


def test_fewer_scales_reach_the_height_with_a_larger_factor() -> None:
    assert SingleConfig(scales=5, height=96, width=96).heights == (32, 43, 57, 75, 96)
    assert SingleConfig(scales=3, vae_scales=1, height=128, width=128).heights == (32, 64, 128)
    assert SingleConfig(scales=1, vae_scales=0).sizes == ((13, 256, 256),)


@st.composite
def configs(draw: st.DrawFn) -> SingleConfig:
    scales = draw(st.integers(1, 10))
    image = draw(st.booleans())
    rates = (1,) if image else draw(st.sampled_from([(1, 2, 3, 4), (1, 2, 4), (2, 3), (1,)]))
    window = 1 if image else 1 + 12 * draw(st.integers(1, 4))
    return SingleConfig(
        scales,
        draw(st.integers(0, scales)),
        rates=rates,
        window=window,
        height=2 * draw(st.integers(4, 200)),
        width=2 * draw(st.integers(4, 200)),
        min_height=draw(st.integers(8, 64)),
        factor=draw(st.sampled_from(["1.33", "4/3", "2"])),
        volumetric=not image,
        finished=draw(st.integers(0, scales)),
    )


@settings(deadline=None, max_examples=40)
@given(configs())
def test_sizes_grow_up_to_the_clips_own_and_keep_its_aspect(config: SingleConfig) -> None:
    assert config.sizes[-1] == (config.lengths[-1], config.height, config.width)
    assert config.heights[0] == (min(config.min_height, config.height) if config.scales > 1 else config.height)
    assert list(config.heights) == sorted(config.heights)
    assert list(config.lengths) == sorted(config.lengths)
    assert all((config.window - 1) % step == 0 for step in config.steps)
    for _, height, width in config.sizes:
        assert width % 2 == 0
        assert abs(width - max(2, height * config.width / config.height)) <= 1


@settings(deadline=None, max_examples=40)
@given(configs())
def test_models_go_through_json_and_back(config: SingleConfig) -> None:
    given_model = ModelConfig("single", (config,), source_rate="30000/1001")
    assert model_from_dict(through_json(given_model)) == given_model
    assert given_model.single == config


def test_training_goes_through_json_and_back() -> None:
    training = SingleTrainingConfig(minutes=30, freeze=False, precision="bf16")
    assert single_training_from_dict(through_json(training)) == training
    with pytest.raises(ConfigError, match="unknown field colour"):
        single_training_from_dict({"colour": "red"})


def test_a_model_that_was_stopped_makes_the_videos_of_its_last_scale() -> None:
    stopped = model(finished=4)
    assert stopped.frames == 5
    assert stopped.resolution == 75
    assert stopped.rate() == Fraction(24, 3)
    assert stopped.single is not None
    assert stopped.single.usual_size == (74, 76)  # of 75x76: H.264 has even sides
    assert model().frames == 13
    assert model().rate() == 24


def test_other_sizes_keep_the_proportions_of_the_scales() -> None:
    config = SingleConfig(width=256)
    assert config.sizes_of(13, 256, 256) == config.sizes
    wide = config.sizes_of(25, 512, 1024)
    assert wide[0] == (7, 64, 128)
    assert wide[-1] == (25, 512, 1024)


def test_presets() -> None:
    for name, preset in SINGLE_PRESETS.items():
        assert preset.model.name == name
        assert name not in PRESETS
        assert model_from_dict(through_json(preset.model)) == preset.model
    paper = SINGLE_PRESETS["hp-vae-gan"]
    assert paper.model.single == SingleConfig()
    assert paper.model.rate() == 24
    training = paper.training
    assert (training.iterations, training.lr, training.lr_decay) == (20_000, 5e-4, 0.2)
    assert (training.kl_weight / training.reconstruction_weight, training.gradient_penalty) == (0.1, 0.1)
    assert (training.adversarial_weight / training.reconstruction_weight, training.beta1) == (0.1, 0.5)
    assert SINGLE_PRESETS["hp-vae-gan-mini"].source.startswith("ours")


# ---- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scales": 0}, "--scales"),
        ({"vae_scales": 11}, "--vae-scales"),
        ({"window": 12}, "one more than a multiple"),
        ({"window": 1, "rates": (1,)}, "an image has a window of 1"),
        ({"volumetric": False}, "an image has a window of 1"),
        ({"height": 255}, "must be even"),
        ({"height": 1 << 20}, "8..4096"),
        ({"channels": 1 << 20}, "channels"),
        ({"kernel": 2}, "kernel"),
        ({"rates": (2, 1)}, "must rise"),
        ({"rates": ()}, "rates"),
        ({"rates": (0, 1)}, "rates"),
        ({"factor": "1"}, "factor"),
        ({"factor": "1/0"}, "factor"),
        ({"factor": "nan"}, "factor"),
        ({"finished": 11}, "finished"),
        ({"family": "other"}, "family"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SingleConfig(**changes)


@pytest.mark.parametrize(
    ("field", "value"), [("height", "256"), ("rates", [1.5]), ("volumetric", 1), ("factor", 1.33), ("colour", 1)]
)
def test_json_of_the_wrong_type_is_refused(field: str, value: Any) -> None:
    data = through_json(model())
    data["levels"][0][field] = value
    with pytest.raises(ConfigError):
        model_from_dict(data)


@pytest.mark.parametrize(
    "changes",
    [{"iterations": 0}, {"minutes": -1}, {"minutes": float("nan")}, {"lr": 0}, {"beta1": 1}, {"noise": -1},
     {"precision": "fp8"}],
)  # fmt: skip
def test_training_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SingleTrainingConfig(**changes)


def test_it_stands_alone_and_has_no_classes() -> None:
    with pytest.raises(ConfigError, match="stands alone"):
        ModelConfig("two", (SingleConfig(), SingleConfig()))
    with pytest.raises(ConfigError, match="no classes"):
        replace(model(), num_classes=2)
    with pytest.raises(ConfigError, match="own window"):
        model().with_window(1, 5)
