"""Betas of single trials from NIfTI and NumPy files, and their tables."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fastbrain.data import RunRecord, load_betas, read_beta_trials
from fastbrain.errors import CohortError, InputError, VolumeError

AFFINE = np.diag([1.8, 1.8, 1.8, 1.0])
SHAPE = (6, 5, 4, 7)  # (X, Y, Z, trials)


def stored(seed=0):
    return np.random.default_rng(seed).integers(-900, 900, SHAPE).astype(np.int16)


@pytest.fixture
def nifti(tmp_path):
    """A file as NSD has them: int16, and a header without a repetition time."""
    path = tmp_path / "betas_session01.nii.gz"
    nib.save(nib.Nifti1Image(stored(), AFFINE), path)
    return path


@pytest.fixture
def mask(tmp_path):
    path = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(np.ones(SHAPE[:3], dtype=np.uint8), AFFINE), path)
    return path


def test_files_of_nsd_are_divided_by_300(nifti):
    found = load_betas(nifti, divisor=300)
    assert found.shape == (7, 4, 5, 6)
    assert found.tr == 1.0
    np.testing.assert_allclose(found.scaled(), stored().T / 300, rtol=1e-6)
    np.testing.assert_allclose(load_betas(nifti).scaled(), stored().T)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_glmsingle(tmp_path, mask, order):
    path = tmp_path / "betas.npy"
    values = np.asarray(stored() / 300, dtype=np.float32, order=order)
    np.save(path, values)
    found = load_betas(path, grid_of=mask)
    np.testing.assert_array_equal(found.scaled(2, 5), values.T[2:5])
    np.testing.assert_allclose(found.affine, AFFINE)
    with pytest.raises(VolumeError, match="must have a mask image beside it"):
        load_betas(path)
    np.save(path, values[1:])
    with pytest.raises(VolumeError, match=r"shape \(X, Y, Z\) \(6, 5, 4\)"):
        load_betas(path, grid_of=mask)
    np.save(path, values[..., 0])
    with pytest.raises(VolumeError, match=r"must be \(X, Y, Z, trials\)"):
        load_betas(path, grid_of=mask)


def test_pickles_are_refused_with_a_remedy(tmp_path, mask):
    path = tmp_path / "TYPED_FITHRF_GLMDENOISE_RR.npy"
    np.save(path, {"betasmd": stored()})
    with pytest.raises(VolumeError, match="save its array 'betasmd' alone"):
        load_betas(path, grid_of=mask)


@pytest.mark.parametrize("divisor", [0.0, -300.0, float("nan"), float("inf")])
def test_divisors_are_positive(nifti, divisor):
    with pytest.raises(InputError, match="divisor must be"):
        load_betas(nifti, divisor=divisor)


def run(tmp_path, table):
    path = tmp_path / "trials.tsv"
    path.write_text(table)
    return RunRecord("sub-01_run-01", "01", "", "01", Path("betas.nii"), path)


def test_only_hdf5_files_have_arrays_with_names(nifti):
    with pytest.raises(VolumeError, match="must have no dataset, got 'betas2'"):
        load_betas(nifti, dataset="betas2")


def test_a_row_for_each_beta(tmp_path):
    table = "text\tstimulus\tcategory\n" + "".join(f"a {i}\ts{i}\tc\n" for i in range(7))
    trials = read_beta_trials(run(tmp_path, table), 7)
    assert [(t.start, t.frames, t.text, t.stimulus) for t in trials] == [
        (i, 1, f"a {i}", f"s{i}") for i in range(7)
    ]
    assert trials[3].trial_id == "sub-01_run-01_trial-004"
    with pytest.raises(CohortError, match=r"a row for each of the 8 betas.*got 7"):
        read_beta_trials(run(tmp_path, table), 8)


def test_betas_are_named_by_number(tmp_path):
    trials = read_beta_trials(run(tmp_path, "beta\ttext\n5\tfive\n2\ttwo\n3\trest\n"), 7,
                              ignore=("rest",))  # fmt: skip
    assert [(t.start, t.text) for t in trials] == [(4, "five"), (1, "two")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0\ta\n", r"must be a whole number 1\.\.7, got '0'"),
        ("8\ta\n", "got '8'"),
        ("1.5\ta\n", r"got '1\.5'"),
        ("n/a\ta\n", "got 'n/a'"),
        ("2\ta\n2\tb\n", "must have a beta of its own"),
        ("2\tn/a\n", "must have a text"),
    ],
)
def test_rows_without_a_beta_or_text_are_refused(tmp_path, rows, message):
    with pytest.raises(CohortError, match=message):
        read_beta_trials(run(tmp_path, f"beta\ttext\n{rows}"), 7)


def test_tables_need_a_text(tmp_path):
    with pytest.raises(CohortError, match="must have the column text or trial_type"):
        read_beta_trials(run(tmp_path, "beta\n1\n"), 7)
    (trial,) = read_beta_trials(run(tmp_path, "beta\ttext\n3\tn/a\n"), 7, need_text=False)
    assert (trial.start, trial.text) == (2, "")
