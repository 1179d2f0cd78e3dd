"""Training in several processes: which samples each has, and the few things they tell one another.

`torchrun` starts the processes and says in the environment who is who; one process alone needs none of it.
Every random draw is made for the whole batch of a step and then cut, so that a sample, its noise and its
frames are the same whichever process computes them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hvgcli.errors import ResourceError, UsageError


@dataclass(frozen=True)
class Share:
    """Samples `first .. first + count - 1` of the `total` of a step: one part of one process."""

    first: int
    count: int
    total: int

    @classmethod
    def whole(cls, total: int) -> Share:
        """All samples of a step: one process, one part."""
        return cls(0, total, total)

    def of(self, drawn: Tensor) -> Tensor:
        """This share of something drawn for the whole batch `(total, ...)`."""
        return drawn[self.first : self.first + self.count]


@dataclass(frozen=True)
class World:
    """The processes of a run, seen from one of them."""

    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    @property
    def group(self) -> dist.ProcessGroup | None:
        """What the processes speak over; None for one alone."""
        return dist.group.WORLD if self.size > 1 else None

    def shares(self, batch_size: int, parts: int) -> list[Share]:
        """This process's share of each of the `parts` that a batch is computed in.

        A part is spread over all processes: part a is samples a*B/parts .. (a+1)*B/parts - 1, whatever
        the number of processes, so that batch norm sees the same samples together. One sample a process
        is enough.

        Raises:
            UsageError: the batch does not divide.
        """
        pieces = parts * self.size
        if batch_size % pieces or batch_size < pieces:
            raise UsageError(
                f"a batch of {batch_size} cannot be cut into {pieces} equal parts: give a --batch-size that is a "
                f"multiple of {pieces}, or change --accumulate ({parts}) or the number of processes ({self.size})"
            )
        count = batch_size // pieces
        return [Share((part * self.size + self.rank) * count, count, batch_size) for part in range(parts)]

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in any process."""
        if self.size == 1:
            return flag
        told = torch.tensor(float(flag), device=_wire())
        dist.all_reduce(told, dist.ReduceOp.MAX)
        return bool(told.item())

    def mean(self, metrics: dict[str, float]) -> dict[str, float]:
        """Metrics averaged over the processes, which all have the same names in the same order."""
        if self.size == 1 or not metrics:
            return metrics
        values = torch.tensor(list(metrics.values()), dtype=torch.float64, device=_wire())
        dist.all_reduce(values)
        return dict(zip(metrics, (values / self.size).tolist(), strict=True))

    def average(self, value: Tensor) -> Tensor:
        """`value` averaged over the processes, with gradient: for losses that are not linear in the samples."""
        return value if self.size == 1 else _Average.apply(value, self.size)

    def gather(self, value: Tensor) -> Tensor:
        """`value` `(B, ...)` of all processes one after the other, with gradient: for losses that pair samples."""
        return value if self.size == 1 else _Gather.apply(value, self.rank, self.size)

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()


ALONE = World()
"""One process, without a group."""


class _Average(torch.autograd.Function):
    """Mean over processes. Its gradient is the mean of theirs, because all of their losses depend on it."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, size: int) -> Tensor:
        ctx.size = size
        return _averaged(value, size)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _averaged(grads[0], ctx.size), None


class _Gather(torch.autograd.Function):
    """All processes' values; a value's gradient is the sum of what their losses feel of it.

    DistributedDataParallel averages the gradients of the weights: those of the mean loss come out.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, rank: int, size: int) -> Tensor:
        ctx.first, ctx.count = rank * len(value), len(value)
        parts = [torch.empty_like(value, memory_format=torch.contiguous_format) for _ in range(size)]
        dist.all_gather(parts, value.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.first : ctx.first + ctx.count], None, None


def _averaged(value: Tensor, size: int) -> Tensor:
    total = value.clone()
    dist.all_reduce(total)
    return total / size


class AveragedLoss:
    """A loss whose gradients come out averaged over the processes (DistributedDataParallel; none for one alone).

    `compute(*arguments)` gives the loss `()` first; the parameters of `trained` must all take part in it.
    """

    def __init__(self, compute: Callable[..., Any], trained: Sequence[nn.Module], world: World) -> None:
        module = _Computation(compute, trained)
        self._call: nn.Module = module if world.size == 1 else DistributedDataParallel(module)

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def part(self, *, last: bool) -> AbstractContextManager[object]:
        """Around forward and backward of one part of a batch: only the last one tells the others its gradients."""
        if last or not isinstance(self._call, DistributedDataParallel):
            return nullcontext()
        return self._call.no_sync()


class _Computation(nn.Module):
    """A function as the `forward` of a module that has the parameters it trains, as DDP needs it.

    Buffers stay outside, so that DDP does not send them around: they are singular vectors, which every
    process computes from the same weights.
    """

    def __init__(self, compute: Callable[..., Any], trained: Sequence[nn.Module]) -> None:
        super().__init__()
        self.trained = nn.ParameterList(parameter for part in trained for parameter in part.parameters())
        self.compute = compute

    def forward(self, *arguments: Any) -> Any:
        return self.compute(*arguments)


def _wire() -> torch.device:
    """Where a tensor must be for the process group to carry it."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def launched_size() -> int:
    """Processes that torchrun started; 1 without it.

    Raises:
        UsageError: the environment names several processes, but not which of them this is.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if not size.isdecimal() or int(size) < 1:
        raise UsageError(f"WORLD_SIZE is {size!r}, expected a number of processes: unset it, or start with torchrun")
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if int(size) > 1 and missing:
        raise UsageError(f"WORLD_SIZE is {size} without {', '.join(missing)}: start the processes with torchrun")
    return int(size)


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Join the processes that torchrun started (gloo on CPUs, nccl on GPUs); leaves the group at the end.

    On GPUs each process gets its own, by LOCAL_RANK, as the current device: "cuda" without a number is it.

    Raises:
        ResourceError: this machine has fewer GPUs than processes.
    """
    if launched_size() == 1:
        yield World()
        return
    if device.type == "cuda":
        dist.init_process_group("nccl", device_id=_own_gpu())
    else:
        dist.init_process_group("gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def _own_gpu() -> torch.device:
    """The GPU of this process, made the current one."""
    number, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= count:
        raise ResourceError(
            f"process {number} of this machine has no GPU of its own, there are {count}: lower --nproc-per-node"
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)
