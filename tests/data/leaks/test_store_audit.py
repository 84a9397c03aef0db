"""The auditor on stores: planted copies of scans, other splits, stores of before, the command."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fastbrain.cli import main
from fastbrain.data import (
    Trial,
    VoxelStore,
    WindowSpec,
    audit_store,
    prepare_store,
    read_runs_table,
    split_by,
)
from fastbrain.data.leaks.fit_scope import statistics_scope
from fastbrain.errors import LeakError, StoreError


def by_run(trials, closed_set=True):
    return split_by(trials, "run", train=["01"], val=["02"], test=["03"], closed_set=closed_set)


def prepare(table: Path, out: Path, split=by_run) -> VoxelStore:
    runs = read_runs_table(table)
    return prepare_store(
        runs, out, window=WindowSpec(4.0, 3), kernel=(2, 2, 3), split=split, high_pass_s=50.0
    )


def test_a_prepared_store_is_clean(cohort, tmp_path):
    store = prepare(cohort(), tmp_path / "store")
    audit = audit_store(store).check()
    assert audit.clean
    assert audit.fits == {"voxel mean and standard deviation": 24}
    assert audit.unchecked == ("story", "family", "prompt")
    assert {leak.kind for leak in audit.declared} == {"text"}


def test_texts_of_both_sides_need_a_declaration(cohort, tmp_path):
    store = prepare(cohort(), tmp_path / "store", lambda trials: by_run(trials, False))
    with pytest.raises(LeakError, match=r"the same text in train and test .24 of 24.*closed_set"):
        audit_store(store).check()


def test_a_run_twice_under_two_names(cohort, tmp_path):
    table = cohort()
    func = table.parent / "sub-02/func"
    shutil.copy(
        func / "sub-02_task-clips_run-01_bold.nii.gz", func / "sub-02_task-clips_run-03_bold.nii.gz"
    )
    audit = audit_store(prepare(table, tmp_path / "store"))
    (leak,) = audit.findings
    assert (leak.kind, leak.parts) == ("scan", ("train", "test"))
    # eight windows of three volumes
    assert (leak.affected, leak.pairs) == (8, 24)
    assert {(a[:13], b[:13]) for a, b, _ in leak.examples} == {("sub-02_run-01", "sub-02_run-03")}


def test_another_split_makes_the_statistics_a_leak(cohort, tmp_path, capsys):
    store = prepare(cohort(), tmp_path / "store")
    other = split_by(store.trials, "run", train=["02"], val=["03"], test=["01"], closed_set=True)
    (leak,) = audit_store(store, split=other).findings
    assert (leak.kind, leak.parts) == ("fit", ("train", "test"))
    assert leak.affected == 24
    path = tmp_path / "other.json"
    path.write_text(json.dumps(other.to_json()))
    command = ["audit", str(store.path), "--split", str(path)]
    assert main(command) == 1
    out = capsys.readouterr()
    assert "LEAK       fitted outside the training part: train and test, 24 of 24" in out.out
    assert "voxel mean and standard deviation and sub-01_run-01_trial-001" in out.out
    assert main([*command, "--allow-leak", "a test of the auditor"]) == 0
    assert "leaks allowed: a test of the auditor" in capsys.readouterr().err
    assert main([*command, "--allow-leak", ""]) == 1
    assert main([*command, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["findings"][0]["kind"] == "fit"
    path.write_text(json.dumps(replace(other, test=("nobody",)).to_json()))
    assert main(command) == 1
    assert "nobody" in capsys.readouterr().err


def test_the_command_on_a_clean_store(cohort, tmp_path, capsys):
    store = prepare(cohort(), tmp_path / "store")
    assert main(["audit", str(store.path)]) == 0
    out = capsys.readouterr()
    assert "closed set 8 texts, known to training" in out.out
    assert "declared   the same text: train and test" in out.out
    assert "none       identical scans" in out.out
    assert "not known  the same story or passage" in out.out
    assert "no leak found" in out.err


def test_statistics_of_other_volumes_than_training_windows(cohort, tmp_path, reseal):
    store = prepare(cohort(), tmp_path / "store")
    fit = store.info.fit
    reseal(store.path, fit={**fit, "runs": [*fit["runs"], "sub-01_run-03"]})
    damaged = VoxelStore.open(store.path)
    assert len(statistics_scope(damaged).fitted_on) == 32
    (leak,) = audit_store(damaged).findings
    assert (leak.kind, leak.affected) == ("fit", 8)


def test_blank_volumes_are_no_leak(cohort, tmp_path, reseal):
    store = prepare(cohort(), tmp_path / "store")
    for run in ("sub-01_run-01", "sub-01_run-03"):
        path = store.path / "runs" / f"{run}.npy"
        values = np.load(path)
        values[5] = 0
        np.save(path, values)
    reseal(store.path)
    assert audit_store(VoxelStore.open(store.path)).clean


def test_columns_of_people_and_stories_survive(cohort, tmp_path):
    table = cohort()
    head, *rows = table.read_text().splitlines()
    rows = [f"{row}\tf{row[:2]}\tParis" for row in rows]
    table.write_text("\n".join([f"{head}\tfamily\tsite", *rows]) + "\n")
    for events in table.parent.rglob("*_events.tsv"):
        first, *lines = events.read_text().splitlines()
        named = [f"{line}\tstory-{events.name[-13:-11]}" for line in lines]
        events.write_text("\n".join([f"{first}\tstory", *named]) + "\n")
    store = VoxelStore.open(prepare(table, tmp_path / "store").path, verify=True)
    trial = store.by_id["sub-02_run-03_trial-001"]
    assert (trial.family, trial.site, trial.story) == ("f02", "Paris", "story-03")
    assert audit_store(store).unchecked == ("prompt",)


def older(store: VoxelStore) -> None:
    """Make its tables what they were before trials had stories, families and sites."""
    path = store.path / "trials.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["story", "family", "site"]), path)
    split = store.path / "split.json"
    value = json.loads(split.read_text())
    del value["closed_set"]
    split.write_text(json.dumps(value))


def test_tables_of_before_are_read(cohort, tmp_path, reseal):
    made = prepare(cohort(), tmp_path / "store", lambda trials: by_run(trials, False))
    older(made)
    reseal(made.path)
    store = VoxelStore.open(made.path)
    assert store.trials == made.trials
    assert store.split == made.split
    assert {leak.kind for leak in audit_store(store).findings} == {"text"}


def test_other_columns_are_still_needed(cohort, tmp_path, reseal):
    store = prepare(cohort(), tmp_path / "store")
    path = store.path / "trials.parquet"
    table = pq.read_table(path)
    assert table.column_names == [f.name for f in fields(Trial)]
    pq.write_table(table.drop_columns(["text"]), path)
    reseal(store.path)
    with pytest.raises(StoreError, match="must have the columns"):
        VoxelStore.open(store.path)


def test_preparing_tells_of_leaks(cohort, tmp_path, capsys):
    table = str(cohort())
    command = ["prepare", table, str(tmp_path / "store"), "--window", "3", "--kernel", "2", "2",
               "3", "--high-pass", "50", "--dry-run"]  # fmt: skip
    named = ["--train", "01", "--val", "02", "--test", "03"]
    assert main([*command, *named]) == 0
    out = capsys.readouterr()
    assert "audit        the same text in train and test (24 of 24 test samples)" in out.out
    assert "--closed-set" in out.err
    assert main([*command, *named, "--closed-set"]) == 0
    assert "audit        no leak found" in capsys.readouterr().out


def test_preparing_a_fold(cohort, tmp_path, capsys):
    command = ["prepare", str(cohort()), str(tmp_path / "store"), "--window", "3", "--closed-set",
               "--kernel", "2", "2", "3", "--high-pass", "50", "--split-by", "subject"]  # fmt: skip
    assert main([*command, "--folds", "4"]) == 1
    assert "at most the 3 values of subject" in capsys.readouterr().err
    assert main([*command, "--folds", "3", "--fold", "3"]) == 1
    assert "--fold must be 0..2" in capsys.readouterr().err
    assert main([*command, "--folds", "3", "--test", "01"]) == 1
    assert "one way" in capsys.readouterr().err
    assert main([*command, "--folds", "3", "--fold", "1"]) == 0
    store = VoxelStore.open(tmp_path / "store")
    assert store.split.keys == ("subject",)
    assert len({store.by_id[t].subject for t in store.split.test}) == 1
