"""The JSON values of `hvg_mini.py` as a page of tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Found = Mapping[str, Any]
RESULTS = Path(__file__).parent / "results"
DISTANCES = {"fvd": "FVD", "fvd_pca64": "FVD, pca64", "kvd": "KVD", "frames": "FVD[frames]"}
RATIO, NAMED, LATER, GROUNDED, FACTOR = 0.8, 0.8, 1.15, 4.0, 2.0
"""What is asked: of (a), (b), (c), (d) in n/255, and (f)."""


def number(value: float | None, digits: int = 3) -> str:
    """With so many digits, and without an exponent below a million."""
    if value is None:
        return ""
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text else text


def spanned(value: list[float | None]) -> str:
    """A value and its interval."""
    middle, low, high = value
    return number(middle) if low is None else f"{number(middle)} ({number(low)} to {number(high)})"


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    head = list(head)
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def page(result: Found) -> str:
    """The whole page. Parts that are not measured yet are left out."""
    parts, protocol = result["parts"], result["protocol"]
    model, *beside, other = protocol["models"]
    lines = [
        f"# {model} on held-out clips",
        "",
        f"Taken by `python benchmarks/hvg_mini.py` on {result['machine']['processor']}, torch "
        f"{result['machine']['torch']}, {result['machine']['threads']} thread(s). "
        + "; ".join(told_of(protocol, name) for name in protocol["models"])
        + ".",
        "",
        *asked(parts, model, other),
        *equal_time(parts, beside, other, protocol["seconds"]),
        *all_distances(result),
        *truncated(parts, model),
        *classes(parts, [model, *beside, other]),
        *unrolled(parts),
        *grounded(parts, model),
        *nearest(parts, model),
        "Tries on the way, and runs that diverged or led to nothing: [hvg-mini-tries.md](hvg-mini-tries.md).",
    ]
    return "\n".join(lines).rstrip() + "\n"


def told_of(protocol: Found, name: str) -> str:
    """Which weights a model has, and how long they were trained."""
    seconds = protocol["seconds"][name]
    return f"{name}: sha {protocol['models'][name]}" + (f", {seconds:.0f} s of training" if seconds else "")


# ---- what is asked ---------------------------------------------------------------------------------


def sigmas(parts: Found, model: str) -> list[str]:
    """ "sigma 1" and the others that something was measured of a model at."""
    names = [*parts, *(name for key in ("classes", "motion", "copies") for name in parts.get(key, ()))]
    own = [name for name in names if name.startswith(f"{model}, sigma")]
    return list(dict.fromkeys(name.split(", ")[1] for name in own)) or ["sigma 1"]


def verdict(holds: bool) -> str:
    return "yes" if holds else "no"


def asked(parts: Found, model: str, other: str) -> list[str]:
    """A row a criterion and sigma: what is asked, what was measured, and whether it holds."""
    rows = [row for sigma in sigmas(parts, model) for row in criteria(parts, model, other, sigma)]
    if not rows:
        return []
    head = ("", "criterion", "asked", "sigma", "measured", "holds")
    return ["## What is asked", "", *table(head, sorted(rows, key=lambda row: row[0]))]


def criteria(parts: Found, model: str, other: str, sigma: str) -> Iterable[tuple[str, ...]]:
    name, value = f"{model}, {sigma}", sigma.split()[1]
    for what, ratio in divided(parts, name, other):
        yield "a", what, f"<= {RATIO}", value, spanned(ratio), verdict(ratio[0] <= RATIO)
    if found := parts.get("classes", {}).get(name):
        for key, what in (("share", "classes of the held-out windows"), ("mean_of_classes", "mean over all classes")):
            kept = found["held_out_share"] if key == "share" else found[key]
            yield "b", f"class named, {what}", f">= {percent(NAMED)}", value, percent(kept), verdict(kept >= NAMED)
    long = parts.get(f"{name}, 48 frames", {})
    for key, found in long.get("late", {}).items():
        what = f"{DISTANCES[key]} of the last 12 frames / the first 12"
        yield "c", what, f"<= {LATER}", value, spanned(found["ratio"]), verdict(found["ratio"][0] <= LATER)
    if spectra := long.get("spectra"):
        shares = [found["within"] for found in spectra.values()]
        what = f"frequencies below the top octave within the real clips' spread, frames {', '.join(spectra)}"
        yield "c", what, "100 %", value, ", ".join(map(percent, shares)), verdict(min(shares) == 1)
    for level, found in parts.get("grounding", {}).get(sigma, {}).items():
        what = f"level {level}, downsampled, against its input, mean, n/255"
        yield "d", what, f"<= {GROUNDED:g}", value, number(found["mean"]), verdict(found["mean"] <= GROUNDED)
    if found := parts.get("copies", {}).get(name):
        measured = f"{percent(found['video']['nearer'])} by features, {percent(found['small']['nearer'])} by pixels"
        yield "e", "samples nearer to training windows than 95 % of held-out windows", "told", value, measured, ""
    if found := parts.get("motion", {}).get(name):
        count = len(found["ratio"])
        what = f"classes whose mean change energy is within a factor {FACTOR:g} of real clips"
        holds = verdict(found["within"] == count)
        yield "f", what, f"{count} of {count}", value, f"{found['within']} of {count}", holds


def divided(parts: Found, name: str, other: str) -> Iterable[tuple[str, list[float]]]:
    """Distances of a model at a sigma by those of the model of one stage, and what they are."""
    for key, ratio in parts.get("against", {}).get(name, {}).items():
        yield f"{DISTANCES[key]} on 48 frames, divided by that of {other}", ratio


def equal_time(parts: Found, models: Iterable[str], other: str, seconds: Found) -> list[str]:
    """(a) of the other models of the table, and for how long they were trained."""
    rows = [
        (model, times(seconds, model, other), what, sigma.split()[1], spanned(ratio), verdict(ratio[0] <= RATIO))
        for model in models
        for sigma in sigmas(parts, model)
        for what, ratio in divided(parts, f"{model}, {sigma}", other)
    ]
    if not rows:
        return []
    first = next(iter(seconds))
    lead = f"{first} was trained {times(seconds, first, other)} times as long as {other}. Beside it:"
    head = ("model", f"training, by that of {other}", "criterion (a)", "sigma", "measured", "holds")
    return [lead, "", *table(head, rows)]


def times(seconds: Found, model: str, other: str) -> str:
    """How long a model was trained, by the time of another; ? where that is not known."""
    own, theirs = seconds[model], seconds[other]
    return number(own / theirs) if own and theirs else "?"


# ---- distances -------------------------------------------------------------------------------------


def all_distances(result: Found) -> list[str]:
    """A table for each length, the models first."""
    lines: list[str] = []
    for frames in ("48", "12"):
        ending = f", {frames} frames"
        names = [name for name in result["order"] if name.endswith(ending) and name in result["parts"]]
        if not names:
            continue
        rows = [
            (
                name.removesuffix(ending),
                str(result["parts"][name]["videos"]),
                *(spanned(result["parts"][name]["distances"][key]) for key in DISTANCES),
            )
            for name in names
        ]
        lines += [f"## Distances, {frames} frames", "", *table(("", "videos", *DISTANCES.values()), rows)]
        lines += [windows(result["protocol"], frames), ""]
    return [*lines, manner(result["protocol"]), ""] if lines else []


def windows(protocol: Found, frames: str) -> str:
    """The words under a table of distances."""
    real, pool = protocol["real"][frames], protocol["pool"][frames]
    return (
        f"Against {real['videos']} windows of {real['name']}, {real['frames']} frames of {real['size']} at stride "
        f"{real['stride']} ({real['available']} there are: starts at multiples of {real['start_step']} frames, three "
        f"crops, mirrored). Principal components are those of {pool['videos']} windows of {pool['name']}, of "
        f"{pool['takes']} takes."
    )


def manner(protocol: Found) -> str:
    """The words for all distances."""
    return (
        f"Network: {protocol['network']}, sha256 {protocol['network_sha256'][:16]}; FVD and KVD are of its logits. In "
        f"brackets: 95 % intervals by {protocol['trials']} bootstrap samples of whole takes; a generated video is one. "
        "Generated videos and training windows have the held-out windows' classes, in their proportions. "
        "Enlarged: f_s and f_t, then bicubic in space and linear in time: a perfect outline, and nothing that adds "
        "detail. The held-out clips themselves have no other scenes to differ by, so theirs is the smallest distance "
        "that such an outline can have."
    )


def truncated(parts: Found, model: str) -> list[str]:
    """The distances and the overlap of the sets at several sigma."""
    found = {name: values for name, values in parts.get("truncation", {}).items() if isinstance(values, dict)}
    if not found:
        return []
    head = ("", "FVD", "FVD, pca64", "precision", "recall", "density", "coverage")
    rows = [(name, *(number(value) for value in values.values())) for name, values in found.items()]
    return [
        f"## {model} by sigma, 48 frames",
        "",
        *table(head, rows),
        "The same held-out windows and features; precision, recall, density and coverage by 5 neighbours.",
        "",
    ]


# ---- classes and motion ----------------------------------------------------------------------------


def classes(parts: Found, models: Sequence[str]) -> list[str]:
    """(b) and (f), a row a class."""
    named, moving = parts.get("classes"), parts.get("motion")
    if not named or not moving:
        return []
    titles = [f"{name}, {sigma}" for sigma in sigmas(parts, models[0]) for name in models]
    real = "real held-out windows"
    head = ["class", "held out", "named: real", *(f"named: {t}" for t in titles)]
    head += ["real energy", *(f"energy / real: {t}" for t in titles)]
    bounds = {side: found for side, found in parts.get("outlines", {}).items() if "x" in side}
    head += [f"energy / real: clips of {side}, enlarged" for side in bounds]
    rows = [
        [
            name,
            "yes" if name in moving["held_out"] else "no",
            percent(named[real]["classes"][name]),
            *(class_cell(named[title], name) for title in titles),
            number(moving["real"][name]),
            *(ratio_cell(moving[title]["ratio"].get(name)) for title in titles),
            *(number(found.get(name), 2) for found in bounds.values()),
        ]
        for name in sorted(moving["real"])
    ]
    total = ["all", "", percent(named[real]["share"]), *(percent(named[t]["mean_of_classes"]) for t in titles), ""]
    rows.append([*total, *(f"{moving[t]['within']} of {len(moving[t]['ratio'])}" for t in titles), *[""] * len(bounds)])
    return [
        "## Classes and motion, 48 frames",
        "",
        *table(head, rows),
        "Named: the share of videos of a class that multinomial logistic regression on the features of training "
        "windows names rightly (all of these classes at once), and what the others are most often taken for. Energy: "
        "mean square of the change from a frame to the next, 8-bit units; of held-out windows, or of training windows "
        "where there are none of the class. Outside of a factor 2 in bold. Enlarged clips are training windows: what "
        "they lack is in detail that moves, which an outline does not have.",
        "",
    ]


def class_cell(found: Found, name: str) -> str:
    """A share, and what the class is mistaken for where it often is."""
    share = found["classes"].get(name)
    if share is None or share >= NAMED or name not in found["mistaken_for"]:
        return percent(share)
    return f"{percent(share)} ({found['mistaken_for'][name]})"


def ratio_cell(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return number(ratio, 2) if 1 / FACTOR <= ratio <= FACTOR else f"**{number(ratio, 2)}**"


# ---- unrolling, grounding, copies ------------------------------------------------------------------


def unrolled(parts: Found) -> list[str]:
    """(c): the end of the videos beside their beginning, and spectra."""
    late = {name: part["late"] for name, part in parts.items() if "late" in part}
    if not late:
        return []
    rows = [
        (
            name.removesuffix(", 48 frames"),
            *(cell for f in found.values() for cell in (number(f["first"]), number(f["last"]), spanned(f["ratio"]))),
        )
        for name, found in late.items()
    ]
    head = ["", "FVD, first 12", "last 12", "ratio", "pca64, first 12", "last 12", "ratio"]
    spectra = {name: part["spectra"] for name, part in parts.items() if "spectra" in part}
    numbers = list(next(iter(spectra.values())))
    return [
        "## The end of 48 frames",
        "",
        *table(head, rows),
        "Both against the first and the last 12 frames of the held-out windows together.",
        "",
        *table(
            [
                "mean spectrum within the real clips' 5 to 95 %",
                *(f"frame {n}" for n in numbers),
                "outside, dB",
                "below the real mean, dB",
            ],
            [
                [
                    name.removesuffix(", 48 frames"),
                    *(percent(found[n]["within"]) for n in numbers),
                    excess(found),
                    lack(found),
                ]
                for name, found in spectra.items()
            ],
        ),
        "Share of the frequencies below the top octave (under 0.25 cycles/pixel) at which the mean spectrum in dB of "
        "the videos is between the quantiles 5 % and 95 % of the held-out windows; how far it lies outside at most, "
        "below and above; and how far below their mean it is in the lowest, middle and highest third of these "
        "frequencies.",
        "",
    ]


def excess(found: Found) -> str:
    """The largest excess below and above, of all frames."""
    low, high = zip(*(part["excess_db"] for part in found.values()), strict=True)
    return f"{min(low):.1f}, {max(high):+.1f}"


def lack(found: Found) -> str:
    """Mean distance below the real mean in each third of the frequencies, over all frames."""
    thirds = zip(*(part["below_real_mean_db"] for part in found.values()), strict=True)
    return ", ".join(f"{sum(third) / len(third):.1f}" for third in thirds)


def grounded(parts: Found, model: str) -> list[str]:
    """(d): errors of the levels above the first."""
    if "grounding" not in parts:
        return []
    rows = [
        (level, sigma.split()[1], *(number(found[key]) for key in ("mean", "max", "corrected_mean")))
        for sigma, levels in parts["grounding"].items()
        if sigma.startswith("sigma")
        for level, found in levels.items()
    ]
    count = next(
        found["videos"] for key, levels in parts["grounding"].items() if key[:5] == "sigma" for found in levels.values()
    )
    return [
        f"## Grounding of {model}",
        "",
        *table(("level", "sigma", "mean error", "largest", "mean, corrected"), rows),
        f"n/255, of {count} videos of all classes: f_s and f_t of a level's output against the output of the level "
        "below, as `hvg generate` makes it (it corrects nothing), and after the correction that `hvg upscale` makes. "
        + ablation((RESULTS / "ablation_matching.md").read_text()),
        "",
    ]


def ablation(text: str) -> str:
    """What the matching discriminator does to this error, from the table of that ablation."""
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if line[:3] == "| w"]
    errors = {(row[0], row[1]): row[-1] for row in rows}
    pairs = [f"{errors['with', n]} and {errors['without', n]} on {n} frames" for way, n in errors if way == "with"]
    return (
        "With and without the matching discriminator, in [smaller models](ablation_matching.md): "
        + ", ".join(pairs)
        + "."
    )


def nearest(parts: Found, model: str) -> list[str]:
    """(e): how near samples come to training windows."""
    found = parts.get("copies")
    if not found:
        return []
    titles = {"held-out windows": found["held-out"]} | {key: part for key, part in found.items() if ", sigma" in key}
    head = (
        "",
        "by",
        "windows",
        "least",
        *(f"{100 * q:.0f} %" for q in found["quantiles"]),
        "nearer than held-out's 5 %",
    )
    rows = [
        (title, what, str(row["videos"]), *map(number, (row["least"], *row["quantiles"])), percent(row["nearer"]))
        for space, what in (("video", "features"), ("small", "pixels"))
        for title, row in ((title, part[space]) for title, part in titles.items())
    ]
    return [
        "## Nearest training windows, 12 frames",
        "",
        *table(head, rows),
        f"Distances to the nearest of all {found['pool']} training windows, and their quantiles: root mean square of "
        "the differences of logits, and of 4 frames of 16x16 pixels in 8-bit units. Held-out windows come from later "
        "parts of the same takes.",
        "",
        f"The first samples of {model} of each class:",
        "",
        *table(
            ("class", "by features", "of", "SSIM", "by pixels", "of", "SSIM"),
            [
                (
                    sample["class"],
                    *(
                        cell
                        for near in (sample["video"], sample["small"])
                        for cell in (
                            number(near["distance"]),
                            f"{near['class']}, take {near['take']}",
                            number(near["ssim"]),
                        )
                    ),
                )
                for sample in found["samples"]
            ],
        ),
    ]
