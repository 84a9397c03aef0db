"""Instruction sets of this machine as parameters of tests; ``make check`` tries the best alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fastbrain import _native

HELPERS = Path(__file__).parent
# instruction sets for which most kernels are compiled; a set between two of them runs the lower one
MOST = ("baseline", "avx2", "avx512")
# tests/ops/test_isa.py compares this with CMakeLists.txt
COMPILED = {
    "decoder": MOST,
    "lora": (*MOST, "avx512bf16", "avx512amx"),
    "neighborhood": (*MOST, "avx512amx"),
    "voxel_tokenizer": (*MOST, "avx512bf16", "avx512amx"),
    "vq": (*MOST, "avx512vnni"),
}


def other_isas(compiled: Sequence[str]) -> list[str]:
    """Instruction sets of this machine whose code is not what runs in the process of the tests.

    Parameters
    ----------
    compiled : sequence of str
        Those for which a kernel is compiled.
    """
    own = [isa for isa in _native.isas() if isa in compiled]
    now = _native.isas().index(_native.isa())
    runs = [isa for isa in own if _native.isas().index(isa) <= now][-1]
    return [isa for isa in own if isa != runs]


def slow(isas: Sequence[str]) -> list[Any]:
    """Parameters of a test that starts a process for each instruction set."""
    return [pytest.param(isa, marks=pytest.mark.slow) for isa in isas]


def printed_with(isa: str, code: str, folder: Path) -> str:
    """What a Python program prints that runs the kernels of an instruction set.

    Parameters
    ----------
    isa, code : str
    folder : Path
        Folder of the test modules that the program imports.
    """
    environment = {**os.environ, "PYTHONPATH": str(HELPERS), "FASTBRAIN_ISA": isa}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout
