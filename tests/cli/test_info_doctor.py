"""`hvg info` on real files, and `hvg doctor` on this machine and on broken ones."""

import json
import shlex
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from tiny_models import flip_last_bit

from hvgcli import hub
from hvgcli.checkpoints import model_sha
from hvgcli.cli import doctor
from hvgcli.cli.info import safe_command, sha_differs
from hvgcli.cli.main import run
from hvgcli.video import VideoWriter
from hvgcli.video.ffmpeg import ffmpeg_program


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """12 frames of 48x32 at 24000/1001, with sound."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(24000, 1001), width=48, height=32, pix_fmt="yuv420p")
        sound = file.add_stream("aac", rate=16000, layout="mono")
        for index in range(12):
            picture = np.full((32, 48, 3), index * 20, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        file.mux(sound.encode(frame))
        file.mux(stream.encode())
        file.mux(sound.encode())
    return path


def info(capsys, path: Path) -> dict:
    assert run(["info", str(path), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_info_of_any_clip(capsys, clip):
    data = info(capsys, clip)
    assert (data["schema"], data["file"]) == (1, str(clip))
    assert (data["size"], data["rate"], data["frames"], data["codec"]) == ("48x32", "24000/1001", 12, "h264")
    assert (data["rotation"], data["pixel_aspect"]) == (0, "1:1")
    assert data["duration"] == pytest.approx(12 * 1001 / 24000, abs=0.1)
    assert [(stream["kind"], stream["codec"]) for stream in data["streams"]] == [("audio", "aac")]
    assert data["provenance"] is None
    assert data["command"] is None


def test_info_for_people(capsys, clip):
    assert run(["info", str(clip)]) == 0
    out, err = capsys.readouterr()
    assert all(text in out for text in ("48x32", "24000/1001", "audio", "aac"))
    assert "not made by hvg" in err
    assert run(["info", str(clip), "-q"]) == 0
    assert capsys.readouterr().out == f"{clip}\n"


@pytest.mark.parametrize("suffix", ["mp4", "gif", "webm"])
def test_info_of_a_clip_of_ours(capsys, tmp_path, tiny_model, suffix):
    sha = model_sha(hub.pull(str(tiny_model)))
    command = "hvg generate --model tiny --class 'hula hoop' --seed 7"
    made = {"model": "tiny", "sha": sha, "class": "hula hoop", "seed": 7, "sigma": 0.5, "command": command}
    path = tmp_path / f"x.{suffix}"
    with VideoWriter(path, size=(32, 48), rate=Fraction(25, 4), metadata=made) as writer:
        writer.write(np.zeros((6, 32, 48, 3), np.uint8))
    data = info(capsys, path)
    assert data["provenance"] == made
    assert data["command"] == command
    assert (data["size"], data["frames"], data["rate"]) == ("48x32", 6, "25/4")
    assert run(["info", str(path)]) == 0
    out, err = capsys.readouterr()
    assert f"again: {command}" in out
    assert sha in out
    assert err == ""


def test_info_of_a_rich_clip(capsys, tmp_path):
    """10 bits, HDR, turned, pixels that are not square, two titles of chapters, uneven times."""
    raw, chapters, path = tmp_path / "raw.mp4", tmp_path / "chapters", tmp_path / "x.mp4"
    with av.open(str(raw), "w") as file:
        stream = file.add_stream("libx264", rate=25, width=48, height=32, pix_fmt="yuv420p10le")
        context = stream.codec_context
        context.time_base = Fraction(1, 1000)
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 9, 9, 18, 1
        context.sample_aspect_ratio = Fraction(4, 3)
        for time in (0, 40, 300, 340):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 99, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    times = "[CHAPTER]\nTIMEBASE=1/1000\nSTART={}\nEND={}\ntitle={}\n"
    chapters.write_text(";FFMETADATA1\ntitle=Sea\n" + times.format(0, 100, "calm") + times.format(100, 300, "storm"))
    turned = ["-display_rotation", "90", "-i", str(raw), "-i", str(chapters), "-map_metadata", "1"]
    subprocess.run([ffmpeg_program(), "-loglevel", "error", *turned, "-c", "copy", str(path)], check=True)
    data = info(capsys, path)
    assert (data["bits"], data["hdr"], data["variable_rate"], data["frames"]) == (10, "HLG", True, 4)
    tags = {"matrix": "bt2020nc", "primaries": "bt2020", "transfer": "arib-std-b67", "range": "limited"}
    assert data["colour"] == tags
    assert (data["size"], data["stored_size"], data["rotation"]) == ("32x48", "48x32", 90)
    assert (data["pixel_aspect"], data["title"], data["chapters"]) == ("3:4", "Sea", ["calm", "storm"])
    assert run(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert all(text in out for text in ("HLG", "calm, storm", "matrix bt2020nc", "transfer arib-std-b67"))


def test_info_of_a_folder_of_frames(capsys, tmp_path):
    with VideoWriter(tmp_path / "f", size=(32, 48), rate=Fraction(12), format="png", metadata={"seed": 3}) as writer:
        writer.write(np.zeros((2, 32, 48, 3), np.uint8))
    data = info(capsys, tmp_path / "f")
    assert (data["kind"], data["size"], data["frames"], data["rate"]) == ("png", "48x32", 2, "12")
    assert data["provenance"] == {"seed": 3}
    assert "streams" not in data
    assert run(["info", str(tmp_path / "f")]) == 0


@pytest.mark.parametrize("content", [b"", b"no video at all", None])
def test_file_that_is_no_video(capsys, tmp_path, content):
    path = tmp_path / "x.mp4"
    if content is not None:
        path.write_bytes(content)
    assert run(["info", str(path)]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("hvg: error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("hvg generate --class skydiving --seed 7", "hvg generate --class skydiving --seed 7"),
        ("hvg generate --class 'hula hoop'", "hvg generate --class 'hula hoop'"),
        ("hvg generate; rm -rf x", "hvg 'generate;' rm -rf x"),
        ("hvg generate $(reboot)", "hvg generate '$(reboot)'"),
        ("rm -rf x", None),
        ("hvg generate\x1b[2J", None),
        ("hvg generate 'open", None),
        ("", None),
        (7, None),
        (None, None),
    ],
)
def test_command_from_a_file_is_harmless(command, shown):
    assert safe_command({"command": command}) == shown
    if shown:
        assert shlex.split(shown) == shlex.split(command)
    assert safe_command(None) is None


def test_another_model_of_the_same_name_is_told(tiny_model):
    path = hub.pull(str(tiny_model))
    assert sha_differs({"model": "tiny", "sha": model_sha(path)}) is None
    assert "another video" in sha_differs({"model": "tiny", "sha": "0" * 12})
    assert sha_differs({"model": "unheard", "sha": "0" * 12}) is None
    assert sha_differs({"model": ["tiny"]}) is None
    (path / "checksums.json").write_text("{")
    assert "checksums.json" in sha_differs({"model": "tiny", "sha": "0" * 12})


# ---- doctor ------------------------------------------------------------------------------------


def test_doctor_reports_everything_and_its_code_agrees(capsys):
    code = run(["doctor", "--json"])
    out, err = capsys.readouterr()
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert {"hvg", "python", "torch", "threads", "cpu", "devices", "ffmpeg", "av", "memory", "cache"} <= checks.keys()
    assert (code == 0) == all(check["ok"] for check in checks.values()) == (err == "")
    assert all(check["advice"] for check in checks.values() if not check["ok"])
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in checks["python"]["value"]
    assert "libx264" in checks["av"]["value"]
    assert run(["doctor"]) == code
    assert "ffmpeg" in capsys.readouterr().out
    assert run(["doctor", "-q"]) == code
    assert capsys.readouterr().out.split() == [name for name, check in checks.items() if not check["ok"]]


def test_doctor_and_a_cache_that_cannot_be_written(capsys, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HVG_CACHE", str(tmp_path / "file" / "cache"))
    assert run(["doctor"]) == 3
    err = capsys.readouterr().err
    assert "cannot be written" in err
    assert "HVG_CACHE" in err


def test_doctor_and_models(tiny_model):
    (good,) = doctor.check_models({"tiny": tiny_model})
    assert good.ok
    assert model_sha(tiny_model) in good.value
    flip_last_bit(tiny_model / "level1.safetensors")
    (bad,) = doctor.check_models({"tiny": tiny_model})
    assert not bad.ok
    assert "level1.safetensors" in bad.value
    assert bad.error.exit_code == 4
    (none,) = doctor.check_models({})
    assert not none.ok


def test_cache_size(tiny_model):
    hub.pull(str(tiny_model))
    (check,) = doctor.check_cache()
    assert check.ok
    assert "models in it: 1" in check.value
