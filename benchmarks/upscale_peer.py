"""What `hvg upscale` is compared with: ffmpeg's lanczos and motion compensation, and plain interpolation."""

from __future__ import annotations

import subprocess

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hvgcli.sampling.grounding import GroundedStream, Grounding
from hvgcli.sampling.upscale import Images, from_pixels, to_pixels
from hvgcli.video.ffmpeg import ffmpeg_program

PADDED = 3
"""Frames repeated before and after a clip: minterpolate looks two frames ahead, and drops the last ones otherwise."""
MOVING = "minterpolate=fps=50:scd=none"
"""The detection of cuts is off: the repeated frames would look like one."""


def _ffmpeg(frames: Images, filters: list[str], times_space: int) -> Images:
    """Frames uint8 (T, H, W, 3) through filters that enlarge them and double their rate -> (2T, kH, kW, 3).

    Frame 2i is input i; the last frame has no successor and repeats it. Planes are 4:4:4, so that no colour is lost.
    """
    count, height, width, _ = frames.shape
    pad = f"tpad=start={PADDED}:stop={PADDED}:start_mode=clone:stop_mode=clone"
    command = [ffmpeg_program(), "-hide_banner", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{width}x{height}", "-r", "25", "-i", "-", "-vf", ",".join(("format=yuv444p", pad, *filters))]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, check=True, input=frames.tobytes(), stdout=subprocess.PIPE)
    made = torch.frombuffer(bytearray(done.stdout), dtype=torch.uint8)
    return made.view(-1, times_space * height, times_space * width, 3)[2 * PADDED : 2 * (PADDED + count)].numpy()


def lanczos_minterpolate(low: Images, *, enlarge_first: bool = True) -> Images:
    """Frames uint8 (T, H, W, 3) -> (2T, 4H, 4W, 3), by ffmpeg's scale=lanczos and minterpolate, nothing encoded.

    enlarge_first: motion is sought in the enlarged frames; otherwise in the input, which is faster.
    """
    scale = "scale=iw*4:ih*4:flags=lanczos"
    return _ffmpeg(low, [scale, MOVING] if enlarge_first else [MOVING, scale], 4)


def minterpolate_between(made: Images) -> Images:
    """An enlarged clip (2T, H, W, 3) whose frames with an input stay, and those between are ffmpeg's, of them."""
    result = made.copy()
    result[1::2] = _ffmpeg(np.ascontiguousarray(made[::2]), [MOVING], 1)[1::2]
    return result


def bilinear_linear(low: Images) -> Images:
    """Frames uint8 (T, H, W, 3) -> (2T, 4H, 4W, 3): bilinear, and the mean of two neighbours between them."""
    fine = F.interpolate(from_pixels(low, torch.device("cpu")), scale_factor=4.0, mode="bilinear", align_corners=False)
    following = torch.cat((fine[1:], fine[-1:]))
    both = torch.stack((fine, (fine + following) / 2), dim=1).flatten(0, 1)
    return to_pixels(both, low.dtype)


def grounded(made: Images, low: Images) -> Images:
    """Any enlarged clip (2T, 4H, 4W, 3), corrected as `hvg upscale` corrects its own."""
    device = torch.device("cpu")
    stream = GroundedStream(Grounding((low.shape[1], low.shape[2]), made.shape[1] // low.shape[1], device), 2)
    parts: list[Tensor] = [stream.push(from_pixels(made, device), from_pixels(low, device)), stream.finish()]
    return to_pixels(torch.cat(parts), low.dtype)
