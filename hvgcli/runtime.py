"""The process: memory allocation and devices. Nothing here imports torch before it is asked to."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from hvgcli.errors import ResourceError

if TYPE_CHECKING:
    import torch

# glibc's mallopt parameters (malloc.h)
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def tune_allocator() -> None:
    """Keep freed memory for the next tensor, and use huge pages: call before torch is imported.

    Video tensors are tens of megabytes. By default each one is mapped anew and given back when it is
    freed, and its page faults then cost more than the arithmetic on it (measured: a batch norm over
    25 MB took 47 ms instead of 10). Does nothing where the C library is not glibc.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # read by torch
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        libc.mallopt(_M_TOP_PAD, 64 << 20)


def trim_allocator() -> None:
    """Give freed memory back to the system: between parts of a long job, so that holes in it do not add up.

    Does nothing where the C library is not glibc.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def physical_memory() -> int | None:
    """Bytes of memory of this machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def choose_device(name: str) -> torch.device:
    """ "auto", "cpu", "cuda", "cuda:1", "mps" -> a device that is there; `ResourceError` otherwise."""
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ResourceError(f"unknown device {name!r}: use auto, cpu, cuda, cuda:INDEX or mps") from error
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, False):
        raise ResourceError(f"device {name} is not available here: use --device auto or cpu")
    return device


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether convolutions in bfloat16 are faster than in float32 there: AVX-512 BF16, AMX, or a CUDA device with it.

    Elsewhere bfloat16 works too, but is emulated.
    """
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # no public names up to torch 2.13
    return any(bool(getattr(torch.cpu, name, bool)()) for name in names)


def choose_half(dtype: str, device: torch.device, levels: int) -> tuple[bool, ...]:
    """Which of levels 1..`levels` compute their convolutions in bfloat16, for "auto", "fp32" or "bf16".

    auto keeps the outline in float32, because a recurrence adds up rounding, and takes bfloat16 above
    it where that is faster.
    """
    if dtype == "auto":
        fast = has_fast_bfloat16(device)
        return tuple(fast and number > 1 for number in range(1, levels + 1))
    return (dtype == "bf16",) * levels
