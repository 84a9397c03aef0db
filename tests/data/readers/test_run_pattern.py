"""Runs of data sets that are not BIDS, by the pattern of their file names."""

from __future__ import annotations

import pytest

from fastbrain.data import runs_by_pattern
from fastbrain.errors import CohortError, ConfigError

PATTERN = "{subject}/Results/rfMRI_{run}/rfMRI_{run}_clean.nii.gz"


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")


def test_fields_are_labels_and_a_repeated_field_is_the_same_text(tmp_path):
    touch(
        tmp_path,
        "100307/Results/rfMRI_REST1_LR/rfMRI_REST1_LR_clean.nii.gz",
        "100307/Results/rfMRI_REST1_LR/mask.nii.gz",
        "100307/Results/rfMRI_REST1_LR/rfMRI_REST2_LR_clean.nii.gz",
    )
    mask = "{subject}/Results/rfMRI_{run}/mask.nii.gz"
    (found,) = runs_by_pattern(tmp_path, bold=PATTERN, mask=mask, space="MNI", tr=0.72)
    assert found.run_id == "sub-100307_run-REST1LR"
    assert found.bold.name == "rfMRI_REST1_LR_clean.nii.gz"
    assert found.mask == found.bold.with_name("mask.nii.gz")
    assert (found.events, found.space, found.tr) == (None, "MNI", 0.72)


def test_absent_files_are_named(tmp_path):
    with pytest.raises(CohortError, match=r"must hold images .*got none"):
        runs_by_pattern(tmp_path, bold=PATTERN)
    touch(tmp_path, "1/a.nii.gz")
    with pytest.raises(CohortError, match=r"do not exist: .*1/mask"):
        runs_by_pattern(tmp_path, bold="{subject}/a.nii.gz", mask="{subject}/mask.nii.gz")
    (tmp_path / "2").mkdir()
    (tmp_path / "2/a.nii.gz").symlink_to("annex/SHA-s1000000000--1")
    with pytest.raises(CohortError, match=r"links to data not fetched \(1\.0 GB\)"):
        runs_by_pattern(tmp_path, bold="{subject}/a.nii.gz")


@pytest.mark.parametrize("bold", ["{run}/a.nii", "{subject}/{task}.nii", "/{subject}/a.nii"])
def test_impossible_patterns(tmp_path, bold):
    with pytest.raises(ConfigError, match="bold must be a path below the root"):
        runs_by_pattern(tmp_path, bold=bold)


def test_people_with_one_label_are_not_joined(tmp_path):
    touch(tmp_path / "a", "p_1/1.nii", "p1/2.nii")
    with pytest.raises(CohortError, match="got 'p_1' beside 'p1'"):
        runs_by_pattern(tmp_path / "a", bold="{subject}/{run}.nii")
    touch(tmp_path / "b", "__/1.nii")
    with pytest.raises(CohortError, match="letters or digits of its own, got '__'"):
        runs_by_pattern(tmp_path / "b", bold="{subject}/{run}.nii")


def test_two_images_of_one_name_and_links_that_lead_out(tmp_path):
    touch(tmp_path / "a", "1/x_1.nii", "1/x1.nii")
    with pytest.raises(CohortError, match="must name each run once"):
        runs_by_pattern(tmp_path / "a", bold="{subject}/{run}.nii")
    touch(tmp_path, "elsewhere.nii")
    (tmp_path / "b/1").mkdir(parents=True)
    (tmp_path / "b/1/x.nii").symlink_to(tmp_path / "elsewhere.nii")
    with pytest.raises(CohortError, match="must stay inside"):
        runs_by_pattern(tmp_path / "b", bold="{subject}/{run}.nii")
    assert runs_by_pattern(tmp_path / "b", bold="{subject}/{run}.nii", allow_outside=True)
