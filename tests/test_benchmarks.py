"""The benchmarks run and refuse a wrong answer; what they measure is not judged here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import registry

    return registry


def test_every_case_is_named_once(registry):
    names = [entry.id for entry in registry.entries()]
    assert len(names) == len(set(names))
    assert {entry.op for entry in registry.entries()} >= {
        "tokenize_voxels",
        "lora_linear",
        "neighborhood_clustering",
        "memory_update_",
        "vq_lookup",
    }


def test_a_wrong_provider_is_not_timed(registry):
    problem = registry.Problem(
        providers={"fastbrain": lambda: 0.0, "wrong": lambda: 1.0},
        error=lambda _name, got: got,
        limit=0.5,
        flops=1.0,
        traffic=1.0,
    )
    with pytest.raises(SystemExit, match="wrong is wrong by 1"):
        problem.verified()


@pytest.mark.slow
def test_gpu_suite_runs_on_a_cpu():
    environment = {**os.environ, "FASTBRAIN_SKIP_BUILD": "1", "PYTHON": sys.executable}
    ran = subprocess.run(
        ["bash", FOLDER / "gpu_suite.sh", "--smoke", "--budget-s", "200"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-1000:] + ran.stderr[-2000:]
    assert "broken: none; no time for: none" in ran.stdout
    for op in (
        "tokenize_voxels",
        "neighborhood_clustering",
        "vq_lookup",
        "lora_linear",
        "generate",
    ):
        assert f"op={op} " in ran.stdout
