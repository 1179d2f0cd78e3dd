"""`hvg report` as people and scripts use it."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from report_folders import make_evaluation

from hvgcli.cli.main import run


@pytest.fixture
def evaluation(tmp_path: Path, make_clip) -> Path:
    return make_evaluation(tmp_path / "eval", make_clip)


@pytest.fixture
def hvg(capsys):
    """Runs `hvg report`; returns exit code, stdout and stderr."""

    def call(*args: object) -> tuple[int, str, str]:
        code = run(["report", *map(str, args)])
        return code, *capsys.readouterr()

    return call


def test_report(hvg, evaluation: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, told, said = hvg(evaluation, "--out", out, "--title", "Numbers", "--json")
    assert (code, said) == (0, "")
    size = sum(path.stat().st_size for path in (out / "media").iterdir())
    page = str(out / "index.html")
    assert json.loads(told) == {
        "schema": 1, "page": page, "evaluations": 1, "runs": 0, "media_bytes": size, "left_out": 0
    }  # fmt: skip
    assert "<h1>Numbers</h1>" in (out / "index.html").read_text()
    assert hvg(evaluation, "-o", out)[0] == 3
    assert hvg(evaluation, "-o", out, "--overwrite", "-q") == (0, f"{page}\n", "")
    code, told, _ = hvg(evaluation, "-o", out, "--overwrite")
    assert told.startswith(f"{page} (")


def test_the_default_place(hvg, evaluation: Path, place: Path) -> None:
    assert hvg(evaluation, "-q") == (0, "report/index.html\n", "")
    assert (place / "report" / "index.html").exists()


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ([], 2, "Missing argument"),
        (["nowhere"], 3, "hvg: error: nowhere is no folder: expected a run of hvg train-level"),
        (["."], 3, "hvg: error: . is neither a run of hvg train-level"),
        (["{eval}", "{eval}"], 2, "is named twice"),
        (["{eval}", "--out", "{eval}"], 3, "is not empty"),
        (["{eval}", "--out", "{eval}", "--overwrite"], 3, "holds more than a report of hvg"),
        (["{eval}", "--out", "{eval}/evaluation.json"], 3, "is a file: name a folder"),
        (["{eval}", "--out", "/proc/report"], 3, "cannot write /proc/report"),
    ],
)
def test_errors_are_one_line(hvg, evaluation: Path, place: Path, args: list[str], code: int, message: str) -> None:
    found, told, said = hvg(*(arg.format(eval=evaluation) for arg in args))
    assert (found, told) == (code, "")
    assert message in said
    assert code == 2 or said.count("\n") == 1
    assert list(place.iterdir()) == []


def test_a_missing_video_is_told(hvg, evaluation: Path, tmp_path: Path) -> None:
    (evaluation / "samples" / "real_00.mp4").unlink()
    code, told, said = hvg(evaluation, "-o", tmp_path / "out", "--json")
    assert code == 6
    assert json.loads(told)["left_out"] == 1
    assert [line.split(": ")[1] for line in said.splitlines()] == ["warning", "error"]
    assert "real_00.mp4 is missing" in said
    assert (tmp_path / "out" / "index.html").exists()


def test_a_full_disk_leaves_the_old_report(hvg, evaluation: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert hvg(evaluation, "-o", out, "--title", "First")[0] == 0
    before = {path.name for path in tmp_path.iterdir()}
    command = [sys.executable, "-m", "hvgcli", "report", evaluation, "-o", out, "--overwrite", "--title", "Second"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=_no_large_files)
    assert done.returncode == 3
    assert done.stderr == f"hvg: error: cannot write {out}: File too large\n"
    assert "<h1>First</h1>" in (out / "index.html").read_text()
    assert {path.name for path in tmp_path.iterdir()} == before


def _no_large_files() -> None:
    """Writing more than a few bytes fails, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))


def test_no_torch_is_needed(evaluation: Path, tmp_path: Path) -> None:
    program = "import sys; from hvgcli.cli.main import run; print(run(sys.argv[1:]), 'torch' in sys.modules)"
    command = [sys.executable, "-c", program, "report", evaluation, "-q", "-o", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"
