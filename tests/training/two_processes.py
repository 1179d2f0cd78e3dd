"""Small trainings whose results must not depend on the number of processes: for the test, and as its processes.

`python two_processes.py FOLDER` is one process, started with the environment that torchrun gives; it writes
what it computed to FOLDER/RANK.safetensors.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a process of its own, which pytest does not set up

from small_networks import small_config, small_one_stage, small_predictor

from hvgcli.config import ModelConfig, ReconstructionConfig, TrainingConfig
from hvgcli.layers.norm import TimestepNorm, synchronised
from hvgcli.models.discriminators import ResidualDiscriminator
from hvgcli.training.distributed import Share, World, joined
from hvgcli.training.level import LevelBatch, LevelTraining, Metrics, discriminator_update, generator_update

BATCH, STEPS = 4, 5
CPU = torch.device("cpu")
# Alone in steps 0 and 1, with the adversary after. At first the samples of one process have a mean KL below
# `nats`, those of the other above: only the mean over both gives the right gradient.
AID = ReconstructionConfig(steps=2, weight=1.0, lr=1e-3, nats=0.09, capacity_weight=0.5)


@dataclass(frozen=True)
class Case:
    level: int
    training: dict[str, Any]
    num_classes: int = 3
    spectral: bool = False
    dtype: torch.dtype = torch.float64
    one_stage: ModelConfig | None = None
    """In place of levels of a hierarchy."""
    steps: int = STEPS
    score: float = 0.0
    """Added to all scores at the start: about 1, so that some are beyond the margin, where pairs are told apart."""

    @property
    def config(self) -> ModelConfig:
        return self.one_stage or small_config((2,), num_classes=self.num_classes, spectral=self.spectral)


MIXED = Case(
    1,
    {"orthogonal_penalty": 0.01, "ema": 0.9, "ema_start": 2},
    num_classes=0,
    one_stage=small_predictor(context=2, frames=2),
    score=1.0,
)
CASES = {
    "outline": Case(1, {"reconstruction": AID, "ema": 0.9, "discriminator_updates": 2}, spectral=True),
    "window": Case(2, {"reconstruction": AID, "condition_noise": 0.1}, spectral=True),
    "outline of a GAN without classes": Case(1, {}, num_classes=0),
    "window of a GAN without classes": Case(2, {}, num_classes=0),
    "outline in two parts": Case(1, {"reconstruction": AID, "accumulate": 2}),
    "window in two parts": Case(2, {"reconstruction": AID, "accumulate": 2, "condition_noise": 0.1}),
    "augmented window": Case(2, {"augment": ("color", "translation", "cutout")}),
    "predictor with mixed projection": MIXED,
    "predictor in two parts": replace(MIXED, training={"reconstruction": AID, "accumulate": 2}),
    "DVD-GAN": Case(1, {"reconstruction": AID}, one_stage=small_one_stage(frames=2), score=1.0),
}
# In float32 up to the first step with the adversary: rounding grows tenfold in a step.
CASES |= {f"{name}, float32": replace(CASES[name], dtype=torch.float32, steps=3) for name in ("outline", "window")}


class Apart(World):
    """Processes that share their gradients, but not their batch statistics: what must be told from `World`."""

    @property
    def group(self) -> None:
        return None


class Ungathered(World):
    """Processes that pair their own samples alone."""

    def gather(self, value: Tensor) -> Tensor:
        return value


def whole_batch(case: Case, step: int, number: int) -> LevelBatch:
    """All samples of an update, as they would come from data and from the levels below, in float32."""
    rng = torch.Generator().manual_seed(100 * step + number)

    def video(frames: int, size: int) -> Tensor:
        return torch.rand(BATCH, frames, 3, size, size, generator=rng) * 2 - 1

    spec, context = case.config.levels[case.level - 1], case.config.context
    labels, fake_labels = (torch.randint(3, (BATCH,), generator=rng) if case.num_classes else None for _ in "ab")
    low, fake_low = (video(2, 8) if case.level == 2 else None for _ in "ab")
    if case.one_stage is not None:
        fake_labels = labels
    if context:
        low = fake_low = video(context, spec.resolution)
    return LevelBatch(video(spec.frames, spec.resolution), labels, low, fake_low, fake_labels, Share.whole(BATCH))


def part(whole: LevelBatch, share: Share) -> LevelBatch:
    tensors = (whole.video, whole.labels, whole.low, whole.fake_low, whole.fake_labels)
    return LevelBatch(*(None if tensor is None else share.of(tensor) for tensor in tensors), share)  # type: ignore[arg-type]


def train(case: Case, world: World) -> dict[str, Tensor]:
    """Metrics of all updates one after the other, weights, and videos of the trained generator."""
    torch.manual_seed(0)
    training = TrainingConfig(
        **{"steps": STEPS, "batch_size": BATCH, "spatial_frames": 2, "discriminator_updates": 1} | case.training
    )
    level = LevelTraining(case.config, case.level, training, CPU, seed=3, world=world).to(case.dtype)
    with torch.no_grad():
        for network in level.discriminator.modules():
            if isinstance(network, ResidualDiscriminator):
                network.score.bias.add_(case.score)
    shares = world.shares(BATCH, training.accumulate)
    told: list[Metrics] = []
    for step in range(case.steps):
        batches = [[part(whole_batch(case, step, n), share) for share in shares] for n in range(3)]
        if level.adversarial(step):
            told += [discriminator_update(level, batches[n], step, n) for n in range(training.discriminator_updates)]
        told.append(generator_update(level, batches[2], step))
    sheet = whole_batch(case, STEPS, 0).to(case.dtype)
    with torch.no_grad():
        output = level.generate(level.noise(STEPS, "output", BATCH), sheet.labels, sheet.low)
    metrics = torch.tensor([value for metrics in told for value in metrics.values()], dtype=torch.float64)
    return {"metrics": metrics, "output": output} | {f"weights/{key}": v for key, v in level.state_dict().items()}


def norm_inputs() -> tuple[TimestepNorm, dict[str, Tensor], Tensor]:
    """A norm, the videos and conditions of a whole batch, and the weight of each output in a loss."""
    torch.manual_seed(0)
    norm = TimestepNorm(5, 6, spectral=False).double()
    size = (BATCH, 4, 5, 3, 2)
    offset = torch.arange(BATCH, dtype=torch.float64)[:, None, None, None, None]  # each video has its own mean
    inputs = {"video": 2 * torch.randn(size, dtype=torch.float64) + offset, "cond": torch.randn(BATCH, 6).double()}
    return norm, inputs, torch.randn(size, dtype=torch.float64)


def normalise(world: World) -> dict[str, Tensor]:
    """Output and gradients of a norm for the samples of this process; the loss is the sum over all of them."""
    norm, inputs, weight = norm_inputs()
    share = world.shares(BATCH, 1)[0]
    mine = {key: share.of(value).clone().requires_grad_() for key, value in inputs.items()}
    with synchronised(norm, world.group):
        output = norm(mine["video"], mine["cond"], None)
    (output * share.of(weight)).sum().backward()
    results = {"output": output.detach()}
    for key, value in [*mine.items(), *norm.named_parameters()]:
        assert value.grad is not None
        results[f"gradients/{key}"] = value.grad
    return results


def average(world: World) -> dict[str, Tensor]:
    """|mean - 3| of the numbers 1 (process 0) and 4 (process 1), and its gradient on each."""
    number = torch.tensor(1.0 + 3 * world.rank, requires_grad=True)
    distance = (world.average(number) - 3).abs()
    distance.backward()
    assert number.grad is not None
    return {"value": distance.detach(), "gradient": number.grad}


def flat(name: str, results: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}/{key}": value.detach().contiguous().clone() for key, value in results.items()}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with joined(CPU) as world:
        apart = Apart(world.rank, world.size)
        results = flat("norm", normalise(world)) | flat("norm apart", normalise(apart))
        results |= flat("average", average(world))
        for name, case in CASES.items():
            results |= flat(name, train(case, world))
        results |= flat("outline apart", train(CASES["outline"], apart))
        results |= flat("ungathered", train(MIXED, Ungathered(world.rank, world.size)))
        told = {"any": torch.tensor([world.any(world.rank == 1), world.any(False)])}
        save_file(results | told, folder / f"{world.rank}.safetensors")
    assert not dist.is_initialized()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
