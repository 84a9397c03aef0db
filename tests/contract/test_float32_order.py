"""Float32 products of a GPU add in sequence: the self-test's bound is that of such sums."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from interpreted import interpreted

pytest.importorskip("triton", reason="triton is not installed")

# relative errors of an H200, rows selftest_* of benchmarks/results/nvidia-h200/2026-11-29.jsonl
OF_AN_H200 = {
    "tokenize_voxels-sixteen": 8.09e-7,
    "tokenize_voxels-eight": 4.07e-7,
    "lora_linear-plain": 2.65e-7,
    "lora_linear-decode-odd": 8.44e-7,
}


def test_errors_of_a_gpu_are_those_of_sums_in_sequence():
    script = Path(__file__).parent / "in_sequence.py"
    ran = subprocess.run(
        [sys.executable, script, *OF_AN_H200],
        env=interpreted(),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    rows = [line.split() for line in ran.stdout.splitlines()]
    assert {name for name, *_ in rows} == set(OF_AN_H200)
    for name, error, blocked, sequential in rows:
        # the order inside a tile of the GPU is not exactly this one
        assert float(error) == pytest.approx(OF_AN_H200[name], rel=0.1)
        assert (blocked, sequential) == ("False", "True")
