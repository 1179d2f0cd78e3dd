"""Makes the files that `examine` is tested with: by the ffmpeg program, and packet by packet."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from patterns import moving_pattern

from hvgcli.video.ffmpeg import ffmpeg_program
from hvgcli.video.footage import Footage, TimedFrame, timed_frames


def run_ffmpeg(*arguments: str) -> None:
    subprocess.run([ffmpeg_program(), "-loglevel", "error", "-y", *arguments], check=True)


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


def read(footage: Footage, start: int = 0, stop: int | None = None) -> list[TimedFrame]:
    return list(timed_frames(footage, start, stop))


def images(footage: Footage) -> np.ndarray:
    return np.stack([frame.image for frame in timed_frames(footage)])


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9)))


def pattern(frames: int = 12, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return moving_pattern(frames, size)
