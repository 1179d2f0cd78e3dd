"""The program that makes the table of hvg-mini: its sets, its page, and a whole small table that goes on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from real_models import make_working_model
from torch import Tensor, nn

from hvgcli.data.clips import scan
from hvgcli.data.pyramid import downsample_space
from hvgcli.data.windows import to_float
from hvgcli.errors import DataError
from hvgcli.metrics.frame_statistics import FrameStatistics
from hvgcli.metrics.motion import change_energy
from hvgcli.metrics.videos import RealVideos
from hvgcli.metrics.windows import Sampling

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The program's modules."""
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    import hvg_mini
    import hvg_mini_criteria
    import hvg_mini_page
    import hvg_mini_picture
    import hvg_mini_sets

    return SimpleNamespace(
        main=hvg_mini, criteria=hvg_mini_criteria, page=hvg_mini_page, picture=hvg_mini_picture, sets=hvg_mini_sets
    )


def some(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


# ---- sets ------------------------------------------------------------------------------------------


def test_an_enlarged_outline_keeps_what_is_smooth(table: SimpleNamespace) -> None:
    """A ramp in space that brightens evenly has its mean frames, but for borders and the frames after the last one."""
    ramp = torch.arange(32.0)[None, None, None, :, None] * 4 + torch.arange(8.0)[None, :, None, None, None] * 6
    video = ramp.expand(1, 8, 32, 32, 3).round().to(torch.uint8)
    made = table.sets.outline_enlarged(video, 8, 4)
    assert made.shape == video.shape
    assert made.dtype == torch.uint8
    gap = (made.float() - video.float()).abs()[:, :5, 6:-6, 6:-6]
    assert gap.max() <= 1.5
    assert torch.equal(made[:, 5], made[:, 4])  # the outline has frames 0 and 4 only
    assert torch.equal(made[:, 7], made[:, 4])


def test_an_enlarged_outline_has_lost_the_detail(table: SimpleNamespace) -> None:
    video = some((2, 4, 32, 32))
    made = table.sets.outline_enlarged(video, 8, 2)
    outline, again = (downsample_space(to_float(x[:, ::2]), 8) for x in (video, made))
    assert (outline - again).abs().mean() < 0.05
    assert made.float().std() < 0.3 * video.float().std()


def test_frozen_and_noise(table: SimpleNamespace) -> None:
    video = some((2, 5, 4, 4))
    still = table.sets.frozen(video)
    assert change_energy(still).tolist() == [0, 0]
    assert torch.equal(still[:, 0], video[:, 0])
    first, second = table.sets.Noise(), table.sets.Noise()
    assert torch.equal(first(video), second(video))
    assert not torch.equal(first(video), second(video)[:, :1].expand_as(video))


def test_columns_of_a_profile(table: SimpleNamespace) -> None:
    """Each part of a row is what its own function gives, and the parts are those of shorter videos."""
    videos = some((3, 30, 16, 16))
    network = FrameStatistics()
    profile = table.sets.Profile(network, parts=True)
    from hvgcli.metrics.features import FeatureSet

    found = FeatureSet("n", "s", profile.logits(videos), None, torch.tensor([1, 0, 1]), torch.arange(3), ("a", "b"))
    rows = table.sets.unpacked(found, {"size": "16x16", "frames": 30}, True)
    assert rows.names == ("b", "a", "b")
    torch.testing.assert_close(rows.table["video"], network.logits(videos))
    torch.testing.assert_close(rows.table["first"], network.logits(videos[:, :12]))
    torch.testing.assert_close(rows.table["last"], network.logits(videos[:, 18:]))
    torch.testing.assert_close(rows.table["motion"][:, 0].double(), change_energy(videos))
    assert rows.numbers == (1, 10, 24, 30)
    assert rows.spectra.shape == (3, 4, 8)
    small = table.criteria.small(rows, 1)
    assert torch.equal(small, videos[1, [0, 10, 19, 29]])  # already of that size
    assert table.sets.Profile(network).sha256 != profile.sha256
    both = rows.of_classes(["b"]).join(rows)
    assert both.names == ("b", "b", "b", "a", "b")
    assert len(both.takes.unique()) == 5


@pytest.fixture
def clips(tmp_path: Path, make_clip: Callable[..., Path]) -> Path:
    """Two takes of cat and one of dog to train on, one of cat held out."""
    for number, name in enumerate(("train/cat/a", "train/cat/b", "train/dog/c", "val/cat/d")):
        path = tmp_path / "clips" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        make_clip(path, frames=104, size=(16, 24), seed=number)
    return tmp_path / "clips"


def test_windows_by_class(table: SimpleNamespace, clips: Path) -> None:
    def windows() -> RealVideos:
        return RealVideos(scan(clips / "train"), Sampling(12, 2, (16, 16), "windows"), name="train")

    videos = windows()
    table.sets.limited(videos, {"cat": 5, "dog": 2})
    assert videos.class_counts == {"cat": 5, "dog": 2}
    assert len({window.clip for window in videos.windows}) == 3
    every = windows().count
    videos = windows()
    table.sets.limited(videos, {"cat": 10**6})
    assert videos.class_counts["cat"] == every * 2 // 3
    assert videos.class_counts["dog"] == 0
    with pytest.raises(DataError, match="no windows"):
        table.sets.limited(windows(), {"bird": 1})


# ---- numbers ---------------------------------------------------------------------------------------


def test_ratios_are_of_pairs(table: SimpleNamespace) -> None:
    value, low, high = table.criteria.ratio([2.0, 1.0, 2.0, 4.0], [1.0, 0.5, 1.0, 2.0])
    assert (value, low, high) == (0.5, 0.5, 0.5)


def test_grounding_of_a_level(table: SimpleNamespace) -> None:
    """A level that only enlarges and adds 2/255 everywhere is off by that, and the correction takes it away."""
    low = torch.rand(1, 3, 3, 4, 4, generator=torch.Generator().manual_seed(0)) - 0.5
    high = nn.functional.interpolate(low.flatten(0, 1), scale_factor=4)[None].repeat_interleave(2, dim=1)
    exact = downsample_space(high[:, ::2], 4)
    config = SimpleNamespace(times_time=lambda level: 2)
    raw, corrected = table.criteria.level_errors(SimpleNamespace(config=config), 2, exact - 4 / 255, high)
    assert raw.mean * 255 == pytest.approx(2, abs=1e-3)
    assert corrected.mean * 255 < 0.25


def test_spectra_of_the_real_videos_are_within(table: SimpleNamespace) -> None:
    def gathered(videos: Tensor) -> Any:
        frames = videos.shape[1]
        spectra = table.sets.video_spectra(videos, table.sets.frames_within(frames)).flatten(1).float()
        return table.sets.Gathered(
            {"frames": frames}, ("a",) * len(videos), torch.arange(len(videos)), {"spectra": spectra}
        )

    real = gathered(some((20, 2, 16, 16)))
    found = table.criteria.spectra(real, real)
    assert [row["within"] for row in found.values()] == [1, 1]
    assert [row["videos_within"] for row in found.values()] == pytest.approx([0.9, 0.9], abs=0.05)
    faint = table.criteria.spectra(real, gathered(some((20, 2, 16, 16)) // 8))
    assert [row["within"] for row in faint.values()] == [0, 0]
    assert min(row["excess_db"][0] for row in faint.values()) < -10


# ---- what is measured again ------------------------------------------------------------------------


def test_only_what_changed_is_measured_again(table: SimpleNamespace, tmp_path: Path) -> None:
    calls: list[str] = []

    def part(name: str, depends: str) -> Any:
        return table.main.Part(name, lambda: [depends], lambda: calls.append(name) or {"value": len(calls)})

    file, result = tmp_path / "table.json", {}
    table.main.run([part("a, 1", "x"), part("b", "x")], result, file, ["network"], ["a"])
    assert calls == ["a, 1"]
    result = json.loads(file.read_text())
    table.main.run([part("a, 1", "x"), part("b", "x")], result, file, ["network"], [])
    assert calls == ["a, 1", "b"]
    table.main.run([part("a, 1", "other sha"), part("b", "x")], result, file, ["network"], [])
    assert calls == ["a, 1", "b", "a, 1"]
    assert json.loads(file.read_text())["parts"]["a, 1"]["value"] == 3
    table.main.run([part("a, 1", "other sha"), part("b", "x")], result, file, ["another network"], [])
    assert len(calls) == 5


def test_what_is_measured_with_training_windows_changes_with_them(
    table: SimpleNamespace, clips: Path, tmp_path: Path, make_clip: Callable[..., Path]
) -> None:
    models = [str(make_working_model(tmp_path / name, name=name)) for name in ("one", "two")]

    def keys() -> dict[str, str]:
        network, size = FrameStatistics(), (16, 16)
        sets = table.sets.Sets(clips, "train", "val", network, num=4, extra=2, size=size, stride=2)
        parts = table.main.criteria_parts(sets, models, [(8, 4)], 2)
        parts += [table.main.row(sets, "training clips", sets.training, frames, 2) for frames in (12, 48)]
        return {part.name: table.main.key_of(part.depends()) for part in parts}

    before = keys()
    assert keys() == before
    make_clip(clips / "train" / "dog" / "c.mp4", frames=104, size=(16, 24), seed=9)  # another one of that name
    after = keys()
    assert {name for name in before if after[name] == before[name]} == {"grounding"}


# ---- the page --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.123"), (12.345, "12.3"), (1234.5, "1234"), (None, ""), (0.00012345, "0.000123"), (-2.0, "-2")],
)
def test_numbers(table: SimpleNamespace, value: float | None, text: str) -> None:
    assert table.page.number(value) == text


def test_criteria_hold_or_not(table: SimpleNamespace) -> None:
    late = {"fvd": {"first": 1.0, "last": 1.2, "ratio": [1.2, 1.1, 1.3]}}
    spectra = {"1": {"within": 1.0}, "10": {"within": 0.5}}
    parts = {
        "against": {"m, sigma 1": {"fvd": [0.7, 0.6, 0.8], "fvd_pca64": [0.9, 0.8, 1.0]}},
        "classes": {"m, sigma 1": {"held_out_share": 0.9, "mean_of_classes": 0.5}},
        "m, sigma 1, 48 frames": {"late": late, "spectra": spectra},
        "grounding": {"sigma 1": {"2": {"mean": 3.9}, "3": {"mean": 4.1}}},
        "motion": {"m, sigma 1": {"within": 2, "ratio": {"a": 1.0, "b": 0.6}}},
    }
    rows = list(table.page.criteria(parts, "m", "o", "sigma 1"))
    assert [(row[0], row[-1]) for row in rows] == [
        ("a", "yes"),
        ("a", "no"),
        ("b", "yes"),
        ("b", "no"),
        ("c", "no"),
        ("c", "no"),
        ("d", "yes"),
        ("d", "no"),
        ("f", "yes"),
    ]


def test_the_ablation_is_read_from_its_table(table: SimpleNamespace) -> None:
    words = table.page.ablation((REPOSITORY / "benchmarks/results/ablation_matching.md").read_text())
    assert words.count(" and ") >= 2
    assert "on 12 frames" in words
    assert "on 24 frames" in words


def test_clips_are_not_copied_into_the_repository(table: SimpleNamespace, tmp_path: Path) -> None:
    assert table.picture.outside(tmp_path / "a.png")
    assert not table.picture.outside(REPOSITORY / "docs" / "a.png")
    assert not table.picture.outside(REPOSITORY / "docs" / ".." / "a.png")


# ---- all of it -------------------------------------------------------------------------------------


class Colours(nn.Module):
    """A feature network: the means of three parts of a video."""

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        top, bottom = x[:, :, :, :8].mean((2, 3, 4)), x[:, :, :, 8:].mean((2, 3, 4))
        return torch.cat((top, bottom, x.std((2, 3, 4))), dim=1) / 255


def test_a_whole_table_and_again(
    table: SimpleNamespace, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for name in ("one", "short", "two"):
        make_working_model(tmp_path / name, name=name)
    torch.jit.script(Colours()).save(str(tmp_path / "colours.pt"))
    monkeypatch.setattr(table.main, "SIGMAS", (0.5,))
    monkeypatch.setattr(table.main, "TRUNCATION", (0.5, 1.0))
    out, picture = tmp_path / "table.md", tmp_path / "picture.png"
    command = ["hvg_mini.py", str(clips), "--features", str(tmp_path / "colours.pt"), "--model", str(tmp_path / "one")]
    command += ["--beside", str(tmp_path / "short"), "--against", str(tmp_path / "two")]
    command += ["--num", "4", "--extra", "2", "--trials", "2", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*command, "--picture", str(picture)])
    table.main.main()
    text = out.read_text()
    for line in (
        "one, sigma 0.5 | 4 |",
        "short, sigma 0.5 | 4 |",
        "one was trained ? times as long as two. Beside it:",
        "| short | ? | FVD on 48 frames, divided",
        "training clips | 4 |",
        "noise | 4 |",
        "frozen | 4 |",
        "| dog | no |",
    ):
        assert f"{line}" in text, text
    assert [line[2] for line in text.splitlines() if line[:4] in {f"| {c} " for c in "abcdef"}] == list("aabbcccdef")
    assert picture.stat().st_size > 0
    first = json.loads(out.with_suffix(".json").read_text())
    assert set(first["parts"]) == set(first["order"])
    assert first["parts"]["classes"]["one, sigma 0.5"]["videos"] == 6
    assert 0 < first["parts"]["outlines"]["8x8"]["cat"] < 1
    curve = first["parts"]["truncation"]
    whole = first["parts"]["one, sigma 0.5, 48 frames"]["distances"]["fvd"][0]
    assert curve["sigma 0.5"]["fvd"] == pytest.approx(whole)
    assert all(0 <= curve[name]["recall"] <= 1 for name in ("sigma 0.5", "sigma 1", "training clips"))
    capsys.readouterr()
    table.main.main()
    assert "[1/" not in capsys.readouterr().err
    assert json.loads(out.with_suffix(".json").read_text())["parts"] == first["parts"]
