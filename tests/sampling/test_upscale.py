"""Enlarging with one level: any size and length, part by part or at once, grounded in the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from real_models import make_working_model
from small_networks import small_config, small_hierarchy

from hvgcli import hub
from hvgcli.data.pyramid import downsample_space
from hvgcli.errors import UsageError, WeightsError
from hvgcli.models.upsampler import Upsampler
from hvgcli.sampling.applications import Application, plan_applications
from hvgcli.sampling.grounding import GroundingError
from hvgcli.sampling.hierarchy import Level, load, load_level
from hvgcli.sampling.noise import latents
from hvgcli.sampling.upscale import DETAIL, Enlarger, Images, class_weights, enlarge_alpha, from_pixels, to_pixels

SMALL_TIMES = [(1,), (2,), (3,)]


@cache
def level(times: tuple[int, ...] = (2,), num_classes: int = 3, unit: str = "separable", adds: bool = False) -> Level:
    """8 -> 16 pixels, with random weights and made-up statistics for any length, at sigma 1.

    adds: whether it adds to the plain enlargement.
    """
    config = small_config(times, num_classes=num_classes, frames=6, unit=unit)
    if adds:
        upper = replace(config.levels[1], multipliers=(2, 1, 1, 1), output_residual=True)
        config = replace(config, levels=(config.levels[0], upper))
    made = small_hierarchy(config)
    generator = made.generators[-1]
    assert isinstance(generator, Upsampler)
    if adds:  # else it begins with nothing to add
        torch.nn.init.normal_(generator.to_rgb.weight, std=0.1, generator=torch.Generator().manual_seed(1))
    return Level(config, made.levels, generator, made.tables[-1])


def clip(frames: int, height: int, width: int, dtype: type = np.uint8, seed: int = 0) -> Images:
    """Noise around grey."""
    most = np.iinfo(dtype).max
    rng = np.random.default_rng(seed)
    return rng.integers(most // 4, 3 * most // 4, (frames, height, width, 3)).astype(dtype)


def enlarged(enlarger: Enlarger, images: Images, keep: range | None = None) -> tuple[Images, GroundingError]:
    """The whole result for `keep` (all frames by default), from the frames it asks for and no others."""
    keep = keep or range(len(images))
    span = enlarger.span(keep, len(images))
    parts, error, at = [], GroundingError(), keep.start * enlarger.times_time
    for part in enlarger.enlarge(iter(images[span.start : span.stop]), keep, len(images)):
        assert part.first == at
        at += len(part.images)
        parts.append(part.images)
        error = error.merge(part.error)
    assert at == keep.stop * enlarger.times_time
    return np.concatenate(parts), error


# ---- one tile: nothing but the network -----------------------------------------------------------


@pytest.mark.parametrize("times", SMALL_TIMES)
@pytest.mark.parametrize("labels", [(), (1,), (0, 2)])
def test_one_tile_is_the_network_itself(times: tuple[int, ...], labels: Sequence[int]) -> None:
    part = level(times)
    images = clip(5, 8, 8)
    made, _ = enlarged(Enlarger(part, labels=labels, seed=3, sigma=1.0, ground=False), images)
    mixture = torch.zeros(1, 3)
    mixture[0, list(labels) or [0, 1, 2]] = 1 / len(labels or range(3))
    low = from_pixels(images, torch.device("cpu"))[None]
    with torch.inference_mode():
        expected = part.generator(low, latents([3], 2, 5), mixture)
    assert made.shape == (5 * times[0], 16, 16, 3)
    assert np.abs(made.astype(int) - to_pixels(expected[0], np.dtype(np.uint8)).astype(int)).max() <= 1


def test_seed_class_and_sigma_matter() -> None:
    part, images = level(), clip(3, 8, 8)
    results = [
        enlarged(Enlarger(part, sigma=1.0, ground=False, **changes), images)[0]  # type: ignore[arg-type]
        for changes in ({}, {"seed": 1}, {"labels": (2,)})
    ]
    for index, result in enumerate(results):
        for other in results[:index]:
            assert np.abs(result.astype(int) - other.astype(int)).mean() > 1


# ---- how much of the detail ----------------------------------------------------------------------


def plain_frames(images: Images) -> Images:
    """Every frame of 8x8 as 16x16, bilinear, with the mean of two neighbours between them; the last one is held."""
    low = from_pixels(images, torch.device("cpu"))
    between = (low + torch.cat((low[1:], low[-1:]))) / 2
    both = torch.stack((low, between), dim=1).flatten(0, 1)
    return to_pixels(F.interpolate(both, size=(16, 16), mode="bilinear", align_corners=False), images.dtype)


@pytest.mark.parametrize("piece", [1, 4])
def test_detail_is_the_share_of_what_the_level_adds(piece: int) -> None:
    images = clip(5, 8, 8, np.uint16)

    def made(**changes: float) -> NDArray[np.float64]:
        enlarger = Enlarger(level(adds=True), sigma=1.0, ground=False, piece=piece, **changes)  # type: ignore[arg-type]
        return enlarged(enlarger, images)[0].astype(float)

    plain, whole = plain_frames(images).astype(float), made(detail=1)
    assert np.abs(made(detail=0) - plain).max() <= 2
    assert np.abs(whole - plain).mean() > 1000
    halfway = np.abs(made() - (plain + DETAIL * (whole - plain)))
    assert np.median(halfway) <= 2  # where the whole is not clamped
    assert np.array_equal(made(), made(detail=DETAIL))


def test_a_level_that_makes_the_whole_picture_has_no_share() -> None:
    assert Enlarger(level()).detail == Enlarger(level(), detail=1).detail == 1
    with pytest.raises(UsageError, match=r"--detail 0\.5 .*level 2 .*whole picture"):
        Enlarger(level(), detail=0.5)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_from_0_to_1(share: float) -> None:
    with pytest.raises(UsageError, match="from 0 to 1"):
        Enlarger(level(adds=True), detail=share)


# ---- parts, pieces, batches ----------------------------------------------------------------------


@cache
def whole(times: tuple[int, ...], asked: tuple[int, int], frames: int, ground: bool) -> Images:
    """Everything in one piece, in one batch."""
    enlarger = Enlarger(
        level(times), times_space=asked[0], times_time=asked[1], sigma=1.0, piece=100, batch=100, ground=ground
    )
    return enlarged(enlarger, clip(frames, 9, 13, np.uint16))[0]


ASKED = [((2,), (2, 2)), ((2,), (1, 1)), ((2,), (3, 2)), ((2,), (4, 2)), ((2,), (2, 4)), ((1,), (2, 1)), ((3,), (2, 3))]


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(ASKED),
    st.sampled_from([1, 2, 5, 14]),
    st.booleans(),
    st.integers(1, 7),
    st.integers(1, 5),
    st.data(),
)
def test_a_part_alone_is_that_part_of_the_whole(
    case: tuple[tuple[int, ...], tuple[int, int]],
    frames: int,
    ground: bool,
    piece: int,
    batch: int,
    data: st.DataObject,
) -> None:
    """For any part, piece and batch, in 16-bit pixels: 1e-4 of [-1, 1] is three steps of 65535."""
    times, asked = case
    start = data.draw(st.integers(0, frames - 1))
    keep = range(start, data.draw(st.integers(start + 1, frames)))
    enlarger = Enlarger(
        level(times), times_space=asked[0], times_time=asked[1], sigma=1.0, piece=piece, batch=batch, ground=ground
    )
    made, _ = enlarged(enlarger, clip(frames, 9, 13, np.uint16), keep)
    expected = whole(times, asked, frames, ground)[keep.start * asked[1] : keep.stop * asked[1]]
    assert made.shape == expected.shape == (len(keep) * asked[1], 9 * asked[0], 13 * asked[0], 3)
    assert np.abs(made.astype(int) - expected.astype(int)).max() <= 4


class Shorter(Enlarger):
    """With one frame less on each side."""

    @property
    def context(self) -> int:
        return super().context - 1


@pytest.mark.parametrize("case", [ASKED[0], *ASKED[4:]])
def test_one_frame_less_of_context_would_show(case: tuple[tuple[int, ...], tuple[int, int]]) -> None:
    times, asked = case
    images, keep = clip(14, 9, 13, np.uint16), range(6, 9)
    part, _ = enlarged(
        Shorter(level(times), times_space=asked[0], times_time=asked[1], sigma=1.0), images, keep
    )  # fmt: skip
    expected = whole(times, asked, 14, True)[6 * asked[1] : 9 * asked[1]]
    assert np.abs(part.astype(int) - expected.astype(int)).max() > 20


def test_recurrent_units_are_fed_from_the_first_frame() -> None:
    enlarger = Enlarger(level((2,), unit="recurrent"), sigma=1.0)
    images = clip(9, 9, 8, np.uint16)
    assert enlarger.span(range(6, 8), 9).start == 0
    part, _ = enlarged(enlarger, images, range(6, 8))
    assert np.abs(part.astype(int) - enlarged(enlarger, images)[0][12:16].astype(int)).max() <= 4


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 3), st.sampled_from([np.uint8, np.uint16]))
def test_any_size_comes_out_grounded(height: int, width: int, frames: int, dtype: type) -> None:
    images = clip(frames, height, width, dtype)
    made, error = enlarged(Enlarger(level(), sigma=1.0), images)
    assert made.shape == (2 * frames, 2 * height, 2 * width, 3)
    assert made.dtype == dtype
    half = np.iinfo(dtype).max / 2
    video = torch.from_numpy(made[::2].astype(np.float64) / half - 1).permute(0, 3, 1, 2)[None]
    low = torch.from_numpy(images.astype(np.float64) / half - 1).permute(0, 3, 1, 2)
    gap = (downsample_space(video, (height, width))[0] - low).abs() / 2
    assert error.values == images.size
    assert error.mean == pytest.approx(float(gap.mean()), abs=1e-6)
    assert error.max == pytest.approx(float(gap.max()), abs=1e-6)
    assert error.mean <= 1 / 255


def test_without_grounding_the_error_is_told_too() -> None:
    images = clip(4, 8, 8)
    _, plain = enlarged(Enlarger(level(), sigma=1.0, ground=False), images)
    _, grounded = enlarged(Enlarger(level(), sigma=1.0), images)
    assert plain.mean > 4 / 255
    assert grounded.mean <= 1 / 255
    assert plain.values == grounded.values


def test_space_alone_and_time_alone_keep_the_input() -> None:
    """Not enlarged in space, every frame with an input is that input."""
    images = clip(5, 9, 11)
    made, error = enlarged(Enlarger(level(), sigma=1.0, times_space=1), images)
    assert made.shape == (10, 9, 11, 3)
    assert error.mean <= 0.5 / 255
    assert np.abs(made[::2].astype(int) - images.astype(int)).mean() <= 0.5
    made, _ = enlarged(Enlarger(level(), sigma=1.0, times_time=1), images)
    assert made.shape == (5, 18, 22, 3)


def test_memory_does_not_grow_with_the_length() -> None:
    """Frames are taken as they are needed, and given as they are done."""
    enlarger = Enlarger(level(), sigma=1.0, piece=2)
    taken, given = 0, 0

    def source() -> object:
        nonlocal taken
        for image in clip(60, 8, 8):
            taken += 1
            yield image

    for part in enlarger.enlarge(source(), range(60), 60):  # type: ignore[arg-type]
        given += len(part.images)
        assert taken - given // 2 <= enlarger.context + 2 * enlarger.piece
    assert (taken, given) == (60, 120)


# ---- the embedded model --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedded() -> Level:
    return load_level(hub.resolve(hub.DEFAULT_MODEL))


def test_one_level_alone_is_that_of_the_whole_model(embedded: Level) -> None:
    folder = hub.resolve(hub.DEFAULT_MODEL)
    full = load(folder)
    assert embedded.number == 3
    assert embedded.sha == full.sha
    for name, value in full.generators[2].state_dict().items():
        assert torch.equal(embedded.generator.state_dict()[name], value)
    assert [load_level(folder, number).generator.times_time for number in (2, 3)] == [2, 1]
    for number in (1, 4):
        with pytest.raises(UsageError, match=r"levels 2\.\.3"):
            load_level(folder, number)


def test_a_plain_clip_comes_back_without_seams(embedded: Level) -> None:
    """Six tiles of one colour, with the seams in a cross: no step anywhere is to be seen."""
    images = np.full((2, 40, 70, 3), (90, 140, 60), np.uint8)
    made, error = enlarged(Enlarger(embedded), images)
    assert made.shape == (2, 160, 280, 3)
    assert error.mean <= 1 / 255
    values = made.astype(int)
    assert np.abs(values - (90, 140, 60)).max() <= 6
    assert np.abs(np.diff(values, axis=1)).max() <= 3
    assert np.abs(np.diff(values, axis=2)).max() <= 3


def test_seams_do_not_show_in_a_smooth_clip(embedded: Level) -> None:
    """The change over the middle of a seam is like that elsewhere."""
    y, x = np.mgrid[0:32, 0:62]
    image = np.stack([127 + 80 * np.sin(x / 7), 127 + 80 * np.cos(y / 6 + x / 9), 2.0 * x + 2 * y], -1)
    images = image.round().astype(np.uint8)[None]
    enlarger = Enlarger(embedded, ground=False)
    plan = enlarger.plans((32, 62))[0]
    assert plan.lefts == (0, 30)
    made = enlarged(enlarger, images)[0][0].astype(float)
    smooth = torch.nn.functional.interpolate(
        from_pixels(images, torch.device("cpu")), scale_factor=4, mode="bicubic"
    )[0].permute(1, 2, 0).numpy() * 127.5 + 127.5  # fmt: skip
    steps = np.abs(np.diff(made - smooth, axis=1)).mean((0, 2))
    assert steps[120:127].max() <= 1.5 * np.percentile(steps[8:-8], 95)


# ---- what is asked for ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "own", "expected"),
    [
        ((4, 2), (4, 2), [Application(1, 4, 1, 1, 2)]),
        ((1, 2), (4, 2), [Application(1, 1, 1, 1, 2)]),
        ((3, 1), (4, 2), [Application(1, 3, 2, 1, 1)]),
        ((8, 2), (4, 2), [Application(1, 2, 2, 1, 1), Application(2, 8, 1, 1, 2)]),
        ((4, 4), (4, 2), [Application(1, 1, 1, 1, 2), Application(1, 4, 1, 2, 4)]),
        (
            (2, 8),
            (4, 2),
            [Application(1, 1, 1, 1, 2), Application(1, 1, 1, 2, 4), Application(1, 2, 1, 4, 8)],
        ),
        ((1, 3), (1, 6), [Application(1, 1, 2, 1, 3)]),
    ],
)
def test_applications(asked: tuple[int, int], own: tuple[int, int], expected: list[Application]) -> None:
    assert plan_applications(asked, own) == expected


@given(st.integers(1, 16), st.sampled_from([1, 2, 4, 8]))
def test_applications_follow_each_other(space: int, time: int) -> None:
    plan = plan_applications((space, time), (4, 2))
    assert (plan[0].space_before, plan[0].time_before) == (1, 1)
    assert (plan[-1].space_after, plan[-1].time_after) == (space, time)
    for before, after in pairwise(plan):
        assert (before.space_after, before.time_after) == (after.space_before, after.time_before)
    for part in plan:
        assert part.space_after <= 4 * part.space_before
        assert part.time_before * 2 == part.time_after * part.step


@pytest.mark.parametrize(
    ("asked", "own", "message"),
    [
        ((0, 2), (4, 2), "times-space 0.*1 to 16"),
        ((17, 2), (4, 2), "times-space 17.*1 to 16"),
        ((2, 1), (1, 2), "times-space 2.*1 only.*another --level"),
        ((4, 0), (4, 2), "times-time 0"),
        ((4, 2), (4, 1), "times-time 2.*1 only.*another --level"),
        ((4, 16), (4, 2), "times-time 16.*1 to 8"),
        ((4, 3), (4, 2), "times-time 3.*power of 2"),
    ],
)
def test_enlargements_that_cannot_be(asked: tuple[int, int], own: tuple[int, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan_applications(asked, own)


def test_a_tile_of_another_size_is_refused() -> None:
    with pytest.raises(UsageError, match="takes 8 pixels"):
        Enlarger(level(), tile=64)
    assert Enlarger(level(), tile=8).plans((8, 8))[0].tile == 8


@pytest.mark.parametrize("changes", [{"piece": 0}, {"batch": 0}])
def test_a_piece_of_nothing_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="1 or more"):
        Enlarger(level(), **changes)  # type: ignore[arg-type]


def test_a_sigma_without_statistics_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"sigma 0\.7.*hvg stats.*sigma of 1$"):
        enlarged(Enlarger(level(), sigma=0.7), clip(2, 8, 8))


@pytest.mark.parametrize("keep", [range(0), range(3, 3), range(2, 6), range(-1, 2)])
def test_frames_that_are_not_there_are_refused(keep: range) -> None:
    with pytest.raises(UsageError, match="not in a clip of 5"):
        next(Enlarger(level(), sigma=1.0).enlarge(iter(clip(5, 8, 8)), keep, 5))


def test_a_source_that_ends_early_is_found_out() -> None:
    with pytest.raises(ValueError, match="0 to 4"):
        list(Enlarger(level(), sigma=1.0).enlarge(iter(clip(4, 8, 8)), range(5), 5))


def test_class_weights() -> None:
    config = level().config
    assert torch.equal(class_weights(config, [2]), torch.tensor([2]))  # type: ignore[arg-type]
    assert torch.equal(class_weights(config, ()), torch.full((1, 3), 1 / 3))  # type: ignore[arg-type]
    assert torch.equal(class_weights(config, [0, 2]), torch.tensor([[0.5, 0, 0.5]]))  # type: ignore[arg-type]
    unconditional = level((2,), 0).config
    assert class_weights(unconditional, ()) is None
    with pytest.raises(UsageError, match="no classes"):
        class_weights(unconditional, [0])


def test_what_it_says_and_estimates() -> None:
    enlarger = Enlarger(level(), times_space=3, times_time=4, overlap=2)
    text = enlarger.describe((20, 30))
    assert "then f_s to x2" in text or "then f_s to x3" in text
    assert "tiles of 8x8 for a frame of 30x20" in text
    assert "network takes no other size" in text
    simple = Enlarger(level(), overlap=2)
    assert simple.tile_frames((8, 8), 10) == 20
    assert simple.tile_frames((8, 14), 10) == 40
    assert 0 < simple.memory((8, 8)) < simple.memory((16, 16))


# ---- pixels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_come_back_as_they_were(dtype: type) -> None:
    most = np.iinfo(dtype).max
    images = np.linspace(0, most, 3 * 64 * 3).round().astype(dtype).reshape(1, 3, 64, 3)
    video = from_pixels(images, torch.device("cpu"))
    assert (video.min(), video.max()) == (-1, 1)
    assert np.array_equal(to_pixels(video, np.dtype(dtype)), images)
    assert to_pixels(video * 2, np.dtype(dtype)).max() == most


def test_alpha_of_one_bit_stays_so_and_others_are_smooth() -> None:
    hard = np.zeros((2, 4, 5), np.uint8)
    hard[0, 1:3, 1:4] = 255
    large = enlarge_alpha(hard, 4, 2)
    assert large.shape == (4, 16, 20)
    assert set(np.unique(large)) == {0, 255}
    assert np.array_equal(large[0], large[1])
    assert np.array_equal(large[0, 2::4, 2::4], hard[0])
    assert not large[2:].any()
    soft = enlarge_alpha(np.full((1, 3, 3), 77, np.uint8), 3, 1)
    assert soft.shape == (1, 9, 9)
    assert (soft == 77).all()


def test_a_model_folder_of_ones_own(tmp_path: Path) -> None:
    """From weights and statistics on disk, at the model's own sigma."""
    part = load_level(make_working_model(tmp_path / "own"))
    side = part.generator.input_size
    made, error = enlarged(Enlarger(part), clip(3, side + 3, side))
    assert made.shape[0] == 3 * part.generator.times_time
    assert error.values == 3 * (side + 3) * side * 3
