"""Records of scans that are named one by one: which sidecars they have, and what is said."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from fastbrain.data.store import planning_like
from fastbrain.data.store.planning_like import scan_records
from fastbrain.data.store.preparation import start_times
from fastbrain.errors import CohortError, StoreError

TR, START = {"RepetitionTime": 1.5}, {"StartTime": 1.0}


@pytest.mark.parametrize(
    ("image", "sidecar", "read"),
    [
        ("newscan.nii.gz", "newscan.json", True),
        ("new.scan.nii", "new.scan.json", True),
        ("new.scan.nii", "new.json", False),
        ("newscan.nii.gz", "bold.json", False),
        ("newscan.nii.gz", "task-x_bold.json", False),
        ("bold.nii.gz", "bold.json", True),
        ("run-1_bold.nii.gz", "bold.json", True),
        ("run-1_task-x_bold.nii.gz", "task-x_bold.json", True),
        ("run-1_task-x_bold.nii.gz", "task-y_bold.json", False),
        ("run-1_bold.nii.gz", "run-1_cbv.json", False),
        ("newscan_bold.nii.gz", "other_bold.json", False),
        ("newscan_bold.nii.gz", "newscan_bold.json", True),
        ("x_bold.dtseries.nii", "x_bold.dtseries.json", True),
        ("x_bold.func.gii", "x_bold.json", True),
        ("sub-1_run-2_bold.img", "run-2_bold.json", True),
        # words with a hyphen that are no entities
        ("2020-01-02_bold.nii.gz", "2020-01-01_bold.json", False),
        ("P-02_bold.nii", "P-01_bold.json", False),
    ],
)
def test_a_scan_has_its_own_sidecar_and_those_of_its_suffix(tmp_path, capsys, image, sidecar, read):
    (tmp_path / sidecar).write_text(json.dumps(TR | START))
    (record,) = scan_records([tmp_path / image])
    assert (record.tr, record.start_time) == ((1.5, 1.0) if read else (None, 0.0))
    said = "StartTime is 1 s" if read else f"{image}: its first volume is taken to be at 0 s"
    assert said in capsys.readouterr().err


def test_the_nearest_sidecar_is_that_of_the_scan(tmp_path):
    (tmp_path / "bold.json").write_text(json.dumps(START))
    (tmp_path / "run-1_bold.json").write_text(json.dumps(TR))
    (record,) = scan_records([tmp_path / "run-1_bold.nii"])
    assert (record.tr, record.start_time) == (1.5, 1.0)


def test_scans_without_sidecars_are_named_in_one_note(tmp_path, capsys):
    (tmp_path / "a.json").write_text(json.dumps(TR))
    scan_records([tmp_path / f"{name}.nii" for name in "abc"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: no sidecar beside ")
    assert "b.nii, " in line
    assert line.endswith("c.nii: each first volume is taken to be at 0 s")
    scan_records([tmp_path / "b.nii"], named=False)
    assert capsys.readouterr().err == ""


def test_a_repetition_time_that_denies_the_sidecar_is_refused(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(TR))
    assert scan_records([tmp_path / "a.nii"], tr=1.5)[0].tr == 1.5
    with pytest.raises(CohortError, match=r"its sidecar, 1.5 s, got 2 s\. Leave --tr"):
        scan_records([tmp_path / "a.nii"], tr=2.0)


def store_of(path, *starts):
    runs = {f"r{i}": {"start_time": start} for i, start in enumerate(starts)}
    return SimpleNamespace(path=path, info=SimpleNamespace(runs=runs, fit={"runs": ["r0", "r1"]}))


@pytest.mark.parametrize(
    ("starts", "said"),
    [((1.0, 1.0, 0.0), "started at 1 s, and a at 0 s"), ((0.5, 1.0), "0.5 to 1 s"), ((0.0,), "")],
)
def test_another_start_than_in_training_is_said(tmp_path, capsys, starts, said):
    records = scan_records([tmp_path / "a.nii"], named=False)
    planning_like._tell_other_starts(records, store_of(tmp_path, *starts))
    err = capsys.readouterr().err
    assert said in err
    assert bool(err) == bool(said)


def test_a_preparation_lists_start_times_in_a_file(tmp_path):
    assert start_times(store_of(tmp_path)) == []
    (tmp_path / "start_times.json").write_text("[1.0, 0.5]")
    assert start_times(store_of(tmp_path)) == [0.5, 1.0]
    (tmp_path / "start_times.json").write_text('["late"]')
    with pytest.raises(StoreError, match=r"start_times\.json must list seconds"):
        start_times(store_of(tmp_path))
