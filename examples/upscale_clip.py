"""Draws a small clip, enlarges it, and lays both side by side: `python examples/upscale_clip.py FOLDER`.

FOLDER gets `small.mp4`, `large.mp4` and `before_after.png`: input frames as they are (nearest neighbour) and by
lanczos, ours, and what was drawn in the first place. Where the level makes frames between, the second row is one of
them: there the input still shows the frame before.
"""

import argparse
import math
from fractions import Fraction
from pathlib import Path

from hvgcli.runtime import choose_device, tune_allocator

tune_allocator()  # before torch is imported: video tensors are large

import numpy as np  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402

from hvgcli.data.pyramid import downsample_space, subsample_time  # noqa: E402
from hvgcli.hub import resolve  # noqa: E402
from hvgcli.sampling.hierarchy import load_level  # noqa: E402
from hvgcli.sampling.upscale import Enlarger, from_pixels, to_pixels  # noqa: E402
from hvgcli.video import Frames, VideoWriter, tile, write_image  # noqa: E402

HEIGHT, WIDTH = 48, 64  # of the small clip
FRAMES, RATE = 36, Fraction(12)
FINE = 4  # drawn that much larger than wanted, and averaged: edges without steps
SKY, SUN, SAIL, HILL, MILL = (70, 120, 200), (255, 214, 110), (235, 90, 70), (52, 104, 66), (238, 232, 220)
CAPTION = 18  # pixels of height


# ---- the clip -------------------------------------------------------------------------------------


def drawn(height: int, width: int, frames: int) -> Frames:
    """A windmill above the sea, uint8 (frames, height, width, 3)."""
    pictures = [_picture(height * FINE, width * FINE, number / frames) for number in range(frames)]
    return np.stack([np.asarray(picture.resize((width, height), Image.Resampling.BOX)) for picture in pictures])


def _picture(height: int, width: int, time: float) -> Image.Image:
    """The scene at `time`, 0..1."""
    row, column = np.mgrid[0:height, 0:width] / height
    sky = np.array(SKY) + row[..., None] * np.array([150, 90, 20])
    wave = np.sin(34 * row + 5 * np.sin(7 * column + 9 * time) - 24 * time) * (row - 0.6)
    sea = np.array([28, 84, 120]) + 160 * wave[..., None] + 40 * column[..., None]
    ground = np.where(row[..., None] < 0.68, sky, sea)
    picture = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    _disc(draw, height, (0.85 - 0.1 * time, 0.22), 0.09, SUN)
    boat = 0.72 + 0.4 * time
    _shape(draw, height, SAIL, [(boat, 0.42), (boat, 0.66), (boat + 0.15, 0.66)])
    _shape(draw, height, (90, 50, 40), [(boat - 0.08, 0.68), (boat + 0.18, 0.68), (boat + 0.13, 0.74), (boat, 0.74)])
    _shape(draw, height, HILL, [(-0.1, 0.86), (0.12, 0.62), (0.42, 0.62), (0.7, 1.1), (-0.1, 1.1)])
    _shape(draw, height, MILL, [(0.24, 0.66), (0.27, 0.32), (0.35, 0.32), (0.38, 0.66)])
    for blade in range(4):
        _blade(draw, height, (0.31, 0.34), 2 * math.pi * (blade / 4 + 0.75 * time))
    return picture


def _shape(
    draw: ImageDraw.ImageDraw, scale: int, colour: tuple[int, int, int], points: list[tuple[float, float]]
) -> None:
    """A polygon; places are in units of the picture's height."""
    draw.polygon([(scale * x, scale * y) for x, y in points], fill=colour)


def _disc(
    draw: ImageDraw.ImageDraw, scale: int, centre: tuple[float, float], radius: float, colour: tuple[int, int, int]
) -> None:
    left, top = (scale * (place - radius) for place in centre)
    draw.ellipse((left, top, left + 2 * scale * radius, top + 2 * scale * radius), fill=colour)


def _blade(draw: ImageDraw.ImageDraw, scale: int, hub: tuple[float, float], angle: float) -> None:
    along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    corners = [0.02 * along, 0.28 * along, 0.28 * along + 0.07 * across, 0.06 * along + 0.05 * across]
    _shape(draw, scale, (120, 40, 50), [tuple(np.array(hub) + corner) for corner in corners])


# ---- enlarging ------------------------------------------------------------------------------------


def reduce(clip: Frames, times_space: int, times_time: int) -> Frames:
    """f_t and f_s: every `times_time`-th frame, smaller by `times_space`, antialiased."""
    video = subsample_time(from_pixels(clip, choose_device("cpu"))[None], times_time)
    height, width = (side // times_space for side in clip.shape[1:3])
    return to_pixels(downsample_space(video, (height, width))[0], clip.dtype)


def save(path: Path, clip: Frames, rate: Fraction) -> None:
    with VideoWriter(path, size=clip.shape[1:3], rate=rate) as writer:
        writer.write(clip)


# ---- the sheet ------------------------------------------------------------------------------------


def lanczos(frame: Frames, size: tuple[int, int]) -> Frames:
    return np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.LANCZOS))


def sheet(small: Frames, large: Frames, truth: Frames, moments: list[int]) -> Frames:
    """One row a moment (numbers of enlarged frames): the input twice, ours, the truth, under their names."""
    times_time, size = len(large) // len(small), large.shape[1:3]
    times_space = size[0] // small.shape[1]
    cells = []
    for moment in moments:
        shown = small[moment // times_time]
        nearest = shown.repeat(times_space, axis=0).repeat(times_space, axis=1)
        cells += [nearest, lanczos(shown, size), large[moment], truth[moment]]
    body = tile(np.stack(cells), columns=4)
    height, width = small.shape[1:3]
    names = (f"input, {width}x{height}", "lanczos", f"hvg upscale, {size[1]}x{size[0]}", "as it was drawn")
    return np.concatenate([_captions(names, size[1], body.shape[1]), body])


def _captions(names: tuple[str, ...], each: int, width: int) -> Frames:
    picture = Image.new("RGB", (width, CAPTION), "white")
    draw = ImageDraw.Draw(picture)
    for number, name in enumerate(names):
        draw.text((number * (each + 2) + 4, 2), name, fill="black", font=ImageFont.load_default(12))
    return np.asarray(picture)


def main(folder: Path, model: str) -> None:
    level = load_level(resolve(model), device=choose_device("auto"))
    enlarger = Enlarger(level)
    space, time = enlarger.times_space, enlarger.times_time
    truth = drawn(HEIGHT * space, WIDTH * space, FRAMES * time)
    small = reduce(truth, space, time)

    # Frames arrive as they are finished, so a clip can be of any length.
    large = np.concatenate([made.images for made in enlarger.enlarge(small, range(FRAMES), FRAMES)])

    folder.mkdir(parents=True, exist_ok=True)
    save(folder / "small.mp4", small, RATE)
    save(folder / "large.mp4", large, RATE * time)
    moments = [4 * time, 14 * time + time // 2, 30 * time]
    write_image(folder / "before_after.png", sheet(small, large, truth, moments))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--model", default="hvg-mini", help="name or folder of a model")
    options = parser.parse_args()
    main(options.folder, options.model)
