"""What sidecars say of when volumes were acquired: read, applied, or refused by file and field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastbrain.data import WindowSpec, announced_runs, read_runs_table, read_trials, runs_from_bids
from fastbrain.data.readers.entities import entities
from fastbrain.data.readers.runs_table import write_runs_table
from fastbrain.data.readers.sidecars import clock_of, read_sidecar
from fastbrain.data.readers.tree import Tree
from fastbrain.errors import CohortError

STEM = "sub-1/func/sub-1_task-x_run-1"
WINDOW = WindowSpec(4.0, 2)


def cohort(root: Path, fields: dict, *, shared: dict | None = None) -> Path:
    (root / STEM).parent.mkdir(parents=True)
    (root / f"{STEM}_bold.nii").touch()
    (root / f"{STEM}_events.tsv").write_text("onset\tduration\ttrial_type\n10\t1\tx\n")
    (root / f"{STEM}_bold.json").write_text(json.dumps(fields))
    (root / "task-x_bold.json").write_text(json.dumps(shared or {}))
    return root


def start(run, n_volumes=40):
    return read_trials(run, WINDOW, tr=run.tr or 2.0, n_volumes=n_volumes)[0].start


EVEN = [round(1.5 * k + 0.002 * (k % 2), 4) for k in range(40)]


@pytest.mark.parametrize(
    ("fields", "tr", "first"),
    [
        ({"RepetitionTime": 2.0}, 2.0, 7),
        ({}, None, 7),
        ({"VolumeTiming": [2.0 * k for k in range(40)]}, 2.0, 7),
        # scanners log times in steps of 2.5 ms
        ({"VolumeTiming": EVEN}, pytest.approx(1.5, abs=1e-3), 9),
        ({"VolumeTiming": [2.0 * k for k in range(40)], "RepetitionTime": 2.0}, 2.0, 7),
        # slices were shifted to the middle of the volume: it lies 0.95 s later, 13.05 s is nearest
        ({"RepetitionTime": 2.0, "StartTime": 0.95}, 2.0, 7),
        ({"RepetitionTime": 2.0, "StartTime": 1.5}, 2.0, 6),
        ({"RepetitionTime": 2.0, "StartTime": -2}, 2.0, 8),
        # onsets count from the first volume that was kept
        ({"RepetitionTime": 2.0, "NumberOfVolumesDiscardedByScanner": 3}, 2.0, 7),
        ({"RepetitionTime": 2.0, "NumberOfVolumesDiscardedByUser": 4}, 2.0, 7),
        # a pause for sound is part of the repetition time
        ({"RepetitionTime": 2.0, "DelayTime": 1.0, "SliceTiming": [0.0, 0.5]}, 2.0, 7),
        ({"RepetitionTime": 2.0, "DelayTime": 0.1, "AcquisitionDuration": 1.9}, 2.0, 7),
        # some converters write the duration of the run
        ({"RepetitionTime": 2.0, "DelayTime": 0.1, "AcquisitionDuration": 312.0}, 2.0, 7),
        ({"RepetitionTime": 2.0, "RepetitionTimeExcitation": 0.05}, 2.0, 7),
        ({"RepetitionTime": 2.0, "SliceTiming": []}, 2.0, 7),
        ({"RepetitionTime": 2.0, "DelayAfterTrigger": 5.0}, 2.0, 7),
    ],
)
def test_what_fits_is_applied(tmp_path, fields, tr, first):
    (run,) = runs_from_bids(cohort(tmp_path, fields))
    assert run.tr == tr
    assert start(run) == first


def test_a_folder_and_a_name_of_two_people_are_refused(tmp_path):
    root = cohort(tmp_path, {"RepetitionTime": 2.0})
    (root / "sub-1").rename(root / "sub-2")
    with pytest.raises(CohortError, match="named like its folder sub-2, got sub-1"):
        runs_from_bids(root)
    with pytest.raises(CohortError, match="named like its folder sub-2"):
        announced_runs(root, task="x")


def test_a_preprocessed_image_in_the_folder_of_another_person_is_refused(tmp_path):
    root, images = cohort(tmp_path / "raw", {"RepetitionTime": 2.0}), derived(tmp_path / "d", {})
    assert len(announced_runs(root, task="x", images=images)) == 1
    (images / "sub-1").rename(images / "sub-2")
    with pytest.raises(CohortError, match="named like its folder sub-2, got sub-1"):
        announced_runs(root, task="x", images=images)


def test_a_number_too_large_for_a_float_is_refused(tmp_path):
    with pytest.raises(CohortError, match=r"RepetitionTime .*finite number"):
        runs_from_bids(cohort(tmp_path, {"RepetitionTime": 10**400}))


def test_the_number_of_listed_volumes_is_kept(tmp_path):
    (run,) = runs_from_bids(cohort(tmp_path, {"VolumeTiming": [0.0, 2.0, 4.0]}))
    assert run.n_volumes == 3


SPARSE = [6.0 * (k // 3) + k % 3 for k in range(40)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"VolumeTiming": SPARSE}, "VolumeTiming .*evenly spaced within 0.01 s, got up to 2 s off"),
        ({"VolumeTiming": [0, 2, 2.1, 6]}, "evenly spaced"),
        ({"VolumeTiming": [0, 0, 0]}, "evenly spaced"),
        ({"VolumeTiming": [6, 4, 2, 0]}, "begin at 0"),
        ({"VolumeTiming": [3, 5, 7, 9]}, "begin at 0, where onsets"),
        ({"VolumeTiming": [0]}, "two volumes or more"),
        ({"VolumeTiming": [0, 2, 4], "RepetitionTime": 3.0}, "agree with RepetitionTime 3 s"),
        ({"VolumeTiming": "0 2 4"}, "VolumeTiming .*list of seconds"),
        ({"VolumeTiming": [0, None, 4]}, "VolumeTiming .*list of seconds"),
        ({"RepetitionTime": 0}, "RepetitionTime .*> 0 s"),
        ({"RepetitionTime": -2.0}, "RepetitionTime .*> 0 s"),
        ({"RepetitionTimeExcitation": 0.05}, "come with RepetitionTime.*got it alone"),
        ({"RepetitionTime": 2.0, "RepetitionTimeExcitation": 2.5}, "at most RepetitionTime, 2 s"),
        ({"RepetitionTime": 2.0, "DelayTime": 2.0}, "DelayTime .*below RepetitionTime, 2 s"),
        ({"RepetitionTime": 2.0, "DelayTime": -1}, "DelayTime .*>= 0"),
        ({"RepetitionTime": 2.0, "SliceTiming": [0, 1895.0]}, "SliceTiming .*up to 1895"),
        ({"RepetitionTime": 2.0, "SliceTiming": [-0.1, 1]}, "SliceTiming .*>= 0"),
        (
            {"RepetitionTime": 2.0, "DelayTime": 1.0, "SliceTiming": [0, 1.9]},
            "SliceTiming .*within the acquisition of a volume, 1 s, got up to 1.9",
        ),
        (
            {"RepetitionTime": 2.0, "DelayTime": 8.0 / 5, "AcquisitionDuration": 2.0},
            "AcquisitionDuration .*leave the DelayTime of 1.6 s",
        ),
        ({"RepetitionTime": 2.0, "StartTime": "late"}, "StartTime .*finite number"),
        ({"RepetitionTime": 2.0, "NumberOfVolumesDiscardedByUser": -1}, "whole number"),
        ({"RepetitionTime": 2.0, "NumberOfVolumesDiscardedByScanner": 1.5}, "whole number"),
    ],
)
def test_what_denies_the_clock_is_refused_by_file_and_field(tmp_path, fields, message):
    with pytest.raises(CohortError, match=message) as caught:
        runs_from_bids(cohort(tmp_path, fields))
    assert f"{STEM}_bold.json" in str(caught.value)


def test_the_file_that_says_it_is_named(tmp_path):
    root = cohort(tmp_path, {"RepetitionTime": 2.0}, shared={"VolumeTiming": SPARSE})
    with pytest.raises(CohortError, match=r"VolumeTiming in \S+/task-x_bold\.json"):
        runs_from_bids(root)


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"NumberOfVolumesDiscardedByScanner": 3}, "3 volumes were discarded by the scanner"),
        ({"NumberOfVolumesDiscardedByUser": 4}, "4 volumes were discarded by the user"),
        ({"StartTime": 0.5}, "StartTime is 0.5 s"),
    ],
)
def test_what_is_assumed_is_said(tmp_path, capsys, fields, note):
    runs_from_bids(cohort(tmp_path, {"RepetitionTime": 2.0, **fields}))
    assert f"note: {note}" in capsys.readouterr().err


def test_nothing_assumed_nothing_said(tmp_path, capsys):
    fields = {"NumberOfVolumesDiscardedByScanner": 0, "StartTime": 0, "DelayTime": 0.5}
    runs_from_bids(cohort(tmp_path, {"RepetitionTime": 2.0, **fields}))
    assert capsys.readouterr().err == ""


def test_the_clock_survives_a_runs_table(tmp_path):
    fields = {"VolumeTiming": [0.0, 2.0, 4.0], "StartTime": 1.5}
    runs = runs_from_bids(cohort(tmp_path, fields))
    write_runs_table(tmp_path / "runs.tsv", runs)
    (again,) = read_runs_table(tmp_path / "runs.tsv")
    assert (again.start_time, again.tr, again.n_volumes) == (1.5, 2.0, 3)
    assert start(again) == 6


def derived(root: Path, fields: dict) -> Path:
    path = root / f"{STEM}_space-MNI_desc-preproc_bold"
    path.parent.mkdir(parents=True)
    path.with_name(f"{path.name}.nii").touch()
    path.with_name(f"{path.name}.json").write_text(json.dumps(fields))
    return root


def test_preprocessed_images_state_their_own_start(tmp_path):
    root = cohort(tmp_path / "raw", {"RepetitionTime": 2.0})
    images = derived(tmp_path / "out", {"RepetitionTime": 2.0, "StartTime": 1.5})
    (run,) = announced_runs(root, task="x", images=images)
    assert (run.tr, run.start_time, start(run)) == (2.0, 1.5, 6)
    (run,) = announced_runs(root, task="x", images=images, chosen={"desc": "preproc"})
    assert run.bold.parent == images / "sub-1/func"


def test_preprocessed_images_of_another_repetition_time(tmp_path):
    root = cohort(tmp_path / "raw", {"RepetitionTime": 2.0})
    images = derived(tmp_path / "out", {"RepetitionTime": 1.0})
    with pytest.raises(CohortError, match="must be that of the raw image, 2 s, got 1 s"):
        announced_runs(root, task="x", images=images)


@pytest.mark.parametrize(
    ("name", "tr"), [("had_bids", 2.0), ("bids_narratives", 1.5), ("bids_boldmoments", 1.75)]
)
def test_real_sidecars(real_data, name, tr):
    root = real_data / name
    found = sorted(root.glob("sub-*/**/*_bold.json"))
    assert found
    for path in found:
        image = path.with_name(path.name.replace("_bold.json", "_bold.nii.gz"))
        clock = clock_of(read_sidecar(Tree(root), image, entities(image)))
        assert (clock.tr, clock.start_time) == (tr, None)
        assert bool(clock.notes) == (name == "bids_narratives")


def test_two_sidecars_of_a_folder_that_disagree_are_refused(tmp_path):
    root = cohort(tmp_path, {"RepetitionTime": 2.0, "StartTime": 5.0})
    func = next(root.glob("sub-*/func"))
    (func / "task-x_bold.json").write_text('{"StartTime": 1.0, "EchoTime": 0.03}')
    with pytest.raises(CohortError, match=r"StartTime of .* must be one in a folder, got 1\.0 in"):
        runs_from_bids(root)
    (func / "task-x_bold.json").write_text('{"StartTime": 5.0, "EchoTime": 0.03}')
    assert runs_from_bids(root)[0].start_time == 5.0
    (func / "notbold.json").write_text('{"StartTime": 1.0}')
    assert runs_from_bids(root)[0].start_time == 5.0


@pytest.mark.parametrize(
    "field", [{"SliceTiming": "x"}, {"DelayTime": True}, {"AcquisitionDuration": "x"}], ids=str
)
def test_fields_are_read_though_the_header_alone_knows_the_repetition_time(tmp_path, field):
    with pytest.raises(CohortError, match=f"{next(iter(field))} in .* must be"):
        runs_from_bids(cohort(tmp_path, field))
