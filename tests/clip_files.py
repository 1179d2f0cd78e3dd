"""Files for tests of videos, made by the ffmpeg program and packet by packet, and what is read back of files."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from patterns import moving_pattern

from hvgcli.video.encoding import Encoding
from hvgcli.video.ffmpeg import ffmpeg_program
from hvgcli.video.footage import Footage, TimedFrame, timed_frames
from hvgcli.video.segments import SegmentWriter, segment_name

CHAPTERS = """;FFMETADATA1
title=My clip
artist=Somebody
comment=hello
[CHAPTER]
TIMEBASE=1/1000
START=0
END=400
title=One
[CHAPTER]
TIMEBASE=1/1000
START=400
END=1000
title=Two
"""
SUBTITLES = "1\n00:00:00,200 --> 00:00:00,600\nHallo\n\n2\n00:00:00,700 --> 00:00:00,900\nWelt\n"
CODECS = {  # of video, sound, subtitles
    "mp4": ("libx264", "aac", "mov_text"),
    "mov": ("libx264", "aac", "mov_text"),
    "mkv": ("libx264", "aac", "subrip"),
    "webm": ("libvpx-vp9", "libopus", "webvtt"),
}


def ffmpeg(*arguments: str) -> str:
    """Run the program; what it says of warnings and errors."""
    command = [ffmpeg_program(), "-hide_banner", "-nostdin", "-loglevel", "warning", "-y", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def complaints(path: Path) -> str:
    """What ffmpeg finds wrong when it plays all streams of a file."""
    exact = ["-fps_mode", "passthrough", "-enc_time_base:v", "demux"]  # as it is, not at an even rate
    return ffmpeg("-i", str(path), "-map", "0:v", "-map", "0:a?", *exact, "-f", "null", "-")


def encode(path: Path, frames: np.ndarray, *options: str, rate: str = "25", inputs: Sequence[str] = ()) -> Path:
    """Frames, uint8 (T, H, W, 3), by the ffmpeg program; `inputs` are further inputs."""
    size = f"{frames.shape[2]}x{frames.shape[1]}"
    raw = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", size, "-framerate", rate, "-i", "pipe:0"]
    command = [ffmpeg_program(), "-loglevel", "error", "-y", *raw, *inputs, "-threads", "1", *options, str(path)]
    subprocess.run(command, input=frames.tobytes(), check=True)
    return path


def lossless(path: Path, frames: np.ndarray, pts: Sequence[int], base: Fraction = Fraction(1, 1000)) -> Path:
    """Frames with those times, each exact to the pixel, as mkv or mov."""
    codec, form = ("ffv1", "bgr0") if path.suffix == ".mkv" else ("png", "rgb24")  # ffv1 cannot be 1 pixel wide
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25, width=frames.shape[2], height=frames.shape[1], pix_fmt=form)
        stream.codec_context.time_base = stream.time_base = base
        for image, time in zip(frames, pts, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, base
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def rich_source(folder: Path, kind: str) -> Path:
    """One second of 64x48 at 24000/1001, two languages of sound, subtitles, two chapters, tags."""
    path, (video, sound, subtitles) = folder / f"source.{kind}", CODECS[kind]
    (folder / "chapters.txt").write_text(CHAPTERS)
    (folder / "subtitles.srt").write_text(SUBTITLES)
    inputs = [("lavfi", "testsrc=s=64x48:r=24000/1001:d=1"), ("lavfi", "sine=440:d=1"), ("lavfi", "sine=880:d=1")]
    given = [word for form, name in inputs for word in ("-f", form, "-i", name)]
    given += ["-i", str(folder / "subtitles.srt"), "-i", str(folder / "chapters.txt")]
    chosen = ["-map", "0", "-map", "1", "-map", "2", "-map", "3", "-map_metadata", "4", "-map_chapters", "4"]
    codecs = ["-c:v", video, "-deadline", "realtime"] if kind == "webm" else ["-c:v", video]
    codecs += ["-c:a", sound, "-c:s", subtitles, "-pix_fmt", "yuv420p"]
    tongues = ["-metadata:s:a:0", "language=deu", "-metadata:s:a:1", "language=fra", "-metadata:s:s:0", "language=eng"]
    ffmpeg(*given, *chosen, *codecs, *tongues, str(path))
    return path


def write_segments(
    folder: Path,
    encoding: Encoding,
    frames: np.ndarray,
    times: Sequence[Fraction],
    *,
    every: int = 8,
    alpha: np.ndarray | None = None,
    last: Fraction = Fraction(1, 25),
) -> list[Path]:
    """Write frames shown at `times`, `every` to a segment; the last is shown for `last` seconds."""
    folder.mkdir(exist_ok=True)
    ends = [*times[1:], times[-1] + last]
    paths = []
    for first in range(0, len(times), every):
        paths.append(folder / segment_name(first // every, encoding))
        with SegmentWriter(paths[-1], encoding) as writer:
            for n in range(first, min(first + every, len(times))):
                writer.write(frames[n], times[n], ends[n] - times[n], None if alpha is None else alpha[n])
    return paths


def frame_times(path: Path) -> list[Fraction]:
    """When each frame of a file is shown."""
    with av.open(str(path)) as container:
        return [frame.pts * Fraction(frame.time_base) for frame in container.decode(video=0)]


def decoded_planes(path: Path) -> list[np.ndarray]:
    """All frames as they are coded, without any conversion."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


def stream_packets(path: Path, number: int) -> list[tuple[Fraction, bytes]]:
    """Times and bytes of all packets of a stream."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams[number]) if packet.size]
        return [(packet.pts * Fraction(packet.time_base), bytes(packet)) for packet in packets]


def read(footage: Footage, start: int = 0, stop: int | None = None) -> list[TimedFrame]:
    return list(timed_frames(footage, start, stop))


def images(footage: Footage) -> np.ndarray:
    return np.stack([frame.image for frame in timed_frames(footage)])


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9)))


def pattern(frames: int = 12, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return moving_pattern(frames, size)
