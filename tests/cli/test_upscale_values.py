"""What is typed for `hvg upscale`: times, spans, tiles, names of results."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from clip_files import lossless
from hypothesis import example, given, settings
from hypothesis import strategies as st
from patterns import moving_pattern

from hvgcli.cli.upscaling.files import Item, check_distinct, find_inputs, kind_of, target_of
from hvgcli.cli.upscaling.run import chosen_frames
from hvgcli.cli.values import parse_tile, parse_time
from hvgcli.errors import UsageError
from hvgcli.video.footage import Footage, examine

TIMES = (100, 140, 141, 300, 900, 910)  # of the frames, in 1/1000 s


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_times(hours: int, minutes: int, seconds: int, thousandths: int) -> None:
    last = seconds + Fraction(thousandths, 1000)
    assert parse_time("--start", f"{seconds}.{thousandths:03d}") == last
    assert parse_time("--start", f"{minutes}:{seconds:02d}.{thousandths:03d}") == 60 * minutes + last
    assert parse_time("--start", f"{hours}:{minutes:02d}:{seconds:02d}") == 3600 * hours + 60 * minutes + seconds
    assert parse_time("--start", None) is None


@pytest.mark.parametrize("text", ["", "-1", "later", "1e3", "1:2:3:4", "1.5:0", ":5", "5:", "1.", ".5", "1/2", "nan"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match=r"--end .* must be seconds, or a time like"):
        parse_time("--end", text)


def test_tiles() -> None:
    assert (parse_tile("auto"), parse_tile("32")) == (None, 32)
    for text in ("", "0", "-8", "8.5", "Auto", "100000", "8x8"):
        with pytest.raises(UsageError, match=r"--tile .* must be auto or a number of pixels"):
            parse_tile(text)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Footage:
    path = tmp_path_factory.mktemp("clip") / "in.mkv"
    return examine(lossless(path, moving_pattern(len(TIMES), (8, 8)), TIMES))


moments = st.none() | st.integers(0, 1000).map(lambda number: Fraction(number, 1000))


@given(moments, moments)
@example(None, None)
@example(Fraction(40, 1000), Fraction(41, 1000))
@settings(max_examples=60, deadline=None)
def test_frames_of_a_span(footage: Footage, start: Fraction | None, end: Fraction | None) -> None:
    """Those that begin in it, counted from the first frame."""
    first, last = Fraction(start or 0), Fraction(2000 if end is None else end)
    inside = [number for number, time in enumerate(TIMES) if first <= Fraction(time - TIMES[0], 1000) < last]
    if inside:
        assert list(chosen_frames(footage, start, end)) == inside
    else:
        with pytest.raises(UsageError, match="no frames from --start to --end"):
            chosen_frames(footage, start, end)


@pytest.mark.parametrize(
    ("source", "output", "kind"),
    [
        ("mp4", None, "mp4"),
        ("webm", "out/", "webm"),
        ("avi", None, "mkv"),
        ("mpegts", "x.mp4", "mp4"),
        ("mp4", "X.MOV", "mov"),
        ("gif", "frames.png", "png"),
        ("png", "{name}", "png"),
    ],
)
def test_kinds(source: str, output: str | None, kind: str) -> None:
    assert kind_of(source, output) == kind


@pytest.mark.parametrize("name", ["a b (1)", "{name}", "new\nline", "(((", "日本", "a.b", "-x", "%d"])
def test_results_have_the_names_of_their_inputs(tmp_path: Path, name: str) -> None:
    item = Item(f"{name}.mp4", tmp_path / "{odd} folder" / f"{name}.mp4")
    beside = target_of(item, "mp4", 10, None, {"times": 4})
    assert beside == tmp_path / "{odd} folder" / f"{name}.x4.mp4"
    assert target_of(item, "mp4", 10, "out/", {"times": 4}) == Path("out") / f"{name}.x4.mp4"
    assert target_of(item, "mkv", 10, "large_{name}", {"times": 4}) == Path(f"large_{name}.mkv")


def test_a_folder_can_be_enlarged_again(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.x2.mp4", "b.x2.mp4", "b10.mkv", "b9.mkv", "notes.txt", ".c.mp4"):
        (tmp_path / name).touch()
    found = [item.name for item in find_inputs([str(tmp_path)], tmp_path)]
    assert found == ["a.mp4", "b9.mkv", "b10.mkv", "b.x2.mp4"]
    assert [item.name for item in find_inputs([str(tmp_path / "a.x2.mp4")], tmp_path)] == ["a.x2.mp4"]


def test_one_result_is_not_made_twice(tmp_path: Path) -> None:
    first, second, third = (Item(name, tmp_path / name) for name in ("a.mp4", "b.mp4", "a.mov"))
    check_distinct([(first, Path("x.mp4")), (second, Path("y.mp4"))])
    with pytest.raises(UsageError, match=r"a\.mp4 and b\.mp4 would both be x\.mp4: name a folder"):
        check_distinct([(first, Path("x.mp4")), (second, Path("./x.mp4"))])
    with pytest.raises(UsageError, match="each with its own -o"):
        check_distinct([(first, Path("x.mp4")), (third, Path("x.mp4"))])


def test_standard_input_is_known_by_what_it_holds(tmp_path: Path) -> None:
    """Its copy has another path and time in each run, and --resume goes on all the same."""
    for name, data in (("one", b"same"), ("two", b"same"), ("three", b"other")):
        (tmp_path / name).write_bytes(data)
    one, two, three = (Item("stdin", tmp_path / name, standard=True).identity() for name in ("one", "two", "three"))
    assert one == two != three
    assert Item("one", tmp_path / "one").identity() is None
