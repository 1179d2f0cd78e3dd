"""Training in several processes: which samples each has, and the few things they tell one another.

`torchrun` starts the processes and says in the environment who is who; one process alone needs none of it.
Every random draw is made for the whole batch of a step and then cut, so that a sample, its noise and its
frames are the same whichever process computes them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Share:
    """Samples `first .. first + count - 1` of the `total` of a step: one part of one process."""

    first: int
    count: int
    total: int

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

    def shares(self, batch_size: int, parts: int) -> list[Share]:
        """This process's share of each of the `parts` that a batch is computed in.

        A part is spread over all processes: part a is samples a*B/parts .. (a+1)*B/parts - 1, whatever
        the number of processes, so that batch norm sees the same samples together.
        """
        count = batch_size // (parts * self.size)
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

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()


def _wire() -> torch.device:
    """Where a tensor must be for the process group to carry it."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def launched_size() -> int:
    """Processes that torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Join the processes that torchrun started (gloo on CPUs, nccl on GPUs); leaves the group at the end."""
    if launched_size() == 1:
        yield World()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
