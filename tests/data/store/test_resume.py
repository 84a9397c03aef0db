"""A preparation goes on with its own settings and images, or not at all; nothing is mixed."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from file_contents import files_of
from run_splits import by_run

import fastbrain.data.store.convert as convert
import fastbrain.data.store.prepare as prepare
from fastbrain import _digests
from fastbrain.data import VoxelStore, WindowSpec, prepare_store, read_runs_table, split_by
from fastbrain.errors import CohortError, DiskError, OutputExistsError, StoreError

RUN = "sub-01_run-01"

OPTIONS = {"window": WindowSpec(4.0, 3), "kernel": (2, 2, 3), "split": by_run, "high_pass_s": 50.0}


@pytest.fixture
def table(cohort) -> Path:
    return cohort(subjects=1, trials=4, suffix=".nii")


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def make(table: Path, out: Path, *, resume: bool = False, **changes) -> VoxelStore:
    return prepare_store(read_runs_table(table), out, resume=resume, **{**OPTIONS, **changes})


@pytest.fixture
def interrupted(table, out, monkeypatch) -> list[Path]:
    """A store of which the first run is converted; the images of the runs."""
    real, calls = convert.clean_run, []

    def failing(volumes, *args, **options):
        calls.append(volumes.path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(volumes, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(convert, "clean_run", failing)
        with pytest.raises(KeyboardInterrupt):
            make(table, out)
    return [run.bold for run in read_runs_table(table)]


def rewrite(path: Path, *, keep_times: bool = True) -> None:
    """Other values in a file of the same size, as preprocessing again leaves it."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[400::2] = bytes(b ^ 1 for b in data[400::2])
    path.write_bytes(data)
    if keep_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("large", [False, True], ids=["by all bytes", "by head and tail"])
@pytest.mark.parametrize("finished", [False, True], ids=["interrupted", "finished"])
def test_a_changed_image_is_refused_by_name(table, out, interrupted, monkeypatch, large, finished):
    if large:
        shutil.rmtree(out)
        monkeypatch.setattr(_digests, "WHOLE_BYTES", 1000)
        monkeypatch.setattr(_digests, "_END_BYTES", 1000)
        make(table, out)
        if not finished:
            (out / "manifest.json").unlink()
    elif finished:
        make(table, out, resume=True)
    before = files_of(out)
    rewrite(interrupted[0])
    with pytest.raises(StoreError, match=rf"others of {RUN} \(.*run-01_bold.nii: the same size"):
        make(table, out, resume=True)
    assert {k: v for k, v in files_of(out).items() if k in before} == before


def test_an_image_that_was_not_converted_yet_may_change(table, out, interrupted, tmp_path):
    """The store then is what a fresh one would be."""
    rewrite(interrupted[1], keep_times=False)
    make(table, out, resume=True)
    make(table, tmp_path / "fresh")
    assert files_of(out) == files_of(tmp_path / "fresh")


def test_an_image_that_was_only_touched_or_copied_is_the_same(table, out, interrupted):
    copy = interrupted[0].with_suffix(".copy")
    shutil.copy(interrupted[0], copy)
    os.replace(copy, interrupted[0])
    make(table, out, resume=True)
    # and a finished store is taken as it is
    make(table, out, resume=True)


def test_both_files_of_a_pair_are_looked_at(cohort, out):
    table = cohort(subjects=1, trials=4, suffix=".nii")
    for run in read_runs_table(table):
        pair = nib.Nifti1Pair.from_image(nib.load(run.bold))
        pair.to_filename(run.bold.with_suffix(".img"))
        run.bold.unlink()
    table.write_text(table.read_text().replace("_bold.nii", "_bold.hdr"))
    make(table, out)
    rewrite(read_runs_table(table)[0].bold.with_suffix(".img"))
    with pytest.raises(StoreError, match=r"run-01_bold.img: the same size, other contents"):
        make(table, out, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": "zscore"}, "scale, units"),
        ({"kernel": (1, 2, 2)}, "mask, kernel or stride"),
        ({"mask": np.ones((5, 6, 7), bool)}, "mask, kernel or stride"),
        ({"high_pass_s": None}, "high_pass_s"),
        ({"window": WindowSpec(4.0, 2)}, "events, texts, windows or split, window"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_changed_settings_are_named(table, out, interrupted, change, message):
    with pytest.raises(StoreError, match=f"same settings, got other values of {message}"):
        make(table, out, resume=True, **change)


@pytest.mark.parametrize("name", ["events.tsv", "mask.nii.gz", "runs.tsv"])
def test_changed_tables_and_masks_are_refused(table, out, interrupted, name):
    if name == "events.tsv":
        path = read_runs_table(table)[2].events
        path.write_text(path.read_text().replace("a dog runs 3", "a cat runs 3"))
    elif name == "mask.nii.gz":
        image = nib.load(table.parent / name)
        data = np.asarray(image.dataobj).copy()
        data[0] = data[-1] = 0
        nib.save(nib.Nifti1Image(data, image.affine), table.parent / name)
    else:
        table.write_text(table.read_text().replace("\t02\t", "\t04\t"))
    val = "04" if name == "runs.tsv" else "02"
    expected = {
        "events.tsv": "events, texts",
        "mask.nii.gz": "mask, kernel or stride",
        "runs.tsv": "run sub-01_run-02, run sub-01_run-04",
    }
    with pytest.raises(StoreError, match=expected[name]):
        make(
            table,
            out,
            resume=True,
            split=lambda trials: split_by(trials, "run", train=["01"], val=[val], test=["03"]),
        )


def test_two_versions_of_the_package_do_not_share_a_store(table, out, interrupted, monkeypatch):
    monkeypatch.setattr("fastbrain.data.store.plan.__version__", "0.0.9")
    with pytest.raises(StoreError, match="the version of fastbrain"):
        make(table, out, resume=True)


@pytest.mark.parametrize("name", ["prepare.json", f"runs/{RUN}.json", f"runs/{RUN}.npy"])
def test_what_resuming_reads_is_checked(table, out, interrupted, tmp_path, name):
    data = bytearray((out / name).read_bytes())
    data[len(data) // 2] ^= 1
    (out / name).write_bytes(data)
    if name == "prepare.json":
        with pytest.raises(StoreError, match=r"prepare\.json"):
            make(table, out, resume=True)
        return
    # that run is converted again
    make(table, out, resume=True)
    make(table, tmp_path / "fresh")
    assert files_of(out) == files_of(tmp_path / "fresh")


def test_a_finished_store_without_its_records_is_not_resumed(table, out):
    make(table, out)
    (out / "runs" / f"{RUN}.json").unlink()
    with pytest.raises(StoreError, match=f"{RUN}.json must be readable"):
        make(table, out, resume=True)
    VoxelStore.open(out, verify=True)


def test_an_image_that_changes_while_it_is_read(table, out, monkeypatch):
    real = convert.clean_run

    def changing(volumes, *args, **options):
        clean = real(volumes, *args, **options)
        rewrite(volumes.path, keep_times=False)
        return clean

    monkeypatch.setattr(convert, "clean_run", changing)
    with pytest.raises(CohortError, match="must not change while it is read"):
        make(table, out)
    assert not list(out.glob("runs/*.npy"))


def test_a_second_start_that_did_not_ask_to_resume(table, out, monkeypatch):
    """It saw an empty folder, and another process was quicker."""
    make(table, out)
    monkeypatch.setattr(prepare, "new_output", lambda path, resume: Path(path))
    with pytest.raises(OutputExistsError, match="--resume"):
        make(table, out)


def test_what_a_process_left_that_was_killed_at_once(table, out):
    out.mkdir()
    (out / ".prepare.json.ab12.tmp").write_text("{")
    (out / ".lock").write_text("{}")
    make(table, out, resume=True)
    assert not list(out.glob(".*"))


ODD = os.fsdecode(b"donn\xe9es")


@pytest.mark.parametrize("where", ["cohort", "out"])
def test_names_that_cannot_be_written_down_are_refused_first(table, out, monkeypatch, where):
    monkeypatch.setattr(convert, "clean_run", lambda *a, **k: pytest.fail("work has begun"))
    if where == "cohort":
        odd = table.parent.with_name(ODD)
        table.parent.rename(odd)
        table = odd / table.name
    else:
        out = out / ODD
    with pytest.raises((CohortError, ValueError), match=r"valid UTF-8, got '.*donn\\udce9es"):
        make(table, out)
    assert not out.exists()


def test_a_link_with_a_plain_name_helps(table, out):
    odd = table.parent.with_name(ODD)
    table.parent.rename(odd)
    link = table.parent.with_name("plain")
    link.symlink_to(odd)
    assert make(link / table.name, out).info.root == str(link)
    # what is not written down may have any name
    apart = [dataclasses.replace(run, root=None) for run in read_runs_table(odd / table.name)]
    prepare_store(apart, out.with_name("apart"), **OPTIONS)


def test_tables_are_written_before_the_work(table, out, monkeypatch):
    """A broken writer of Parquet, say, is found before hours of it."""
    monkeypatch.setattr(convert, "clean_run", lambda *a, **k: pytest.fail("work has begun"))

    def broken(path, trials):
        raise DiskError("mine")

    monkeypatch.setattr(prepare, "write_trials_table", broken)
    with pytest.raises(DiskError, match="mine"):
        make(table, out)


def test_settings_are_plain_json(table, out):
    make(table, out)
    settings = json.loads((out / "prepare.json").read_text())
    assert settings["runs"][RUN] == {"source": "sub-01_task-clips_run-01_bold.nii", "n_volumes": 60}
    record = json.loads((out / "runs" / f"{RUN}.json").read_text())
    (said,) = record["inputs"].values()
    assert said == _digests.identity(read_runs_table(table)[0].bold)
    assert "inputs" not in VoxelStore.open(out).info.runs[RUN]
