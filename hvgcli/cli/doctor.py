"""`hvg doctor`: what hvg found on this machine, and what to do about what is wrong."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from hvgcli.cli.options import AsJson, Debug, NoProgress, Quiet
from hvgcli.cli.output import make_output
from hvgcli.errors import HvgError, MediaError, ResourceError, WeightsError

CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")  # the ones that change our speed


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    value: str
    ok: bool = True
    advice: str = ""
    """What to do; empty where all is well."""
    error: type[HvgError] = HvgError
    """Whose exit code it has when it is not well."""


def doctor(
    as_json: AsJson = False, quiet: Quiet = False, no_progress: NoProgress = False, debug: Debug = False
) -> None:
    """Look at Python, torch, ffmpeg, devices, memory, cache and models; exit with 0 if all is well."""
    output = make_output(as_json=as_json, quiet=quiet, no_progress=no_progress)
    checks = all_checks()
    rows = [
        {"name": c.name, "value": c.value, "ok": c.ok, "state": "ok" if c.ok else "WRONG", "advice": c.advice}
        for c in checks
    ]
    shown = rows if output.mode != "quiet" else [row for row in rows if not row["ok"]]
    output.table("checks", shown, {"name": "what", "state": "state", "value": "found", "advice": "do"}, ident="name")
    if bad := [check for check in checks if not check.ok]:
        raise bad[0].error(f"{bad[0].name}: {bad[0].value}: {bad[0].advice}")


def all_checks() -> list[Check]:
    """Every check, in the order of the report. One that fails does not stop the others."""
    from hvgcli import hub

    parts: tuple[Callable[[], list[Check]], ...] = (
        check_python,
        check_torch,
        check_media,
        check_memory,
        check_cache,
        lambda: check_models(hub.embedded()),
    )
    return [check for part in parts for check in part()]


def check_python() -> list[Check]:
    from hvgcli import __version__

    python = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return [Check("hvg", f"{__version__} in {Path(__file__).parents[1]}"), Check("python", python)]


def check_torch() -> list[Check]:
    try:
        import torch
    except (ImportError, OSError) as error:
        return [Check("torch", str(error), False, "install it again: pip install --force-reinstall torch")]
    capability = torch.backends.cpu.get_cpu_capability()
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} cores (OMP_NUM_THREADS changes it)"
    checks = [Check("torch", torch.__version__), Check("threads", threads)]
    checks += [Check("cpu", " ".join([capability, *_cpu_flags()]))]
    return [*checks, _devices()]


def _cpu_flags() -> list[str]:
    """The flags of `CPU_FLAGS` that Linux reports; empty elsewhere."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split())
    except OSError:
        return []
    return [flag for flag in CPU_FLAGS if flag in words]


def _devices() -> Check:
    import torch

    names = ["cpu"]
    try:
        for index in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(index).total_memory / 2**30
            names.append(f"cuda:{index} ({torch.cuda.get_device_name(index)}, {memory:.0f} GiB)")
    except RuntimeError as error:
        return Check("devices", str(error), False, "check the graphics driver", ResourceError)
    if torch.backends.mps.is_available():
        names.append("mps")
    return Check("devices", ", ".join(names))


def check_media() -> list[Check]:
    return [_ffmpeg(), _av()]


def _ffmpeg() -> Check:
    advice = "install it again: pip install --force-reinstall imageio-ffmpeg"
    try:
        import imageio_ffmpeg

        program = imageio_ffmpeg.get_ffmpeg_exe()
        done = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=20, check=True)
    except (ImportError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        return Check("ffmpeg", str(error), False, advice, MediaError)
    version = " ".join(done.stdout.split("\n", 1)[0].split()[:3])
    return Check("ffmpeg", f"{version} at {program}")


def _av() -> Check:
    try:
        import av

        has_x264 = "libx264" in av.codecs_available
    except (ImportError, OSError) as error:
        return Check("av", str(error), False, "install it again: pip install --force-reinstall av", MediaError)
    if not has_x264:
        return Check("av", f"{av.__version__}, without libx264", False, "install the wheel: pip install av", MediaError)
    return Check("av", f"{av.__version__}, with libx264")


def check_memory() -> list[Check]:
    """Physical and free memory, where the system tells."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return [Check("memory", f"not told by {sys.platform}")]
    return [Check("memory", f"{total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB of it unused")]


def check_cache() -> list[Check]:
    """Whether the cache can be written, and its size."""
    from hvgcli import hub
    from hvgcli.cli.describe import folder_bytes

    folder = hub.cache_folder()
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        advice = "make it writable, or set HVG_CACHE to another folder"
        return [Check("cache", f"{folder} cannot be written", False, advice, MediaError)]
    return [Check("cache", f"{folder}, {folder_bytes(folder) / 1e6:.1f} MB, models in it: {len(hub.cached())}")]


def check_models(models: Mapping[str, Path]) -> list[Check]:
    """Whether every one of `models` (name -> folder) matches its checksums."""
    from hvgcli import checkpoints

    if not models:
        return [Check("models", "none came with hvg", False, "install it again: pip install .", WeightsError)]
    checks = []
    for name, folder in models.items():
        bad = [check for check in checkpoints.verify(folder) if not check.ok]
        if bad:
            value = f"{bad[0].file} {bad[0].reason}"
            advice = "install hvg again: its weights are damaged"
            checks.append(Check(f"model {name}", value, False, advice, WeightsError))
        else:
            checks.append(Check(f"model {name}", f"{checkpoints.model_sha(folder)}, verified, in {folder}"))
    return checks
