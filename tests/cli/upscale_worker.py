"""A process that runs `hvg upscale` again and again, so that a test outlives a crash or a hang of it.

It reads a line `["ARGUMENT", ...]` for each run and answers `{"code": ..., "out": ..., "errors": ...}`.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys

from hvgcli.cli.main import run
from hvgcli.cli.upscaling import run as upscaling  # noqa: F401  # the answer to the first line does not wait for torch

print("ready", flush=True)
for line in sys.stdin:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as errors:
        code = run(["upscale", *json.loads(line)])
    print(json.dumps({"code": code, "out": out.getvalue(), "errors": errors.getvalue()}), flush=True)
