"""Two feature sets -> the numbers that compare them, each with a name that carries the network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hvgcli.errors import DataError
from hvgcli.metrics.features import FeatureSet
from hvgcli.metrics.frechet import (
    frechet_infinity,
    frechet_of_features,
    frechet_random_features,
    principal_components,
)
from hvgcli.metrics.inception import inception_score
from hvgcli.metrics.kernel import kernel_distance
from hvgcli.metrics.manifold import prdc
from hvgcli.metrics.protocol import COMPONENTS, NEIGHBOURS, SMALL, too_few
from hvgcli.metrics.results import Metric, metric
from hvgcli.sampling.noise import seeded

RANDOM_FEATURES = 50  # of each trial, hp-VAE-GAN A.3
LEAST = 2  # videos of a set that has a covariance
LEAST_TO_HALVE = 4  # videos of a set that is extrapolated from its halves
DEVIATION = "interval: one standard deviation"
MANIFOLD = {
    "precision": "share of generated videos among the real ones",
    "recall": "share of real videos among the generated ones",
    "density": "generated videos near real ones, 1 for equal sets",
    "coverage": "share of real videos with a generated one near",
}


@dataclass(frozen=True)
class Options:
    """Numbers that the metrics take."""

    splits: int = 10
    """Parts of the Inception score."""
    seed: int = 0
    """Of subsets, resampling and random features."""
    paired: bool = False
    """The generated videos are predictions of the real ones and share their first frames. Their errors of estimation
    are then alike too and cancel: the plain distance has little bias, and an extrapolation would correct it twice."""


@dataclass(frozen=True)
class Comparison:
    """A real and a generated set, seen by one network."""

    real: FeatureSet
    fake: FeatureSet
    options: Options = Options()

    def __post_init__(self) -> None:
        for name, found in (("real", self.real), ("generated", self.fake)):
            if len(found.logits) < LEAST:
                raise DataError(f"the {name} set has {len(found.logits)} videos: a distance needs at least {LEAST}")

    @property
    def network(self) -> str:
        return self.real.network

    @property
    def fewest(self) -> int:
        """Videos of the smaller set."""
        return min(len(self.real.logits), len(self.fake.logits))

    @property
    def counts(self) -> str:
        same = " of the same windows" if self.options.paired else ""
        return f"{len(self.real.logits)} against {len(self.fake.logits)} videos{same}"

    @property
    def dimensions(self) -> dict[str, int]:
        """Of the logits, and of the last hidden activations where there are some."""
        pooled = self.real.pooled
        return {"logits": self.real.logits.shape[1]} | ({} if pooled is None else {"pooled": pooled.shape[1]})

    def generator(self, use: str) -> torch.Generator:
        """Random numbers of one metric: adding another one does not change it."""
        return seeded("evaluate", use, self.options.seed)

    def metrics(self, kinds: Sequence[str]) -> list[Metric]:
        """The rows of those kinds, in the order of `protocol.KINDS`."""
        makers = {"fvd": self._fvd, "fid": self._fid, "is": self._inception, "kvd": self._kernel, "prdc": self._prdc}
        return [row for kind, make in makers.items() if kind in kinds for row in make()]

    def warnings(self, kinds: Sequence[str]) -> list[str]:
        """What to know before believing the distances."""
        asked = [("fvd", f"FVD[{self.network}]", self.real.logits), ("fid", f"FID[{self.network}]", self.real.pooled)]
        lines = [too_few(self.fewest, x.shape[1], name) for kind, name, x in asked if kind in kinds and x is not None]
        return [line for line in lines if line]

    # ---- the kinds -------------------------------------------------------------------------------

    def _fvd(self) -> Iterator[Metric]:
        yield from self._frechet("fvd", "FVD", self.real.logits, self.fake.logits)
        if self.options.paired or self.fewest < LEAST_TO_HALVE:
            return
        estimate = frechet_infinity(
            self.real.logits,
            self.fake.logits,
            real_takes=self.real.takes,
            fake_takes=self.fake.takes,
            generator=self.generator("fvd_inf"),
        )
        takes = f"95 % interval over {len(set(self.real.takes.tolist()))} real takes"
        yield metric("fvd_inf", f"FVD_inf[{self.network}]", estimate, "lower", f"extrapolated to many videos, {takes}")

    def _fid(self) -> Iterator[Metric]:
        real, fake = _pooled(self.real), _pooled(self.fake)
        yield from self._frechet("fid", "FID", real, fake)
        if self.fewest < SMALL * real.shape[1] and real.shape[1] > RANDOM_FEATURES:
            estimate = frechet_random_features(real, fake, features=RANDOM_FEATURES, generator=self.generator("random"))
            note = f"{RANDOM_FEATURES} random features, mean of trials; {DEVIATION}"
            yield metric("fid_random", f"FID[{self.network},random{RANDOM_FEATURES}]", estimate, "lower", note)

    def _frechet(self, key: str, name: str, real: Tensor, fake: Tensor) -> Iterator[Metric]:
        """The distance, and where videos are few also that of the first principal components."""
        dimensions = real.shape[1]
        value = frechet_of_features(real, fake)
        form = ", nuclear norm" if max(len(real), len(fake)) <= dimensions else ""
        note = f"{self.counts}, {dimensions} dimensions{form}"
        yield metric(key, f"{name}[{self.network}]", value, "lower", note)
        if self.fewest < SMALL * dimensions and dimensions > COMPONENTS:
            project = principal_components(real, count=COMPONENTS)
            value = frechet_of_features(project(real), project(fake))
            note = f"{project.count} principal components of the real set, {project.explained:.0%} of its variance"
            yield metric(f"{key}_pca64", f"{name}[{self.network},pca{COMPONENTS}]", value, "lower", note)

    def _inception(self) -> Iterator[Metric]:
        score = inception_score(self.fake.logits, splits=self.options.splits)
        note = f"{len(self.fake.logits)} generated videos in {self.options.splits} splits; {DEVIATION}"
        yield metric("is", f"IS[{self.network}]", score, "higher", note)

    def _kernel(self) -> Iterator[Metric]:
        estimate = kernel_distance(self.real.logits, self.fake.logits, generator=self.generator("kvd"))
        yield metric(
            "kvd", f"KVD[{self.network}]", estimate, "lower", f"{self.counts}, polynomial kernel, unbiased; {DEVIATION}"
        )

    def _prdc(self) -> Iterator[Metric]:
        found = prdc(self.real.logits, self.fake.logits, k=NEIGHBOURS)
        for key, note in MANIFOLD.items():
            yield metric(key, f"{key.capitalize()}[{self.network}]", found[key], "higher", f"{note}, k {NEIGHBOURS}")


def _pooled(features: FeatureSet) -> Tensor:
    if features.pooled is None:
        raise DataError(f"{features.network} gives no hidden activations, so there is no FID: use --metrics fvd")
    return features.pooled


# ---- per class ---------------------------------------------------------------------------------


def shared_classes(real: FeatureSet, fake: FeatureSet) -> list[str]:
    """Names of the classes that have videos in both sets, in the order of the real one."""
    present = [_class_names(found.classes, found.labels) for found in (real, fake)]
    return [name for name in real.classes if name in present[0] & present[1]]


def _class_names(classes: tuple[str, ...], labels: Tensor | None) -> set[str]:
    return set() if labels is None else {classes[label] for label in set(labels.tolist())}


def of_class(features: FeatureSet, name: str) -> FeatureSet:
    """The part of a set that is of one class."""
    assert features.labels is not None
    rows = (features.labels == features.classes.index(name)).nonzero().flatten()
    pooled = None if features.pooled is None else features.pooled[rows]
    return replace(
        features, logits=features.logits[rows], pooled=pooled, labels=features.labels[rows], takes=features.takes[rows]
    )


def per_class(comparison: Comparison, *, classifier: bool) -> list[dict[str, Any]]:
    """Inception score and Frechet distance of each class that both sets have (HVG appendix E).

    The score is of one split, because classes are small; the distance is that of the hidden activations
    where the network gives them, and of the logits otherwise. A class with one video in a set has none.
    """
    return [
        _class_row(name, of_class(comparison.real, name), of_class(comparison.fake, name), classifier)
        for name in shared_classes(comparison.real, comparison.fake)
    ]


def _class_row(name: str, real: FeatureSet, fake: FeatureSet, classifier: bool) -> dict[str, Any]:
    values: dict[str, float | None] = {}
    if classifier:
        few = len(fake.logits) < LEAST
        values[f"IS[{real.network}]"] = None if few else inception_score(fake.logits, splits=1).value
    label, a, b = "FVD", real.logits, fake.logits
    if real.pooled is not None and fake.pooled is not None:
        label, a, b = "FID", real.pooled, fake.pooled
    few = min(len(a), len(b)) < LEAST
    values[f"{label}[{real.network}]"] = None if few else frechet_of_features(a, b)
    return {"class": name, "real": len(real.logits), "generated": len(fake.logits), "values": values}
