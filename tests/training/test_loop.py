"""Training from a folder of clips to a model that generates; bad clips; what the networks see."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_networks import small_config
from tiny_training import CPU, PRESET, QUIET, TRAINING, finish_run, metric_rows, train

from hvgcli.checkpoints import load_tensors, verify
from hvgcli.data import pyramid
from hvgcli.errors import UsageError, WeightsError
from hvgcli.sampling import hierarchy as hierarchies
from hvgcli.sampling.hierarchy import Sample, generate
from hvgcli.sampling.unroll import join
from hvgcli.training.batches import class_weights, real_pair, window_spec
from hvgcli.training.finish import finish, total_passes
from hvgcli.training.loop import train_level
from hvgcli.training.plan import plan

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
    assert told == [1] * total_passes(made.run, 2)
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
    assert train_level(run, index, QUIET, progress=lambda *what: None, warn=warnings.append).step == 3
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
    assert not any(spec.random_stride for spec in specs)
    assert window_spec(config, 1, replace(TRAINING, random_stride=True)) == replace(specs[0], random_stride=True)


def test_generated_conditions_have_the_classes_of_the_data(data: Path, tmp_path: Path) -> None:
    uneven = tmp_path / "uneven"
    shutil.copytree(data, uneven)
    (uneven / "dogs" / "1.mp4").unlink()
    _, index = plan(PRESET, 1, uneven, tmp_path / "run", None, {}, 0)
    config = PRESET.model
    assert class_weights(index, replace(TRAINING, balance_classes=False), config).tolist() == [2, 1]
    assert class_weights(index, TRAINING, config).tolist() == [1, 1]
    assert class_weights(index, TRAINING, replace(config, num_classes=0)) is None
