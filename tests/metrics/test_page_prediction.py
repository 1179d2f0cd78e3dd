"""What a report shows of predictors and of truncation curves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from report_folders import NETWORK, evaluation_record, make_evaluation

from hvgcli.errors import MediaError
from hvgcli.metrics.page.evaluation import Evaluation, read_evaluation
from hvgcli.metrics.page.prediction import prediction_section
from hvgcli.metrics.page.tables import differing
from hvgcli.metrics.page.truncation import truncation_section
from hvgcli.metrics.report import read_sources, write_report


def row(of: str, score: str, count: int | None, values: list[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    value = sum(known) / len(known) if len(known) == len(values) else None
    return {"of": of, "score": score, "best_of": count, "value": value, "frames": values}


BEST_OF = {
    "counts": [1, 100],
    "windows": 4,
    "takes": 2,
    "context": 5,
    "rows": [
        row("fp", "ssim", 1, [0.9, 0.5]),
        row("fp", "ssim", 100, [0.95, 0.75]),
        row("fp", "psnr", 1, [20.0, 10.0]),
        row("fp", "psnr", 100, [25.0, 15.0]),
        row("fp, z = 0", "ssim", None, [0.8, 0.6]),
        row("fp, z = 0", "psnr", None, [None, None]),
        row("noise", "ssim", 1, [0.1, 0.3]),
        row("noise", "ssim", 100, [0.2, 0.4]),
    ],
}
CURVE = [
    {"sigma": sigma, "metrics": [
        {"key": key, "name": f"{key.upper()}[{NETWORK}]", "value": value, "low": None, "high": None, "better": ""}
        for key, value in (("fvd", fvd), ("is", score))
    ]}
    for sigma, fvd, score in ((0.25, 400.0, 9.0), (1.0, 100.0, 5.0))
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, make_clip: Callable[..., Path]) -> Path:
    record = evaluation_record("fp against val") | {"best_of": BEST_OF, "truncation_curve": CURVE}
    return make_evaluation(tmp_path / "eval", make_clip, record)


def words(html: object) -> list[str]:
    """The text of each cell of the tables of a piece of a page."""
    cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", str(html), re.DOTALL)
    return [unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in cells]


def labels(html: object) -> list[str]:
    """What the charts say of themselves."""
    return [unescape(found) for found in re.findall(r'role="img"[^>]*aria-label="([^"]*)"', str(html))]


def rewritten(folder: Path, **changes: object) -> Evaluation:
    path = folder / "evaluation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return read_evaluation(folder)


def test_curves_by_l_beside_what_they_must_beat(folder: Path) -> None:
    section = prediction_section([read_evaluation(folder)])
    ssim, psnr = labels(section)
    assert ssim.startswith("SSIM per frame. Line chart of SSIM over predicted frame.")
    assert "fp, best of 1: from 0.9 at 1 to 0.5 at 2" in ssim
    assert "fp, best of 100: from 0.95 at 1 to 0.75 at 2" in ssim
    assert "fp, z = 0: from 0.8 at 1 to 0.6 at 2" in ssim
    assert "noise, best of 100: from 0.2" in ssim
    assert "noise, best of 1:" not in ssim, "of others the largest l only"
    assert "fp, best of 100: from 25 at 1" in psnr


def test_the_table_of_means(folder: Path) -> None:
    cells = words(prediction_section([read_evaluation(folder)]))
    assert cells == [
        "Continued by", "SSIM, best of 1", "SSIM, best of 100", "PSNR, best of 1", "PSNR, best of 100",
        "fp", "0.7000", "0.8500", "15.00", "20.00",
        "fp, z = 0", "0.7000", "0.7000", "\N{EN DASH}", "\N{EN DASH}",
        "noise", "0.2000", "0.3000", "\N{EN DASH}", "\N{EN DASH}",
    ]  # fmt: skip


def test_one_continuation_each_has_no_l(folder: Path) -> None:
    rows = [row("copy", "ssim", None, [0.8, 0.6]), row("linear", "ssim", None, [0.4, 0.2])]
    cells = words(prediction_section([rewritten(folder, best_of=BEST_OF | {"rows": rows})]))
    assert cells == ["Continued by", "SSIM", "copy", "0.7000", "linear", "0.3000"]


def test_scores_against_distances(folder: Path) -> None:
    section = truncation_section([read_evaluation(folder)])
    against, score, distance = labels(section)
    assert f"IS[{NETWORK}] against FVD[{NETWORK}]" in against
    assert "from 9 at 400 to 5 at 100" in against
    assert "from 9 at 0.25 to 5 at 1" in score
    assert "from 400 at 0.25 to 100 at 1" in distance
    assert words(section) == [
        "fp against val: sigma", f"FVD[{NETWORK}]", f"IS[{NETWORK}]", "0.25", "400.0", "9.000", "1", "100.0", "5.000"
    ]  # fmt: skip


def test_both_are_on_the_page_and_absent_without_data(folder: Path, tmp_path: Path, make_clip) -> None:
    plain = make_evaluation(tmp_path / "plain", make_clip)
    write_report(read_sources([folder]), tmp_path / "with")
    write_report(read_sources([plain]), tmp_path / "without")
    pages = [(tmp_path / name / "index.html").read_text() for name in ("with", "without")]
    assert [("Truncation curves" in page, "Best of several" in page) for page in pages] == [(True,) * 2, (False,) * 2]


def test_a_baseline_compares_with_a_model_and_truncations_do_not(folder: Path, tmp_path: Path, make_clip) -> None:
    protocol = evaluation_record()["protocol"]
    protocol["generated"] = {"name": "fp", "sigma": 1.0, "seed": 0, "truncation": "none"}
    model = rewritten(folder, protocol=protocol | {"truncation": "none"})
    base = protocol | {"generated": {"name": "copy-last-frame"}}
    del base["sigma"]
    baseline = make_evaluation(tmp_path / "baseline", make_clip, evaluation_record() | {"protocol": base})
    assert differing([model, read_evaluation(baseline)]) == []
    truncated = make_evaluation(
        tmp_path / "cut", make_clip, evaluation_record() | {"protocol": protocol | {"truncation": 0.8}}
    )
    assert differing([model, read_evaluation(truncated)]) == ["truncation"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"best_of": {"rows": [{"of": "a", "score": "mse"}]}}, "score is 'mse'"),
        ({"best_of": {"rows": [{"of": "a", "score": "ssim", "frames": ["x"]}]}}, "not a number"),
        ({"best_of": []}, "not an object"),
        ({"truncation_curve": [{"metrics": []}]}, "has no sigma"),
        ({"truncation_curve": {}}, "not a list"),
    ],
)
def test_damage_is_one_line(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MediaError) as error:
        rewritten(folder, **changes)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
