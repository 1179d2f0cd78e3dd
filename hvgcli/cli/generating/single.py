"""`hvg generate` with a model of one clip or image: its options, checked, become a job that is carried out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hvgcli.cli import values
from hvgcli.cli.families import learned
from hvgcli.cli.generating.options import OF_LEVELS, OF_MOTION, Options
from hvgcli.cli.output import Output
from hvgcli.config import ModelConfig
from hvgcli.errors import UsageError

if TYPE_CHECKING:
    from hvgcli.cli.generating.single_making import SingleJob

SIGMA = 1.0  # its standing statistics are those of this one


def call(options: Options, folder: Path, config: ModelConfig, output: Output) -> None:
    """Make what `options` ask of the model in `folder`, or say what would be made."""
    job = plan(options, folder, config)

    from hvgcli.cli.generating import making, single_production

    files = options.files(job.names(), job.default_name(), job.frames, stills=job.stills)
    if options.seed is None:
        output.note(f"seed {making.seeds_text(job.seeds)}")
    work = single_production.SingleProduction(job, files, output, options.sheet, metadata=options.metadata)
    if not files.wanted:
        output.note("nothing to do: all files are there")
        return
    work.describe()
    if options.dry_run:
        work.show_plan()
    else:
        work.run(folder, options.device, options.dtype)


def plan(options: Options, folder: Path, config: ModelConfig) -> SingleJob:
    """The job that `options` ask for. Errors: those of the options, of the model and of --from."""
    check(options, config)
    size = None if options.size is None else values.parse_size(options.size)
    seeds = None if options.seed is None else values.parse_seeds(options.seed)
    frames = None if options.frames is None else values.check_frames(options.frames)
    sigma = values.check_sigma(SIGMA if options.sigma is None else options.sigma)
    rate = config.rate() if options.fps is None else values.parse_rate(options.fps)

    from hvgcli.checkpoints import model_sha  # from here on torch is needed
    from hvgcli.cli import targets
    from hvgcli.cli.generating import single_making, single_source
    from hvgcli.cli.predicting import making as predicting
    from hvgcli.hub import available
    from hvgcli.sampling.single import output_sizes

    single = config.single
    assert single is not None
    kind = targets.choose_format(options.output, options.format, stills=not single.volumetric)
    if not single.volumetric:
        single_making.still_format(config, kind, options.output)
    source = None
    if options.source is not None:
        source = single_source.find_source(config, options.source, options.at_scale, options.mask, size, frames)
    wanted = source.size if source else size or single.usual_size
    frames = source.frames if source else single.frames if frames is None else frames
    output_sizes(single, wanted, frames)  # refuses what cannot be
    return single_making.SingleJob(
        model=options.model,
        name=options.model if options.model in available() else config.name,
        config=config,
        sha=model_sha(folder),
        seeds=predicting.choose_seeds(seeds, options.num),
        frame_size=wanted,
        frames=frames,
        sigma=sigma,
        batch=options.batch,
        source=source,
        rate=rate,
        kind=kind,
        crf=options.crf,
        grid=options.grid,
    )


def check(options: Options, config: ModelConfig) -> None:
    """`UsageError` for options without meaning, and for --mask and --at-scale without --from."""
    single = config.single
    assert single is not None
    options.refuse(OF_LEVELS, f"has no meaning for {config.name}, which learned one {learned(config)}")
    if not single.volumetric:
        options.refuse(OF_MOTION, f"is for videos, and {config.name} learned an image")
    for name, value in (("--at-scale", options.at_scale), ("--mask", options.mask)):
        if value is not None and options.source is None:
            raise UsageError(f"{name} goes with --from: name a picture of yours with it")
