"""Predicted sets: the real first frames, then what a predictor makes of them; a seed is one future."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from predictor_models import make_predictor

from hvgcli.data.clips import scan
from hvgcli.data.windows import to_float
from hvgcli.errors import UsageError
from hvgcli.metrics.predicted import BASELINES, ModelPredictor, NoisyCopy, PredictedVideos, Predictor
from hvgcli.metrics.videos import RealVideos, VideoBatch
from hvgcli.metrics.windows import Sampling
from hvgcli.sampling.hierarchy import Hierarchy, load
from hvgcli.sampling.predict import Draw, continuation
from hvgcli.sampling.render import to_pixels

CONTEXT, ADDED = 3, 6  # of the tiny predictor, which makes 4 frames at a time
TOTAL = CONTEXT + ADDED


@pytest.fixture(scope="module")
def hierarchy(tmp_path_factory: pytest.TempPathFactory) -> Hierarchy:
    return load(make_predictor(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, make_clip: Callable[..., Path]) -> RealVideos:
    folder = tmp_path_factory.mktemp("real")
    for number in range(5):
        make_clip(folder / ("sea", "sky")[number // 3] / f"{number}.mp4", frames=20, size=(24, 24), seed=number)
    return RealVideos(scan(folder), Sampling(TOTAL, 2, (16, 16)), name="val")


def whole(made: PredictedVideos | RealVideos, size: int = 8) -> VideoBatch:
    (batch,) = made.batches(size)
    return batch


def model(hierarchy: Hierarchy, sigma: float = 1.0, truncation: float | None = None) -> ModelPredictor:
    return ModelPredictor(hierarchy, Draw(sigma, truncation))


def steps_apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return (one.int() - other.int()).abs().float().mean().item()


# ---- the set -----------------------------------------------------------------------------------


def test_context_then_continuation(hierarchy: Hierarchy, real: RealVideos) -> None:
    found, truth = whole(PredictedVideos(real, model(hierarchy), context=CONTEXT, seed=7)), whole(real)
    assert found.frames.shape == truth.frames.shape == (5, TOTAL, 16, 16, 3)
    assert torch.equal(found.frames[:, :CONTEXT], truth.frames[:, :CONTEXT])
    assert found.labels is not None
    assert truth.labels is not None
    assert (found.labels.tolist(), found.takes.tolist()) == (truth.labels.tolist(), truth.takes.tolist())
    for i, video in enumerate(found.frames):
        context = to_float(truth.frames[i : i + 1, :CONTEXT])
        pieces = list(continuation(hierarchy, context, [7 + i], ADDED, Draw()))
        expected = torch.from_numpy(to_pixels(torch.cat(pieces, dim=1)))[0]
        assert len(pieces) == 2, "longer than it was trained on"
        assert steps_apart(video[CONTEXT:], expected) < 0.01


def test_the_batch_size_changes_no_video(hierarchy: Hierarchy, real: RealVideos) -> None:
    made = PredictedVideos(real, model(hierarchy), context=CONTEXT, seed=7)
    together = whole(made).frames
    for size in (1, 2):
        parts = list(made.batches(size))
        assert max(len(part.frames) for part in parts) == size
        assert steps_apart(torch.cat([part.frames for part in parts]), together) < 0.01
    later = whole(PredictedVideos(real, model(hierarchy), context=CONTEXT, seed=8)).frames
    assert steps_apart(later[:, CONTEXT:], together[:, CONTEXT:]) > 1


def test_truncation_to_zero_has_one_future(hierarchy: Hierarchy, real: RealVideos) -> None:
    still = model(hierarchy, truncation=0.0)
    first, other = (whole(PredictedVideos(real, still, context=CONTEXT, seed=seed)).frames for seed in (0, 9))
    assert still.constant
    assert torch.equal(first, other)
    assert not model(hierarchy, truncation=0.1).constant


def test_what_the_protocol_states(hierarchy: Hierarchy, real: RealVideos) -> None:
    found = PredictedVideos(real, model(hierarchy, 0.5, 0.8), context=CONTEXT, seed=7).described
    assert found == {
        "name": "tiny-fp", "sha": hierarchy.sha, "sigma": 0.5, "truncation": 0.8, "videos": 5, "takes": 5,
        "sampler": "folder", "size": "16x16", "frames": TOTAL, "context": CONTEXT, "predicted": ADDED, "seed": 7,
    }  # fmt: skip
    assert model(hierarchy).described["truncation"] == "none"
    baseline = PredictedVideos(real, BASELINES["copy"], context=CONTEXT, seed=7).described
    assert not {"sigma", "truncation", "seed"} & set(baseline)


def test_the_key_follows_all_that_the_videos_depend_on(hierarchy: Hierarchy, real: RealVideos) -> None:
    def key(predictor: Predictor, *, seed: int = 0, context: int = CONTEXT, of: RealVideos = real) -> str:
        return PredictedVideos(of, predictor, context=context, seed=seed).key

    fewer = RealVideos(real.index, Sampling(TOTAL, 2, (16, 16), num=3), name="val")
    first = key(model(hierarchy))
    assert key(model(hierarchy)) == first
    predictors = [model(hierarchy, 0.5), model(hierarchy, 1.0, 0.8), *BASELINES.values(), NoisyCopy(2.0, 1)]
    others = [key(predictor) for predictor in (*predictors, NoisyCopy(3.0, 1), NoisyCopy(2.0, 8))]
    others += [key(model(hierarchy), seed=1), key(model(hierarchy), context=2), key(model(hierarchy), of=fewer)]
    assert len({first, *others}) == 1 + len(others)
    unnamed = Hierarchy(hierarchy.config, hierarchy.generators, hierarchy.tables)
    assert key(model(unnamed)) == "", "weights without a digest are not cached"


@pytest.mark.parametrize("context", [0, TOTAL, TOTAL + 1])
def test_nothing_to_predict(real: RealVideos, context: int) -> None:
    with pytest.raises(UsageError, match=f"windows of {TOTAL} frames for a context of {context}"):
        PredictedVideos(real, BASELINES["copy"], context=context)


# ---- without a network -------------------------------------------------------------------------


def test_the_baselines_equal_their_rules() -> None:
    context = torch.randint(0, 256, (2, 3, 5, 4, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    last, before = context[:, 2].int(), context[:, 1].int()
    copied = BASELINES["copy"].predict(context, [0, 1], 4)
    straight = BASELINES["linear"].predict(context, [0, 1], 4)
    for step in range(4):
        assert torch.equal(copied[:, step], context[:, 2])
        assert torch.equal(straight[:, step].int(), (last + (step + 1) * (last - before)).clamp(0, 255))


@pytest.mark.parametrize("cell", [1, 8])
def test_noise_on_a_still(cell: int) -> None:
    noisy = NoisyCopy(16.0, cell)
    context = torch.full((2, 2, 64, 64, 3), 128, dtype=torch.uint8)
    made = noisy.predict(context, [4, 5], 3)
    assert made.shape == (2, 3, 64, 64, 3)
    assert torch.equal(made[:, :1].expand(-1, 3, -1, -1, -1), made), "the noise is held"
    assert torch.equal(made[1:], noisy.predict(context[1:], [5], 3)), "a seed is one pattern"
    added = made[:, 0].double() - 128
    neighbours = (added[:, :, 1:] * added[:, :, :-1]).mean() / added.square().mean()
    if cell == 1:
        assert added.std().item() == pytest.approx(16, rel=0.03)
        assert abs(neighbours) < 0.05
    else:
        assert 8 < added.std().item() < 16, "bilinear between the draws"
        assert neighbours > 0.9
    dark = NoisyCopy(200.0).predict(torch.zeros(1, 1, 32, 32, 3, dtype=torch.uint8), [0], 1)
    assert dark.float().mean() > 10, "values are cut off, not wrapped"
    assert (dark == 0).float().mean() == pytest.approx(0.5, abs=0.05)
