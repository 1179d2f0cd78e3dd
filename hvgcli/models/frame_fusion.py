"""TSRU's fusion applied to the frames themselves: an aid of the small predictors, not of the papers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hvgcli.layers.layout import as_video_order, to_frames
from hvgcli.layers.warping import exact, warp
from hvgcli.layers.weights import conv2d

STAY = 6.0  # logit of the kernels' centre at the start: 94 % of a pixel stays where it is (k = 5)
KEEP = 3.0  # logit of u at the start: 95 % of a frame is that before it


class FrameFusion(nn.Module):
    """x_t = u w(x_{t-1}; theta) + (1 - u) c, with c the frame that the network makes (TrIVD-GAN equations 7, 10).

    theta are pixelwise kernels (PTSRU) and u one map for all three colours, both 3x3 convolutions of the last
    features. The features of the finest recurrent unit have half the resolution of the frames: what they do not
    hold of the last frame, a small network would have to paint anew. It begins as a copy of the last frame.
    """

    def __init__(self, channels: int, kernel: int, *, spectral: bool) -> None:
        """`kernel`: k, odd: content moves by up to (k - 1) / 2 pixels a frame."""
        super().__init__()
        self.kernels = conv2d(channels, kernel**2, spectral=spectral)
        self.update = conv2d(channels, 1, spectral=spectral)
        if not self.kernels.bias.is_meta:  # type: ignore[union-attr]
            with torch.no_grad():
                for layer in (self.kernels, self.update):
                    layer.weight.mul_(0.1)
                self.kernels.bias[kernel**2 // 2] = STAY  # type: ignore[index]
                self.update.bias.fill_(KEEP)  # type: ignore[union-attr]

    def weights(self, features: Tensor) -> Tensor:
        """Last features `(B, T, C, H, W)` -> the kernels of each pixel `(B, T, k*k, H, W)`, in float32 at least."""
        logits = self.kernels(to_frames(features))
        return exact(logits).softmax(1).unflatten(0, features.shape[:2])

    def forward(self, features: Tensor, content: Tensor, frame: Tensor) -> Tensor:
        """Last features `(B, T, C, H, W)`, made frames c `(B, T, 3, H, W)`, the frame before `(B, 3, H, W)`.

        Returns the fused frames `(B, T, 3, H, W)`.
        """
        kernels = self.weights(features).unbind(1)
        update = exact(self.update(to_frames(features))).sigmoid().unflatten(0, features.shape[:2]).unbind(1)
        frames = []
        for theta, u, c in zip(kernels, update, content.unbind(1), strict=True):
            frame = torch.lerp(c, warp(frame.to(c), theta).to(c), u.to(c))
            frames.append(frame)
        return as_video_order(torch.stack(frames, dim=1))
