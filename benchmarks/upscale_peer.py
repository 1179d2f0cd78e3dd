"""What `hvg upscale` is compared with: ffmpeg's lanczos and motion compensation, and plain interpolation."""

from __future__ import annotations

import subprocess

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from upscale_factors import Factors

from hvgcli.sampling.grounding import GroundedStream, Grounding
from hvgcli.sampling.upscale import Images, from_pixels, to_pixels
from hvgcli.video.ffmpeg import ffmpeg_program

PADDED = 3
"""Frames repeated before and after a clip: minterpolate looks two frames ahead, and drops the last ones otherwise."""
RATE = 25
"""Frames per second that ffmpeg is told; only the ratio to those after it counts."""


def _lanczos(times: Factors) -> list[str]:
    return [f"scale=iw*{times.space}:ih*{times.space}:flags=lanczos"]


def _moving(times: Factors) -> list[str]:
    """The filter that makes the frames between; none where there are none.

    The detection of cuts is off: the repeated frames would look like one.
    """
    return [f"minterpolate=fps={times.time * RATE}:scd=none"] if times.time > 1 else []


def _ffmpeg(frames: Images, filters: list[str], times: Factors) -> Images:
    """Frames uint8 (T, H, W, 3) through filters that enlarge them s and t times -> (tT, sH, sW, 3).

    Frame ti is input i; after the last one it repeats. Planes are 4:4:4, so that no colour is lost.
    """
    count, height, width, _ = frames.shape
    pad = f"tpad=start={PADDED}:stop={PADDED}:start_mode=clone:stop_mode=clone"
    command = [ffmpeg_program(), "-hide_banner", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += [
        "-s",
        f"{width}x{height}",
        "-r",
        str(RATE),
        "-i",
        "-",
        "-vf",
        ",".join(("format=yuv444p", pad, *filters)),
    ]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, check=True, input=frames.tobytes(), stdout=subprocess.PIPE)
    made = torch.frombuffer(bytearray(done.stdout), dtype=torch.uint8)
    made = made.view(-1, times.space * height, times.space * width, 3)
    return made[times.time * PADDED : times.time * (PADDED + count)].numpy()


def lanczos(low: Images, times: Factors, *, enlarge_first: bool = True) -> Images:
    """Frames uint8 (T, H, W, 3) -> (tT, sH, sW, 3), by ffmpeg's scale=lanczos and minterpolate, nothing encoded.

    enlarge_first: motion is sought in the enlarged frames; otherwise in the input, which is faster.
    """
    parts = (_lanczos(times), _moving(times))
    return _ffmpeg(low, [name for part in (parts if enlarge_first else parts[::-1]) for name in part], times)


def minterpolate_between(made: Images, times: Factors) -> Images:
    """An enlarged clip (tT, H, W, 3) whose frames with an input stay, and those between are ffmpeg's, of them."""
    result = _ffmpeg(np.ascontiguousarray(made[:: times.time]), _moving(times), Factors(1, times.time)).copy()
    result[:: times.time] = made[:: times.time]
    return result


def bilinear(low: Images, times: Factors) -> Images:
    """Frames uint8 (T, H, W, 3) -> (tT, sH, sW, 3): bilinear, and mixtures of two neighbours between them."""
    frames = from_pixels(low, torch.device("cpu"))
    fine = F.interpolate(frames, scale_factor=float(times.space), mode="bilinear", align_corners=False)
    following = torch.cat((fine[1:], fine[-1:]))
    shares = [step / times.time for step in range(times.time)]
    mixed = [(1 - share) * fine + share * following for share in shares]
    return to_pixels(torch.stack(mixed, dim=1).flatten(0, 1), low.dtype)


def grounded(made: Images, low: Images, times: Factors) -> Images:
    """Any enlarged clip (tT, sH, sW, 3), corrected as `hvg upscale` corrects its own."""
    device = torch.device("cpu")
    stream = GroundedStream(Grounding((low.shape[1], low.shape[2]), times.space, device), times.time)
    parts: list[Tensor] = [stream.push(from_pixels(made, device), from_pixels(low, device)), stream.finish()]
    return to_pixels(torch.cat(parts), low.dtype)
