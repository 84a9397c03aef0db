"""The store of a run that was moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fastbrain.cli import main
from fastbrain.errors import CheckpointError
from fastbrain.evaluation.run_store import open_store, scored_trials


@pytest.fixture
def moved(store, tmp_path):
    """Run and store side by side, and the manifest of before the move."""
    run, beside = tmp_path / "new" / "run", tmp_path / "new" / "store"
    run.mkdir(parents=True)
    shutil.copytree(store.path, beside)
    manifest = {
        "store": str(tmp_path / "old" / "store"),
        "store_beside": "../store",
        "store_fingerprint": store.fingerprint(),
        "scored_trials": list(store.split.test),
    }
    return run, beside, manifest


def test_the_recorded_place_comes_first_then_the_one_beside_the_run(moved, store, monkeypatch):
    run, beside, manifest = moved
    assert open_store(run, manifest, function="test").path == (run / "../store").resolve()
    there = {**manifest, "store": str(store.path)}
    assert open_store(run, there, function="test").path == store.path
    monkeypatch.chdir(run.parent)
    assert open_store("run", manifest, function="test").path.samefile(beside)


def test_a_store_in_another_place_is_named_by_an_option(moved, tmp_path):
    run, beside, manifest = moved
    other = beside.rename(tmp_path / "other")
    with pytest.raises(CheckpointError, match="--store STORE"):
        open_store(run, manifest, function="test")
    assert open_store(run, manifest, other, function="test").path == other


def test_another_store_is_refused_by_its_fingerprint(moved, store):
    run, beside, manifest = moved
    stranger = {**manifest, "store_fingerprint": "0123456789abcdef"}
    for given in (None, beside, store.path):
        with pytest.raises(CheckpointError, match=r"must be the one of training.*--store"):
            open_store(run, stranger, given, function="test")
    # what lies at the recorded place now is another one: the one beside the run is meant
    (run.parent / "wrong").mkdir()
    wrong = {**manifest, "store": str(run.parent / "wrong")}
    assert open_store(run, wrong, function="test").path == (run / "../store").resolve()


def test_scored_trials_are_of_the_test_part(store):
    test = list(store.split.test)
    assert scored_trials({"scored_trials": test}, store, function="test") == tuple(test)
    for bad in ([store.split.train[0]], ["unknown"], [test[0], test[0]]):
        with pytest.raises(CheckpointError, match="scored_trials"):
            scored_trials({"scored_trials": bad}, store, function="test")


def test_a_run_and_its_store_are_decoded_where_they_were_moved_to(
    finished_run, store, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("FASTBRAIN_CACHE", str(tmp_path / "empty"))
    run = Path(shutil.copytree(finished_run, tmp_path / "a" / "run"))
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"store": "/nowhere/store"}))
    command = ["decode", str(run), "--max-tokens", "3"]
    assert main(command) == 1
    assert "--store STORE" in capsys.readouterr().err
    assert main([*command, "--store", str(store.path)]) == 0
    told = capsys.readouterr().out
    assert len(told.splitlines()) == 1 + len(store.split.test)
    # beside the run, where it was relative to it at training
    shutil.copytree(store.path, tmp_path / "store")
    assert main(command) == 0
    assert capsys.readouterr().out == told


def test_a_run_on_a_share_has_its_own_training_part(moved, store):
    run, _, manifest = moved
    split = store.split.to_json()
    used = split["train"][::2]
    found = open_store(run, {**manifest, "split": {**split, "train": used}}, function="test")
    assert list(found.split.train) == used
    assert found.split.unused == store.split.unused + len(split["train"]) - len(used)
    assert (found.split.val, found.split.test) == (store.split.val, store.split.test)
    assert found.fingerprint() == store.fingerprint()
    # as that of an adapted run
    adapted = {**split, "train": split["test"][:2]}
    found = open_store(run, {**manifest, "split": adapted}, function="test")
    assert found.split == store.split
