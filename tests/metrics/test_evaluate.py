"""What lies between the metrics and the command: names, choices, pairs, what is kept of frames, and the folder."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hvgcli.errors import DataError, MediaError, OutputExistsError, UsageError
from hvgcli.metrics import seen as frames_seen
from hvgcli.metrics.estimate import Estimate
from hvgcli.metrics.evaluate import Comparison, Options, of_class, per_class, shared_classes
from hvgcli.metrics.features import FeatureSet
from hvgcli.metrics.frechet import frechet_of_features
from hvgcli.metrics.inception import inception_score
from hvgcli.metrics.pairs import Reading, find_pairs, read
from hvgcli.metrics.protocol import KINDS, OF_SETS, Means, choose_metrics, parse_metrics, plain, too_few
from hvgcli.metrics.results import Evaluation, SampleClip, check_folder, metric
from hvgcli.metrics.seen import Seen
from hvgcli.metrics.videos import VideoBatch

CLASSES = ("cat", "dog")


def feature_set(count: int, shift: float = 0.0, *, dimensions: int = 5, pooled: int = 80, seed: int = 0) -> FeatureSet:
    """Normal features around `shift`, of classes in turn, three to a take."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, dimensions, generator=generator) + shift
    hidden = torch.randn(count, pooled, generator=generator) + shift
    numbers = torch.arange(count)
    return FeatureSet("net", "0" * 64, logits, hidden, numbers % 2, numbers // 3, CLASSES)


def values(comparison: Comparison, *kinds: str) -> dict[str, float | None]:
    return {row.name: row.value for row in comparison.metrics(kinds)}


# ---- comparisons -------------------------------------------------------------------------------


def test_every_name_carries_the_network():
    found = values(Comparison(feature_set(60), feature_set(60, 0.5, seed=1)), "fvd", "fid", "is", "kvd", "prdc")
    assert set(found) == {
        "FVD[net]", "FVD_inf[net]", "FID[net]", "FID[net,pca64]", "FID[net,random50]", "IS[net]", "KVD[net]",
        "Precision[net]", "Recall[net]", "Density[net]", "Coverage[net]",
    }  # fmt: skip


def test_the_distances_are_those_of_their_features():
    real, fake = feature_set(60), feature_set(50, 0.5, seed=1)
    comparison = Comparison(real, fake)
    found = values(comparison, "fvd", "fid")
    assert found["FVD[net]"] == frechet_of_features(real.logits, fake.logits)
    assert real.pooled is not None
    assert fake.pooled is not None
    assert found["FID[net]"] == frechet_of_features(real.pooled, fake.pooled)
    rows = {row.name: row for row in comparison.metrics(("fvd", "fid"))}
    assert rows["FVD[net]"].note == "60 against 50 videos, 5 dimensions"
    assert rows["FID[net]"].note == "60 against 50 videos, 80 dimensions, nuclear norm"
    assert "20 real takes" in rows["FVD_inf[net]"].note


def test_a_prediction_of_the_real_videos_is_not_extrapolated():
    real = feature_set(60)
    fake = replace(real, logits=real.logits + 0.3 + 0.1 * feature_set(60, seed=1).logits)
    rows = {row.name: row for row in Comparison(real, fake, Options(paired=True)).metrics(("fvd",))}
    assert list(rows) == ["FVD[net]"]
    assert rows["FVD[net]"].note == "60 against 60 videos of the same windows, 5 dimensions"
    truth = 5 * (0.3**2 + (math.sqrt(1.01) - 1) ** 2)
    paired, extrapolated = (row.value for row in Comparison(real, fake).metrics(("fvd",)))
    assert rows["FVD[net]"].value == paired == pytest.approx(truth, rel=0.15)
    assert extrapolated < 0.8 * truth, "it would be corrected twice"


def test_another_metric_does_not_change_a_number():
    comparison = Comparison(feature_set(40), feature_set(40, 0.5, seed=1), Options(splits=4, seed=3))
    together = values(comparison, "fvd", "fid", "is", "kvd", "prdc")
    for kind in ("fvd", "fid", "is", "kvd", "prdc"):
        alone = values(comparison, kind)
        assert alone == {name: together[name] for name in alone}
    other = Comparison(comparison.real, comparison.fake, Options(splits=4, seed=4))
    assert values(other, "kvd") != values(comparison, "kvd")


def test_few_videos_are_warned_about():
    comparison = Comparison(feature_set(60), feature_set(60, seed=1))
    assert comparison.warnings(("fvd",)) == []
    (line,) = comparison.warnings(("fvd", "fid"))
    assert line.startswith("FID[net] is too large: 60 videos are few for 80 dimensions, at least 240 are wanted")
    assert "FID[net,pca64]" in line
    assert too_few(12, 4, "FVD[net]") is None
    assert "pca64" not in str(too_few(11, 4, "FVD[net]"))


def test_sets_that_are_too_small():
    few = Comparison(feature_set(3), feature_set(3, seed=1))
    assert set(values(few, "fvd")) == {"FVD[net]"}, "halves of 3 videos have no covariance"
    with pytest.raises(DataError, match="the generated set has 1 videos"):
        Comparison(feature_set(3), feature_set(1))


def test_per_class_is_the_evaluation_of_each_class():
    real, fake = feature_set(20), feature_set(30, 0.5, seed=1)
    rows = per_class(Comparison(real, fake), classifier=True)
    assert [(row["class"], row["real"], row["generated"]) for row in rows] == [("cat", 10, 15), ("dog", 10, 15)]
    cats = fake.logits[::2]
    assert rows[0]["values"]["IS[net]"] == inception_score(cats, splits=1).value
    assert real.pooled is not None
    assert fake.pooled is not None
    assert rows[1]["values"]["FID[net]"] == frechet_of_features(real.pooled[1::2], fake.pooled[1::2])
    assert set(per_class(Comparison(real, fake), classifier=False)[0]["values"]) == {"FID[net]"}


def test_classes_are_matched_by_name():
    real = feature_set(8)
    swapped = FeatureSet("net", "0" * 64, real.logits, None, real.labels, real.takes, ("dog", "horse"))
    assert shared_classes(real, swapped) == ["dog"]
    assert torch.equal(of_class(swapped, "dog").logits, real.logits[::2])
    (row,) = per_class(Comparison(real, swapped), classifier=False)
    assert row["values"] == {"FVD[net]": frechet_of_features(real.logits[1::2], real.logits[::2])}


# ---- which numbers -----------------------------------------------------------------------------


def means(**changes: object) -> Means:
    known = {"network": "net", "classifier": True, "pooled": True, "labels": True, "videos": 100, "splits": 10}
    return Means(**(known | changes))  # type: ignore[arg-type]


def test_all_that_can_be_had():
    assert choose_metrics(None, means()) == (OF_SETS, [])
    kinds, left_out = choose_metrics(None, means(classifier=False, pooled=False, labels=False, videos=3))
    assert kinds == ("fvd", "psd", "diversity")
    assert len(left_out) == len(OF_SETS) - 3
    assert all("\n" not in line for line in left_out)


@pytest.mark.parametrize(
    ("asked", "changes", "message"),
    [
        ("is", {"classifier": False}, "net is no classifier"),
        ("fid", {"pooled": False}, "no hidden activations"),
        ("per-class", {"labels": False}, "no classes in common"),
        ("kvd", {"videos": 3}, "a set has 3 videos, it needs 4"),
        ("prdc", {"videos": 5}, "it needs 6"),
        ("is", {"videos": 19}, "it needs 20: take more, or fewer --splits"),
    ],
)
def test_what_was_asked_for_and_cannot_be_had(asked, changes, message):
    with pytest.raises(UsageError, match=message):
        choose_metrics(("psd", asked), means(**changes))
    assert asked not in choose_metrics(None, means(**changes))[0]


def test_names_of_metrics():
    assert parse_metrics(None) is None
    assert parse_metrics(" FVD,psd,fvd ") == ("fvd", "psd")
    assert parse_metrics(",".join(KINDS)) == tuple(KINDS)
    with pytest.raises(UsageError, match="did you mean diversity"):
        parse_metrics("divresity")
    with pytest.raises(UsageError, match="known are fvd,fid"):
        parse_metrics("xyz")


def test_protocols_are_plain_json():
    found = plain({"a": None, "b": {"c": (1, None), "d": Path("x")}, "e": True})
    assert found == {"b": {"c": [1, None], "d": "x"}, "e": True}


# ---- what is kept of the frames ----------------------------------------------------------------


def batches(count: int, size: int) -> list[VideoBatch]:
    """Videos of 2 frames of 4x6, each of the number it has."""
    numbers = torch.arange(count)
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 2, (count, 2, 4, 6, 3), generator=generator) + numbers[:, None, None, None, None]
    parts = numbers.split(size)
    return [VideoBatch(frames[part].to(torch.uint8), part % 2, part) for part in parts]


@given(st.integers(1, 120), st.integers(1, 40))
@settings(deadline=None, max_examples=20)
def test_kept_videos_are_spread_and_do_not_depend_on_the_batch(count, size):
    seen, one_by_one = Seen(count), Seen(count)
    for batch in batches(count, size):
        seen(batch)
    for batch in batches(count, 1):
        one_by_one(batch)
    assert len(seen.clips) == min(count, frames_seen.KEPT)
    assert seen.numbers == one_by_one.numbers
    assert seen.labels == [number % 2 for number in seen.numbers]
    steps = [b - a for a, b in zip(seen.numbers, seen.numbers[1:], strict=False)]
    assert not steps or max(steps) - min(steps) <= 1
    assert torch.equal(torch.stack(seen.clips), torch.stack(one_by_one.clips))
    assert torch.allclose(seen.spectrum.sums, one_by_one.spectrum.sums)


def test_what_was_seen_comes_back_from_the_cache(tmp_path):
    seen = Seen(9)
    for batch in batches(9, 4):
        seen(batch)
    path = frames_seen.cache_path(tmp_path, "key")
    assert frames_seen.load(path) is None
    frames_seen.save(path, seen)
    again = frames_seen.load(path)
    assert again is not None
    assert frames_seen.curves(again, again) == frames_seen.curves(seen, seen)
    assert frames_seen.diversity(again, again) == frames_seen.diversity(seen, seen)
    assert (again.numbers, again.labels, again.count, again.blank) == (seen.numbers, seen.labels, 9, 0)
    path.write_bytes(path.read_bytes()[:-9])
    assert frames_seen.load(path) is None
    assert frames_seen.cache_path(tmp_path, "other") != path


def test_videos_of_one_colour_are_counted():
    seen = Seen(3)
    (batch,) = batches(3, 3)
    batch.frames[1] = 7
    seen(batch)
    assert seen.blank == 1
    assert str(seen.warning("real")).startswith("1 of 3 real videos are of one colour")


def test_diversity_is_relative_to_the_real_videos():
    real, copies = Seen(6), Seen(6)
    (batch,) = batches(6, 6)
    real(batch)
    copies(VideoBatch(batch.frames[:1].repeat(6, 1, 1, 1, 1), None, batch.takes))
    of_copies, of_real = frames_seen.diversity(real, copies)
    assert of_copies == 0 < of_real
    with pytest.raises(DataError, match="at least 2 generated"):
        frames_seen.diversity(real, Seen(1))


# ---- pairs by name -----------------------------------------------------------------------------


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_samples_are_found_by_the_longest_name(tmp_path):
    real = make(tmp_path / "real", "sea.mp4", "sea_2.mp4", "fire/a.mp4", "notes.txt")
    fake = make(tmp_path / "fake", "sea.gif", "sea-s1.mp4", "sea_2_s1.mp4", "sea_2.webm", "fire/a_0.mp4", ".hidden.mp4")
    found = {pair.name: [path.name for path in pair.samples] for pair in find_pairs(real, fake)}
    assert found == {"fire/a": ["a_0.mp4"], "sea": ["sea.gif", "sea-s1.mp4"], "sea_2": ["sea_2.webm", "sea_2_s1.mp4"]}


def test_pairs_that_lack_a_part(tmp_path):
    real = make(tmp_path / "real", "sea.mp4", "fire.mp4")
    with pytest.raises(DataError, match="1 of 2 real videos have no sample"):
        find_pairs(real, make(tmp_path / "fake", "sea.mp4"))
    with pytest.raises(DataError, match=r"seaside\.mp4 has no real video"):
        find_pairs(real, make(tmp_path / "other", "sea.mp4", "fire.mp4", "seaside.mp4"))
    with pytest.raises(DataError, match="no such file or folder"):
        find_pairs(real, tmp_path / "nowhere")
    assert [pair.name for pair in find_pairs(real / "sea.mp4", tmp_path / "fake")] == ["sea"]


def test_frames_of_a_pair(tmp_path, make_clip):
    path = make_clip(tmp_path / "a.mp4", frames=6, size=(16, 32))
    whole = read(path, Reading())
    assert torch.equal(read(path, Reading(frames=2, skip=3)), whole[3:5])
    assert read(path, Reading(size=(8, 8))).shape == (6, 8, 8, 3)
    with pytest.raises(DataError, match="nothing is left without the first 6"):
        read(path, Reading(skip=6))


# ---- the folder --------------------------------------------------------------------------------


def test_numbers_that_are_not_finite_are_null_and_say_so():
    assert metric("m", "M", Estimate(1.0, 0.5, math.inf), "lower", "n").high is None
    row = metric("psnr", "PSNR", math.inf, "higher", "equal videos")
    assert (row.value, row.note) == (None, "inf; equal videos")


def evaluation(**changes: object) -> Evaluation:
    clip = SampleClip("real", torch.zeros(2, 16, 16, 3, dtype=torch.uint8), class_="cat")
    return Evaluation("a against b", "hvg evaluate", {}, clips=[clip], **changes)  # type: ignore[arg-type]


DAMAGED = {"frequencies": [0.1], "curves": [{"set": "real", "frame": 1, "power": [1.0, 2.0]}]}


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="give as many of both"):
        evaluation(psd=DAMAGED).write(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(MediaError, match="cannot write"):
        evaluation().write(tmp_path / "file" / "out")


def test_a_failed_write_leaves_the_old_evaluation(tmp_path):
    evaluation().write(tmp_path / "out")
    before = (tmp_path / "out" / "evaluation.json").read_bytes()
    with pytest.raises(ValueError, match="give as many of both"):
        evaluation(psd=DAMAGED).write(tmp_path / "out")
    assert (tmp_path / "out" / "evaluation.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_folders_that_hold_something(tmp_path):
    check_folder(tmp_path / "new", overwrite=False)
    check_folder(tmp_path, overwrite=False)
    (tmp_path / "file").touch()
    check_folder(tmp_path, overwrite=True)
    with pytest.raises(OutputExistsError, match="--overwrite"):
        check_folder(tmp_path, overwrite=False)
    with pytest.raises(MediaError, match="is a file"):
        check_folder(tmp_path / "file", overwrite=True)


def test_samples_name_their_files(tmp_path):
    record = evaluation().write(tmp_path / "out")
    assert record["samples"] == [{"set": "real", "class": "cat", "file": "samples/real_00.mp4"}]
    assert (tmp_path / "out" / "samples" / "real_00.mp4").is_file()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=20), st.integers(1, 10))
def test_samples_are_of_all_classes_before_two_are_of_one(labels: list[int], most: int) -> None:
    seen = Seen(len(labels), clips=[torch.zeros(1)] * len(labels), numbers=list(range(len(labels))), labels=labels)
    chosen = [labels[place] for place in seen.spread(most)]
    counts = [chosen.count(label) for label in set(labels)]
    assert len(chosen) == min(most, len(labels))
    assert len(set(seen.spread(most))) == len(chosen)
    short = [count for count, label in zip(counts, set(labels), strict=True) if count < labels.count(label)]
    assert not short or max(counts) <= min(short) + 1  # a class has one less only where its turn did not come


def test_samples_without_classes_are_spread() -> None:
    seen = Seen(9, clips=[torch.zeros(1)] * 9, numbers=list(range(9)))
    assert seen.spread(3) == [1, 4, 7]
