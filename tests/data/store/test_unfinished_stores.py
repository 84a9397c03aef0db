"""A preparation that stops is taken up where it stopped, and never mixed with other settings."""

from __future__ import annotations

import errno
import os

import pytest
from file_contents import files_of
from run_splits import by_run

import fastbrain.data.store.convert as convert
from fastbrain import _io
from fastbrain.data import VoxelStore, WindowSpec, prepare_store, read_runs_table
from fastbrain.errors import DiskError, OutputExistsError, StoreError

OPTIONS = {"window": WindowSpec(4.0, 3), "kernel": (2, 2, 3), "split": by_run, "high_pass_s": 50.0}


@pytest.fixture
def runs(cohort):
    return read_runs_table(cohort())


def test_interrupted_preparation_is_resumed_bit_for_bit(runs, tmp_path, monkeypatch):
    whole = prepare_store(runs, tmp_path / "whole", **OPTIONS)
    original, calls = convert.clean_run, []

    def failing(volumes, *args, **options):
        calls.append(volumes.path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(volumes, *args, **options)

    monkeypatch.setattr(convert, "clean_run", failing)
    with pytest.raises(KeyboardInterrupt):
        prepare_store(runs, tmp_path / "out", **OPTIONS)
    with pytest.raises(StoreError, match=r"unfinished.*--resume"):
        VoxelStore.open(tmp_path / "out")
    with pytest.raises(OutputExistsError):
        prepare_store(runs, tmp_path / "out", **OPTIONS)
    # a half-written second run and the litter of a killed process are made good
    second = tmp_path / "out/runs" / f"{runs[1].run_id}.npy"
    second.write_bytes(second.read_bytes()[:-50])
    (tmp_path / "out/runs/.x.npy.abc.tmp").write_bytes(b"half")
    calls.clear()
    calls += [None] * 3
    resumed = prepare_store(runs, tmp_path / "out", resume=True, **OPTIONS)
    assert calls[3:] == [r.bold for r in runs[1:]]
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")
    assert resumed.fingerprint() == whole.fingerprint()
    # resuming what is finished does nothing
    prepare_store(runs, tmp_path / "out", resume=True, **OPTIONS)
    assert len(calls) == 3 + len(runs) - 1


@pytest.mark.parametrize(
    "change", [{"units": "zscore"}, {"kernel": (1, 2, 2)}, {"high_pass_s": None}], ids=str
)
def test_resume_needs_the_same_settings(runs, tmp_path, change):
    prepare_store(runs, tmp_path / "out", **OPTIONS)
    with pytest.raises(StoreError, match="same settings"):
        prepare_store(runs, tmp_path / "out", resume=True, **{**OPTIONS, **change})


def test_resume_never_takes_a_strangers_folder(runs, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("all of it")
    with pytest.raises(StoreError, match="other files"):
        prepare_store(runs, tmp_path / "out", resume=True, **OPTIONS)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("after", [0, 1, 6])
def test_full_disk(runs, tmp_path, monkeypatch, after):
    real, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(_io.os, "fsync", full)
    with pytest.raises(DiskError, match="the disk is full"):
        prepare_store(runs, tmp_path / "out", **OPTIONS)
    monkeypatch.setattr(_io.os, "fsync", real)
    assert not list((tmp_path / "out").rglob("*.tmp"))
    with pytest.raises(StoreError):
        VoxelStore.open(tmp_path / "out")
    prepare_store(runs, tmp_path / "out", resume=True, **OPTIONS)
    VoxelStore.open(tmp_path / "out", verify=True)
