"""Names and description of a BIDS folder, checked before work starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastbrain.data.readers.bids_check import check_bids
from fastbrain.errors import CohortError

DESCRIPTION = '{"Name": "x", "BIDSVersion": "1.10.0"}'
GOOD = (
    "sub-01/func/sub-01_task-a_run-1_bold.nii.gz",
    "sub-01/func/sub-01_task-a_run-1_events.tsv",
    "sub-01/ses-2/func/sub-01_ses-2_task-a_desc-preproc_bold.nii.gz",
    "sub-01/ses-2/sub-01_ses-2_scans.tsv",
    "sub-01/sub-01_sessions.tsv",
)


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "dataset_description.json").write_text(DESCRIPTION)
    for name in GOOD:
        put(tmp_path, name)
    return tmp_path


def put(root, name):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")


def test_good_names_pass(tree):
    check_bids(tree, function="f")
    (tree / "dataset_description.json").write_text(DESCRIPTION[:-1] + ', "DatasetType": "raw"}')
    # of other kinds, or hidden
    for name in ("code/x.py", "sub-01/anat/scan.nii", "sub-01/func/.DS_Store", "sourcedata/a_b"):
        put(tree, name)
    check_bids(tree, function="f")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("sub-01/func/rest.nii.gz", "not named sub-LABEL"),
        ("sub-01/func/sub-01_task-a_my-bold.nii.gz", "not named sub-LABEL"),
        ("sub-01/func/sub-01_task-a_task-b_bold.nii.gz", "an entity twice"),
        ("sub-01/func/sub-02_task-a_bold.nii.gz", "another subject or session"),
        ("sub-01/ses-2/func/sub-01_task-a_bold.nii.gz", "another subject or session"),
        ("sub-01/func/sub-01_ses-2_task-a_bold.nii.gz", "another subject or session"),
        ("sub-01/func/sub-01_run-1_bold.nii.gz", "without the entity task"),
    ],
)
def test_wrong_names_are_listed(tree, name, match):
    put(tree, name)
    with pytest.raises(CohortError, match=rf"1 files .*{match}.*{Path(name).name}"):
        check_bids(tree, function="f")
    for pattern in (Path(name).name, f"{Path(name).parent}/", "*bold*\n*rest*", f"/{name}"):
        (tree / ".bidsignore").write_text(f"# own\n{pattern}\n")
        check_bids(tree, function="f")
    (tree / ".bidsignore").write_text("other\n")
    with pytest.raises(CohortError, match=match):
        check_bids(tree, function="f")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (None, "got no dataset_description.json"),
        ("{}", "without Name and BIDSVersion"),
        ('{"Name": "x", "BIDSVersion": 1.1}', "without BIDSVersion"),
        (DESCRIPTION[:-1] + ', "DatasetType": "mine"}', "DatasetType 'mine'"),
        ("[]", "JSON object"),
        ("{", "dataset_description"),
    ],
)
def test_descriptions(tree, text, match):
    path = tree / "dataset_description.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(CohortError, match=match):
        check_bids(tree, function="f")


def test_everything_is_in_one_message(tmp_path):
    with pytest.raises(CohortError, match=r"no dataset_description.json; no folder sub-\*"):
        check_bids(tmp_path, function="f")


@pytest.mark.parametrize(
    "name", ["had_bids", "bids_narratives", "bids_boldmoments", "bold5000_captions"]
)
def test_real_trees(real_data, name):
    root = real_data / name
    roots = [
        p.parent for p in root.rglob("dataset_description.json") if "derivatives" not in p.parts
    ]
    roots = [r for r in roots if any(r.glob("sub-*"))]
    if not roots:
        pytest.skip(f"{name} has no description beside its people")
    for found in roots:
        check_bids(found, function="f")
