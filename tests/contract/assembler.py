"""What the assembler of NVIDIA's compilers says of a kernel, read from its log."""

from __future__ import annotations

import re


def in_local_memory(log: str) -> list[str]:
    """Everything in the log of ``ptxas -v`` that says a kernel keeps values outside registers.

    A stack frame counts, not only spills: an array indexed by a loop that was not unrolled lies in
    local memory without a byte of spill.
    """
    found = re.findall(r"[1-9]\d* bytes (?:stack frame|spill stores|spill loads)", log)
    return found + re.findall(r"[1-9]\d* bytes cumulative stack size", log)


def serialised(log: str) -> list[str]:
    """Warnings that the tensor-core instructions of a kernel wait for each other (C7515)."""
    return re.findall(r"^.*\bC7515\b.*$", log, re.MULTILINE)


def usage(log: str) -> dict[int, dict[str, dict[str, int]]]:
    """What each kernel keeps where, by target, of ``cuobjdump -res-usage``."""
    found: dict[int, dict[str, dict[str, int]]] = {}
    arch, name = 0, ""
    for line in log.splitlines():
        if target := re.match(r"arch = sm_(\d+)", line):
            arch = int(target[1])
        elif kernel := re.match(r" *Function (\S+):", line):
            name = kernel[1]
        elif "STACK:" in line:
            kept = {what: int(count) for what, count in re.findall(r"\b([A-Z]+):(\d+)", line)}
            found.setdefault(arch, {})[name] = kept
    return found


def resources(log: str) -> dict[int, dict[str, tuple[int, int]]]:
    """Bytes of stack and of local memory of each kernel, by target, of ``cuobjdump -res-usage``."""
    return {
        arch: {name: (kept["STACK"], kept["LOCAL"]) for name, kept in kernels.items()}
        for arch, kernels in usage(log).items()
    }
