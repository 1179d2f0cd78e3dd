"""Makes the moving picture of the README's section on one clip: the clip, three variations, a longer and a wider one.

    python examples/single_samples.py CLIP [--model single-waterfall] [--start 1] [--fps 15] [--out single.gif]

CLIP is what the model learned, --start and --fps as it was trained. All play in a loop until the longest ends.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from hvgcli.checkpoints import read_model_config
from hvgcli.data.single import read_clip
from hvgcli.hub import resolve
from hvgcli.video import VideoWriter

GAP, TITLE = 6, 14  # pixels between the videos, and above them for their names


def to_and_fro(video: np.ndarray, frames: int) -> np.ndarray:
    """`frames` frames of a shorter video (T, H, W, 3), forwards and backwards, so that no loop shows a jump."""
    order = [*range(len(video)), *range(len(video) - 2, 0, -1)]
    return video[[order[k % len(order)] for k in range(frames)]]


def side_by_side(videos: dict[str, np.ndarray]) -> np.ndarray:
    """Videos (T, H, W, 3) of one height with their names above, as one."""
    frames = max(map(len, videos.values()))
    width = sum(video.shape[2] + GAP for video in videos.values()) - GAP
    height = next(iter(videos.values())).shape[1]
    whole = np.full((frames, TITLE + height, width, 3), 255, np.uint8)
    left = 0
    for name, video in videos.items():
        right = left + video.shape[2]
        title = Image.new("RGB", (video.shape[2], TITLE), "white")
        ImageDraw.Draw(title).text((1, 1), name, fill="black")
        whole[:, :TITLE, left:right] = np.asarray(title)
        whole[:, TITLE:, left:right] = to_and_fro(video, frames)
        left = right + GAP
    return whole


def generated(folder: Path, model: str, seed: int, *options: str) -> np.ndarray:
    """One video (T, H, W, 3) of `hvg generate`."""
    out = folder / f"seed{seed}"
    command = [sys.executable, "-m", "hvgcli", "generate", "--model", model, "--seed", str(seed), *options]
    subprocess.run([*command, "--format", "png", "--quiet", "-o", str(out)], check=True, stdout=subprocess.DEVNULL)
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in sorted(out.glob("*.png"))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--model", default="single-waterfall")
    parser.add_argument("--start", type=Fraction, default=Fraction(1))
    parser.add_argument("--fps", type=Fraction, default=Fraction(15))
    parser.add_argument("--seeds", type=int, nargs=5, default=[1, 2, 3, 4, 5], help="three, the longer and the wider")
    parser.add_argument("--out", type=Path, default=Path("single.gif"))
    options = parser.parse_args()
    config = read_model_config(resolve(options.model)).single
    assert config is not None, f"{options.model} learned many clips: choose one of hvg train-single"
    height, width, frames = config.height, config.width, config.window
    clip = read_clip(options.clip, start=options.start, window=frames, height=height, rate=options.fps)
    *seeds, longer, wider = options.seeds
    videos = {"the clip": clip.frames[0].numpy()}
    with tempfile.TemporaryDirectory() as folder:
        made = partial(generated, Path(folder), options.model)
        videos |= {f"seed {seed}": made(seed) for seed in seeds}
        videos |= {f"{3 * frames} frames": made(longer, "--frames", str(3 * frames))}
        videos |= {f"{3 * width}x{height}": made(wider, "--size", f"{3 * width}x{height}")}
    sheet = side_by_side(videos)
    with VideoWriter(options.out, size=sheet.shape[1:3], rate=options.fps, format="gif") as writer:
        writer.write(sheet)
    print(options.out)


if __name__ == "__main__":
    main()
