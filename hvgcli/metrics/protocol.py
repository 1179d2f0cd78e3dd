"""Which numbers `hvg evaluate` can give, what each of them needs, and the words that say how it was made."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hvgcli.errors import UsageError

COMPONENTS = 64  # of the `,pca64` variants, which small sets get too
NEIGHBOURS = 5  # of precision, recall, density and coverage
SMALL = 3  # a distance in d dimensions wants at least this many videos a dimension


@dataclass(frozen=True)
class Kind:
    """A group of numbers that --metrics asks for by one name."""

    what: str
    classifier: bool = False
    """Needs class probabilities, so not the `frames` statistics."""
    pooled: bool = False
    """Needs the last hidden activations of the network."""
    features: bool = True
    """Needs the network at all."""
    least: int = 2
    """Videos that each set must have."""
    pairs: bool = False
    """Compares single videos by name; only where it is asked for."""


KINDS: dict[str, Kind] = {
    "fvd": Kind("Frechet distance of the logits, and its extrapolation to many videos"),
    "fid": Kind("Frechet distance of the last hidden activations", pooled=True),
    "is": Kind("Inception score", classifier=True),
    "kvd": Kind("unbiased kernel distance of the logits", least=4),
    "prdc": Kind("precision, recall, density and coverage", least=NEIGHBOURS + 1),
    "psd": Kind("power spectra at frames 1, 10, 24 and 48", features=False),
    "diversity": Kind("spread of the videos in LAB", features=False),
    "per-class": Kind("Inception score and Frechet distance of each class"),
    "svfid": Kind("Frechet distance inside one pair of clips", pairs=True),
    "sifid": Kind("Frechet distance inside one pair of pictures", pairs=True),
    "ssim": Kind("structural similarity, best of the samples", features=False, pairs=True),
    "psnr": Kind("peak signal-to-noise ratio, best of the samples", features=False, pairs=True),
}
OF_SETS = tuple(key for key, kind in KINDS.items() if not kind.pairs)
OF_PAIRS = tuple(key for key, kind in KINDS.items() if kind.pairs)


def parse_metrics(text: str | None) -> tuple[str, ...] | None:
    """ "fvd,psd" -> the names, each once; None (all that can be had) without a text.

    Raises:
        UsageError: a name that is not known, with the nearest one.
    """
    if text is None:
        return None
    names = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",")))
    for name in names:
        if name not in KINDS:
            close = difflib.get_close_matches(name, KINDS, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}?" if close else f"known are {','.join(KINDS)}"
            raise UsageError(f"--metrics {name!r} is not known: {hint}")
    return names


@dataclass(frozen=True)
class Means:
    """What a network and two sets of videos make possible."""

    network: str
    classifier: bool
    pooled: bool
    labels: bool
    """Both sets have classes."""
    videos: int
    """Of the smaller set."""
    splits: int
    """Parts of the Inception score, of at least two videos each."""

    def lacking(self, key: str) -> str | None:
        """Why a kind of number cannot be had, or None."""
        kind = KINDS[key]
        if kind.classifier and not self.classifier:
            return f"{self.network} is no classifier: it takes a network, --features i3d or a TorchScript file"
        if kind.pooled and not self.pooled:
            return f"{self.network} has no hidden activations: FVD[{self.network}] is its distance"
        if key == "per-class" and not self.labels:
            return "the two sets have no classes in common: put videos into a folder a class"
        least = 2 * self.splits if kind.classifier else kind.least
        if self.videos < least:
            hint = ", or fewer --splits" if kind.classifier else ""
            return f"a set has {self.videos} videos, it needs {least}: take more{hint}"
        return None


def choose_metrics(asked: Sequence[str] | None, means: Means) -> tuple[tuple[str, ...], list[str]]:
    """The kinds to compute, and a line for each that was left out.

    Raises:
        UsageError: one that was asked for by name cannot be had.
    """
    lacking = {key: means.lacking(key) for key in (OF_SETS if asked is None else asked)}
    refused = [f"{key}: {reason}" for key, reason in lacking.items() if reason]
    if asked is not None and refused:
        raise UsageError(f"--metrics {refused[0]}")
    return tuple(key for key, reason in lacking.items() if not reason), [f"left out {line}" for line in refused]


def too_few(videos: int, dimensions: int, name: str) -> str | None:
    """The warning of a distance from fewer than three videos a dimension, or None."""
    if videos >= SMALL * dimensions:
        return None
    hint = f" see also {name[:-1]},pca{COMPONENTS}]" if dimensions > COMPONENTS else " take more videos"
    return (
        f"{name} is too large: {videos} videos are few for {dimensions} dimensions, "
        f"at least {SMALL * dimensions} are wanted:{hint}"
    )


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """A protocol as plain JSON values, without what is not known."""
    return {key: _plain(value) for key, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
