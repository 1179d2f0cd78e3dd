"""`hvg evaluate`: numbers of a model, or of any two folders of videos, with the protocol that they were taken by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from hvgcli.cli.options import AsJson, Debug, DryRun, NoProgress, Quiet, complete_model, examples, option
from hvgcli.cli.output import make_output

VIDEOS, NUMBERS, FILES, HARDWARE = "Videos", "Numbers", "Files", "Hardware"
EXAMPLES = examples(
    "hvg evaluate --model hvg-mini --data clips/val --out eval/",
    "hvg evaluate --model ./mine --data clips/val --frames 12 --features i3d --num 512",
    "hvg evaluate --fake theirs/ --real clips/val --size 64x64 --frames 16 --json",
    "hvg evaluate --model trivd-gan-fp-mini --data clips/val --best-of 1,10,100 --out eval/",
    "hvg evaluate --model trivd-gan-fp-mini --data clips/val --baseline copy",
    "hvg evaluate --model dvd-gan-mini --data clips/val --features i3d --sigma 0.25,0.5,0.75,1",
    "hvg evaluate --model mine/model --data clip.mp4 --start 2.5 --out eval/",
    "hvg evaluate --fake predicted/ --real true/ --metrics ssim,psnr --skip-first 5",
)


def evaluate(
    model: Annotated[
        str | None, option("Name or folder of a model; with --data.", panel=VIDEOS, autocompletion=complete_model)
    ] = None,
    data: Annotated[
        str | None, option("Real clips for a model: folder, shards, list or URL.", panel=VIDEOS, metavar="REAL")
    ] = None,
    fake: Annotated[
        str | None, option("Videos of anybody's model, to compare with --real.", panel=VIDEOS, metavar="DIR")
    ] = None,
    real: Annotated[str | None, option("The real videos for --fake.", panel=VIDEOS, metavar="DIR")] = None,
    num: Annotated[
        int | None,
        option("Most videos of each set; a model makes as many. Default: 2048; of one clip 50.", panel=VIDEOS),
    ] = None,
    frames: Annotated[
        int | None,
        option(
            "Frames of a video; fewer than a model's are a random window. Of a predictor: those that it adds. "
            "Default: all of a model, or those that every video has.",
            panel=VIDEOS,
        ),
    ] = None,
    stride: Annotated[
        int | None, option("Frames of the real clips a frame. Default: the model's, or 1.", panel=VIDEOS)
    ] = None,
    size: Annotated[
        str | None,
        option("WIDTHxHEIGHT, or one number. Default: the model's, or that of the videos.", panel=VIDEOS),
    ] = None,
    sampler: Annotated[
        Literal["folder", "windows"] | None,
        option("One video a file, or all windows of each. Default: windows with --model.", panel=VIDEOS),
    ] = None,
    sigma: Annotated[
        str,
        option(
            "Standard deviation of z; several like 0.5,1 give a truncation curve. Default: 1.0.",
            panel=VIDEOS,
            metavar="S,S",
        ),
    ] = "1.0",
    truncation: Annotated[
        float | None,
        option("Predictors: draw entries of z above it again; 0 is z = 0. Default: none.", panel=VIDEOS),
    ] = None,
    baseline: Annotated[
        Literal["copy", "linear"] | None,
        option("Measure this in a predictor's place: its last frame copied, or a straight line.", panel=VIDEOS),
    ] = None,
    seed: Annotated[int, option("Of the videos and of all that is drawn. Default: 0.", panel=VIDEOS)] = 0,
    start: Annotated[
        str | None,
        option("Models of one clip: where the window begins that it learned.", panel=VIDEOS, metavar="TIME"),
    ] = None,
    whole: Annotated[
        bool, option("Models of one clip: it learned the whole clip from --start on.", "--whole", panel=VIDEOS)
    ] = False,
    levels: Annotated[int | None, option("Stop at this level of the model. Default: all.", panel=VIDEOS)] = None,
    metrics: Annotated[
        str | None,
        option(
            "Of fvd,fid,is,kvd,prdc,psd,diversity,per-class (default: all that can be had); for pairs of videos by "
            "name: svfid,sifid,ssim,psnr; for predictors: ssim,psnr; for models of one clip or image: svfid or sifid, "
            "diversity,psd.",
            panel=NUMBERS,
            metavar="KINDS",
        ),
    ] = None,
    features: Annotated[
        str, option("frames (no network, default), i3d, or a TorchScript file.", panel=NUMBERS, metavar="NAME|PATH")
    ] = "frames",
    fetch: Annotated[
        bool, option("Download the i3d network (51 MB) if it is not here.", "--fetch", panel=NUMBERS)
    ] = False,
    splits: Annotated[int, option("Parts for the Inception score. Default: 10.", panel=NUMBERS)] = 10,
    best_of: Annotated[
        str | None,
        option(
            "Predictors: SSIM and PSNR of the best of so many continuations, like 1,10,100.",
            panel=NUMBERS,
            metavar="L,L",
        ),
    ] = None,
    clips: Annotated[int, option("Windows that --best-of continues. Default: 32.", panel=NUMBERS)] = 32,
    skip_first: Annotated[
        int, option("Conditioning frames that ssim and psnr leave out. Default: 0.", panel=NUMBERS)
    ] = 0,
    out: Annotated[
        Path | None, option("Folder for evaluation.json, plots and samples.", panel=FILES, metavar="DIR")
    ] = None,
    overwrite: Annotated[bool, option("Replace an evaluation in --out.", "--overwrite", panel=FILES)] = False,
    no_cache: Annotated[bool, option("Neither read nor keep features.", "--no-cache", panel=FILES)] = False,
    batch_size: Annotated[int, option("Videos computed at a time. Default: 8.", panel=HARDWARE)] = 8,
    device: Annotated[str, option("auto, cpu, cuda, cuda:INDEX or mps.", panel=HARDWARE)] = "auto",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    r"""Compare generated videos with real ones, and say by which protocol.

    Numbers carry the network that they were taken with, like FVD\[i3d-k400]: compare only equal names and protocols.
    """
    from hvgcli.runtime import tune_allocator

    tune_allocator()
    from hvgcli.cli.evaluating.request import Request, parse_best_of, parse_size
    from hvgcli.cli.evaluating.run import carry_out
    from hvgcli.cli.evaluating.single import usual_num
    from hvgcli.cli.values import parse_sigmas, parse_time
    from hvgcli.metrics.protocol import parse_metrics

    source = _one_pair(model, data, fake, real)
    request = Request(
        model=model,
        real=source,
        fake=fake,
        num=usual_num(model) if num is None else num,
        frames=frames,
        stride=stride,
        size=None if size is None else parse_size(size),
        sampler=sampler or ("folder" if model is None else "windows"),
        sigmas=tuple(sorted(parse_sigmas(sigma))),
        truncation=truncation,
        baseline=baseline,
        best_of=parse_best_of(best_of),
        clips=clips,
        seed=seed,
        levels=levels,
        start=parse_time("--start", start),
        whole=whole,
        metrics=parse_metrics(metrics),
        features=features,
        fetch=fetch,
        splits=splits,
        skip_first=skip_first,
        out=out,
        overwrite=overwrite,
        cache=not no_cache,
        batch=batch_size,
        device=device,
    )
    carry_out(request, make_output(as_json=as_json, quiet=quiet, no_progress=no_progress), dry_run=dry_run)


def _one_pair(model: str | None, data: str | None, fake: str | None, real: str | None) -> str:
    """The source of the real videos; `UsageError` unless exactly one pair of options is given in full."""
    from hvgcli.errors import UsageError

    given = [
        name
        for name, value in zip(("--model", "--data", "--fake", "--real"), (model, data, fake, real), strict=True)
        if value
    ]
    if given == ["--model", "--data"] and data:
        return data
    if given == ["--fake", "--real"] and real:
        return real
    got = ", ".join(given) if given else "neither"
    raise UsageError(f"give --model with --data, or --fake with --real: got {got}")
