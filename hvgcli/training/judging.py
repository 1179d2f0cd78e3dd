"""What the discriminators say of a batch, as the tensors of scores that the hinge losses are taken of."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hvgcli.config import ModelConfig, OneStageConfig
from hvgcli.models import Discriminator
from hvgcli.models.decompositions import OneStageDiscriminator
from hvgcli.models.discriminators import choose_frames
from hvgcli.training import losses
from hvgcli.training.distributed import Share, World

Scores = tuple[Tensor, ...]
"""Each tensor is averaged over all of its entries; the losses of several are added."""


def frames_wanted(discriminator: Discriminator, default: int) -> int:
    """Single frames that are drawn of every video."""
    return discriminator.frames_wanted(default) if isinstance(discriminator, OneStageDiscriminator) else default


def judge(
    discriminator: nn.Module,
    config: ModelConfig,
    video: Tensor,
    frames: Tensor,
    labels: Tensor | None,
    low: Tensor | None,
    places: Tensor | None,
    world: World,
) -> Scores:
    """All scores of videos `(B, T, 3, D, D)` and frames drawn from them.

    In a hierarchy one tensor `(B, S)`, the scores of all discriminators side by side (HVG appendix B). In a
    one-stage model one for each discriminator: `(B,)`, or `(B, B', t)` with mixed projection, where B' are the
    samples of all processes; `(B, S)` where it judges patches, whose scores are averaged, not summed.
    """
    spec = config.levels[0]
    if not isinstance(spec, OneStageConfig):
        return (discriminator(video, frames, labels, low),)
    assert isinstance(discriminator, OneStageDiscriminator)
    parts = discriminator.parts(video, frames, labels, low, places)
    if spec.discriminator.patches:
        return tuple(own if projected is None else own + projected for own, projected in parts.values())
    if spec.projection == "sum":
        return tuple(losses.summed_scores(own, projected) for own, projected in parts.values())
    return tuple(
        losses.mixed_scores(own, None if projected is None else world.gather(projected))
        for own, projected in parts.values()
    )


def draw_frames(video: Tensor, count: int, chooser: torch.Generator, share: Share) -> Tensor:
    """`count` single frames of each video, none for count 0."""
    return choose_frames(video, count, chooser, first=share.first, of=share.total) if count else video[:, :0]


def draw_places(chooser: torch.Generator, share: Share) -> Tensor:
    """Where each clip is cropped, `(B, 2)` in [0, 1), drawn for the whole batch."""
    return share.of(torch.rand(share.total, 2, generator=chooser))


def discriminator_hinge(real: Scores, fake: Scores) -> Tensor:
    """The discriminators' losses, added (DVD-GAN section 3.1)."""
    terms = [losses.geometric_hinge_discriminator(r, f) for r, f in zip(real, fake, strict=True)]
    return torch.stack(terms).sum()


def generator_hinge(fake: Scores) -> Tensor:
    """The generator's losses against each discriminator, added."""
    return torch.stack([losses.geometric_hinge_generator(scores) for scores in fake]).sum()


def mean_score(scores: Scores) -> Tensor:
    """Mean over all discriminators of their mean score, for the table of metrics."""
    return torch.stack([part.mean() for part in scores]).mean()
