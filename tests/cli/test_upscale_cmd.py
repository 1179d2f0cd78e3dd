"""`hvg upscale`, as its files are seen from outside: frames, times, sound, sizes; and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from clip_files import complaints, ffmpeg, frame_times, lossless, rich_source, stream_packets
from patterns import moving_pattern
from PIL import Image

from hvgcli.cli.main import run
from hvgcli.video import VideoWriter, iter_frames, probe, provenance, read_video

Upscale = Callable[..., tuple[int, str, str]]


@pytest.fixture
def upscale(models: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> Upscale:
    """Runs `hvg upscale` with the tiny model (x2 in space and time, from 8 pixels)."""

    def call(*args: object, model: str = "tiny") -> tuple[int, str, str]:
        code = run(["upscale", "--model", str(models / model), *map(str, args)])
        return code, *capsys.readouterr()

    return call


def clip(path: Path, frames: int = 8, size: tuple[int, int] = (12, 18), rate: Fraction = Fraction(25)) -> Path:
    with VideoWriter(path, size=size, rate=rate) as writer:
        writer.write(moving_pattern(frames, size))
    return path


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def small(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pillow's bilinear, antialiased resize to (width, height), as float."""
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)).astype(float)


def record(out: str) -> dict[str, object]:
    value: dict[str, object] = json.loads(out)
    return value


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Clips with sound, subtitles and chapters, each kind made once."""
    folder = tmp_path_factory.mktemp("rich")
    made: dict[str, Path] = {}

    def of(kind: str) -> Path:
        if kind not in made:
            made[kind] = rich_source(folder, kind)
        return made[kind]

    return of


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv", "webm"])
def test_sound_and_times_stay_as_they_are(
    upscale: Upscale, place: Path, rich: Callable[[str], Path], kind: str
) -> None:
    source = place / f"source.{kind}"
    source.write_bytes(rich(kind).read_bytes())
    code, out, err = upscale(source, "--json")
    assert code == 0, err
    made, before, after = place / f"source.x2.{kind}", probe(source), probe(place / f"source.x2.{kind}")
    assert record(out)["path"] == str(made)
    assert (after.width, after.height) == (2 * before.width, 2 * before.height)
    tick = Fraction(1, 1000) if kind in ("mkv", "webm") else 0
    times = frame_times(source)
    assert frame_times(made)[::2] == pytest.approx(times, abs=float(tick))
    assert len(frame_times(made)) == 2 * len(times)
    assert [stream.kind for stream in after.streams if stream.kind == "audio"] == ["audio", "audio"]
    for number in (1, 2):
        assert [data for _, data in stream_packets(made, number)] == [
            data for _, data in stream_packets(source, number)
        ]
    assert abs((after.duration or 0) - (before.duration or 0)) <= 1 / 23
    assert complaints(made) == ""
    assert not list(place.glob("*.segments"))


def test_the_result_downsampled_is_the_input(upscale: Upscale, place: Path) -> None:
    clip(place / "in.mp4", 6, (16, 24))
    code, out, err = upscale("in.mp4", "-o", "out/frames.png", "--json")
    assert code == 0, err
    assert record(out)["grounding_error"] <= 1 / 255  # type: ignore[operator]
    made = np.stack([picture(path) for path in sorted((place / "out" / "frames").iterdir())])
    assert made.shape == (12, 32, 48, 3)
    source = read_video(place / "in.mp4").astype(float)
    assert np.abs(np.stack([small(frame, (24, 16)) for frame in made[::2]]) - source).mean() <= 1.2  # Pillow rounds
    assert upscale("in.mp4", "-o", "plain/frames.png", "--no-ground")[0] == 0
    plain = picture(place / "plain" / "frames" / "000000.png")
    assert np.abs(small(plain, (24, 16)) - source[0]).mean() > 5  # an untrained level is far off


def test_a_variable_rate_stays_in_sync(upscale: Upscale, place: Path) -> None:
    times = [0, 40, 50, 200, 210, 400]
    lossless(place / "in.mkv", moving_pattern(6, (12, 18)), times)
    assert upscale("in.mkv")[0] == 0
    made = frame_times(place / "in.x2.mkv")
    assert made[::2] == [Fraction(time, 1000) for time in times]
    assert made[1::2][:-1] == [Fraction(a + b, 2000) for a, b in pairwise(times)]


def test_a_rotated_clip_comes_out_upright(upscale: Upscale, place: Path) -> None:
    clip(place / "flat.mp4", 4, (12, 18))
    ffmpeg("-display_rotation", "90", "-i", str(place / "flat.mp4"), "-c", "copy", str(place / "in.mp4"))
    assert probe(place / "in.mp4").rotation != 0
    assert upscale("in.mp4")[0] == 0
    after = probe(place / "in.x2.mp4")
    assert (after.width, after.height, after.rotation) == (24, 36, 0)
    upright = next(iter_frames(place / "in.mp4")).astype(float)
    made = small(next(iter_frames(place / "in.x2.mp4")), (12, 18))
    assert np.abs(made - upright).mean() < 6
    assert np.abs(made - upright[::-1, ::-1]).mean() > 15


@pytest.mark.parametrize("size", [(1, 9), (9, 1), (1, 1), (7, 5), (21, 8)])
@pytest.mark.parametrize("frames", [1, 3])
def test_any_size_and_length(upscale: Upscale, place: Path, size: tuple[int, int], frames: int) -> None:
    clip(place / "in.mp4", frames, size)
    code, out, err = upscale("in.mp4", "--json")
    assert code == 0, err
    made = probe(place / "in.x2.mp4")
    assert (made.height, made.width) == (2 * size[0], 2 * size[1])
    assert len(frame_times(place / "in.x2.mp4")) == 2 * frames
    assert record(out)["grounding_error"] <= 1 / 255  # type: ignore[operator]


def test_factors(upscale: Upscale, place: Path) -> None:
    clip(place / "in.mp4", 5, (12, 18))
    for space, time in ((1, 2), (2, 1), (4, 4), (1, 1)):
        code, out, _ = upscale(
            "in.mp4",
            "--times-space",
            space,
            "--times-time",
            time,
            "-o",
            "{name}_{width}x{height}.mp4",
            "--json",
            "--overwrite",
        )
        assert code == 0
        told, made = record(out), probe(place / f"in_{18 * space}x{12 * space}.mp4")
        assert (made.width, made.height, made.frames) == (18 * space, 12 * space, 5 * time)
        assert Fraction(str(told["rate"])) == made.rate == 25 * time
    code, _, err = upscale("in.mp4", "--times-space", 99)
    assert (code, err.count("\n")) == (2, 1)
    assert "--times-space 99" in err


def test_a_part_of_a_clip(upscale: Upscale, place: Path) -> None:
    clip(place / "in.mp4", 50)
    code, out, _ = upscale("in.mp4", "--start", "0:00.4", "--end", "1.2", "--json")
    assert code == 0
    assert (record(out)["source_frames"], probe(place / "in.x2.mp4").frames) == (20, 40)
    code, _, err = upscale("in.mp4", "--start", "3", "--overwrite")
    assert code == 2
    assert "it has 2 s" in err


def test_frames_in_and_frames_out(upscale: Upscale, place: Path) -> None:
    for number, frame in enumerate(moving_pattern(3, (9, 11))):
        (place / "shots").mkdir(exist_ok=True)
        Image.fromarray(frame).save(place / "shots" / f"shot{number + 7}.png")
    code, out, err = upscale("shots", "--fps", "10", "--json")
    assert code == 0, err
    assert [picture(path).shape for path in (place / "shots.x2").iterdir()] == [(18, 22, 3)] * 6
    assert record(out)["rate"] == "20"


def test_one_picture_gives_one_picture(upscale: Upscale, place: Path) -> None:
    Image.fromarray(moving_pattern(1, (9, 11))[0]).save(place / "in.png")
    assert upscale("in.png")[0] == 0
    assert picture(place / "in.x2.png").shape == (18, 22, 3)


def test_a_gif_keeps_what_is_transparent(upscale: Upscale, place: Path) -> None:
    frames = []
    for number, picture in enumerate(moving_pattern(3, (16, 16))):
        alpha = np.zeros((16, 16), np.uint8)
        alpha[4:12, 4 + number : 12 + number] = 255
        frames.append(Image.fromarray(np.dstack([picture, alpha])))
    frames[0].save(place / "in.gif", save_all=True, append_images=frames[1:], duration=100, disposal=2)
    code, _, err = upscale("in.gif")
    assert code == 0, err
    with Image.open(place / "in.x2.gif") as made:
        shown = [np.asarray((made.seek(number), made.convert("RGBA"))[1]) for number in range(made.n_frames)]
    assert len(shown) == 6
    assert all(frame.shape == (32, 32, 4) for frame in shown)
    assert [int(frame[16, 16, 3]) for frame in shown] == [255] * 6
    assert [int(frame[1, 1, 3]) for frame in shown] == [0] * 6


def test_transparency_that_cannot_be_kept_is_told(upscale: Upscale, place: Path) -> None:
    pixels = np.full((8, 8, 4), 200, np.uint8)
    pixels[2:6, 2:6, 3] = 0
    Image.fromarray(pixels).save(place / "in.png")
    code, out, err = upscale("in.png", "-o", "out.mp4", "--json")
    assert code == 0, err
    assert "what is transparent is black now" in record(out)["warnings"][0]  # type: ignore[index]
    assert "hvg: warning: in.png: what is transparent is black now" in err
    assert upscale("in.png", "-o", "out.png")[2].count("warning") == 0


def test_an_input_that_no_larger_picture_gives_is_told(upscale: Upscale, place: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 2, (16, 16, 1), np.uint8).repeat(3, 2) * 255
    Image.fromarray(noise).save(place / "in.png")
    code, out, _ = upscale("in.png", "--json")
    told = record(out)
    assert code == 0
    assert told["grounding_error"] > 1 / 255  # type: ignore[operator]
    assert "more contrast between neighbouring pixels" in told["warnings"][0]  # type: ignore[index]


def test_through_a_pipe(place: Path, models: Path) -> None:
    clip(place / "in.mp4", 4)
    command = [sys.executable, "-m", "hvgcli", "upscale", "--model", str(models / "tiny"), "-"]
    with (place / "in.mp4").open("rb") as source, (place / "out.mp4").open("wb") as target:
        subprocess.run(command, stdin=source, stdout=target, check=True)
    assert probe(place / "out.mp4").frames == 8
    assert sorted(path.name for path in place.iterdir()) == ["in.mp4", "out.mp4"]


def test_provenance_and_info(upscale: Upscale, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip(place / "in.mp4", 3)
    assert upscale("in.mp4", "--class", "dog", "--seed", 5)[0] == 0
    made = provenance(place / "in.x2.mp4")
    assert made is not None
    assert (made["class"], made["seed"], made["source"], made["times_space"]) == ("dog", 5, "in.mp4", 2)
    assert made["command"].startswith("hvg upscale in.mp4 -o in.x2.mp4")
    assert run(["info", str(place / "in.x2.mp4"), "--json"]) == 0
    assert record(capsys.readouterr().out)["command"] == made["command"]
    assert upscale("in.mp4", "--no-metadata", "-o", "bare.mp4")[0] == 0
    assert provenance(place / "bare.mp4") is None


def test_files_that_are_there(upscale: Upscale, place: Path) -> None:
    clip(place / "in.mp4", 3)
    (place / "in.x2.mp4").write_text("mine")
    code, out, err = upscale("in.mp4")
    assert (code, out) == (3, "")
    assert "--overwrite" in err
    assert upscale("in.mp4", "--skip-existing")[:2] == (0, "")
    assert (place / "in.x2.mp4").read_text() == "mine"
    assert upscale("in.mp4", "--overwrite")[0] == 0
    assert probe(place / "in.x2.mp4").frames == 6
    before = (place / "in.mp4").read_bytes()
    code, _, err = upscale("in.mp4", "-o", "in.mp4", "--overwrite")
    assert (code, (place / "in.mp4").read_bytes()) == (2, before)
    assert "is the input" in err


def test_some_of_several_fail(upscale: Upscale, place: Path) -> None:
    clip(place / "a.mp4", 3)
    (place / "b.mp4").write_bytes(b"not a video")
    clip(place / "c.mp4", 3)
    code, out, err = upscale("a.mp4", "b.mp4", "c.mp4", "-o", "large/")
    assert code == 6
    assert out.split() == ["large/a.x2.mp4", "large/c.x2.mp4"]
    assert "b.mp4: cannot be read as a video" in err
    assert sorted(path.name for path in (place / "large").iterdir()) == ["a.x2.mp4", "c.x2.mp4"]
    (place / "b.mp4").unlink()
    code, out, _ = upscale(".", "-o", "large/", "--skip-existing")
    assert (code, out) == (0, "")


@pytest.mark.parametrize(
    ("name", "content", "code", "message"),
    [
        ("missing.mp4", None, 3, "no such file"),
        ("empty.mp4", b"", 3, "cannot be read"),
        ("text.mkv", b"hello " * 100, 3, "cannot be read"),
    ],
)
def test_what_is_no_video(
    upscale: Upscale, place: Path, name: str, content: bytes | None, code: int, message: str
) -> None:
    if content is not None:
        (place / name).write_bytes(content)
    got, out, err = upscale(name)
    assert (got, out, err.count("\n")) == (code, "", 1)
    assert message in err
    assert [path.name for path in place.iterdir()] == ([] if content is None else [name])


def test_a_folder_with_nothing_of_use(upscale: Upscale, place: Path) -> None:
    (place / "empty").mkdir()
    code, _, err = upscale("empty")
    assert code == 3
    assert "no PNG frames and no videos" in err


def test_a_clip_that_is_cut_off(upscale: Upscale, place: Path) -> None:
    whole = clip(place / "whole.webm", 40, (48, 64)).read_bytes()
    (place / "in.webm").write_bytes(whole[: len(whole) // 2])
    code, _, err = upscale("in.webm")
    assert code == 3
    assert "in.webm" in err
    assert sorted(path.name for path in place.iterdir()) == ["in.webm", "whole.webm"]


@pytest.mark.parametrize(
    "options",
    [
        ("--level", "1"),
        ("--level", "3"),
        ("--tile", "9"),
        ("--tile", "x"),
        ("--overlap", "99"),
        ("--sigma", "0"),
        ("--detail", "2"),
        ("--start", "later"),
        ("--crf", "99"),
        ("--codec", "vp9", "-o", "out.mov"),
        ("-o", "out.wmv"),
        ("-o", "nofolder"),
        ("-o", "{nothing}.mp4"),
        ("--class", "bird"),
        ("-o", "-", "in.mp4"),
    ],
)
def test_options_that_cannot_be(upscale: Upscale, place: Path, options: tuple[str, ...]) -> None:
    clip(place / "in.mp4", 3)
    code, out, err = upscale("in.mp4", *options)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("hvg: error: ")
    assert "Traceback" not in err
    assert [path.name for path in place.iterdir()] == ["in.mp4"]


def test_dry_run_says_what_it_takes(upscale: Upscale, place: Path) -> None:
    clip(place / "in.mp4", 5)
    code, out, err = upscale("in.mp4", "--dry-run", "--json")
    assert code == 0, err
    told = record(out)
    assert (told["frames"], told["size"], told["dry_run"]) == (10, "36x24", True)
    assert told["estimated_seconds"] > 0  # type: ignore[operator]
    assert told["memory_bytes"] > 1 << 20  # type: ignore[operator]
    assert "tiles of 8x8" in str(told["tiles"])
    assert [path.name for path in place.iterdir()] == ["in.mp4"]


def test_no_permission(upscale: Upscale, place: Path) -> None:
    clip(place / "in.mp4", 3)
    (place / "file").write_text("")
    code, _, err = upscale("in.mp4", "-o", "file/out.mp4")
    assert (code, err.count("\n")) == (3, 1)
    assert "is not a folder" in err


def test_no_sound_where_none_is_wanted(upscale: Upscale, place: Path, rich: Callable[[str], Path]) -> None:
    assert upscale(rich("mp4"), "--no-audio", "-o", "silent.mp4")[0] == 0
    assert not [stream for stream in probe(place / "silent.mp4").streams if stream.kind == "audio"]


def test_the_environment_is_left_as_it_was(upscale: Upscale, place: Path) -> None:
    clip(place / "in.mp4", 3)
    before = sorted(os.listdir(os.environ.get("TMPDIR", "/tmp")))
    assert upscale("in.mp4")[0] == 0
    left = set(os.listdir(os.environ.get("TMPDIR", "/tmp"))) - set(before)
    assert not [name for name in left if name.startswith("hvg-")]
