"""The page of results of `upscale.py`. Every sentence with a number, or with a winner, is made from the numbers."""

from __future__ import annotations

import textwrap
from typing import Any

from upscale_factors import BETWEEN, OURS, UNGROUNDED, WHOLE, Factors

from hvgcli.sampling.upscale import DETAIL

MEASURES = {"psnr": True, "ssim": True}  # whether more is better


def page(levels: list[dict[str, Any]]) -> str:
    """All levels that were measured, each as `upscale.py` keeps it."""
    lines = ["# Speed, memory and quality of `hvg upscale`", ""]
    lines += ["Taken by `python benchmarks/upscale.py`; all numbers are in [upscale.json](upscale.json)."]
    for level in levels:
        lines += ["", *level_part(level)]
    return "\n".join(lines) + "\n"


def level_part(level: dict[str, Any]) -> list[str]:
    times = Factors(**level["factors"])
    lines = [f"## Level {level['number']} of {level['model']}: {times.words}"]
    if "speed" in level:
        lines += ["", *speed_part(level["speed"], times)]
    if "quality" in level:
        lines += ["", *quality_part(level["quality"], times)]
    return lines


def paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, 119, break_long_words=False, break_on_hyphens=False)


def table(heads: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def machine_line(part: dict[str, Any]) -> str:
    machine = part["machine"]
    return (
        f"{machine['processor']}, {machine['cores']} cores ({machine['threads']} used by torch), torch "
        f"{machine['torch']}; load of the machine at the end: {part['load of the machine']:.1f}"
    )


# ---- speed ----------------------------------------------------------------------------------------


def speed_part(speed: dict[str, Any], times: Factors) -> list[str]:
    heads = ["source", "frames", "ours, frames/s", "ffmpeg, frames/s", "ours / ffmpeg", "ours, MiB", "ffmpeg, MiB"]
    rows = []
    for row in speed["rows"]:
        ours, peer = (rate(row[side], "processor seconds") for side in ("ours", "ffmpeg"))
        memory = [f"{row[side]['peak MiB']:.0f}" for side in ("ours", "ffmpeg")]
        rows.append(
            [row["size"], str(row["source frames"]), f"{ours:.1f}", f"{peer:.1f}", f"{ours / peer:.2f}", *memory]
        )
    return [
        "### Speed and memory",
        "",
        machine_line(speed) + ".",
        "",
        *paragraph(
            f"Whole processes, mp4 to mp4, {times.words}, with the start of the program. Frames are those of the "
            "output, and seconds those on a processor (user and system), because other programs kept this machine "
            f"busy; wall times are in the JSON file. ffmpeg's side is {times.peer}. Medians of {speed['rounds']} "
            f"round(s) in which the sides take turns.{dropped(speed['rows'])}"
        ),
        "",
        *table(heads, rows),
        "",
        *growth(speed["rows"]),
    ]


def dropped(rows: list[dict[str, Any]]) -> str:
    """How many frames fewer ffmpeg makes."""
    most = max(row["ours"]["frames"] - row["ffmpeg"]["frames"] for row in rows)
    return f" `minterpolate` drops the last {most:.0f} frames." if most > 0 else ""


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


def quality_part(quality: dict[str, Any], times: Factors) -> list[str]:
    lines = ["### Nearness to the true clips", "", machine_line(quality) + ".", ""]
    lines += paragraph(protocol(quality, times))
    lines += ["", *summary(quality["sets"], times)]
    for name, found in quality["sets"].items():
        lines += ["", *set_part(name, found, times)]
    return lines


def protocol(quality: dict[str, Any], times: Factors) -> str:
    """What was measured, and how to read the tables."""
    size, between = quality["size"], times.time > 1
    low = f"one frame of {times.time}" if between else "all its frames"
    views = "f_s f_t" if between else "f_s"
    text = (
        f"The truth: windows of {quality['frames']} frames at the clips' own rate, square crops, {size}x{size}. The "
        f"input: {low}, {size // times.space}x{size // times.space} ({views}), rounded to 8 bits. All methods see the "
        "same input, and all frames count, before any encoding"
        f"{'; the frames after the last input have none that follows' if between else ''}. FD is the "
        "Frechet distance of the set to the truth by the network in brackets, `pca` of its principal components "
        "(fitted on the truth). Distances of so few windows are far above those of many, for all methods alike: "
        f"compare them within a table only. Grounding is the mean of |{views}(result) - input| in 1/255. `grounded` "
        "is the correction that `hvg upscale` makes of its own result, applied to another method."
    )
    if any(WHOLE in found["methods"] for found in quality["sets"].values()):
        text += f" `{WHOLE}` adds all that the level adds to the plain enlargement, `{OURS}` {DETAIL:g} of it."
    if between:
        text += f" `{BETWEEN}` keeps our frames that have an input, and replaces those between by ffmpeg's."
    return text


def set_part(name: str, found: dict[str, Any], times: Factors) -> list[str]:
    described, columns = found["set"], {"PSNR, dB": "psnr"}
    if times.time > 1:
        columns |= {"at input frames": "psnr at input", "between": "psnr between"}
    heads = ["method", *columns, "SSIM", "grounding"]
    for one in found["frechet"]:
        heads += forms(one)
    rows = [method_row(method, found, list(columns.values())) for method in found["methods"]]
    return [
        f"#### {name}: {described['videos']} windows of {described['takes']} takes",
        "",
        f"PSNR and SSIM are means of {found['scored']} of the windows, spread evenly.",
        "",
        *table(heads, rows),
        "",
        *verdicts(found, times),
    ]


def method_row(method: str, found: dict[str, Any], columns: list[str]) -> list[str]:
    scores = found["methods"][method]
    row = [method, *(f"{scores[key]:.2f}" for key in columns)]
    row += [f"{scores['ssim']:.4f}", f"{scores['grounding, 1/255']:.2f}"]
    for one in found["frechet"]:
        row += [f"{one[key][method]:.2f}" for key in forms(one).values()]
    return row


def verdicts(found: dict[str, Any], times: Factors) -> list[str]:
    """Where ours wins and where it loses, against the peer as it is and against the peer at equal grounding."""
    lines = []
    for other in (times.peer, f"{times.peer}, grounded", f"{times.plain}, grounded"):
        won: list[str] = []
        lost: list[str] = []
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


def summary(sets: dict[str, Any], times: Factors) -> list[str]:
    """What all sets say together, before their tables."""
    own = (OURS, BETWEEN) if times.time > 1 else (OURS,)
    lines = [_tally(sets, ours, other) for ours in own for other in (times.peer, f"{times.peer}, grounded")]
    plain = times.plain
    added = [found["network to plain interpolation, mean 1/255"] for found in sets.values()]
    lines.append(
        f"- Without grounding, ours differs from {plain} by {min(added):.2f} to {max(added):.2f}/255 on average. In "
        f"PSNR it gains {gains(sets, UNGROUNDED, plain)} dB over {plain} then, and {gains(sets, OURS, plain)} dB with "
        "grounding."
    )
    return lines


def _tally(sets: dict[str, Any], ours: str, other: str) -> str:
    rows = [row for found in sets.values() for row in comparisons(found, other, ours)]
    words = []
    for kind, chosen in (("PSNR and SSIM", "PS"), ("the Frechet distance", "F")):
        part = [(first > second) == more for label, first, second, more in rows if label[0] in chosen]
        words.append(f"{sum(part)} of {len(part)} comparisons by {kind}")
    return f"- *{ours}* is better than *{other}* in {' and '.join(words)}."


def gains(sets: dict[str, Any], method: str, other: str) -> str:
    """The range over the sets of what a method gains in PSNR over another one."""
    found = [one["methods"][method]["psnr"] - one["methods"][other]["psnr"] for one in sets.values()]
    return f"{min(found):.2f} to {max(found):.2f}"


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
