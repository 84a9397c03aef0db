"""Each instruction set this machine can run gives the right numbers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from processors import ISAS

from fastbrain import _native

SELFTEST = """
import torch
torch.set_num_threads(2)
from fastbrain import _native
from fastbrain.ops._selftest import run_selftest
rows = list(run_selftest(["cpu"], device="cpu"))
failed = [row for row in rows if not row.passed]
print(_native.isa(), len(rows), failed)
"""


def run(isa: str, code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FASTBRAIN_ISA": isa}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("isa", ISAS)
def test_instruction_set_passes_the_selftest(isa):
    ran = run(isa, SELFTEST)
    assert ran.returncode == 0, ran.stderr[-2000:]
    name, count, failed = ran.stdout.split(maxsplit=2)
    assert name == isa
    assert int(count) >= 14
    assert failed.strip() == "[]"


def test_the_best_one_is_chosen():
    ran = run("", "from fastbrain import _native; print(_native.isa())")
    assert ran.stdout.strip() == _native.isas()[-1]


def test_an_unknown_one_is_refused():
    ran = run("sse9", "import fastbrain._native")
    assert ran.returncode != 0
    assert "FASTBRAIN_ISA must be one of baseline" in ran.stderr
