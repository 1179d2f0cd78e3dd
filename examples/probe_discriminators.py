"""Whether discriminators can tell clips from what a level of a model makes of them: each is trained a short time.

    python examples/probe_discriminators.py DATA --level 3                       the embedded model's last level
    python examples/probe_discriminators.py DATA --model MODEL --level 2 --arms temporal,temporal-detail

DATA is a folder of class folders of training clips. The level's generator stays as it is: it makes its windows again
from what f_s and f_t leave of them, and all discriminators see the same pairs. One that is none the wiser has a hinge
loss of 2 and prefers the clip in half of the pairs; a generator learns nothing from it. So this chooses discriminators
in minutes, where a training takes hours. The table is ablation_detail_levelN.md, in --out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# before torch: it tunes the memory allocation
from ablation_lab import Row, publish
from torch import Generator, Tensor, arange, autocast, bfloat16, cat, manual_seed, no_grad, randint, randn, randperm
from torch.nn.utils import parametrize
from torch.optim import Adam

from hvgcli.config import DiscriminatorConfig, ModelConfig, TrainingConfig
from hvgcli.data.cache import FrameCache
from hvgcli.data.clips import Clip, scan
from hvgcli.errors import DataError
from hvgcli.hub import resolve
from hvgcli.layers.weights import power_iterate
from hvgcli.models.discriminators import ResidualDiscriminator, pool_to
from hvgcli.sampling import statistics
from hvgcli.sampling.hierarchy import load_level
from hvgcli.training.batches import BatchSource
from hvgcli.training.losses import geometric_hinge_discriminator
from hvgcli.training.standing import SIGMA

CACHE = 2 << 30  # bytes of decoded clips
DRAW = 4  # windows that are made again at a time


# ---- what is told apart ------------------------------------------------------------------------


@dataclass(frozen=True)
class Pairs:
    """N windows of clips, and what the level makes of their x^{l-1}."""

    real: Tensor
    """float32 (N, T, 3, D, D) in [-1, 1]."""
    made: Tensor
    """The same shape."""
    labels: Tensor | None
    """int64 (N,), None without classes."""

    def of(self, places: Tensor) -> Pairs:
        return Pairs(self.real[places], self.made[places], None if self.labels is None else self.labels[places])


def pairs_of(model: Path, number: int, data: Path, count: int, seed: int) -> tuple[ModelConfig, Pairs]:
    """At least `count` pairs, made as training makes them: whole crops, the statistics of each batch or fixed ones."""
    level = load_level(model, number)
    generator = level.generator.train()
    if statistics.trained_with(level.tables):
        table = statistics.choose(level.tables, SIGMA, level.config.levels[number - 1].frames)
        assert table is not None  # training had one
        statistics.install(generator, table)
    index = scan(data)
    training = TrainingConfig(1, DRAW, balance_classes=bool(index.classes))
    source = BatchSource(level.config, number, training, index, FrameCache(CACHE), None, seed, level.device, _told)
    noise = Generator().manual_seed(seed)
    parts: list[tuple[Tensor, ...]] = []
    for step in range(-(-count // DRAW)):
        batch = source.batches(step, 0)[0]
        assert batch.low is not None
        with no_grad(), autocast("cpu", bfloat16):
            z = randn(len(batch.video), level.config.levels[number - 1].z_dim, generator=noise)
            made = generator(batch.low, z, batch.labels).float()
        parts.append((batch.video, made) if batch.labels is None else (batch.video, made, batch.labels))
    joined = [cat(tensors) for tensors in zip(*parts, strict=True)]
    return level.config, Pairs(joined[0], joined[1], joined[2] if len(joined) > 2 else None)


def _told(clip: Clip, reason: str) -> None:
    raise DataError(f"{clip.path}: {reason}")


# ---- discriminators ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Arm:
    """A discriminator to be tried."""

    config: DiscriminatorConfig
    temporal: bool = False
    """Sees videos, averaged 2x2; otherwise one frame of each."""
    lr: float = 5e-4


def _spatial(channels: int, **others: int | bool) -> Arm:
    return Arm(DiscriminatorConfig(channels, (1, 2, 2), **others))  # type: ignore[arg-type]


ARMS = {
    "whole-frames": _spatial(32),
    "patches": _spatial(32, patches=True),
    "patches-wide": _spatial(64, patches=True),
    "patches-fast": Arm(DiscriminatorConfig(32, (1, 2, 2), patches=True), lr=2e-3),
    "detail-3": _spatial(32, patches=True, detail=3),
    "detail-10": _spatial(32, patches=True, detail=10),
    "detail-30": _spatial(32, patches=True, detail=30),
    "temporal": Arm(DiscriminatorConfig(24, (1, 2, 2), patches=True), temporal=True),
    "temporal-detail": Arm(DiscriminatorConfig(24, (1, 2, 2), patches=True, detail=10), temporal=True),
}


class Probe:
    """A fresh discriminator and its optimizer."""

    def __init__(self, arm: Arm, side: int, num_classes: int, seed: int) -> None:
        manual_seed(seed)
        self.arm, self.side = arm, side // 2 if arm.temporal else side
        self.network = ResidualDiscriminator(
            arm.config,
            in_channels=3,
            resolution=self.side,
            num_classes=num_classes,
            volumetric=2 if arm.temporal else 0,
        )
        self.optimizer = Adam(self.network.parameters(), arm.lr, (0.5, 0.999))
        self.chooser = Generator().manual_seed(seed)

    def update(self, pairs: Pairs) -> float:
        """One step on these pairs; its loss."""
        power_iterate(self.network)
        with autocast("cpu", bfloat16), parametrize.cached():
            real, made = self._scores(pairs)
            loss = geometric_hinge_discriminator(real, made)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def judge(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Mean scores (N,) of the windows and of what was made of them."""
        with _still(self.network), autocast("cpu", bfloat16):
            parts = [self._scores(pairs.of(place)) for place in arange(len(pairs.real)).split(DRAW)]
        real, made = (cat([part[side].float().mean(1) for part in parts]) for side in (0, 1))
        return real, made

    def _scores(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """The same frame of both of a pair, where single ones are judged."""
        real, made = pairs.real, pairs.made
        if self.arm.temporal:
            real, made = pool_to(real, self.side), pool_to(made, self.side)
        else:
            frame = int(randint(real.shape[1], (1,), generator=self.chooser))
            real, made = real[:, frame : frame + 1], made[:, frame : frame + 1]
        return self.network(real, pairs.labels), self.network(made, pairs.labels)


@contextmanager
def _still(network: ResidualDiscriminator) -> Iterator[None]:
    """Neither gradients nor steps of power iteration."""
    network.eval()
    with no_grad():
        yield
    network.train()


def row(name: str, arm: Arm, config: ModelConfig, side: int, pairs: Pairs, options: argparse.Namespace) -> Row:
    """Train a discriminator on the first pairs, and judge the others."""
    probe = Probe(arm, side, config.num_classes, options.seed)
    apart = max(1, len(pairs.real) // 4)
    draws = Generator().manual_seed(options.seed)
    losses: list[float] = []
    begun = time.perf_counter()
    for _ in range(options.updates):
        places = randperm(len(pairs.real) - apart, generator=draws)[: options.batch]
        losses.append(probe.update(pairs.of(places)))
    seconds = (time.perf_counter() - begun) / options.updates
    others = pairs.of(arange(len(pairs.real) - apart, len(pairs.real)))
    real, made = probe.judge(others)
    tail = losses[-max(1, options.updates // 4) :]
    return {
        "discriminator": name,
        "sees": "videos, averaged 2x2" if arm.temporal else "single frames",
        "scores": "patches" if arm.config.patches else "whole frames",
        "channels": arm.config.channels,
        "detail": arm.config.detail or "",
        "learning rate": f"{arm.lr:g}",
        "parameters": sum(p.numel() for p in probe.network.parameters()),
        "ms an update": 1000 * seconds,
        "loss, last quarter": sum(tail) / len(tail),
        "other pairs told": f"{100 * float((real > made).double().mean()):.0f} %",
    }


# ---- the command -------------------------------------------------------------------------------


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; `arguments` are the program's own by default."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("data", type=Path)
    made.add_argument("--model", default="hvg-mini")
    made.add_argument("--level", type=_at_least(2), default=3, help="above the first")
    made.add_argument("--updates", type=_at_least(1), default=150, help="of each discriminator")
    made.add_argument("--pairs", type=_at_least(2), default=128, help="windows; the last quarter is not trained on")
    made.add_argument("--batch", type=_at_least(1), default=8, help="pairs of an update")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--arms", type=_arms, default=list(ARMS), help=f"some of {','.join(ARMS)}; all by default")
    made.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="where the table goes")
    return made.parse_args(arguments)


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} on")
        return int(text)

    return number


def _arms(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if wrong := [name for name in names if name not in ARMS]:
        raise argparse.ArgumentTypeError(f"unknown arm {wrong[0]!r}: give some of {','.join(ARMS)}")
    return names


def main() -> None:
    options = options_of()
    config, pairs = pairs_of(resolve(options.model), options.level, options.data, options.pairs, options.seed)
    side = config.levels[options.level - 1].resolution
    rows = [row(name, ARMS[name], config, side, pairs, options) for name in options.arms]
    count = len(pairs.real)
    about = (
        f"{count} windows of {pairs.real.shape[1]} frames of {side}x{side}, a quarter of them kept apart; "
        f"{options.updates} updates on {options.batch} pairs of the others. A loss of 2 and 50 % of the pairs are "
        "those of a guess. Detail: how many times what the mean of near pixels and frames takes away is enlarged, "
        "which a discriminator then sees beside the video."
    )
    publish(
        options.out / f"ablation_detail_level{options.level}.md",
        f"What discriminators see of level {options.level} of {config.name}",
        rows,
        about,
    )


if __name__ == "__main__":
    main()
