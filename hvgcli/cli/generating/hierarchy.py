"""`hvg generate` with a hierarchy, or with DVD-GAN: its options, checked, become a job that is carried out."""

from __future__ import annotations

from pathlib import Path

from hvgcli.cli import values
from hvgcli.cli.generating.options import OF_SINGLE, Options
from hvgcli.cli.output import Output
from hvgcli.config import ModelConfig

PIECE = 12


def call(options: Options, folder: Path, config: ModelConfig, output: Output) -> None:
    """Make what `options` ask of the model in `folder`, or say what would be made."""
    options.refuse(OF_SINGLE, f"is for models of one clip or image, and {config.name} is none")
    level = values.parse_levels(options.levels, config)
    labels = values.parse_classes(options.class_, config)
    seeds = None if options.seed is None else values.parse_seeds(options.seed)
    own_length = config.levels[0].frames * config.frame_factor(level)
    frames = values.check_frames(own_length if options.frames is None else options.frames)
    config.require_length(frames)
    sigma = values.check_sigma(config.sigma if options.sigma is None else options.sigma)
    rate = config.rate(level) if options.fps is None else values.parse_rate(options.fps)

    from hvgcli.checkpoints import model_sha  # from here on torch is needed
    from hvgcli.cli import targets
    from hvgcli.cli.generating import making, production
    from hvgcli.hub import available
    from hvgcli.sampling.render import Request
    from hvgcli.sampling.statistics import PASSES

    job = making.Job(
        model=options.model,
        name=options.model if options.model in available() else config.name,
        config=config,
        sha=model_sha(folder),
        choice=making.choose(config, seeds, labels, options.interpolate, options.num),
        request=Request(frames, sigma, level, options.batch, options.piece or PIECE),
        rate=rate,
        kind=targets.choose_format(options.output, options.format),
        crf=options.crf,
        grid=options.grid,
        passes=options.passes or PASSES,
    )
    files = options.files(job.names(), job.default_name(), job.request.frames)
    if options.seed is None:
        output.note(f"seed {making.seeds_text(job.choice.seeds)}")
    work = production.Production(job, files, output, options.sheet, metadata=options.metadata)
    if not files.wanted:
        output.note("nothing to do: all files are there")
    elif options.dry_run:
        work.show_plan(folder)
    else:
        work.run(folder, options.device, options.dtype)
