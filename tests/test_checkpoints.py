"""Files and folders of weights: round trips, damage, and folders that want to be somewhere else."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import flip_last_bit, make_model, tiny_config
from torch import nn

from hvgcli import checkpoints as ck
from hvgcli.errors import MediaError, UsageError, WeightsError


@pytest.fixture
def model(tiny_model: Path) -> Path:
    return tiny_model


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@settings(max_examples=20, deadline=None)
@given(
    shape=st.lists(st.integers(0, 4), max_size=4),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.bool]),
    metadata=st.dictionaries(st.text(max_size=8).filter(lambda k: k != "format_version"), st.integers() | st.text()),
)
def test_tensors_round_trip(tmp_path_factory, shape, dtype, metadata):
    path = tmp_path_factory.mktemp("rt") / "x.safetensors"
    tensor = (torch.randn(shape) * 9).to(dtype)
    ck.save_tensors(path, {"a.b": tensor}, metadata)
    tensors, back = ck.load_tensors(path)
    assert torch.equal(tensors["a.b"], tensor)
    assert tensors["a.b"].dtype == dtype
    assert back == metadata == ck.load_metadata(path)


def test_strided_shared_and_partial_tensors_are_stored(tmp_path):
    base = torch.randn(2, 3, 4, 5)
    given_tensors = {
        "last": base.to(memory_format=torch.channels_last),
        "base": base,
        "again": base,
        "row": base[1],
        "parameter": nn.Parameter(base),
    }
    ck.save_tensors(tmp_path / "x.safetensors", given_tensors, {})
    tensors, _ = ck.load_tensors(tmp_path / "x.safetensors")
    assert all(torch.equal(tensors[name], tensor) for name, tensor in given_tensors.items())


def test_nothing_half_written(tmp_path):
    path = tmp_path / "x.json"
    ck.write_json(path, {"old": 1})

    def interrupted() -> None:
        with ck.atomic(path) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ck.read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_unwritable_place_is_a_media_error(tmp_path):
    (tmp_path / "file").write_text("")
    for write in (
        lambda: ck.write_json(tmp_path / "file" / "x.json", {}),
        lambda: ck.save_tensors(tmp_path / "file" / "x.safetensors", {"a": torch.zeros(1)}, {}),
    ):
        with pytest.raises(MediaError, match="cannot write") as error:
            write()
        one_line(error)


def test_full_disk_leaves_nothing(tmp_path):
    """The size limit of a process stands in for a full disk: the write fails in the middle."""
    script = (
        "import resource, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from hvgcli.checkpoints import save_tensors\n"
        "from hvgcli.errors import MediaError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "tensor = torch.zeros(200_000)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    save_tensors(Path(sys.argv[1]) / 'x.safetensors', {'a': tensor}, {})\n"
        "except MediaError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("cannot write")
    assert done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [0, 4, 40, -1])
def test_cut_off_file(tmp_path, keep):
    path = tmp_path / "x.safetensors"
    ck.save_tensors(path, {"a": torch.zeros(64)}, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="cut off, damaged or not a safetensors") as error:
        ck.load_tensors(path)
    one_line(error)


def test_missing_folder_and_foreign_files(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(WeightsError, match="missing"):
        ck.load_tensors(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="not a file"):
        ck.load_tensors(tmp_path)
    (tmp_path / "text").write_text("hello, this is no tensor file at all")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        ck.load_tensors(tmp_path / "text")
    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(WeightsError, match="not written by hvg"):
        ck.load_tensors(tmp_path / "other")


def rewrite_header(path: Path, **changes) -> None:
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    header["__metadata__"]["hvg"] = json.dumps(json.loads(header["__metadata__"]["hvg"]) | changes)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size :])


@pytest.mark.parametrize("version", [2, 99])
def test_newer_format(tmp_path, version):
    path = tmp_path / "x.safetensors"
    ck.save_tensors(path, {"a": torch.zeros(1)}, {})
    rewrite_header(path, format_version=version)
    with pytest.raises(WeightsError, match=f"of format {version}.*update hvg"):
        ck.load_tensors(path)


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}', b"1" * 5000])
def test_bad_json(tmp_path, text):
    (tmp_path / "x.json").write_bytes(text)
    with pytest.raises(UsageError, match="not valid JSON") as error:
        ck.read_json(tmp_path / "x.json", error=UsageError)
    one_line(error)


def test_pipe_is_not_waited_for(tiny_model):
    (tiny_model / "checksums.json").unlink()
    os.mkfifo(tiny_model / "checksums.json")
    with pytest.raises(WeightsError, match="not a file"):
        ck.read_model_config(tiny_model)
    assert not ck.verify(tiny_model)[0].ok


def test_big_json_is_refused(tmp_path):
    (tmp_path / "x.json").write_text('"' + "a" * 100 + '"')
    assert ck.read_json(tmp_path / "x.json", limit=102) == "a" * 100
    with pytest.raises(WeightsError, match="larger than 101 bytes"):
        ck.read_json(tmp_path / "x.json", limit=101)


def test_model_round_trip(model):
    config = ck.read_model_config(model)
    assert config == tiny_config()
    assert torch.equal(ck.read_level(model, 2, config=config)["w"], torch.full((3, 2), 2.0))
    assert ck.level_metadata(model, 2)["steps"] == 7
    checks = ck.verify(model)
    assert {c.file for c in checks} == {"config.json", "README.md", "level1.safetensors", "level2.safetensors"}
    assert all(c.ok and not c.reason for c in checks)
    assert len(ck.model_sha(model)) == 12


def test_sha_names_config_and_weights_only(model, tmp_path):
    make_model(tmp_path / "again")
    sha = ck.model_sha(model)
    assert ck.model_sha(tmp_path / "again") == sha
    ck.finish_model(model, "# another card\n")
    assert ck.model_sha(model) == sha
    ck.write_level(model, 1, {"w": torch.zeros(3, 2)}, {})
    assert not (model / "checksums.json").exists()
    assert ck.model_sha(model) != sha


@pytest.mark.parametrize("name", ["config.json", "level2.safetensors"])
def test_tampered_file(model, name):
    flip_last_bit(model / name)
    with pytest.raises(WeightsError) as error:
        ck.read_level(model, 2, config=ck.read_model_config(model))
    one_line(error)
    assert [c.file for c in ck.verify(model) if not c.ok] == [name]


def test_verify_sees_cut_off_missing_and_extra(model):
    with (model / "level1.safetensors").open("r+b") as file:
        file.truncate(50)
    (model / "level2.safetensors").unlink()
    (model / "level3.safetensors").write_text("")
    reasons = {c.file: c.reason for c in ck.verify(model) if not c.ok}
    assert "has 50 bytes" in reasons["level1.safetensors"]
    assert reasons["level2.safetensors"] == "is missing"
    assert "not listed" in reasons["level3.safetensors"]


def test_verify_of_an_unfinished_model(model):
    (model / "checksums.json").unlink()
    assert [(c.file, c.ok) for c in ck.verify(model)] == [("checksums.json", False)]


def test_file_of_another_level(model):
    config = ck.read_model_config(model)
    (model / "checksums.json").unlink()
    os.replace(model / "level1.safetensors", model / "level2.safetensors")
    with pytest.raises(WeightsError, match="holds level 1, not level 2"):
        ck.read_level(model, 2, config=config)


def test_file_of_another_config(model):
    (model / "checksums.json").unlink()
    ck.write_model_config(model, tiny_config(num_classes=3, classes=("cat", "dog", "cow")))
    with pytest.raises(WeightsError, match="another config"):
        ck.read_level(model, 1, config=ck.read_model_config(model))


def test_level_out_of_range(model):
    with pytest.raises(WeightsError, match=r"levels 1\.\.2, not 3"):
        ck.read_level(model, 3, config=ck.read_model_config(model))


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "..", "", "C:/x", "a\\..\\b", "a\0b", 7, None])
def test_names_stay_inside(tmp_path, name):
    with pytest.raises(WeightsError, match="outside itself"):
        ck.inside(tmp_path, name)


def test_links_stay_inside(model, tmp_path):
    os.replace(model / "level1.safetensors", tmp_path / "elsewhere")
    (model / "level1.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WeightsError, match="link that leaves"):
        ck.read_level(model, 1, config=ck.read_model_config(model))
    assert [c.file for c in ck.verify(model) if not c.ok] == ["level1.safetensors"]


def test_checksums_may_not_climb_out(model):
    (model / "checksums.json").write_text('{"format_version": 1, "files": {"../secret": {"sha256": "0", "size": 1}}}')
    with pytest.raises(WeightsError, match="outside itself"):
        ck.read_model_config(model)
    assert not ck.verify(model)[0].ok


def change(data: dict, keys: tuple, value) -> dict:
    target = data
    for key in keys[:-1]:
        target = target[key]
    target[keys[-1]] = value
    return data


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("format_version",), 2),
        (("format_version",), "1"),
        (("name",), "../evil"),
        (("name",), None),
        (("classes",), ["cat", 5]),
        (("classes",), ["cat", "d\x1b[2Jog"]),
        (("num_classes",), 10**9),
        (("num_classes",), True),
        (("source_rate",), "25/0"),
        (("surprise",), 1),
        (("levels",), []),
        (("levels", 0), 3),
        (("levels", 0, "multipliers"), [2.5, 1]),
        (("levels", 0, "multipliers"), "ab"),
        (("levels", 0, "channels"), 10**9),
        (("levels", 0, "resolution"), None),
        (("levels", 0, "resolution"), 1e999),
        (("levels", 1, "spatial", "channels"), "x"),
        (("levels", 1, "matching"), "none"),
        (("levels", 1, "unit"), "gated"),
    ],
)
def test_config_that_makes_no_sense(model, keys, value):
    (model / "checksums.json").unlink()
    data = change(json.loads((model / "config.json").read_text()), keys, value)
    (model / "config.json").write_text(json.dumps(data).replace("Infinity", "1e999"))
    with pytest.raises(WeightsError) as error:
        ck.read_model_config(model)
    one_line(error)


def test_load_strict_casts_and_keeps_the_type_of_the_module():
    module = nn.Linear(3, 2).to(torch.bfloat16)
    ck.load_strict(module, {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}, "level 1")
    assert module.weight.dtype == torch.bfloat16
    assert module.weight.sum() == 6


def test_load_strict_into_meta():
    with torch.device("meta"):
        module = nn.BatchNorm1d(2)
    state = nn.BatchNorm1d(2).state_dict()
    ck.load_strict(module, state, "level 1")
    assert not module.weight.is_meta
    assert module.weight.requires_grad


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": torch.ones(2, 3)}, "bias is missing"),
        ({"weight": torch.ones(2, 3), "bias": torch.ones(2), "more": torch.ones(1)}, "more is unexpected"),
        ({"weight": torch.ones(3, 2), "bias": torch.ones(2)}, r"weight has shape \(3, 2\), not \(2, 3\)"),
        ({"weight": torch.ones(2, 3), "bias": torch.ones(2, dtype=torch.int64)}, "bias has type"),
    ],
)
def test_load_strict_names_the_first_wrong_key(tensors, message):
    with pytest.raises(WeightsError, match=f"level 2: {message}") as error:
        ck.load_strict(nn.Linear(3, 2), tensors, "level 2")
    one_line(error)


def test_weights_are_as_readable_as_other_files(tmp_path):
    ck.save_tensors(tmp_path / "a.safetensors", {"w": torch.ones(2)}, {})
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
