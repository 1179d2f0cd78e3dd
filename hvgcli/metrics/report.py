"""`hvg report`: training runs and evaluations as one static HTML page with its videos beside it."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hvgcli import __version__
from hvgcli.errors import MediaError, OutputExistsError, UsageError
from hvgcli.metrics.page import evaluation as evaluations
from hvgcli.metrics.page import media as medias
from hvgcli.metrics.page import training as runs
from hvgcli.metrics.page.evaluation import Evaluation, read_evaluation
from hvgcli.metrics.page.layout import GENERATOR, render
from hvgcli.metrics.page.markup import Html, join, tag
from hvgcli.metrics.page.media import Media
from hvgcli.metrics.page.plots import spectra_section, training_section
from hvgcli.metrics.page.prediction import prediction_section
from hvgcli.metrics.page.samples import samples_section
from hvgcli.metrics.page.tables import classes_section, metrics_section, protocol_section
from hvgcli.metrics.page.training import TrainingRun, read_run
from hvgcli.metrics.page.truncation import truncation_section
from hvgcli.metrics.staging import staged

INDEX = "index.html"
Source = Evaluation | TrainingRun


@dataclass(frozen=True)
class Report:
    """What `write_report` has made."""

    index: Path
    evaluations: int
    runs: int
    media: int
    """Bytes of the videos and pictures beside the page."""
    problems: tuple[str, ...]
    """One line for each video or picture that could not be used; the page says so in its place."""


# ---- reading -----------------------------------------------------------------------------------


def read_sources(folders: Sequence[Path]) -> list[Source]:
    """Evaluations and runs in the order given; a folder may be both. Titles are made unique.

    Raises:
        UsageError: a folder is named twice.
        MediaError: a folder is neither, or is damaged.
    """
    for folder, count in Counter(folder.resolve() for folder in folders).items():
        if count > 1:
            raise UsageError(f"{folder} is named twice: name each run and evaluation once")
    return _distinct([source for folder in folders for source in _read(folder)])


def _read(folder: Path) -> list[Source]:
    if folder.name == evaluations.RESULT:
        folder = folder.parent
    found: list[Source] = []
    if (folder / evaluations.RESULT).exists():
        found.append(read_evaluation(folder))
    if (folder / runs.RECORD).exists() or (folder / runs.TABLE).exists():
        found.append(read_run(folder))
    if not found:
        raise MediaError(
            f"{folder} {'is neither a run' if folder.is_dir() else 'is no folder: expected a run'} of hvg train-level "
            f"({runs.RECORD}, {runs.TABLE}) nor an output of hvg evaluate ({evaluations.RESULT})"
        )
    return found


def _distinct(sources: Sequence[Source]) -> list[Source]:
    """Sources with the folder added to titles that several of one kind have, in full where its name is not enough."""
    for suffix in (lambda source: source.folder.resolve().name, lambda source: str(source.folder.resolve())):
        counts = Counter((type(source), source.title) for source in sources)
        sources = [
            replace(source, title=f"{source.title} ({suffix(source)})")
            if counts[type(source), source.title] > 1
            else source
            for source in sources
        ]
    return list(sources)


# ---- writing -----------------------------------------------------------------------------------


def write_report(sources: Sequence[Source], out: Path, *, title: str = "", overwrite: bool = False) -> Report:
    """Write `out/index.html` and `out/media/`: whole or not at all.

    The page needs no network and works from a file: URL; it may be moved with its `media` folder.

    Args:
        sources: of `read_sources`.
        title: of the page; by default made of the titles of its sources.
        overwrite: replace a report that is there. Any other folder that is not empty is refused always.

    Raises:
        OutputExistsError: `out` is not empty.
        MediaError: it cannot be written.
    """
    check_out(out, overwrite=overwrite)
    with staged(Path(os.path.realpath(out)), _replace) as part:
        media = Media(part)
        (part / INDEX).write_text(_page(sources, title, media), encoding="utf-8")
    found = Counter(type(source) for source in sources)
    problems = tuple(dict.fromkeys(media.problems))
    return Report(out / INDEX, found[Evaluation], found[TrainingRun], media.total, problems)


def _page(sources: Sequence[Source], title: str, media: Media) -> str:
    tested = [source for source in sources if isinstance(source, Evaluation)]
    trained = [source for source in sources if isinstance(source, TrainingRun)]
    metrics = [part for part in (metrics_section(tested), protocol_section(tested)) if part is not None]
    sections = [
        ("samples", "Samples", samples_section(tested, media)),
        ("metrics", "Metrics", join(*metrics) if metrics else None),
        ("classes", "Classes", classes_section(tested)),
        ("prediction", "Best of several continuations", prediction_section(tested)),
        ("truncation", "Truncation curves", truncation_section(tested)),
        ("spectra", "Power spectra", spectra_section(tested)),
        ("training", "Training", training_section(trained, media)),
    ]
    return render(title or _title(sources), _subtitle(tested, trained), sections, _footer(sources))


def _title(sources: Sequence[Source]) -> str:
    shown = [source.title for source in sources[:3]]
    more = len(sources) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _subtitle(tested: Sequence[Evaluation], trained: Sequence[TrainingRun]) -> str:
    counts = ((len(tested), "evaluation"), (len(trained), "training run"))
    return ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for count, name in counts if count)


def _footer(sources: Sequence[Source]) -> Html:
    """The commands that made what the page shows."""
    lines = [tag("li", source.title, tag("code", source.command)) for source in sources if source.command]
    made = tag("p", f"Made by hvg {__version__}. The page loads nothing but the files beside it.")
    return join(tag("ul", *lines, aria_label="Commands") if lines else None, made)


# ---- the folder --------------------------------------------------------------------------------


def check_out(out: Path, *, overwrite: bool) -> None:
    """Refuse a place that is taken. Errors as `write_report`."""
    if os.path.lexists(out) and not out.is_dir():
        raise OutputExistsError(f"--out {out} is a file: name a folder")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not overwrite:
        raise OutputExistsError(f"--out {out} is not empty: name another folder, or give --overwrite")
    if not _is_report(out):
        raise OutputExistsError(f"--out {out} holds more than a report of hvg: name another folder, or empty it")


def _is_report(folder: Path) -> bool:
    """Whether a folder holds a report and nothing else, so that replacing it loses nothing of the user's."""
    index, names = folder / INDEX, {path.name for path in folder.iterdir()}
    if not names <= {INDEX, medias.FOLDER} or not index.is_file():
        return False
    known = all(path.suffix in medias.KINDS and path.is_file() for path in (folder / medias.FOLDER).glob("*"))
    with index.open("rb") as file:
        return known and f'name="generator" content="{GENERATOR}'.encode() in file.read(4096)


def _replace(part: Path, out: Path) -> None:
    """Put `part` where `out` is; should that fail, `out` is as before."""
    if not out.exists():
        part.rename(out)
        return
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    out.rename(old)
    try:
        part.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old)
