"""What nvcc made of the CUDA sources in the installed extension: the record and its table."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from assembler import usage
from traffic_cuda import SHOWN

RECORD = Path(__file__).parent / "compiled" / "cuda.json"
SHOWN_ARCH = 90
_TYPES = {"__nv_bfloat16": "bf16", "__half": "fp16", "short": "int16"}


def plain(names: list[str]) -> dict[str, str]:
    """Mangled names of kernels to those of the record, such as ``vq score<bf16, 8>``."""
    ran = subprocess.run(["c++filt", *names], capture_output=True, text=True, check=True)
    return {
        name: _plain(name, text) for name, text in zip(names, ran.stdout.splitlines(), strict=True)
    }


def _plain(name: str, text: str) -> str:
    source = re.search(r"__\w{8}_\d+_(\w+)_cu_", name)
    text = text.removeprefix("void ").replace("fastbrain::", "")
    text = text.replace("(anonymous namespace)::", "").partition("(")[0]
    for long, short in _TYPES.items():
        text = re.sub(rf"\b{long}\b", short, text)
    return f"{source[1] if source else ''} {text.replace(' >', '>')}".strip()


def measured(path: str, cuobjdump: str) -> dict[str, dict[str, Any]]:
    """Registers, shared memory, instructions and tensor-core instructions, by kernel and target."""
    log = _output(cuobjdump, "-res-usage", path)
    found: dict[str, dict[str, Any]] = {}
    for arch, kernels in usage(log).items():
        code = instructions(_output(cuobjdump, "-sass", "-arch", f"sm_{arch}", path))
        names = plain(list(kernels))
        for name, kept in kernels.items():
            count, mma = code[name]
            row = {"registers": kept["REG"], "shared": kept["SHARED"]}
            row |= {"instructions": count, "mma": mma}
            found.setdefault(names[name], {})[str(arch)] = row
    return dict(sorted(found.items()))


def instructions(code: str) -> dict[str, tuple[int, str]]:
    """How many instructions a kernel has, and its most frequent one of tensor cores."""
    found = {}
    for part in code.split("Function : ")[1:]:
        name, body = part.split("\n", 1)
        every = re.findall(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?(\S+)", body, re.MULTILINE)
        mma = Counter(op.rstrip(";") for op in every if re.match(r"[HIDQ]G?MMA", op))
        found[name] = len(every), mma.most_common(1)[0][0] if mma else ""
    return found


def table(record: dict[str, Any]) -> str:
    """The table of the documentation."""
    lines = [
        "| call | kernel | tile | registers | shared memory | tensor cores | instructions "
        "| launches | bytes over floor |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for call, shown in SHOWN.items():
        row = record["kernels"][shown.kernel][str(SHOWN_ARCH)]
        shared = f"{(row['shared'] + shown.dynamic) / 1024:.0f} KB"
        cells = [call, f"`{shown.kernel}`", shown.tile, str(row["registers"]), shared, row["mma"]]
        over = f"{shown.requested() / shown.once():.1f}"
        cells += [str(row["instructions"]), str(shown.launches), over]
        lines.append(f"| {' | '.join(cells)} |")
    head = f"Compiled by nvcc {record['nvcc']} for sm_{SHOWN_ARCH}:"
    return "\n".join([head, "", *lines]) + "\n"


def renew() -> dict[str, Any]:
    """A record of the installed extension."""
    from triton import knobs

    from fastbrain import _native

    version = re.search(r"release (\S+),", _output("nvcc", "--version"))
    kernels = measured(_native.__file__, knobs.nvidia.cuobjdump.path)
    return {"nvcc": version[1] if version else "?", "kernels": kernels}


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
