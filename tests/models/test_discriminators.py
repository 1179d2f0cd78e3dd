"""The discriminators: what each of them sees, its scores, projection conditioning, reach in time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import randomise_biases, small_config
from torch import Tensor

from hvgcli.config import DiscriminatorConfig
from hvgcli.models import build_discriminator
from hvgcli.models.discriminators import (
    LevelDiscriminator,
    ResidualDiscriminator,
    choose_frames,
    pool_to,
    with_detail,
)
from hvgcli.sampling.noise import seeded


def level_discriminator(number: int, num_classes: int = 3) -> LevelDiscriminator:
    torch.manual_seed(0)
    made = build_discriminator(small_config(num_classes=num_classes), number)
    randomise_biases(made)
    return made.double()


def videos(batch: int, frames: int, size: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(batch, frames, 3, size, size, generator=rng, dtype=torch.float64) * 2 - 1


LABELS = torch.tensor([2, 0, 1])


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("num_classes", [3, 0], ids=["conditional", "unconditional"])
def test_one_score_for_each_frame_of_each_discriminator(number: int, num_classes: int) -> None:
    network = level_discriminator(number, num_classes)
    video, low = videos(3, 6, 8 * number), videos(3, 3, 8)
    scores = network(video, video[:, :4], LABELS if num_classes else None, low if number == 2 else None)
    assert scores.shape == (3, 4 + 6 * number)
    if num_classes:
        with pytest.raises(ValueError, match="labels"):
            network(video, video[:, :4], None, low if number == 2 else None)


@pytest.mark.parametrize("number", [1, 2])
def test_a_class_stays_with_its_video(number: int) -> None:
    network = level_discriminator(number)
    video, low = videos(3, 6, 8 * number), videos(3, 3, 8) if number == 2 else None

    def scores(which: Tensor, labels: Tensor) -> Tensor:
        part = video[which]
        return network(part, part[:, :4], labels, None if low is None else low[which])

    everyone = torch.arange(3)
    batch = scores(everyone, LABELS)
    for i in range(3):
        torch.testing.assert_close(batch[i : i + 1], scores(everyone[i : i + 1], LABELS[i : i + 1]))
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(scores(order, LABELS[order]), batch[order])
    changed = scores(everyone, torch.tensor([2, 1, 1])) - batch
    assert (changed[1].abs() > 1e-6).all()  # every score of every discriminator
    assert changed[[0, 2]].abs().max() < 1e-12


def residual(
    volumetric: int, num_classes: int = 0, resolution: int = 8, patches: bool = False, detail: int = 0
) -> ResidualDiscriminator:
    torch.manual_seed(0)
    network = ResidualDiscriminator(
        DiscriminatorConfig(3, (1, 2, 2), patches, detail),
        in_channels=3,
        resolution=resolution,
        num_classes=num_classes,
        volumetric=volumetric,
    )
    randomise_biases(network)
    return network.double()


def test_projection_conditioning_is_the_literal_loop() -> None:
    network = residual(0, num_classes=3)
    video = videos(3, 2, 8)
    scores = network(video, LABELS)
    for b in range(3):
        for t in range(2):
            x = video[b : b + 1, t]
            for block in network.frames:
                x = block(x)
            features = torch.relu(x).sum((2, 3))[0]
            unconditional = network.score.weight[0] @ features + network.score.bias[0]
            projection = network.embed.weight[LABELS[b]] @ features
            torch.testing.assert_close(scores[b, t], unconditional + projection)


@pytest.mark.parametrize("volumetric", [0, 2])
@pytest.mark.parametrize("num_classes", [0, 3])
def test_scores_of_patches_add_up_to_those_of_frames(volumetric: int, num_classes: int) -> None:
    whole, patches = (residual(volumetric, num_classes, 16, patches=flag) for flag in (False, True))
    video, labels = videos(3, 4, 16), LABELS if num_classes else None
    assert patches(video, labels).shape == (3, 4 * 4 * 4)  # a last map of 4x4 for each of 4 frames
    (own, projected), (own_parts, projected_parts) = whole.parts(video, labels), patches.parts(video, labels)
    bias = whole.score.bias
    torch.testing.assert_close((own_parts - bias).unflatten(1, (4, 16)).sum(2), own - bias)
    if num_classes:
        torch.testing.assert_close(projected_parts.unflatten(1, (4, 16)).sum(2), projected)


def test_resolution_halves_down_to_four() -> None:
    network = residual(1, resolution=16)
    sides = []
    for block in [*network.volumes, *network.frames]:
        block.register_forward_hook(lambda module, inputs, output: sides.append(output.shape[-1]))
    network(videos(1, 3, 16), None)
    assert sides == [8, 4, 4]
    assert [block.first for block in [*network.volumes, *network.frames]] == [True, False, False]


@pytest.mark.parametrize("detail", [0, 4])
@pytest.mark.parametrize("volumetric", [0, 1, 2])
def test_reach_in_time_is_what_the_modules_say(volumetric: int, detail: int) -> None:
    network = residual(volumetric, detail=detail)
    assert network.reach == 2 * volumetric + (1 if volumetric and detail else 0)
    video = videos(1, 15, 8)
    changed = video.clone()
    changed[:, 7] = -changed[:, 7]
    difference = (network(video, None) - network(changed, None)).abs()[0]
    touched = difference.nonzero().flatten().tolist()
    assert touched == list(range(7 - network.reach, 7 + network.reach + 1))


@pytest.mark.parametrize(("frames", "size"), [(1, 4), (2, 4), (4, 7)])
def test_detail_is_what_the_mean_of_near_pixels_and_frames_takes_away(frames: int, size: int) -> None:
    video = videos(2, frames, size)
    made = with_detail(video, 3.0, over_time=True)
    assert made.shape == (2, frames, 9, size, size)
    torch.testing.assert_close(made[:, :, :6], with_detail(video, 3.0, over_time=False))
    torch.testing.assert_close(made[:, :, :3], video)
    for t in range(frames):
        for y in range(size):
            for x in range(size):
                near = video[:, t, :, max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].mean((2, 3))
                torch.testing.assert_close(made[:, t, 3:6, y, x], 3 * (video[:, t, :, y, x] - near))
                before_and_after = video[:, max(0, t - 1) : t + 2, :, y, x].mean(1)
                torch.testing.assert_close(made[:, t, 6:, y, x], 3 * (video[:, t, :, y, x] - before_and_after))


@pytest.mark.parametrize("volumetric", [0, 2])
def test_a_discriminator_with_detail_scores_the_video_beside_it(volumetric: int) -> None:
    network, video = residual(volumetric, detail=3), videos(2, 5, 8)
    inputs = with_detail(video, 3.0, over_time=volumetric > 0)
    scores = network(video, None)
    network.detail = 0
    torch.testing.assert_close(network(inputs, None), scores)


def test_the_temporal_discriminator_sees_less_than_ten_frames() -> None:
    network = level_discriminator(2)
    for part in (network.temporal, network.matching):
        assert 2 * part.reach + 1 == 9
    assert network.spatial.reach == 0


def average(video: Tensor, factor: int) -> Tensor:
    batch, time, channels, height, width = video.shape
    cells = video.reshape(batch, time, channels, height // factor, factor, width // factor, factor)
    return cells.mean((4, 6))


def test_what_each_discriminator_sees() -> None:
    network = level_discriminator(2)
    seen: dict[str, Tensor] = {}
    for name in ("spatial", "temporal", "matching"):
        getattr(network, name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.__setitem__(name, inputs[0])
        )
    video, low = videos(3, 6, 16), videos(3, 3, 8, seed=1)
    frames = video[:, [0, 2, 5]]
    scores = network(video, frames, LABELS, low)
    torch.testing.assert_close(seen["spatial"], frames)
    torch.testing.assert_close(seen["temporal"], average(video, 2))
    repeated = torch.stack([low[:, t // 2] for t in range(6)], dim=1)
    torch.testing.assert_close(seen["matching"], torch.cat((repeated, average(video, 2)), dim=2))
    parts = [network.spatial(frames, LABELS), network.temporal(average(video, 2), LABELS)]
    parts.append(network.matching(torch.cat((repeated, average(video, 2)), dim=2), LABELS))
    torch.testing.assert_close(scores, torch.cat(parts, dim=1))


def test_the_temporal_discriminator_sees_all_pixels_where_nothing_is_pooled() -> None:
    """A pattern without a mean over 2x2 pixels, which moves, is seen by it only then."""
    config = small_config(num_classes=3)
    fine = replace(config, levels=tuple(replace(level, temporal_pool=1) for level in config.levels))
    video = videos(3, 6, 8)
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    board = 1.0 - 2 * ((rows + columns) % 2)
    moving = video + 0.1 * torch.stack([(-1) ** t * board for t in range(6)])[None, :, None]
    torch.manual_seed(0)
    for numbers, same in ((config, True), (fine, False)):
        network = build_discriminator(numbers, 1).double()
        assert isinstance(network, LevelDiscriminator)
        frames = video[:, :4]
        one, other = (network(seen, frames, LABELS, None)[:, 4:] for seen in (video, moving))
        assert one.shape == (3, 6)
        assert torch.allclose(one, other) == same


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_pooling_is_the_average_of_cells(factor: int) -> None:
    video = videos(2, 3, 8)
    torch.testing.assert_close(pool_to(video, 8 // factor), average(video, factor))
    frames = video.flatten(0, 1)
    torch.testing.assert_close(pool_to(video, 8 // factor).flatten(0, 1), F.adaptive_avg_pool2d(frames, 8 // factor))


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 10), st.integers(0, 1000))
def test_frames_are_chosen_without_replacement_and_in_order(batch: int, total: int, count: int, seed: int) -> None:
    video = torch.arange(batch * total).reshape(batch, total, 1, 1, 1)
    chosen = choose_frames(video, count, seeded(seed))
    assert chosen.shape == (batch, min(count, total), 1, 1, 1)
    for number, row in enumerate(chosen.flatten(1).tolist()):
        assert row == sorted(set(row))
        assert all(number * total <= frame < (number + 1) * total for frame in row)
    if total <= count:
        assert torch.equal(chosen, video)


def test_each_video_has_its_own_choice_and_every_frame_is_as_likely() -> None:
    video = torch.arange(8).expand(2000, 8).reshape(2000, 8, 1, 1, 1)
    chosen = choose_frames(video, 2, seeded("frames")).flatten(1)
    assert len(chosen.unique(dim=0)) == 8 * 7 // 2
    counts = torch.bincount(chosen.flatten(), minlength=8)
    assert (counts - 500).abs().max() < 100  # 5 standard deviations
    assert torch.equal(choose_frames(video, 2, seeded("frames")).flatten(1), chosen)
