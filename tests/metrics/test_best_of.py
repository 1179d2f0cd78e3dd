"""The best of l continuations: against literal loops, and the traps that a reading of the protocol can fall into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import fmean

import pytest
import torch
from predictor_models import make_predictor

from hvgcli.data.clips import scan
from hvgcli.errors import UsageError
from hvgcli.metrics import best_of
from hvgcli.metrics.best_of import (
    Scored,
    Study,
    best_noise,
    like_noise,
    mean_of_takes,
    metrics,
    noise_work,
    record,
    score,
)
from hvgcli.metrics.predicted import BASELINES, ModelPredictor, NoisyCopy
from hvgcli.metrics.similarity import psnr, ssim
from hvgcli.metrics.videos import RealVideos
from hvgcli.metrics.windows import Sampling
from hvgcli.sampling.hierarchy import Hierarchy, load
from hvgcli.sampling.predict import Draw

CONTEXT = 3


@pytest.fixture(scope="module")
def hierarchy(tmp_path_factory: pytest.TempPathFactory) -> Hierarchy:
    return load(make_predictor(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, make_clip: Callable[..., Path]) -> RealVideos:
    folder = tmp_path_factory.mktemp("real")
    for number in range(4):
        make_clip(folder / f"{number}.mp4", frames=16, size=(16, 16), seed=number)
    return RealVideos(scan(folder), Sampling(CONTEXT + 3, 2, (16, 16), "windows", num=6), name="val", workers=0)


@pytest.fixture
def study(real: RealVideos) -> Study:
    return Study(real, CONTEXT, (1, 2, 5), seed=11)


def test_the_curves_equal_the_loop(study: Study, hierarchy: Hierarchy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(best_of, "AT_A_TIME", 2)
    predictor = ModelPredictor(hierarchy, Draw())
    (found,) = score(study, [predictor])
    videos = torch.cat([batch.frames for batch in study.real.batches(8)])
    for kind, measure in (("ssim", ssim), ("psnr", psnr)):
        for count in study.counts:
            by_loop = []
            for i, video in enumerate(videos):
                scores = []
                for j in range(5):
                    made = predictor.predict(video[None, :CONTEXT], [11 + j * len(videos) + i], 3)[0]
                    scores.append([measure(video[CONTEXT + t], made[t]).item() for t in range(3)])
                best = [max((scores[j] for j in chosen), key=fmean) for chosen in combinations(range(5), count)]
                by_loop.append([fmean(row[t] for row in best) for t in range(3)])
            for curve, expected in zip(found.curves(kind, count).tolist(), by_loop, strict=True):
                assert curve == pytest.approx(expected, rel=1e-3)


def test_no_two_continuations_share_a_seed(study: Study) -> None:
    asked: list[int] = []

    class Noting(NoisyCopy):
        def predict(self, context, seeds, frames):  # type: ignore[no-untyped-def]
            asked.extend(seeds)
            return super().predict(context, seeds, frames)

    score(study, [Noting(4.0)])
    assert sorted(asked) == list(range(11, 11 + 6 * 5))


def test_z_of_zero_and_the_baselines_are_flat(study: Study, hierarchy: Hierarchy) -> None:
    predictors = [ModelPredictor(hierarchy, Draw(1.0, 0.0)), *BASELINES.values()]
    for found in score(study, predictors):
        assert found.constant
        assert found.scores["ssim"].shape == (6, 1, 3)
        assert torch.equal(found.curves("ssim", 1), found.curves("ssim", 5))
        assert found.gain("ssim", study.counts).tolist() == [0.0] * 6
    zero = ModelPredictor(hierarchy, Draw(1.0, 0.0))
    context = next(study.real.batches(1)).frames[:, :CONTEXT]
    assert torch.equal(zero.predict(context, [0], 3), zero.predict(context, [1], 3)), "all of its futures are one"


def test_a_model_and_noise_gain(study: Study, hierarchy: Hierarchy) -> None:
    for found in score(study, [ModelPredictor(hierarchy, Draw()), NoisyCopy(32.0)]):
        for kind in ("ssim", "psnr"):
            one, two, five = (found.curves(kind, count).mean().item() for count in study.counts)
            assert one < two < five
            assert found.gain(kind, study.counts).mean().item() == pytest.approx(five - one)


def test_the_noise_that_gains_most(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(best_of, "TRIED_ON", 3)
    monkeypatch.setattr(best_of, "DEVIATIONS", (1.0, 30.0))
    seen: list[int] = []
    chosen = best_noise(study, seen.append)
    few = replace(study, real=best_of.some_windows(study.real, 3), kinds=("ssim",))
    assert few.real.count == 3
    gains = {
        (noise.deviation, noise.cell): found.gain("ssim", (1, 5)).mean().item()
        for noise in (NoisyCopy(deviation, cell) for deviation in (1.0, 30.0) for cell in (1, 8))
        for found in score(few, [noise])
    }
    assert gains[chosen.deviation, chosen.cell] == max(gains.values())
    assert sum(seen) == noise_work(study) == 4 * 3 * 5


def test_noise_as_diverse_as_a_model(study: Study, hierarchy: Hierarchy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(best_of, "TRIED_ON", 2)
    model, seen = ModelPredictor(hierarchy, Draw()), []
    few = replace(study, real=best_of.some_windows(study.real, 2))
    variances = []
    for number, _, video in few.windows():
        seeds = [study.seed + j * 2 + number for j in range(5)]
        made = torch.stack([model.predict(video[None, :CONTEXT], [seed], len(video) - CONTEXT)[0] for seed in seeds])
        variances.append(made.double().var(0).mean().item())
    assert best_of.spread(study, model) == pytest.approx((sum(variances) / 2) ** 0.5, rel=0.02)
    noise = like_noise(study, model, seen.append)
    assert noise.deviation == pytest.approx(best_of.spread(study, model), abs=0.01)
    assert sum(seen) == best_of.like_noise_work(study) == 2 * 2 * 5
    assert best_of.spread(study, ModelPredictor(hierarchy, Draw(1.0, 0.0))) < 0.1  # a pixel may round either way


def test_progress_counts_every_continuation(study: Study, hierarchy: Hierarchy) -> None:
    seen: list[int] = []
    score(study, [ModelPredictor(hierarchy, Draw()), BASELINES["copy"]], seen.append)
    assert sum(seen) == 6 * 5 + 6


# ---- results -----------------------------------------------------------------------------------


def scored(constant: bool = False) -> Scored:
    scores = torch.rand(4, 1 if constant else 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return Scored("still" if constant else "model", constant, {"ssim": scores}, (0, 0, 1, 2))


def test_rows_of_the_results(study: Study) -> None:
    study = replace(study, kinds=("ssim",))
    found = record(study, [scored(), scored(True)])
    assert (found["counts"], found["windows"], found["takes"], found["context"]) == ([1, 2, 5], 4, 3, CONTEXT)
    rows = found["rows"]
    assert [(row["of"], row["best_of"]) for row in rows] == [
        ("model", 1), ("model", 2), ("model", 5), ("still", None)
    ]  # fmt: skip
    assert rows[2]["frames"] == pytest.approx(scored().curves("ssim", 5).mean(0).tolist())
    assert rows[2]["value"] == pytest.approx(fmean(rows[2]["frames"]))
    table = {row.name: row for row in metrics(study, scored())}
    assert list(table) == [
        "SSIM[best of 1]", "SSIM[best of 2]", "SSIM[best of 5]", "SSIM gain[best of 1 to 5]"
    ]  # fmt: skip
    best = table["SSIM[best of 5]"]
    assert best.value == pytest.approx(rows[2]["value"])
    assert best.low is not None
    assert best.high is not None
    assert best.low < best.value < best.high  # type: ignore[operator]
    assert "4 windows, 3 given; 95 % interval over 3 takes" in best.note
    assert table["SSIM gain[best of 1 to 5]"].value == pytest.approx(rows[2]["value"] - rows[0]["value"])


def test_scores_that_are_not_finite_are_null(study: Study) -> None:
    endless = Scored("copy", True, {"psnr": torch.full((2, 1, 3), torch.inf, dtype=torch.float64)}, (0, 1))
    study = replace(study, kinds=("psnr",))
    (row,) = record(study, [endless])["rows"]
    assert (row["value"], row["frames"]) == (None, [None] * 3)
    assert metrics(study, endless)[0].value is None


def test_intervals_draw_whole_takes() -> None:
    values = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    apart, together = mean_of_takes(values, [0, 1, 2, 3]), mean_of_takes(values, [0, 0, 0, 1])
    assert apart.value == together.value == 0.25
    assert (together.low, together.high) == (0.0, 1.0), "both draws of the one take, or none"
    assert apart.high is not None
    assert apart.high < 1
    assert mean_of_takes(values, [5, 5, 5, 5]).low is None
    assert mean_of_takes(values, [0, 1, 2, 3]) == apart, "the same draws again"


@pytest.mark.parametrize("counts", [(), (0, 1), (2, 1), (1, 1)])
def test_wrong_counts(real: RealVideos, counts: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="rising whole numbers"):
        Study(real, CONTEXT, counts)
