"""The part of `hvg evaluate` that is for predictors: the best of l continuations, and what they are held against."""

from __future__ import annotations

from hvgcli.cli.evaluating.request import CLIPS, Request
from hvgcli.cli.evaluating.sets import Sets, left_out_lines
from hvgcli.cli.output import Output
from hvgcli.errors import UsageError
from hvgcli.metrics import best_of
from hvgcli.metrics.best_of import Study
from hvgcli.metrics.predicted import BASELINES, ModelPredictor, PredictedVideos, Predictor
from hvgcli.metrics.protocol import OF_PAIRS
from hvgcli.metrics.results import Evaluation
from hvgcli.sampling.predict import Draw

KINDS_OF_BEST = ("ssim", "psnr")


def check_best_of(request: Request, sets: Sets) -> None:
    """`UsageError` where continuations are to be scored and there are none, or pairs of videos that have no names."""
    asked = request.metrics or ()
    if sets.predicted is None:
        if request.best_of:
            raise UsageError("--best-of is for a predictor: leave it out")
        if of_pairs := [kind for kind in asked if kind in OF_PAIRS]:
            raise UsageError(f"--metrics {of_pairs[0]} compares videos by their names: give --fake and --real")
    if others := [kind for kind in asked if kind in OF_PAIRS and kind not in KINDS_OF_BEST]:
        raise UsageError(f"--metrics {others[0]} compares videos by their names: give --fake and --real")
    if request.best_of and request.metrics is not None and not request.scored:
        raise UsageError("--best-of is for ssim and psnr: add them to --metrics, or leave it out")
    if request.clips != CLIPS and not request.scored:
        raise UsageError(f"--clips {request.clips} is for --best-of: give both or none")


def score_continuations(request: Request, sets: Sets, evaluation: Evaluation, output: Output) -> None:
    """Add SSIM and PSNR of the best of l continuations of some windows, beside those of what a predictor must beat."""
    predicted = sets.predicted
    assert predicted is not None
    real = best_of.some_windows(sets.real, request.clips)
    study = Study(real, predicted.context, request.best_of or (1,), request.scored, request.seed)
    others = _others(predicted)
    model = predicted.predictor
    tries_noise, tries_like = study.most > 1, study.most > 1 and not model.constant
    total = real.count * sum(map(study.of, (model, *others)))
    total += (best_of.noise_work(study) + real.count * study.most) if tries_noise else 0
    total += (best_of.like_noise_work(study) + real.count * study.most) if tries_like else 0
    with output.progress("continuations", total=total) as advance:
        noise = [best_of.best_noise(study, advance)] if tries_noise else []
        noise += [best_of.like_noise(study, model, advance)] if tries_like else []
        found = best_of.score(study, [model, *others, *noise], advance)
    evaluation.metrics += best_of.metrics(study, found[0])
    evaluation.best_of = best_of.record(study, found)
    evaluation.warnings += [line for line in left_out_lines("real", real.left_out) if line not in evaluation.warnings]


def _others(predicted: PredictedVideos) -> list[Predictor]:
    """The same model at z = 0, which gains nothing from more continuations, and the baselines; none of them twice."""
    predictor = predicted.predictor
    others: list[Predictor] = [baseline for baseline in BASELINES.values() if baseline.name != predictor.name]
    if isinstance(predictor, ModelPredictor) and not predictor.constant:
        name = f"{predictor.name}, z = 0"
        others.insert(0, ModelPredictor(predictor.hierarchy, Draw(predictor.draw.sigma, 0.0), name=name))
    return others
