"""The same generators written the plain way: contiguous float32, whole videos at once.

This is what one writes first from the paper, and the yardstick of `generate.py` and, with the
discriminators and updates of `plain_training.py`, of `train_step.py`: no memory order, no fused norm, no
shared input convolutions, no bfloat16. It reads the weights of our modules, so the two can also be
compared number by number.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvgcli.config import BASE_RESOLUTION
from hvgcli.layers.norm import EPS, TimestepNorm
from hvgcli.models.dvd_gan import DvdGan
from hvgcli.models.level1 import Outline
from hvgcli.models.upsampler import Upsampler


def norm(layer: TimestepNorm, x: Tensor, cond: Tensor, rows: Tensor | None) -> Tensor:
    """Conditional batch norm of `(B, T, C, H, W)` with the table's rows, or the batch's statistics; then ReLU."""
    if rows is None:
        mean, var = x.mean((0, 3, 4), keepdim=True), x.var((0, 3, 4), unbiased=False, keepdim=True)
    else:
        mean, var = (part[rows][None, :, :, None, None] for part in layer.table)
    if layer.cond_dim is None:
        gain, bias = layer.weight[None], layer.bias[None]
    else:
        gain, bias = 1 + layer.to_gain(cond), layer.to_bias(cond)
    normalised = (x - mean) / torch.sqrt(var + EPS)
    return torch.relu(normalised * gain[:, None, :, None, None] + bias[:, None, :, None, None])


def conv(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A 2D convolution on every frame of `(B, T, C, H, W)`."""
    return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def block(layer: nn.Module, x: Tensor, cond: Tensor, rows: Tensor | None) -> Tensor:
    """norm-relu-(double)-conv-norm-relu-conv plus skip."""

    def double(video: Tensor) -> Tensor:
        if not layer.doubles:
            return video
        return F.interpolate(video.flatten(0, 1), scale_factor=2.0).unflatten(0, video.shape[:2])

    h = conv(layer.conv1, double(norm(layer.norm1, x, cond, rows)))
    h = conv(layer.conv2, norm(layer.norm2, h, cond, rows))
    skip = double(x)
    return h + (skip if isinstance(layer.skip, nn.Identity) else conv(layer.skip, skip))


def gru(layer: nn.Module, x: Tensor) -> Tensor:
    """The equations of DVD-GAN appendix B.1, one timestep after the other."""
    h = torch.zeros_like(x[:, 0])
    states = []
    for t in range(x.shape[1]):
        r = torch.sigmoid(layer.reset(torch.cat((h, x[:, t]), 1)))
        u = torch.sigmoid(layer.update(torch.cat((h, x[:, t]), 1)))
        c = torch.relu(layer.candidate(torch.cat((x[:, t], r * h), 1)))
        h = u * h + (1 - u) * c
        states.append(h)
    return torch.stack(states, 1)


def separable(layer: nn.Module, x: Tensor, cond: Tensor, rows: Tensor | None) -> Tensor:
    """norm-relu, a (3, 1, 1) and a (1, 3, 3) convolution, plus skip."""
    h = norm(layer.norm, x, cond, rows).transpose(1, 2)
    h = F.conv3d(h, layer.temporal.conv.weight[:, :, :, None], layer.temporal.conv.bias, padding=(1, 0, 0))
    beyond = "replicate" if layer.spatial.padding_mode == "replicate" else "constant"
    h = F.conv3d(F.pad(h, (1, 1, 1, 1, 0, 0), mode=beyond), layer.spatial.weight[:, :, None], layer.spatial.bias)
    return x + h.transpose(1, 2)


def first_map(model: Outline | DvdGan | Upsampler, cond: Tensor, frames: int) -> Tensor:
    """The 4x4 map, or one value for all of it, copied to every timestep."""
    made = model.first(cond).contiguous()
    return made.repeat(1, frames, 1, BASE_RESOLUTION // made.shape[3], BASE_RESOLUTION // made.shape[4])


def to_rgb(model: Outline | DvdGan | Upsampler, x: Tensor, cond: Tensor, rows: Tensor | None) -> Tensor:
    return torch.tanh(conv(model.to_rgb, norm(model.norm, x, cond, rows)))


def outline(model: Outline | DvdGan, z: Tensor, labels: Tensor | None, frames: int) -> Tensor:
    """`RecurrentGenerator.forward` of ConvGRU units without attention, the plain way."""
    cond, rows = model.condition(z, labels), None if model.training else model.rows.index(0, frames, frames)
    x = first_map(model, cond, frames)
    for unit in model.units:
        x = gru(unit.recurrent, x)
        x = block(unit.block2, block(unit.block1, x, cond, rows), cond, rows)
    return to_rgb(model, x, cond, rows)


def upsample(model: Upsampler, low: Tensor, z: Tensor, labels: Tensor | None) -> Tensor:
    """`Upsampler.forward`, the plain way."""
    low = low.contiguous().repeat_interleave(model.times_time, 1)
    frames = low.shape[1]
    cond, rows = model.condition(z, labels), None if model.training else model.rows.index(0, frames, frames)

    def add(layer: nn.Module, x: Tensor) -> Tensor:
        if isinstance(layer, nn.Identity):
            return x
        resized = F.interpolate(low.flatten(0, 1), size=x.shape[-2:], mode="nearest").unflatten(0, low.shape[:2])
        return x + conv(layer, resized)

    x = first_map(model, cond, frames)
    for unit in model.units:
        x = add(unit.residuals[0], separable(unit.block3d, x, cond, rows))
        x = add(unit.residuals[1], block(unit.block1, x, cond, rows))
        x = add(unit.residuals[2], block(unit.block2, x, cond, rows))
    video = to_rgb(model, x, cond, rows)
    if not model.level.output_residual:
        return video
    ahead = torch.cat((low[:, model.times_time :], low[:, -model.times_time :]), 1)
    share = (torch.arange(frames, device=low.device) % model.times_time)[None, :, None, None, None] / model.times_time
    base = torch.lerp(low, ahead, share).flatten(0, 1)
    base = F.interpolate(base, size=video.shape[-2:], mode="bilinear").unflatten(0, low.shape[:2])
    return (base + video).clamp(-1, 1)


@torch.inference_mode()
def generate(generators: list[nn.Module], latents: list[Tensor], labels: Tensor | None, frames: int) -> Tensor:
    """A whole video `(B, T, 3, D, D)` from all levels; the generators must have their tables installed."""
    from hvgcli.sampling.unroll import frames_per_level

    video = outline(generators[0], latents[0], labels, frames_per_level(generators, frames)[0])
    for model, z in zip(generators[1:], latents[1:], strict=True):
        video = upsample(model, video, z, labels)
    return video[:, :frames]
