"""What all recurrent units share: the order of time, the part of x for all timesteps, shared weights' gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Step = Callable[[Tensor, Tensor], Tensor]
"""State `(B, C, H, W)` and x's part of one timestep -> the next state."""


def time_first(video: Tensor) -> Tensor:
    """`(B, T, C, H, W)` -> `(T, B, C, H, W)`, each step dense and channels last."""
    return video.permute(1, 0, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def batch_first(steps: Tensor) -> Tensor:
    """`(T, B, C, H, W)` -> `(B, T, C, H, W)` in B, T, H, W, C memory."""
    return steps.permute(1, 0, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def split_channels(x: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """`(B, sum of sizes, H, W)` -> views `(B, size, H, W)`.

    They are taken from B, H, W, C memory, so that their gradients are put together in it, whatever their order.
    """
    return [part.permute(0, 3, 1, 2) for part in x.permute(0, 2, 3, 1).split(list(sizes), dim=-1)]


def _apply(x: Tensor, weight: Tensor) -> Tensor:
    """A size-keeping convolution, or a linear map where the weight is a matrix; no bias."""
    return F.conv2d(x, weight, padding=weight.shape[-1] // 2) if weight.ndim == 4 else F.linear(x, weight)


def mirrored(weight: Tensor) -> Tensor:
    """The kernel of a size-keeping convolution's input gradient, which is itself such a convolution."""
    return weight.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)


def _weight_gradient(x: Tensor, weight: Tensor, grad: Tensor) -> Tensor:
    if weight.ndim == 2:
        return grad.t() @ x
    return torch.nn.grad.conv2d_weight(x, list(weight.shape), grad, padding=weight.shape[-1] // 2)


class _Uses:
    """What the uses of one weight leave for the way back: inputs and gradients of outputs, one pair a timestep."""

    def __init__(self) -> None:
        self._pairs: list[tuple[Tensor, Tensor]] = []
        self._walk = -1
        self._mirrored: Tensor | None = None

    def leave(self, x: Tensor, grad: Tensor) -> None:
        """One use's input and the gradient of its output."""
        walk = torch._C._current_graph_task_id()
        if walk != self._walk:  # an earlier walk, which was not asked for the weight, may have left pairs
            self._pairs.clear()
            self._walk = walk
        self._pairs.append((x, grad))

    def input_gradient(self, grad: Tensor, weight: Tensor) -> Tensor:
        """The gradient of one use's input."""
        if weight.ndim == 2:
            return grad @ weight
        if self._mirrored is None:
            self._mirrored = mirrored(weight)
        return _apply(grad, self._mirrored)

    def weight_gradient(self, weight: Tensor) -> Tensor | None:
        """The gradient of the weight over all uses that were walked back, which are then forgotten."""
        if not self._pairs:
            return None
        inputs, outputs = (torch.cat(part) for part in zip(*self._pairs, strict=True))
        self._pairs.clear()
        return _weight_gradient(inputs, weight, outputs)


class _Shared(torch.autograd.Function):
    """The weight itself; its gradient is made once, when all uses have been walked back."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, uses: _Uses) -> Tensor:
        ctx.uses = uses
        ctx.set_materialize_grads(False)  # the uses give none
        ctx.save_for_backward(weight)
        return weight.view_as(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None]:
        return ctx.uses.weight_gradient(ctx.saved_tensors[0]), None


class _Use(torch.autograd.Function):
    """One use of a shared weight: its way back carries the gradient of its input alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, uses: _Uses) -> Tensor:
        ctx.uses = uses
        ctx.save_for_backward(x, weight)
        return _apply(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        if ctx.needs_input_grad[1]:
            ctx.uses.leave(x, grads[0])
        return (ctx.uses.input_gradient(grads[0], weight) if ctx.needs_input_grad[0] else None), None, None


def shared(weight: Tensor, like: Tensor) -> Callable[[Tensor], Tensor]:
    """A convolution or linear map without bias that is applied at every timestep, in the type of `like`.

    Autograd alone computes a weight gradient at every timestep and adds them up; with this one the weight
    gradient of all timesteps is a single convolution or product.
    """
    weight = weight.to(like.dtype)
    if weight.ndim == 4:  # channels last as the states are: wide convolutions gain up to a quarter on a processor
        weight = weight.contiguous(memory_format=torch.channels_last)
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():  # a compiler does not see what the uses leave
        return lambda x: _apply(x, weight)
    uses = _Uses()
    token = _Shared.apply(weight, uses)
    return lambda x: _Use.apply(x, token, uses)


def split_weights(layers: Iterable[nn.Conv2d], hidden: int) -> tuple[Tensor, Tensor, Tensor]:
    """Convolutions of [h; x] side by side: the parts of their weights on h and on x, and their biases.

    `hidden` is the number of channels of h.
    """
    weights, biases = zip(*((layer.weight, layer.bias) for layer in layers), strict=True)
    weight = torch.cat(weights)
    return weight[:, :hidden], weight[:, hidden:], torch.cat(biases)


def input_parts(x: Tensor, weight: Tensor, bias: Tensor, steps: int | None) -> Sequence[Tensor]:
    """One convolution of all timesteps of x `(B, T, C, H, W)` -> T tensors `(B, K, H, W)`.

    With `steps`, x is `(B, 1, C, H, W)` and the one result counts for that many timesteps.
    """
    if steps is not None and x.shape[1] != 1:
        raise ValueError(f"got {x.shape[1]} timesteps of x and steps={steps}: give one timestep, or no steps")
    part = F.conv2d(time_first(x).flatten(0, 1), weight, bias, padding=weight.shape[-1] // 2)
    # Taken apart in B, H, W, K memory, so that the gradients are put together in it too.
    memory = part.permute(0, 2, 3, 1).unflatten(0, (-1, len(x))).unbind(0)
    parts = [step.permute(0, 3, 1, 2) for step in memory]
    return parts if steps is None else parts * steps


def unrolled(step: Step, parts: Sequence[Tensor], state: Tensor | None, channels: int) -> tuple[Tensor, Tensor]:
    """`step(state, part)` for every part -> all states `(B, T, C, H, W)`, the last one `(B, C, H, W)`."""
    batch, _, height, width = parts[0].shape
    if state is None:
        state = parts[0].new_zeros((batch, height, width, channels)).permute(0, 3, 1, 2)
    state = state.to(parts[0].dtype, memory_format=torch.channels_last)
    states = []
    for part in parts:
        state = step(state, part)
        states.append(state.permute(0, 2, 3, 1))
    return torch.stack(states, dim=1).permute(0, 1, 4, 2, 3), state
