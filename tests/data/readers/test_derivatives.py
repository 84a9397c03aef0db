"""Preprocessed images joined with the events of the raw data: names, clocks, masks, what lacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bids_tree import tree

from fastbrain.data import runs_from_bids
from fastbrain.errors import CohortError, ConfigError

MNI = "space-MNI152NLin2009cAsym"


def raw(root: Path, *stems: str) -> Path:
    """Events of runs, and their sidecars; images are not downloaded."""
    for stem in stems:
        tree(root, f"{stem}_events.tsv")
        tree(root, f"{stem}_bold.json", text='{"RepetitionTime": 2.0}')
    return root


def preprocessed(root: Path, *stems: str, space: str = MNI, name: str = "fmriprep") -> Path:
    folder = root / "derivatives" / name
    for stem in stems:
        tree(folder, f"{stem}_{space}_desc-preproc_bold.nii.gz")
        tree(folder, f"{stem}_{space}_desc-brain_mask.nii.gz")
        tree(folder, f"{stem}_desc-confounds_timeseries.tsv")
    return folder


def test_images_masks_and_confounds_of_a_derivative_with_raw_events(tmp_path):
    stem = "sub-01/func/sub-01_task-x_run-01"
    raw(tmp_path, stem)
    folder = preprocessed(tmp_path, stem)
    tree(folder, f"sub-01/func/sub-01_task-x_run-01_{MNI}_boldref.nii.gz", "sub-01/anat/x.nii.gz")
    (found,) = runs_from_bids(tmp_path, derivatives="fmriprep")
    assert found.run_id == "sub-01_run-01"
    assert found.bold == folder / f"{stem}_{MNI}_desc-preproc_bold.nii.gz"
    assert found.mask == folder / f"{stem}_{MNI}_desc-brain_mask.nii.gz"
    assert found.confounds == folder / f"{stem}_desc-confounds_timeseries.tsv"
    assert found.events == tmp_path / f"{stem}_events.tsv"
    assert (found.space, found.tr, found.root) == ("MNI152NLin2009cAsym", 2.0, tmp_path)
    # a path instead of a name
    assert runs_from_bids(tmp_path, derivatives=folder) == (found,)


@pytest.mark.parametrize(
    ("of_raw", "of_image", "run_id"),
    [
        # as in HAD: the session is left out, and the label of the run is shorter
        (
            "sub-1/ses-a/func/sub-1_ses-a_task-x_run-01",
            "sub-1/sub-1_task-x_run-1",
            "sub-1_ses-a_run-01",
        ),
        ("sub-1/func/sub-1_task-x_run-1", "sub-1/func/sub-1_task-x", "sub-1_run-1"),
        ("sub-1/func/sub-1_task-x", "sub-1/func/sub-1_task-x_run-01", "sub-1_run-01"),
        (
            "sub-1/func/sub-1_task-x_run-2",
            "sub-1/ses-1/func/sub-1_ses-1_task-x_run-2",
            "sub-1_run-2",
        ),
        ("sub-1/func/sub-1_task-x_acq-a_dir-AP", "sub-1/func/sub-1_task-x_dir-AP", "sub-1_run-1"),
    ],
)
def test_entities_that_one_side_lacks(tmp_path, of_raw, of_image, run_id):
    raw(tmp_path, of_raw)
    preprocessed(tmp_path, of_image)
    (found,) = runs_from_bids(tmp_path, derivatives="fmriprep")
    assert found.run_id == run_id
    assert found.events == tmp_path / f"{of_raw}_events.tsv"
    assert found.mask is not None
    assert found.confounds is not None


def test_the_best_match_is_the_one_with_the_same_entities(tmp_path):
    stems = ["sub-1/func/sub-1_task-x", "sub-1/func/sub-1_task-x_run-2"]
    raw(tmp_path, *stems)
    preprocessed(tmp_path, *stems)
    for record, stem in zip(runs_from_bids(tmp_path, derivatives="fmriprep"), stems, strict=True):
        assert record.events == tmp_path / f"{stem}_events.tsv"
        assert record.bold.name.startswith(f"{Path(stem).name}_space")
        assert record.confounds.name == f"{Path(stem).name}_desc-confounds_timeseries.tsv"


def test_an_image_that_fits_two_sessions_is_refused(tmp_path):
    for session in ("a", "b"):
        raw(tmp_path, f"sub-1/ses-{session}/func/sub-1_ses-{session}_task-x_run-1")
    preprocessed(tmp_path, "sub-1/func/sub-1_task-x_run-1")
    with pytest.raises(CohortError, match=r"must be of one run .*got 2 .*ses-a.*ses-b"):
        runs_from_bids(tmp_path, derivatives="fmriprep")


def test_several_spaces_are_listed_and_chosen(tmp_path):
    stem = "sub-1/func/sub-1_task-x"
    raw(tmp_path, stem)
    preprocessed(tmp_path, stem)
    preprocessed(tmp_path, stem, space="space-T1w_res-2")
    with pytest.raises(CohortError, match=r"space \(MNI152NLin2009cAsym, T1w\).*--space"):
        runs_from_bids(tmp_path, derivatives="fmriprep")
    preprocessed(tmp_path, stem, space="space-T1w_res-1")
    with pytest.raises(CohortError, match=r"differ in res \(1, 2\).*--res"):
        runs_from_bids(tmp_path, derivatives="fmriprep", space="T1w")
    (found,) = runs_from_bids(tmp_path, derivatives="fmriprep", space="T1w", res="1")
    assert found.bold.name == "sub-1_task-x_space-T1w_res-1_desc-preproc_bold.nii.gz"
    assert found.mask.name == "sub-1_task-x_space-T1w_res-1_desc-brain_mask.nii.gz"
    with pytest.raises(CohortError, match="space fsaverage, got none; they have space MNI152"):
        runs_from_bids(tmp_path, derivatives="fmriprep", space="fsaverage")
    with pytest.raises(ConfigError, match="res must be letters and digits"):
        runs_from_bids(tmp_path, derivatives="fmriprep", res="1 mm")


def test_what_one_derivative_lacks_is_that_of_the_other(tmp_path):
    stem = "sub-1/func/sub-1_task-x_run-1"
    raw(tmp_path, stem)
    fmriprep = preprocessed(tmp_path, stem)
    xcp = tree(tmp_path / "derivatives/xcp_d", f"{stem}_{MNI}_desc-denoised_bold.nii.gz")
    with pytest.raises(CohortError, match=r"desc \(denoised, preproc\).*--desc"):
        runs_from_bids(tmp_path, derivatives="fmriprep,xcp_d")
    (found,) = runs_from_bids(tmp_path, derivatives=["fmriprep", xcp], desc="denoised")
    assert found.bold.is_relative_to(xcp)
    assert found.mask == fmriprep / f"{stem}_{MNI}_desc-brain_mask.nii.gz"
    assert found.confounds == fmriprep / f"{stem}_desc-confounds_timeseries.tsv"


def test_names_of_early_fmriprep(tmp_path):
    stem = "sub-1/ses-1/func/sub-1_ses-1_task-x_run-01"
    raw(tmp_path, stem)
    folder = tree(
        tmp_path / "derivatives/fmriprep",
        f"{stem}_bold_space-T1w_preproc.nii.gz",
        f"{stem}_bold_space-T1w_brainmask.nii.gz",
        f"{stem}_bold_confounds.tsv",
    )
    (found,) = runs_from_bids(tmp_path, derivatives="fmriprep")
    assert found.mask == folder / f"{stem}_bold_space-T1w_brainmask.nii.gz"
    assert found.confounds == folder / f"{stem}_bold_confounds.tsv"
    assert found.space == "T1w"


def test_the_start_is_the_slice_time_reference_of_the_derivative(tmp_path):
    stem = "sub-1/func/sub-1_task-x"
    raw(tmp_path, stem)
    said = {"RepetitionTime": 2.0, "SliceTimingCorrected": True, "StartTime": 0.973}
    sidecar = preprocessed(tmp_path, stem) / f"{stem}_{MNI}_desc-preproc_bold.json"
    sidecar.write_text(json.dumps(said))
    (found,) = runs_from_bids(tmp_path, derivatives="fmriprep")
    assert (found.tr, found.start_time) == (2.0, 0.973)
    sidecar.write_text(json.dumps({**said, "RepetitionTime": 1.0}))
    with pytest.raises(CohortError, match="must be that of the raw image, 2 s, got 1 s"):
        runs_from_bids(tmp_path, derivatives="fmriprep")


def test_slice_timing_without_its_reference_is_noted(tmp_path, capsys):
    stem = "sub-1/func/sub-1_task-x"
    raw(tmp_path, stem)
    sidecar = preprocessed(tmp_path, stem) / f"{stem}_{MNI}_desc-preproc_bold.json"
    sidecar.write_text('{"RepetitionTime": 2.0, "SliceTimingCorrected": true}')
    (found,) = runs_from_bids(tmp_path, derivatives="fmriprep")
    assert found.start_time == 0.0
    assert "without StartTime" in capsys.readouterr().err


def test_echoes_of_the_raw_data_are_one_run(tmp_path):
    stem = "sub-1/func/sub-1_task-x"
    tree(tmp_path, f"{stem}_events.tsv")
    for echo in (1, 2, 3):
        sidecar = f"{stem}_echo-{echo}_bold.json"
        tree(tmp_path, sidecar, text=json.dumps({"RepetitionTime": 1.5, "EchoTime": echo / 100}))
    preprocessed(tmp_path, stem)
    (found,) = runs_from_bids(tmp_path, derivatives="fmriprep")
    assert (found.tr, found.events.name) == (1.5, "sub-1_task-x_events.tsv")


def test_what_is_missing_is_listed_or_left_out(tmp_path, capsys):
    raw(tmp_path, *(f"sub-{s}/func/sub-{s}_task-x_run-{r}" for s in (1, 2) for r in (1, 2)))
    folder = preprocessed(tmp_path, *(f"sub-1/func/sub-1_task-x_run-{r}" for r in (1, 2)))
    preprocessed(tmp_path, "sub-3/func/sub-3_task-x_run-1")
    link = folder / f"sub-1/func/sub-1_task-x_run-2_{MNI}_desc-preproc_bold.nii.gz"
    link.unlink()
    link.symlink_to("../../.git/annex/objects/MD5E-s2000000000--0.nii.gz")
    said = (
        r"got 1 of 4; 2 runs have no preprocessed image: sub-2_task-x_run-1, sub-2_task-x_run-2; "
        r"1 images have no run in the raw data: .*sub-3.*; 1 are links to data not fetched "
        r"\(2\.0 GB\): .*run-2.*datalad get.*--missing drop"
    )
    with pytest.raises(CohortError, match=said):
        runs_from_bids(tmp_path, derivatives="fmriprep")
    (found,) = runs_from_bids(tmp_path, derivatives="fmriprep", missing="drop")
    assert found.run_id == "sub-1_run-1"
    assert "left out: 2 runs have no preprocessed image" in capsys.readouterr().err


def test_images_of_the_raw_tree_that_are_absent_can_be_left_out(tmp_path, capsys):
    for r in (1, 2):
        raw(tmp_path, f"sub-1/func/sub-1_task-x_run-{r}")
    tree(tmp_path, "sub-1/func/sub-1_task-x_run-1_bold.nii.gz")
    (tmp_path / "sub-1/func/sub-1_task-x_run-2_bold.nii.gz").symlink_to("annex/x")
    (found,) = runs_from_bids(tmp_path, missing="drop")
    assert found.run_id == "sub-1_run-1"
    assert "1 are links to data not fetched" in capsys.readouterr().err
    found.bold.unlink()
    found.bold.symlink_to("annex/y")
    with pytest.raises(CohortError, match=r"must be there, got none: 2 are links"):
        runs_from_bids(tmp_path, missing="drop")


def test_runs_at_rest_beside_a_task_are_not_missing(tmp_path):
    stem = "sub-1/func/sub-1_task-x"
    raw(tmp_path, stem)
    tree(tmp_path, "sub-1/func/sub-1_task-rest_bold.nii.gz")
    preprocessed(tmp_path, stem)
    assert len(runs_from_bids(tmp_path, derivatives="fmriprep")) == 1
    preprocessed(tmp_path, "sub-1/func/sub-1_task-rest")
    with pytest.raises(CohortError, match="several values of task"):
        runs_from_bids(tmp_path, derivatives="fmriprep")
    with pytest.raises(CohortError, match=r"must have its _events\.tsv"):
        runs_from_bids(tmp_path, derivatives="fmriprep", task="rest")
    (found,) = runs_from_bids(tmp_path, derivatives="fmriprep", task="rest", need_events=False)
    assert found.events is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fmri-prep", r"must be a folder in .*derivatives or a path, got 'fmri-prep'.*fmriprep"),
        (" ", r"got ' '"),
        ([], "must name a folder, got none"),
    ],
)
def test_a_derivative_that_does_not_exist(tmp_path, name, said):
    preprocessed(raw(tmp_path, "sub-1/func/sub-1_task-x"), "sub-1/func/sub-1_task-x")
    with pytest.raises(CohortError, match=said):
        runs_from_bids(tmp_path, derivatives=name)


def test_a_link_out_of_the_derivative(tmp_path):
    stem = "sub-1/func/sub-1_task-x"
    raw(tmp_path / "ds", stem)
    folder = preprocessed(tmp_path / "ds", stem)
    image = folder / f"{stem}_{MNI}_desc-preproc_bold.nii.gz"
    image.rename(tmp_path / "elsewhere")
    image.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CohortError, match=r"must stay inside .*--allow-outside"):
        runs_from_bids(tmp_path / "ds", derivatives="fmriprep")
    assert len(runs_from_bids(tmp_path / "ds", derivatives="fmriprep", allow_outside=True)) == 1
