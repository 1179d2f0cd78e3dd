"""A call of `hvg evaluate`, carried out: both sets, their features, the numbers, the folder, the table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hvgcli.cli.evaluating.prediction import KINDS_OF_BEST, check_best_of, score_continuations
from hvgcli.cli.evaluating.request import Request
from hvgcli.cli.evaluating.sets import Sets, find_sets, left_out_lines, prepare
from hvgcli.cli.evaluating.single import check_no_single, evaluate_single, find_single
from hvgcli.cli.evaluating.table import show
from hvgcli.cli.output import Output
from hvgcli.errors import DataError, MediaError, UsageError
from hvgcli.metrics import pairs as pairwise
from hvgcli.metrics import seen as frames_seen
from hvgcli.metrics.evaluate import LEAST, Comparison, Options, per_class
from hvgcli.metrics.features import FeatureSet, cache_folder, extract
from hvgcli.metrics.inception import small_sample
from hvgcli.metrics.networks import FeatureNetwork, resolve
from hvgcli.metrics.predicted import PredictedVideos, stated
from hvgcli.metrics.protocol import KINDS, OF_PAIRS, Means, choose_metrics, plain
from hvgcli.metrics.results import Evaluation, Metric, SampleClip, check_folder, metric
from hvgcli.metrics.seen import Seen
from hvgcli.metrics.similarity import NAMES
from hvgcli.metrics.videos import Videos
from hvgcli.runtime import choose_device

SAMPLES = 8  # clips of each set that are kept with the results
ESTIMATOR = "covariances with ddof 1; symmetric eigenvalues, or the nuclear norm where N <= d; float64"


def carry_out(request: Request, output: Output, *, dry_run: bool) -> None:
    """Evaluate, keep the result in --out where there is one, and print it."""
    if request.out is not None:
        check_folder(request.out, overwrite=request.overwrite)
    device = choose_device(request.device)
    network = resolve(request.features, device=device, fetch=request.fetch, progress=output.shows_progress)
    asked = request.metrics or ()
    if request.model is None and (of_pairs := [kind for kind in asked if kind in OF_PAIRS]):
        _check_pairs(request, asked, of_pairs)
        evaluation, rate = _evaluate_pairs(request, network, output, dry_run), None
    elif (single := find_single(request.model)) is not None:
        evaluation, rate = evaluate_single(request, single, network, device, output, dry_run=dry_run)
    else:
        check_no_single(request)
        sets = find_sets(request, device, output)
        evaluation, rate = _evaluate_sets(request, sets, network, output, dry_run), sets.rate
    for line in evaluation.warnings:
        output.warn(line)
    record = evaluation.record()
    if request.out is not None and not dry_run:
        record = evaluation.write(request.out, rate=rate)
    show(record, request.out, output, dry_run=dry_run)


# ---- two sets ----------------------------------------------------------------------------------


def _evaluate_sets(request: Request, sets: Sets, network: FeatureNetwork, output: Output, dry_run: bool) -> Evaluation:
    check_best_of(request, sets)
    _check_counts(sets)
    kinds, left_out = _kinds(request, sets, network)
    evaluation = Evaluation(
        request.title, request.command, _protocol(request, sets, network), warnings=list(sets.warnings)
    )
    for line in left_out if request.metrics is None else ():
        output.note(line)
    if dry_run:
        return evaluation
    if kinds:
        prepare(sets, output)
        _compare_sets(sets, Job(request, network, kinds, output), evaluation)
    if request.scored:
        score_continuations(request, sets, evaluation, output)
    return evaluation


def _kinds(request: Request, sets: Sets, network: FeatureNetwork) -> tuple[tuple[str, ...], list[str]]:
    """The kinds that compare sets, and a line for each that was left out."""
    fewest = min(sets.real.count, sets.fake.count)
    labels = bool(set(sets.real.classes) & set(sets.fake.classes))
    means = Means(network.name, network.classifier, network.has_pooled, labels, fewest, request.splits)
    asked = None if request.metrics is None else [kind for kind in request.metrics if kind not in KINDS_OF_BEST]
    return choose_metrics(asked, means)


@dataclass(frozen=True)
class Job:
    """How sets are measured."""

    request: Request
    network: FeatureNetwork
    kinds: tuple[str, ...]
    output: Output


def _compare_sets(sets: Sets, job: Job, evaluation: Evaluation) -> None:
    """Add what the two sets tell; with several sigmas, the numbers of each."""
    real = _look("real", sets.real, job)
    for videos in sets.fakes[:-1]:
        evaluation.add_point(videos.described["sigma"], _numbers(real, _look("generated", videos, job), job))
    fake = _look("generated", sets.fake, job)
    evaluation.warnings += [*real.warnings(), *fake.warnings()]
    evaluation.metrics += _numbers(real, fake, job)
    if len(sets.fakes) > 1:
        evaluation.add_point(job.request.sigma, evaluation.metrics)
    _add_details(real, fake, job, evaluation)
    seed = job.request.seed if job.request.model and not job.request.baseline else None
    evaluation.clips = [*fake.samples(seed), *real.samples(None)]


def _check_counts(sets: Sets) -> None:
    for name, videos in (("real", sets.real), ("generated", sets.fake)):
        if videos.count < LEAST:
            raise DataError(f"the {name} set has one video, a comparison needs at least {LEAST}: give more")


@dataclass(frozen=True)
class Looked:
    """What was found out about one set."""

    name: Literal["real", "generated"]
    videos: Videos
    features: FeatureSet | None
    seen: Seen

    def warnings(self) -> list[str]:
        """What to know about the set: videos that show nothing, and the files that were left out."""
        left_out = (self.videos if self.features is None else self.features).left_out
        blank = self.seen.warning(self.name)
        return [*([blank] if blank else []), *left_out_lines(self.name, left_out)]

    def samples(self, seed: int | None) -> list[SampleClip]:
        """Some of the kept videos, of all classes. seed: of a model's first video."""
        clips, labels, classes = self.seen.clips, self.seen.labels, self.videos.classes
        return [
            SampleClip(
                self.name,
                clips[i],
                classes[labels[i]] if labels and classes else None,
                None if seed is None else seed + self.seen.numbers[i],
            )
            for i in self.seen.spread(SAMPLES)
        ]


def _look(name: Literal["real", "generated"], videos: Videos, job: Job) -> Looked:
    """Features of a set, where a kind needs them, and what is kept of its frames; both from the cache if they can."""
    request, kinds, output = job.request, job.kinds, job.output
    cache = cache_folder() if request.cache else None
    path = frames_seen.cache_path(cache, videos.key) if cache is not None and videos.key else None
    known = frames_seen.load(path) if path is not None else None
    seen = known or Seen(videos.count)
    watch = seen if known is None else None
    features = None
    with output.progress(f"{name} videos", total=videos.count) as advance:
        if any(KINDS[kind].features for kind in kinds):
            features = extract(
                videos,
                job.network,
                batch=request.batch,
                cache=cache,
                pooled=bool({"fid", "per-class"} & set(kinds)),
                watch=watch,
                progress=advance,
                warn=output.warn,
            )
        elif watch is not None:
            for batch in videos.batches(request.batch):
                watch(batch)
                advance(len(batch.frames))
    if known is None and path is not None:
        _keep(path, seen, output)
    return Looked(name, videos, features, seen)


def _keep(path: Path, seen: Seen, output: Output) -> None:
    try:
        frames_seen.save(path, seen)
    except MediaError as error:
        output.warn(f"{error}: these frames will be read again")


def _comparison(real: Looked, fake: Looked, request: Request) -> Comparison | None:
    """What the features tell; None where no kind needed them."""
    if real.features is None or fake.features is None:
        return None
    paired = isinstance(fake.videos, PredictedVideos)
    return Comparison(real.features, fake.features, Options(request.splits, request.seed, paired))


def _numbers(real: Looked, fake: Looked, job: Job) -> list[Metric]:
    """What one generated set measures."""
    rows: list[Metric] = []
    if comparison := _comparison(real, fake, job.request):
        if job.output.shows_progress:
            job.output.note("computing the distances")
        rows += comparison.metrics(job.kinds)
    if "diversity" in job.kinds:
        of_fake, of_real = frames_seen.diversity(real.seen, fake.seen)
        note = f"{len(fake.seen.clips)} generated videos; of {len(real.seen.clips)} real ones it is {of_real:.3g}"
        rows.append(metric("diversity", "Diversity[LAB]", of_fake, "", note))
    return rows


def _add_details(real: Looked, fake: Looked, job: Job, evaluation: Evaluation) -> None:
    """Add what stands beside the numbers: warnings, classes, spectra."""
    if comparison := _comparison(real, fake, job.request):
        evaluation.warnings += comparison.warnings(job.kinds)
        evaluation.protocol["dimensions"] = comparison.dimensions
        if "is" in job.kinds:
            few = small_sample(len(comparison.fake), comparison.fake.logits.shape[1], comparison.options.splits)
            evaluation.warnings += [few] if few else []
        if "per-class" in job.kinds:
            evaluation.per_class = per_class(comparison, classifier=job.network.classifier)
    if "psd" in job.kinds:
        evaluation.psd = frames_seen.curves(real.seen, fake.seen)


def _protocol(request: Request, sets: Sets, network: FeatureNetwork) -> dict[str, Any]:
    """All that the numbers depend on, as JSON values."""
    height, width = sets.size
    drawn = request.model is not None and request.baseline is None
    return plain(
        {
            "network": network.name,
            "network_sha256": network.sha256,
            "frames": sets.frames,
            "stride": sets.stride,
            "size": f"{width}x{height}",
            "sampler": request.sampler,
            "context": sets.predicted.context if sets.predicted else None,
            "sigma": request.sigma if drawn else None,
            "truncation": stated(request.truncation) if drawn and sets.predicted else None,
            "seed": request.seed,
            "splits": request.splits if network.classifier else None,
            "estimator": ESTIMATOR,
            "real": sets.real.described,
            "generated": sets.fake.described,
        }
    )


# ---- pairs -------------------------------------------------------------------------------------


def _check_pairs(request: Request, asked: tuple[str, ...], of_pairs: list[str]) -> None:
    if others := [kind for kind in asked if kind not in OF_PAIRS]:
        raise UsageError(
            f"--metrics {of_pairs[0]} compares pairs of videos, {others[0]} sets: ask for them in two calls"
        )
    if request.skip_first and not {"ssim", "psnr"} & set(asked):
        raise UsageError("--skip-first is for ssim and psnr: leave it out")


def _evaluate_pairs(request: Request, network: FeatureNetwork, output: Output, dry_run: bool) -> Evaluation:
    found = pairwise.find_pairs(Path(request.real), Path(str(request.fake)))
    kinds = request.metrics or ()
    samples = [len(pair.samples) for pair in found]
    uses_network = any(KINDS[kind].features for kind in kinds)
    protocol = {
        "network": network.name if uses_network else None,
        "network_sha256": network.sha256 if uses_network else None,
        "frames": request.frames,
        "skip_first": request.skip_first,
        "size": "as it is" if request.size is None else f"{request.size[1]}x{request.size[0]}",
        "real": {"name": Path(request.real).name, "videos": len(found)},
        "generated": {"name": Path(str(request.fake)).name, "videos": sum(samples), "samples_of_each": min(samples)},
    }
    evaluation = Evaluation(request.title, request.command, plain(protocol))
    if min(samples) != max(samples):
        evaluation.warnings.append(f"real videos have {min(samples)} to {max(samples)} samples: {min(samples)} count")
    reading = pairwise.Reading(request.frames, request.size, request.skip_first)
    if not dry_run:
        with output.progress("pairs", total=len(found) * len(kinds)) as advance:
            for kind in kinds:
                if kind in NAMES:
                    found_now = pairwise.similarity(found, kind, reading, advance)
                    evaluation.metrics += found_now.metrics
                    evaluation.per_frame |= found_now.per_frame
                else:
                    row = pairwise.inner_distance(found, kind, network, reading, advance)
                    evaluation.metrics.append(row)
    return evaluation
