"""The parts of hp-VAE-GAN's networks, for volumes `(B, C, T, H, W)` in `torch.channels_last_3d` memory.

An image is a volume of one frame, and its 2D convolutions are those whose kernel has one frame: so one
network serves both.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvgcli.errors import WeightsError
from hvgcli.layers.few_channels import FEW, to_few, weight_gradient
from hvgcli.layers.weights import init_orthogonal

SLOPE = 0.2  # of every LeakyReLU; the paper gives none, this is SinGAN's
EPS = 1e-5
SMALL = 20_480  # values of one sample, its width not counted, up to which torch leaves oneDNN


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, *, hold_ends: bool = False) -> Tensor:
    """Size-keeping convolution: x `(B, I, T, H, W)`, weight `(O, I, t, k, k)` of odd sides -> `(B, O, T, H, W)`.

    Outside of x are zeros; with hold_ends, before the first frame and after the last one are these again.
    The weight is cast to the type of x. A kernel of one frame runs as a 2D convolution of the frames. On a CPU,
    a result of a few channels is at least float32, whatever x is.
    """
    margin = weight.shape[2] // 2
    if hold_ends and margin:
        longer = with_ends(x, margin)
        if x.device.type == "cpu" and min(weight.shape[:2]) <= FEW:
            return convolve(longer, weight, bias)[:, :, margin:-margin]
        bias = None if bias is None else bias.to(x.dtype)
        return _library(longer, weight.to(x.dtype, memory_format=torch.channels_last_3d), bias, margin=0)
    if x.device.type == "cpu" and len(weight) <= FEW:
        y: Tensor = _ToFew.apply(x, weight.to(x.dtype))  # type: ignore[no-untyped-call]
        return y if bias is None else y + bias.to(y.dtype).view(-1, 1, 1, 1)
    dense = weight.to(x.dtype, memory_format=torch.channels_last_3d)
    bias = None if bias is None else bias.to(x.dtype)
    if dense.shape[2] == 1:
        return _framewise(x, dense[:, :, 0], bias)
    if x.device.type == "cpu" and weight.shape[1] <= FEW and x.requires_grad:
        return _FromFew.apply(x, dense, bias)  # type: ignore[no-any-return, no-untyped-call]
    return _library(x, dense, bias)


def with_ends(x: Tensor, margin: int) -> Tensor:
    """x `(B, C, T, H, W)` with its first and its last frame `margin` times more."""
    return torch.cat((*(x[:, :, :1],) * margin, x, *(x[:, :, -1:],) * margin), dim=2)


def _library(x: Tensor, weight: Tensor, bias: Tensor | None, margin: int | None = None) -> Tensor:
    """By torch, for kernels of several frames; `margin` of zeros before and after the frames, None to keep them all."""
    middle, *space = (side // 2 for side in weight.shape[2:])
    time = middle if margin is None else margin
    if x.shape[2] == 1 and time == middle:  # before and after a single frame are only zeros
        return _framewise(x, weight[:, :, middle], bias)
    if _falls_off(x):
        return _in_halves(x, weight, bias, time)
    if _is_shorter(x, weight):
        return F.conv3d(F.pad(x, (0, 0, 0, 0, time, time)), weight, bias, padding=(0, *space))
    return F.conv3d(x, weight, bias, padding=(time, *space))


def _is_shorter(x: Tensor, weight: Tensor) -> bool:
    """Whether torch would give a wrong gradient of the weight: on a CPU, in bfloat16, for fewer frames than the kernel
    has. oneDNN then leaves values as they were in memory, often not finite (torch 2.13; on a processor with AMX
    even for a single frame); with zeros put before and after the frames it does not.
    """
    return x.device.type == "cpu" and x.dtype == torch.bfloat16 and x.shape[2] < weight.shape[2]


class _ToFew(torch.autograd.Function):
    """`to_few`, whose gradient at its input is a convolution from a few channels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return to_few(x, weight)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        g = g.to(x.dtype, memory_format=torch.channels_last_3d)
        at_x = transposed(g, weight) if ctx.needs_input_grad[0] else None
        at_weight = weight_gradient(x, g, weight.shape[2:]) if ctx.needs_input_grad[1] else None
        return at_x, at_weight


class _FromFew(torch.autograd.Function):
    """A convolution from a few channels, whose gradient at its input is one to a few."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _library(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        at_x = transposed(g, weight).to(x.dtype) if ctx.needs_input_grad[0] else None
        at_weight = None
        if ctx.needs_input_grad[1]:  # that of the transposed convolution, with input and output changed round
            at_weight = mirrored(weight_gradient(g, x, weight.shape[2:]))
        return at_x, at_weight, g.sum((0, 2, 3, 4)) if ctx.needs_input_grad[2] else None


def _framewise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    frames = x.transpose(1, 2).flatten(0, 1)  # (B*T, I, H, W)
    y = F.conv2d(frames, weight, bias, padding=[side // 2 for side in weight.shape[2:]])
    return y.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)


def _falls_off(x: Tensor) -> bool:
    """Whether torch would use its own slow float32 convolution: on a CPU, for a single small sample."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and len(x) == 1 and x[0, ..., 0].numel() <= SMALL


def _in_halves(x: Tensor, weight: Tensor, bias: Tensor | None, time: int) -> Tensor:
    """The same convolution on the upper and the lower half as a batch of two, which runs on oneDNN.

    Measured for 64 channels on 4x32x56: 6.5 ms instead of 29.
    """
    _, margin, across = (side // 2 for side in weight.shape[2:])
    height = x.shape[3]
    half = (height + 1) // 2
    padded = F.pad(x, (0, 0, margin, margin + height % 2))
    halves = torch.cat((padded[:, :, :, : half + 2 * margin], padded[:, :, :, half:]))
    y = F.conv3d(halves, weight, bias, padding=(time, 0, across))
    return torch.cat((y[:1], y[1:, :, :, : height - half]), dim=3)


def transposed(g: Tensor, weight: Tensor, *, hold_ends: bool = False) -> Tensor:
    """The transpose of `convolve` without bias: g `(B, O, T, H, W)` -> `(B, I, T, H, W)`, differentiable in both."""
    margin = weight.shape[2] // 2
    if not (hold_ends and margin):
        return convolve(g, mirrored(weight), None)
    nothing = torch.zeros_like(g[:, :, :1]).expand(-1, -1, margin, -1, -1)
    y = convolve(torch.cat((nothing, g, nothing), dim=2), mirrored(weight), None)
    return _ends_folded(y, margin)


def _ends_folded(y: Tensor, margin: int) -> Tensor:
    """The transpose of `with_ends`: what the repeated frames got goes to the frame that they repeat."""
    before, y, after = y[:, :, :margin], y[:, :, margin:-margin], y[:, :, -margin:]
    first, last = before.sum(2, keepdim=True), after.sum(2, keepdim=True)
    if y.shape[2] == 1:
        return y + first + last
    return torch.cat((y[:, :, :1] + first, y[:, :, 1:-1], y[:, :, -1:] + last), dim=2)


def mirrored(weight: Tensor) -> Tensor:
    """The weight `(I, O, t, k, k)` of the transposed convolution, for that of a convolution, `(O, I, t, k, k)`."""
    return weight.flip((2, 3, 4)).transpose(0, 1)


class VolumeConv(nn.Conv3d):
    """`convolve` with weights of its own."""

    hold_ends = False

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight, self.bias, hold_ends=self.hold_ends)


def volume_conv(
    in_channels: int, out_channels: int, kernel: int, *, volumetric: bool, spectral: bool, hold_ends: bool = False
) -> VolumeConv:
    """A k x k x k convolution, k x k where not volumetric, with orthogonal weights."""
    sides = (kernel if volumetric else 1, kernel, kernel)
    layer: VolumeConv = init_orthogonal(VolumeConv(in_channels, out_channels, sides), spectral)
    layer.hold_ends = hold_ends
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
