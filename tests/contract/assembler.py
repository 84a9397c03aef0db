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
