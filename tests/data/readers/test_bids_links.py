"""Links of a BIDS tree: inside it, out of it, and to data that were not fetched."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from bids_tree import tree

from fastbrain.data import runs_from_bids
from fastbrain.errors import CohortError


def run(stem: str, suffix: str = "_bold.nii.gz") -> tuple[str, str]:
    return f"{stem}{suffix}", f"{stem}_events.tsv"


def linked(tmp_path: Path, what: str) -> Path:
    """A data set in which one file or folder is a link that leads out of it."""
    stem = "sub-1/func/sub-1_task-x_space-MNI"
    real = {
        "image": f"{stem}_desc-preproc_bold.nii",
        "mask": f"{stem}_desc-brain_mask.nii",
        "confounds": "sub-1/func/sub-1_task-x_desc-confounds_timeseries.tsv",
        "events": "sub-1/func/sub-1_task-x_events.tsv",
        "sidecar": "sub-1/func/sub-1_task-x_bold.json",
        "participants": "participants.tsv",
        "shared mask": "mask.nii.gz",
        "folder": "sub-1",
    }
    if what == "shared mask":
        del real["mask"]
    root = tmp_path / "ds"
    for name, path in real.items():
        if name != "folder":
            tree(root, path)
    (root / real["sidecar"]).write_text('{"RepetitionTime": 2.0}')
    (root / real["participants"]).write_text("participant_id\tfamily\nsub-1\tf\n")
    outside = tmp_path / "elsewhere"
    (root / real[what]).rename(outside)
    (root / real[what]).symlink_to(outside)
    return root


KINDS = [
    "image", "mask", "shared mask", "confounds", "events", "sidecar", "participants", "folder",
]  # fmt: skip


@pytest.mark.parametrize("what", KINDS)
def test_links_lead_out_of_a_data_set_only_when_asked(tmp_path, what):
    root = linked(tmp_path, what)
    with pytest.raises(CohortError, match=r"must stay inside .*allow_outside=True") as caught:
        runs_from_bids(root)
    # where the link leads, and the option of the command line
    assert f"got a link to {tmp_path / 'elsewhere'}" in str(caught.value)
    assert "--allow-outside" in str(caught.value)
    (found,) = runs_from_bids(root, allow_outside=True)
    assert (found.family, found.tr) == ("f", 2.0)


def test_links_within_a_data_set_are_fine(tmp_path):
    tree(tmp_path, *run("sub-1/func/sub-1_task-x"))
    bold = tmp_path / "sub-1/func/sub-1_task-x_bold.nii.gz"
    key = tmp_path / ".git/annex/objects/key"
    key.parent.mkdir(parents=True)
    bold.rename(key)
    bold.symlink_to("../../.git/annex/objects/key")
    assert runs_from_bids(tmp_path)[0].bold == bold


@pytest.mark.parametrize("what", ["image", "mask", "events", "sidecar", "participants"])
def test_what_was_not_fetched_is_said(tmp_path, what):
    root = linked(tmp_path, what)
    (tmp_path / "elsewhere").unlink()
    (link,) = [path for path in root.rglob("*") if path.is_symlink()]
    link.unlink()
    link.symlink_to(".git/annex/objects/x")
    with pytest.raises(CohortError, match=r"fetched.*git annex get"):
        runs_from_bids(root)


def test_real_clone_without_its_data(real_data, tmp_path):
    name = "sub-01_as_cloned_with_dangling_annex_links.tar.gz"
    with tarfile.open(real_data / "had_bids" / name) as archive:
        # the links point into .git/annex of the clone, which the archive does not hold
        archive.extractall(tmp_path, filter=lambda member, _: member)
    with pytest.raises(CohortError, match=r"12 that are links to data not fetched.*datalad get"):
        runs_from_bids(tmp_path)
