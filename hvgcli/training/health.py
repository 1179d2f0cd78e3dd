"""Whether a run should go on: losses and weights that are finite, losses that explode, early stopping.

Everything here is decided from the metrics alone, which are the same in every process, and what early
stopping has seen travels with the saved state: a resumed run decides as the uninterrupted one does.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import Tensor

from hvgcli.errors import TrainingError

LOSSES = ("loss_d", "loss_g", "reconstruction", "motion", "structure", "kl")
RECENT = 101  # values whose median says what is normal for a loss
ENOUGH = 10  # values before a loss is compared with them
EXPLOSION = 1e4  # times the median: losses of healthy runs stay within some hundreds
SMOOTHING = 0.05  # weight of the newest value in what early stopping looks at: about 20 steps
ADVICE = "lower the learning rate, raise --batch-size, or use --precision fp32"


def saved_step(step: int) -> str:
    """What a message says of the last good state."""
    return f"the state of step {step} is kept" if step else "no state was saved yet"


@dataclass
class Health:
    """Watches the metrics of each step."""

    advice: str = ADVICE
    """What its errors tell to do."""
    _recent: dict[str, deque[float]] = field(default_factory=dict)

    def check(self, step: int, metrics: Mapping[str, float], last_good: int) -> None:
        """`TrainingError` where a metric of `step` is not finite, or a loss leaves all measure."""
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise TrainingError(f"step {step}: {name} is {value}; {saved_step(last_good)}: {self.advice}")
        for name in LOSSES:
            if name in metrics:
                self._check_size(step, name, abs(metrics[name]), last_good)

    def _check_size(self, step: int, name: str, value: float, last_good: int) -> None:
        recent = self._recent.setdefault(name, deque(maxlen=RECENT))
        # a hinge loss may rest at 0 for long: below 1 nothing counts as exploded
        usual = max(1.0, median(recent)) if len(recent) >= ENOUGH else math.inf
        if value > EXPLOSION * usual:
            raise TrainingError(
                f"step {step}: {name} exploded to {value:.3g}, usually about {median(recent):.3g}; "
                f"{saved_step(last_good)}: {self.advice}"
            )
        recent.append(value)


def check_finite(tensors: Iterable[tuple[str, Tensor]], step: int, last_good: int, advice: str = ADVICE) -> None:
    """`TrainingError` naming the first tensor with a value that is not finite: such a state is not saved."""
    for name, tensor in tensors:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise TrainingError(f"step {step}: {name} is not finite any more; {saved_step(last_good)}: {advice}")


@dataclass
class Watch:
    """Early stopping: over when the smoothed metric has not become smaller for `patience` steps.

    It looks from step `start` on, where all parts of the training take part: the reconstruction error
    rises when the discriminators join, and stopping before they do would leave them out.
    """

    metric: str
    patience: int
    start: int = 0
    smoothed: float | None = None
    best: float = math.inf
    best_step: int = 0
    step: int = 0

    @property
    def over(self) -> bool:
        """Whether the patience has run out."""
        return self.smoothed is not None and self.step - self.best_step >= self.patience

    def see(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take in the metrics after step `step`; a step without the metric does not count."""
        if step <= self.start or self.metric not in metrics:
            return
        value = metrics[self.metric]
        self.step = step
        self.smoothed = value if self.smoothed is None else self.smoothed + SMOOTHING * (value - self.smoothed)
        if self.smoothed < self.best:
            self.best, self.best_step = self.smoothed, step

    def record(self) -> dict[str, Any]:
        """What a state keeps of it, as JSON values."""
        seen = self.smoothed is not None
        values = {"smoothed": self.smoothed, "best": self.best, "best_step": self.best_step, "step": self.step}
        return {"metric": self.metric, "start": self.start} | (values if seen else {})

    def restore(self, record: object) -> None:
        """Go on from a `record` of the same metric; another one, or none, starts anew."""
        if not isinstance(record, dict) or record.get("metric") != self.metric or record.get("start") != self.start:
            return
        if "smoothed" in record:
            self.smoothed, self.best = float(record["smoothed"]), float(record["best"])
            self.best_step, self.step = int(record["best_step"]), int(record["step"])
