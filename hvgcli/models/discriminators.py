"""Spatial, temporal and matching discriminators, and the three together (HVG section 3, appendix B)."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvgcli.config import BASE_RESOLUTION, DiscriminatorConfig, LevelConfig
from hvgcli.layers.blocks import DiscriminatorBlock
from hvgcli.layers.layout import from_timeline, to_frames, to_timeline, to_video, to_volume
from hvgcli.layers.weights import conv2d, conv3d, embedding, full_precision, linear

NEAR_PIXELS, NEAR_FRAMES = 5, 3
"""Sides of the neighbourhoods whose means `with_detail` takes away."""


class ResidualDiscriminator(nn.Module):
    """Residual network that gives one score a frame, with projection conditioning (Miyato & Koyama 2018).

    With `patches` in its config, it gives one score for each place of each frame's last map: S below is then
    T h w, otherwise T.

    The first `volumetric` blocks are 3D and see neighbouring frames; the others see each frame alone. With `detail`
    in its config, it sees the video beside its detail (`with_detail`), over time where it has 3D blocks.
    """

    def __init__(
        self,
        config: DiscriminatorConfig,
        *,
        in_channels: int,
        resolution: int,
        num_classes: int,
        volumetric: int,
        halvings: int | None = None,
    ) -> None:
        """`halvings`: blocks that halve the resolution, counted from the first; None = as many as lead to 4x4."""
        super().__init__()
        self.detail = config.detail
        if config.detail:
            in_channels *= 3 if volumetric else 2
        widths = (in_channels, *config.widths)
        blocks = []
        for i in range(len(config.widths)):
            halve = resolution > BASE_RESOLUTION if halvings is None else i < halvings
            conv = partial(conv3d if i < volumetric else conv2d, spectral=True)
            blocks.append(DiscriminatorBlock(widths[i], widths[i + 1], conv=conv, halve=halve, first=i == 0))
            resolution //= 2 if halve else 1
        self.volumes = nn.ModuleList(blocks[:volumetric])
        self.frames = nn.ModuleList(blocks[volumetric:])
        self.patches = config.patches
        self.score = linear(widths[-1], 1, spectral=True)
        self.embed = embedding(num_classes, widths[-1], spectral=True) if num_classes else None

    @property
    def reach(self) -> int:
        """Frames of context on each side of a score, summed over what looks at neighbours on its path."""
        convs = (block.conv1 for block in self.volumes), (block.conv2 for block in self.volumes)
        own = NEAR_FRAMES // 2 if self.detail and len(self.volumes) else 0
        return own + sum((conv.kernel_size[0] - 1) // 2 for part in convs for conv in part)

    def parts(self, video: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """`(B, T, C, D, D)`, classes `(B,)` or None -> scores `(B, S)` of the frames, and of frames and class.

        The second part is None in a network without classes.
        """
        features = self._features(video)
        with full_precision(features):
            scores = self.score(features).squeeze(2)
            if self.embed is None:
                return scores, None
            if labels is None:
                raise ValueError("a class-conditional discriminator needs labels (B,)")
            # The class of a video meets the features of that video's frames, and of no other's.
            return scores, torch.einsum("bsc,bc->bs", features, self.embed(labels))

    def _features(self, video: Tensor) -> Tensor:
        """What is scored: `(B, T, C, D, D)` -> `(B, S, widths[-1])`."""
        batch, count = video.shape[:2]
        if self.detail:
            video = with_detail(video, self.detail, over_time=len(self.volumes) > 0)
        if len(self.volumes):
            volume = to_volume(video)
            for block in self.volumes:
                volume = block(volume)
            video = volume.transpose(1, 2)
        x = to_frames(video)
        for block in self.frames:
            x = block(x)
        x = F.relu(x) if x.dtype == torch.float64 else F.relu(x).float()
        if self.patches:
            return x.flatten(2).transpose(1, 2).reshape(batch, -1, x.shape[1])
        return x.sum((2, 3)).unflatten(0, (batch, count))

    def forward(self, video: Tensor, labels: Tensor | None) -> Tensor:
        """`(B, T, C, D, D)`, classes `(B,)` or None -> scores `(B, S)`: the sum of both parts."""
        scores, projected = self.parts(video, labels)
        return scores if projected is None else scores + projected


def with_detail(video: Tensor, strength: float, *, over_time: bool) -> Tensor:
    """A video `(B, T, C, D, D)` and, `strength` times enlarged, what the mean of near pixels takes away from it.

    `(B, T, 2C, D, D)`; with `over_time` also what the mean of near frames takes away, `(B, T, 3C, D, D)`. At edges
    the means are over the pixels and frames that there are.
    """
    frames = to_frames(video)
    smooth = F.avg_pool2d(frames, NEAR_PIXELS, 1, NEAR_PIXELS // 2, count_include_pad=False)
    parts = [frames, strength * (frames - smooth)]
    if over_time:
        timeline = to_timeline(video)
        steady = F.avg_pool2d(timeline, (NEAR_FRAMES, 1), 1, (NEAR_FRAMES // 2, 0), count_include_pad=False)
        parts.append(strength * to_frames(from_timeline(timeline - steady, (video.shape[-2], video.shape[-1]))))
    return to_video(torch.cat(parts, dim=1), len(video))


def pool_to(video: Tensor, resolution: int) -> Tensor:
    """Average pooling of `(B, T, C, D, D)` to `resolution`, which divides D."""
    factor = video.shape[-1] // resolution
    return to_video(F.avg_pool2d(to_frames(video), factor), len(video)) if factor > 1 else video


def choose_frames(
    video: Tensor, count: int, generator: torch.Generator, *, first: int = 0, of: int | None = None
) -> Tensor:
    """`count` frames of each video `(B, T, ...)`, without replacement, in order; all when T <= count.

    The videos are numbers `first ..` `of` a batch (a whole one by default): its frames are drawn for all of it,
    so that a video gets the same ones wherever it is computed.
    """
    batch, total = video.shape[:2]
    if total <= count:
        return video
    drawn = torch.rand(batch if of is None else of, total, generator=generator)[first : first + batch]
    order = drawn.argsort(1)[:, :count].sort(1).values
    return torch.stack([sample[index] for sample, index in zip(video, order.to(video.device), strict=True)])


class LevelDiscriminator(nn.Module):
    """All discriminators of one level; their scores are concatenated (HVG appendix B).

    spatial  : single frames at full resolution
    temporal : the video, average-pooled 2x2, or as `temporal_pool` of the level says
    matching : [x^{l-1} repeated in time; x^l average-pooled to its size], above level 1 (HVG table 2 leaves it out)
    """

    def __init__(self, level: LevelConfig, num_classes: int, *, input_size: int | None) -> None:
        """`input_size`: resolution of x^{l-1}, None where nothing is to be matched, as at level 1."""
        super().__init__()
        self.input_size = input_size
        self.temporal_size = level.resolution // level.temporal_pool
        self.spatial = ResidualDiscriminator(
            level.spatial, in_channels=3, resolution=level.resolution, num_classes=num_classes, volumetric=0
        )
        self.temporal = ResidualDiscriminator(
            level.temporal, in_channels=3, resolution=self.temporal_size, num_classes=num_classes, volumetric=2
        )
        self.matching = None
        if input_size is not None:
            assert level.matching is not None
            self.matching = ResidualDiscriminator(
                level.matching, in_channels=6, resolution=input_size, num_classes=num_classes, volumetric=2
            )

    def forward(self, video: Tensor, frames: Tensor, labels: Tensor | None, low: Tensor | None) -> Tensor:
        """Scores `(B, k + T)` without the matching discriminator, `(B, k + 2T)` with it; more where they judge patches.

        `video` `(B, T, 3, D, D)`, `frames` `(B, k, 3, D, D)` chosen from it, `low` `(B, t, 3, d, d)`.
        """
        scores = [self.spatial(frames, labels), self.temporal(pool_to(video, self.temporal_size), labels)]
        if self.matching is not None:
            assert low is not None
            repeated = low.repeat_interleave(video.shape[1] // low.shape[1], dim=1)
            pair = torch.cat((repeated, pool_to(video, low.shape[-1])), dim=2)
            scores.append(self.matching(pair, labels))
        return torch.cat(scores, dim=1)
