"""Each instruction set this machine can run gives the right numbers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from processors import COMPILED, other_isas, printed_with, slow

from fastbrain import _native

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "CMakeLists.txt"
# a decoding step has no cases of its own; test_other_processors.py runs it
FAMILIES = [family for family in COMPILED if family != "decoder"]
# families of which an instruction set has code that does not run in the process of the tests
OTHERS = {
    isa: [family for family in FAMILIES if isa in other_isas(COMPILED[family])]
    for isa in _native.isas()
}

SELFTEST = """
import importlib
import torch
torch.set_num_threads(2)
from fastbrain import _native
from fastbrain.ops._selftest import run_selftest
for family in {families}:
    cases = importlib.import_module("fastbrain.ops._cases." + family).CASES
    rows = list(run_selftest(["cpu"], device="cpu", cases=cases))
    ran = {{row.case for row in rows}}
    print(_native.isa(), family, len(ran), [row for row in rows if not row.passed])
"""
# cases of each family that the kernels of a CPU run on any instruction set
CASES = {"lora": 6, "neighborhood": 6, "voxel_tokenizer": 6, "vq": 6}


@pytest.mark.parametrize("isa", slow([isa for isa, families in OTHERS.items() if families]))
def test_instruction_set_passes_the_selftest(isa):
    printed = printed_with(isa, SELFTEST.format(families=OTHERS[isa]), HERE)
    rows = [line.split(maxsplit=3) for line in printed.splitlines()]
    assert [(name, family) for name, family, *_ in rows] == [(isa, f) for f in OTHERS[isa]]
    assert [row for row in rows if row[3] != "[]"] == []
    assert [row for row in rows if int(row[2]) < CASES[row[1]]] == []


@pytest.mark.parametrize("family", COMPILED)
def test_the_table_has_the_instruction_sets_that_a_family_is_compiled_for(family):
    build = BUILD.read_text()
    usual = re.search(r"FASTBRAIN_ISA_SOURCES (.*?)\)", build, re.DOTALL)[1]
    found = []
    for isa, given in re.findall(r"^ *fastbrain_isa\((\w+)([^)]*)\)", build, re.MULTILINE):
        own = re.search(r"SOURCES (.*?)(?:OPTIONS|$)", given, re.DOTALL)
        if f"csrc/{family}" in (own[1] if own else usual):
            found.append(isa)
    assert tuple(found) == COMPILED[family]


def run(isa: str, code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FASTBRAIN_ISA": isa}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )


def test_the_best_one_is_chosen():
    ran = run("", "from fastbrain import _native; print(_native.isa())")
    assert ran.stdout.strip() == _native.isas()[-1]


def test_an_unknown_one_is_refused():
    ran = run("sse9", "import fastbrain._native")
    assert ran.returncode != 0
    assert "FASTBRAIN_ISA must be one of baseline" in ran.stderr
