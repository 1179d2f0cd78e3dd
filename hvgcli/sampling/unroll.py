"""Streaming: outline frames in, frames of the last level out, in constant memory (HVG section 2, inference)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from math import ceil, prod

import torch
from torch import Tensor

from hvgcli.layers.layout import join_time
from hvgcli.models import Generator
from hvgcli.models.recurrent_generator import RecurrentGenerator, RecurrentState
from hvgcli.models.upsampler import Upsampler, UpsamplerState


def _precision(device: torch.device, half: bool) -> AbstractContextManager[object]:
    return torch.autocast(device.type, torch.bfloat16, enabled=half)


def frames_per_level(generators: Sequence[Generator], frames: int) -> list[int]:
    """Frames that each level must make so that the last one makes at least `frames`."""
    factors = [g.times_time for g in generators if isinstance(g, Upsampler)]
    outline = ceil(frames / prod(factors))
    return [outline * prod(factors[:n]) for n in range(len(factors) + 1)]


def outline_pieces(
    outline: RecurrentGenerator, z: Tensor, labels: Tensor | None, total: int, piece: int, half: bool = False
) -> Iterator[tuple[Tensor, bool]]:
    """An outline of `total` frames in pieces `(B, <= piece, 3, D, D)`, each with "is it the last".

    One that attends to all of its frames is a single piece.
    """
    state = RecurrentState()
    while state.start < total:
        count = total if outline.whole else min(piece, total - state.start)
        with _precision(z.device, half):
            video = outline.advance(z, labels, state, count, total)
        yield video, state.start == total


def upsample_pieces(
    level: Upsampler,
    pieces: Iterator[tuple[Tensor, bool]],
    z: Tensor,
    labels: Tensor | None,
    total: int,
    half: bool = False,
) -> Iterator[tuple[Tensor, bool]]:
    """Pieces of x^{l-1} -> finished pieces of x^l; `total` is the number of frames of x^l."""
    state = UpsamplerState()
    for low, last in pieces:
        with _precision(z.device, half):
            video = level.advance(low, z, labels, state, total, last)
        if video.shape[1]:
            yield video, last


def unroll(
    generators: Sequence[Generator],
    latents: Sequence[Tensor],
    labels: Tensor | None,
    frames: int,
    piece: int,
    half: Sequence[bool] = (),
) -> Iterator[Tensor]:
    """A video of `frames` frames from the levels `generators`, in pieces `(B, n, 3, D, D)` in [-1, 1].

    latents: z `(B, z_dim)` of each level. piece: outline frames that are fed at a time. half: levels
    whose convolutions run in bfloat16. The pieces together are what the levels give when applied once
    to the whole video, whatever `piece` is.
    """
    totals = frames_per_level(generators, frames)
    half = half or [False] * len(generators)
    outline = generators[0]
    assert isinstance(outline, RecurrentGenerator)
    pieces = outline_pieces(outline, latents[0], labels, totals[0], piece, half[0])
    for level, z, total, low_precision in zip(generators[1:], latents[1:], totals[1:], half[1:], strict=True):
        assert isinstance(level, Upsampler)
        pieces = upsample_pieces(level, pieces, z, labels, total, low_precision)
    left = frames
    for video, _ in pieces:
        if left > 0:
            yield video[:, :left]
        left -= video.shape[1]


def join(pieces: Iterator[Tensor]) -> Tensor:
    """All pieces as one video `(B, T, 3, D, D)`, in B, T, H, W, C memory."""
    return join_time(*pieces)
