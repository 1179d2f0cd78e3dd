"""Losses: tensors in, one number out."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from hvgcli.layers.weights import full_precision
from hvgcli.models.discriminators import pool_to

STRUCTURE_SIZE = 64  # pixels: at 128 the structure functions would take a third of a step of DVD-GAN


def geometric_hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of the discriminator (Lim & Ye 2017; HVG appendix B).

    `real`, `fake`: all scores `(B, S)` of all discriminators; averaged over samples and scores.
    """
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def geometric_hinge_generator(fake: Tensor) -> Tensor:
    """Hinge loss of the generator: the negative mean of all scores `(B, S)`."""
    return -fake.mean()


def summed_scores(own: Tensor, projected: Tensor | None) -> Tensor:
    """DVD-GAN's score of a video, `(B,)`: the sum over its frames (section 3.1).

    `own` `(B, T)` depends on the frames alone, `projected` `(B, T)` on frames and class.
    """
    return own.sum(1) if projected is None else own.sum(1) + projected.sum(1)


def mixed_scores(own: Tensor, projected: Tensor | None) -> Tensor:
    """Mixed projection: o[b, b', t] = own[b, t] + sum over t' of projected[b', t'] (TrIVD-GAN equation 15).

    `own` `(B, T)`, `projected` `(B', T)`, of all processes where there are several -> `(B, B', T)`.
    """
    if projected is None:
        return own[:, None]
    return own[:, None, :] + projected.sum(1)[None, :, None]


def orthogonal_penalty(weights: Iterable[Tensor]) -> Tensor:
    """Sum over the weights of ||W W^T - diagonal||_F^2, W flattened to a matrix (Brock et al. 2019, equation 3).

    Where W has more rows than columns, whose rows cannot all be orthogonal, that of its columns.
    """
    total = torch.zeros(())
    for weight in weights:
        matrix = weight.flatten(1)
        if matrix.shape[0] > matrix.shape[1]:
            matrix = matrix.t()
        with full_precision(matrix):
            gram = matrix @ matrix.t()
            total = total.to(gram) + (gram - torch.diag(gram.diagonal())).square().sum()
    return total


def gaussian_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, exp(log_var)) || N(0, I)) in nats, `(B, z) -> (B,)`."""
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)


def capacity(mean_kl: Tensor, nats: float) -> Tensor:
    """|mean KL - nats|: holds the information of a code at a set amount (Burgess et al. 2018).

    `mean_kl` `()` is the mean over the whole batch: the distances of parts of it do not average to its own.
    """
    return (mean_kl - nats).abs()


def reconstruction_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error between videos in [-1, 1]."""
    return (output - target).abs().mean()


def motion_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error between the frame-to-frame differences of videos `(B, T, 3, D, D)`; 0 for one frame."""
    if output.shape[1] < 2:
        return output.new_zeros(())
    return (output.diff(dim=1) - target.diff(dim=1)).abs().mean()


def structure(video: Tensor, regions: int = 4) -> Tensor:
    """Structure functions `(B, 9, regions, regions)` of a video `(B, T, 3, D, D)`.

    How much each region of a video changes over 1, 2 and 4 frames, rows and columns: the mean absolute
    difference at that distance, 0 where the video is not that long. An unpredictable motion or texture
    that a mean error smooths away has the right ones only when it moves or is rough as much as the real one.
    """
    changes = []
    for dim in (1, 3, 4):
        for lag in (1, 2, 4):
            size = video.shape[dim] - lag
            if size < 1:
                changes.append(video.new_zeros(len(video), regions, regions))
                continue
            change = (video.narrow(dim, lag, size) - video.narrow(dim, 0, size)).abs().mean((1, 2))
            changes.append(F.adaptive_avg_pool2d(change, regions))
    return torch.stack(changes, dim=1)


def structure_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error between the structure functions of videos in [-1, 1], pooled to at most `STRUCTURE_SIZE`."""
    output, target = (pool_to(video, min(STRUCTURE_SIZE, video.shape[-1])) for video in (output, target))
    return (structure(output) - structure(target)).abs().mean()


def sample_code(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """A code from N(mean, exp(log_var)): `mean`, `log_var` and standard normal `noise` are `(B, z)`."""
    return mean + noise * (0.5 * log_var).exp()
