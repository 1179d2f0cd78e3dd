"""`examples/ablate_aids.py`: its arms, its measures, and the whole program on tiny clips as a reader would run it."""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from hvgcli.checkpoints import load_tensors, read_model_config
from hvgcli.config import (
    DiscriminatorConfig,
    LevelConfig,
    ModelConfig,
    Preset,
    ReconstructionConfig,
    TrainingConfig,
    to_dict,
)
from hvgcli.data.clips import scan
from hvgcli.metrics.videos import RealVideos
from hvgcli.metrics.windows import Sampling
from hvgcli.presets import find_preset
from hvgcli.training.run_state import states

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXAMPLES)
    import ablate_aids

    return ablate_aids


@pytest.fixture
def lab(program: ModuleType) -> ModuleType:
    import aids_lab

    return aids_lab


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, make_clip: Callable[..., Path]) -> Path:
    """`train` of two classes, and `val`, which lacks one of them."""
    folder = tmp_path_factory.mktemp("aids")
    for part, labels in (("train", ("calm", "calm", "wild")), ("val", ("calm", "calm"))):
        for number, label in enumerate(labels):
            (folder / part / label).mkdir(parents=True, exist_ok=True)
            make_clip(folder / part / label / f"{number}.mp4", frames=24, size=(16, 20), seed=len(part) + number)
    return folder


def tiny() -> Preset:
    """A preset with all the aids, of 4 frames of 8x8."""
    patches = DiscriminatorConfig(4, (1, 2), patches=True)
    level = LevelConfig(4, 8, 2, 4, (2, 1), patches, patches, None, 5, 3, spectral_norm=False, code_components=2)
    training = TrainingConfig(
        steps=9,
        batch_size=16,
        lr_generator=3e-4,
        discriminator_updates=1,
        spatial_frames=2,
        ema=0.9,
        balance_classes=True,
        reconstruction=ReconstructionConfig(6, 1.0, 1e-3, 0.5, 3.0, nats=24.0),
        adversarial_weight=0.3,
    )
    return Preset(ModelConfig("tiny", (level,), 2), (training,), "for tests")


def options(program: ModuleType, clips: Path, folder: Path, *more: str) -> argparse.Namespace:
    """With tiny numbers."""
    (folder / "tiny.json").write_text(json.dumps(to_dict(tiny())))
    sizes = ["--steps", "3", "--adversary-steps", "2", "--num", "12", "--passes", "1", "--trials", "5"]
    places = ["--runs", str(folder / "runs"), "--out", str(folder / "tables"), "--preset", str(folder / "tiny.json")]
    return program.options_of([str(clips), *sizes, *places, *more])


# ---- arms --------------------------------------------------------------------------------------


def differences(one: object, other: object) -> dict[str, object]:
    """The fields of the second dataclass that the first has otherwise, `reconstruction` by its own fields."""
    found: dict[str, object] = {}
    for name, value in vars(other).items():
        before = getattr(one, name)
        if isinstance(value, ReconstructionConfig):
            found |= differences(before, value)
        elif value != before:
            found[name] = value
    return found


def test_each_arm_changes_one_thing_of_hvg_mini(program: ModuleType, lab: ModuleType) -> None:
    preset, changes = find_preset("hvg-mini"), {}
    for arm in program.ARMS.values():
        base = lab.recipe(preset, program.ARMS[program.BASES[arm.phase - 1]], 7)
        made = lab.recipe(preset, arm, 7)
        changes[arm.name] = differences(base.level, made.level) | differences(base.training, made.training)
    whole = DiscriminatorConfig(32, (1, 2, 4))
    assert changes == {
        "base": {},
        "base-again": {},
        "no-balance": {"balance_classes": False},
        "no-structure": {"structure_weight": 0.0},
        "no-motion": {"motion_weight": 0.0},
        "half-code": {"nats": 12.0},
        "random-crops": {"random_scale": (0.75, 1.0)},
        "random-stride": {"random_stride": True},
        "wider": {"channels": 24},
        "normal-codes": {"code_components": 0},
        "last-weights": {"ema": 0.0},
        "adversary": {},
        "adversary-again": {},
        "alone": {"steps": lab.ALWAYS},
        "whole-frames": {"spatial": whole, "temporal": whole},
        "augmented": {"augment": ("color", "translation")},
        "large-batch": {"batch_size": 32, "accumulate": 2},
        "orthogonal": {"orthogonal_penalty": 1e-4},
        "no-reconstruction": {"weight": 0.0},
    }


def test_only_the_arms_that_are_there_for_chance_have_another_seed(
    program: ModuleType, clips: Path, tmp_path: Path
) -> None:
    trainings = program.trainings_of(options(program, clips, tmp_path))
    arms = [arm for arm in program.ARMS.values() if arm.phase == 1]
    seeds = {arm.name: trainings.planned(arm, 3)[0].seed for arm in arms}
    assert {name for name, seed in seeds.items() if seed != seeds["base"]} == {"base-again"}


def test_the_bases_are_the_preset_in_its_two_phases(program: ModuleType, lab: ModuleType) -> None:
    preset = find_preset("hvg-mini")
    known = preset.training[0]
    for name, alone in (("base", lab.ALWAYS), ("adversary", 0)):
        made = lab.recipe(preset, program.ARMS[name], 7)
        assert made.level == preset.model.levels[0]
        assert made.training.steps == 7
        assert made.aid.steps == alone
        assert replace(made.aid, steps=known.reconstruction.steps) == known.reconstruction
        assert replace(made.training, steps=known.steps, reconstruction=known.reconstruction) == known


def test_a_pace_is_that_of_the_first_steps_without_waiting(lab: ModuleType, tmp_path: Path) -> None:
    for name, seconds in (("a", (9.0, 2.5, 2.5)), ("b", (0.7, 0.7, 9.0))):
        (tmp_path / name).mkdir()
        with (tmp_path / name / "metrics.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([("step", "seconds", "data_seconds"), *((i, s, 0.5) for i, s in enumerate(seconds, 1))])
    assert lab.pace(tmp_path / "a", 3) == 2.0
    assert lab.pace(tmp_path / "b", 2) == pytest.approx(0.2)  # the third is not one of the first two
    assert lab.spent(tmp_path / "a") == (3, 14.0)
    assert lab.spent(tmp_path / "none") == (0, 0)


def test_an_unknown_arm_is_refused_with_those_there_are(
    program: ModuleType, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert options(program, clips, tmp_path, "--arms", "alone, base").arms == ["alone", "base"]
    assert options(program, clips, tmp_path).arms == list(program.ARMS)
    with pytest.raises(SystemExit):
        options(program, clips, tmp_path, "--arms", "base,bass")
    assert "'bass': give some of base,base-again" in capsys.readouterr().err


# ---- measures ----------------------------------------------------------------------------------


def test_motion_and_detail_are_those_of_literal_loops(lab: ModuleType) -> None:
    chooser = torch.Generator().manual_seed(3)
    videos = torch.randint(0, 256, (2, 3, 4, 5, 3), dtype=torch.uint8, generator=chooser)
    for number, video in enumerate(videos.numpy().astype(np.float64)):
        moved = [abs(video[t + 1] - video[t]).mean() for t in range(2)]
        down = [(video[:, y + 1] - video[:, y]) ** 2 for y in range(3)]
        across = [(video[:, :, x + 1] - video[:, :, x]) ** 2 for x in range(4)]
        assert lab.motions(videos)[number] == pytest.approx(np.mean(moved), rel=1e-5)
        assert lab.details(videos)[number] == pytest.approx(np.mean(down) + np.mean(across), rel=1e-5)


def test_looks_are_motion_detail_and_the_features_of_the_network(program: ModuleType, lab: ModuleType) -> None:
    from hvgcli.metrics.frame_statistics import FrameStatistics

    videos = torch.randint(0, 256, (2, 4, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    network = FrameStatistics()
    found = lab.Looks(network).logits(videos)
    torch.testing.assert_close(found[:, 0], lab.motions(videos))
    torch.testing.assert_close(found[:, 1], lab.details(videos))
    torch.testing.assert_close(found[:, 2:], network.logits(videos))
    assert lab.Looks(network).sha256 != network.sha256


def test_training_windows_are_as_many_of_each_class_as_are_held_out(lab: ModuleType, clips: Path) -> None:
    sampling = Sampling(4, 2, (8, 8), "windows")
    videos = RealVideos(scan(clips / "train"), sampling, name="train", workers=0)
    had = videos.class_counts
    lab.keep(videos, {"calm": 5, "wild": 0})
    assert had["wild"] > 0
    assert videos.class_counts == {"calm": 5, "wild": 0}
    assert {window.clip for window in videos.windows} == {0, 1}  # both takes
    lab.keep(videos, {"calm": 99})
    assert videos.count == 5


def test_windows_without_classes_are_kept_too(lab: ModuleType, clips: Path) -> None:
    videos = RealVideos(scan(clips / "train" / "calm"), Sampling(4, 2, (8, 8), "windows"), name="calm", workers=0)
    assert videos.labels is None
    lab.keep(videos, {"": 3})
    assert videos.count == 3


def test_a_value_is_told_with_its_interval(program: ModuleType) -> None:
    assert program.told([120.0]) == "120"
    assert program.told([120.0, 150.0, 150.0]) == "120 (120 to 120)"
    assert program.told([0.5, 0.4, 0.6]) == f"0.5 ({0.5 - 1.96 * 0.02**0.5:.3g} to {0.5 + 1.96 * 0.02**0.5:.3g})"


def test_the_lab_measures_at_the_size_of_the_preset(program: ModuleType, clips: Path, tmp_path: Path) -> None:
    made = program.trainings_of(options(program, clips, tmp_path)).lab
    videos = made.windows(made.full)
    assert (made.full, videos.size, videos.sampling.stride, videos.count) == (4, (8, 8), 2, 12)
    assert made.sigma == 1.0


# ---- the whole program -------------------------------------------------------------------------


def test_an_arm_that_diverges_is_a_row_and_is_not_trained_again(
    program: ModuleType, lab: ModuleType, clips: Path, tmp_path: Path
) -> None:
    arm = lab.Arm("base", 1, "far too fast", lambda recipe: recipe.of_aid(lr=1e30))
    whole = program.trainings_of(options(program, clips, tmp_path))
    trainings = replace(whole, arms={"base": arm, "adversary": program.ARMS["adversary"]})
    for name in ("base", "adversary", "base"):  # the second cannot begin
        with pytest.raises(lab.TrainingError, match="step 2: "):
            trainings.model(trainings.arms[name])
    assert trainings.ended(arm)
    assert not trainings.ended(trainings.arms["adversary"])
    scores = program.Scores(lab.Meter(trainings.lab), 0)
    real, row = program.rows_of(trainings, scores)
    assert real["arm"] == "(real clips of train)"
    assert row["steps"] == 1
    assert str(row["FVD[frames]"]).startswith("diverged: step 2: ")
    assert program.pages(trainings, scores) == program.about(trainings, scores)  # no curve of what is not there


def ablate(program: ModuleType, clips: Path, folder: Path, *more: str) -> str:
    """The page that the program writes."""
    known = options(program, clips, folder)
    sizes = ["--steps", "3", "--adversary-steps", "2", "--num", "12", "--passes", "1", "--trials", "5"]
    places = ["--runs", str(known.runs), "--out", str(known.out), "--preset", known.preset]
    command = [sys.executable, str(EXAMPLES / "ablate_aids.py"), str(clips), *sizes, *places, *more]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return (known.out / "ablation_aids.md").read_text()


def rows_in(page: str) -> list[list[str]]:
    lines = [line for line in page.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[part.strip() for part in line.strip("|").split("|")] for line in lines]


@pytest.mark.slow
def test_it_trains_what_is_missing_and_tabulates_what_is_there(
    program: ModuleType, lab: ModuleType, clips: Path, tmp_path: Path
) -> None:
    few = rows_in(ablate(program, clips, tmp_path, "--arms", "normal-codes"))
    assert [row[0] for row in few] == ["arm", "(real clips of train)", "base", "normal-codes"]
    base = tmp_path / "runs" / "3" / "base"
    before = (base / "metrics.csv").read_bytes()

    page = ablate(program, clips, tmp_path)
    rows = rows_in(page)
    head, *arms = rows[: 2 + len(program.ARMS)]
    measures = ["FVD[frames]", "by base", "precision", "recall", "motion", "detail"]
    assert head == ["arm", "phase", "steps", "seconds", *measures, "what differs"]
    assert [row[0] for row in arms[1:]] == list(program.ARMS)
    assert next(row for row in arms if row[0] == "base") == few[2]
    assert next(row for row in arms if row[0] == "normal-codes") == few[3]
    steps = {row[0]: int(row[2]) for row in arms[1:]}
    runs = {1: tmp_path / "runs" / "3", 2: tmp_path / "runs" / "3+2"}
    for arm in program.ARMS.values():
        wanted = {1: 3, 2: 2}[arm.phase]
        if arm.same_time:
            paces = [lab.pace(runs[arm.phase] / name, wanted) for name in (f"{arm.name}-pace", arm.name)]
            wanted = max(wanted, round(wanted * paces[0] / paces[1]))
        assert steps[arm.name] == (1 if arm.name == "large-batch" else wanted)
    curve = rows[2 + len(program.ARMS) :]
    assert curve[0] == ["sigma", "FVD[frames]", "precision", "recall", "density", "coverage"]
    assert [row[0] for row in curve[1:]] == ["0.25", "0.5", "0.75", "1"]
    adversary = next(row for row in arms if row[0] == "adversary")
    assert curve[-1][1] == adversary[head.index("FVD[frames]")]
    assert ablate(program, clips, tmp_path) == page
    assert (base / "metrics.csv").read_bytes() == before  # nothing was trained twice


@pytest.mark.slow
def test_free_arms_have_the_weights_of_base(program: ModuleType, lab: ModuleType, clips: Path, tmp_path: Path) -> None:
    trainings = program.trainings_of(options(program, clips, tmp_path))
    models = {name: trainings.model(program.ARMS[name]) for name in ("base", "normal-codes", "last-weights")}
    weights = {name: load_tensors(path / "level1.safetensors")[0] for name, path in models.items()}
    state, _ = load_tensors(states(trainings.folder(program.ARMS["base"]))[-1][1])
    assert read_model_config(models["normal-codes"]).hierarchy[0].code_components == 0
    shared = [name for name in weights["normal-codes"] if f"networks/generator.{name}" in state]
    assert len(shared) > 10
    for name in shared:
        assert torch.equal(weights["normal-codes"][name], weights["base"][name])
        last = state[f"networks/generator.{name}"].to(torch.bfloat16)
        assert torch.equal(weights["last-weights"][name], last)
    assert any(not torch.equal(weights["last-weights"][name], weights["base"][name]) for name in shared)
    assert "prior.means" in weights["base"]
    assert "prior.means" not in weights["normal-codes"]
    assert not torch.equal(weights["last-weights"]["prior.means"], torch.zeros_like(weights["base"]["prior.means"]))
