"""Any input as frames with exact times: real files, checked for their pixels and their clocks."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from clip_files import encode, ffmpeg, images, lossless, pattern, psnr, read
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.errors import MediaError
from hvgcli.video import provenance, read_video
from hvgcli.video.footage import Footage, examine, timed_frames

FILM = Fraction(24000, 1001)
H264 = ("-c:v", "libx264", "-crf", "8", "-g", "8", "-bf", "3", "-pix_fmt", "yuv420p")
VP9 = ("-c:v", "libvpx-vp9", "-crf", "12", "-b:v", "0", "-deadline", "realtime", "-cpu-used", "8")
FORMATS = {
    "a.mp4": ("mp4", H264),
    "a.mov": ("mov", H264),
    "a.mkv": ("mkv", H264),
    "vp9.webm": ("webm", VP9),
    "vp8.webm": ("webm", ("-c:v", "libvpx", "-crf", "4", "-b:v", "4M", "-auto-alt-ref", "1", "-lag-in-frames", "5")),
    "b.avi": ("avi", ("-c:v", "mpeg4", "-q:v", "2", "-bf", "2")),
    "c.avi": ("avi", H264),
    "d.avi": ("avi", ("-c:v", "mjpeg", "-q:v", "2")),
    "a.ts": ("mpegts", H264),
    "a.flv": ("flv", H264),
    "hevc.mp4": ("mp4", ("-c:v", "libx265", "-crf", "8", "-x265-params", "log-level=error:keyint=8")),
    "pieces.mp4": ("mp4", (*H264, "-movflags", "frag_keyframe+empty_moov")),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_all_frames_at_their_times(tmp_path: Path, name: str) -> None:
    frames, (kind, options) = pattern(20), FORMATS[name]
    footage = examine(encode(tmp_path / name, frames, *options, rate="24000/1001"))
    assert (footage.kind, footage.size, footage.frames, footage.bits) == (kind, (48, 64), 20, 8)
    assert (footage.variable, footage.alpha, footage.aspect) == (False, False, 1)
    assert footage.rate == FILM or (kind == "flv" and abs(footage.rate - FILM) < 0.001), "milliseconds are all FLV has"
    found = read(footage)
    assert min(psnr(frame.image, image) for frame, image in zip(found, frames, strict=True)) > 30
    for number, frame in enumerate(found):
        assert abs(frame.time - footage.start - number / FILM) <= footage.time_base
        assert abs(frame.duration - 1 / FILM) <= footage.time_base
    assert abs(footage.duration - 20 / FILM) <= 2 * footage.time_base
    assert footage.clock.mended == 0


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "vp9.webm", "c.avi", "b.avi", "a.ts"])
def test_any_part_is_the_same_as_in_the_whole(tmp_path: Path, name: str) -> None:
    footage = examine(encode(tmp_path / name, pattern(180, (32, 32)), *FORMATS[name][1], "-g", "40"))
    every = read(footage)
    for start, stop in ((0, 2), (63, 66), (119, 123), (121, 122), (177, None), (179, 400)):
        part = read(footage, start, stop)
        assert len(part) == len(every[start:stop])
        for one, other in zip(part, every[start:stop], strict=True):
            assert np.array_equal(one.image, other.image)
            assert one[2:] == other[2:]
    assert read(footage, 5, 5) == read(footage, 180) == []


@given(height=st.integers(1, 9), width=st.integers(1, 70), count=st.integers(1, 3))
@settings(deadline=None, max_examples=8)
def test_any_size_and_number(tmp_path_factory: pytest.TempPathFactory, height: int, width: int, count: int) -> None:
    frames = pattern(count, (height, width))
    footage = examine(lossless(tmp_path_factory.mktemp("any") / "a.mov", frames, range(0, 40 * count, 40)))
    assert footage.size == (height, width)
    assert np.array_equal(images(footage), frames)


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (1, 1), (31, 17)])
def test_strips_and_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = pattern(2, size)
    assert np.array_equal(images(examine(lossless(tmp_path / "a.mov", frames, (0, 40)))), frames)


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("-display_rotation", "90"),
        ("-display_rotation", "180"),
        ("-display_rotation", "-90"),
        ("-display_hflip",),
        ("-display_vflip",),
        ("-display_rotation", "90", "-display_hflip"),
        ("-display_rotation", "-90", "-display_hflip"),
    ],
    ids=" ".join,
)
def test_frames_are_upright(tmp_path: Path, flags: tuple[str, ...]) -> None:
    clip = encode(tmp_path / "clip.mp4", pattern(2), *H264, "-vf", "setsar=8/9")
    ffmpeg(*flags, "-i", str(clip), "-c", "copy", str(tmp_path / "turned.mp4"))
    ffmpeg("-i", str(tmp_path / "turned.mp4"), "-frames:v", "1", str(tmp_path / "upright.png"))
    footage, expected = examine(tmp_path / "turned.mp4"), read_video(tmp_path / "upright.png")[0]
    quarter = "90" in flags or "-90" in flags
    assert footage.size == ((64, 48) if quarter else (48, 64)) == expected.shape[:2]
    assert footage.aspect == (Fraction(9, 8) if quarter else Fraction(8, 9))
    assert psnr(read(footage)[0].image, expected) > 35
    others = [np.rot90(expected, turn)[:, ::step] for turn in range(4) for step in (1, -1)][1:]
    assert all(other.shape != expected.shape or psnr(other, expected) < 25 for other in others), "a pattern that tells"


@pytest.mark.parametrize("kind", ["mkv", "mov"])
@pytest.mark.parametrize("first", [0, 2500])
def test_a_variable_rate_keeps_its_times(tmp_path: Path, kind: str, first: int) -> None:
    times = [first + time for time in (0, 40, 80, 300, 333, 1000, 1040)]
    footage = examine(lossless(tmp_path / f"a.{kind}", pattern(7), times))
    found = read(footage)
    assert [frame.time for frame in found] == [Fraction(time, 1000) for time in times]
    assert [frame.duration for frame in found[:-1]] == [Fraction(b - a, 1000) for a, b in pairwise(times)]
    assert footage.variable
    assert 0 < found[-1].duration <= 1
    assert footage.start == Fraction(first, 1000)
    assert footage.rate == 7 / footage.duration
    assert np.array_equal(np.stack([frame.image for frame in found]), pattern(7))


def test_an_edit_list_leaves_out_what_it_does_not_show(tmp_path: Path) -> None:
    clip = encode(tmp_path / "clip.mp4", pattern(40), *H264)
    ffmpeg("-ss", "0.5", "-i", str(clip), "-c", "copy", str(tmp_path / "cut.mp4"))
    footage = examine(tmp_path / "cut.mp4")
    found = read(footage)
    whole = read(examine(clip))
    first = next(n for n, frame in enumerate(whole) if np.array_equal(frame.image, found[0].image))
    assert first in (12, 13)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(found, whole[first:], strict=True))
    assert 0 <= footage.start <= Fraction(1, 25)
    assert not footage.variable


def test_frames_without_times_are_shown_evenly(tmp_path: Path) -> None:
    footage = examine(encode(tmp_path / "a.h264", pattern(12), *H264))
    found = read(footage)
    assert (footage.frames, footage.variable, footage.rate) == (12, False, 25)
    assert [frame.time - footage.start for frame in found] == [Fraction(number, 25) for number in range(12)]
    assert min(psnr(frame.image, image) for frame, image in zip(found, pattern(12), strict=True)) > 30


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
@pytest.mark.parametrize("seconds", ["0.2", "3"])
def test_sound_may_be_shorter_or_longer(tmp_path: Path, kind: str, seconds: str) -> None:
    sound = ["-f", "lavfi", "-i", f"sine=duration={seconds}"]
    footage = examine(encode(tmp_path / f"a.{kind}", pattern(12), *H264, inputs=sound))
    assert len(read(footage)) == footage.frames == 12
    assert footage.duration == pytest.approx(12 / 25, abs=0.002)


@pytest.mark.parametrize("order", [("0", "1"), ("1", "0")], ids=["cover last", "cover first"])
def test_a_cover_picture_is_not_the_video(tmp_path: Path, order: tuple[str, str]) -> None:
    clip = encode(tmp_path / "clip.mp4", pattern(6), *H264)
    cover = encode(tmp_path / "cover.png", pattern(1, (20, 20)))
    maps = [option for number in order for option in ("-map", number)]
    kept = [*maps, "-c", "copy", f"-disposition:v:{order.index('1')}", "attached_pic"]
    ffmpeg("-i", str(clip), "-i", str(cover), *kept, str(tmp_path / "a.mp4"))
    footage = examine(tmp_path / "a.mp4")
    assert (footage.size, footage.frames) == ((48, 64), 6)
    assert footage.info is not None
    assert [stream.kind for stream in footage.info.streams] == ["cover"]
    assert len(read(footage)) == 6


@pytest.mark.parametrize(("codec", "options"), [("libvpx-vp9", ()), ("libvpx", ())])
def test_alpha_beside_the_frames(tmp_path: Path, codec: str, options: tuple[str, ...]) -> None:
    ramp = "format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='4*X'"
    encoding = ("-c:v", codec, "-pix_fmt", "yuva420p", "-crf", "4", "-b:v", "2M", "-auto-alt-ref", "0")
    footage = examine(encode(tmp_path / "a.webm", pattern(4), "-vf", ramp, *encoding, *options))
    assert footage.alpha
    for frame, image in zip(read(footage), pattern(4), strict=True):
        assert frame.alpha is not None
        assert np.abs(frame.alpha.astype(int) - np.arange(0, 256, 4)).mean() < 3
        assert psnr(frame.image, image) > 28


def test_high_dynamic_range_keeps_its_tags(tmp_path: Path) -> None:
    coded = "scale=out_color_matrix=bt2020nc:out_range=tv,format=yuv420p10le"
    tags = "setparams=color_primaries=bt2020:color_trc=smpte2084"
    footage = examine(encode(tmp_path / "a.mp4", pattern(3), *H264[:-2], "-vf", f"{coded},{tags}"))
    assert (footage.bits, footage.colour) == (10, (9, 9, 16, 1))
    assert footage.info is not None
    assert footage.info.hdr == "PQ"
    frame = read(footage)[0]
    assert (frame.image.dtype, frame.image.shape) == (np.uint16, (48, 64, 3))


def test_only_a_few_frames_are_in_memory(tmp_path: Path) -> None:
    frame_bytes, count = 256 * 256 * 3, 60
    footage = examine(encode(tmp_path / "a.mp4", pattern(count, (256, 256)), *H264, "-preset", "ultrafast"))
    tracemalloc.start()
    try:
        for _ in timed_frames(footage):
            pass
        assert tracemalloc.get_traced_memory()[1] < 6 * frame_bytes
    finally:
        tracemalloc.stop()


def test_an_avi_with_a_clock_finer_than_its_frames(tmp_path: Path) -> None:
    clip = encode(tmp_path / "clip.mp4", pattern(30), *H264, "-bf", "0")
    ffmpeg("-i", str(clip), "-c", "copy", str(tmp_path / "a.avi"))
    footage, whole = examine(tmp_path / "a.avi"), examine(clip)
    assert footage.time_base < Fraction(1, 25)
    assert np.array_equal(images(footage), images(whole))
    assert abs(footage.duration - whole.duration) < Fraction(2, 25)


def test_a_clock_that_jumps_back_goes_on(tmp_path: Path) -> None:
    data = encode(tmp_path / "a.ts", pattern(10), *H264).read_bytes()
    (tmp_path / "b.ts").write_bytes(2 * data)
    footage = examine(tmp_path / "b.ts")
    assert (footage.frames, footage.variable, footage.rate) == (20, False, 25)
    assert footage.duration == Fraction(20, 25)
    assert len(read(footage)) == 20


# what is refused


def cut(path: Path, part: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    return path


def read_all(path: Path) -> Footage:
    footage = examine(path)
    read(footage)
    return footage


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "vp9.webm", "d.avi", "a.flv", "a.mov"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.8])
def test_cut_off_files(tmp_path: Path, name: str, part: float) -> None:
    path = cut(encode(tmp_path / name, pattern(40), *FORMATS[name][1]), part)
    with pytest.raises(MediaError) as caught:
        read_all(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_inputs_that_are_no_videos(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.mp4").write_text("no video")
    (tmp_path / "nothing.gif").write_bytes(b"")
    (tmp_path / "bare.gif").write_bytes(b"GIF89a" + bytes([4, 0, 4, 0, 0, 0, 0]) + b";")
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.1", str(tmp_path / "sound.mp4"))
    expected = {
        "missing.mp4": "no such file",
        "empty": "without PNG frames",
        "words.mp4": "cannot be read as a video",
        "nothing.gif": "cannot be read as a video",
        "bare.gif": "has no frames|cannot be read|damaged",
        "sound.mp4": "has no video stream",
    }
    for name, message in expected.items():
        with pytest.raises(MediaError, match=message):
            read_all(tmp_path / name)


def test_a_size_that_changes_on_the_way(tmp_path: Path) -> None:
    one, two = (encode(tmp_path / f"{h}.h264", pattern(4, (h, 64)), *H264) for h in (48, 32))
    (tmp_path / "both.h264").write_bytes(one.read_bytes() + two.read_bytes())
    with pytest.raises(MediaError, match="changes its size at frame 4"):
        read_all(tmp_path / "both.h264")


def test_a_file_that_is_changed_after_it_was_examined(tmp_path: Path) -> None:
    footage = examine(encode(tmp_path / "a.mp4", pattern(12), *H264))
    encode(tmp_path / "a.mp4", pattern(5), *H264)
    with pytest.raises(MediaError, match="cut off at frame 5, or has been changed"):
        read(footage)


def test_our_own_folders_come_back(tmp_path: Path) -> None:
    from hvgcli.video import VideoWriter

    frames = pattern(3)
    with VideoWriter(tmp_path / "f", size=(48, 64), rate=FILM, format="png", metadata={"seed": 1}) as writer:
        writer.write(frames)
    footage = examine(tmp_path / "f")
    assert (footage.kind, footage.rate, footage.frames, footage.info) == ("png", FILM, 3, None)
    assert np.array_equal(images(footage), frames)
    assert [frame.time for frame in read(footage, 1)] == [1 / FILM, 2 / FILM]
    assert provenance(footage.files[0]) == {"seed": 1}
