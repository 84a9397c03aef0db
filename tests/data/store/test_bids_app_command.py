"""The BIDS-App: stores of people, the table of the group, and the merged store."""

from __future__ import annotations

import json
import os
import shutil
import sys
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from surface_cohort import write_cohort, write_surfaces

from fastbrain import __version__, cli
from fastbrain.commands import _work_folder, bids_app
from fastbrain.data import VoxelStore, prepare_store, runs_from_bids, split_by
from fastbrain.data.readers.trial_windows import WindowSpec

OPTIONS = ["--kernel", "2", "2", "2", "--high-pass", "none", "--closed-set"]
ARRAYS = ("mean.npy", "inv_std.npy", "trials.parquet", "split.json")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Two people with three runs each, of four trials that differ."""
    root = tmp_path_factory.mktemp("bids")
    rng = np.random.default_rng(3)
    nib.save(nib.Nifti1Image(np.ones((5, 4, 6), np.uint8), np.eye(4)), root / "mask.nii.gz")
    (root / "dataset_description.json").write_text('{"Name": "two", "BIDSVersion": "1.10.0"}')
    (root / "participants.tsv").write_text("participant_id\nsub-a1\nsub-b2\n")
    for subject in ("a1", "b2"):
        func = root / f"sub-{subject}/func"
        func.mkdir(parents=True)
        for run in (1, 2, 3):
            data = rng.normal(1000, 20, (5, 4, 6, 45)).astype(np.float32)
            image = nib.Nifti1Image(data, np.eye(4))
            image.header.set_xyzt_units("mm", "sec")
            image.header["pixdim"][4] = 2.0
            stem = f"sub-{subject}_task-x_run-{run}"
            nib.save(image, func / f"{stem}_bold.nii.gz")
            rows = [f"{16 * i}\t2\t{subject}-{run}-{i}\tthing {i}" for i in range(4)]
            table = "\n".join(["onset\tduration\tstimulus\ttext", *rows])
            (func / f"{stem}_events.tsv").write_text(table + "\n")
    return root


def app(monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["fastbrain-bids", *map(str, arguments)])
    return cli.bids_app()


def test_people_then_the_group(cohort, tmp_path, monkeypatch, capsys):
    out = tmp_path / "derivatives/fastbrain"
    work = ["--skip-bids-validation", "-w", tmp_path / "work"]
    one = [cohort, out, "participant", "--participant_label", "sub-a1", *OPTIONS, *work]
    assert app(monkeypatch, *one) == 0, capsys.readouterr().err
    assert not (out / "sub-b2").exists()
    assert list((tmp_path / "work/fastbrain/sub-a1").iterdir()) == []
    store = VoxelStore.open(out / "sub-a1/store")
    assert set(store.info.runs) == {f"sub-a1_run-{r}" for r in (1, 2, 3)}
    assert {store.by_id[i].run for i in store.split.test} == {"3"}
    assert {store.by_id[i].run for i in store.split.val} == {"2"}

    said = json.loads((out / "dataset_description.json").read_text())
    assert said["DatasetType"] == "derivative"
    assert said["GeneratedBy"] == [{"Name": "fastbrain", "Version": __version__}]
    assert said["SourceDatasets"] == [{"URL": cohort.as_uri()}]

    assert app(monkeypatch, cohort, out, "participant", *OPTIONS) == 0
    assert "sub-a1/store is there already" in capsys.readouterr().err
    assert app(monkeypatch, cohort, out, "group", "--merge") == 0
    rows = [line.split("\t") for line in (out / "group_stores.tsv").read_text().splitlines()]
    assert rows[0][0] == "participant_id"
    assert [row[:6] for row in rows[1:]] == [
        ["sub-a1", "3", "135", "4", "4", "4"],
        ["sub-b2", "3", "135", "4", "4", "4"],
    ]
    # the same as one preparation of all
    whole = prepare_store(
        runs_from_bids(cohort),
        tmp_path / "whole",
        window=WindowSpec(4.0, 4),
        kernel=(2, 2, 2),
        split=lambda trials: split_by(
            trials, "run", train=["1"], val=["2"], test=["3"], closed_set=True
        ),
        high_pass_s=None,
    )
    for name in ARRAYS:
        assert (out / "store" / name).read_bytes() == (whole.path / name).read_bytes(), name


def test_people_that_were_interrupted_or_differ(cohort, tmp_path, monkeypatch, capsys):
    one = [cohort, tmp_path / "out", "participant", "--participant-label", "a1", *OPTIONS]
    assert app(monkeypatch, *one) == 0, capsys.readouterr().err
    store = VoxelStore.open(tmp_path / "out/sub-a1/store")
    (store.path / "manifest.json").unlink()
    (store.path / "runs/sub-a1_run-3.npy").unlink()
    assert app(monkeypatch, *one) == 0, capsys.readouterr().err
    again = VoxelStore.open(store.path, verify=True)
    assert again.fingerprint() == store.fingerprint()
    assert app(monkeypatch, *one, "--units", "zscore") == 1
    assert "got other values of scale, units" in capsys.readouterr().err


def test_stores_are_made_in_the_work_folder(cohort, tmp_path, monkeypatch, capsys):
    out, work = tmp_path / "out", tmp_path / "scratch"
    one = [cohort, out, "participant", "--participant-label", "a1", *OPTIONS]

    def stopped(*_: object) -> None:
        raise SystemExit(7)

    with monkeypatch.context() as patched:
        patched.setattr(bids_app, "move_folder", stopped)
        assert app(patched, *one, "-w", work) == 7
    assert not (out / "sub-a1/store").exists()
    there = work / "fastbrain/sub-a1/store"
    before = VoxelStore.open(there).fingerprint()
    # the next call goes on there
    assert app(monkeypatch, *one, "--work-dir", work) == 0, capsys.readouterr().err
    assert not there.exists()
    assert VoxelStore.open(out / "sub-a1/store", verify=True).fingerprint() == before
    assert app(monkeypatch, *one, "-w", work) == 0
    assert "left as it is" in capsys.readouterr().err
    assert app(monkeypatch, *[*one[:4], "b2", *OPTIONS], "-w", work) == 0
    assert app(monkeypatch, cohort, out, "group", "--merge", "-w", work) == 0
    assert len(VoxelStore.open(out / "store", verify=True).info.runs) == 6
    for inside, what in ((cohort / "work", "the input data"), (out / "work", "the results")):
        assert app(monkeypatch, *one, "-w", inside) == 1
        assert f"outside of {what}" in capsys.readouterr().err


def test_a_folder_moves_to_another_disk(tmp_path, monkeypatch):
    made = tmp_path / "made"
    (made / "runs").mkdir(parents=True)
    (made / "runs/a.npy").write_bytes(b"1")
    (made / "b.json").write_bytes(b"2")
    devices = iter((1, 2))
    real = os.stat
    with monkeypatch.context() as patched:
        fake = SimpleNamespace(**vars(os))
        fake.stat = lambda path: SimpleNamespace(st_dev=next(devices), st_mode=real(path).st_mode)
        patched.setattr(_work_folder, "os", fake)
        _work_folder.move_folder(made, tmp_path / "out")
    assert not made.exists()
    assert (tmp_path / "out/runs/a.npy").read_bytes() == b"1"
    assert (tmp_path / "out/b.json").read_bytes() == b"2"


def test_people_on_surfaces(tmp_path, monkeypatch, capsys):
    table = write_cohort(tmp_path / "surfaces", subjects=2, runs=3)
    options = ["--surfaces", *write_surfaces(tmp_path), "--patch-size", "16", *OPTIONS[4:]]
    words = [table, tmp_path / "out", "participant", "--participant-label", "02", *options]
    assert app(monkeypatch, *words) == 0, capsys.readouterr().err
    assert VoxelStore.open(tmp_path / "out/sub-02/store").info.geometry == "surface"
    assert app(monkeypatch, *words, *OPTIONS[:4]) == 1
    assert "--kernel must be left out for surfaces" in capsys.readouterr().err


def test_refusals(cohort, tmp_path, monkeypatch, capsys):
    def refused(*arguments: object) -> str:
        assert app(monkeypatch, *arguments) == 1
        return capsys.readouterr().err

    out = tmp_path / "out"
    nameless = tmp_path / "nameless"
    shutil.copytree(cohort, nameless)
    (nameless / "dataset_description.json").unlink()
    said = refused(nameless, out, "participant", *OPTIONS)
    assert "got no dataset_description.json. Correct that, or pass --skip-bids-validation" in said
    assert not out.exists()
    assert app(monkeypatch, nameless, out, "participant", *OPTIONS, "--skip-bids-validation") == 0
    out = tmp_path / "other"
    assert "must have stores of people, got none" in refused(cohort, out, "group")
    people = ["--participant-label", "a1", "c3"]
    assert "got c3. There are a1, b2." in refused(cohort, out, "participant", *people, *OPTIONS)
    assert "must have a store of each person" in refused(cohort, out, "group", *people)
    assert "must come at the level group" in refused(cohort, out, "participant", "--merge")
    # the raw data set is no folder of derivatives
    (tmp_path / "dataset_description.json").write_text('{"Name": "raw", "DatasetType": "raw"}')
    assert "must be a folder of derivatives" in refused(cohort, tmp_path, "participant", *OPTIONS)
    assert app(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.strip() == __version__
