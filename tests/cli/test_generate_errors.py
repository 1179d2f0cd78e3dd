"""`hvg generate` with bad input, on bad places, and interrupted: the exit code, and nothing half-written."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from real_models import make_working_model
from tiny_models import flip_last_bit

from hvgcli.cli.main import run

pytestmark = pytest.mark.usefixtures("place")


def names(folder: object = ".") -> list[str]:
    return sorted(path.name for path in Path(str(folder)).iterdir())


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--class", "dgo"], "did you mean dog?"),
        (["--class", "CAT"], "did you mean cat?"),
        (["--class", "zebra"], "known are cat, dog"),
        (["--class", "2"], "classes 0..1"),
        (["--class", "-1"], "classes 0..1"),
        (["--class", "cat,cat"], "twice"),
        (["--frames", "0"], "at least 1"),
        (["--frames", "-5"], "at least 1"),
        (["--frames", "99999999999"], "at most"),
        (["--num", "0"], "--num 0"),
        (["--num", "3", "--seed", "1,2"], "contradicts"),
        (["--num", "2", "--seed", str(2**63 - 1)], "beyond"),
        (["--seed", "-1"], "whole numbers"),
        (["--seed", "x"], "whole numbers"),
        (["--seed", "5-1"], "must rise"),
        (["--seed", "1,1"], "twice"),
        (["--seed", "0-999999999"], "more than"),
        (["--seed", "9999999999999999999"], "at most"),
        (["--num", "60000", "--class", "all"], "more than"),
        (["--sigma", "0"], "above 0"),
        (["--sigma", "nan"], "above 0"),
        (["--fps", "0"], "--fps"),
        (["--fps", "1/0"], "--fps"),
        (["--fps", "fast"], "--fps"),
        (["--fps", "60", "--format", "gif"], "at most 50"),
        (["--crf", "52"], "0..51"),
        (["--crf", "5", "--format", "gif"], "no meaning"),
        (["--levels", "0"], "levels 1..2"),
        (["--levels", "3"], "levels 1..2"),
        (["--batch-size", "0"], "--batch-size"),
        (["--piece", "0"], "--piece"),
        (["--passes", "0"], "--passes"),
        (["--sheet", "0"], "--sheet"),
        (["--num", "2", "-o", "x.mp4"], "cannot all be x.mp4"),
        (["--num", "2", "-o", "{class}.mp4", "--class", "cat"], "cannot all be"),
        (["-o", "x.mp4", "--format", "gif"], "leave one of them out"),
        (["-o", "x.avi"], "must end in"),
        (["-o", "x"], "no folder yet"),
        (["-o", "{clas}.mp4"], "not one of"),
        (["-o", "{seed.__class__}.mp4"], "not one of"),
        (["-o", "{seed!r}.mp4"], "not one of"),
        (["-o", "{seed:{index}}.mp4"], "not one of"),
        (["-o", "{seed"], "no template"),
        (["-o", "{seed:q}.mp4"], "-o"),
        (["--overwrite", "--skip-existing"], "contradict"),
        (["--interpolate", "z", "--seed", "1"], "at least two"),
        (["--interpolate", "z", "--seed", "1,2", "--class", "all"], "within one class"),
        (["--interpolate", "z", "--seed", "1,2", "--num", "1"], "two videos"),
        (["--interpolate", "class", "--class", "cat"], "at least two"),
        (["--interpolate", "class"], "at least two"),
        (["--interpolate", "class", "--class", "all", "--seed", "1,2"], "one seed"),
        (["--format", "avi"], "avi"),
        (["--dtype", "fp8"], "fp8"),
    ],
)
def test_usage(hvg, args, words):
    code, out, err = hvg(*args)
    assert (code, out, names()) == (2, "", [])
    assert words in err


@pytest.mark.parametrize("args", [["--class", "cat"], ["--class", "random"], ["--interpolate", "class"]])
def test_class_for_a_model_without_classes(hvg, args):
    code, _, err = hvg(*args, model="free")
    assert code == 2
    assert "has no classes" in err


def test_unknown_model(capsys):
    assert run(["generate", "--model", "hvg-mimi"]) == 2
    assert "hvg-mini" in capsys.readouterr().err


def test_device_that_is_not_there(hvg):
    assert hvg("--device", "abacus")[0] == 5
    assert hvg("--device", "cuda:99")[0] == 5
    assert names() == []


def _missing(folder):
    (folder / "level2.safetensors").unlink()


def _cut(folder):
    path = folder / "level1.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def _tampered(folder):
    flip_last_bit(folder / "level2.safetensors")


def _wrong_level(folder):
    (folder / "checksums.json").unlink()
    (folder / "level2.safetensors").write_bytes((folder / "level1.safetensors").read_bytes())


def _climbs_out(folder):
    (folder / "level2.safetensors").rename(folder.parent / "outside")
    (folder / "level2.safetensors").symlink_to("../outside")


@pytest.mark.parametrize("damage", [_missing, _cut, _tampered, _wrong_level, _climbs_out])
def test_bad_weights(tmp_path, capsys, damage):
    folder = make_working_model(tmp_path / "bad")
    damage(folder)
    assert run(["generate", "--model", str(folder), "--seed", "1"]) == 4
    out, err = capsys.readouterr()
    assert (out, names()) == ("", [])
    assert err.splitlines()[-1].startswith("hvg: error: ")
    assert "unexpected" not in err


@pytest.mark.parametrize("output", ["file/x.mp4", "file/", "/proc/none/x.mp4"])
def test_output_that_cannot_be_written(hvg, output):
    Path("file").write_text("")
    code, out, err = hvg("--seed", 1, "-o", output)
    assert (code, out, names()) == (3, "", ["file"])
    assert "cannot be written" in err


def test_rest_goes_on_where_one_fails(hvg):
    Path("2").write_text("in the way")
    code, out, err = hvg("--class", "dog", "--seed", "1-3", "-o", "{seed}/x.mp4", "--sheet", 2)
    assert code == 6
    assert out.splitlines() == ["1/x.mp4", "3/x.mp4", "1/x_sheet.png"]
    assert err.splitlines()[-1] == "hvg: error: 1 of 4 files could not be written: 2/x.mp4"
    assert names("1") == ["x.mp4", "x_sheet.png"]
    with Image.open("1/x_sheet.png") as sheet:
        assert sheet.size == (34, 3 * 18 - 2)


def start(models: Path, *args: str, limit: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hvgcli", "generate", "--model", str(models / "tiny"), *args]
    shell = ["bash", "-c", f'{limit} exec "$@"', "hvg", *command]
    return subprocess.Popen(shell, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def test_full_disk(models):
    """A limit on the size of files stops ffmpeg as a full disk does."""
    program = start(models, "--seed", "1", "--frames", "100", "--crf", "1", limit="ulimit -f 1;")
    out, err = program.communicate(timeout=60)
    assert (program.returncode, out, names()) == (3, "", [])
    assert "cannot be written" in err.splitlines()[-1]


@pytest.mark.parametrize("kind", ["mp4", "gif", "png"])
def test_interruption_leaves_nothing(models, kind):
    with start(models, "--class", "all", "--seed", "1", "--frames", "900000", "--format", kind) as program:
        deadline = time.monotonic() + 30
        while not any(".part" in name for name in names()) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=30)
    assert (program.returncode, out, names()) == (130, "", [])
    assert err.splitlines()[-1] == "hvg: error: interrupted"
