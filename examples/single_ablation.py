"""The ablations of hp-VAE-GAN (Gur et al. 2020, section 4.2) on clips or images, at a size that a CPU trains.

    python examples/single_ablation.py CLIP [CLIP ...] --runs DIR --features NETWORK [--minutes 5] [--out FILE.md]

Each variant is trained on each clip for the same minutes; then its variations are measured against the clip.

    V0 .. V10    the number of patch-VAE scales: figure 5. V0 is a patch-GAN from noise, V10 (all scales) VAE only
    all-trained  V = 3, but nothing is frozen
    encoder-r1   V = 3, but the encoder sees one voxel at a time
    decoder-r1   V = 3, but so do the patch-VAE generators
    r1           the two together

A network is `frames` (needs no file), `i3d`, or a TorchScript file. A killed program goes on where it was. The tables
are in --out (as Markdown, and as JSON beside it), a sheet of pictures of each clip in --runs.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

from single_lab import Lab, Result, Variant, say

from hvgcli.checkpoints import write_json
from hvgcli.metrics.networks import resolve
from hvgcli.presets import find_single_preset

TITLE = "# hp-VAE-GAN: patch-VAE scales, freezing, receptive field"
BASE = 3  # patch-VAE scales where these are not what is compared (section 4)
CURVE = (0, 1, 3, 5)  # and all scales
PAPER = {"all-trained": {"distance": 680.0, "diversity": -51.0}}  # in percent, section 4.2
MEASURES = {"distance": "", "diversity": "LAB diversity", "difference": "Difference to the clip, 1/255"}
ABOUT = {
    "distance": "lower is more real; with 1.96 standard errors over the variations",
    "diversity": "higher is more diverse; 0 for copies of one video",
    "difference": "0 for copies of the clip itself",
    "iterations": "of all scales together, in equal time",
}


# ---- variants ----------------------------------------------------------------------------------


def variants_of(names: Sequence[str], scales: int) -> list[Variant]:
    """The variants of these names. ValueError for another name."""
    base = min(BASE, scales)
    known = {
        "all-trained": Variant("all-trained", base, freeze=False),
        "encoder-r1": Variant("encoder-r1", base, encoder_kernel=1),
        "decoder-r1": Variant("decoder-r1", base, decoder_kernel=1),
        **{f"V{count}": Variant(f"V{count}", count) for count in range(scales + 1)},
    }
    expanded = [part for name in names for part in (("encoder-r1", "decoder-r1") if name == "r1" else (name,))]
    if unknown := [name for name in expanded if name not in known]:
        raise ValueError(f"unknown variant {unknown[0]!r}: use V0 to V{scales}, all-trained, r1")
    return [known[name] for name in dict.fromkeys(expanded)]


def default_variants(scales: int) -> list[str]:
    """The curve from no patch-VAE scale to all, and the ablations of V = 3."""
    counts = sorted({count for count in CURVE if count < scales} | {scales})
    return [*(f"V{count}" for count in counts), "all-trained", "r1"]


# ---- the tables --------------------------------------------------------------------------------


class Tables:
    """Results of clips, or of images, of one kind, as Markdown."""

    def __init__(self, results: Sequence[Result], scales: int) -> None:
        self.results, self.scales = results, scales
        self.clips = list(dict.fromkeys(result.clip for result in results))
        self.variants = list(dict.fromkeys(result.variant for result in results))
        self.base = f"V{min(BASE, scales)}"
        self.metric = results[0].metric

    def value(self, clip: str, variant: str, measure: str) -> float | None:
        found = [r for r in self.results if (r.clip, r.variant) == (clip, variant)]
        return float(getattr(found[0], measure)) if found else None

    def mean(self, variant: str, measure: str) -> float | None:
        """Over the clips; None until all are measured."""
        values = [self.value(clip, variant, measure) for clip in self.clips]
        return None if None in values else fmean(value for value in values if value is not None)

    def whole(self) -> str:
        about = self.results[0].places
        parts = [self.table(measure, name or self.metric) for measure, name in MEASURES.items()]
        parts += [self.table("iterations", "Iterations"), self.against_base(), self.verdicts()]
        return "\n\n".join([*(part for part in parts if part), f"Places of {self.metric}: {about}."])

    def table(self, measure: str, name: str) -> str:
        """A row a clip, a column a variant."""
        rows = [[clip, *(self._cell(clip, variant, measure) for variant in self.variants)] for clip in self.clips]
        means = [number(self.mean(variant, measure)) for variant in self.variants]
        body = markdown(["clip", *map(title, self.variants)], [*rows, ["**mean**", *means]])
        return f"## {name}\n\n{ABOUT[measure].capitalize()}.\n\n{body}"

    def _cell(self, clip: str, variant: str, measure: str) -> str:
        text = number(self.value(clip, variant, measure))
        if measure == "distance" and text:
            text += f" ± {number(self.value(clip, variant, 'distance_error'))}"
        return text

    def against_base(self) -> str:
        """The ablations of V = 3: by how much the means over clips change."""
        others = [name for name in self.variants if not re.fullmatch(r"V\d+", name)]
        if self.base not in self.variants or not others:
            return ""
        rows = [[title(name), *(self._change(name, measure) for measure in MEASURES)] for name in others]
        heads = ["variant", *(name or self.metric for name in MEASURES.values())]
        return f"## Change of the means against {title(self.base)}\n\n{markdown(heads, rows)}"

    def _change(self, variant: str, measure: str) -> str:
        before, after = self.mean(self.base, measure), self.mean(variant, measure)
        if not before or after is None:
            return ""
        published = PAPER.get(variant, {}).get(measure)
        told = f" (the paper: {published:+.0f} %)" if published is not None else ""
        return f"{100 * (after / before - 1):+.0f} %{told}"

    def verdicts(self) -> str:
        """Whether three patch-VAE scales are as real as they should be, and as diverse."""
        vae_only = f"V{self.scales}"
        lines = [
            self._verdict("distance", vae_only, f"{self.metric} below that of VAE only", lambda ours, it: ours < it),
            self._verdict("diversity", "V0", "diversity at least 1.5 times GAN only", lambda a, b: a >= 1.5 * b),
            self._verdict("diversity", vae_only, "diversity at least half of VAE only", lambda a, b: a >= b / 2),
        ]
        found = [line for line in lines if line]
        return "\n".join([f"## {title(self.base)} as it should be\n", *found]) if found else ""

    def _verdict(self, measure: str, other: str, claim: str, holds: Callable[[float, float], bool]) -> str:
        ours, theirs = self.mean(self.base, measure), self.mean(other, measure)
        if ours is None or theirs is None:
            return ""
        pairs = [(self.value(clip, self.base, measure), self.value(clip, other, measure)) for clip in self.clips]
        so = sum(a is not None and b is not None and holds(a, b) for a, b in pairs)
        yes = "yes" if holds(ours, theirs) else "NO"
        return f"- {claim}: **{yes}**, {number(ours)} against {number(theirs)}; on {so} of {len(pairs)} clips"


def title(name: str) -> str:
    return name.replace("V", "V = ") if re.fullmatch(r"V\d+", name) else name.replace("-r1", " r = 1")


def number(value: float | None) -> str:
    """With three digits, or all before the point."""
    if value is None:
        return ""
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def publish(out: Path, results: Sequence[Result], lab: Lab) -> str:
    """Write the tables of what is measured so far, as Markdown and JSON; returns the Markdown."""
    parts = []
    for kind in (False, True):
        if some := [result for result in results if result.image == kind]:
            parts.append(Tables(some, lab.scales).whole())
    network = lab.network
    about = (
        f"Each variant learned each clip for {lab.minutes:g} minutes on a CPU: {lab.scales} scales up to a height of "
        f"{lab.height} pixels, {lab.channels} channels, all else as "
        f"{lab.preset.model.name}. Means over {lab.num} variations each. "
        f"{network.name}: sha256 {network.sha256[:16]}."
    )
    made = "\n\n".join([TITLE, about, *parts]) + "\n"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(made)
    write_json(out.with_suffix(".json"), {"about": about, "results": [asdict(result) for result in results]})
    return made


# ---- the program -------------------------------------------------------------------------------


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; `arguments` are the program's own by default."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("clips", type=Path, nargs="+", metavar="CLIP", help="video or image files")
    made.add_argument("--runs", type=Path, default=Path("runs/single-ablation"), help="where trainings are kept")
    made.add_argument("--features", default="frames", help="frames, i3d, or a TorchScript file")
    made.add_argument("--preset", default="hp-vae-gan-mini", help="whose losses and rates are taken, or a JSON file")
    made.add_argument("--minutes", type=float, default=5.0, help="of each training")
    made.add_argument("--height", type=int, default=64)
    made.add_argument("--scales", type=int, default=10)
    made.add_argument("--channels", type=int, default=32)
    made.add_argument("--num", type=int, default=50, help="variations of each model")
    made.add_argument("--variants", help="V0,V1,...,all-trained,r1")
    made.add_argument("--out", type=Path, default=Path("benchmarks/results/single_ablation.md"))
    options = made.parse_args(arguments)
    if options.num < 2:
        made.error("--num must be at least 2")
    try:
        names = options.variants.split(",") if options.variants else default_variants(options.scales)
        options.variants = variants_of(names, options.scales)
    except ValueError as error:
        made.error(str(error))
    return options


def main() -> None:
    options = options_of()
    network, preset = resolve(options.features), find_single_preset(options.preset)
    sizes = (options.minutes, options.height, options.scales, options.channels, options.num)
    lab, results = Lab(options.runs, network, preset, *sizes), []
    made = ""
    for clip in options.clips:
        for variant in options.variants:
            results.append(lab.result(clip, variant))
            say(f"{clip.stem} {variant.name}: {results[-1].metric} {number(results[-1].distance)}")
            made = publish(options.out, results, lab)
        say(f"pictures: {lab.write_sheet(clip, options.variants)}")
    print(made)


if __name__ == "__main__":
    main()
