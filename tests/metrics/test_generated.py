"""Sets of generated videos: a seed is one video, and windows are cut from full outlines."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from real_models import make_working_model
from tiny_models import tiny_config

from hvgcli.config import DiscriminatorConfig, ModelConfig, OneStageConfig
from hvgcli.errors import UsageError
from hvgcli.metrics import generated
from hvgcli.metrics.generated import GeneratedVideos, labels_like
from hvgcli.models.dvd_gan import DvdGan
from hvgcli.sampling.hierarchy import Hierarchy, Sample, generate, level_latents, load, prepare
from hvgcli.sampling.render import to_pixels
from hvgcli.sampling.unroll import join

SIGMA = 0.5  # what the small model has statistics for


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_working_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def hierarchy(folder: Path) -> Hierarchy:
    return load(folder)


def frames_of(made: GeneratedVideos, size: int) -> torch.Tensor:
    return torch.cat([batch.frames for batch in made.batches(size)])


def at_most_one_step_apart(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Equal but for rounding to whole steps of 255."""
    away = (first.int() - second.int()).abs()
    return first.shape == second.shape and away.max().item() <= 1 and away.float().mean().item() < 0.01


@pytest.mark.parametrize("frames", [4, 8, 11])
def test_the_batch_size_changes_no_video(hierarchy: Hierarchy, frames: int) -> None:
    made = GeneratedVideos(hierarchy, [0, 1, 1, 0, 1, 0], frames=frames, sigma=SIGMA, seed=7)
    whole = frames_of(made, 6)
    assert whole.shape == (6, frames, 16, 16, 3)
    assert whole.float().std() > 5
    for size in (1, 4):
        assert at_most_one_step_apart(frames_of(made, size), whole)
    later = GeneratedVideos(hierarchy, [1, 0], frames=frames, sigma=SIGMA, seed=9)
    assert at_most_one_step_apart(frames_of(later, 2), whole[2:4])


def test_batches_say_what_they_hold(hierarchy: Hierarchy) -> None:
    made = GeneratedVideos(hierarchy, [0, 1, 1], frames=8, sigma=SIGMA, seed=7)
    first, second = made.batches(2)
    assert first.labels is not None
    assert (first.labels.tolist(), first.takes.tolist(), second.takes.tolist()) == ([0, 1], [0, 1], [2])
    assert (made.count, made.classes, made.class_counts) == (3, ("cat", "dog"), {"cat": 1, "dog": 2})
    assert (made.windowed, made.lengths, made.described["sampler"]) == (False, (8,), "whole")


@pytest.mark.parametrize("frames", [8, 11])
def test_whole_videos_are_those_of_generate(hierarchy: Hierarchy, frames: int) -> None:
    made = GeneratedVideos(hierarchy, [0, 1], frames=frames, sigma=SIGMA, seed=3)
    expected = join(generate(hierarchy, [Sample(3, 0), Sample(4, 1)], frames, sigma=SIGMA))
    assert torch.equal(frames_of(made, 2), torch.from_numpy(to_pixels(expected)))


@pytest.mark.parametrize("frames", [2, 3, 6])
def test_windows_are_cut_from_the_full_outline(hierarchy: Hierarchy, frames: int) -> None:
    """One video at a time: the outline of 4 frames, a window of it, and the level above applied once to that."""
    made = GeneratedVideos(hierarchy, [0, 1] * 6, frames=frames, sigma=SIGMA, seed=3)
    assert made.windowed
    assert made.lengths == (8, frames)
    window = -(-frames // 2)
    expected, starts = [], []
    for sample in made.samples:
        outline = join(generate(hierarchy, [sample], 4, sigma=SIGMA, levels=1))
        starts.append(made.window_start(sample, 4, window))
        prepare(hierarchy, frames, SIGMA, 2)
        cut = outline[:, starts[-1] : starts[-1] + window]
        with torch.inference_mode():
            z = level_latents(hierarchy, [sample], 2, SIGMA)
            expected.append(hierarchy.generators[1](cut, z, torch.tensor([sample.label]))[:, :frames])
    assert set(starts) == set(range(4 - window + 1))
    found = frames_of(made, 5)
    assert at_most_one_step_apart(found, torch.from_numpy(to_pixels(torch.cat(expected))))


def test_windows_of_an_outline_alone(hierarchy: Hierarchy) -> None:
    made = GeneratedVideos(hierarchy, [0, 1, 0], frames=3, sigma=SIGMA, levels=1)
    assert made.full == 4
    outlines = to_pixels(join(generate(hierarchy, made.samples, 4, sigma=SIGMA, levels=1)))
    for sample, outline, window in zip(made.samples, torch.from_numpy(outlines), frames_of(made, 3), strict=True):
        start = made.window_start(sample, 4, 3)
        assert at_most_one_step_apart(window, outline[start : start + 3])


@pytest.mark.parametrize("attention", [0, 8])
def test_a_one_stage_model(tmp_path: Path, attention: int, monkeypatch: pytest.MonkeyPatch) -> None:
    level = OneStageConfig(
        frames=6, resolution=16, stride=2, channels=4, multipliers=(2, 2, 1), attention=attention,
        discriminator=DiscriminatorConfig(4, (1, 2)), z_dim=4, embed_dim=4,
    )  # fmt: skip
    config = ModelConfig("tiny-dvd-gan", (level,), 2, ("cat", "dog"))
    hierarchy = load(make_working_model(tmp_path / "dvd", config=config))
    made = GeneratedVideos(hierarchy, [0, 1, 0], frames=4, sigma=SIGMA)
    prepare(hierarchy, 6, SIGMA, 1)
    network = hierarchy.generators[0]
    assert isinstance(network, DvdGan)
    for name, parameter in network.named_parameters():
        if name.endswith("gate"):
            parameter.fill_(1)  # attention begins with no effect
    full = network(level_latents(hierarchy, made.samples, 1, SIGMA), torch.tensor([0, 1, 0]))
    whole = torch.from_numpy(to_pixels(full))
    monkeypatch.setattr(generated, "PIECE", 2)  # attention must see all frames all the same
    assert (made.full, made.windowed, made.size) == (6, True, (16, 16))
    for sample, video, window in zip(made.samples, whole, frames_of(made, 3), strict=True):
        start = made.window_start(sample, 6, 4)
        assert at_most_one_step_apart(window, video[start : start + 4])
    entire = GeneratedVideos(hierarchy, [0, 1, 0], frames=6, sigma=SIGMA)
    assert at_most_one_step_apart(frames_of(entire, 3), whole)
    pieces = join(generate(hierarchy, made.samples, 6, sigma=SIGMA, piece=2))
    assert at_most_one_step_apart(torch.from_numpy(to_pixels(pieces)), whole)


def test_the_key_follows_all_that_the_videos_depend_on(hierarchy: Hierarchy) -> None:
    labels = [0, 1]
    base = {"frames": 4, "sigma": SIGMA, "seed": 0}
    key = GeneratedVideos(hierarchy, labels, **base).key  # type: ignore[arg-type]
    assert GeneratedVideos(hierarchy, labels, **base).key == key  # type: ignore[arg-type]
    others = [{"frames": 6}, {"sigma": 1.0}, {"seed": 1}, {"levels": 1}, {"full": 10}]
    keys = {GeneratedVideos(hierarchy, labels, **{**base, **other}).key for other in others}  # type: ignore[arg-type]
    keys.add(GeneratedVideos(hierarchy, [1, 0], **base).key)  # type: ignore[arg-type]
    name, (mean, var) = next(iter(hierarchy.tables[1][0].moments.items()))
    hierarchy.tables[1][0].moments[name] = (mean + 1, var)
    keys.add(GeneratedVideos(hierarchy, labels, **base).key)  # type: ignore[arg-type]
    assert len(keys - {key}) == 7
    hierarchy.sha = ""
    assert GeneratedVideos(hierarchy, labels, **base).key == ""  # type: ignore[arg-type]


# ---- classes -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 30), min_size=3, max_size=3).filter(any), st.integers(1, 80))
def test_every_first_part_has_the_proportions_of_the_real_set(counts: list[int], num: int) -> None:
    config = tiny_config(num_classes=4, classes=("a", "b", "c", "d"))
    labels = labels_like(config, dict(zip("bda", counts, strict=True)), num)
    assert len(labels) == num
    for name, count in zip("bda", counts, strict=True):
        share = num * count / sum(counts)
        assert abs(labels.count("abcd".index(name)) - share) < 2
    if num == sum(counts):
        assert [labels.count("abcd".index(name)) for name in "bda"] == counts


def test_sets_and_models_without_classes() -> None:
    config = tiny_config()
    assert labels_like(config, {}, 5) == [0, 1, 0, 1, 0]
    assert labels_like(config.with_classes(()), {"sea": 3}, 2) == [None, None]
    with pytest.raises(UsageError, match="does not know the class 'sea' of the real videos: it has cat, dog"):
        labels_like(config, {"cat": 1, "sea": 3}, 2)
    assert labels_like(config, {"cat": 1, "sea": 0}, 2) == [0, 0]


def test_a_model_without_classes(tmp_path: Path) -> None:
    folder = make_working_model(tmp_path / "plain", num_classes=0, classes=())
    made = GeneratedVideos(load(folder), [None, None], frames=4, sigma=SIGMA)
    (batch,) = made.batches(2)
    assert batch.labels is None
    assert made.classes == ()


@pytest.mark.parametrize(("labels", "frames"), [([], 4), ([0], 0), ([None], 4)])
def test_wrong_requests(hierarchy: Hierarchy, labels: list[int | None], frames: int) -> None:
    with pytest.raises(UsageError) as error:
        GeneratedVideos(hierarchy, labels, frames=frames, sigma=SIGMA)
    assert "\n" not in str(error.value)
