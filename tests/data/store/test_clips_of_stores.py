"""Clips are read from the cohort's `stimuli` alone, wherever the cohort lies."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from run_splits import by_run

from fastbrain.data import VoxelStore, WindowSpec, prepare_store, read_runs_table
from fastbrain.errors import StoreError


@pytest.fixture
def store(cohort, tmp_path):
    table = cohort(subjects=1, trials=2)
    stimuli = table.parent / "stimuli"
    stimuli.mkdir()
    for events in table.parent.rglob("*_events.tsv"):
        head, *rows = events.read_text().splitlines()
        rows = [f"{row}\t{row.split()[3]}.mp4" for row in rows]
        events.write_text("\n".join([f"{head}\tstim_file", *rows]) + "\n")
        for row in rows:
            (stimuli / row.split("\t")[-1]).touch()
    options = {"window": WindowSpec(4.0, 3), "kernel": (2, 2, 3), "high_pass_s": 50.0}
    return prepare_store(read_runs_table(table), tmp_path / "out", split=by_run, **options)


def test_a_moved_cohort_is_named(store, tmp_path):
    trial = store.split.train[0]
    path = store.clip(trial)
    assert path == (tmp_path / "cohort").resolve() / store.by_id[trial].clip
    shutil.move(tmp_path / "cohort", tmp_path / "moved")
    with pytest.raises(StoreError, match=r"cohort was moved.*cohort="):
        store.clip(trial)
    there = VoxelStore.open(store.path, cohort=tmp_path / "moved")
    assert there.clip(trial).is_file()
    assert there.fingerprint() == store.fingerprint()


def test_an_unknown_cohort_is_no_folder(store, monkeypatch, tmp_path):
    """Several cohorts have no folder in common, and the working folder is none of theirs."""
    monkeypatch.chdir(tmp_path / "cohort")
    with pytest.raises(StoreError, match="cohort ''"):
        replace(store, cohort="").clip(store.split.train[0])


@pytest.mark.parametrize("clip", ["../secret", "stimuli/../secret", "/etc/passwd", "runs.tsv", "x"])
def test_clips_lie_among_the_stimuli(store, tmp_path, clip):
    (tmp_path / "secret").touch()
    trial = store.trials[0]
    odd = replace(store, trials=[replace(trial, clip=clip)])
    with pytest.raises(StoreError, match="must lie in 'stimuli'"):
        odd.clip(trial.trial_id)


def test_links_among_the_stimuli_may_not_leave_the_cohort(store, tmp_path):
    trial = store.trials[0]
    clip = tmp_path / "cohort" / trial.clip
    (tmp_path / "secret").touch()
    clip.unlink()
    clip.symlink_to(tmp_path / "secret")
    with pytest.raises(StoreError, match="stay inside"):
        store.clip(trial.trial_id)
    # an annex keeps the files elsewhere in the cohort
    clip.unlink()
    (tmp_path / "cohort/.annex").mkdir()
    (tmp_path / "cohort/.annex/key").touch()
    clip.symlink_to("../.annex/key")
    assert store.clip(trial.trial_id).is_file()
