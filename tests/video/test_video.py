"""Reading, probing and writing of real video files, made by the tests themselves."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patterns import moving_pattern

from hvgcli import video
from hvgcli.errors import MediaError, OutputExistsError, UsageError
from hvgcli.video.ffmpeg import explain, ffmpeg_program
from hvgcli.video.pictures import save_png

RATES = [Fraction(24000, 1001), Fraction(25), Fraction(15), Fraction(30000, 1001), Fraction(12)]
Maker = Callable[..., Path]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9)))


def write(path: Path, frames: np.ndarray, rate: Fraction = Fraction(25), **options: object) -> Path:
    with video.VideoWriter(path, size=frames.shape[1:3], rate=rate, **options) as writer:  # type: ignore[arg-type]
        writer.write(frames)
    return writer.path


def ffmpeg(*arguments: str) -> None:
    subprocess.run([ffmpeg_program(), "-loglevel", "error", "-y", *arguments], check=True)


def leftovers(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("rate", RATES, ids=str)
@pytest.mark.parametrize("suffix", ["mp4", "webm", "gif"])
def test_round_trip_keeps_rate_size_and_count(tmp_path: Path, suffix: str, rate: Fraction) -> None:
    frames = moving_pattern(24, (48, 80))
    path = write(tmp_path / f"clip.{suffix}", frames, rate)
    info = video.probe(path)
    if suffix != "gif":
        assert info.rate == rate
    assert abs(24 / info.rate - 24 / rate) <= Fraction(1, 100), "a gif is exact to its clock of 1/100 s"
    assert (info.height, info.width) == info.coded_size == (48, 80)
    assert video.count_frames(path) == 24
    assert info.frames in (None, 24)
    assert info.duration == pytest.approx(24 / rate, abs=0.011)
    read = video.read_video(path)
    assert read.shape == frames.shape
    assert psnr(read, frames) > (25 if suffix == "gif" else 34)
    assert abs((read.astype(float) - frames).mean()) < (1.5 if suffix == "gif" else 0.5), "not darker or lighter"
    assert leftovers(tmp_path) == [path.name]


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(20), Fraction(10), Fraction(24000, 1001)], ids=str)
def test_gif_rates_that_its_clock_can_tell(tmp_path: Path, make_clip: Maker, rate: Fraction) -> None:
    assert video.probe(make_clip(tmp_path / "a.gif", frames=48, rate=rate)).rate == rate


@settings(max_examples=8, deadline=None)
@given(
    height=st.integers(16, 50),
    width=st.integers(16, 50),
    frames=st.integers(1, 5),
    suffix=st.sampled_from(["mp4", "webm", "gif"]),
)
def test_any_size_is_kept(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, frames: int, suffix: str
) -> None:
    path = write(tmp_path_factory.mktemp("size") / f"clip.{suffix}", moving_pattern(frames, (height, width)))
    assert video.read_video(path).shape == (frames, height, width, 3)


def test_mp4_plays_everywhere_and_streams(tmp_path: Path, make_clip: Maker) -> None:
    path = make_clip(tmp_path / "clip.mp4")
    info = video.probe(path)
    assert (info.codec, info.pix_fmt, info.colour) == ("h264", "yuv420p", (1, 1, 1, 1))
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index comes before the frames"


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_colours_survive(tmp_path: Path, suffix: str) -> None:
    colours = np.array([[250, 5, 5], [5, 250, 5], [5, 5, 250], [200, 120, 40], [128, 128, 128]], np.uint8)
    frames = np.repeat(np.repeat(colours, 32, axis=0)[None, None], 32, axis=1).repeat(3, axis=0)
    read = video.read_video(write(tmp_path / f"clip.{suffix}", frames))
    middles = read[1, 16, 16::32].astype(int)
    assert np.abs(middles - colours).max() <= 4


def test_colours_are_converted_by_the_matrix_that_is_tagged(tmp_path: Path) -> None:
    frames = np.full((2, 32, 32, 3), (20, 200, 60), np.uint8)
    with av.open(str(write(tmp_path / "clip.mp4", frames))) as container:
        luma = next(container.decode(video=0)).to_ndarray()[0, 0]
    red, green, blue = 20, 200, 60
    assert luma == pytest.approx(16 + 219 / 255 * (0.2126 * red + 0.7152 * green + 0.0722 * blue), abs=2)


def test_same_frames_give_the_same_file(tmp_path: Path, make_clip: Maker) -> None:
    for suffix in ("mp4", "webm", "gif"):
        one, two = make_clip(tmp_path / f"one.{suffix}"), make_clip(tmp_path / f"two.{suffix}")
        assert one.read_bytes() == two.read_bytes()


def test_crf_trades_size_for_quality(tmp_path: Path) -> None:
    frames = moving_pattern(8, (64, 64))
    fine, coarse = (write(tmp_path / f"{crf}.mp4", frames, crf=crf).stat().st_size for crf in (5, 40))
    assert fine > 2 * coarse


@pytest.mark.parametrize("name", ["-o.mp4", "a:b.webm", "with space %03d.mp4", "é.gif"])
def test_odd_names(tmp_path: Path, make_clip: Maker, name: str) -> None:
    path = make_clip(tmp_path / name)
    assert video.count_frames(path) == 8
    assert leftovers(tmp_path) == [name]


def test_frames_are_written_in_pieces(tmp_path: Path) -> None:
    frames = moving_pattern(7, (32, 48))
    with video.VideoWriter(tmp_path / "a.mp4", size=(32, 48), rate=Fraction(25)) as writer:
        for piece in (frames[:1], frames[1:1], frames[1:4], frames[:, :, ::-1][4:]):
            writer.write(piece)
    read = video.read_video(tmp_path / "a.mp4")
    assert psnr(read[6], frames[6, :, ::-1]) > 30


# png


def test_png_folder(tmp_path: Path) -> None:
    frames = moving_pattern(3, (20, 30))
    for name in ("frames", "frames.png"):  # the second replaces the frames of the first
        path = write(tmp_path / name, frames, Fraction(24000, 1001), format="png", metadata={"seed": 7})
        assert path == tmp_path / "frames"
        assert leftovers(path) == ["000000.png", "000001.png", "000002.png"]
        assert leftovers(tmp_path) == ["frames"]
    assert np.array_equal(video.read_video(path / "000002.png")[0], frames[2])
    assert video.read_metadata(path)["rate"] == "24000/1001"
    assert video.provenance(path) == {"seed": 7}


def test_one_png(tmp_path: Path) -> None:
    frames = moving_pattern(1, (20, 30))
    path = write(tmp_path / "still.png", frames)
    assert path.is_file()
    assert np.array_equal(video.read_video(path), frames)
    assert leftovers(tmp_path) == ["still.png"]


def test_png_never_replaces_other_files(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(OutputExistsError, match=r"holiday\.jpg"):
        write(tmp_path, moving_pattern(2, (16, 16)), format="png")
    assert leftovers(tmp_path) == ["holiday.jpg"]


# provenance

MADE = {"model": "hvg-mini", "seed": 7, "class": 'fire "é" 火', "sigma": 0.5, "long": "x" * 600}


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif", "a.png"])
def test_provenance_is_read_back(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, moving_pattern(1 if name == "a.png" else 4, (32, 32)), metadata=MADE)
    assert video.provenance(path) == MADE
    assert "hvg" in video.read_metadata(path)["comment"]
    assert video.read_video(path).shape[1:] == (32, 32, 3)
    plain = write(tmp_path / f"plain{path.suffix}", moving_pattern(1, (32, 32)))
    assert video.provenance(plain) is None


@pytest.mark.parametrize("comment", ["just words", "[1]", '{"hvg": 3}', "[" * 100_000])
def test_comments_of_others_are_no_provenance(tmp_path: Path, comment: str) -> None:
    save_png(tmp_path / "a.png", moving_pattern(1, (16, 16))[0], {"comment": comment})
    assert video.provenance(tmp_path / "a.png") is None


# reading


def test_iter_frames_takes_a_part(tmp_path: Path, make_clip: Maker) -> None:
    path = make_clip(tmp_path / "clip.mp4", frames=12)
    every = video.read_video(path)
    assert np.array_equal(np.stack(list(video.iter_frames(path, start=3, stop=9))), every[3:9])
    assert np.array_equal(np.stack(list(video.iter_frames(path, start=10))), every[10:])
    assert list(video.iter_frames(path, start=4, stop=4)) == []
    assert len(list(video.iter_frames(path, stop=100))) == 12


@pytest.mark.parametrize(("flag", "turn"), [("90", 90), ("-90", -90), ("180", 180)])
def test_rotation_is_applied(tmp_path: Path, make_clip: Maker, flag: str, turn: int) -> None:
    clip, turned, upright = make_clip(tmp_path / "clip.mp4"), tmp_path / "turned.mp4", tmp_path / "upright.png"
    ffmpeg("-display_rotation", flag, "-i", str(clip), "-c", "copy", str(turned))
    ffmpeg("-i", str(turned), "-frames:v", "1", str(upright))
    info = video.probe(turned)
    assert (info.rotation, info.coded_size) == (turn, (48, 64))
    assert (info.height, info.width) == ((48, 64) if turn == 180 else (64, 48))
    assert psnr(next(video.iter_frames(turned)), video.read_video(upright)[0]) > 35


def test_probe_reports_sound_pixel_aspect_and_tags(tmp_path: Path, make_clip: Maker) -> None:
    clip, path = make_clip(tmp_path / "clip.mp4"), tmp_path / "full.mkv"
    sound = ["-f", "lavfi", "-i", "sine=duration=0.3"]
    ffmpeg(
        "-i",
        str(clip),
        *sound,
        "-vf",
        "setsar=8/9",
        "-metadata",
        "title=Sea",
        "-metadata:s:a",
        "language=fra",
        str(path),
    )
    info = video.probe(path)
    assert info.sample_aspect_ratio == Fraction(8, 9)
    assert [(s.kind, s.codec, s.language) for s in info.streams] == [("audio", info.streams[0].codec, "fra")]
    assert info.metadata["title"] == "Sea"
    assert info.container.startswith("matroska")


def test_variable_rate_gives_each_frame_once(tmp_path: Path, make_clip: Maker) -> None:
    clip, path = make_clip(tmp_path / "clip.mp4", frames=20), tmp_path / "vfr.mp4"
    ffmpeg("-i", str(clip), "-vf", r"select=not(mod(n\,3))+lt(n\,6)", "-fps_mode", "vfr", str(path))
    assert len(video.read_video(path)) == video.count_frames(path) == 11


@pytest.mark.parametrize("suffix", ["mp4", "webm", "gif"])
@pytest.mark.parametrize("part", [0.5, 0.85])
def test_cut_off_files_name_the_frame_reached(tmp_path: Path, make_clip: Maker, suffix: str, part: float) -> None:
    path = make_clip(tmp_path / f"clip.{suffix}", frames=40)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(MediaError, match=rf"clip\.{suffix}: .*frame \d+") as caught:
        video.read_video(path)
    assert "\n" not in str(caught.value)


def test_damaged_files_are_errors(tmp_path: Path, make_clip: Maker) -> None:
    path = make_clip(tmp_path / "clip.mp4", frames=30)
    data = bytearray(path.read_bytes())
    middle = (data.index(b"mdat") + len(data)) // 2
    data[middle : middle + 600] = b"\xff" * len(data[middle : middle + 600])
    path.write_bytes(data)
    with pytest.raises(MediaError, match="damaged or cut off at frame"):
        video.read_video(path)


@pytest.mark.parametrize("read", [video.probe, video.count_frames, video.read_video, video.read_metadata])
def test_inputs_that_are_no_videos(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "words.mp4").write_text("no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.1", str(tmp_path / "sound.wav"))
    expected = {
        "missing.mp4": "no such file",
        ".": "is a folder",
        "words.mp4": "cannot be read as a video",
        "empty.mp4": "cannot be read as a video",
        "sound.wav": "has no video stream",
    }
    for name, message in expected.items():
        with pytest.raises(MediaError, match=message):
            read(tmp_path / name)


def test_playlists_do_not_open_other_files(tmp_path: Path, make_clip: Maker) -> None:
    make_clip(tmp_path / "clip.mp4")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/clip.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(MediaError):
        video.probe(tmp_path / "list.mp4")


# writing that fails


@pytest.mark.parametrize("suffix", ["mp4", "webm", "gif", "png"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_nothing_is_left_of_a_clip_that_was_broken_off(tmp_path: Path, suffix: str, error: type[BaseException]) -> None:
    def break_off() -> None:
        with video.VideoWriter(tmp_path / f"a.{suffix}", size=(32, 32), rate=Fraction(25)) as writer:
            writer.write(moving_pattern(3, (32, 32)))
            raise error

    with pytest.raises(error):
        break_off()
    assert leftovers(tmp_path) == []


def test_an_old_file_survives_a_failure(tmp_path: Path, make_clip: Maker) -> None:
    path = make_clip(tmp_path / "a.mp4")
    before = path.read_bytes()
    with pytest.raises(MediaError, match="no frames"), video.VideoWriter(path, size=(32, 32), rate=Fraction(25)):
        pass
    assert path.read_bytes() == before
    assert leftovers(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize("suffix", ["mp4", "gif", "png"])
def test_outputs_that_cannot_be_written(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MediaError, match="cannot be written"):
        write(tmp_path / "file" / f"a.{suffix}", moving_pattern(2, (16, 16)))
    assert leftovers(tmp_path) == ["file"]
    with pytest.raises(MediaError, match="cannot be written"):
        video.write_image(tmp_path / "file" / "a.png", moving_pattern(1, (16, 16))[0])


def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(MediaError, match="is a folder"):
        write(tmp_path / "a.mp4", moving_pattern(2, (16, 16)))


@pytest.mark.parametrize("suffix", ["mp4", "gif"])
def test_a_full_disk_is_one_line(tmp_path: Path, suffix: str) -> None:
    """A limit on the size of files stands in for the disk."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 128, 128, 3), np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(MediaError, match="cannot be written") as caught:
            write(tmp_path / f"a.{suffix}", noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("log", "status", "said"),
    [
        (["[out#0/mp4 @ 0x1] Error writing trailer: No space left on device"], 228, "the disk is full"),
        (["Unknown encoder 'libx264'"], 8, "this ffmpeg program lacks the encoder"),
        (["[libx264 @ 0x2] [error] bad thing", "more"], 1, "ffmpeg failed with status 1: bad thing"),
        ([], -9, "ffmpeg was stopped by signal 9"),
    ],
)
def test_explain(log: list[str], status: int, said: str) -> None:
    assert explain(log, status) == said


def test_a_program_that_dies_is_an_error(tmp_path: Path) -> None:
    frames = moving_pattern(10, (256, 256))

    def write_to_the_dead() -> None:
        with video.VideoWriter(tmp_path / "a.mp4", size=(256, 256), rate=Fraction(25)) as writer:
            while not (found := children()):  # its name appears a moment after its start
                time.sleep(0.01)
            os.kill(found[0], signal.SIGKILL)
            for _ in range(50):
                writer.write(frames)

    with pytest.raises(MediaError, match="signal 9"):
        write_to_the_dead()
    assert leftovers(tmp_path) == []


def children() -> list[int]:
    task = Path(f"/proc/{os.getpid()}/task")
    if not task.is_dir():
        pytest.skip("needs /proc")
    pids = [pid for thread in task.iterdir() for pid in (thread / "children").read_text().split()]
    # Another test may have left a helper of Python's own behind, such as that of multiprocessing.
    return [int(pid) for pid in pids if "ffmpeg" in Path(f"/proc/{pid}/cmdline").read_text()]


def test_interrupt_in_the_middle_leaves_no_program_and_no_file(tmp_path: Path) -> None:
    """Ctrl-C goes to the whole process group, as from a terminal."""
    script = (
        "import sys, numpy as np; from fractions import Fraction; from pathlib import Path\n"
        "from hvgcli.video import VideoWriter\n"
        "frames = np.random.default_rng(0).integers(0, 256, (4, 256, 256, 3), np.uint8)\n"
        "with VideoWriter(Path(sys.argv[1]), size=(256, 256), rate=Fraction(25)) as writer:\n"
        "    print('started', flush=True)\n"
        "    while True: writer.write(frames)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a.mp4")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"started\n"
        time.sleep(0.3)
        os.killpg(child.pid, signal.SIGINT)
        _, log = child.communicate(timeout=20)
    assert b"KeyboardInterrupt" in log
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.avi", {}),
        ("a", {}),
        ("a.mp4", {"crf": 52}),
        ("a.gif", {"crf": 10}),
        ("a.mp4", {"rate": Fraction(0)}),
        ("a.gif", {"rate": Fraction(60)}),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        video.VideoWriter(tmp_path / name, **{"size": (16, 16), "rate": Fraction(25), **options})  # type: ignore[arg-type]
    assert leftovers(tmp_path) == []


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    with video.VideoWriter(tmp_path / "a.png", size=(16, 16), rate=Fraction(25)) as writer:
        for wrong in (np.zeros((1, 16, 18, 3), np.uint8), np.zeros((16, 16, 3), np.uint8), np.zeros((1, 16, 16, 3))):
            with pytest.raises(ValueError, match="not uint8"):
                writer.write(wrong)
        writer.write(moving_pattern(1, (16, 16)))
    with pytest.raises(ValueError, match="outside"):
        writer.write(moving_pattern(1, (16, 16)))


# pictures and start-up


def test_write_image(tmp_path: Path) -> None:
    image = moving_pattern(1, (21, 33))[0]
    video.write_image(tmp_path / "new" / "a.png", image, {"seed": 3})
    assert np.array_equal(video.read_video(tmp_path / "new" / "a.png")[0], image)
    assert video.provenance(tmp_path / "new" / "a.png") == {"seed": 3}
    assert leftovers(tmp_path / "new") == ["a.png"]


@given(count=st.integers(1, 9), columns=st.integers(1, 12), gap=st.integers(0, 3))
@settings(deadline=None, max_examples=25)
def test_tile_places_every_frame(count: int, columns: int, gap: int) -> None:
    frames = np.arange(count, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 4, 5, 3), np.uint8)
    sheet = video.tile(frames, columns, gap)
    used = min(columns, count)
    assert sheet.shape == (-(-count // used) * (4 + gap) - gap, used * (5 + gap) - gap, 3)
    for number in range(count):
        top, left = number // used * (4 + gap), number % used * (5 + gap)
        assert (sheet[top : top + 4, left : left + 5] == number).all()


def test_import_is_light() -> None:
    code = "import sys, hvgcli.video; print([m for m in ('torch', 'av', 'PIL', 'imageio_ffmpeg') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_encoding_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    write(tmp_path / "a.mp4", moving_pattern(48, (128, 128)))
    assert threading.active_count() == before
