"""Real events and confounds, joined with images of the names that derivatives have."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from bids_tree import tree

from fastbrain.data import runs_from_bids
from fastbrain.errors import CohortError

MNI = "space-MNI152NLin2009cAsym"


def test_real_derivatives_of_tables_alone(real_data):
    for name, tables in (("had_bids", 4), ("bold5000_captions", 1)):
        with pytest.raises(CohortError, match=f"got none .*{tables} tables of confounds"):
            runs_from_bids(real_data / name, derivatives="fmriprep")


@pytest.mark.parametrize(
    ("name", "task", "runs", "tr"),
    [
        ("had_bids", "action", 240, 2.0),
        ("bids_boldmoments", "train", 20, 1.75),
        ("bids_narratives", "pieman", 6, 1.5),
        ("bold5000_captions", "5000scenes", None, 2.0),
    ],
)
def test_real_events_joined_with_images(real_data, tmp_path, name, task, runs, tr):
    """Every real run finds the image that its own name, without session, has in a derivative."""
    source = real_data / name
    events = sorted(source.glob(f"sub-*/**/*_task-{task}_*events.tsv"))
    for path in events:
        folder = Path(*path.relative_to(source).parts[:-1])
        tree(tmp_path, f"{folder}/{path.name.replace('_events.tsv', f'_{MNI}_bold.nii.gz')}")
    found = runs_from_bids(source, derivatives=tmp_path, task=task)
    assert len(found) == len(events)
    assert runs in (None, len(found))
    assert {record.tr for record in found} == {tr}
    for record in found:
        assert record.bold.name.split("_space")[0] == record.events.name.split("_events")[0]


def test_real_confounds_without_sessions_belong_to_the_runs_of_had(real_data, tmp_path):
    source = real_data / "had_bids"
    folder = tmp_path / "fmriprep"
    for path in (source / "derivatives/fmriprep").rglob("*_timeseries.tsv"):
        copy = folder / path.relative_to(source / "derivatives/fmriprep")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
        image = copy.name.replace("_desc-confounds_timeseries.tsv", "_desc-preproc_bold.nii.gz")
        copy.with_name(image).write_text("x")
    with pytest.raises(CohortError, match="got 4 of 240; 236 runs have no preprocessed image"):
        runs_from_bids(source, derivatives=folder)
    found = runs_from_bids(source, derivatives=folder, missing="drop")
    assert [record.run_id for record in found] == [
        f"sub-0{s}_ses-action01_run-0{r}" for s in (1, 2) for r in (1, 2)
    ]
    for record in found:
        assert f"_run-{int(record.run)}_desc-confounds" in record.confounds.name


def test_real_clone_with_derivatives_that_are_not_fetched(real_data, tmp_path):
    archive = real_data / "had_bids" / "sub-01_as_cloned_with_dangling_annex_links.tar.gz"
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter=lambda member, _: member)
    with pytest.raises(CohortError, match=r"got 0 of 12; 12 are links to data not fetched \(.* GB"):
        runs_from_bids(tmp_path, derivatives=tmp_path)
