"""Folders of PNG frames, with any digits, depth and alpha."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clip_files import ffmpeg, images, pattern, read
from PIL import Image

from hvgcli.errors import MediaError
from hvgcli.video.footage import examine
from hvgcli.video.pictures import save_png


def folder(path: Path, names: list[str], tags: dict[str, str] | None = None) -> np.ndarray:
    """Frames under these names, in this order."""
    path.mkdir()
    frames = pattern(len(names), (10, 12))
    for name, image in zip(names, frames, strict=True):
        save_png(path / name, image, tags or {})
    return frames


@pytest.mark.parametrize(
    "names",
    [
        ["000000.png", "000001.png", "000002.png"],
        ["8.png", "9.png", "10.png"],
        ["frame_08.png", "frame_9.png", "frame_010.PNG"],
        ["shot 2 - 5.png", "shot 2 - 7.png", "shot 2 - 100.png"],
    ],
)
def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path, names: list[str]) -> None:
    frames = folder(tmp_path / "f", names)
    (tmp_path / "f" / "notes.txt").write_text("other files are passed over")
    (tmp_path / "f" / ".hidden.png").write_text("")
    footage = examine(tmp_path / "f")
    assert np.array_equal(images(footage), frames)
    assert (footage.kind, footage.frames, footage.size, footage.alpha) == ("png", 3, (10, 12), False)
    assert [frame.time for frame in read(footage, 1, 3)] == [Fraction(1, 25), Fraction(2, 25)]


@pytest.mark.parametrize(
    ("stated", "given", "rate"),
    [
        ("24000/1001", None, Fraction(24000, 1001)),
        ("12", None, 12),
        ("12", Fraction(30), 30),
        (None, None, 25),
        ("1e999999999", None, 25),
        ("0", None, 25),
        ("5/0", None, 25),
    ],
)
def test_rate(tmp_path: Path, stated: str | None, given: Fraction | None, rate: Fraction) -> None:
    folder(tmp_path / "f", ["1.png", "2.png"], {"rate": stated} if stated else None)
    footage = examine(tmp_path / "f", rate=given)
    assert footage.rate == rate
    assert footage.duration == 2 / Fraction(rate)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "1"])
def test_kinds_of_pixels(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(pattern(1, (10, 12))[0]).convert("RGBA")
    image.putalpha(Image.fromarray(np.arange(120, dtype=np.uint8).reshape(10, 12)))
    image = image.convert(mode)
    image.save(tmp_path / "1.png")
    footage = examine(tmp_path / "1.png")
    (frame,) = read(footage)
    assert np.array_equal(frame.image, np.asarray(image.convert("RGB")))
    assert footage.alpha == (frame.alpha is not None)
    assert footage.alpha == (mode in ("LA", "RGBA", "P")), "a palette keeps transparency"
    if frame.alpha is not None:
        assert np.array_equal(frame.alpha, np.asarray(image.convert("RGBA"))[..., 3])


def test_a_transparent_colour_is_alpha(tmp_path: Path) -> None:
    image = Image.fromarray(np.full((4, 4, 3), 9, np.uint8))
    image.putpixel((1, 2), (200, 0, 0))
    image.save(tmp_path / "1.png", transparency=(200, 0, 0))
    (frame,) = read(examine(tmp_path / "1.png"))
    assert frame.alpha is not None
    assert np.argwhere(frame.alpha == 0).tolist() == [[2, 1]]


@pytest.mark.parametrize("form", ["rgb48be", "rgba64be", "gray16be"])
def test_sixteen_bits_are_kept(tmp_path: Path, form: str) -> None:
    channels = {"rgb48be": 3, "rgba64be": 4, "gray16be": 1}[form]
    values = np.random.default_rng(0).integers(0, 65536, (6, 5, channels)).astype(">u2")
    (tmp_path / "raw").write_bytes(values.tobytes())
    raw = ["-f", "rawvideo", "-pixel_format", form, "-video_size", "5x6", "-i", str(tmp_path / "raw")]
    ffmpeg(*raw, str(tmp_path / "1.png"))
    footage = examine(tmp_path / "1.png")
    (frame,) = read(footage)
    assert (footage.bits, frame.image.dtype) == (16, np.uint16)
    assert np.array_equal(frame.image, np.broadcast_to(values[..., :3], (6, 5, 3)))
    if channels == 4:
        assert frame.alpha is not None
        assert np.array_equal(frame.alpha, values[..., 3] >> 8)


def test_depth_and_alpha_are_those_of_the_richest_frame(tmp_path: Path) -> None:
    frames = folder(tmp_path / "f", ["1.png"])
    clear = np.dstack([frames[0], np.full((10, 12), 7, np.uint8)])
    Image.fromarray(clear).save(tmp_path / "f" / "2.png")
    ffmpeg("-i", str(tmp_path / "f" / "1.png"), "-pix_fmt", "rgb48be", str(tmp_path / "f" / "3.png"))
    found = read(examine(tmp_path / "f"))
    assert [frame.image.dtype for frame in found] == [np.uint16] * 3
    assert np.array_equal(found[0].image, frames[0].astype(np.uint16) * 257)
    assert [int(frame.alpha[0, 0]) for frame in found if frame.alpha is not None] == [255, 7, 255]


def refused(path: Path) -> str:
    with pytest.raises(MediaError) as caught:
        read(examine(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folders_that_are_no_clip(tmp_path: Path) -> None:
    for names, message in {
        ("1.png", "cover.png"): "cover.png: has no number",
        ("a1.png", "b2.png"): "frames of several clips (a1.png and b2.png)",
        ("1.png", "01.png"): "has a frame twice",
    }.items():
        path = tmp_path / names[1]
        folder(path, list(names))
        assert message in refused(path)


def test_pictures_that_are_damaged(tmp_path: Path) -> None:
    folder(tmp_path / "f", ["1.png", "2.png"])
    second = tmp_path / "f" / "2.png"
    data = second.read_bytes()
    save_png(second, pattern(1, (10, 13))[0], {})
    assert "is 13x10 pixels, not 12x10 as the first frame" in refused(tmp_path / "f")
    for changed, message in {
        data[: len(data) // 2]: "2.png: is damaged or cut off",
        data[:20]: "2.png: is cut off in its header",
        b"words": "2.png: is not a PNG picture",
        data[:16] + bytes.fromhex("7fffffff7fffffff") + data[24:]: "can be read: make it smaller",
        data[:16] + bytes(4) + data[20:]: "its frames are 0x10 pixels",
    }.items():
        second.write_bytes(changed)
        assert message in refused(tmp_path / "f")
