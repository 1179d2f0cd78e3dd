"""What each discriminator sees, row by row of TrIVD-GAN's table 1 and choice by choice of DVD-GAN's phi."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import small_one_stage, small_predictor
from torch import Tensor

from hvgcli.config import ModelConfig
from hvgcli.config import one_stage as numbers
from hvgcli.layers.units import UNITS
from hvgcli.models import build_discriminator
from hvgcli.models.decompositions import DECOMPOSITIONS, OneStageDiscriminator, crop
from hvgcli.presets import PRESETS

SIZE, C, T, K = 16, 3, 4, 2
CLIP = C + T

# Table 1 and section 4.2: what there is of full frames (F), downsampled frames (dF), full clips (clV), downsampled
# (dV) and cropped ones (crV), and K where the row sets it itself. s = 2.
TABLE = {
    "clip": ({"clV"}, None),
    "downsampled": ({"dV"}, None),
    "cropped": ({"crV"}, None),
    "cropped-downsampled": ({"crV", "dV"}, None),
    "mocogan-1": ({"F", "clV"}, 1),
    "mocogan-8": ({"F", "clV"}, 8),
    "dvd-gan": ({"F", "dV"}, None),
    "faster": ({"dF", "crV"}, None),
    "stronger": ({"dF", "crV", "dV"}, None),
}
# DVD-GAN section 4.3: phi before the temporal discriminator, with its side of the clip's
PHI = {"phi-identity": 1, "dvd-gan": 2, "phi-4x4": 4, "phi-crop": 2}
PIXELS = {"F": K * SIZE**2, "dF": K * SIZE**2 // 4, "clV": CLIP * SIZE**2, "dV": CLIP * SIZE**2 // 4}
PIXELS["crV"] = PIXELS["dV"]


def discriminator(config: ModelConfig) -> OneStageDiscriminator:
    torch.manual_seed(0)
    made = build_discriminator(config, 1).double()
    assert isinstance(made, OneStageDiscriminator)
    return made


def videos(frames: int, batch: int = 2, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(batch, frames, 3, SIZE, SIZE, generator=rng, dtype=torch.float64) * 2 - 1


def seen(network: OneStageDiscriminator, *given: Any) -> dict[str, Tensor]:
    """What each discriminator of a decomposition is given."""
    found: dict[str, Tensor] = {}
    for name, part in network.networks.items():
        blocks = [*part.volumes, *part.frames]

        def keep(module: Any, args: Any, name: str = name) -> None:
            x = args[0]
            found[name] = x.transpose(1, 2) if x.ndim == 5 else x

        blocks[0].register_forward_pre_hook(keep)
    network.parts(*given)
    return found


def predictor_views(row: str) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
    network = discriminator(small_predictor(decomposition=row))
    context, video = videos(C), videos(T, seed=1)
    frames = video[:, [0, 2]]
    places = torch.tensor([[0.0, 0.99], [0.5, 0.2]])
    return seen(network, video, frames, None, context, places), context, video, frames


def average(video: Tensor, factor: int) -> Tensor:
    cells = video.unflatten(-1, (-1, factor)).unflatten(-3, (-1, factor))
    return cells.mean((-1, -3))


@pytest.mark.parametrize("row", TABLE)
def test_each_row_of_table_1_sees_what_it_says(row: str) -> None:
    given_, context, video, frames = predictor_views(row)
    clip = torch.cat((context, video), dim=1)
    corners = [(0, 8), (4, 1)]  # of the places above, among the 9 x 9 that there are
    expected = {
        "F": frames.flatten(0, 1),
        "dF": average(frames, 2).flatten(0, 1),
        "clV": clip,
        "dV": average(clip, 2),
        "crV": torch.stack([one[..., y : y + 8, x : x + 8] for one, (y, x) in zip(clip, corners, strict=True)]),
    }
    kinds = {
        next(kind for kind, value in expected.items() if value.shape == x.shape and torch.allclose(value, x)): name
        for name, x in given_.items()
    }
    assert set(kinds) == TABLE[row][0]
    assert len(given_) == len(kinds)  # none is there twice
    pixels = {kind: given_[name].numel() // (3 * len(video)) for kind, name in kinds.items()}
    assert pixels == {kind: PIXELS[kind] for kind in kinds}


def test_pixels_of_the_proposed_decompositions() -> None:
    """Section 3.1: K H W + T H/s W/s in DVD-GAN-FP, (K + T) H/s W/s in the faster one; T counts the context."""
    totals = {row: sum(PIXELS[kind] for kind in kinds) for row, (kinds, _) in TABLE.items()}
    assert totals["dvd-gan"] == K * SIZE**2 + CLIP * (SIZE // 2) ** 2
    assert totals["faster"] == (K + CLIP) * (SIZE // 2) ** 2
    assert totals["stronger"] == totals["faster"] + CLIP * (SIZE // 2) ** 2
    assert totals["faster"] < totals["dvd-gan"] < totals["mocogan-8"]


@pytest.mark.parametrize("phi", PHI)
def test_choices_of_phi(phi: str) -> None:
    """DVD-GAN: full frames for the spatial discriminator, phi of the video for the temporal one."""
    network = discriminator(small_one_stage(decomposition=phi))
    video, places = videos(T), torch.zeros(2, 2)
    given_ = seen(network, video, video[:, :K], torch.tensor([0, 2]), None, places)
    side = SIZE // PHI[phi]
    expected = video[..., :side, :side] if phi == "phi-crop" else average(video, PHI[phi])
    assert set(given_) == {"spatial", "temporal"}
    torch.testing.assert_close(given_["spatial"], video[:, :K].flatten(0, 1))
    torch.testing.assert_close(given_["temporal"], expected)


def test_48_frames_of_128_pixels_lose_58_percent() -> None:
    """The example of DVD-GAN section 3.1, from the preset itself."""
    level = PRESETS["dvd-gan-48x128"].model.levels[0]
    pixels = 0
    for view in DECOMPOSITIONS[level.decomposition].values():
        frames = PRESETS["dvd-gan-48x128"].training[0].spatial_frames if view.single else level.frames
        pixels += frames * (level.resolution // view.factor) ** 2
    assert pixels == 327_680
    assert level.frames * level.resolution**2 == 786_432


def test_the_config_knows_the_names_that_there_are() -> None:
    assert tuple(DECOMPOSITIONS) == numbers.DECOMPOSITIONS
    assert tuple(UNITS) == numbers.RECURRENT_UNITS
    assert set(DECOMPOSITIONS) == set(TABLE) | set(PHI)


@pytest.mark.parametrize("row", DECOMPOSITIONS)
def test_frames_wanted(row: str) -> None:
    network = discriminator(small_predictor(decomposition=row))
    _, own = TABLE.get(row, ({}, None))
    single = any(view.single for view in DECOMPOSITIONS[row].values())
    assert network.frames_wanted(5) == (own or 5 if single else 0)


@pytest.mark.parametrize("row", DECOMPOSITIONS)
def test_scores_of_frames_and_of_clips(row: str) -> None:
    """One a frame; in a predictor, single frames are of what follows alone, and clips have the context."""
    network = discriminator(small_predictor(decomposition=row))
    video = videos(T)
    parts = network.parts(video, video[:, :K], None, videos(C), torch.zeros(2, 2))
    for name, view in DECOMPOSITIONS[row].items():
        for scores in parts[name]:
            assert scores.shape == (2, K if view.single else CLIP)


# ---- the context ---------------------------------------------------------------------------------


def test_single_frames_do_not_know_the_context_and_clips_do() -> None:
    network = discriminator(small_predictor())
    video, places = videos(T), torch.zeros(2, 2)

    def scores(context: Tensor) -> dict[str, Tensor]:
        return {name: own for name, (own, _) in network.parts(video, video[:, :K], None, context, places).items()}

    before, after = scores(videos(C, seed=5)), scores(videos(C, seed=6))
    assert torch.equal(before["spatial"], after["spatial"])
    for name in ("temporal", "local"):
        assert (before[name] - after[name]).abs().max() > 1e-6
        # nothing says which frames are the context: its scores are among the others
        assert before[name].shape == (2, CLIP)


def test_a_predictor_has_one_class_for_all() -> None:
    """Class 0: the projection has a learned vector, whatever labels there are."""
    network = discriminator(small_predictor())
    assert all(part.embed.weight.shape[0] == 1 for part in network.networks.values())
    video, context = videos(T), videos(C)
    for own, projected in network.parts(video, video[:, :K], None, context, torch.zeros(2, 2)).values():
        assert projected is not None
        assert projected.shape == own.shape


@pytest.mark.parametrize("num_classes", [0, 3])
def test_dvd_gan_has_projections_where_it_has_classes(num_classes: int) -> None:
    network = discriminator(small_one_stage(num_classes=num_classes))
    video = videos(T)
    labels = torch.tensor([0, 2]) if num_classes else None
    parts = network.parts(video, video[:, :K], labels, None, None)
    assert all((projected is None) == (num_classes == 0) for _, projected in parts.values())
    if num_classes:
        with pytest.raises(ValueError, match="labels"):
            network.parts(video, video[:, :K], None, None, None)


# ---- crops and networks --------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 8), st.integers(0, 10_000))
def test_a_crop_is_at_one_place_for_all_frames_of_a_clip(size: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    number = torch.arange(64.0).reshape(8, 8)  # a pixel says where it is
    clip = number + 64 * torch.arange(3.0)[:, None, None, None]  # (T, 1, 8, 8)
    places = torch.rand(4, 2, generator=rng)
    cut = crop(clip.expand(4, 3, 1, 8, 8), size, places)
    assert cut.shape == (4, 3, 1, size, size)
    for b in range(4):
        top, left = divmod(int(cut[b, 0, 0, 0, 0]), 8)
        assert [top, left] == [int(place * (8 - size + 1)) for place in places[b]]
        expected = clip[:, :, top : top + size, left : left + size]
        assert torch.equal(cut[b], expected)


def test_crops_reach_every_place_and_differ_between_clips() -> None:
    pixels = torch.arange(64.0).reshape(1, 1, 1, 8, 8).expand(500, 1, 1, 8, 8)
    corners = crop(pixels, 6, torch.rand(500, 2, generator=torch.Generator().manual_seed(0)))[:, 0, 0, 0, 0]
    assert sorted(set(corners.tolist())) == [8.0 * top + left for top in range(3) for left in range(3)]


def test_without_places_the_top_left_corner_is_cut() -> None:
    video = videos(2)
    assert torch.equal(crop(video, 8, None), video[..., :8, :8])


def test_gradients_flow_into_the_crop_alone() -> None:
    video = videos(2).requires_grad_()
    crop(video, 8, torch.tensor([[0.0, 0.0], [0.99, 0.99]])).sum().backward()
    assert video.grad is not None
    touched = video.grad.abs().sum((1, 2)) > 0
    assert touched.sum((1, 2)).tolist() == [64, 64]
    assert touched[0, :8, :8].all()
    assert touched[1, 8:, 8:].all()


def test_clips_are_seen_by_3d_blocks_and_frames_by_none() -> None:
    network = discriminator(small_predictor())
    assert {name: len(part.volumes) for name, part in network.networks.items()} == {
        "spatial": 0,
        "local": 2,
        "temporal": 2,
    }


@pytest.mark.parametrize(("name", "row"), [("trivd-gan-fp", "stronger"), ("dvd-gan-48x128", "dvd-gan")])
def test_all_discriminators_halve_as_often_whatever_they_see(name: str, row: str) -> None:
    """TrIVD-GAN appendix A: five blocks, the first four of which halve, at 64 pixels; five of six at 128."""
    config = PRESETS[name].model
    level = config.levels[0]
    assert level.decomposition == row
    with torch.device("meta"):
        network = build_discriminator(config, 1)
    halvings = {64: 4, 128: 5}[level.resolution]
    for part in network.networks.values():
        blocks = [block.halve for block in (*part.volumes, *part.frames)]
        assert blocks == [True] * halvings + [False]
