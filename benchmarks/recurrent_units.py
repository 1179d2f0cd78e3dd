"""Training step and inference of each recurrent unit at equal width, and of ways to warp, against ConvGRU in one run.

    python benchmarks/recurrent_units.py            # writes benchmarks/results/recurrent_units.json
    python benchmarks/recurrent_units.py --quick    # two rounds of two small cases, printed only

A training step is the way there and back of the unit alone, gradients of x, of the first state and of all weights;
the paper's 354 against 284 ms (TrIVD-GAN appendix F.4) are steps of whole models, in which a unit is a part. On a
processor the times are processor seconds of one thread, which other load does not count in; the rounds of all units
alternate, and each unit's time is its least.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from machine import describe, save
from torch import Tensor, nn

from hvgcli.layers.units import UNITS
from hvgcli.layers.warping import warp

CASES = ((4, 12, 384, 8), (4, 12, 192, 16), (4, 12, 96, 32), (2, 12, 48, 64))
"""Samples, timesteps, channels, size: stages of a generator whose width halves as its size doubles."""
QUICK = ((2, 4, 64, 8), (2, 4, 32, 16))
LIMIT = 1.3
"""Asked of TSRU's training step, in units of ConvGRU's."""


def least(functions: dict[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, float]:
    """The least seconds of each function over so many rounds of all of them, after one that is not counted."""
    best = {name: float("inf") for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            taken = seconds(function, device)
            best[name] = min(best[name], taken) if number else best[name]
    return best


def seconds(function: Callable[[], object], device: torch.device) -> float:
    """Processor seconds, or wall seconds with the device's work done."""
    if device.type == "cpu":
        start = time.process_time()
        function()
        return time.process_time() - start
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    function()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


def random_video(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """`(..., C, H, W)` in ..., H, W, C memory."""
    *lead, channels, height, width = shape
    return torch.randn(*lead, height, width, channels, device=device).movedim(-1, -3)


def train(unit: nn.Module, x: Tensor, state: Tensor, grad: Tensor, half: bool) -> None:
    inputs = [x.detach().requires_grad_(), state.detach().requires_grad_(), *unit.parameters()]
    with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
        outputs, _ = unit(inputs[0], inputs[1])
    torch.autograd.grad(outputs, inputs, grad.to(outputs.dtype))


def infer(unit: nn.Module, x: Tensor, state: Tensor, half: bool) -> None:
    with torch.inference_mode(), torch.autocast(x.device.type, torch.bfloat16, enabled=half):
        unit(x, state)


def compare_units(case: tuple[int, int, int, int], half: bool, rounds: int, device: torch.device) -> dict[str, object]:
    """Seconds of every unit in one case, and their ratios to ConvGRU's."""
    batch, steps, channels, size = case
    x, grad = (random_video((batch, steps, channels, size, size), device) for _ in range(2))
    state = random_video((batch, channels, size, size), device).relu()
    units = {name: make(channels, spectral=True).to(device) for name, make in UNITS.items()}
    training = least({n: lambda u=u: train(u, x, state, grad, half) for n, u in units.items()}, rounds, device)  # type: ignore[misc]
    inference = least({n: lambda u=u: infer(u, x, state, half) for n, u in units.items()}, rounds, device)  # type: ignore[misc]
    rows = {
        name: {
            "parameters": sum(parameter.numel() for parameter in unit.parameters()),
            "training s": training[name],
            "training ratio": training[name] / training["ConvGRU"],
            "inference s": inference[name],
            "inference ratio": inference[name] / inference["ConvGRU"],
        }
        for name, unit in units.items()
    }
    precision = "bfloat16 autocast" if half else "float32"
    print(f"\n{batch} x {steps} timesteps of {channels} channels, {size} x {size}, {precision}")
    for name, row in rows.items():
        print(
            f"  {name:10} training {row['training s'] * 1e3:9.1f} ms ({row['training ratio']:.2f})  "
            f"inference {row['inference s'] * 1e3:9.1f} ms ({row['inference ratio']:.2f})  "
            f"{row['parameters']:>11,} parameters",
            flush=True,
        )
    return {
        "samples": batch,
        "timesteps": steps,
        "channels": channels,
        "size": size,
        "precision": precision,
        "units": rows,
    }


def unfolded(h: Tensor, kernels: Tensor) -> Tensor:
    """All k*k copies at once, weighed and added up."""
    copies = F.unfold(h, 3, padding=1).unflatten(1, (h.shape[1], -1))  # (B, C, 9, H W)
    return (copies * kernels.flatten(2).unsqueeze(1)).sum(2).unflatten(2, h.shape[2:])


def gathered(h: Tensor, kernels: Tensor) -> Tensor:
    """The k*k neighbours of each pixel as a small matrix, times its weights."""
    views = F.pad(h.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).unfold(1, 3, 1).unfold(2, 3, 1)
    neighbours = views.flatten(4).reshape(-1, h.shape[1], 9)  # (B H W, C, 9)
    weights = kernels.permute(0, 2, 3, 1).reshape(-1, 9, 1)
    return torch.bmm(neighbours, weights).view(views.shape[:4]).permute(0, 3, 1, 2)


def shifted(h: Tensor, kernels: Tensor) -> Tensor:
    """The running sum of shifted products, its way back left to autograd."""
    height, width = h.shape[2:]
    padded = F.pad(h.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    views = (padded[:, m : m + height, n : n + width] for m in range(3) for n in range(3))
    total = sum(view * weight.unsqueeze(-1) for view, weight in zip(views, kernels.unbind(1), strict=True))
    return total.permute(0, 3, 1, 2)  # type: ignore[union-attr]


WAYS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "warp": warp,
    "shifted products, autograd": shifted,
    "neighbours gathered, bmm": gathered,
    "unfold": unfolded,
}


def compare_warping(case: tuple[int, int, int, int], rounds: int, device: torch.device) -> dict[str, object]:
    """Seconds of the ways to warp one state, there and back, in float32; all give the same."""
    batch, _, channels, size = case
    h, grad = (random_video((batch, channels, size, size), device) for _ in range(2))
    kernels = torch.randn(batch, 9, size, size, device=device).softmax(1)
    inputs = [h.requires_grad_(), kernels.requires_grad_()]
    for name, way in WAYS.items():
        torch.testing.assert_close(way(*inputs), warp(*inputs), rtol=1e-4, atol=1e-5, msg=f"{name} differs")
    there = least({n: lambda w=w: w(*inputs) for n, w in WAYS.items()}, rounds, device)  # type: ignore[misc]
    both = least(
        {n: lambda w=w: torch.autograd.grad(w(*inputs), inputs, grad) for n, w in WAYS.items()},  # type: ignore[misc]
        rounds,
        device,
    )
    print(f"\nWarping {batch} x {channels} channels, {size} x {size}")
    for name in WAYS:
        print(f"  {name:28} there {there[name] * 1e3:8.2f} ms, there and back {both[name] * 1e3:8.2f} ms", flush=True)
    rows = {name: {"there s": there[name], "there and back s": both[name]} for name in WAYS}
    return {"samples": batch, "channels": channels, "size": size, "ways": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true", help="two rounds of small cases; writes nothing")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds; the least time of each unit is taken")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    cases, rounds = (QUICK, 2) if options.quick else (CASES, options.rounds)
    result: dict[str, object] = {
        "clock": "processor seconds, one thread" if device.type == "cpu" else "wall seconds",
        "device": describe()["processor"] if device.type == "cpu" else torch.cuda.get_device_name(device),
        "asked of TSRU's training ratio": LIMIT,
        "cases": [compare_units(case, half, rounds, device) for half in (False, True) for case in cases],
        "warping": [compare_warping(case, rounds, device) for case in cases],
    }
    if not options.quick:
        print(save("recurrent_units", result))


if __name__ == "__main__":
    main()
