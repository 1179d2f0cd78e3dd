"""The page of results of `upscale.py`. Every sentence with a number, or with a winner, is made from the numbers."""

from __future__ import annotations

from typing import Any

OURS, UNGROUNDED, PEER, PLAIN = "ours", "ours, --no-ground", "lanczos + minterpolate", "bilinear + linear"
BETWEEN = "ours, minterpolate between"
MEASURES = {"psnr": True, "ssim": True}  # whether more is better


def page(result: dict[str, Any]) -> str:
    lines = ["# Speed, memory and quality of `hvg upscale`", ""]
    lines += ["Taken by `python benchmarks/upscale.py`; all numbers are in [upscale.json](upscale.json)."]
    if "speed" in result:
        lines += ["", *speed_part(result["speed"])]
    if "quality" in result:
        lines += ["", *quality_part(result["quality"])]
    return "\n".join(lines) + "\n"


def table(heads: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def machine_line(part: dict[str, Any]) -> str:
    machine = part["machine"]
    return (
        f"{machine['processor']}, {machine['cores']} cores ({machine['threads']} used by torch), torch "
        f"{machine['torch']}; load of the machine at the end: {part['load of the machine']:.1f}"
    )


# ---- speed ----------------------------------------------------------------------------------------


def speed_part(speed: dict[str, Any]) -> list[str]:
    heads = ["source", "frames", "ours, frames/s", "ffmpeg, frames/s", "ours / ffmpeg", "ours, MiB", "ffmpeg, MiB"]
    rows = []
    for row in speed["rows"]:
        ours, peer = (rate(row[side], "processor seconds") for side in ("ours", "ffmpeg"))
        memory = [f"{row[side]['peak MiB']:.0f}" for side in ("ours", "ffmpeg")]
        rows.append(
            [row["size"], str(row["source frames"]), f"{ours:.1f}", f"{peer:.1f}", f"{ours / peer:.2f}", *memory]
        )
    return [
        "## Speed and memory",
        "",
        machine_line(speed) + ".",
        "",
        "Whole processes, mp4 to mp4, x4 in space and x2 in time, with the start of the program. Frames are those of",
        "the output, and seconds those on a processor (user and system), because other programs kept this machine",
        f"busy; wall times are in the JSON file. Medians of {speed['rounds']} round(s) in which the sides take turns.",
        "`minterpolate` drops the last three frames.",
        "",
        *table(heads, rows),
        "",
        *growth(speed["rows"]),
    ]


def rate(side: dict[str, float], seconds: str) -> float:
    return side["frames"] / side[seconds]


def growth(rows: list[dict[str, Any]]) -> list[str]:
    """What the longest clip takes above the shortest one, of each size."""
    shortest, longest = (pick(row["source frames"] for row in rows) for pick in (min, max))
    lines = [f"From {shortest} to {longest} source frames, so without the start of the program:", ""]
    cells = []
    for size in dict.fromkeys(row["size"] for row in rows):
        short, long = (
            next(row for row in rows if (row["size"], row["source frames"]) == (size, count))
            for count in (shortest, longest)
        )
        cell = [size]
        for side in ("ours", "ffmpeg"):
            more = [long[side][key] - short[side][key] for key in ("frames", "processor seconds")]
            cell.append(f"{more[0] / max(more[1], 1e-9):.1f}")
        cell += [f"{long[side]['peak MiB'] / short[side]['peak MiB']:.2f}" for side in ("ours", "ffmpeg")]
        cells.append(cell)
    heads = ["source", "ours, frames/s", "ffmpeg, frames/s", "memory long / short, ours", "ffmpeg"]
    return lines + table(heads, cells)


# ---- quality --------------------------------------------------------------------------------------


def quality_part(quality: dict[str, Any]) -> list[str]:
    lines = [
        "## Nearness to the true clips",
        "",
        machine_line(quality) + ".",
        "",
        f"Model {quality['model']}. The truth: windows of {quality['frames']} frames at the clips' own rate, square",
        "crops, 128x128. The input: every second frame of it, 32x32 (f_s and f_t), rounded to 8 bits. All methods see",
        "the same input, and all frames count, before any encoding; the last frame has no input after it. FD is the",
        "Frechet distance of the set to the truth by the network in brackets, `pca` of its principal components",
        "(fitted on the truth). Distances of so few windows are far above those of many, for all methods alike:",
        "compare them within a table only. Grounding is the mean of |f_s f_t(result) - input| in 1/255. `grounded`",
        "is the correction that `hvg upscale` makes of its own result, applied to another method.",
        f"`{BETWEEN}` keeps our frames that have an input, and replaces those between by ffmpeg's.",
    ]
    lines += ["", *summary(quality["sets"])]
    for name, found in quality["sets"].items():
        lines += ["", *set_part(name, found, quality)]
    return lines


def set_part(name: str, found: dict[str, Any], quality: dict[str, Any]) -> list[str]:
    described, measured = found["set"], found["frechet"]
    heads = ["method", "PSNR, dB", "at input frames", "between", "SSIM", "grounding"]
    for one in measured:
        heads += forms(one)
    rows = []
    for method, scores in found["methods"].items():
        row = [method, *(f"{scores[key]:.2f}" for key in ("psnr", "psnr at input", "psnr between"))]
        row += [f"{scores['ssim']:.4f}", f"{scores['grounding, 1/255']:.2f}"]
        for one in measured:
            row += [f"{one[key][method]:.2f}" for key in forms(one).values()]
        rows.append(row)
    return [
        f"### {name}: {described['videos']} windows of {described['takes']} takes",
        "",
        f"PSNR and SSIM are means of {found['scored']} of the windows, spread evenly.",
        "",
        *table(heads, rows),
        "",
        *verdicts(found),
    ]


def verdicts(found: dict[str, Any]) -> list[str]:
    """Where ours wins and where it loses, against the peer as it is and against the peer at equal grounding."""
    lines = []
    for other in (PEER, f"{PEER}, grounded", f"{PLAIN}, grounded"):
        won, lost = [], []
        for label, ours, theirs, more in comparisons(found, other):
            (won if (ours > theirs) == more else lost).append(label)
        sure = "; ".join(
            f"{100 * one['share of resamplings in which ours is nearer'][other]:.0f} % by {one['network']}"
            for one in found["frechet"]
        )
        lines.append(
            f"- Against {other}: ours is better in {listed(won)}, worse in {listed(lost)}. Share of resamplings of "
            f"the takes in which ours is nearer to the truth (principal components): {sure}."
        )
    return lines


def summary(sets: dict[str, Any]) -> list[str]:
    """What all sets say together, before their tables."""
    pairs = [(ours, other) for ours in (OURS, BETWEEN) for other in (PEER, f"{PEER}, grounded")]
    lines = [_tally(sets, ours, other) for ours, other in pairs]
    added = [found["network to bilinear + linear, mean 1/255"] for found in sets.values()]
    shares = [network_share(found["methods"]) for found in sets.values()]
    lines.append(
        f"- Without grounding, ours differs from {PLAIN} by {min(added):.2f} to {max(added):.2f}/255 on average. Of "
        f"the PSNR that ours gains over {PLAIN}, {100 * min(shares):.0f} to {100 * max(shares):.0f} % is there without "
        "grounding, so is the network's; the rest is grounding's."
    )
    return lines


def _tally(sets: dict[str, Any], ours: str, other: str) -> str:
    rows = [row for found in sets.values() for row in comparisons(found, other, ours)]
    words = []
    for kind, chosen in (("PSNR and SSIM", "PS"), ("the Frechet distance", "F")):
        part = [(first > second) == more for label, first, second, more in rows if label[0] in chosen]
        words.append(f"{sum(part)} of {len(part)} comparisons by {kind}")
    return f"- *{ours}* is better than *{other}* in {' and '.join(words)}."


def network_share(methods: dict[str, Any]) -> float:
    """Share of the gain in PSNR over plain interpolation that is there before grounding."""
    plain, network, whole = (methods[name]["psnr"] for name in (PLAIN, UNGROUNDED, OURS))
    return (network - plain) / (whole - plain) if whole != plain else 0.0


def forms(measured: dict[str, Any]) -> dict[str, str]:
    """Name of each distance of one network -> where its values are; components only where they are fewer."""
    whole = {f"FD[{measured['network']}]": "distance"}
    if measured["components"] == measured["dimensions"]:
        return whole
    return whole | {f"FD[{measured['network']},pca{measured['components']}]": "distance of components"}


def comparisons(found: dict[str, Any], other: str, ours: str = OURS) -> list[tuple[str, float, float, bool]]:
    """(measure, of `ours`, of `other`, whether more is better)."""
    first, second = found["methods"][ours], found["methods"][other]
    rows = [(key.upper(), first[key], second[key], more) for key, more in MEASURES.items()]
    for one in found["frechet"]:
        rows += [(name, one[key][ours], one[key][other], False) for name, key in forms(one).items()]
    return rows


def listed(names: list[str]) -> str:
    return ", ".join(names) or "nothing"
