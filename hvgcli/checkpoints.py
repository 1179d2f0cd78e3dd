"""Weights and model folders on disk: safetensors and JSON only, never pickle.

A model is a folder: `config.json`, `level1.safetensors`, `level2.safetensors`, ..., `README.md` (its
card) and `checksums.json`. It may come from anybody, so it is read as untrusted: sizes are bounded,
names may not leave the folder, and what does not fit is a `WeightsError` of one line. Every file is
written under a temporary name beside its place and renamed when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, NamedTuple

from hvgcli.config import FORMAT_VERSION, LevelConfig, ModelConfig, model_from_dict, to_dict
from hvgcli.errors import ConfigError, HvgError, MediaError, WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn

CONFIG = "config.json"
CHECKSUMS = "checksums.json"
CARD = "README.md"
HEADER_KEY = "hvg"  # one key of the safetensors header holds all our metadata, as JSON
JSON_LIMIT = 8 << 20  # bytes; a config with 100,000 class names is about 2 MB
# fields that older weights do not know, with what they were
LATER = {
    "unit": "separable",
    "frame_kernel": 0,
    "patches": False,
    "detail": 0,
    "hold_ends": False,
    "hold_edges": False,
    "code_components": 0,
    "temporal_pool": 2,
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_LEVEL_FILE = re.compile(r"level[1-8]\.safetensors")


class FileCheck(NamedTuple):
    """What `verify` found out about one file."""

    file: str
    ok: bool
    reason: str
    """Empty where the file is good."""


# ---- single files ------------------------------------------------------------------------------


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends without an exception.

    Errors: `MediaError` when the folder cannot be written or is full. Nothing half-written stays.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        _sync(part)
        os.replace(part, path)
        with suppress(OSError):  # not every system lets a folder be synced
            _sync(path.parent)
    except OSError as error:
        raise MediaError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal. `WeightsError` when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> WeightsError:
    if isinstance(error, FileNotFoundError):
        return WeightsError(f"{path} is missing")
    return WeightsError(f"cannot read {path}: {error.strerror or error}")


def write_json(path: Path, data: Any) -> None:
    """Write `data` as indented JSON, atomically. `MediaError` when it cannot be written."""
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def read_json(path: Path, *, limit: int = JSON_LIMIT, error: type[HvgError] = WeightsError) -> Any:
    """The JSON value in `path`, of at most `limit` bytes.

    Errors: `error` when it is missing, too large, not UTF-8, not JSON or nested too deeply.
    """
    if path.exists() and not path.is_file():  # a pipe would block
        raise error(f"{path} is not a file")
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except OSError as problem:
        raise error(str(_unreadable(path, problem))) from problem
    if len(raw) > limit:
        raise error(f"{path} is larger than {limit} bytes: it is not a file of hvg")
    try:
        return json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as problem:
        raise error(f"{path} is not valid JSON: {problem}") from problem


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write tensors (any device, dtype and strides) and JSON metadata to a safetensors file, atomically.

    Tensors are stored contiguous; those that share memory are stored apart.
    Errors: `MediaError` when the file cannot be written (no space, no permission).
    """
    with atomic(path) as part:
        write_tensors(part, tensors, metadata, path)


def write_tensors(part: Path, tensors: dict[str, Tensor], metadata: dict[str, Any], path: Path) -> None:
    """`save_tensors` inside an `atomic` block of the caller: writes to `part`, and names `path` in errors."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    header = {HEADER_KEY: json.dumps({**metadata, "format_version": FORMAT_VERSION})}
    part.touch()
    usual = part.stat().st_mode  # safetensors makes files that only their owner may read, whatever the umask
    try:
        save_file(_unshared(tensors), part, metadata=header)
        part.chmod(usual)
    except SafetensorError as error:
        raise MediaError(f"cannot write {path}: {error}") from error


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        if tensor.untyped_storage().data_ptr() in seen or tensor.untyped_storage().nbytes() != tensor.nbytes:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        result[name] = tensor
    return result


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """An open safetensors file of ours and its metadata, with the errors of `load_tensors`."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise WeightsError(f"{path} is {'not a file' if path.exists() else 'missing'}")
    try:
        with safe_open(path, framework="pt") as file:
            yield file, _metadata(path, file.metadata())
    except SafetensorError as error:
        raise WeightsError(f"{path} is cut off, damaged or not a safetensors file: {error}") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _metadata(path: Path, header: dict[str, str] | None) -> dict[str, Any]:
    try:
        metadata = json.loads((header or {})[HEADER_KEY])
        version = metadata.pop("format_version")
    except (KeyError, ValueError, RecursionError, AttributeError, TypeError) as error:
        raise WeightsError(f"{path} was not written by hvg: its header has no metadata of ours") from error
    _check_version(path, version)
    result: dict[str, Any] = metadata
    return result


def _check_version(path: Path, version: Any) -> None:
    if not isinstance(version, int) or version < 1:
        raise WeightsError(f"{path} has no usable format_version: {version!r}")
    if version > FORMAT_VERSION:
        raise WeightsError(f"{path} is of format {version}, this hvg reads up to {FORMAT_VERSION}: update hvg")


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and metadata of a file that `save_tensors` wrote.

    Errors: `WeightsError` when it is missing, cut off, not safetensors, not ours or of a newer format.
    """
    with _opened(path) as (file, metadata):
        return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118, not a dict


def load_metadata(path: Path) -> dict[str, Any]:
    """Only the metadata of a file that `save_tensors` wrote; errors as `load_tensors`."""
    with _opened(path) as (_, metadata):
        return metadata


# ---- model folders -----------------------------------------------------------------------------


def _check_name(folder: Path, name: Any) -> None:
    bad = not isinstance(name, str) or not name or "\\" in name or "\0" in name
    if bad or PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or ".." in PurePosixPath(name).parts:
        raise WeightsError(f"{folder} names a file outside itself: {name!r}")


def inside(folder: Path, name: Any) -> Path:
    """`folder / name`; `WeightsError` where `name` or a link leads out of the folder."""
    _check_name(folder, name)
    path: Path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise WeightsError(f"{path} is a link that leaves the model folder: copy the file instead")
    return path


def level_file(number: int) -> str:
    """The file name of level `number` (1..L)."""
    return f"level{number}.safetensors"


def level_hash(config: ModelConfig, number: int) -> str:
    """16 hexadecimal digits that stand for the networks of level `number`: its numbers and those below."""
    below = config.levels[number - 2] if number > 1 else None
    parts = [_numbers(config.levels[number - 1]), _numbers(below) if below else None, config.num_classes]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _numbers(level: LevelConfig) -> dict[str, Any]:
    """A level's numbers; those that came later count only where they are not what all levels had before."""
    return _without_later(to_dict(level))


def _without_later(numbers: dict[str, Any]) -> dict[str, Any]:
    known = {key: value for key, value in numbers.items() if key not in LATER or value != LATER[key]}
    return {key: _without_later(value) if isinstance(value, dict) else value for key, value in known.items()}


def write_model_config(folder: Path, config: ModelConfig) -> None:
    """Write `config.json`. The folder counts as unfinished until `finish_model`."""
    (folder / CHECKSUMS).unlink(missing_ok=True)
    write_json(folder / CONFIG, {"format_version": FORMAT_VERSION, **to_dict(config)})


def read_model_config(folder: Path) -> ModelConfig:
    """The `ModelConfig` of a model folder.

    Errors: `WeightsError` when it is missing, tampered with, of a newer format, or makes no sense.
    """
    path = inside(folder, CONFIG)
    data = read_json(path)
    if not isinstance(data, dict):
        raise WeightsError(f"{path} is not a model config")
    _check_version(path, data.pop("format_version", None))
    _check_sum(folder, CONFIG)
    try:
        check_model_types(data)
        return model_from_dict(data)
    except (ConfigError, TypeError, ValueError, OverflowError, AttributeError) as error:
        fault = error.fault if isinstance(error, ConfigError) else error
        raise WeightsError(f"{path}: {fault}: fetch or train the model again, or update hvg") from error


def check_model_types(data: dict[str, Any]) -> None:
    """`ConfigError` where the JSON values of a model from outside have a name or a type that cannot be."""
    name, classes = data.get("name"), data.get("classes", [])
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"name must be 1..96 letters, digits, '.', '_' or '-', not {str(name)[:100]!r}")
    if not isinstance(classes, list) or not all(isinstance(c, str) and 0 < len(c) <= 200 for c in classes):
        raise ConfigError("classes must be a list of names of 1..200 characters")
    if not all(c.isprintable() for c in classes):
        raise ConfigError("class names must be printable")
    if isinstance(data.get("num_classes", 0), bool) or not isinstance(data.get("num_classes", 0), int):
        raise ConfigError("num_classes must be a whole number")
    _check_whole(data.get("levels"))


def _check_whole(value: Any) -> None:
    """Every number of a level is whole: a width of 2.5 would only fail inside torch."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _check_whole(item)
    elif isinstance(value, float):
        raise ConfigError(f"{value} must be a whole number")


def write_level(folder: Path, number: int, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write the weights of level `number`; the folder's `config.json` must be there already.

    `metadata` (JSON values) gains the level number and the hash of the level's config.
    """
    config = read_model_config(folder)
    _check_level(folder, number, config)
    (folder / CHECKSUMS).unlink(missing_ok=True)
    ours = {"level": number, "level_hash": level_hash(config, number)}
    save_tensors(folder / level_file(number), tensors, {**metadata, **ours})


def _check_level(folder: Path, number: int, config: ModelConfig) -> None:
    if not 1 <= number <= len(config.levels):
        raise WeightsError(f"{folder} has levels 1..{len(config.levels)}, not {number}")


def read_level(folder: Path, number: int, *, config: ModelConfig) -> dict[str, Tensor]:
    """The tensors of level `number`, after checking that the file is that level's and unchanged.

    Errors: `WeightsError` as `load_tensors`, and for a wrong checksum or another level's file.
    """
    _check_level(folder, number, config)
    path = inside(folder, level_file(number))
    _check_sum(folder, level_file(number))
    tensors, metadata = load_tensors(path)
    if metadata.get("level") != number:
        raise WeightsError(f"{path} holds level {metadata.get('level')!r}, not level {number}")
    if metadata.get("level_hash") != level_hash(config, number):
        raise WeightsError(f"{path} was trained with another config than {folder / CONFIG}")
    return tensors


def level_metadata(folder: Path, number: int) -> dict[str, Any]:
    """What the training wrote into the header of level `number`."""
    return load_metadata(inside(folder, level_file(number)))


def finish_model(folder: Path, card: str | None = None) -> None:
    """Write the card (None keeps the one there) and `checksums.json` of all files of the model."""
    if card is not None:
        with atomic(folder / CARD) as part:
            part.write_text(card, encoding="utf-8")
    files = {name: {"sha256": sha256(folder / name), "size": (folder / name).stat().st_size} for name in _files(folder)}
    write_json(folder / CHECKSUMS, {"format_version": FORMAT_VERSION, "files": files})


def _files(folder: Path) -> list[str]:
    """Names of the files that make up a model, sorted; `checksums.json` is not among them."""
    names = sorted(p.name for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return [n for n in names if n != CHECKSUMS and (n == CARD or n.endswith((".json", ".safetensors")))]


def read_checksums(folder: Path) -> dict[str, dict[str, Any]]:
    """File name -> {"sha256", "size"}; empty for a model that is not finished.

    Errors: `WeightsError` where the list is damaged or names a file outside the folder.
    """
    path = inside(folder, CHECKSUMS)
    if not path.exists():
        return {}
    data = read_json(path)
    files = data.get("files") if isinstance(data, dict) else None
    if not isinstance(files, dict):
        raise WeightsError(f"{path} is not a list of checksums")
    _check_version(path, data.get("format_version"))
    for name, entry in files.items():
        _check_name(folder, name)
        if not isinstance(entry, dict) or not isinstance(entry.get("sha256"), str):
            raise WeightsError(f"{path} has no checksum for {name}")
    return files


def _check_sum(folder: Path, name: str) -> None:
    entry = read_checksums(folder).get(name)
    if entry and (reason := _compare(inside(folder, name), entry)):
        raise WeightsError(f"{folder / name} {reason}: fetch or train the model again")


def _compare(path: Path, entry: dict[str, Any]) -> str:
    """Why a file is not the one listed, or ""."""
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if size != entry.get("size"):
        return f"has {size} bytes, not the {entry.get('size')} of {CHECKSUMS}"
    return "" if sha256(path) == entry["sha256"] else f"does not match {CHECKSUMS}"


def verify(folder: Path) -> list[FileCheck]:
    """Check every file of a model folder; never raises for a bad model."""
    try:
        listed = read_checksums(folder)
    except WeightsError as error:
        return [FileCheck(CHECKSUMS, False, str(error))]
    if not listed:
        return [FileCheck(CHECKSUMS, False, "is missing or empty: nothing to compare with")]
    reasons = {name: _safe_compare(folder, name, listed) for name in sorted(listed)}
    checks = [FileCheck(name, not reason, reason) for name, reason in reasons.items()]
    extra = sorted(set(_files(folder)) - set(listed))
    checks += [FileCheck(name, False, f"is not listed in {CHECKSUMS}") for name in extra]
    return checks + ([] if reasons.get(CONFIG) else _missing_levels(folder, listed))


def _safe_compare(folder: Path, name: str, listed: dict[str, dict[str, Any]]) -> str:
    try:
        return _compare(inside(folder, name), listed[name])
    except WeightsError as error:
        return str(error)


def _missing_levels(folder: Path, listed: dict[str, dict[str, Any]]) -> list[FileCheck]:
    try:
        count = len(read_model_config(folder).levels)
    except WeightsError as error:
        return [FileCheck(CONFIG, False, str(error))]
    missing = [level_file(n) for n in range(1, count + 1) if level_file(n) not in listed]
    return [FileCheck(name, False, f"is not listed in {CHECKSUMS}") for name in missing if not (folder / name).exists()]


def model_sha(folder: Path) -> str:
    """12 hexadecimal digits that stand for config and weights (the card does not count)."""
    listed = read_checksums(folder)
    names = [name for name in _files(folder) if name == CONFIG or _LEVEL_FILE.fullmatch(name)]
    sums = [f"{name} {listed[name]['sha256'] if name in listed else sha256(folder / name)}" for name in names]
    return hashlib.sha256("\n".join(sums).encode()).hexdigest()[:12]


def load_strict(module: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Load every tensor into `module`, cast to the module's own types.

    A module on the meta device gets the tensors themselves (on the CPU).
    Errors: `WeightsError` naming the first key that is missing, unexpected or of another shape.
    """
    own = module.state_dict()
    if missing := sorted(set(own) - set(tensors)):
        raise WeightsError(f"{where}: {missing[0]} is missing ({len(missing)} in all): it is of another model")
    if unexpected := sorted(set(tensors) - set(own)):
        raise WeightsError(f"{where}: {unexpected[0]} is unexpected ({len(unexpected)} in all): it is of another model")
    for key, tensor in tensors.items():
        if tensor.shape != own[key].shape:
            raise WeightsError(f"{where}: {key} has shape {tuple(tensor.shape)}, not {tuple(own[key].shape)}")
        if tensor.is_floating_point() != own[key].is_floating_point():
            raise WeightsError(f"{where}: {key} has type {tensor.dtype}, not {own[key].dtype}")
    on_meta = any(value.is_meta for value in own.values())
    cast = {key: tensor.to(own[key].dtype) for key, tensor in tensors.items()}
    module.load_state_dict(cast, strict=True, assign=on_meta)


@contextmanager
def locked(file: Path, refusal: HvgError) -> Iterator[None]:
    """Hold `file` alone while the block runs, freed also when the process dies; `refusal` where another has it."""
    with file.open("w") as held:
        try:
            import fcntl  # not on Windows, where the check is left out

            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except OSError as error:
            raise refusal from error
        yield
