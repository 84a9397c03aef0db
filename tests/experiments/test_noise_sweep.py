"""Scores of a run with noise in its test recordings: without any, they are the run's own."""

from __future__ import annotations

import shutil

import pytest

from fastbrain.errors import CheckpointError, ConfigError
from fastbrain.experiments.noise import noise_sweep
from fastbrain.llm4brain import evaluate_run


def test_no_noise_is_the_evaluation_of_the_run(finished_run, tmp_path):
    out = tmp_path / "out"
    found = noise_sweep(finished_run, out, levels=[2.0], bert=False)
    own = evaluate_run(shutil.copytree(finished_run, tmp_path / "run"), bert=False)
    clean = found.of("noise-0", "pairwise")
    assert clean.value == own.score("pairwise").value
    assert clean.p == own.score("pairwise").p
    assert found.values == {"noise-0": 0.0, "noise-2": 2.0}
    assert found.of("noise-2", "pairwise").difference is not None
    # the levels that are there are kept, and another may be added
    written = {path: path.stat().st_mtime_ns for path in out.glob("noise-[02]/seed-0/*")}
    more = noise_sweep(finished_run, out, levels=[2.0, 0.5], bert=False)
    assert len(written) == 6  # manifest, samples and scores of two levels
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert more.of("noise-2", "rougeL_f").value == found.of("noise-2", "rougeL_f").value
    assert more.values == {"noise-0": 0.0, "noise-0.5": 0.5, "noise-2": 2.0}
    with pytest.raises(CheckpointError, match="derangements"):
        noise_sweep(finished_run, out, levels=[2.0], bert=False, count=101)


@pytest.mark.parametrize("levels", [[], [0.0], [-1.0], [1.0, 1.0]])
def test_bad_levels_are_refused(finished_run, tmp_path, levels):
    with pytest.raises(ConfigError, match="levels must be different numbers above 0"):
        noise_sweep(finished_run, tmp_path / "out", levels=levels)
    assert not (tmp_path / "out").exists()
