"""Runs of the ffmpeg program that imageio-ffmpeg brings."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections import deque
from pathlib import Path
from threading import Thread
from typing import IO, cast

from hvgcli.errors import MediaError
from hvgcli.video.pictures import Frames

KNOWN_FAILURES = {
    "No space left on device": "the disk is full",
    "Permission denied": "no permission",
    "Unknown encoder": "this ffmpeg program lacks the encoder",
}


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
