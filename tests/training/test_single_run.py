"""Runs of hp-VAE-GAN over all scales: the model they leave, going on, stopping, and their budget."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_single import TRAINING, image_config, small_clip, small_config, small_model

from hvgcli.checkpoints import load_tensors, read_json, read_model_config, verify, write_json
from hvgcli.config import SingleConfig, SingleTrainingConfig
from hvgcli.errors import TrainingError, UsageError
from hvgcli.sampling.single import generate, load_single
from hvgcli.training.run_state import states
from hvgcli.training.single_folder import SingleRun
from hvgcli.training.single_run import Progress, deadline, scale_shares, train_single

CPU = torch.device("cpu")


def small_run(out: Path, config: SingleConfig | None = None, seed: int = 0, **training: Any) -> SingleRun:
    config = config or small_config()
    clip = small_clip(config.window)
    return SingleRun(small_model(config), replace(TRAINING, **training), clip, out, seed, "noise that gets brighter")


def last_state(out: Path) -> dict[str, torch.Tensor]:
    return load_tensors(states(out)[-1][1])[0]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[key], b[key]) for key in a)


class StopAfter:
    """Asks to stop once it has been asked so often."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize(
    "config", [small_config(), small_config(hold_ends=True), image_config(), small_config(vae_scales=0)]
)
def test_a_run_leaves_a_model_that_makes_videos(tmp_path: Path, config: SingleConfig) -> None:
    seen: list[tuple[int, int]] = []
    sheets: list[Path] = []
    ended = train_single(
        small_run(tmp_path, config),
        device=CPU,
        progress=lambda progress: seen.append((progress.scale, progress.iteration)),
        preview=lambda scale, sheet: sheets.append(sheet),
    )
    assert ended == "done"
    assert seen == [(scale, iteration) for scale in range(4) for iteration in (1, 2)]
    assert [sheet.name for sheet in sheets] == [f"scale-0{n}.png" for n in range(4)]
    assert all(check.ok for check in verify(tmp_path / "model"))
    single = load_single(tmp_path / "model")
    assert single.config.finished == 0
    video = generate(single, [1, 2])
    assert video.shape == (2, config.window, 3, 12, 16)
    assert bool(torch.isfinite(video).all())
    assert "noise that gets brighter" in (tmp_path / "model" / "README.md").read_text()
    rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert len(rows) == 9


def test_the_same_command_again_does_nothing_more(tmp_path: Path) -> None:
    train_single(small_run(tmp_path), device=CPU)
    before = last_state(tmp_path)
    calls: list[object] = []
    assert train_single(small_run(tmp_path), device=CPU, progress=calls.append) == "done"
    assert not calls
    assert same(last_state(tmp_path), before)


@pytest.mark.parametrize("stop_after", [1, 3, 4, 5, 7])
def test_a_run_that_was_stopped_goes_on_to_the_same_weights(tmp_path: Path, stop_after: int) -> None:
    torch.set_num_threads(1)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_single(small_run(whole), device=CPU)
    assert train_single(small_run(parts), device=CPU, stop=StopAfter(stop_after)) == "stopped"
    assert train_single(small_run(parts), device=CPU) == "done"
    assert same(last_state(parts), last_state(whole))
    files = [load_tensors(out / "model" / "level1.safetensors")[0] for out in (whole, parts)]
    assert same(*files)
    tables = [(out / "metrics.csv").read_text().splitlines() for out in (whole, parts)]
    assert [row.split(",")[:3] for row in tables[0]] == [row.split(",")[:3] for row in tables[1]]


def test_a_damaged_state_is_passed_over(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_single(small_run(whole), device=CPU)
    train_single(small_run(parts), device=CPU, stop=StopAfter(5))
    newest = states(parts)[-1][1]
    newest.write_bytes(newest.read_bytes()[:-10])
    warnings: list[str] = []
    train_single(small_run(parts), device=CPU, warn=warnings.append)
    assert any("damaged" in warning for warning in warnings)
    assert same(last_state(parts), last_state(whole))


def test_a_stopped_run_leaves_a_model_of_the_finished_scales(tmp_path: Path) -> None:
    train_single(small_run(tmp_path), device=CPU, stop=StopAfter(5))  # in scale 2
    assert read_model_config(tmp_path / "model").single == replace(small_config(), finished=2)
    single = load_single(tmp_path / "model")
    frames, height, width = small_config().sizes[1]
    assert generate(single, [1]).shape == (1, frames, 3, height, width)


def test_another_run_in_the_folder_is_refused_and_more_iterations_are_not(tmp_path: Path) -> None:
    train_single(small_run(tmp_path), device=CPU, stop=StopAfter(1))
    with pytest.raises(UsageError, match="its seed differs"):
        train_single(small_run(tmp_path, seed=1), device=CPU)
    with pytest.raises(UsageError, match="its training differs"):
        train_single(small_run(tmp_path, lr=1e-4), device=CPU)
    run = small_run(tmp_path)
    with pytest.raises(UsageError, match="another clip"):
        train_single(replace(run, clip=replace(run.clip, frames=run.clip.frames // 2)), device=CPU)
    assert train_single(small_run(tmp_path, iterations=3), device=CPU) == "done"


def test_a_run_that_began_before_a_field_was_there_goes_on(tmp_path: Path) -> None:
    train_single(small_run(tmp_path), device=CPU, stop=StopAfter(1))
    record = read_json(tmp_path / "run.json")
    del record["model"]["levels"][0]["hold_ends"]
    write_json(tmp_path / "run.json", record)
    with pytest.raises(UsageError, match="its model differs: hold_ends"):
        train_single(small_run(tmp_path, small_config(hold_ends=True)), device=CPU)
    assert train_single(small_run(tmp_path), device=CPU) == "done"


def test_a_loss_that_is_not_finite_ends_the_run_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"is (nan|inf)") as caught:
        train_single(small_run(tmp_path, lr=1.0, reconstruction_weight=1e6, iterations=200), device=CPU)
    assert "\n" not in str(caught.value)
    assert "--batch-size" not in str(caught.value)  # there is none


# ---- the budget ---------------------------------------------------------------------------------------------


def test_a_budget_is_spread_over_the_scales_by_the_square_root_of_their_sizes() -> None:
    config = SingleConfig()
    shares = scale_shares(config)
    assert sum(shares) == pytest.approx(1)
    assert shares[9] / shares[0] == pytest.approx((13 * 256 * 256 / (4 * 32 * 32)) ** 0.5)
    training = SingleTrainingConfig(minutes=10)
    ends = 0.0
    for scale in range(10):
        ends = deadline(config, training, scale, ends)
        assert ends == pytest.approx(600 * sum(shares[: scale + 1]))


def test_what_a_scale_leaves_of_its_budget_goes_to_the_others() -> None:
    config, training = small_config(), SingleTrainingConfig(minutes=1)
    shares = scale_shares(config)
    assert deadline(config, training, 1, 0.0) == pytest.approx(60 * shares[1] / sum(shares[1:]))
    assert deadline(config, training, 3, 70.0) == 70.0  # nothing is left: one iteration is made all the same
    assert deadline(config, SingleTrainingConfig(), 1, 5.0) == 0.0


def test_a_budget_ends_a_run_of_many_iterations(tmp_path: Path) -> None:
    seen: list[float] = []
    run = small_run(tmp_path, iterations=10**6, minutes=0.05)
    started = time.monotonic()
    assert train_single(run, device=CPU, progress=lambda progress: seen.append(progress.share)) == "done"
    assert time.monotonic() - started >= 0.5 * 60 * run.training.minutes
    assert seen == sorted(seen)
    assert read_model_config(tmp_path / "model").single == small_config()


class Ticks:
    """A clock on which every look takes a moment, so that what a run does by it is always the same."""

    def __init__(self, moment: float) -> None:
        self.moment, self.now = moment, 0.0

    def __call__(self) -> float:
        self.now += self.moment
        return self.now


@pytest.mark.parametrize(("minutes", "moment"), [(0.2, 0.01), (1.0, 0.1), (0.5, 0.05)])
def test_a_budget_is_kept_within_5_percent(tmp_path: Path, minutes: float, moment: float) -> None:
    clock = Ticks(moment)
    seen: list[Progress] = []
    run = small_run(tmp_path, iterations=10**6, minutes=minutes)
    assert train_single(run, device=CPU, progress=seen.append, clock=clock) == "done"
    assert clock.now == pytest.approx(60 * minutes, rel=0.05)
    ends = [max(at.seconds for at in seen if at.scale == scale) for scale in range(4)]
    shares = scale_shares(run.config)
    for scale, end in enumerate(ends):  # what is kept for statistics and a sheet is a tenth of a scale and more
        assert end == pytest.approx(60 * minutes * sum(shares[: scale + 1]), rel=0.25)
        assert end <= 60 * minutes * sum(shares[: scale + 1])


def test_a_budget_counts_what_was_before_the_run_and_other_parts_of_it(tmp_path: Path) -> None:
    clock = Ticks(0.02)
    clock.now = 3.0  # libraries and the clip
    run = small_run(tmp_path, iterations=10**6, minutes=0.2)
    assert train_single(run, device=CPU, clock=clock, stop=StopAfter(20)) == "stopped"
    before = clock.now
    later = Ticks(0.02)
    assert train_single(run, device=CPU, clock=later) == "done"
    assert before + later.now == pytest.approx(12, rel=0.05)


def test_more_minutes_make_the_scale_in_training_longer(tmp_path: Path) -> None:
    ends: list[float] = []
    for minutes in (0.1, 0.4):
        seen: list[Progress] = []
        out = tmp_path / f"{minutes}"
        begun = small_run(out, iterations=10**6, minutes=0.1)
        train_single(begun, device=CPU, clock=Ticks(0.02), stop=StopAfter(3))
        train_single(
            small_run(out, iterations=10**6, minutes=minutes), device=CPU, clock=Ticks(0.02), progress=seen.append
        )
        ends.append(max(at.seconds for at in seen if at.scale == 0))
    assert ends[1] > 3 * ends[0]


def test_progress_without_a_budget_counts_pixels(tmp_path: Path) -> None:
    seen: list[float] = []
    train_single(small_run(tmp_path), device=CPU, progress=lambda progress: seen.append(progress.share))
    pixels = [frames * height * width for frames, height, width in small_config().sizes]
    assert seen[:2] == pytest.approx([pixels[0] / sum(pixels) / 2, pixels[0] / sum(pixels)])
    assert seen[-1] == pytest.approx(1)
