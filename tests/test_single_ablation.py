"""`examples/single_ablation.py`, run as a reader would run it, and its tables."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from hvgcli.checkpoints import write_json
from hvgcli.metrics.frame_statistics import FrameStatistics
from hvgcli.presets import find_single_preset

EXAMPLES = Path(__file__).parents[1] / "examples"
TINY = {"rates": [1, 2], "window": 5, "blocks": 2, "family": "hp-vae-gan", "height": 16, "width": 24, "min_height": 8}


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXAMPLES)
    import single_ablation

    return single_ablation


def ablate(folder: Path, *clips: Path) -> str:
    """What it says on stderr, with tiny numbers."""
    preset = {"model": {"name": "tiny", "levels": [TINY], "source_rate": "24"}, "training": {}}
    write_json(folder / "tiny.json", preset)
    sizes = ["--minutes", "0.01", "--height", "16", "--scales", "2", "--channels", "4", "--num", "2"]
    places = ["--runs", str(folder / "runs"), "--out", str(folder / "table.md"), "--preset", str(folder / "tiny.json")]
    command = [sys.executable, str(EXAMPLES / "single_ablation.py"), *map(str, clips), *sizes, *places]
    done = subprocess.run([*command, "--variants", "V0,V2,all-trained"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.slow
def test_it_trains_measures_and_goes_on(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=5, size=(16, 24), seed=1)
    picture = tmp_path / "picture.png"
    Image.effect_noise((24, 16), 80).convert("RGB").save(picture)
    said = ablate(tmp_path, clip, picture)
    assert "clip V0: scale 1" in said
    page = (tmp_path / "table.md").read_text()
    assert all(f"## {name}" in page for name in ("SVFID[frames]", "SIFID[frames]", "LAB diversity", "Iterations"))
    results = json.loads((tmp_path / "table.json").read_text())["results"]
    variants = ("V0", "V2", "all-trained")
    assert [(r["clip"], r["image"], r["variant"]) for r in results] == [
        *(("clip", False, name) for name in variants),
        *(("picture", True, name) for name in variants),
    ]
    with Image.open(tmp_path / "runs" / "clip.png") as sheet:
        assert sheet.height == 4 * 16 + 3 * 2  # the real clip and three variants
    before = (tmp_path / "runs" / "clip" / "V0-0.01min" / "metrics.csv").read_bytes()
    again = ablate(tmp_path, clip, picture)
    assert "scale" not in again, "nothing is trained twice"
    assert (tmp_path / "runs" / "clip" / "V0-0.01min" / "metrics.csv").read_bytes() == before
    assert json.loads((tmp_path / "table.json").read_text())["results"] == results


def results(program: ModuleType, values: dict[tuple[str, str], tuple[float, float]]) -> list[object]:
    """Of clip and variant: distance and diversity."""
    from single_lab import Result

    return [
        Result(clip, False, variant, "SVFID[x]", distance, 0.5, diversity, 10.0, 100, 60, "the map of x")
        for (clip, variant), (distance, diversity) in values.items()
    ]


def test_tables_have_the_curve_the_changes_and_the_verdicts(program: ModuleType) -> None:
    found = results(
        program,
        {
            ("a", "V0"): (4.0, 0.2),
            ("a", "V3"): (6.0, 0.6),
            ("a", "V10"): (20.0, 1.0),
            ("a", "all-trained"): (60.0, 0.3),
            ("b", "V0"): (6.0, 0.4),
            ("b", "V3"): (14.0, 0.4),
            ("b", "V10"): (10.0, 1.0),
            ("b", "all-trained"): (20.0, 0.2),
        },
    )
    page = program.Tables(found, 10).whole()
    assert "| clip | V = 0 | V = 3 | V = 10 | all-trained |" in page
    assert "| a | 4 ± 0.5 | 6 ± 0.5 | 20 ± 0.5 | 60 ± 0.5 |" in page
    assert "| **mean** | 5 | 10 | 15 | 40 |" in page
    assert "| all-trained | +300 % (the paper: +680 %) | -50 % (the paper: -51 %) | +0 % |" in page
    assert "SVFID[x] below that of VAE only: **yes**, 10 against 15; on 1 of 2 clips" in page
    assert "diversity at least 1.5 times GAN only: **yes**, 0.5 against 0.3; on 1 of 2 clips" in page
    assert "diversity at least half of VAE only: **yes**, 0.5 against 1; on 1 of 2 clips" in page


def test_a_mean_waits_for_all_clips(program: ModuleType) -> None:
    found = results(program, {("a", "V3"): (6.0, 0.6), ("a", "V10"): (2.0, 0.6), ("b", "V3"): (6.0, 0.6)})
    tables = program.Tables(found, 10)
    assert tables.mean("V3", "distance") == 6
    assert tables.mean("V10", "distance") is None
    assert "below that of VAE only" not in tables.whole()
    assert "**NO**, 6 against 2; on 0 of 1 clips" in program.Tables(found[:2], 10).whole()


def test_losses_and_rates_are_those_of_the_preset(program: ModuleType, tmp_path: Path) -> None:
    preset = find_single_preset("hp-vae-gan-mini")
    preset = replace(preset, training=replace(preset.training, lr=1e-4, kl_weight=3.0))
    lab = program.Lab(tmp_path, FrameStatistics(), preset, 2.0, 16, 2, 4, 2)
    training = lab.training(program.Variant("all-trained", 2, freeze=False))
    assert (training.lr, training.kl_weight, training.minutes, training.freeze) == (1e-4, 3.0, 2.0, False)


def test_variants_by_name(program: ModuleType) -> None:
    names = program.default_variants(10)
    assert names == ["V0", "V1", "V3", "V5", "V10", "all-trained", "r1"]
    found = {variant.name: variant for variant in program.variants_of(names, 10)}
    assert [found[f"V{count}"].vae_scales for count in (0, 1, 3, 5, 10)] == [0, 1, 3, 5, 10]
    assert (found["all-trained"].vae_scales, found["all-trained"].freeze) == (3, False)
    assert (found["encoder-r1"].encoder_kernel, found["encoder-r1"].decoder_kernel) == (1, 3)
    assert (found["decoder-r1"].encoder_kernel, found["decoder-r1"].decoder_kernel) == (3, 1)
    assert program.default_variants(3) == ["V0", "V1", "V3", "all-trained", "r1"]
    with pytest.raises(ValueError, match="V11"):
        program.variants_of(["V11"], 10)
