"""The benchmark of `hvg upscale`: its peers, for levels with and without frames between, and a whole small run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from patterns import moving_pattern
from real_models import make_working_model
from small_networks import small_config

from hvgcli.data.pyramid import downsample_space
from hvgcli.errors import DataError
from hvgcli.sampling.upscale import from_pixels

CPU = torch.device("cpu")
BOTH = {"level 2": (2, 2), "level 3": (4, 1)}
"""What the levels of the model below enlarge, in space and in time."""


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The program's modules."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import machine
    import upscale
    import upscale_factors
    import upscale_peer
    import upscale_quality

    return SimpleNamespace(
        main=upscale,
        machine=machine,
        Factors=upscale_factors.Factors,
        peer=upscale_peer,
        quality=upscale_quality,
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = small_config((2, 1), sizes=(8, 16, 64), num_classes=2)
    levels = (*config.levels[:2], replace(config.levels[2], output_residual=True))  # the last one adds to its input
    config = replace(config, levels=levels, classes=("a", "b"))
    return make_working_model(tmp_path_factory.mktemp("models") / "small", config=config)


# ---- peers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [2, 4])
@pytest.mark.parametrize("time", [1, 2, 4])
def test_peers_make_as_many_pixels_and_frames(bench: SimpleNamespace, space: int, time: int) -> None:
    low, times = moving_pattern(5, (16, 20)), bench.Factors(space, time)  # minterpolate takes 32 pixels or more
    for make in (bench.peer.lanczos, bench.peer.bilinear):
        made = make(low, times)
        assert (made.shape, made.dtype) == ((5 * time, 16 * space, 20 * space, 3), np.uint8)
        fixed = bench.peer.grounded(made, low, times)
        assert fixed.shape == made.shape
        errors = [
            (downsample_space(from_pixels(clip[::time], CPU)[None], (16, 20))[0] - from_pixels(low, CPU)).abs().mean()
            for clip in (fixed, made)
        ]
        assert errors[0] < 0.5 * errors[1]


def test_lanczos_alone_takes_each_frame_by_itself(bench: SimpleNamespace) -> None:
    low = moving_pattern(4, (12, 16))
    still, moving = bench.Factors(4, 1), bench.Factors(4, 2)
    made = bench.peer.lanczos(low, still)
    for number in range(4):
        np.testing.assert_array_equal(bench.peer.lanczos(low[number : number + 1], still)[0], made[number])
    between = bench.peer.lanczos(low, moving)
    assert np.abs(between[::2].astype(int) - made).max() <= 2  # planes are rounded on their way
    assert np.abs(between[1:-1:2].astype(int) - made[:-1]).mean() > 0.5


def test_minterpolate_between_keeps_frames_with_an_input(bench: SimpleNamespace) -> None:
    times = bench.Factors(2, 2)
    made = bench.peer.bilinear(moving_pattern(5, (16, 20)), times)
    other = bench.peer.minterpolate_between(made, times)
    np.testing.assert_array_equal(other[::2], made[::2])
    assert (other[1:-1:2] != made[1:-1:2]).any()


@pytest.mark.parametrize("time", [1, 2, 3])
def test_frames_between_are_mixed_by_their_distance(bench: SimpleNamespace, time: int) -> None:
    greys = [10, 70, 40]
    low = np.stack([np.full((4, 6, 3), grey, np.uint8) for grey in greys])
    made = bench.peer.bilinear(low, bench.Factors(2, time))
    for number, frame in enumerate(made):
        at, step = divmod(number, time)
        after = greys[min(at + 1, 2)]
        assert abs(frame.astype(float) - (greys[at] + (after - greys[at]) * step / time)).max() <= 0.51


# ---- quality ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("space", "time"), BOTH.values())
def test_the_input_is_the_truth_made_small(bench: SimpleNamespace, space: int, time: int) -> None:
    truth = torch.from_numpy(moving_pattern(6, (32, 32)))
    low = bench.quality.low_of(truth, bench.Factors(space, time))
    assert low.shape == (6 // time, 32 // space, 32 // space, 3)
    for number, frame in enumerate(low):
        view = downsample_space(from_pixels(truth[time * number].numpy()[None], CPU)[None], 32 // space)[0, 0]
        assert ((view.permute(1, 2, 0) + 1) * 127.5 - torch.from_numpy(frame)).abs().max() <= 0.501


def test_frames_between_are_scored_apart_where_there_are_some(bench: SimpleNamespace) -> None:
    truth = torch.from_numpy(moving_pattern(4, (32, 32)))
    made = truth.clone()
    made[::2] += 1
    made[1::2] = (made[1::2] // 2) + 40
    for time in (1, 2):
        method = bench.quality.Method(lambda low, label: low)
        bench.quality.score(method, truth, made, bench.Factors(2, time))
        if time == 1:
            assert set(method.scores) == {"psnr", "ssim"}
            continue
        for name in ("psnr", "ssim"):
            whole, at_input, between = (method.scores[name + part][0] for part in ("", " at input", " between"))
            assert between < whole < at_input
            assert whole == pytest.approx((at_input + between) / 2)


def test_windows_that_are_no_multiple_are_refused(bench: SimpleNamespace, model: Path) -> None:
    options = bench.quality.Options(str(model), 2, windows=2, every=1, frames=5, variants=False)
    with pytest.raises(DataError, match="windows of 5 frames"):
        bench.quality.measure({}, [], options, print)
    assert bench.quality.measure({}, [], replace(options, level=3), print) == {}


# ---- the whole of it -------------------------------------------------------------------------------


@pytest.fixture
def take(
    bench: SimpleNamespace, model: Path, tmp_path: Path, make_clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[dict[str, Any], str]]:
    """Runs the program on two small clips; what it wrote."""
    for name in ("a", "b"):
        folder = tmp_path / "drawn" / name
        folder.mkdir(parents=True)
        make_clip(folder / "clip.mp4", frames=12, size=(136, 160), seed=ord(name))
    for module in (bench.main, bench.machine):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(bench.main, "SIZES", ((16, 20),))
    monkeypatch.setattr(bench.main, "QUICK_LENGTHS", (4,))
    monkeypatch.setattr(bench.quality, "RESAMPLINGS", 2)

    def run(*arguments: str) -> tuple[dict[str, Any], str]:
        fixed = ["--model", str(model), "--quick", "--rounds", "1", "--windows", "4", "--frames", "4", "--every", "2"]
        bench.main.main([*arguments, *fixed, str(tmp_path / "drawn")])
        page = " ".join((tmp_path / "upscale.md").read_text().split())  # wherever its lines break
        return json.loads((tmp_path / "upscale.json").read_text()), page

    return run


def test_quality_of_each_level_is_kept_apart(take: Callable[..., Any], tmp_path: Path, model: Path) -> None:
    (tmp_path / "upscale.json").write_text(json.dumps({"machine": {}, "speed": {"rows": []}}))
    first, page = take("--part", "quality")
    assert set(first) == {"machine", "level 3"}
    assert f"## Level 3 of {model}: 4 times in space at the same frame rate" in page
    assert "minterpolate" not in page
    assert "all its frames, 32x32 (f_s)" in page
    assert "| method | PSNR, dB | SSIM | grounding | FD[frames]" in page
    both, page = take("--part", "quality", "--level", "2", "--variants")
    assert both["level 3"] == first["level 3"]
    assert page.index("## Level 2 of") < page.index("## Level 3 of")
    assert "2 times in space and 2 times in time" in page
    assert "one frame of 2, 64x64 (f_s f_t)" in page
    assert "| method | PSNR, dB | at input frames | between | SSIM | grounding | FD[frames]" in page
    assert page.count("#### drawn: 4 windows of 2 takes") == 2
    assert {key: tuple(both[key]["factors"].values()) for key in BOTH} == BOTH
    shared = {"ours", "ours, --no-ground", "ours, --class of the clip"}
    assert "`ours, --detail 1` adds all that the level adds to the plain enlargement, `ours` 0.4 of it" in page
    assert set(both["level 3"]["quality"]["sets"]["drawn"]["methods"]) == shared | {
        "ours, --detail 1",
        "lanczos",
        "lanczos, grounded",
        "bilinear",
        "bilinear, grounded",
    }
    assert set(both["level 2"]["quality"]["sets"]["drawn"]["methods"]) == shared | {
        "ours, minterpolate between",
        "minterpolate, then lanczos",
        "lanczos + minterpolate",
        "lanczos + minterpolate, grounded",
        "bilinear + linear",
        "bilinear + linear, grounded",
    }
    for key, (_, time) in BOTH.items():
        scores = both[key]["quality"]["sets"]["drawn"]["methods"]
        assert all(("psnr between" in values) == (time > 1) for values in scores.values())
        grounded, free = (scores[name]["grounding, 1/255"] for name in ("ours", "ours, --no-ground"))
        assert grounded < 1 < free


def test_speed_of_each_level_is_kept_apart(take: Callable[..., Any]) -> None:
    take("--part", "speed", "--level", "2")
    both, page = take("--part", "speed")
    for key, (_, time) in BOTH.items():
        (row,) = both[key]["speed"]["rows"]
        assert row["ours"]["frames"] == 4 * time
        assert row["ffmpeg"]["frames"] == (4 if time == 1 else 5)
        assert all(row[side][name] > 0 for side in ("ours", "ffmpeg") for name in row[side])
    second, third = page.split("## Level 3")
    assert "`minterpolate` drops the last 3 frames" in second
    assert "minterpolate" not in third


def test_results_of_another_model_are_not_kept(bench: SimpleNamespace) -> None:
    one = SimpleNamespace(model="one", level=3)
    times, two = bench.Factors(4, 1), bench.Factors(2, 2)
    levels = bench.main.joined({}, one, times, {"speed": {"rows": [1]}})
    levels = bench.main.joined(levels, SimpleNamespace(model="one", level=2), two, {"speed": {"rows": [2]}})
    assert list(levels) == ["level 2", "level 3"]
    levels = bench.main.joined(levels, one, times, {"quality": {"sets": [3]}})
    assert levels["level 3"]["speed"] == {"rows": [1]}
    assert levels["level 3"]["quality"] == {"sets": [3]}
    for options, factors in ((SimpleNamespace(model="two", level=3), times), (one, bench.Factors(4, 2))):
        anew = bench.main.joined(levels, options, factors, {"quality": {"sets": [4]}})
        assert set(anew["level 3"]) == {"model", "number", "factors", "quality"}
        assert anew["level 3"]["quality"] == {"sets": [4]}
        assert anew["level 2"] == levels["level 2"]


@pytest.mark.parametrize("level", ["1", "4"])
def test_a_level_that_enlarges_nothing_is_refused(take: Callable[..., Any], level: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=f"--level {level} of .* choose 2 to 3"):
        take("--level", level)
    assert not (tmp_path / "upscale.json").exists()
