"""Encoders of generated clips: mp4, webm, gif, png. Use them through `VideoWriter`.

Videos are encoded by the ffmpeg program that imageio-ffmpeg brings, run here directly: its argument
list keeps rates as fractions and sizes to the pixel, and names the colour matrix that it converts with.
Everything is written under a temporary name beside its place and renamed when it is complete.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol

from hvgcli.errors import OutputExistsError
from hvgcli.video.ffmpeg import Ffmpeg
from hvgcli.video.files import beside
from hvgcli.video.pictures import FIRST_FRAME, Frames, add_gif_comment, save_png

Format = Literal["mp4", "gif", "webm", "png"]

BT709 = "setparams=color_primaries=bt709:color_trc=bt709,scale=out_color_matrix=bt709:out_range=tv"
EXACT = "flags=bicubic+accurate_rnd+full_chroma_int"
# Measured on 48 frames of 128x128 on two cores: medium 0.07 s, slow 0.09 s for 3 % fewer bytes.
H264 = ("-c:v", "libx264", "-preset", "medium", "-movflags", "+faststart")
# realtime is twice as fast as good at the same quality, for a tenth more bytes.
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "5", "-row-mt", "1", "-b:v", "0")
PALETTE = "[0]palettegen=stats_mode=diff[p];[1][p]paletteuse=dither=floyd_steinberg:diff_mode=rectangle"


def raw_source(size: tuple[int, int], rate: Fraction, source: str) -> list[str]:
    height, width = size
    options = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}"]
    return [*options, "-framerate", str(rate), "-i", source]


def codec_arguments(kind: Format, size: tuple[int, int], crf: int, threads: int | None = None) -> list[str]:
    """Codec arguments. H.264 halves colour only at even sizes; VP9 does at any size."""
    odd = size[0] % 2 or size[1] % 2
    pixels = "yuv444p" if kind == "mp4" and odd else "yuv420p"
    exact = ["-fflags", "+bitexact", "-flags:v", "+bitexact"]  # no random identifiers: same frames, same file
    colour = ["-vf", f"{BT709}:{EXACT},format={pixels}"]
    limit = [] if threads is None else ["-threads", str(threads)]
    return [*colour, *(H264 if kind == "mp4" else VP9), "-crf", str(crf), *limit, *exact, "-f", kind]


class Sink(Protocol):
    def write(self, frames: Frames) -> None: ...

    def finish(self) -> Path:
        """Put the complete output in its place and return where that is."""

    def discard(self) -> None:
        """Remove everything temporary; harmless after `finish`."""


class VideoSink:
    """mp4 and webm: frames go straight to ffmpeg."""

    def __init__(self, path: Path, source: list[str], codec: list[str], tags: Mapping[str, str]) -> None:
        self._path, self._part = path, beside(path)
        arguments = [argument for key, value in tags.items() for argument in ("-metadata", f"{key}={value}")]
        self._ffmpeg = Ffmpeg([*source, *arguments, *codec, f"file:{self._part}"], path)

    def write(self, frames: Frames) -> None:
        self._ffmpeg.write(frames)

    def finish(self) -> Path:
        self._ffmpeg.finish()
        return self._part.replace(self._path)

    def discard(self) -> None:
        self._ffmpeg.stop()
        self._part.unlink(missing_ok=True)


class GifSink:
    """Gif: frames are kept on disk, because the palette of 256 colours is chosen from all of them."""

    def __init__(self, path: Path, size: tuple[int, int], rate: Fraction, tags: Mapping[str, str]) -> None:
        self._path, self._part = path, beside(path)
        self._raw, self._plain = beside(path, ".part.rgb"), beside(path, ".part.gif")
        self._tags = tags
        source = raw_source(size, rate, f"file:{self._raw}")
        self._arguments = [*source, *source, "-filter_complex", PALETTE, "-f", "gif", f"file:{self._plain}"]
        self._ffmpeg: Ffmpeg | None = None
        self._spool = self._raw.open("wb")

    def write(self, frames: Frames) -> None:
        self._spool.write(frames.data)

    def finish(self) -> Path:
        self._spool.close()
        self._ffmpeg = Ffmpeg(self._arguments, self._path)
        self._ffmpeg.finish()
        add_gif_comment(self._plain, self._part, self._tags.get("comment", ""))
        return self._part.replace(self._path)

    def discard(self) -> None:
        with contextlib.suppress(OSError):  # a full disk fails again when the rest is flushed
            self._spool.close()
        if self._ffmpeg is not None:
            self._ffmpeg.stop()
        for file in (self._raw, self._plain, self._part):
            file.unlink(missing_ok=True)


class PngSink:
    """Png: a folder 000000.png, 000001.png, ...; or one file, for one frame and a name that ends in .png."""

    def __init__(self, path: Path, rate: Fraction, tags: Mapping[str, str]) -> None:
        self._path, self._part = path, beside(path)
        self._folder = path.with_suffix("") if path.suffix.lower() == ".png" else path
        self._tags = {**tags, "rate": str(rate)}
        self._count = 0
        if self._folder == path:
            self._check_folder()
        shutil.rmtree(self._part, ignore_errors=True)  # left by a run that was killed
        self._part.mkdir()

    def _check_folder(self) -> None:
        """A folder is replaced only when there is nothing in it but frames."""
        if self._folder.is_dir():
            other = next((f.name for f in self._folder.iterdir() if not re.fullmatch(r"\d{6,}\.png", f.name)), None)
            if other is not None:
                raise OutputExistsError(f"{self._folder}: is a folder with other files ({other}): name a new folder")

    def write(self, frames: Frames) -> None:
        for image in frames:
            if self._count == 1:
                self._check_folder()
            save_png(self._part / f"{self._count:06d}.png", image, self._tags)
            self._count += 1

    def finish(self) -> Path:
        if self._count == 1 and self._folder != self._path:
            return (self._part / FIRST_FRAME).replace(self._path)
        self._check_folder()
        if self._folder.is_dir():
            shutil.rmtree(self._folder)
        return self._part.rename(self._folder)

    def discard(self) -> None:
        shutil.rmtree(self._part, ignore_errors=True)
