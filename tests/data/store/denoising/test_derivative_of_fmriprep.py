"""Regressors of a simulated fMRIPrep derivative remove the motion artefact of its images."""

from __future__ import annotations

import pytest
from run_splits import by_run

from fastbrain.data import (
    CohortDesign,
    Denoising,
    WindowSpec,
    prepare_store,
    runs_from_bids,
    simulate_cohort,
    write_fmriprep_derivative,
)

pytest.importorskip("nilearn")
DESIGN = CohortDesign(subjects=1, runs=3, trials=12, resolution_mm=8, seed=1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    raw = simulate_cohort(tmp_path_factory.mktemp("sim") / "cohort", DESIGN).parent
    out = write_fmriprep_derivative(raw, other_grids=0, motion_psc=1.5)
    return runs_from_bids(raw, derivatives=out)


@pytest.fixture(scope="module")
def prepared(runs, tmp_path_factory):
    """Stores of the same runs by strategy."""
    options = {"window": WindowSpec(4.0, 4), "kernel": (2, 2, 2), "split": by_run}
    out = tmp_path_factory.mktemp("stores")
    strategies = {
        "none": None,
        "six": Denoising.parse(["motion:6"]),
        "twelve": Denoising.parse(["motion:12", "fd:0.5"]),
    }
    return {
        name: prepare_store(runs, out / name, high_pass_s=None, denoising=strategy, **options)
        for name, strategy in strategies.items()
    }


def tsnr(store):
    return [facts["quality"]["tsnr"] for facts in store.info.runs.values()]


def test_the_artefact_goes_with_the_regressors_that_made_it(prepared):
    # the artefact is linear in the six parameters and their changes; 1.5 % beside 0.6 % of noise
    for none, six, twelve in zip(*map(tsnr, prepared.values()), strict=True):
        assert six > 1.2 * none
        assert twelve > 2 * none


def test_jumps_of_the_head_are_censored(prepared):
    store = prepared["twelve"]
    for facts in store.info.runs.values():
        assert facts["quality"]["fd_max"] > 0.5
        assert len(facts["censored"]) >= 1
        assert facts["confounds"] == 12
    windows = {(t.run_id, v) for t in store.trials for v in range(t.start, t.start + t.frames)}
    censored = {(name, v) for name, f in store.info.runs.items() for v in f["censored"]}
    assert not windows & censored


def test_the_price_in_the_design_is_stated(prepared):
    drift = prepared["twelve"].filter
    # 12 of 54 volumes
    assert drift.noise == pytest.approx(0.23, abs=0.02)
    assert max(drift.with_confounds.values()) > max(drift.removed.values())
    assert any("remove more than 20%" in text for text in drift.warnings())
