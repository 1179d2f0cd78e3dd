"""The README's commands: each `hvg generate` line is planned as written, and every command named exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from clip_files import encode
from patterns import moving_pattern

from hvgcli.cli.main import run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
LINES = [
    line.split("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
COMMANDS = [part for line in LINES for part in line.split("&&") if part.strip().startswith("hvg ")]


def test_the_two_commands_are_as_promised() -> None:
    assert "pip install -e . && hvg generate --class skydiving --frames 48" in LINES
    assert "pip install -e '.[test]' && pytest" in LINES


EMBEDDED = [path.name for path in (ROOT / "weights").iterdir()]


def is_embedded(command: str) -> bool:
    """Whether the model that a command names, if any, is there without training."""
    words = shlex.split(command)
    return "--model" not in words or words[words.index("--model") + 1] in EMBEDDED


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.split()[1] == "generate" and is_embedded(c)])
def test_generate_lines_can_be_planned(command: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run([*shlex.split(command)[1:], "--dry-run"]) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.split()[1] == "predict"])
def test_predict_lines_can_be_planned(command: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    clip = encode(tmp_path / shlex.split(command)[2], moving_pattern(100, (48, 64)))
    assert run([*shlex.split(command)[1:], "--dry-run"]) == 0
    assert list(tmp_path.iterdir()) == [clip]


@pytest.mark.parametrize("command", sorted({" ".join(c.split()[1:2]) for c in COMMANDS}))
def test_every_command_has_help(command: str, capsys) -> None:
    assert run([command, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_the_pictures_are_there() -> None:
    for path in re.findall(r"\]\((?!http|#)([^)]+)\)", README):
        assert (ROOT / path).exists(), path


def test_the_sections_are_there() -> None:
    sections = {title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", README, re.MULTILINE)}
    for anchor in re.findall(r"\]\(#([^)]+)\)", README):
        assert anchor in sections
