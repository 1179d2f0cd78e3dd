"""Clips of segments for tests, and sources made by the ffmpeg program with sound, subtitles and chapters."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from hvgcli.video.encoding import Encoding
from hvgcli.video.ffmpeg import ffmpeg_program
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
