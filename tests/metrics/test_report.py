"""The report: what is read, what is refused, what the page says, and that nothing is lost on the way."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from report_folders import CLASSES, NETWORK, evaluation_record, make_evaluation
from tiny_training import QUIET, make_data, train

from hvgcli.errors import MediaError, OutputExistsError, UsageError
from hvgcli.metrics.charts import running_mean
from hvgcli.metrics.page import evaluation as page_evaluation
from hvgcli.metrics.page.evaluation import Metric, read_evaluation
from hvgcli.metrics.page.markup import number, tag, text
from hvgcli.metrics.page.media import Media
from hvgcli.metrics.page.plots import axis_range, spectra_section, spread, window_of
from hvgcli.metrics.page.tables import best_of, differing
from hvgcli.metrics.page.training import Sheet, read_run
from hvgcli.metrics.report import read_sources, write_report
from hvgcli.metrics.results import Evaluation, SampleClip, metric


class Page(HTMLParser):
    """The text, the elements and their attributes of a page; an element that is not closed is an error."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))
        if name not in ("img", "input", "meta", "br", "wbr"):
            self.open.append(name)

    def handle_startendtag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data.strip())

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for element, attributes in self.elements if element == name]


@pytest.fixture
def evaluation(tmp_path: Path, make_clip) -> Path:
    return make_evaluation(tmp_path / "eval", make_clip)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, make_clip) -> Path:
    """A run folder of three real steps."""
    root = tmp_path_factory.mktemp("trained")
    train(make_data(root / "data", make_clip), root / "run", options=replace(QUIET, samples_every=1))
    return root / "run"


def rewrite(folder: Path, **changes) -> Path:
    record = json.loads((folder / "evaluation.json").read_text()) | changes
    (folder / "evaluation.json").write_text(json.dumps(record))
    return folder


def page_of(out: Path) -> Page:
    return Page((out / "index.html").read_text(encoding="utf-8"))


# ---- what the page says ------------------------------------------------------------------------


def test_evaluation_and_run_on_one_page(evaluation: Path, trained: Path, tmp_path: Path) -> None:
    made = write_report(read_sources([evaluation, trained]), tmp_path / "report")
    assert (made.evaluations, made.runs, made.problems) == (1, 1, ())
    page = page_of(tmp_path / "report")
    assert made.media == sum(path.stat().st_size for path in (tmp_path / "report" / "media").iterdir())
    command = json.loads((evaluation / "evaluation.json").read_text())["command"]
    shown = (f"FVD[{NETWORK}]", "123.4", "113.0 to 130.0", "894 against 2048 videos", NETWORK, "894 videos are few")
    for words in (*shown, "Step 1", "Step 3", command):
        assert words in page.words
    videos = page.all("video")
    assert len(videos) == 3
    assert all({"autoplay", "muted", "loop", "playsinline"} <= set(video) for video in videos)
    used = [one["src"] for one in videos + page.all("img")]
    assert sorted(used) == sorted(f"media/{path.name}" for path in (tmp_path / "report" / "media").iterdir())
    assert all(one["alt"] for one in page.all("img"))
    charts = [svg["aria-label"] for svg in page.all("svg") if svg.get("role") == "img"]
    assert sum("cycles per pixel" in str(label) for label in charts) == 2
    steps = [row["step"] for row in csv.DictReader((trained / "metrics.csv").read_text().splitlines())]
    assert any(f"to {float(steps[-1]):g}" in str(label) or f"at {steps[-1]}," in str(label) for label in charts)
    levels = [int(name[1]) for name, _ in page.elements if name in ("h1", "h2", "h3", "h4")]
    assert levels[0] == levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels)), "no level left out"


def test_what_hvg_evaluate_writes_can_be_read(tmp_path: Path) -> None:
    frames = torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8)
    written = Evaluation(
        title="mini against val",
        command="hvg evaluate",
        protocol={"network": "frames", "real": {"videos": 3}},
        metrics=[metric("fvd", "FVD[frames]", 2.5, "lower", "few"), metric("psnr", "PSNR", math.inf, "higher", "")],
        per_class=[{"class": "sea", "real": 3, "generated": 4, "values": {"IS[frames]": 1.5}}],
        psd={"frequencies": [0.25, 0.5], "curves": [{"set": "real", "frame": 1, "power": [3.0, 1.0]}]},
        clips=[SampleClip("real", frames, "sea"), SampleClip("generated", frames, "sea", 7)],
        warnings=["careful"],
    )
    written.write(tmp_path / "eval")
    found = read_evaluation(tmp_path / "eval")
    assert (found.title, found.command, found.warnings) == (written.title, written.command, ("careful",))
    assert [(m.name, m.value, m.better) for m in found.metrics] == [
        ("FVD[frames]", 2.5, "lower"), ("PSNR", None, "higher")
    ]  # fmt: skip
    assert found.protocol == {"network": "frames", "real.videos": "3"}
    assert (found.classes[0].name, found.classes[0].real, found.classes[0].values) == ("sea", 3, {"IS[frames]": 1.5})
    assert (found.frequencies, found.spectra[0].power) == ((0.25, 0.5), (3.0, 1.0))
    assert [(s.set, s.label, s.seed, s.file.exists()) for s in found.samples] == [
        ("real", "sea", None, True), ("generated", "sea", 7, True)
    ]  # fmt: skip
    assert write_report([found], tmp_path / "report").problems == ()


def test_names_cannot_become_elements(tmp_path: Path, make_clip) -> None:
    evil = '"><img src=x onerror=alert(1)>{{script}}\x00\u202e'
    record = evaluation_record(evil)
    record["command"] = record["warnings"][0] = record["metrics"][0]["name"] = record["metrics"][0]["note"] = evil
    record["protocol"] = {evil: {evil: evil}}
    record["per_class"][0]["values"] = {evil: 1.0}
    make_evaluation(tmp_path / "eval", make_clip, record)
    write_report(read_sources([tmp_path / "eval"]), tmp_path / "report", title=evil)
    page = page_of(tmp_path / "report")
    assert page.all("img") == []
    assert len(page.all("script")) == 1
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert CLASSES[2] in page.words
    assert any("<img src=x onerror=alert(1)>{{script}}" in words for words in page.words)
    assert not any(character in "".join(page.words) for character in "\x00\u202e")


def test_the_policy_allows_our_own_parts_only(evaluation: Path, tmp_path: Path) -> None:
    write_report(read_sources([evaluation]), tmp_path / "report")
    page = page_of(tmp_path / "report")
    (policy,) = [one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert str(policy).startswith("default-src 'none'; ")
    assert "unsafe" not in str(policy)
    assert "http" not in str(policy)
    assert not any("style" in attributes for _, attributes in page.elements)
    assert not any(
        "http" in str(attributes.get("src")) + str(attributes.get("href")) for _, attributes in page.elements
    )


def test_several_are_compared(tmp_path: Path, make_clip) -> None:
    folders = []
    for name, scale in (("a", 1.0), ("b", 1.5)):
        folders.append(make_evaluation(tmp_path / name, make_clip, evaluation_record(scale=scale)))
    sources = read_sources(folders)
    assert [source.title for source in sources] == ["mini against val (a)", "mini against val (b)"]
    made = write_report(sources, tmp_path / "report")
    page = page_of(tmp_path / "report")
    bold = [attributes for name, attributes in page.elements if name == "strong"]
    assert len(bold) == 2, "FVD and IS of the first; PSNR has no value"
    assert len(page.all("video")) == 3 + 2, "the real one is the same file, and shown once"
    assert made.media == sum(path.stat().st_size for path in (tmp_path / "report" / "media").iterdir())
    rewrite(folders[1], protocol=evaluation_record()["protocol"] | {"frames": 48})
    again = read_sources(folders)
    assert differing([source for source in again if hasattr(source, "protocol")]) == ["frames"]
    write_report(again, tmp_path / "report", overwrite=True)
    page = page_of(tmp_path / "report")
    assert any("different protocols (frames)" in words for words in page.words)
    assert page.all("strong") == []


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([(3.0, None, None), (2.0, None, None)], 1),
        ([(3.0, 1.9, 4.0), (2.0, None, None)], None),
        ([(3.0, 2.6, 4.0), (2.0, 1.0, 2.5)], 1),
        ([(2.0, None, None), (2.0, None, None)], None),
        ([(2.0, None, None), None], None),
        ([(2.0, None, None), (None, None, None), (1.0, None, None)], 2),
    ],
)
def test_the_best_is_best_beyond_doubt(values: list, best: int | None) -> None:
    lower = [None if v is None else Metric("m", *v, "lower", "") for v in values]
    assert best_of(lower) is (None if best is None else lower[best])
    negated = [
        None if v is None else Metric("m", *(x and -x for x in (v[0], v[2], v[1])), "higher", "") for v in values
    ]
    assert best_of(negated) is (None if best is None else negated[best])
    assert best_of([m and replace(m, better="") for m in lower]) is None


# ---- training ----------------------------------------------------------------------------------


def test_a_run_is_read_as_it_was_written(trained: Path) -> None:
    run = read_run(trained)
    rows = list(csv.DictReader((trained / "metrics.csv").read_text().splitlines()))
    assert run.steps.tolist() == [1, 2, 3]
    for name, values in run.curves.items():
        assert [f"{value:.6g}" if math.isfinite(value) else "" for value in values] == [row[name] for row in rows]
    assert math.isnan(run.curves["loss_g"][0]), "the first step has no discriminator"
    assert [sheet.step for sheet in run.sheets] == [1, 2, 3]
    assert run.summary["training.batch_size"] == "2"


def test_a_run_that_is_being_written(trained: Path, tmp_path: Path) -> None:
    whole = (trained / "metrics.csv").read_text()
    (tmp_path / "metrics.csv").write_text(whole + "4,0.5,0.0")
    assert read_run(tmp_path).steps.tolist() == [1, 2, 3]
    (tmp_path / "metrics.csv").write_text(whole.splitlines()[0] + "\n")
    (source,) = read_sources([tmp_path])
    write_report([source], tmp_path / "report")
    assert "No step has been recorded yet." in page_of(tmp_path / "report").words


def test_axis_and_smoothing_are_honest() -> None:
    assert [window_of(steps) for steps in (1, 99, 150, 5000)] == [1, 1, 3, 101]
    values = np.sin(np.arange(1000.0))
    values[0] = 1000.0
    (low, high), beyond = axis_range([values], [values[1:]])
    assert -1.2 < low < -1 < 1 < high < 1.2
    assert beyond == 1
    flat = np.full(300, 0.1)
    (low, high), beyond = axis_range([flat], [running_mean(flat, 7)])
    assert low < 0.06 < 0.14 < high, "rounding is not stretched over the axis"
    assert beyond == 0


def test_sheets_are_spread_over_the_run() -> None:
    sheets = [Sheet(step, Path(str(step))) for step in range(100)]
    chosen = [sheet.step for sheet in spread(sheets, 5)]
    assert (chosen[0], chosen[-1], len(chosen)) == (0, 99, 5)
    assert max(np.diff(chosen)) - min(np.diff(chosen)) <= 1
    assert spread(sheets[:3], 5) == sheets[:3]


# ---- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "is of format 2, and this hvg reads format 1: use a newer hvg"),
        ({"format": None}, "is of format None"),
        ({"kind": "other"}, "is not of hvg evaluate"),
        ({"metrics": {}}, "metrics is an object, not a list"),
        ({"metrics": [{"name": "FVD", "value": "1"}]}, r"metrics\[0\] is damaged: value is '1', not a number"),
        ({"metrics": [{"name": "FVD", "better": "more"}]}, "better is 'more'"),
        ({"metrics": [{"value": 1}]}, "name is missing, not a text"),
        ({"metrics": [{"name": "FVD", "value": 10**400}]}, "not a number"),
        ({"metrics": [3]}, r"metrics\[0\] is damaged: it is 3, not an object"),
        ({"per_class": [{"class": 3}]}, "class is 3, not a text"),
        ({"per_class": [{"class": "a", "real": 1.5}]}, "real is 1.5, not a whole number"),
        ({"psd": {"frequencies": [0.1], "curves": [{"set": "real", "frame": 1, "power": []}]}}, "0 values of power"),
        ({"psd": {"frequencies": [True]}}, r"frequencies\[0\] is True"),
        ({"samples": [{"set": "fake", "file": "a.mp4"}]}, "set is 'fake'"),
        ({"samples": [{"set": "real", "file": "../../secret.mp4"}]}, "is not in"),
        ({"samples": [{"set": "real", "file": "/etc/passwd"}]}, "is not in"),
        ({"warnings": [1]}, r"warnings\[0\] is 1, not a text"),
    ],
)
def test_damaged_evaluations(evaluation: Path, changes: dict, message: str) -> None:
    with pytest.raises(MediaError, match=message) as caught:
        read_sources([rewrite(evaluation, **changes)])
    assert "\n" not in str(caught.value)
    assert "evaluation.json" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"kind": NaN}', b"[" * 100_000])
def test_evaluations_that_are_no_json(evaluation: Path, content: bytes) -> None:
    (evaluation / "evaluation.json").write_bytes(content)
    with pytest.raises(MediaError, match=r"evaluation\.json"):
        read_sources([evaluation])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "names no column 'step'"),
        ("a,b\n1,2\n", "names no column 'step'"),
        ("step,a,a\n", "or one twice"),
        ("step,a\n1,x\n", "line 2 is not 2 numbers"),
        ("step,a\n1,2\n2\n", "line 3 is not 2 numbers"),
        ("step,a\n2,1\n1,1\n", "steps do not rise"),
        ("step,a\n,1\n", "steps do not rise"),
        ("step,a\n1,\0\n", "line 2"),
    ],
)
def test_damaged_tables(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "metrics.csv").write_text(content)
    with pytest.raises(MediaError, match=message):
        read_sources([tmp_path])


def test_folders_that_are_nothing_of_ours(evaluation: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(MediaError, match="is neither a run of hvg train-level"):
        read_sources([tmp_path / "other"])
    with pytest.raises(MediaError, match="is no folder"):
        read_sources([tmp_path / "missing"])
    with pytest.raises(UsageError, match="named twice"):
        read_sources([evaluation, evaluation.parent / "." / "eval"])
    (tmp_path / "run").mkdir()
    record = json.loads((trained / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(record | {"format_version": 99}))
    with pytest.raises(MediaError, match="format 99"):
        read_sources([tmp_path / "run"])
    assert len(read_sources([evaluation / "evaluation.json"])) == 1, "the file stands for its folder"


def test_videos_that_cannot_be_used(evaluation: Path, tmp_path: Path) -> None:
    (evaluation / "samples" / "generated_00.mp4").unlink()
    (evaluation / "samples" / "generated_01.mp4").write_bytes(b"no video")
    made = write_report(read_sources([evaluation]), tmp_path / "report")
    assert len(made.problems) == 2
    assert any("generated_00.mp4 is missing" in problem for problem in made.problems)
    page = page_of(tmp_path / "report")
    assert "generated_00.mp4 is missing" in page.words
    assert len(page.all("video")) == 1
    assert len(list((tmp_path / "report" / "media").iterdir())) == 1


def test_the_size_of_a_page_is_bounded(tmp_path: Path, make_clip) -> None:
    clips = [make_clip(tmp_path / f"{seed}.mp4", seed=seed) for seed in range(3)]
    size = clips[0].stat().st_size
    media = Media(tmp_path, total_limit=2 * size)
    assert media.add(clips[0]).url == media.add(clips[0]).url != ""
    assert media.total == size, "each file once"
    assert "at most" in Media(tmp_path, total_limit=size - 1).add(clips[0]).problem
    assert "at most" in Media(tmp_path, file_limit=size - 1).add(clips[0]).problem
    (tmp_path / "a.txt").write_text("text")
    assert "a page shows .mp4, .webm, .gif, .png only" in media.add(tmp_path / "a.txt").problem


def test_a_sample_that_links_out_of_the_folder(evaluation: Path, tmp_path: Path, make_clip) -> None:
    secret = make_clip(tmp_path / "secret.mp4")
    sample = evaluation / "samples" / "real_00.mp4"
    sample.unlink()
    sample.symlink_to(secret)
    with pytest.raises(MediaError, match="is not in"):
        read_sources([evaluation])


# ---- where it goes -----------------------------------------------------------------------------


def test_nothing_is_overwritten_by_surprise(evaluation: Path, tmp_path: Path) -> None:
    sources, out = read_sources([evaluation]), tmp_path / "report"
    out.mkdir()
    write_report(sources, out)  # an empty folder is free
    with pytest.raises(OutputExistsError, match="not empty"):
        write_report(sources, out)
    write_report(sources, out, title="Another", overwrite=True)
    assert "Another" in page_of(out).words
    (out / "media" / "mine.txt").write_text("keep")
    with pytest.raises(OutputExistsError, match="holds more than a report"):
        write_report(sources, out, overwrite=True)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "index.html").write_text("mine")
    with pytest.raises(OutputExistsError, match="holds more than a report"):
        write_report(sources, tmp_path / "thesis", overwrite=True)
    with pytest.raises(OutputExistsError, match="is a file"):
        write_report(sources, out / "index.html", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


# ---- markup ------------------------------------------------------------------------------------


def test_markup() -> None:
    assert tag("p", "a < b", tag("b", "&"), None, class_="x", hidden=True, title=None) == (
        '<p class="x" hidden>a &lt; b<b>&amp;</b></p>'
    )
    assert tag("img", alt='"') == '<img alt="&quot;">'
    assert text("a\x00\nb") == "a  b"


def test_numbers_for_people() -> None:
    shown = [number(value) for value in (None, 0, 0.01234, 1.23456, 12.3456, 123.456, 12345.6, -2.5, 0.00001234, 1e300)]
    assert shown[:9] == ["–", "0", "0.0123", "1.235", "12.35", "123.5", "12,346", "−2.500", "1.23e-05"]  # noqa: RUF001
    assert shown[9] == "1.00e+300"


def test_real_spectra_are_drawn_once() -> None:
    def drawn(*powers: float) -> list[str]:
        found = [_evaluation_with_spectra(f"e{number}", power) for number, power in enumerate(powers)]
        return re.findall(r"(real[^:]*|generated|e\d): from", str(spectra_section(found)))

    assert drawn(1.0) == ["real", "generated"]
    assert drawn(1.0, 1.0) == ["real", "e0", "e1"]
    assert drawn(1.0, 2.0) == ["real", "e0", "real (e1)", "e1"]


def _evaluation_with_spectra(title: str, power: float) -> page_evaluation.Evaluation:
    spectra = [page_evaluation.Spectrum(name, 1, (power, power / 2)) for name in ("real", "generated")]
    return page_evaluation.Evaluation(Path(), title, "", "", {}, (), (), (0.1, 0.5), tuple(spectra), (), ())
