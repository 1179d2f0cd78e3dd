"""The program as a whole: start-up cost, streams, exit codes, and what an exception looks like."""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from hvgcli.cli.main import app, explain, run
from hvgcli.cli.output import Output, grid, make_output, one_line
from hvgcli.errors import ConfigError, HvgError, OutputExistsError, PartialFailure, ResourceError, WeightsError

HEAVY = ("torch", "av", "numpy", "huggingface_hub", "imageio", "safetensors", "PIL", "click")


def hvg(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hvgcli", *args]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | env, timeout=60)


@pytest.mark.parametrize("args", [["--help"], ["models", "--help"], ["models", "pull", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(args):
    script = (
        "import sys\n"
        "from hvgcli.cli.main import run\n"
        f"code = run({args!r})\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], code, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "[] 0\n"
    assert done.stdout


def test_import_is_light():
    script = f"import sys, hvgcli, hvgcli.hub, hvgcli.checkpoints\nprint([n for n in {HEAVY!r} if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "[]\n"


def test_every_command_has_help_and_the_shared_options(capsys):
    assert run(["--help"]) == 0
    listed = capsys.readouterr().out
    for command in app.registered_commands:
        assert command.name in listed
        assert run([command.name, "--help"]) == 0
        text = capsys.readouterr().out
        assert all(option in text for option in ("--json", "--quiet", "--no-progress", "--debug")), command.name


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == "hvg 0.1.0\n"


@pytest.mark.parametrize("args", [["clases"], ["classes", "--nope"], ["classes", "a", "b"], ["--color", "red"]])
def test_usage_is_exit_2_on_stderr(capsys, args):
    assert run(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Error" in err


def test_close_command_is_told(capsys):
    assert run(["clases"]) == 2
    assert "classes" in capsys.readouterr().err


def test_color_switch(monkeypatch, tiny_model):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert run(["--color", "never", "classes", str(tiny_model)]) == 0
    assert os.environ["NO_COLOR"] == "1"


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (HvgError("a"), 1, "a"),
        (ConfigError("b"), 2, "b"),
        (OutputExistsError("c"), 3, "c"),
        (WeightsError("d"), 4, "d"),
        (ResourceError("e"), 5, "e"),
        (PartialFailure("f"), 6, "f"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 5, "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 3 GiB"), 5, "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"), 5, "out of memory"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 3, "/x/y: No space left"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 3, "/x: Permission denied"),
        (RuntimeError("mat1 and mat2"), 1, "RuntimeError: mat1 and mat2 .*--debug"),
        (OSError(errno.ENOTSOCK, "odd"), 1, "a bug"),
        (AssertionError(), 1, "AssertionError"),
    ],
)
def test_exit_code_of_every_exception(error, code, words):
    got, message = explain(error)
    assert got == code
    assert re.search(words, message)


def test_real_allocation_failure_is_out_of_memory():
    import torch

    with pytest.raises(RuntimeError) as error:
        torch.empty(1 << 60)
    assert explain(error.value)[0] == 5


def test_error_is_one_line_without_traceback(capsys):
    assert run(["classes", "no\nsuch\x1b[2Jmodel"]) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("hvg: error: ")
    assert err.count("\n") == 1
    assert "\x1b" not in err


@pytest.mark.parametrize("how", [["--debug"], []])
def test_debug_shows_the_traceback_and_keeps_the_code(capsys, monkeypatch, how):
    if not how:
        monkeypatch.setenv("HVG_DEBUG", "1")
    assert run(["classes", "./none", *how]) == 4
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("hvg: error: none is missing")


def test_interruption_is_130_and_leaves_nothing(own_cache):
    """A real signal, while the program waits for a server that accepts and then says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "hvgcli", "models", "pull", "me/mini"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=os.environ | {"HF_ENDPOINT": endpoint}, **pipes) as program:
            silent.settimeout(30)
            with silent.accept()[0]:
                program.send_signal(signal.SIGINT)
                out, err = program.communicate(timeout=30)
    assert (program.returncode, out, err) == (130, "", "hvg: error: interrupted\n")
    assert list((own_cache / "models").iterdir()) == []


def test_reader_that_goes_away(tiny_model):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "hvgcli", "classes", str(tiny_model)]
    for extra in ([], ["-q"], ["--json"]):
        done = subprocess.run([*command, *extra], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=30)
        assert (done.returncode, done.stderr) == (141, "")
    os.close(writer)


def test_module_is_the_program():
    done = hvg("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hvg 0.1.0\n", "")


def test_completion_of_models_and_classes(tiny_model, own_cache):
    from hvgcli import hub
    from hvgcli.cli.options import complete_model, complete_preset

    hub.pull(str(tiny_model))
    assert complete_model("ti") == ["tiny"]
    assert "tiny" in complete_preset("")
    assert "hvg-bdd100k-48x256" in complete_preset("hvg-b")
    done = hvg(_HVG_COMPLETE="complete_bash", COMP_WORDS="hvg classes ti", COMP_CWORD="2")
    assert done.stdout.split() == ["tiny"]


def test_completion_of_classes(tiny_model):
    from typer import Context
    from typer.main import get_command

    from hvgcli.cli.options import complete_class

    context = Context(get_command(app))
    context.params = {"model": str(tiny_model)}
    assert complete_class(context, "d") == ["dog"]
    context.params = {"model": "./nowhere"}
    assert complete_class(context, "") == []


def test_completion_can_be_installed(capsys):
    assert run(["--help"]) == 0
    assert "--install-completion" in capsys.readouterr().out


# ---- the output object -------------------------------------------------------------------------


def test_modes(capsys):
    for output, expected in (
        (make_output(), "made x.mp4\n"),
        (make_output(quiet=True), "x.mp4\n"),
    ):
        output.emit({"path": "x.mp4", "seed": 3}, line="made x.mp4", ident="x.mp4")
        assert capsys.readouterr().out == expected
    make_output(as_json=True, quiet=True).emit({"path": "x.mp4", "seed": 3})
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "path": "x.mp4", "seed": 3}


def test_notes_and_warnings_go_to_stderr(capsys):
    make_output(quiet=True).note("unseen")
    make_output().note("seen")
    make_output(quiet=True).warn("two\nlines")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "seen\nhvg: warning: two lines\n"


def test_progress_is_silent_without_a_terminal(capsys):
    with Output().progress("frames", total=3) as advance:
        for _ in range(3):
            advance(1, description="frame")
    assert capsys.readouterr() == ("", "")


def test_progress_bar_on_a_terminal_leaves_stdout_alone():
    import pty

    script = (
        "from hvgcli.cli.output import Output\n"
        "with Output().progress('frames', total=2) as advance:\n"
        "    advance(); advance(1, description='last')\n"
        "print('result')\n"
    )
    ours, theirs = pty.openpty()
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=theirs, text=True, timeout=30)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert done.stdout == "result\n"
    assert "2/2" in shown


def test_table_draws_names_as_they_are(capsys):
    rows = [{"name": "[bold]x[/bold] :smile:", "n": 1200, "ok": True, "none": None, "list": [1, 2]}]
    make_output().table("rows", rows, {key: key for key in rows[0]}, ident="name")
    out = capsys.readouterr().out
    assert all(text in out for text in ("[bold]x[/bold] :smile:", "1,200", "yes", "-", "1, 2"))
    assert grid(rows, {"n": "n"}).columns[0].justify == "right"


def test_one_line():
    assert one_line("a\n b\x1b[31m\tc") == "a b [31m c"
