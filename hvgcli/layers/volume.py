"""The parts of hp-VAE-GAN's networks, for volumes `(B, C, T, H, W)` in `torch.channels_last_3d` memory.

An image is a volume of one frame, and its 2D convolutions are those whose kernel has one frame: so one
network serves both.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvgcli.errors import WeightsError
from hvgcli.layers.weights import init_orthogonal

SLOPE = 0.2  # of every LeakyReLU; the paper gives none, this is SinGAN's
EPS = 1e-5
SMALL = 20_480  # values of one sample, its width not counted, up to which torch leaves oneDNN


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Size-keeping convolution: x `(B, I, T, H, W)`, weight `(O, I, t, k, k)` of odd sides -> `(B, O, T, H, W)`.

    The weight is cast to the type of x. A kernel of one frame runs as a 2D convolution of the frames.
    """
    dense = weight.to(x.dtype, memory_format=torch.channels_last_3d)
    bias = None if bias is None else bias.to(x.dtype)
    if dense.shape[2] == 1:
        return _framewise(x, dense[:, :, 0], bias)
    if _falls_off(x):
        return _in_halves(x, dense, bias)
    return F.conv3d(x, dense, bias, padding=[side // 2 for side in dense.shape[2:]])


def _framewise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    frames = x.transpose(1, 2).flatten(0, 1)  # (B*T, I, H, W)
    y = F.conv2d(frames, weight, bias, padding=[side // 2 for side in weight.shape[2:]])
    return y.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)


def _falls_off(x: Tensor) -> bool:
    """Whether torch would use its own slow float32 convolution: on a CPU, for a single small sample."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and len(x) == 1 and x[0, ..., 0].numel() <= SMALL


def _in_halves(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The same convolution on the upper and the lower half as a batch of two, which runs on oneDNN.

    Measured for 64 channels on 4x32x56: 6.5 ms instead of 29.
    """
    time, margin, across = (side // 2 for side in weight.shape[2:])
    height = x.shape[3]
    half = (height + 1) // 2
    padded = F.pad(x, (0, 0, margin, margin + height % 2))
    halves = torch.cat((padded[:, :, :, : half + 2 * margin], padded[:, :, :, half:]))
    y = F.conv3d(halves, weight, bias, padding=(time, 0, across))
    return torch.cat((y[:1], y[1:]), dim=3)[:, :, :, :height]


def transposed(g: Tensor, weight: Tensor) -> Tensor:
    """The transpose of `convolve` without bias: g `(B, O, T, H, W)` -> `(B, I, T, H, W)`, differentiable in both."""
    return convolve(g, weight.flip((2, 3, 4)).transpose(0, 1), None)


class VolumeConv(nn.Conv3d):
    """`convolve` with weights of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight, self.bias)


def volume_conv(in_channels: int, out_channels: int, kernel: int, *, volumetric: bool, spectral: bool) -> VolumeConv:
    """A k x k x k convolution, k x k where not volumetric, with orthogonal weights."""
    sides = (kernel if volumetric else 1, kernel, kernel)
    layer: VolumeConv = init_orthogonal(VolumeConv(in_channels, out_channels, sides), spectral)
    return layer


class VolumeNorm(nn.Module):
    """Batch norm of volumes, with standing statistics for inference.

    In training mode the mean and variance are those of the batch at hand, as the paper trains; otherwise
    those that were recorded over many passes, never silently others.
    """

    mean: Tensor
    var: Tensor
    passes: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("var", torch.ones(channels))
        self.register_buffer("passes", torch.zeros((), dtype=torch.long))
        self.sums: Tensor | None = None  # of mean, mean^2 and var, (3, C) float64, while statistics are recorded

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            if self.sums is not None:
                self._observe(x)
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=EPS)
        return F.batch_norm(x, self.mean, self.var, self.weight, self.bias, training=False, eps=EPS)

    def _observe(self, x: Tensor) -> None:
        assert self.sums is not None
        wide = x.detach().double()
        var, mean = torch.var_mean(wide, (0, 2, 3, 4), correction=0)
        self.sums += torch.stack((mean, mean.square(), var)).to(self.sums)

    def begin_recording(self) -> None:
        """From now on, every pass in training mode counts."""
        self.sums = torch.zeros(3, len(self.weight), dtype=torch.float64)

    def end_recording(self, passes: int) -> None:
        """Keep the pooled moments of `passes` equal passes (law of total variance)."""
        assert self.sums is not None
        mean, square, var = self.sums / passes
        self.mean.copy_(mean)
        self.var.copy_(var + (square - mean.square()).clamp_min(0))
        self.passes.fill_(passes)
        self.sums = None


def require_statistics(module: nn.Module) -> None:
    """`WeightsError` where a norm of `module` has no standing statistics yet."""
    for part in module.modules():
        if isinstance(part, VolumeNorm) and not int(part.passes):
            raise WeightsError("these weights have no standing statistics: finish the training first")


def enlarge(x: Tensor, size: tuple[int, int, int]) -> Tensor:
    """The arrow of equation 6: x `(B, C, T, H, W)` by trilinear interpolation to `size` (frames, height, width).

    Over time the first and the last frame stay what they are (section 3.2); in space pixels are areas, as in
    the pyramid of the real clip, so that both lie on each other.
    """
    frames, height, width = size
    if x.shape[2] != frames:
        x = F.interpolate(x, (frames, *x.shape[3:]), mode="trilinear", align_corners=True)
    if tuple(x.shape[3:]) == (height, width):
        return x
    return F.interpolate(x, size, mode="trilinear", align_corners=False)
