"""Say what is installed, what is missing, which backend of each kernel runs here and why.

fastbrain doctor

fastbrain doctor --llm HuggingFaceTB/SmolLM2-135M-Instruct

With --llm: layout of prompts, end tokens, likelihood of sentences under each layout, speed.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import __version__
from .._environment import environment
from .._threads import load_line, waiting_line
from ..errors import FastbrainError, InputError
from ._language_model import describe, sections
from ._optional_parts import OPTIONAL
from ._sections import Section, print_sections

# the index has another package of the name that this one is imported by
DISTRIBUTION, FOREIGN = "fastbrain-fmri", "fastbrain"
_PACKAGES = ("torch", "triton", "transformers", "accelerate", "numpy")
_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain doctor``."""

    json: bool = False
    """Print JSON."""
    llm: str | None = None
    """Describe this language model instead: a hub name, folder, GGUF file, or smollm2."""
    texts: Path | None = None
    """With --llm: score the sentences of this file, one in each line, of which the first four are
    the shots."""
    device: str = "cpu"
    """With --llm: device of the language model."""


def run(config: Config) -> None:
    """Collect the findings and print them."""
    if config.llm is None and (config.texts is not None or config.device != "cpu"):
        raise InputError(
            "doctor: texts and device must be left out without llm, got one. Add --llm."
        )
    if config.llm is not None:
        found = describe(config.llm, config.device, config.texts)
        shown = sections(found)
    else:
        found = report()
        shown = _sections(found)
    if config.json:
        print(json.dumps(found, indent=2))
    else:
        print_sections(shown)


def report() -> dict[str, Any]:
    """All findings as JSON values; a part that failed holds an ``error``.

    Returns
    -------
    dict
        ``versions``, ``conflict``, ``environment``, ``machine``, ``native``, ``backends``,
        ``attention``, ``optional``.
    """
    return {
        "versions": {
            "python": platform.python_version(),
            "fastbrain": __version__,
            **{name: _version(name) for name in _PACKAGES},
        },
        "conflict": _conflict(),
        "environment": dict(environment()),
        "machine": {
            "load": load_line(),
            "waiting threads": waiting_line(),
            "gzip decoder": _gzip(),
            "measured choices": _measurements(),
        },
        "native": _guarded(_native),
        "backends": _guarded(_backends),
        "attention": _guarded(_attention),
        "optional": [
            {
                "part": name,
                "installed": find_spec(name) is not None,
                "for": purpose,
                "install": f"pip install '{DISTRIBUTION}[{extra}]'",
            }
            for name, (extra, purpose) in OPTIONAL.items()
        ],
    }


def _gzip() -> str:
    from ..data.readers.gunzip import decoder, installed

    try:
        return f"{decoder().name} (installed: {', '.join(installed())})"
    except FastbrainError as error:
        return str(error)


def _measurements() -> str:
    """Say where choices between ways of computing are kept, and what is wrong with the file."""
    try:
        from ..ops import _measured

        found = _measured.report()
    except ImportError as error:
        return f"cannot look: {error}"
    count = len(found["seconds"])
    said = f"{count} shape classes for this machine in {found['file'] or 'no folder'}"
    return f"{said}; {found['trouble']}" if found["trouble"] else said


def _guarded(look: Callable[[], Any]) -> Any:
    try:
        return look()
    except Exception as error:
        # a broken installation must not break the report about it
        return {"error": f"{type(error).__name__}: {error}"}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _conflict() -> str | None:
    """Name the other package if it is installed: both have files in the folder ``fastbrain``."""
    other = _version(FOREIGN)
    if other is None:
        return None
    return (
        f"the package {FOREIGN} {other} is installed, which is not this project and overwrites "
        f"its files. pip uninstall {FOREIGN}, then install {DISTRIBUTION} again"
    )


def _native() -> dict[str, Any]:
    found: dict[str, Any] = {
        "driver": _DRIVER.read_text().splitlines()[0] if _DRIVER.is_file() else None,
        "cpu_threads": _threads(),
    }
    try:
        native = importlib.import_module("fastbrain._native")
    except ImportError as error:
        return found | {"built": False, "reason": str(error)}
    return found | {
        "built": True,
        "cuda_compiled": native.cuda_compiled(),
        "cuda_devices": native.cuda_devices(),
        "isa": native.isa(),
        "isas": native.isas(),
    }


def _threads() -> int | None:
    try:
        import torch
    except ImportError:
        return os.cpu_count()
    return torch.get_num_threads()


def _backends() -> list[dict[str, Any]]:
    import torch

    from ..ops import explain
    from ..ops._cases import Case, all_cases

    first: dict[str, Case] = {}
    for case in all_cases():
        first.setdefault(case.op, case)
    answers = []
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for op, case in first.items():
            call = case.inputs(device=device)
            found = explain(op, *call.args, **call.options)
            answers.append(
                {
                    "op": op,
                    "device": device,
                    "chosen": found.chosen,
                    "backends": {name: _need(reason) for name, reason in found.rows},
                }
            )
    return answers


def _need(reason: str | None) -> str | None:
    """Say what a backend needs, where the reason against it names the device of the tensors."""
    if reason is None or not reason.startswith("the tensors are on "):
        return reason
    return "needs a GPU" if reason.endswith(" cpu") else "runs on the CPU alone"


def _attention() -> dict[str, str]:
    from ..lm.loading import attention_choice

    # queried for a GPU: without one, the reason says so
    implementation, why = attention_choice("cuda")
    return {"implementation": implementation, "why": why}


def _sections(found: dict[str, Any]) -> dict[str, Section]:
    versions = [(name, value or "not installed") for name, value in found["versions"].items()]
    if found["conflict"]:
        versions.append(("WARNING", found["conflict"]))
    return {
        "Versions": versions,
        "Folders": list(found["environment"].items()),
        "Machine": list(found["machine"].items()),
        "Compiled kernels": _native_rows(found["native"]),
        "Backends": _backend_rows(found["backends"]),
        "Attention of the language model": _attention_rows(found["attention"]),
        "Optional parts": [
            (part["part"], "yes" if part["installed"] else _missing(part))
            for part in found["optional"]
        ],
    }


def _missing(part: dict[str, Any]) -> str:
    return f"missing ({part['for']}): {part['install']}"


def _native_rows(native: dict[str, Any]) -> Section:
    if "error" in native:
        return [("cannot look", native["error"])]
    rows = [
        ("threads", str(native["cpu_threads"])),
        ("driver", native["driver"] or "no NVIDIA driver is loaded"),
    ]
    if not native["built"]:
        return [("fastbrain._native", f"cannot be loaded: {native['reason']}"), *rows]
    devices = native["cuda_devices"]
    if isinstance(devices, str):
        # without a driver, CUDA takes its version to be too low
        shown = f"none: {devices}" if native["driver"] else "none: no NVIDIA GPU was found"
    else:
        shown = "; ".join(
            f"{d['name']} (sm_{d['capability'][0]}{d['capability'][1]}, "
            f"{d['memory_bytes'] / 2**30:.0f} GiB)"
            for d in devices
        )
    others = [name for name in native["isas"] if name != native["isa"]]
    return [
        ("instruction set", f"{native['isa']} (also possible: {', '.join(others) or 'none'})"),
        ("CUDA code", "compiled in" if native["cuda_compiled"] else "left out: no nvcc at build"),
        ("CUDA devices", shown or "none"),
        *rows,
    ]


def _backend_rows(answers: list[dict[str, Any]] | dict[str, str]) -> Section:
    if isinstance(answers, dict):
        return [("cannot look", answers["error"])]
    rows: Section = []
    for answer in answers:
        asked = os.environ.get("FASTBRAIN_BACKEND")
        chosen = answer["chosen"] or f"nothing, as FASTBRAIN_BACKEND={asked} cannot,"
        rows.append((f"{answer['op']} ({answer['device']})", f"{chosen} runs"))
        for name, reason in answer["backends"].items():
            rows.append((f"  {name}", "yes" if reason is None else f"no: {reason}"))
    return rows


def _attention_rows(attention: dict[str, str]) -> Section:
    if "error" in attention:
        return [("cannot look", attention["error"])]
    return [(attention["implementation"], attention["why"])]
