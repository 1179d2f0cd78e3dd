"""`hvg models` and `hvg classes` on real folders: three ways to print, and every exit code they have."""

import json

import pytest
from predictor_models import make_predictor
from tiny_models import flip_last_bit, make_model
from typer.testing import CliRunner

from hvgcli import hub
from hvgcli.checkpoints import model_sha, verify
from hvgcli.cli.main import app, run
from hvgcli.errors import UsageError


@pytest.fixture
def pulled(tiny_model):
    return hub.pull(str(tiny_model))


def printed(capsys, *args: str) -> str:
    code = run(list(args))
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def as_json(capsys, *args: str) -> dict:
    data = json.loads(printed(capsys, *args, "--json"))
    assert data.pop("schema") == 1
    return data


def failed(capsys, code: int, *args: str) -> str:
    assert run(list(args)) == code
    _, err = capsys.readouterr()
    assert err.startswith("hvg: error: ")
    assert err.count("\n") == 1
    return err


def test_list(capsys, pulled):
    row = next(row for row in as_json(capsys, "models", "list")["models"] if row["name"] == "tiny")
    assert (row["where"], row["levels"], row["frames"], row["size"], row["classes"]) == ("cache", 2, 8, "16x16", 2)
    assert row["sha"] == model_sha(pulled)
    assert "tiny" in printed(capsys, "models", "list", "-q").splitlines()
    assert "16x16" in printed(capsys, "models", "list")


def test_list_of_presets(capsys):
    names = {row["name"] for row in as_json(capsys, "models", "list", "--presets")["presets"]}
    assert {"hvg-mini", "hvg-kinetics600-48x128", "hvg-bdd100k-48x256"} <= names
    assert "hvg-mini" in printed(capsys, "models", "list", "--presets", "-q").splitlines()


def test_list_of_presets_tells_the_systems_apart(capsys):
    rows = {row["name"]: row for row in as_json(capsys, "models", "list", "--presets")["presets"]}
    assert {row["system"] for row in rows.values()} >= {"hvg", "dvd-gan", "dvd-gan-fp", "trivd-gan-fp"}
    for name, system in (("hvg-mini", "hvg"), ("dvd-gan-48x128", "dvd-gan"), ("trivd-gan-fp-bair", "trivd-gan-fp")):
        assert rows[name]["system"] == system
    assert (rows["dvd-gan-mini"]["context"], rows["dvd-gan-mini"]["frames"]) == (None, 48)
    assert (rows["trivd-gan-fp-mini"]["context"], rows["trivd-gan-fp-mini"]["frames"]) == (5, 11)
    assert "trivd-gan-fp-bair" in printed(capsys, "models", "list", "--presets")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dvd-gan-12x64", (None, "ConvGRU", "dvd-gan", "sum", {"spatial", "temporal"})),
        ("trivd-gan-fp", (5, "TSRU_p", "stronger", "mixed", {"spatial", "local", "temporal"})),
    ],
)
def test_info_of_one_stage_presets(capsys, name, expected):
    data = as_json(capsys, "models", "info", name)
    [level] = data["levels"]
    found = (data["context"], data["unit"], data["decomposition"], data["projection"], set(level["discriminators"]))
    assert found == expected
    assert level["discriminator_parameters"] == sum(level["discriminators"].values()) > 0
    text = printed(capsys, "models", "info", name)
    assert all(word in text for word in (data["unit"], data["decomposition"], f"{level['generator_parameters']:,}"))


def test_a_predictor_in_the_cache(capsys, tmp_path):
    folder = make_predictor(tmp_path / "fp")
    hub.pull(str(folder))
    row = next(row for row in as_json(capsys, "models", "list")["models"] if row["name"] == "tiny-fp")
    assert (row["system"], row["context"], row["frames"], row["size"]) == ("trivd-gan-fp", 3, 4, "16x16")
    data = as_json(capsys, "models", "info", "tiny-fp")
    assert (data["context"], data["unit"], data["sha"]) == (3, "TSRU_p", model_sha(folder))
    assert "TSRU_p" in printed(capsys, "models", "info", "tiny-fp")
    assert printed(capsys, "classes", "tiny-fp", "-q") == ""
    assert all(row["ok"] for row in as_json(capsys, "models", "verify", "tiny-fp")["files"])


def test_a_preset_without_weights_says_how_to_train_it(capsys):
    for preset, command in (("trivd-gan-fp", "train trivd-gan-fp"), ("hvg-bdd100k-48x256", "train-level 1")):
        assert f"train it with: hvg {command} --preset {preset}" in failed(capsys, 4, "classes", preset)


def test_list_says_which_model_is_broken(capsys, pulled):
    (pulled / "config.json").write_text("{")
    assert run(["models", "list", "-q"]) == 0
    out, err = capsys.readouterr()
    assert "tiny" not in out
    assert "hvg: warning: tiny" in err


def test_info_of_a_model(capsys, tiny_model):
    data = as_json(capsys, "models", "info", str(tiny_model))
    assert data["sha"] == model_sha(tiny_model)
    assert data["licence"] == "cc-by-4.0"
    assert data["card"].startswith("# tiny")
    assert [level["size"] for level in data["levels"]] == ["8x8", "16x16"]
    assert data["levels"][0]["discriminators"].keys() == {"spatial", "temporal"}
    text = printed(capsys, "models", "info", str(tiny_model))
    assert "cc-by-4.0" in text
    assert "A model for tests." in text
    assert printed(capsys, "models", "info", str(tiny_model), "-q").strip() == data["sha"]


def test_parameter_counts_are_those_of_the_networks(capsys, tiny_model):
    from hvgcli.checkpoints import read_model_config
    from hvgcli.models import build_discriminator, build_generator

    config = read_model_config(tiny_model)
    for level in as_json(capsys, "models", "info", str(tiny_model))["levels"]:
        number = level["level"]
        generator, discriminator = build_generator(config, number), build_discriminator(config, number)
        assert level["generator_parameters"] == sum(p.numel() for p in generator.parameters())
        assert level["discriminator_parameters"] == sum(p.numel() for p in discriminator.parameters())


def test_info_of_a_preset_without_weights(capsys):
    data = as_json(capsys, "models", "info", "hvg-kinetics600-48x128")
    assert data["sha"] is None
    assert "Castrejon" in data["source"]
    assert data["levels"][0]["generator_parameters"] > 10**8
    assert "128x128" in printed(capsys, "models", "info", "hvg-kinetics600-48x128")


def test_card_cannot_disturb_the_terminal(capsys, tiny_model):
    (tiny_model / "README.md").write_text("x\x1b]0;title\x07y" + "z" * 100_000)
    text = printed(capsys, "models", "info", str(tiny_model))
    assert "\x1b" not in text
    assert len(text) < 80_000


def test_path(capsys, pulled):
    assert printed(capsys, "models", "path", "tiny") == f"{pulled}\n" == printed(capsys, "models", "path", "tiny", "-q")
    assert as_json(capsys, "models", "path", "tiny") == {"name": "tiny", "path": str(pulled)}


def test_unknown_and_missing(capsys, pulled, tmp_path):
    for command in ("info", "path", "verify"):
        assert "did you mean tiny?" in failed(capsys, 2, "models", command, "tinny")
        assert "hvg models pull a/b" in failed(capsys, 4, "models", command, "a/b")
        assert "config.json" in failed(capsys, 4, "models", command, str(tmp_path))
    assert "did you mean hvg-kinetics600-48x128" in failed(capsys, 2, "models", "info", "hvg-kinetics600-48x12")


def test_verify(capsys, pulled):
    rows = as_json(capsys, "models", "verify", "tiny")["files"]
    assert len(rows) == 4
    assert all(row["ok"] for row in rows)
    flip_last_bit(pulled / "level1.safetensors")
    assert "1 of 4 files are bad: level1.safetensors of tiny" in failed(capsys, 4, "models", "verify", "tiny")
    assert run(["models", "verify", "tiny", "-q"]) == 4
    assert capsys.readouterr().out == "level1.safetensors\n"


def test_pull_from_a_folder(capsys, tiny_model, own_cache):
    plan = as_json(capsys, "models", "pull", str(tiny_model), "--dry-run")
    assert (plan["name"], plan["dry_run"]) == ("tiny", True)
    assert plan["bytes"] == sum(path.stat().st_size for path in tiny_model.iterdir())
    assert not own_cache.exists()
    assert printed(capsys, "models", "pull", str(tiny_model), "-q") == "tiny\n"
    assert all(check.ok for check in verify(hub.cached()["tiny"]))


def test_pull_failures(capsys, tiny_model, own_cache, monkeypatch):
    assert "--offline" in failed(capsys, 4, "models", "pull", "me/mini", "--offline")
    assert "owner/name" in failed(capsys, 2, "models", "pull", "mini")
    flip_last_bit(tiny_model / "level2.safetensors")
    assert "does not match" in failed(capsys, 4, "models", "pull", str(tiny_model))
    assert hub.cached() == {}


def test_pull_where_nothing_can_be_written(capsys, tiny_model, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HVG_CACHE", str(tmp_path / "file" / "cache"))
    assert str(tmp_path / "file") in failed(capsys, 3, "models", "pull", str(tiny_model))


def test_rm_asks(pulled):
    asked = CliRunner().invoke(app, ["models", "rm", "tiny"], input="n\n")
    assert isinstance(asked.exception, UsageError)
    assert "Delete" in asked.stderr
    assert isinstance(CliRunner().invoke(app, ["models", "rm", "tiny"], input="").exception, UsageError)
    assert pulled.exists()
    assert CliRunner().invoke(app, ["models", "rm", "tiny"], input="y\n").exit_code == 0
    assert not pulled.exists()


def test_rm(capsys, pulled):
    assert as_json(capsys, "models", "rm", "tiny", "--dry-run")["path"] == str(pulled)
    assert pulled.exists()
    assert printed(capsys, "models", "rm", "tiny", "--yes", "-q") == "tiny\n"
    assert hub.cached() == {}
    assert "not in the cache" in failed(capsys, 2, "models", "rm", "tiny", "--yes")


def test_push_to_a_folder(capsys, tiny_model, tmp_path):
    target = tmp_path / "shelf"
    data = as_json(capsys, "models", "push", str(tiny_model), str(target))
    assert data["target"] == str(target)
    assert model_sha(target) == data["sha"]
    assert "already there" in failed(capsys, 3, "models", "push", str(tiny_model), str(target))
    assert "--offline" in failed(capsys, 4, "models", "push", str(tiny_model), "me/mini", "--offline")
    (tiny_model / "checksums.json").unlink()
    assert "checksums.json" in failed(capsys, 4, "models", "push", str(tiny_model), str(tmp_path / "new"))


def test_folder_that_climbs_out(capsys, tiny_model):
    (tiny_model / "checksums.json").write_text('{"format_version": 1, "files": {"../../x": {"sha256": "", "size": 0}}}')
    for command in ("info", "verify"):
        assert "outside itself" in failed(capsys, 4, "models", command, str(tiny_model))


def test_classes(capsys, tiny_model):
    rows = as_json(capsys, "classes", str(tiny_model))["classes"]
    assert rows == [{"index": 0, "name": "cat"}, {"index": 1, "name": "dog"}]
    assert printed(capsys, "classes", str(tiny_model), "-q") == "cat\ndog\n"
    assert "dog" in printed(capsys, "classes", str(tiny_model))


def test_classes_of_an_unconditional_model(capsys, tmp_path):
    folder = str(make_model(tmp_path / "free", num_classes=0, classes=()))
    assert as_json(capsys, "classes", folder) == {"classes": []}
    assert run(["classes", folder]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "unconditional" in err


def test_classes_without_names_are_numbers(capsys, tmp_path):
    folder = str(make_model(tmp_path / "numbers", num_classes=3, classes=()))
    assert printed(capsys, "classes", folder, "-q") == "0\n1\n2\n"


def test_classes_failures(capsys, tmp_path):
    assert "did you mean" in failed(capsys, 2, "classes", "hvg-minni")
    assert "config.json" in failed(capsys, 4, "classes", str(tmp_path))
