"""`hvg data prepare`: a data source becomes a folder of shards, in several processes, to be continued at any time.

Shards are planned before anything is decoded, so their contents depend on the source and the options
alone, not on the workers. While a set is made, the folder `.progress` in it keeps the plan and one
record a finished shard; at the end they become `index.json`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from hvgcli.checkpoints import atomic, locked, read_json, write_json
from hvgcli.data.clips import Clip, probe
from hvgcli.data.cutting import Cut, Format, Job, make_shard
from hvgcli.data.shards import FORMAT, FORMAT_VERSION, INDEX, INDEX_LIMIT, Codec
from hvgcli.data.sources import Item, Listing
from hvgcli.data.workers import Workers
from hvgcli.errors import DataError, MediaError, OutputExistsError, UsageError

SCRATCH, SKIPPED = ".progress", "skipped.jsonl"
SHORTEST = 1  # seconds: a shorter rest of a video is joined to the clip before it
QUALITY = {"h264": (18, 0, 51), "jpeg": (95, 1, 100)}  # default and range: crf, and quality

Progress = Callable[[int, int, Literal["probe", "shards"]], None]
"""`progress(done, total, stage)`."""


@dataclass(frozen=True)
class Options:
    """What the shards depend on, besides the source."""

    codec: Codec = "h264"
    size: int = 0
    """Short side in pixels; 0 keeps the size. Nothing is enlarged."""
    seconds: float = 10.0
    """Longest clip; longer videos are cut into several."""
    quality: int | None = None
    """crf of h264, 0..51, lower is better (18); quality of jpeg, 1..100 (95)."""
    clips_per_shard: int = 128

    def __post_init__(self) -> None:
        default, low, high = QUALITY[self.codec]
        if self.quality is None:
            object.__setattr__(self, "quality", default)
        elif not low <= self.quality <= high:
            raise UsageError(f"--quality {self.quality} must be {low}..{high} for {self.codec}")
        if self.size < 0 or self.size > 4320 or 0 < self.size < 8:
            raise UsageError(f"--size {self.size} must be 8..4320 pixels, or 0 to keep the size")
        if not 0 < self.seconds <= 86400:
            raise UsageError(f"--seconds {self.seconds} must be above 0 and at most 86400")
        if self.clips_per_shard < 1:
            raise UsageError(f"--clips-per-shard {self.clips_per_shard} must be at least 1")

    def format(self) -> Format:
        assert self.quality is not None
        return Format(self.codec, self.size, self.quality)


@dataclass(frozen=True)
class Result:
    """What `prepare` made."""

    clips: int
    shards: int
    bytes: int
    """Of the shards."""
    skipped: list[dict[str, Any]]
    """Of each video that could not be read: source, clips that are missing (None: all), reason."""
    fresh: bool
    """False where the set was complete already."""


@dataclass(frozen=True)
class Request:
    """What is prepared, where and how."""

    source: Path
    out: Path
    options: Options
    listing: Listing

    def claim(self) -> dict[str, Any]:
        """What a folder of shards was made of: equal claims give equal bytes."""
        digest = hashlib.sha256(json.dumps(self.listing.classes).encode())
        for item in self.listing.items:
            parts = [
                item.name,
                item.label,
                item.start,
                item.end,
                item.path.stat().st_size if item.path.exists() else -1,
            ]
            digest.update(json.dumps(parts).encode())
        return {**asdict(self.options), "source_sha256": digest.hexdigest()}


def is_ours(out: Path) -> bool:
    """Whether a folder holds shards, or the beginnings of them."""
    return (out / INDEX).is_file() or (out / SCRATCH / "claim.json").is_file()


def check_output(asked: Request) -> None:
    """Look at the output folder before anything is written.

    Raises:
        OutputExistsError: it holds other files, or shards of other options or of another source.
    """
    out = asked.out
    if out.exists() and not out.is_dir():
        raise OutputExistsError(f"{out}: is a file, not a folder: name another OUT")
    known = next((path for path in (out / INDEX, out / SCRATCH / "claim.json") if path.is_file()), None)
    if known is None:
        other = next((entry.name for entry in out.iterdir() if entry.name != SCRATCH), None) if out.is_dir() else None
        if other is not None:
            raise OutputExistsError(f"{out}: holds other files ({other}, ...): name a new folder")
        return
    data = read_json(known, limit=INDEX_LIMIT, error=DataError)
    before, now = data.get("prepared") if isinstance(data, dict) else None, asked.claim()
    if not isinstance(before, dict):
        raise OutputExistsError(f"{out}: its {known.name} was not made by hvg data prepare: name a new folder")
    differing = [key for key in now if before.get(key) != now[key]]
    if differing:
        what = ", ".join(
            "the source files" if key == "source_sha256" else f"--{key.replace('_', '-')}" for key in differing
        )
        raise OutputExistsError(f"{out}: was begun with another {what}: name a new folder, or give --overwrite")


def clear(out: Path) -> None:
    """Remove what an earlier `prepare` made in a folder, and nothing else."""
    (out / INDEX).unlink(missing_ok=True)  # first: without it there is no set, whatever else is left
    shutil.rmtree(out / SCRATCH, ignore_errors=True)
    for path in [out / SKIPPED, *out.glob("shard-*.tar")]:
        path.unlink(missing_ok=True)


def finished(out: Path) -> bool:
    return (out / INDEX).is_file()


# ---- the plan ----------------------------------------------------------------------------------


def cuts_of(clip: Clip, seconds: float) -> list[tuple[int, int]]:
    """(start, stop) of the clips of a video: of at most `seconds`, and the last up to a second longer."""
    longest = max(1, int(Fraction(repr(seconds)) * clip.rate))
    starts = list(range(clip.start, clip.start + clip.frames, longest))
    end = clip.start + clip.frames
    if len(starts) > 1 and end - starts[-1] < SHORTEST * clip.rate:
        starts.pop()
    return list(zip(starts, [*starts[1:], end], strict=True))


def _mixed(items: Sequence[Item]) -> list[Item]:
    """The items in an order that has nothing to do with their names, so that a shard has clips of all classes."""
    return sorted(
        items, key=lambda item: (hashlib.sha256(item.name.encode()).digest(), item.start or 0.0, item.end or 0.0)
    )


def make_plan(asked: Request, pool: Workers, progress: Progress) -> dict[str, Any]:
    """Probe every video and say which frames become which clip: {"cuts": [...], "skipped": [...]}."""
    items = _mixed(asked.listing.items)
    cuts: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    for done, (item, found) in enumerate(zip(items, pool.map(_probed, items), strict=True), start=1):
        if isinstance(found, str):
            skipped.append({"source": item.name, "clips": None, "reason": found})
        else:
            for start, stop in cuts_of(found, asked.options.seconds):
                cut = Cut(f"{len(cuts):08d}", "", item.name, item.label, start, stop, str(found.rate))
                cuts.append(asdict(cut))
        progress(done, len(items), "probe")
    if not cuts:
        raise DataError(f"{asked.source}: none of its {len(items)} videos can be read (first: {skipped[0]['reason']})")
    return {"cuts": cuts, "skipped": skipped}


def _probed(item: Item) -> Clip | str:
    """The clip of an item, or why there is none."""
    try:
        return probe(item)
    except MediaError as error:
        return str(error)


def jobs(asked: Request, plan: dict[str, Any]) -> list[Job]:
    """One job a shard."""
    paths = {item.name: str(item.path.absolute()) for item in asked.listing.items}  # not kept: a source may move
    cuts = [Cut(**{**cut, "path": paths[cut["source"]]}) for cut in plan["cuts"]]
    step, scratch = asked.options.clips_per_shard, asked.out / SCRATCH
    parts = [tuple(cuts[i : i + step]) for i in range(0, len(cuts), step)]
    form, classes = asked.options.format(), asked.listing.classes
    return [Job(asked.out, scratch, f"shard-{n:06d}.tar", part, form, classes) for n, part in enumerate(parts)]


# ---- making it ---------------------------------------------------------------------------------


def prepare(asked: Request, *, workers: int, progress: Progress = lambda done, total, stage: None) -> Result:
    """Make the shards, or go on with them; equal to an uninterrupted run whenever it was stopped.

    Args:
        asked: checked with `check_output`.
        workers: processes; 1 works in this one.

    Raises:
        DataError: no video can be read.
        MediaError: the folder cannot be written.
        OutputExistsError: another process works in it.
        ResourceError: a worker was killed.
    """
    scratch = asked.out / SCRATCH
    if not finished(asked.out):
        try:
            scratch.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MediaError(f"{asked.out}: cannot be written ({error.strerror}): name another OUT") from error
        busy = OutputExistsError(f"{scratch.parent}: another process prepares it: wait for it")
        with locked(scratch / "lock", busy):
            _make(asked, scratch, workers, progress)
        shutil.rmtree(scratch, ignore_errors=True)
        return _result(asked.out, fresh=True)
    shutil.rmtree(scratch, ignore_errors=True)
    return _result(asked.out, fresh=False)


def _make(asked: Request, scratch: Path, workers: int, progress: Progress) -> None:
    _tidy(scratch)  # after a run that was killed
    write_json(scratch / "claim.json", {"prepared": asked.claim()})
    try:
        with Workers(workers) as pool:
            plan = _kept_plan(scratch) or make_plan(asked, pool, progress)
            write_json(scratch / "plan.json", plan)
            todo = jobs(asked, plan)
            waiting = [job for job in todo if not (job.record.is_file() and (job.out / job.name).is_file())]
            for done, _ in enumerate(pool.any_order(make_shard, waiting), start=len(todo) - len(waiting) + 1):
                progress(done, len(todo), "shards")
        _finish(asked, plan, todo)
    except DataError:  # nothing can be read: leave nothing, so that it can be tried again with other files
        clear(asked.out)
        raise
    finally:  # Ctrl-C may come while a clip is opened or closed, where nobody else removes it
        _tidy(scratch)


def _tidy(scratch: Path) -> None:
    """Remove clips that are being cut."""
    for left in [*scratch.glob("*.part"), *scratch.glob("*.mp4")]:
        left.unlink(missing_ok=True)


def _kept_plan(scratch: Path) -> dict[str, Any] | None:
    path = scratch / "plan.json"
    if not path.is_file():
        return None
    plan: dict[str, Any] = read_json(path, limit=INDEX_LIMIT, error=MediaError)
    return plan


def _finish(asked: Request, plan: dict[str, Any], todo: list[Job]) -> None:
    """Write what was skipped, then the index: with it the set is complete."""
    records = [read_json(job.record, limit=INDEX_LIMIT, error=MediaError) for job in todo]
    skipped = [*plan["skipped"], *(entry for record in records for entry in record["skipped"])]
    clips = [{**clip, "shard": number} for number, record in enumerate(records) for clip in record["clips"]]
    if not clips:
        raise DataError(f"{asked.source}: none of its videos can be decoded (first: {skipped[0]['reason']})")
    index = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "codec": asked.options.codec,
        "classes": list(asked.listing.classes),
        "prepared": asked.claim(),
        "shards": [{key: record[key] for key in ("file", "bytes", "sha256")} for record in records],
        "clips": clips,
    }
    with atomic(asked.out / SKIPPED) as part:
        part.write_text("".join(json.dumps(entry) + "\n" for entry in skipped), encoding="utf-8")
    with atomic(asked.out / INDEX) as part:
        part.write_text(_lines(index), encoding="utf-8")


def _lines(index: dict[str, Any]) -> str:
    """JSON with one clip a line."""
    head = json.dumps({key: value for key, value in index.items() if key != "clips"}, indent=1)
    return head[:-2] + ',\n "clips": [\n' + ",\n".join(json.dumps(clip) for clip in index["clips"]) + "\n ]\n}\n"


def _result(out: Path, *, fresh: bool) -> Result:
    data = read_json(out / INDEX, limit=INDEX_LIMIT, error=DataError)
    skipped: list[dict[str, Any]] = []
    with suppress(FileNotFoundError):
        skipped = [json.loads(line) for line in (out / SKIPPED).read_text(encoding="utf-8").splitlines()]
    size = sum(shard["bytes"] for shard in data["shards"])
    return Result(len(data["clips"]), len(data["shards"]), size, skipped, fresh)
