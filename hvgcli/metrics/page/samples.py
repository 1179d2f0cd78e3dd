"""The videos of a page: real beside generated, class by class."""

from __future__ import annotations

from collections.abc import Sequence

from hvgcli.metrics.page.evaluation import Evaluation, Sample
from hvgcli.metrics.page.markup import Html, hidden, join, tag
from hvgcli.metrics.page.media import Media, Medium

MOST = 48  # videos of one set that are shown
MOST_BESIDE = 4  # sets beside each other; more stand below each other
WIDE = 3  # a group with this many videos of one set takes the whole width


def samples_section(evaluations: Sequence[Evaluation], media: Media) -> Html | None:
    """A card for each class, with a column for the real videos and one for each evaluation's generated ones."""
    columns = _columns(evaluations)
    labels = sorted({sample.label for samples in columns.values() for sample in samples})
    if not labels:
        return None
    left_out = sum(
        len(_all(evaluation, which)) - len(_shown(evaluation, which)) for evaluation, which in _sets(evaluations)
    )
    cards = [_card(label, columns, media) for label in labels]
    return join(
        tag("p", "Real videos beside generated ones, silent and in a loop.", class_="lead"),
        tag("p", f"{left_out} more videos are in the folders of the evaluations.", class_="note") if left_out else None,
        tag("p", tag("button", "Pause all", type="button", id="pause-all", class_="button script"), class_="tools"),
        tag("div", *cards, class_="cards broad" if len(columns) > 2 else "cards"),
    )


def _sets(evaluations: Sequence[Evaluation]) -> list[tuple[Evaluation, str]]:
    return [(evaluation, which) for evaluation in evaluations for which in ("real", "generated")]


def _all(evaluation: Evaluation, which: str) -> list[Sample]:
    return [sample for sample in evaluation.samples if sample.set == which]


def _shown(evaluation: Evaluation, which: str) -> list[Sample]:
    return _all(evaluation, which)[:MOST]


def _columns(evaluations: Sequence[Evaluation]) -> dict[str, list[Sample]]:
    """Title of a column -> its videos: the real ones of all evaluations first, then what each has generated."""
    columns = {"Real": [sample for evaluation in evaluations for sample in _shown(evaluation, "real")]}
    for evaluation in evaluations:
        title = "Generated" if len(evaluations) == 1 else evaluation.title
        columns[title] = _shown(evaluation, "generated")
    return {title: samples for title, samples in columns.items() if samples}


def _card(label: str, columns: dict[str, list[Sample]], media: Media) -> Html:
    parts = {title: [sample for sample in samples if sample.label == label] for title, samples in columns.items()}
    widest = max(map(len, parts.values()))
    sets = [_set(title, samples, media) for title, samples in parts.items() if samples]
    heading = tag("h3", label or "All classes")
    return tag(
        "article",
        heading,
        tag("div", *sets, class_="sets"),
        class_="card wide" if widest >= WIDE or len(sets) > MOST_BESIDE else "card",
    )


def _set(title: str, samples: Sequence[Sample], media: Media) -> Html:
    """The videos of one set, each file once (evaluations against the same real videos share theirs)."""
    found: dict[str, Html] = {}
    for number, sample in enumerate(samples):
        medium = media.add(sample.file)
        found.setdefault(medium.url or str(number), _clip(title, sample, medium))
    return tag("section", tag("h4", title), tag("div", *found.values(), class_="clips"), class_="set")


def _clip(title: str, sample: Sample, medium: Medium) -> Html:
    seed = None if sample.seed is None else f"seed {sample.seed}"
    words = ", ".join(part for part in (title, sample.label, seed or sample.file.stem) if part)
    caption = tag("figcaption", seed or sample.file.stem)
    if medium.problem:
        return tag("figure", tag("p", medium.problem, class_="missing"), caption, class_="clip")
    return tag("figure", _player(words, medium), caption, class_="clip")


def _player(words: str, medium: Medium) -> Html:
    """A video with the browser's own controls; the script puts one button in their place."""
    place = {"width": medium.width, "height": medium.height}
    if not medium.moves:
        return tag("img", src=medium.url, alt=words, loading="lazy", **place)
    video = tag(
        "video", src=medium.url, aria_label=words, autoplay=True, muted=True, loop=True, playsinline=True,
        controls=True, preload="auto", **place,
    )  # fmt: skip
    icon = tag("span", class_="icon", aria_hidden="true")
    button = tag("button", icon, hidden(tag("span", "Pause", class_="verb")), hidden(f" {words}"), type="button",
                 class_="play script")  # fmt: skip
    return tag("div", video, button, class_="player")
