"""The simulated derivative has the files, clocks and grids that it says."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fastbrain import cli
from fastbrain.data import (
    CohortDesign,
    load_volumes,
    read_runs_table,
    runs_from_bids,
    simulate_cohort,
    write_fmriprep_derivative,
    write_runs_table,
)
from fastbrain.data.simulate.head_motion import HeadMotion
from fastbrain.errors import InputError, OutputExistsError

pytest.importorskip("nilearn")
DESIGN = CohortDesign(subjects=3, runs=1, trials=3, resolution_mm=8)
SPACE = "space-MNI152NLin2009cAsym"


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return simulate_cohort(tmp_path_factory.mktemp("sim") / "cohort", DESIGN).parent


@pytest.fixture(scope="module")
def derivative(raw):
    return write_fmriprep_derivative(raw)


def stem(folder, subject):
    return folder / f"sub-{subject}/func/sub-{subject}_task-clips_run-01"


def test_two_people_are_on_other_grids_of_the_same_brain(raw, derivative):
    centres, shapes = [], set()
    for subject in ("01", "02", "03"):
        mask = nib.load(f"{stem(derivative, subject)}_{SPACE}_desc-brain_mask.nii.gz")
        bold = load_volumes(f"{stem(derivative, subject)}_{SPACE}_desc-preproc_bold.nii.gz")
        assert mask.shape == bold.shape[1:][::-1]
        voxels = np.argwhere(np.asarray(mask.dataobj) > 0).mean(0)
        centres.append(nib.affines.apply_affine(mask.affine, voxels))
        shapes.add(mask.shape)
    assert len(shapes) == 3
    # a voxel is 8 mm, on the coarse grid 10 mm
    np.testing.assert_allclose(centres[0], centres[1], atol=1e-6)
    np.testing.assert_allclose(centres[0], centres[2], atol=4)


def test_volumes_are_interpolated_to_the_slice_time_reference(raw, tmp_path):
    out = write_fmriprep_derivative(
        raw, tmp_path / "d", motion_psc=0.0, slice_time_reference=0.25, other_grids=1, res="8"
    )
    image = f"{stem(out, '01')}_{SPACE}_res-8_desc-preproc_bold"
    mine = nib.load(f"{image}.nii.gz").get_fdata()
    before = nib.load(f"{stem(raw, '01')}_bold.nii.gz").get_fdata()
    mask = nib.load(raw / "mask.nii.gz").get_fdata() > 0
    expected = 0.75 * before[mask][:, :-1] + 0.25 * before[mask][:, 1:]
    # stored in steps of 0.05
    np.testing.assert_allclose(mine[mask][:, :-1], expected, atol=0.026)
    assert not mine[~mask].any()
    said = json.loads(Path(f"{image}.json").read_text())
    assert (said["RepetitionTime"], said["StartTime"]) == (2.0, 0.5)


def test_the_confounds_are_read_by_nilearn(derivative):
    from nilearn.interfaces.fmriprep import load_confounds

    found, _ = load_confounds(
        f"{stem(derivative, '02')}_{SPACE}_desc-preproc_bold.nii.gz",
        strategy=("motion", "high_pass", "compcor", "global_signal", "scrub"),
        motion="full",
        compcor="anat_combined",
        n_compcor=2,
    )
    assert len(found) == DESIGN.volumes
    assert {"trans_x_derivative1", "a_comp_cor_00", "global_signal"} <= set(found)
    path = Path(f"{stem(derivative, '02')}_desc-confounds_timeseries.tsv")
    names, values, *_ = [line.split("\t") for line in path.read_text().splitlines()]
    first = dict(zip(names, values, strict=True))
    assert first["framewise_displacement"] == first["dvars"] == "n/a"
    assert first["trans_x_derivative1"] == "n/a" != first["trans_x"]


def test_displacement_is_the_sum_of_absolute_steps():
    parameters = np.zeros((4, 6))
    parameters[2:, 0], parameters[3, 4] = -0.3, 0.01
    found = HeadMotion(parameters).displacement
    np.testing.assert_allclose(found[1:], [0, 0.3, 0.5])
    assert np.isnan(found[0])


def test_the_artefact_has_the_stated_size():
    rng = np.random.default_rng(0)
    found = HeadMotion.draw(101, rng).artefact(2003, 0.7, rng)
    # std of 2003 voxels with 12 weights each: relative error about 1/sqrt(2 * 12 * 2003) = 0.5 %
    assert found.std() == pytest.approx(0.7, rel=0.03)


def test_short_runs_and_refusals(raw, derivative, tmp_path):
    out = write_fmriprep_derivative(raw, tmp_path / "d", short_runs=True, other_grids=0)
    assert (out / f"sub-03/func/sub-03_task-clips_run-1_{SPACE}_desc-brain_mask.json").is_file()
    with pytest.raises(OutputExistsError):
        write_fmriprep_derivative(raw)
    with pytest.raises(InputError, match="other_grids"):
        write_fmriprep_derivative(raw, tmp_path / "e", other_grids=3)
    with pytest.raises(InputError, match="slice_time_reference"):
        write_fmriprep_derivative(raw, tmp_path / "e", slice_time_reference=1.5)


def test_a_store_is_prepared_from_it(derivative, tmp_path, capsys):
    """Events of the raw data, images, masks and confounds of the derivative, on one grid."""
    arguments = ["prepare", str(derivative.parents[1]), str(tmp_path / "store"), "--dry-run"]
    arguments += ["--derivatives", "fmriprep", "--kernel", "2", "2", "2"]
    arguments += ["--split-by", "subject", "--train", "01", "--val", "02", "--test", "03"]
    assert cli.main(arguments) == 1
    assert "must share with sub-01_run-01 the shape" in capsys.readouterr().err
    assert cli.main([*arguments, "--resample", "first"]) == 0
    printed = capsys.readouterr()
    assert "3 of 3 subjects" in printed.out
    assert "StartTime is 1 s" in printed.err
    assert "resampled from (20, 24, 21) voxels of 10 x 10 x 10 mm" in printed.err
    table = tmp_path / "runs.tsv"
    write_runs_table(table, runs_from_bids(derivative.parents[1], derivatives="fmriprep"))
    (first, *_) = read_runs_table(table, allow_outside=True)
    assert (first.space, first.start_time) == ("MNI152NLin2009cAsym", 1.0)
    assert first.mask.name == f"sub-01_task-clips_run-01_{SPACE}_desc-brain_mask.nii.gz"
    assert first.confounds.name == "sub-01_task-clips_run-01_desc-confounds_timeseries.tsv"
    assert cli.main(["prepare", str(table), *arguments[2:]]) == 1
    assert "--derivatives must be left out for a runs table" in capsys.readouterr().err
