"""What a measured number depends on: processor, versions, threads, and the commit of the code."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Callable
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from .. import __version__, _native
from .._arguments import checked
from .._git import git

_ROOT = Path(__file__).parents[2]
# parts of a checkout that decide how fast an op is
_PARTS = ("csrc", "kernels", "fastbrain")


def cpu_name() -> str:
    """Model name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


@cache
def commit() -> str:
    """Commit of the checkout, with a plus if its sources differ; elsewhere a digest of the code."""
    name = git(_ROOT, "rev-parse", "--short", "HEAD") if (_ROOT / ".git").exists() else None
    if name is None:
        return f"files-{sources()}"
    return name + ("+" if git(_ROOT, "status", "--porcelain", "--", *_PARTS) else "")


@cache
def sources() -> str:
    """Twelve digits that name the sources of kernels, ops and benchmarks."""
    package = _ROOT / "fastbrain"
    folders = [
        _ROOT / "csrc",
        _ROOT / "kernels",
        *(package / n for n in ("kernels", "ops", "bench")),
    ]
    total = hashlib.sha256()
    for path in sorted(p for folder in folders for p in folder.glob("**/*.[pch]*")):
        if path.is_file() and "__pycache__" not in path.parts:
            total.update(str(path.relative_to(_ROOT)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:12]


def no_tf32() -> None:
    """Make float32 mean float32: TF32 rounds the factors of a product to ten bits."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


@checked
def environment(device: str = "cpu") -> dict[str, Any]:
    """Facts that are recorded with every number.

    Parameters
    ----------
    device : str
        The facts of a GPU are added for a device that begins with ``"cuda"``.

    Returns
    -------
    dict
        ``cpu``, ``cores``, ``isa``, ``threads``, versions, ``commit``, ``sources`` and ``date``.
    """
    facts = {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "isa": _native.isa(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "fastbrain": __version__,
        "commit": commit(),
        "sources": sources(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    if device.startswith("cuda"):
        facts |= {
            "gpu": torch.cuda.get_device_name(device),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "triton": version("triton"),
            "tf32": torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32,
        }
    return facts


def gpu_state() -> dict[str, Any]:
    """Clock (MHz), power (W) and temperature (°C) of the GPU now, so that throttling is seen."""
    try:
        # through NVML, where its Python module is there: a process each time would cost as much as
        # what is timed
        return {
            "sm_mhz": torch.cuda.clock_rate(),
            "watts": torch.cuda.power_draw() / 1e3,
            "celsius": torch.cuda.temperature(),
        }
    except Exception:
        return _smi_state()


def _smi_state() -> dict[str, Any]:
    fields = {"sm_mhz": "clocks.sm", "watts": "power.draw", "celsius": "temperature.gpu"}
    command = ["nvidia-smi", f"--query-gpu={','.join(fields.values())}"]
    try:
        ran = subprocess.run(
            [*command, "--format=csv,noheader,nounits"], capture_output=True, text=True, timeout=10
        )
        values = [float(v) for v in ran.stdout.splitlines()[0].split(",")]
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError):
        return {}
    return dict(zip(fields, values, strict=True))


@checked
class Recorder:
    """Completes rows with the environment that their numbers depend on.

    Parameters
    ----------
    write : callable
        Receives every whole row.
    device : str
    facts : dict, optional
        Added to every row, for example the name of the machine.
    """

    def __init__(
        self,
        write: Callable[[dict[str, Any]], None],
        device: str = "cpu",
        facts: dict[str, Any] | None = None,
    ) -> None:
        self.environment = environment(device)
        self._write, self._facts = write, facts or {}

    def row(self, **fields: Any) -> None:
        """Write a row."""
        self._write({**fields, **self._facts, "env": self.environment})
