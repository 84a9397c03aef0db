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


def test_the_table_of_parts_is_means_over_seeds(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import ablation

    def row(case, seed, value, snr=0.25):
        scores = {name: value for name in ("pairwise", "bleu1", "rougeL_f", "exact_match")}
        chance = {f"{name}_deranged": 0.1 for name in scores}
        return {"case": case, "title": case, "seed": seed, "snr": snr, "n": 9, **scores, **chance}

    rows = [row("full", 0, 0.9), row("full", 0, 0.5), row("full", 1, 0.7)]
    rows += [row("no_da", 0, 0.6), row("no_da", 1, 0.6), row("no_signal", 0, 0.1, snr=0.0)]
    lines = ablation.ablation_table([*rows, row("bare", 0, 0.2)]).splitlines()
    cells = {line.split(" | ")[0].strip("| "): line.split(" | ")[1:] for line in lines}
    # the newest row of a seed counts, and a change is taken seed by seed
    assert cells["full"][0] == "0.600 ± 0.141 / 0.100"
    assert cells["no_da"][0] == "0.600 ± 0.000 (+0.000) / 0.100"
    # another cohort is no change of the recipe
    assert cells["no_signal"][0] == "0.100 / 0.100"
    assert cells["bare"][-1] == "1 |"
