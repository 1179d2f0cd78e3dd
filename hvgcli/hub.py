"""A model's name or path -> its folder on this machine; and its way to and from the Hugging Face Hub.

A model is found, in this order, as a folder with a `config.json`, among the models that come with
hvg, and in the cache, which `pull` fills. Only `pull` and `push` ever use the network.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlparse

from hvgcli import checkpoints
from hvgcli.errors import MediaError, OutputExistsError, UsageError, WeightsError

DEFAULT_MODEL = "hvg-mini"
DEFAULT_PREDICTOR = "trivd-gan-fp-mini"
PATTERNS = ["*.safetensors", "*.json", checkpoints.CARD]
NESTED = ["*/*", ".*"]  # a model has no folders and no hidden files
ABANDONED = 24 * 3600  # seconds after which the folder of an unfinished pull is thrown away
_REPO = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[\w.-]+)(@(?P<revision>[^@\s]+))?")


class PullPlan(NamedTuple):
    """What a pull fetches."""

    name: str
    """The name under which the model is used afterwards."""
    source: str
    files: dict[str, int]
    """File name -> bytes."""
    target: Path


# ---- on this machine ---------------------------------------------------------------------------


def cache_folder() -> Path:
    """The folder of the cache: HVG_CACHE, or the platform's own place."""
    if own := os.environ.get("HVG_CACHE"):
        return Path(own).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("hvg", appauthor=False))


def embedded() -> dict[str, Path]:
    """Models that come with hvg: in a wheel beside the code, in a checkout in `weights/`."""
    package = Path(__file__).resolve().parent
    checkout = package.parent
    places = [package / "weights"] + ([checkout / "weights"] if (checkout / "pyproject.toml").is_file() else [])
    return {path.name: path for place in reversed(places) for path in _model_folders(place)}


def cached() -> dict[str, Path]:
    """Models that were pulled: name (`owner/name`, `owner/name@revision` or `name`) -> folder."""
    return {unquote(path.name): path for path in _model_folders(cache_folder() / "models")}


def available() -> dict[str, Path]:
    """Every model on this machine that has a name, the embedded ones first."""
    return {**embedded(), **{name: path for name, path in cached().items() if name not in embedded()}}


def _model_folders(place: Path) -> list[Path]:
    try:
        folders = sorted(path for path in place.iterdir() if not path.name.startswith("."))
    except OSError:
        return []
    return [path for path in folders if (path / checkpoints.CONFIG).is_file()]


def resolve(name_or_path: str | Path, *, offline: bool = True) -> Path:
    """The folder of a model given by path or name.

    `offline=False` also fetches a model of the Hub that is not here yet.
    Errors: `UsageError` for a name that is not known (with the closest ones), `WeightsError` for a
    folder without a model and for a Hub model or preset whose weights are not here.
    """
    text = str(name_or_path)
    path = Path(text).expanduser()
    if (path / checkpoints.CONFIG).is_file():
        return path
    if text in (models := available()):
        return models[text]
    hub_name = _REPO.fullmatch(text)
    if path.exists() or _is_path(text) or not (hub_name or re.fullmatch(r"[\w.-]+", text)):
        raise WeightsError(_no_model_in(path))
    if hub_name and not offline:
        return pull(hub_name["repo"], hub_name["revision"])
    if hub_name:
        raise WeightsError(f"{text} is not on this machine: fetch it with: hvg models pull {text}")
    raise _unknown(text, models)


def _no_model_in(path: Path) -> str:
    if (path / "model" / checkpoints.CONFIG).is_file():
        return f"{path} is the folder of a training: its model is {path / 'model'}"
    if path.is_dir():
        return f"{path} is not a model folder: it has no {checkpoints.CONFIG}"
    return f"{path} is not a model folder" if path.exists() else f"{path} is missing: no such model folder"


def _unknown(text: str, models: dict[str, Path]) -> UsageError | WeightsError:
    from hvgcli.presets import all_presets

    presets = all_presets()
    if text in presets:
        system = presets[text].model.system
        command = {"hvg": "train-level 1", "hp-vae-gan": "train-single IN"}.get(system, f"train {system}")
        return WeightsError(f"{text} is a preset without weights: train it with: hvg {command} --preset {text}")
    known = list(dict.fromkeys([*models, *presets]))
    close = difflib.get_close_matches(text, known, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known)}"
    return UsageError(f"unknown model {text!r}: {hint}")


def _is_path(text: str) -> bool:
    """Whether a text can only be a path, never the name of a model."""
    return text.startswith((".", "/", "~", "file:")) or "\\" in text or text.count("/") > 1 or text.endswith("/")


def find_removable(name: str) -> Path:
    """The folder of a pulled model.

    Errors: `UsageError` for an embedded model and for a name that is not in the cache.
    """
    models = cached()
    if name in models:
        return models[name]
    if name in embedded():
        raise UsageError(f"{name} comes with hvg and cannot be removed")
    close = difflib.get_close_matches(name, models, n=3)
    raise UsageError(f"{name} is not in the cache" + (f": did you mean {' or '.join(close)}?" if close else ""))


def remove(name: str) -> Path:
    """Delete a pulled model; returns the folder that it was in. Errors as `find_removable`."""
    path = find_removable(name)
    away = Path(tempfile.mkdtemp(prefix=".rm-", dir=path.parent))
    path.rename(away / "model")
    shutil.rmtree(away)
    return path


# ---- pull --------------------------------------------------------------------------------------


def plan_pull(source: str, revision: str | None = None, *, offline: bool = False) -> PullPlan:
    """What `pull` would fetch, and how much; asks the Hub, but changes nothing on this machine."""
    if (folder := _local_source(source)) is not None:
        name = checkpoints.read_model_config(folder).name
        files = {path.name: path.stat().st_size for path in _wanted(folder)}
        return PullPlan(name, str(folder), files, _target(name))
    repo, revision = _hub_name(source, revision)
    _require_online(offline)
    with tempfile.TemporaryDirectory() as empty:
        files = {info.filename: info.file_size for info in _snapshot(repo, revision, Path(empty), dry_run=True)}
    name = _name(repo, revision)
    return PullPlan(name, repo, files, _target(name))


def pull(source: str, revision: str | None = None, *, offline: bool = False, progress: bool = False) -> Path:
    """Fetch a model into the cache, check it, and return its folder.

    `source` is `owner/name[@revision]` on the Hub, or a folder or `file://` URL of one. A model that
    is already cached is replaced once the new one is complete and verified.
    Errors: `WeightsError` (not found, no access, offline, damaged), `MediaError` (cannot write).
    """
    folder = _local_source(source)
    if folder is None:
        repo, revision = _hub_name(source, revision)
        _require_online(offline)
        name = _name(repo, revision)
    else:
        name = checkpoints.read_model_config(folder).name
    if name in embedded():
        raise UsageError(f"{name} is the name of a model that comes with hvg: use it by its path instead")
    with _workplace() as work:
        if folder is None:
            _snapshot(repo, revision, work, progress=progress)
        else:
            _copy(folder, work)
        _require_good(work, source)
        return _replace(work, _target(name))


def _name(repo: str, revision: str | None) -> str:
    return f"{repo}@{revision}" if revision and revision != "main" else repo


def _target(name: str) -> Path:
    return cache_folder() / "models" / quote(name, safe="@")


def _local_source(source: str) -> Path | None:
    """The folder that `source` means, or None where it is a name on the Hub."""
    path = _as_path(source)
    if (path / checkpoints.CONFIG).is_file():
        return path
    if path.is_dir() or _is_path(source):
        raise WeightsError(_no_model_in(path))
    return None


def _as_path(text: str) -> Path:
    """A path, or the path of a `file://` URL."""
    if not text.startswith("file:"):
        return Path(text).expanduser()
    from urllib.request import url2pathname  # imports an HTTP client

    return Path(url2pathname(urlparse(text).path))


def _hub_name(source: str, revision: str | None) -> tuple[str, str | None]:
    match = _REPO.fullmatch(source)
    if not match or "--" in match["repo"] or ".." in match["repo"]:
        raise UsageError(f"{source!r} is no model: give owner/name[@revision] or a model folder")
    return match["repo"], revision or match["revision"]


def _wanted(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_file() and _is_model_file(path.name)]


def _is_model_file(name: str) -> bool:
    return not name.startswith(".") and (name.endswith((".safetensors", ".json")) or name == checkpoints.CARD)


@contextmanager
def _workplace() -> Iterator[Path]:
    """An empty folder in the cache, thrown away at the end if it is still there."""
    place = cache_folder() / "models"
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"cannot write {place}: {error.strerror or error}") from error
    for old in place.glob(".pull-*"):
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > ABANDONED:
                shutil.rmtree(old)
    work = Path(tempfile.mkdtemp(prefix=".pull-", dir=place))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _copy(folder: Path, target: Path) -> None:
    for path in _wanted(folder):
        shutil.copyfile(checkpoints.inside(folder, path.name), target / path.name)


def _require_good(folder: Path, source: str) -> None:
    """`WeightsError` unless every file is listed and as listed, and the config can be read."""
    if bad := [check for check in checkpoints.verify(folder) if not check.ok]:
        reason = bad[0].reason.replace(f"{folder}{os.sep}", "")
        raise WeightsError(f"{source} is damaged or not a model of hvg: {bad[0].file} {reason}")
    checkpoints.read_model_config(folder)


def _replace(work: Path, target: Path) -> Path:
    """Move a complete folder to `target`; an older one there goes away only then."""
    work.chmod(0o777 & ~_umask())
    old = target.with_name(f".old-{os.getpid()}-{target.name}")
    if target.exists():
        target.rename(old)
    work.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    return target


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# ---- push --------------------------------------------------------------------------------------


def push(
    folder: Path,
    target: str,
    *,
    private: bool = False,
    message: str | None = None,
    offline: bool = False,
    progress: bool = False,
) -> str:
    """Publish a finished model to `owner/name` on the Hub, or copy it to a local folder.

    Returns the address or the path. The folder is verified first.
    Errors: `WeightsError` (not finished, damaged, no access, offline), `OutputExistsError` for a local
    folder that is not empty.
    """
    _require_good(folder, str(folder))
    if target.startswith("file:") or _is_path(target) or Path(target).is_dir():
        return str(_push_local(folder, target))
    repo, revision = _hub_name(target, None)
    _require_online(offline)
    with _hub(progress) as (hub, options):
        api = hub.HfApi(**options, library_name="hvg")
        api.create_repo(repo, private=private or None, exist_ok=True)  # None: the owner's own default
        info = api.create_commit(  # one commit: the model is there as a whole or not at all
            repo,
            [hub.CommitOperationAdd(path.name, path) for path in _wanted(folder)],
            commit_message=message or f"Upload {checkpoints.read_model_config(folder).name}",
            revision=revision,
        )
    return str(info.commit_url)


def _push_local(folder: Path, target: str) -> Path:
    path = _as_path(target)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputExistsError(f"{path} is already there and not empty: choose another folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".push-", dir=path.parent))
    except OSError as error:
        raise MediaError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        _copy(folder, work)
        return _replace(work, path)
    except OSError as error:
        raise MediaError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


# ---- the Hub -----------------------------------------------------------------------------------


def _require_online(offline: bool) -> None:
    if offline:
        raise WeightsError("the Hub is not asked with --offline: leave it out to use the network")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise WeightsError("the Hub is not asked while HF_HUB_OFFLINE is set: unset it to use the network")


def fetch_file(
    repo: str, name: str, revision: str, target: Path, *, sha256: str, offline: bool = False, progress: bool = False
) -> Path:
    """Fetch one file of a Hub repository to `target`, which appears only when its SHA-256 is the one given.

    Errors: `WeightsError` (not found, no access, offline, another checksum), `MediaError` (cannot write).
    """
    _require_online(offline)
    with checkpoints.atomic(target) as part, tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as work:
        with _hub(progress) as (hub, options):
            found = hub.hf_hub_download(
                repo, name, revision=revision, local_dir=work, cache_dir=work, library_name="hvg", **options
            )
        if (got := checkpoints.sha256(Path(found))) != sha256:
            raise WeightsError(f"{name} of {repo} has SHA-256 {got[:12]}..., not {sha256[:12]}...: it was not taken")
        os.replace(found, part)
    return target


def _snapshot(
    repo: str, revision: str | None, work: Path, *, dry_run: bool = False, progress: bool = False
) -> list[Any]:
    """Fetch the files of a model into `work`; with `dry_run`, only list them."""
    with _hub(progress) as (hub, options):
        found = hub.snapshot_download(
            repo,
            revision=revision,
            local_dir=work,
            cache_dir=work / ".cache" / "hub",
            allow_patterns=PATTERNS,
            ignore_patterns=NESTED,
            max_workers=4,
            library_name="hvg",
            dry_run=dry_run,
            **options,
        )
    shutil.rmtree(work / ".cache", ignore_errors=True)
    return list(found) if dry_run else []


@contextmanager
def _hub(progress: bool) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The `huggingface_hub` package and its options; its errors become `WeightsError`s of one line."""
    import huggingface_hub
    from huggingface_hub import errors

    utils: Any = importlib.import_module("huggingface_hub.utils")  # `httpx`: its HTTP client
    utils.logging.set_verbosity_error()
    if not progress:
        utils.disable_progress_bars()
    endpoint = os.environ.get("HF_ENDPOINT") or None
    where = endpoint or "the Hub"
    try:
        yield huggingface_hub, {"endpoint": endpoint}
    except errors.GatedRepoError as error:
        raise WeightsError("this model needs its owner's permission: ask on its page, then: hf auth login") from error
    except errors.RepositoryNotFoundError as error:
        raise WeightsError(
            "no such model, or a private one: check owner/name, or log in with: hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise WeightsError("the model has no such revision: check the part after @") from error
    except errors.HFValidationError as error:
        raise WeightsError(f"not a name of a model: {_first_line(error)}") from error
    except (errors.LocalEntryNotFoundError, errors.DryRunError, errors.OfflineModeIsEnabled) as error:
        raise WeightsError(f"cannot reach {where}: {_first_line(error.__cause__ or error)}") from error
    except errors.HfHubHTTPError as error:
        raise WeightsError(f"{where} refused: {_first_line(error)}") from error
    except utils.httpx.HTTPError as error:
        raise WeightsError(f"cannot reach {where}: {_first_line(error) or type(error).__name__}") from error
    except OSError as error:
        if error.errno:  # a full disk or a missing permission, not the Hub
            raise
        raise WeightsError(f"{where}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]
