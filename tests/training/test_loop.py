"""Training from a folder of clips to a model that generates: runs, resuming, bad clips, refusals."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import small_config
from torch import Tensor

from hvgcli.checkpoints import load_tensors, verify
from hvgcli.config import Preset, ReconstructionConfig, TrainingConfig
from hvgcli.data import pyramid
from hvgcli.data.clips import ClipIndex
from hvgcli.errors import DataError, UsageError, WeightsError
from hvgcli.sampling import hierarchy as hierarchies
from hvgcli.sampling.hierarchy import Sample, generate
from hvgcli.sampling.unroll import join
from hvgcli.training.batches import class_weights, real_pair, window_spec
from hvgcli.training.finish import finish, total_passes
from hvgcli.training.loop import Run, RunOptions, plan, train_level
from hvgcli.training.run_state import states

CPU = torch.device("cpu")
TRAINING = TrainingConfig(
    steps=3,
    batch_size=2,
    discriminator_updates=1,
    spatial_frames=2,
    ema=0.5,
    condition_reuse=2,
    condition_noise=0.1,
    random_scale=(0.5, 1.0),
    balance_classes=True,
    reconstruction=ReconstructionConfig(steps=1, weight=1.0),
)
PRESET = Preset(small_config((2,), num_classes=2, spectral=True), (TRAINING, TRAINING), "for tests")
QUIET = RunOptions(samples_every=100, save_every=100, tensorboard=False)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order, so that runs can be compared bit by bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, make_clip: Callable[..., Path]) -> Path:
    """Two classes of two short clips."""
    root = tmp_path_factory.mktemp("clips")
    for number, name in enumerate(("cats", "dogs")):
        (root / name).mkdir()
        for clip in range(2):
            make_clip(root / name / f"{clip}.mp4", frames=12, size=(24, 32), rate=Fraction(25), seed=4 * number + clip)
    return root


@dataclass
class Trained:
    run: Run
    index: ClipIndex
    steps: list[int]
    warnings: list[str]
    metrics: list[dict[str, float]]

    def state(self) -> dict[str, Tensor]:
        """A copy: the file stays mapped into memory otherwise, and tests overwrite it."""
        tensors, _ = load_tensors(states(self.run.out)[-1][1])
        return {key: tensor.clone() for key, tensor in tensors.items()}


def train(
    data: Path,
    out: Path,
    level: int = 1,
    below: Path | None = None,
    *,
    preset: Preset = PRESET,
    seed: int = 0,
    until: int | None = None,
    options: RunOptions = QUIET,
    **changes: Any,
) -> Trained:
    """Train as `hvg train-level` does; `until`: stop early after that step."""
    run, index = plan(preset, level, data, out, below, changes, seed)
    done = Trained(run, index, [], [], [])

    def progress(step: int, metrics: dict[str, float]) -> None:
        done.steps.append(step)
        done.metrics.append(metrics)

    last = train_level(
        run,
        index,
        options,
        progress=progress,
        warn=done.warnings.append,
        stop=lambda: until is not None and bool(done.steps) and done.steps[-1] >= until,
    )
    assert not done.steps or done.steps[-1] == last
    return done


def metric_rows(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))


def finish_run(made: Trained) -> Path:
    return finish(made.run, made.index, device=CPU, passes=2)


@pytest.fixture(scope="module")
def model1(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished level 1."""
    return finish_run(train(data, tmp_path_factory.mktemp("level1")))


# ---- from clips to frames ------------------------------------------------------------------------


def test_two_levels_from_clips_to_frames(data: Path, model1: Path, tmp_path: Path) -> None:
    made = train(data, tmp_path / "run", 2, model1, options=replace(QUIET, samples_every=2, tensorboard=True))
    assert made.steps == [1, 2, 3]
    assert made.warnings == []
    assert "loss_g" not in made.metrics[0]  # reconstruction alone in the first step
    assert all(key in made.metrics[1] for key in ("loss_g", "loss_d", "reconstruction"))
    assert sorted(path.name for path in (tmp_path / "run" / "samples").iterdir()) == [
        "step-00000002.png",
        "step-00000003.png",
    ]
    assert len(list((tmp_path / "run").glob("events.*"))) == 1
    rows = metric_rows(tmp_path / "run")
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    assert float(rows[2]["loss_d"]) == pytest.approx(made.metrics[2]["loss_d"], rel=1e-4)

    told: list[int] = []
    folder = finish(made.run, made.index, device=CPU, passes=2, notes="Clips made for a test.", progress=told.append)
    assert told == [1] * total_passes(2)
    assert "Clips made for a test." in (folder / "README.md").read_text()
    assert all(check.ok for check in verify(folder))
    loaded = hierarchies.load(folder)
    assert loaded.levels == 2
    assert loaded.config.classes == ("cats", "dogs")
    assert not any("parametrizations" in key for key in loaded.generators[1].state_dict())
    for frames in (1, 8, 21):  # the trained length, and any other
        videos = join(generate(loaded, [Sample(0, 0), Sample(1, 1)], frames, sigma=0.5))
        assert videos.shape == (2, frames, 3, 16, 16)
        assert videos.abs().max() <= 1
        assert videos.isfinite().all()
    assert hierarchies.load(folder, levels=1).levels == 1
    with pytest.raises(UsageError, match="level 3"):
        hierarchies.load(folder, levels=3)
    with pytest.raises(WeightsError, match=r"sigma 0\.7"):
        next(generate(loaded, [Sample(0, 0)], 8, sigma=0.7))


def test_the_finished_model_is_the_average_with_its_norms_baked_in(data: Path, tmp_path: Path) -> None:
    made = train(data, tmp_path / "run")
    weights = hierarchies.load(finish_run(made), levels=1).generators[0].state_dict()
    state = made.state()
    original = state["networks/average.to_rgb.parametrizations.weight.original"]
    vectors = [state[f"networks/average.to_rgb.parametrizations.weight.0.{name}"] for name in ("u", "v")]
    sigma = vectors[0] @ original.flatten(1) @ vectors[1]
    torch.testing.assert_close(weights["to_rgb.weight"], original / sigma, rtol=2**-8, atol=1e-6)  # kept in bfloat16


def test_the_levels_below_are_kept_as_they_were(data: Path, model1: Path, tmp_path: Path) -> None:
    folder = finish_run(train(data, tmp_path / "run", 2, model1))
    below, ours = (load_tensors(path / "level1.safetensors")[0] for path in (model1, folder))
    assert set(below) == set(ours)
    assert all(torch.equal(below[key], ours[key]) for key in below)


def test_an_unconditional_model_from_a_folder_of_clips(data: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (data / "cats").iterdir():
        shutil.copy(path, flat)
    preset = replace(PRESET, model=replace(PRESET.model, num_classes=0))
    folder = finish_run(train(flat, tmp_path / "run", preset=preset))
    loaded = hierarchies.load(folder, levels=1)
    assert not loaded.config.conditional
    assert next(generate(loaded, [Sample(3)], 4, sigma=1.0)).shape == (1, 4, 3, 8, 8)


# ---- the same command continues ------------------------------------------------------------------


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert set(first) == set(second)
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


@pytest.mark.parametrize("level", [1, 2])
def test_a_resumed_run_is_the_uninterrupted_one_bit_by_bit(
    data: Path, model1: Path, tmp_path: Path, level: int
) -> None:
    below = model1 if level == 2 else None
    whole = train(data, tmp_path / "whole", level, below, steps=4)
    first = train(data, tmp_path / "parts", level, below, steps=4, until=2)
    assert first.steps == [1, 2]
    torch.manual_seed(99)  # whatever happens in between
    second = train(data, tmp_path / "parts", level, below, steps=4)
    assert second.steps == [3, 4]
    assert second.warnings == []
    assert_same(whole.state(), second.state())
    rows = [metric_rows(tmp_path / name) for name in ("whole", "parts")]
    for row in (*rows[0], *rows[1]):
        del row["seconds"]
    assert rows[0] == rows[1]
    assert train(data, tmp_path / "parts", level, below, steps=4).steps == []  # nothing is left to do


def test_another_seed_is_another_run(data: Path, tmp_path: Path) -> None:
    first, second = (train(data, tmp_path / str(seed), seed=seed, steps=1).state() for seed in (0, 1))
    assert not torch.equal(first["networks/generator.to_rgb.bias"], second["networks/generator.to_rgb.bias"])


def test_ctrl_c_saves_the_state(data: Path, tmp_path: Path) -> None:
    run, index = plan(PRESET, 1, data, tmp_path / "run", None, {"steps": 4}, 0)

    def interrupt(step: int, metrics: dict[str, float]) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_level(run, index, QUIET, progress=interrupt, warn=lambda message: None)
    assert [step for step, _ in states(run.out)] == [2]
    assert_same(train(data, tmp_path / "run", steps=4).state(), train(data, tmp_path / "whole", steps=4).state())


def test_the_last_states_are_kept(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "run", steps=5, options=replace(QUIET, save_every=1, keep=2))
    assert [step for step, _ in states(tmp_path / "run")] == [4, 5]


@pytest.mark.parametrize("damage", ["cut off", "empty", "noise"])
def test_a_damaged_state_falls_back_to_the_one_before(data: Path, tmp_path: Path, damage: str) -> None:
    options = replace(QUIET, save_every=1)
    whole = train(data, tmp_path / "run", options=options).state()
    last = states(tmp_path / "run")[-1][1]
    content = last.read_bytes()
    last.write_bytes({"cut off": content[: len(content) // 2], "empty": b"", "noise": b"\x07" * 1000}[damage])
    again = train(data, tmp_path / "run", options=options)
    assert again.steps == [3]
    assert len(again.warnings) == 1
    assert last.name in again.warnings[0]
    assert_same(whole, again.state())


# ---- what is refused -----------------------------------------------------------------------------


def test_another_run_in_the_same_folder_is_refused(data: Path, model1: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "run", steps=1)
    wider = replace(PRESET.model.levels[0], channels=5)
    other = replace(PRESET, model=replace(PRESET.model, levels=(wider, PRESET.model.levels[1])))
    with pytest.raises(UsageError, match="model differs"):
        train(data, tmp_path / "run", preset=other, steps=2)
    with pytest.raises(UsageError, match="seed differs"):
        train(data, tmp_path / "run", seed=1, steps=2)
    with pytest.raises(UsageError, match="another run"):
        train(data, tmp_path / "run", 2, model1, steps=2)
    assert train(data, tmp_path / "run", steps=2).steps == [2]  # more steps of the same run are welcome


def test_other_classes_than_before_are_refused(data: Path, model1: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed"
    shutil.copytree(data, renamed)
    train(renamed, tmp_path / "run", steps=1)
    (renamed / "dogs").rename(renamed / "wolves")
    with pytest.raises(UsageError, match="another run"):
        train(renamed, tmp_path / "run", steps=2)
    with pytest.raises(UsageError, match="classes"):
        plan(PRESET, 2, renamed, tmp_path / "two", model1, {}, 0)
    assert not (tmp_path / "two").exists()


def test_requests_that_do_not_fit_are_refused(data: Path, model1: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for level, below, message in ((0, None, "1..2"), (3, model1, "1..2"), (1, model1, "--model"), (2, None, "--model")):
        with pytest.raises(UsageError, match=message):
            plan(PRESET, level, data, out, below, {}, 0)
    with pytest.raises(UsageError, match="folder a class"):
        plan(PRESET, 1, data / "cats", out, None, {}, 0)
    with pytest.raises(UsageError, match="--batch-size"):
        plan(PRESET, 1, data, out, None, {"batch_size": 1}, 0)
    with pytest.raises(DataError, match="no such folder"):
        plan(PRESET, 1, data / "none", out, None, {}, 0)
    with pytest.raises(WeightsError):
        plan(PRESET, 2, data, out, tmp_path, {}, 0)
    assert not out.exists()


def test_two_processes_do_not_train_in_one_folder(data: Path, tmp_path: Path) -> None:
    refused: list[str] = []

    def meanwhile(step: int, metrics: dict[str, float]) -> None:
        with pytest.raises(UsageError, match="being trained") as caught:
            train(data, tmp_path / "run", steps=2)
        refused.append(str(caught.value))

    run, index = plan(PRESET, 1, data, tmp_path / "run", None, {"steps": 2}, 0)
    assert train_level(run, index, QUIET, progress=meanwhile, warn=refused.append) == 2
    assert len(refused) == 2
    assert train(data, tmp_path / "run", steps=3).steps == [3]  # free again


# ---- bad clips -----------------------------------------------------------------------------------


def test_a_clip_that_cannot_be_read_is_skipped_and_counted(data: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(data, damaged)
    run, index = plan(PRESET, 1, damaged, tmp_path / "run", None, {}, 0)
    bad = [damaged / "cats" / "0.mp4", damaged / "dogs" / "1.mp4"]
    for path in bad:  # after the folder was listed, as on a failing disk
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 3])
    warnings: list[str] = []
    assert train_level(run, index, QUIET, progress=lambda *what: None, warn=warnings.append) == 3
    assert len(warnings) == 2  # once a clip, however often it is drawn
    assert "(1 so far)" in warnings[0]
    assert "(2 so far)" in warnings[1]
    assert all(any(path.name in warning for warning in warnings) for path in bad)


def test_a_file_that_is_no_video_is_left_out_from_the_start(data: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(data, damaged)
    (damaged / "cats" / "notes.mp4").write_text("not a video")
    _, index = plan(PRESET, 1, damaged, tmp_path / "run", None, {}, 0)
    assert [path.name for path, _ in index.skipped] == ["notes.mp4"]
    assert len(index.clips) == 4


# ---- what the networks see -----------------------------------------------------------------------


@pytest.mark.parametrize("times", [(2,), (2, 2), (1, 2)])
def test_real_pairs_are_made_by_f_s_and_f_t(times: tuple[int, ...]) -> None:
    config = small_config(times)
    top = len(config.levels)
    video = torch.rand(2, 8, 3, config.resolution, config.resolution, generator=torch.Generator().manual_seed(0))
    views = [None, *pyramid.pyramid(video, config, top)]  # x^1 .. x^L
    for level in range(2, top + 1):
        x, low = real_pair(config, level, video[:, :: config.levels[level - 1].stride // config.levels[-1].stride])
        below = config.levels[level - 2]
        expected = torch.nn.functional.interpolate(
            x[:, :: config.times_time(level)].flatten(0, 1),
            size=(below.resolution, below.resolution),
            mode="bilinear",
            antialias=True,
            align_corners=False,
        ).unflatten(0, (2, -1))
        assert low is not None
        torch.testing.assert_close(low, expected)
        torch.testing.assert_close(x, views[level])
        torch.testing.assert_close(low, views[level - 1])
    outline, none = real_pair(config, 1, video[:, :: config.frame_factor(top)])
    assert none is None
    torch.testing.assert_close(outline, views[1])


def test_every_level_is_cut_at_the_size_of_the_last_and_at_its_own_stride() -> None:
    config = small_config((2, 2))
    specs = [window_spec(config, level, TRAINING) for level in (1, 2, 3)]
    assert [spec.resolution for spec in specs] == [32, 32, 32]
    assert [spec.stride for spec in specs] == [4, 2, 1]
    assert [spec.frames for spec in specs] == [4, 4, 4]
    assert all(spec.flip and spec.random_scale == (0.5, 1.0) and spec.balance_classes for spec in specs)


def test_generated_conditions_have_the_classes_of_the_data(data: Path, tmp_path: Path) -> None:
    uneven = tmp_path / "uneven"
    shutil.copytree(data, uneven)
    (uneven / "dogs" / "1.mp4").unlink()
    _, index = plan(PRESET, 1, uneven, tmp_path / "run", None, {}, 0)
    config = PRESET.model
    assert class_weights(index, replace(TRAINING, balance_classes=False), config).tolist() == [2, 1]
    assert class_weights(index, TRAINING, config).tolist() == [1, 1]
    assert class_weights(index, TRAINING, replace(config, num_classes=0)) is None
