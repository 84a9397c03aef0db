"""Regressors and censored volumes are those of nilearn's load_confounds, and bad tables refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastbrain.data import Denoising, RunRecord
from fastbrain.data.store.denoising.censoring import (
    interpolate_,
    without_short_stretches,
)
from fastbrain.data.store.denoising.table import read_confounds_of
from fastbrain.errors import CohortError

N = 61
MOTION = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]


def full(name):
    return [name, f"{name}_derivative1", f"{name}_power2", f"{name}_derivative1_power2"]


def write_table(folder: Path, *, seed=0, change=None) -> Path:
    """A table and its JSON as fMRIPrep writes them."""
    rng = np.random.default_rng(seed)
    values = {}
    for name in ("csf", "white_matter", "global_signal", *MOTION):
        series = rng.normal(size=N)
        slope = np.r_[np.nan, np.diff(series)]
        values |= dict(zip(full(name), (series, slope, series**2, slope**2), strict=True))
    for k in range(4):
        values |= {f"{p}_comp_cor_{k:02d}": rng.normal(size=N) for p in "awct"}
    values |= {f"cosine{k:02d}": np.cos(np.pi * (np.arange(N) + 0.5) * (k + 1) / N) for k in (0, 1)}
    values["framewise_displacement"] = np.r_[np.nan, np.abs(rng.normal(size=N - 1)) * 0.3]
    values["std_dvars"] = np.r_[np.nan, 1 + np.abs(rng.normal(size=N - 1)) * 0.3]
    values |= change or {}
    rows = ["\t".join(values)]
    rows += [
        "\t".join("n/a" if np.isnan(v[t]) else f"{v[t]:.10g}" for v in values.values())
        for t in range(len(values["csf"]))
    ]
    path = folder / "sub-01_task-clips_run-01_desc-confounds_timeseries.tsv"
    path.write_text("\n".join(rows) + "\n")
    masks = {"a": "combined", "w": "WM", "c": "CSF"}
    about = {
        f"{p}_comp_cor_{k:02d}": {"Method": "aCompCor", "Mask": mask, "Retained": True}
        for p, mask in masks.items()
        for k in range(4)
    }
    about |= {f"t_comp_cor_{k:02d}": {"Method": "tCompCor", "Retained": True} for k in range(4)}
    path.with_suffix(".json").write_text(json.dumps(about))
    return path


def record(path: Path | None) -> RunRecord:
    image = Path("sub-01_task-clips_run-01_space-MNI_desc-preproc_bold.nii.gz")
    return RunRecord("sub-01_run-01", "01", "", "01", image, None, confounds=path)


@pytest.mark.parametrize(
    ("terms", "options"),
    [
        (["motion:6"], {"strategy": ("motion",), "motion": "basic"}),
        (["motion:12"], {"strategy": ("motion",), "motion": "derivatives"}),
        (["motion:24"], {"strategy": ("motion",), "motion": "full"}),
        (["wm_csf:power2"], {"strategy": ("wm_csf",), "wm_csf": "power2"}),
        (
            ["global_signal:full", "cosine"],
            {"strategy": ("high_pass", "global_signal"), "global_signal": "full"},
        ),
        (
            ["compcor:anat_combined:3", "cosine"],
            {"strategy": ("high_pass", "compcor"), "compcor": "anat_combined", "n_compcor": 3},
        ),
        (
            ["compcor:anat_separated:2", "cosine"],
            {"strategy": ("high_pass", "compcor"), "compcor": "anat_separated", "n_compcor": 2},
        ),
        (
            ["compcor:temporal:all", "cosine"],
            {"strategy": ("high_pass", "compcor"), "compcor": "temporal", "n_compcor": "all"},
        ),
    ],
)
def test_regressors_are_those_of_nilearn(tmp_path, terms, options):
    interfaces = pytest.importorskip("nilearn.interfaces.fmriprep")
    path = write_table(tmp_path)
    (tmp_path / record(path).bold).touch()
    theirs, _ = interfaces.load_confounds(
        str(tmp_path / record(path).bold), demean=False, **options
    )
    ours = read_confounds_of(record(path), Denoising.parse(terms), N)
    assert sorted(ours.names) == sorted(theirs.columns)
    np.testing.assert_allclose(ours.values, theirs[list(ours.names)].to_numpy(), rtol=1e-9)
    assert not ours.censored.any()


@pytest.mark.parametrize("scrub", [0, 3, 5])
def test_censored_volumes_are_those_of_nilearn(tmp_path, scrub):
    interfaces = pytest.importorskip("nilearn.interfaces.fmriprep")
    path = write_table(tmp_path, seed=3)
    (tmp_path / record(path).bold).touch()
    _, kept = interfaces.load_confounds(
        str(tmp_path / record(path).bold),
        strategy=("motion", "scrub"),
        scrub=scrub,
        fd_threshold=0.45,
        std_dvars_threshold=1.5,
    )
    ours = read_confounds_of(
        record(path), Denoising.parse(["motion", "fd:0.45", "dvars:1.5", f"scrub:{scrub}"]), N
    )
    assert 2 < ours.censored.sum() < N - 5
    np.testing.assert_array_equal(np.flatnonzero(~ours.censored), kept)


def test_volumes_before_the_steady_state_are_censored(tmp_path):
    path = write_table(tmp_path, change={"non_steady_state_outlier00": np.eye(N)[0]})
    found = read_confounds_of(record(path), Denoising.parse(["fd:9"]), N)
    assert np.flatnonzero(found.censored).tolist() == [0]
    assert found.values.shape == (N, 0)


@pytest.mark.parametrize(
    ("change", "terms", "message"),
    [
        ({"csf": np.full(N, np.nan)}, ["wm_csf"], "number in every row of csf"),
        ({"csf": np.r_[np.ones(9), np.nan, np.ones(N - 10)]}, ["wm_csf"], "line 11"),
    ],
)
def test_bad_tables_are_refused(tmp_path, change, terms, message):
    path = write_table(tmp_path, change=change)
    with pytest.raises(CohortError, match=message):
        read_confounds_of(record(path), Denoising.parse(terms), N)


def test_what_a_table_lacks_is_named(tmp_path):
    path = write_table(tmp_path)
    with pytest.raises(CohortError, match="row for each of the 60 volumes of its run, got 61"):
        read_confounds_of(record(path), Denoising.parse(["minimal"]), 60)
    with pytest.raises(CohortError, match="must have a confounds table"):
        read_confounds_of(record(None), Denoising.parse(["minimal"]), N)
    text = path.read_text()
    path.write_text(text.replace("rot_z_power2", "odd").replace("std_dvars", "other"))
    with pytest.raises(CohortError, match="got none named rot_z_power2"):
        read_confounds_of(record(path), Denoising.parse(["motion:24"]), N)
    with pytest.raises(CohortError, match="column std_dvars for the threshold"):
        read_confounds_of(record(path), Denoising.parse(["dvars:2"]), N)
    path.write_text(text.replace("cosine", "slow"))
    with pytest.raises(CohortError, match=r"cosine00, .*Leave the term out.*--high-pass 128"):
        read_confounds_of(record(path), Denoising.parse(["minimal", "cosine"]), N)
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(CohortError, match="components of the mask 'combined'"):
        read_confounds_of(record(path), Denoising.parse(["compcor"]), N)
    path.with_suffix(".json").unlink()
    with pytest.raises(CohortError, match=r"timeseries\.json"):
        read_confounds_of(record(path), Denoising.parse(["compcor"]), N)


@pytest.mark.parametrize("least", [0, 1, 2, 3, 7])
def test_short_stretches_are_censored(least):
    rng = np.random.default_rng(least)
    censored = rng.random(200) < 0.2
    found = without_short_stretches(censored, least)
    expected = censored.copy()
    begin = 0
    for t in range(201):
        if t == 200 or censored[t]:
            if t - begin < least:
                expected[begin:t] = True
            begin = t + 1
    np.testing.assert_array_equal(found, expected)


def test_interpolation_is_linear_in_time():
    censored = np.array([1, 0, 0, 1, 1, 0, 1], dtype=bool)
    truth = np.interp(np.arange(7), np.flatnonzero(~censored), [1.0, 2.0, 5.0])
    series = np.array([9, 1, 2, 9, 9, 5, 9], dtype=np.float32)[:, None]
    interpolate_(series, censored)
    np.testing.assert_allclose(series[:, 0], truth, rtol=1e-6)


@pytest.mark.parametrize("terms", [["standard"], ["minimal", "global_signal:full", "cosine"],
                                   ["compcor:anat_separated:5"]])  # fmt: skip
def test_real_tables(real_data, terms):
    tables = sorted((real_data / "had_bids").rglob("*desc-confounds_timeseries.tsv"))
    if not tables:
        pytest.skip("no real confounds tables")
    strategy = replace(Denoising.parse(terms), fd_threshold=0.5)
    for path in tables[:2]:
        found = read_confounds_of(record(path), strategy, 156)
        assert np.isfinite(found.values).all()
        assert found.censored.sum() < 30
