"""Which scores the losses of one-stage models are taken of."""

from __future__ import annotations

import pytest
import torch
from small_networks import small_one_stage, small_predictor
from torch import Tensor

from hvgcli.config import DiscriminatorConfig, ModelConfig
from hvgcli.models import build_discriminator
from hvgcli.models.decompositions import DECOMPOSITIONS, OneStageDiscriminator
from hvgcli.sampling.noise import seeded
from hvgcli.training import judging
from hvgcli.training.distributed import ALONE, Share
from hvgcli.training.losses import geometric_hinge_discriminator, geometric_hinge_generator

B, T, C, K, SIZE = 3, 4, 3, 2, 16
LABELS = torch.tensor([2, 0, 1])


def videos(frames: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(B, frames, 3, SIZE, SIZE, generator=rng, dtype=torch.float64) * 2 - 1


def judged(config: ModelConfig, video: Tensor) -> tuple[OneStageDiscriminator, judging.Scores, dict[str, Tensor]]:
    """Network, scores, and all of its parts."""
    torch.manual_seed(0)
    network = build_discriminator(config, 1).double()
    assert isinstance(network, OneStageDiscriminator)
    labels, low = (LABELS if config.conditional else None), (videos(C, 7) if config.predictor else None)
    places = torch.full((B, 2), 0.5)
    scores = judging.judge(network, config, video, video[:, :K], labels, low, places, ALONE)
    return network, scores, dict(network.parts(video, video[:, :K], labels, low, places))


@pytest.mark.parametrize("row", DECOMPOSITIONS)
def test_dvd_gan_scores_a_video_by_the_sum_over_its_frames(row: str) -> None:
    """Section 3.1; one loss for each discriminator."""
    _, scores, parts = judged(small_one_stage(decomposition=row), videos(T))
    assert len(scores) == len(DECOMPOSITIONS[row])
    for ours, (own, projected) in zip(scores, parts.values(), strict=True):
        assert ours.shape == (B,)
        for b in range(B):
            frames = range(own.shape[1])
            assert ours[b].item() == pytest.approx(sum(own[b, t].item() + projected[b, t].item() for t in frames))


def test_patches_of_a_one_stage_model_are_judged_one_by_one() -> None:
    config = small_one_stage(discriminator=DiscriminatorConfig(4, (1, 2, 2), patches=True))
    _, scores, parts = judged(config, videos(T))
    for ours, (own, projected) in zip(scores, parts.values(), strict=True):
        assert ours.shape[1] > T
        torch.testing.assert_close(ours, own + projected)


def test_a_predictor_with_mixed_projection_scores_pairs() -> None:
    _, scores, parts = judged(small_predictor(), videos(T))
    assert [tuple(part.shape) for part in scores] == [(B, B, K), (B, B, C + T), (B, B, C + T)]
    own, projected = parts["local"]
    expected = own[1, 2] + projected[2].sum()
    torch.testing.assert_close(scores[1][1, 2, 2], expected)


def test_losses_of_the_discriminators_are_added() -> None:
    config = small_predictor()
    _, real, _ = judged(config, videos(T, 1))
    _, fake, _ = judged(config, videos(T, 2))
    terms = [geometric_hinge_discriminator(r, f) for r, f in zip(real, fake, strict=True)]
    assert len(terms) == 3
    torch.testing.assert_close(judging.discriminator_hinge(real, fake), terms[0] + terms[1] + terms[2])
    own = [geometric_hinge_generator(f) for f in fake]
    torch.testing.assert_close(judging.generator_hinge(fake), own[0] + own[1] + own[2])
    means = [part.mean() for part in real]
    torch.testing.assert_close(judging.mean_score(real), (means[0] + means[1] + means[2]) / 3)


@pytest.mark.parametrize(("row", "count"), [("mocogan-1", 1), ("mocogan-8", 8), ("stronger", K), ("clip", 0)])
def test_single_frames_are_drawn_as_the_row_says(row: str, count: int) -> None:
    config = small_predictor(decomposition=row)
    network = build_discriminator(config, 1)
    assert judging.frames_wanted(network, K) == count
    video = torch.arange(20.0).reshape(2, 10, 1, 1, 1)
    drawn = judging.draw_frames(video, count, seeded("frames"), Share.whole(2))
    assert drawn.shape[:2] == (2, count)
    again = judging.draw_frames(video[1:], count, seeded("frames"), Share(1, 1, 2))
    assert torch.equal(again, drawn[1:])  # wherever it is computed


def test_crops_of_a_share_are_those_of_the_whole() -> None:
    whole = judging.draw_places(seeded("places"), Share.whole(6))
    assert whole.shape == (6, 2)
    assert ((whole >= 0) & (whole < 1)).all()
    assert len(whole.unique()) == 12  # each clip its own place
    assert torch.equal(judging.draw_places(seeded("places"), Share(2, 3, 6)), whole[2:5])
