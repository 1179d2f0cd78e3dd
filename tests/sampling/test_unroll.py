"""Streaming equals the one-shot application, for any length, piece and number of levels; memory stays constant."""

from __future__ import annotations

from functools import cache
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import small_config, small_hierarchy
from torch import Tensor

from hvgcli.errors import UsageError
from hvgcli.models.level1 import Outline
from hvgcli.models.recurrent_generator import RecurrentState
from hvgcli.models.upsampler import Upsampler, UpsamplerState
from hvgcli.sampling.hierarchy import Hierarchy, Sample, generate
from hvgcli.sampling.noise import latents, random_labels, seeded
from hvgcli.sampling.unroll import frames_per_level, join, unroll

TIMES = [(), (1,), (2,), (2, 2), (1, 2), (2, 1)]


@cache
def hierarchy(times: tuple[int, ...], spectral: bool = False) -> Hierarchy:
    return small_hierarchy(small_config(times, spectral=spectral))


def noise(made: Hierarchy, seeds: list[int]) -> tuple[list[Tensor], Tensor]:
    return [latents(seeds, n, 5) for n in range(1, made.levels + 1)], random_labels(seeds, 3)


@cache
def one_shot(times: tuple[int, ...], outline: int) -> Tensor:
    """Each level applied once to the whole video of the level below."""
    made = hierarchy(times)
    zs, labels = noise(made, [1, 2])
    with torch.inference_mode():
        video = made.generators[0](zs[0], labels, outline)
        for level, z in zip(made.generators[1:], zs[1:], strict=True):
            video = level(video, z, labels)
    return video


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(TIMES), st.integers(1, 13), st.integers(1, 14))
def test_streaming_is_the_one_shot_application(times: tuple[int, ...], outline: int, piece: int) -> None:
    made = hierarchy(times)
    zs, labels = noise(made, [1, 2])
    whole = one_shot(times, outline)
    assert whole.shape[1] == outline * prod(times)
    assert whole.std() > 0.05  # there is something to compare
    with torch.inference_mode():
        streamed = join(unroll(made.generators, zs, labels, whole.shape[1], piece))
    assert (streamed - whole).abs().max() <= 1e-4


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(TIMES), st.integers(1, 30), st.integers(1, 9))
def test_any_number_of_frames_is_exact_and_begins_as_the_full_one(
    times: tuple[int, ...], frames: int, piece: int
) -> None:
    made = hierarchy(times)
    zs, labels = noise(made, [1, 2])
    outline = -(-frames // prod(times))
    assert frames_per_level(made.generators, frames)[0] == outline
    assert frames_per_level(made.generators, frames)[-1] == outline * prod(times)
    with torch.inference_mode():
        video = join(unroll(made.generators, zs, labels, frames, piece))
    assert video.shape[1] == frames
    assert (video - one_shot(times, outline)[:, :frames]).abs().max() <= 1e-4


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=8))
def test_an_upsampler_takes_pieces_of_uneven_sizes(sizes: list[int]) -> None:
    made = hierarchy((2,))
    zs, labels = noise(made, [1, 2])
    low = torch.rand(2, sum(sizes), 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    level = made.generators[1]
    assert isinstance(level, Upsampler)
    with torch.inference_mode():
        whole = level(low, zs[1], labels)
        state, out = UpsamplerState(), []
        for number, part in enumerate(low.split(sizes, dim=1)):
            out.append(level.advance(part, zs[1], labels, state, whole.shape[1], number == len(sizes) - 1))
    assert state.done == state.fed == whole.shape[1]
    assert (torch.cat(out, dim=1) - whole).abs().max() <= 1e-4


@pytest.mark.parametrize("piece", [1, 3, 50])
def test_a_seed_means_one_video_in_any_batch_and_piece(piece: int) -> None:
    made = hierarchy((2, 2))
    alone = join(generate(made, [Sample(7, 1)], 11, sigma=1.0))
    batch = join(generate(made, [Sample(3, 0), Sample(7, 1), Sample(7, 2)], 11, sigma=1.0, piece=piece))
    assert (batch[1] - alone[0]).abs().max() <= 1e-4
    assert (batch[2] - alone[0]).abs().max() > 1e-2  # the class matters
    assert (batch[0] - alone[0]).abs().max() > 1e-2  # and the seed


def test_a_level_lower_down_is_a_prefix_of_the_hierarchy() -> None:
    made = hierarchy((2, 2))
    low = join(generate(made, [Sample(7, 1)], 6, sigma=1.0, levels=2))
    assert low.shape == (1, 6, 3, 16, 16)
    with torch.inference_mode():
        zs, labels = [latents([7], n, 5) for n in (1, 2, 3)], torch.tensor([1])
        high = made.generators[2](low, zs[2], labels)
    full = join(generate(made, [Sample(7, 1)], 12, sigma=1.0))
    assert (full - high).abs().max() <= 1e-4


def test_sigma_scales_z() -> None:
    made = hierarchy(())
    zs, labels = noise(made, [7])
    made.tables[0].append(type(made.tables[0][0])(0.5, 0, made.tables[0][0].layout, made.tables[0][0].moments))
    video = join(generate(made, [Sample(7, int(labels))], 4, sigma=0.5))
    with torch.inference_mode():
        expected = made.generators[0](0.5 * zs[0], labels, 4)
    made.tables[0].pop()
    assert (video - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("frames", [0, -3])
def test_no_frames_are_refused(frames: int) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        next(generate(hierarchy(()), [Sample(0, 0)], frames, sigma=1.0))


def test_classes_are_asked_for_and_refused() -> None:
    with pytest.raises(UsageError, match="class"):
        next(generate(hierarchy(()), [Sample(0)], 2, sigma=1.0))
    unconditional = small_hierarchy(small_config((), num_classes=0))
    with pytest.raises(UsageError, match="no classes"):
        next(generate(unconditional, [Sample(0, 1)], 2, sigma=1.0))
    assert next(generate(unconditional, [Sample(0)], 2, sigma=1.0)).shape == (1, 2, 3, 8, 8)


def test_a_walk_starts_and_ends_at_its_seeds_and_classes() -> None:
    made = hierarchy((2,))
    walk = [Sample(1, 0, 2, 2, blend) for blend in (0.0, 0.5, 1.0)]
    videos = join(generate(made, walk, 4, sigma=1.0))
    ends = join(generate(made, [Sample(1, 0), Sample(2, 2)], 4, sigma=1.0))
    assert (videos[0] - ends[0]).abs().max() <= 1e-4
    assert (videos[2] - ends[1]).abs().max() <= 1e-4
    assert (videos[1] - ends[0]).abs().max() > 1e-2


# ---- memory --------------------------------------------------------------------------------------


def kept_bytes(tensors: list[Tensor]) -> int:
    """Memory that tensors keep alive: of their whole storages, of which they may be small views."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


@pytest.mark.parametrize("piece", [1, 2])
def test_the_states_do_not_grow_with_the_length(piece: int) -> None:
    made = hierarchy((2,))
    zs, labels = noise(made, [1, 2])
    outline, level = made.generators
    assert isinstance(outline, Outline)
    assert isinstance(level, Upsampler)
    below, above = RecurrentState(), UpsamplerState()
    sizes = []
    with torch.inference_mode():
        for _ in range(40):
            low = outline.advance(zs[0], labels, below, piece, 1000)
            level.advance(low, zs[1], labels, above, 2000, last=False)
            assert above.low is not None
            kept = [*below.hidden.values(), above.low, *(part for unit in above.units for part in unit.values())]
            sizes.append(kept_bytes(kept))
    assert sizes[39] == sizes[10] > 0
    assert above.done == 40 * piece * 2 - level.reach


def test_the_states_keep_a_few_frames_whatever_the_piece() -> None:
    """Not views of the whole piece: a long piece would stay in memory while the next one is made."""
    level = hierarchy((2,)).generators[1]
    assert isinstance(level, Upsampler)
    zs, labels = noise(hierarchy((2,)), [1])
    sizes = []
    for piece in (4, 40):
        state = UpsamplerState()
        with torch.inference_mode():
            for _ in range(3):
                level.advance(torch.zeros(1, piece, 3, 8, 8), zs[1], labels, state, 1000, last=False)
        sizes.append(kept_bytes([part for unit in state.units for part in unit.values()]))
    assert sizes[0] == sizes[1]


# ---- seeds ---------------------------------------------------------------------------------------


def test_latents_depend_on_seed_and_level_only() -> None:
    batch = latents([5, 6, 7], 2, 8)
    assert torch.equal(batch[1], latents([6], 2, 8)[0])
    assert not torch.equal(batch[1], latents([6], 1, 8)[0])


def test_latents_are_standard_normal() -> None:
    z = latents(range(200), 1, 64)
    assert abs(z.mean().item()) < 0.03
    assert abs(z.std().item() - 1) < 0.03


def test_labels_are_uniform_and_depend_on_the_seed_only() -> None:
    labels = random_labels(range(600), 3)
    assert torch.equal(labels[17:18], random_labels([17], 3))
    assert (torch.bincount(labels, minlength=3) - 200).abs().max() < 60


def test_seeded_parts_do_not_run_together() -> None:
    draws = {seeded(*parts).initial_seed() for parts in ((1, 23), (12, 3), ("1", 23), ("a", 1), ("a", "1"), (123,))}
    assert len(draws) == 6
