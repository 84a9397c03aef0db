"""Every candidate of the Triton kernels in the interpreter: its result, bytes and operations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from interpreted import interpreted

pytest.importorskip("triton", reason="triton is not installed")

# cases that offer all candidates, and variants that must have run, so that none drops out unseen
CASES = {
    "vq": ("cosine-masked,wide,ties", {"tile", "slots"}),
    "lora": ("decode,aligned", {"wide", "persistent", "ring", "joined", "apart", "narrow"}),
    "neighborhood": ("paper,dance-wide", {"sweep", "products"}),
    "voxel_tokenizer": ("odd,packed-data", {"tile", "resident", "gathered"}),
}


@pytest.mark.parametrize("family", CASES)
def test_every_candidate_gives_the_result_of_the_reference(family):
    names, variants = CASES[family]
    script = Path(__file__).parent / "candidates_of.py"
    ran = subprocess.run(
        [sys.executable, script, family, names], env=interpreted(), capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    rows = [line.split() for line in ran.stdout.splitlines()]
    assert [row for row in rows if row[2] != "True"] == []
    assert {name.split("-")[0] for _, name, *_ in rows} == variants


def test_every_candidate_moves_the_bytes_of_the_model():
    script = Path(__file__).parent / "traffic_of.py"
    ran = subprocess.run(
        [sys.executable, script], env=interpreted(), capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    lines = ran.stdout.splitlines()
    assert len(lines) >= 40
    assert [line for line in lines if not line.endswith("as modelled")] == []
