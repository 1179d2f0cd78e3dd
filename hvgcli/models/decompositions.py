"""What the discriminators of a one-stage model see: TrIVD-GAN's table 1, and DVD-GAN's choices of phi."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hvgcli.config import BASE_RESOLUTION, OneStageConfig
from hvgcli.layers.layout import join_time
from hvgcli.models.discriminators import ResidualDiscriminator, pool_to


@dataclass(frozen=True)
class View:
    """The part of a video that one discriminator judges."""

    single: bool
    """Single frames (F, dF in the paper's table), each by itself, instead of the clip (clV, dV, crV)."""
    how: str
    """"whole"; "pooled": average-pooled by `factor`; "cropped": a random crop of 1/`factor` of height and width."""
    factor: int = 1
    count: int | None = None
    """K, frames that are drawn where single; None = as many as the training says (8)."""


FRAMES = View(True, "whole")
SMALL_FRAMES = View(True, "pooled", 2)
CLIP = View(False, "whole")
SMALL_CLIP = View(False, "pooled", 2)
CROPPED_CLIP = View(False, "cropped", 2)

DECOMPOSITIONS: dict[str, dict[str, View]] = {
    # ---- TrIVD-GAN table 1, from its first row to its last ----
    "clip": {"clip": CLIP},
    "downsampled": {"temporal": SMALL_CLIP},
    "cropped": {"local": CROPPED_CLIP},
    "cropped-downsampled": {"local": CROPPED_CLIP, "temporal": SMALL_CLIP},
    "mocogan-1": {"spatial": View(True, "whole", count=1), "clip": CLIP},
    "mocogan-8": {"spatial": View(True, "whole", count=8), "clip": CLIP},
    "dvd-gan": {"spatial": FRAMES, "temporal": SMALL_CLIP},
    "faster": {"spatial": SMALL_FRAMES, "local": CROPPED_CLIP},
    "stronger": {"spatial": SMALL_FRAMES, "local": CROPPED_CLIP, "temporal": SMALL_CLIP},
    # ---- DVD-GAN section 4.3: other phi before the temporal discriminator; 2x2 pooling is "dvd-gan" ----
    "phi-identity": {"spatial": FRAMES, "temporal": CLIP},
    "phi-4x4": {"spatial": FRAMES, "temporal": View(False, "pooled", 4)},
    "phi-crop": {"spatial": FRAMES, "temporal": CROPPED_CLIP},
}


def crop(video: Tensor, size: int, places: Tensor | None) -> Tensor:
    """`(B, T, C, D, D)` -> `(B, T, C, size, size)`, one corner for all frames of a clip.

    `places` `(B, 2)` in [0, 1) says where between top and bottom, left and right; None = the top left corner.
    """
    if places is None:
        return video[..., :size, :size]
    corners = (places.cpu() * (video.shape[-1] - size + 1)).long().tolist()
    memory = video.permute(0, 1, 3, 4, 2)  # (B, T, H, W, C): cut from it, the crops are in that order too
    cut = [clip[:, top : top + size, left : left + size] for clip, (top, left) in zip(memory, corners, strict=True)]
    return torch.stack(cut).permute(0, 1, 4, 2, 3)


class OneStageDiscriminator(nn.Module):
    """All discriminators of a decomposition (DVD-GAN section 3.1, TrIVD-GAN sections 3.1 and 4.2).

    They are the same residual networks but for what they see: as many blocks halve a pooled or cropped video as
    lead the whole one to 4x4 (TrIVD-GAN appendix A: the first four of five at 64 pixels). A predictor's clip is
    context + what follows; its single frames are drawn from what follows alone (DVD-GAN appendix B.4).
    """

    def __init__(self, level: OneStageConfig, num_classes: int) -> None:
        super().__init__()
        self.views = DECOMPOSITIONS[level.decomposition]
        self.resolution = level.resolution
        # the class of all samples is 0 where there are no classes (DVD-GAN appendix B.4)
        self.dummy_class = level.predictor and not num_classes
        classes = num_classes or int(self.dummy_class)
        halvings = (level.resolution // BASE_RESOLUTION).bit_length() - 1
        self.networks = nn.ModuleDict(
            {
                name: ResidualDiscriminator(
                    level.discriminator,
                    in_channels=3,
                    resolution=level.resolution // view.factor,
                    num_classes=classes,
                    volumetric=0 if view.single else 2,
                    halvings=halvings,
                )
                for name, view in self.views.items()
            }
        )

    def frames_wanted(self, default: int) -> int:
        """Single frames to draw: the decomposition's own K, else `default`; 0 where none are seen."""
        return max((view.count or default for view in self.views.values() if view.single), default=0)

    def parts(
        self, video: Tensor, frames: Tensor, labels: Tensor | None, low: Tensor | None, places: Tensor | None
    ) -> Mapping[str, tuple[Tensor, Tensor | None]]:
        """For each discriminator its scores `(B, t)` of the video alone, and of video and class (None without).

        `video` `(B, T, 3, D, D)`, `frames` `(B, K, 3, D, D)` drawn from it, `low` the context `(B, C, 3, D, D)`
        of a predictor, `places` where a crop is taken (see `crop`).
        """
        if self.dummy_class:
            labels = torch.zeros(len(video), dtype=torch.long, device=video.device)
        clip = video if low is None else join_time(low, video)
        return {
            name: self.networks[name].parts(self._seen(view, clip, frames, places), labels)  # type: ignore[operator]
            for name, view in self.views.items()
        }

    def _seen(self, view: View, clip: Tensor, frames: Tensor, places: Tensor | None) -> Tensor:
        video, size = frames if view.single else clip, self.resolution // view.factor
        if view.how == "pooled":
            return pool_to(video, size)
        return crop(video, size, places) if view.how == "cropped" else video
