"""Videos from Python, without the command line: `python examples/generate_from_python.py out.mp4`."""

import sys
from pathlib import Path

from hvgcli.runtime import choose_device, choose_half, tune_allocator

tune_allocator()  # before torch is imported: video tensors are large

from hvgcli.hub import resolve  # noqa: E402
from hvgcli.sampling.hierarchy import Sample, generate, load  # noqa: E402
from hvgcli.video import VideoWriter  # noqa: E402


def main(path: Path) -> None:
    model = load(resolve("hvg-mini"), device=choose_device("auto"))
    model.half = choose_half("auto", model.device, model.levels)
    label = model.config.class_names().index("skydiving")
    size = (model.config.resolution, model.config.resolution)
    with VideoWriter(path, size=size, rate=model.config.rate()) as writer:
        # Pieces (1, n, 3, 128, 128) in [-1, 1] arrive as they are finished, so a video can be of any length.
        for piece in generate(model, [Sample(seed=7, label=label)], 96, sigma=0.5):
            frames = piece[0].clamp(-1, 1).add(1).mul(127.5).round().byte().permute(0, 2, 3, 1)
            writer.write(frames.cpu().numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
