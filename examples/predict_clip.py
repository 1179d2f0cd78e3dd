"""Makes the picture of the README's section on continuing a clip: the truth and three continuations, frame by frame.

    python examples/predict_clip.py CLIP [--model trivd-gan-fp-mini] [--at SECONDS] [--out predict.png]

Green borders mark frames of the clip, red ones those that were made.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

COLUMNS = 6  # frames of each row, from the last known one to the last new one
GAP = 2  # pixels between the cells of the grid


def frames_of(options: argparse.Namespace, folder: Path) -> list[np.ndarray]:
    """The frames of `hvg predict --compare` with the truth and three continuations in a grid of 2x2."""
    command = [sys.executable, "-m", "hvgcli", "predict", options.clip, "--model", options.model, "--compare"]
    command += ["--num", "3", "--seed", "1", "--grid", "--format", "png", "--quiet", "-o", str(folder / "frames")]
    subprocess.run(command + (["--at", options.at] if options.at else []), check=True, stdout=subprocess.DEVNULL)
    paths = sorted((folder / "frames").glob("*.png"))
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths]


def sheet(frames: list[np.ndarray], known: int) -> np.ndarray:
    """One row a video, one column a moment."""
    moments = np.linspace(known - 1, len(frames) - 1, COLUMNS).round().astype(int)
    height, width = ((side - GAP) // 2 for side in frames[0].shape[:2])
    columns = []
    for moment in moments:
        frame = frames[moment]
        columns.append(
            np.concatenate([frame[y:, x:][:height, :width] for y in (0, height + GAP) for x in (0, width + GAP)])
        )
    return np.concatenate(columns, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip")
    parser.add_argument("--model", default="trivd-gan-fp-mini")
    parser.add_argument("--at", help="seconds at which the continuation begins")
    parser.add_argument("--known", type=int, default=5, help="frames of the model's context")
    parser.add_argument("--out", type=Path, default=Path("predict.png"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        picture = sheet(frames_of(options, Path(folder)), options.known)
    size = (2 * picture.shape[1], 2 * picture.shape[0])
    Image.fromarray(picture).resize(size, Image.Resampling.NEAREST).save(options.out)
    print(options.out)


if __name__ == "__main__":
    main()
