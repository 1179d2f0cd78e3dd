"""Writers of generated clips and pictures: mp4, webm, gif, png. Use them through `hvgcli.video`.

Videos are encoded by the ffmpeg program that imageio-ffmpeg brings, run here directly: its argument
list keeps rates as fractions and sizes to the pixel, and names the colour matrix that it converts with.
Everything is written under a temporary name beside its place and renamed when it is complete.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import IO, Any, Literal, Protocol, Self, cast, get_args

import numpy as np

from hvgcli.errors import MediaError, OutputExistsError, UsageError

Frames = np.ndarray[Any, np.dtype[np.uint8]]
"""uint8 (H, W, 3), or (T, H, W, 3) for several."""
Format = Literal["mp4", "gif", "webm", "png"]

FIRST_FRAME = "000000.png"
GIF_RATE_LIMIT = 50  # browsers slow frames shorter than 2/100 s down to 10 a second
CRF = {"mp4": (18, 51), "webm": (20, 63)}  # default and largest; both give about 41 dB on 128 px clips
BT709 = "setparams=color_primaries=bt709:color_trc=bt709,scale=out_color_matrix=bt709:out_range=tv"
EXACT = "flags=bicubic+accurate_rnd+full_chroma_int"
# Measured on 48 frames of 128x128 on two cores: medium 0.07 s, slow 0.09 s for 3 % fewer bytes.
H264 = ("-c:v", "libx264", "-preset", "medium", "-movflags", "+faststart")
# realtime is twice as fast as good at the same quality, for a tenth more bytes.
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "5", "-row-mt", "1", "-b:v", "0")
PALETTE = "[0]palettegen=stats_mode=diff[p];[1][p]paletteuse=dither=floyd_steinberg:diff_mode=rectangle"
KNOWN_FAILURES = {
    "No space left on device": "the disk is full",
    "Permission denied": "no permission",
    "Unknown encoder": "this ffmpeg program lacks the encoder",
}


def reason(error: Exception) -> str:
    """What an error of PyAV or of the system says, without its number."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def explain(lines: list[str], status: int) -> str:
    """One phrase for a failed run of ffmpeg, from the end of its log and its exit status."""
    log = "\n".join(lines)
    known = next((meaning for phrase, meaning in KNOWN_FAILURES.items() if phrase in log), None)
    if known:
        return known
    plain = [re.sub(r"^(\[[^]]*\] ?)+", "", line).strip() for line in lines]
    said = next((line for line in plain if line), "")
    how = f"ffmpeg was stopped by signal {-status}" if status < 0 else f"ffmpeg failed with status {status}"
    return f"{how}: {said[:200]}" if said else how


def ffmpeg_program() -> str:
    """Path of the ffmpeg program; MediaError when there is none."""
    import imageio_ffmpeg

    try:
        return cast(str, imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise MediaError("no ffmpeg program found: reinstall imageio-ffmpeg, or set IMAGEIO_FFMPEG_EXE") from error


class Ffmpeg:
    """One run of the ffmpeg program, fed through its standard input.

    It is in a session of its own, so that Ctrl-C reaches only us, who then stop it; if we are killed,
    its input ends and it ends too.
    """

    def __init__(self, arguments: list[str], path: Path) -> None:
        self._path = path
        self._log: deque[str] = deque(maxlen=20)
        self._process = subprocess.Popen(
            [ffmpeg_program(), "-hide_banner", "-nostdin", "-loglevel", "error", "-y", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._reader = Thread(target=self._read_log, daemon=True)  # reads at once: a full pipe would block ffmpeg
        self._reader.start()

    @property
    def _input(self) -> IO[bytes]:
        return cast(IO[bytes], self._process.stdin)

    def _read_log(self) -> None:
        with cast(IO[bytes], self._process.stderr) as stderr:
            while line := stderr.readline(4096):
                self._log.append(line.decode("utf-8", "replace").rstrip())

    def write(self, frames: Frames) -> None:
        try:
            self._input.write(frames.data)
        except BrokenPipeError:
            self.finish()
            raise MediaError(f"{self._path}: cannot be written (ffmpeg ended early)") from None

    def finish(self) -> None:
        """End the input and wait for the program; MediaError when it failed."""
        with contextlib.suppress(BrokenPipeError):
            self._input.close()
        status = self._process.wait()
        self._reader.join()
        if status:
            raise MediaError(f"{self._path}: cannot be written ({explain(list(self._log), status)})")

    def stop(self) -> None:
        """Kill the program if it still runs, and free its pipes."""
        self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._input.close()
        self._process.wait()
        self._reader.join()


def _beside(path: Path, ending: str = ".part") -> Path:
    return path.with_name(path.name + ending)


def _raw(size: tuple[int, int], rate: Fraction, source: str) -> list[str]:
    height, width = size
    options = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}"]
    return [*options, "-framerate", str(rate), "-i", source]


def _codec(kind: Format, size: tuple[int, int], crf: int, threads: int | None = None) -> list[str]:
    """Codec arguments. H.264 halves colour only at even sizes; VP9 does at any size."""
    odd = size[0] % 2 or size[1] % 2
    pixels = "yuv444p" if kind == "mp4" and odd else "yuv420p"
    exact = ["-fflags", "+bitexact", "-flags:v", "+bitexact"]  # no random identifiers: same frames, same file
    colour = ["-vf", f"{BT709}:{EXACT},format={pixels}"]
    limit = [] if threads is None else ["-threads", str(threads)]
    return [*colour, *(H264 if kind == "mp4" else VP9), "-crf", str(crf), *limit, *exact, "-f", kind]


class _Sink(Protocol):
    def write(self, frames: Frames) -> None: ...

    def finish(self) -> Path:
        """Put the complete output in its place and return where that is."""

    def discard(self) -> None:
        """Remove everything temporary; harmless after `finish`."""


class _VideoSink:
    """mp4 and webm: frames go straight to ffmpeg."""

    def __init__(self, path: Path, source: list[str], codec: list[str], tags: Mapping[str, str]) -> None:
        self._path, self._part = path, _beside(path)
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


class _GifSink:
    """Gif: frames are kept on disk, because the palette of 256 colours is chosen from all of them."""

    def __init__(self, path: Path, size: tuple[int, int], rate: Fraction, tags: Mapping[str, str]) -> None:
        self._path, self._part = path, _beside(path)
        self._raw, self._plain = _beside(path, ".part.rgb"), _beside(path, ".part.gif")
        self._tags = tags
        source = _raw(size, rate, f"file:{self._raw}")
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


class _PngSink:
    """Png: a folder 000000.png, 000001.png, ...; or one file, for one frame and a name that ends in .png."""

    def __init__(self, path: Path, rate: Fraction, tags: Mapping[str, str]) -> None:
        self._path, self._part = path, _beside(path)
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


def _gif_header_size(data: bytes) -> int:
    """Bytes before the first frame: header, global palette, and the block that makes the gif loop."""
    end = 13 + (3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    return end + 19 if data[end : end + 14] == b"\x21\xff\x0bNETSCAPE2.0" else end


def add_gif_comment(source: Path, target: Path, comment: str) -> None:
    """Copy a gif with `comment` put before its first frame, as a comment block (none if it is empty)."""
    text = comment.encode()
    parts = [text[i : i + 255] for i in range(0, len(text), 255)]  # a sub-block is its length and up to 255 bytes
    block = b"\x21\xfe" + b"".join(bytes([len(part)]) + part for part in parts) + b"\x00" if parts else b""
    with source.open("rb") as old, target.open("wb") as new:
        size = _gif_header_size(old.read(1024))
        old.seek(0)
        new.write(old.read(size) + block)
        shutil.copyfileobj(old, new)


@contextlib.contextmanager
def _system_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MediaError(f"{path}: cannot be written ({reason(error)})") from error


def _comment(metadata: Mapping[str, Any] | None) -> dict[str, str]:
    """The tag that carries provenance in every format: JSON with one key "hvg"."""
    return {"comment": json.dumps({"hvg": dict(metadata)})} if metadata else {}


def format_of(path: Path) -> Format:
    """The format that a file name asks for by its suffix; UsageError when it has none that is known."""
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in get_args(Format):
        raise UsageError(f"{path}: its name must end in .mp4, .gif, .webm or .png, or --format must be given")
    return cast(Format, suffix)


def _crf(kind: Format, crf: int | None) -> int:
    if kind not in CRF:
        if crf is not None:
            raise UsageError(f"--crf {crf} has no meaning for {kind}: it is for mp4 and webm")
        return 0
    default, largest = CRF[kind]
    if crf is not None and not 0 <= crf <= largest:
        raise UsageError(f"--crf {crf} must be 0..{largest} for {kind}")
    return default if crf is None else crf


class VideoWriter:
    """Writes a generated clip frame by frame; use it in a `with` block.

    The file appears complete under its name when the block ends, and not at all when it is left by an
    exception, Ctrl-C included. An existing file of that name is then replaced. Memory does not grow
    with length. The parent folder is made if need be.

    - mp4: H.264, colour by BT.709, limited range, ready to stream. yuv420p, which plays everywhere; for an
      odd width or height yuv444p, because yuv420p cannot hold it: exact, but not every player shows it.
    - webm: VP9, yuv420p at any size, same colours.
    - gif: one palette for the clip, endless loop. Times are in 1/100 s: a rate that does not divide 100 is
      kept on average. At most 50 frames per second.
    - png: a folder of 000000.png, 000001.png, ... named as `path` without ".png"; with exactly one frame and
      a `path` that ends in ".png", that file. The rate is in the text chunk "rate".

    Args:
        path: where to write.
        size: (height, width) of the frames in pixels, kept exactly.
        rate: frames per second, kept exactly but for gif.
        format: None to go by the suffix of `path`.
        crf: constant rate factor, lower is better; default 18 for mp4 (0..51), 20 for webm (0..63).
        metadata: provenance, JSON values; read back by `provenance`. None or empty leaves it out.
        threads: of the encoder of mp4 and webm; None for as many as it likes. The bytes depend on it.

    Attributes:
        path: the file, and after a `with` block that wrote several PNG frames their folder.

    Raises:
        UsageError: an unknown suffix, a crf or rate out of range.
        OutputExistsError: the folder for PNG frames holds other files.
        MediaError: the output cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        size: tuple[int, int],
        rate: Fraction,
        format: Format | None = None,
        crf: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        threads: int | None = None,
    ) -> None:
        self.path = path
        self.format: Format = format or format_of(path)
        self.size, self.rate = size, Fraction(rate)
        self._crf, self._tags, self._threads = _crf(self.format, crf), _comment(metadata), threads
        self._sink: _Sink | None = None
        self._written = 0
        if self.rate <= 0 or (self.format == "gif" and self.rate > GIF_RATE_LIMIT):
            limit = f" and at most {GIF_RATE_LIMIT} for gif" if self.format == "gif" else ""
            raise UsageError(f"{self.rate} frames per second must be above 0{limit}")

    def _open(self) -> _Sink:
        if self.format == "png":
            return _PngSink(self.path, self.rate, self._tags)
        if self.path.is_dir():
            raise MediaError(f"{self.path}: is a folder: name a file")
        if self.format == "gif":
            return _GifSink(self.path, self.size, self.rate, self._tags)
        source, codec = _raw(self.size, self.rate, "pipe:0"), _codec(self.format, self.size, self._crf, self._threads)
        return _VideoSink(self.path, source, codec, self._tags)

    def __enter__(self) -> Self:
        with _system_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._sink = self._open()
        return self

    def write(self, frames: Frames) -> None:
        """Append frames, uint8 (n, H, W, 3) RGB of the writer's size; n may differ from call to call."""
        if self._sink is None:
            raise ValueError("VideoWriter.write outside of its with block")
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != (*self.size, 3):
            expected = f"uint8 (n, {self.size[0]}, {self.size[1]}, 3)"
            raise ValueError(f"frames are {frames.dtype} {frames.shape}, not {expected}")
        if len(frames):
            with _system_errors(self.path):
                self._sink.write(np.ascontiguousarray(frames))
        self._written += len(frames)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        sink, self._sink = cast(_Sink, self._sink), None
        try:
            if kind is None:
                self._finish(sink)
        finally:
            sink.discard()

    def _finish(self, sink: _Sink) -> None:
        if not self._written:
            raise MediaError(f"{self.path}: no frames were written to it")
        with _system_errors(self.path):
            self.path = sink.finish()


def save_png(file: Path, image: Frames, tags: Mapping[str, str]) -> None:
    """Write a PNG with `tags` as text chunks."""
    from PIL import Image, PngImagePlugin

    chunks = PngImagePlugin.PngInfo()
    for key, value in tags.items():
        chunks.add_text(key, value)
    Image.fromarray(image).save(file, format="PNG", pnginfo=chunks, compress_level=4)


def write_image(path: Path, image: Frames, metadata: Mapping[str, Any] | None = None) -> None:
    """Write uint8 (H, W, 3) RGB as a PNG: whole or not at all. An existing file is replaced.

    Args:
        metadata: provenance, JSON values; read back by `provenance`.

    Raises:
        MediaError: the file cannot be written.
    """
    part = _beside(path)
    with _system_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_png(part, image, _comment(metadata))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
