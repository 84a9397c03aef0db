"""Pretraining on recordings without events, on several stores, and the audit of its weights."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from rest_and_task import prepare_rest, third_person_trains

from fastbrain import cli
from fastbrain.data import (
    VoxelStore,
    WindowLoader,
    plan_rest,
    read_runs_table,
    runs_from_bids,
    split_by,
    write_store,
)
from fastbrain.errors import CohortError, ConfigError, SplitError, StoreError
from fastbrain.llm4brain.training import RunConfig, audit_run
from fastbrain.llm4brain.training.mixed_windows import drawn, mixed_store
from fastbrain.llm4brain.training.pretrain_encoder import ScmbmConfig, train_scmbm

SMALL = {
    "encoder": {
        "dim": 24, "depth": 1, "heads": 2,
        "decoder_dim": 12, "decoder_depth": 1, "decoder_heads": 2,
    },
    "stage": {
        "name": "pretrain", "epochs": 1, "batch_size": 8, "groups": ["tokenizer", "encoder"],
    },
}  # fmt: skip


def test_windows_at_a_fixed_step(cohorts, stores):
    task, at_rest = stores
    own = [t for t in at_rest.trials if t.run_id == "sub-01_run-01"]
    n = at_rest.info.runs["sub-01_run-01"]["n_volumes"]
    assert [t.start for t in own] == list(range(0, n - 2, 2))
    assert {(t.text, t.stimulus, t.frames) for t in at_rest.trials} == {("", "", 3)}
    assert at_rest.grid.fingerprint() == task.grid.fingerprint()
    assert at_rest.split.test == ()
    assert {at_rest.by_id[t].subject for t in at_rest.split.train} == {"01"}
    assert not np.array_equal(at_rest.mean, task.mean)  # of its own training windows
    assert not at_rest.filter.removed
    # without a step, windows do not overlap; the BIDS folder has no events either
    runs = runs_from_bids(cohorts / "rest", need_events=False)
    plan = plan_rest(runs, window_trs=5, split=_by_person)
    assert [t.start for t in plan.trials[:3]] == [0, 5, 10]
    with pytest.raises(CohortError, match=r"_events\.tsv"):
        runs_from_bids(cohorts / "rest")
    with pytest.raises(CohortError, match="events"):
        read_runs_table(cohorts / "rest" / "runs.tsv")


def _by_person(trials):
    return split_by(trials, "subject", train=["01"], val=["02"], test=["03"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--test-subjects", "03"], "--test-subjects must be left out for --no-events"),
        (["--train", "01", "--val", "02", "--delay", "2"], "--delay must be left out"),
        (["--train", "01"], "a split must be given"),
        (["--train", "01", "--val", "02", "--every", "0"], "every 1 or more"),
        (["--train", "01", "--val", "02", "--window", "900"], "900 volumes or more"),
    ],
)
def test_options_that_do_not_fit_are_refused(cohorts, tmp_path, capsys, words, said):
    assert prepare_rest(cohorts, tmp_path / "out", *words) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_every_needs_no_events(cohorts, tmp_path, capsys):
    table = str(cohorts / "task" / "runs.tsv")
    said = ["prepare", table, str(tmp_path / "out"), "--folds", "3", "--every", "2"]
    assert cli.main(said) == 1
    assert "Add --no-events" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["audit {0}", "train {0} out", "train {0} out --dry-run", "train brainllm {0} out"]
)
def test_other_commands_refuse_the_store(stores, tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    assert cli.main(command.format(stores[1].path).split()) == 1
    err = capsys.readouterr().err
    assert "prepared without events" in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_test_part_may_be_empty_only_without_texts(stores):
    task, _ = stores
    with pytest.raises(SplitError, match="test must name trials"):
        replace(task.split, test=()).check(task.trials)


def test_each_store_is_standardised_with_its_own_statistics(stores):
    task, at_rest = stores
    both = mixed_store([task, at_rest])
    assert len(both.split.train) == len(task.split.train) + len(at_rest.split.train)
    name = at_rest.split.train[3]
    own = at_rest.window(name) * np.float32(at_rest.scale)
    expected = (own - at_rest.mean) * at_rest.inv_std
    found = (both.window(f"1/{name}") * np.float32(task.scale) - task.mean) * task.inv_std
    alive = (task.inv_std > 0) & (at_rest.inv_std > 0)
    # rounded to a stored step of the first store
    step = 0.51 * task.scale * task.inv_std
    assert (np.abs(found - expected) <= step + 1e-4)[:, alive].all()
    assert alive.mean() > 0.3
    first = task.split.train[0]
    assert np.array_equal(both.window(f"0/{first}"), task.window(first))
    batch = next(iter(WindowLoader(both, [f"0/{first}", f"1/{name}"], batch_size=2, shuffle=False)))
    assert batch.subjects == (task.by_id[first].subject, "01")


def test_windows_are_drawn_in_equal_numbers(stores):
    both = mixed_store(stores)
    chosen = drawn(both, 9, seed=1)
    assert [sum(t.startswith(n) for t in chosen) for n in ("0/", "1/")] == [5, 4]
    assert chosen == drawn(both, 9, seed=1) != drawn(both, 9, seed=2)
    assert drawn(both, None, seed=1) == both.split.train
    assert len(drawn(stores[1], 7, seed=0)) == 7
    with pytest.raises(ConfigError, match="windows"):
        drawn(both, 1, seed=0)
    chosen = drawn(both, 8, seed=1, shares=(3, 1))
    assert [sum(t.startswith(n) for t in chosen) for n in ("0/", "1/")] == [6, 2]
    for shares in ((1,), (1, 0), (1, float("nan"))):
        with pytest.raises(ConfigError, match="a positive number for each of 2 stores"):
            drawn(both, 8, seed=1, shares=shares)
    with pytest.raises(ConfigError, match="shares must be given with a number of windows"):
        ScmbmConfig(shares=(1, 2))
    with pytest.raises(ConfigError, match="twice"):
        mixed_store([stores[0], stores[0]])


def test_another_grid_is_refused(cohorts, stores, tmp_path, capsys):
    out = tmp_path / "other"
    runs = read_runs_table(cohorts / "rest" / "runs.tsv", need_events=False)
    write_store(plan_rest(runs, window_trs=3, kernel=(3, 4, 5), split=_by_person), out)
    said = ["train", "scmbm", str(stores[0].path), str(tmp_path / "run"), "--also", str(out)]
    assert cli.main(said) == 1
    assert "--grid-of STORE" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    with pytest.raises(StoreError, match="kernel"):
        mixed_store([stores[0], VoxelStore.open(out)])


@pytest.fixture(scope="module")
def encoder(stores, tmp_path_factory):
    """Weights from the task's training part and from rest."""
    folder = tmp_path_factory.mktemp("pretrained")
    config, out = folder / "scmbm.json", folder / "encoder"
    config.write_text(json.dumps(SMALL))
    said = ["train", "scmbm", str(stores[0].path), str(out), "--also", str(stores[1].path)]
    assert cli.main([*said, "--config", str(config), "--windows", "12"]) == 0
    return out / "encoder.safetensors"


def test_the_encoder_of_both_trains_a_run_and_the_audit_knows_it(stores, encoder, capsys):
    task, at_rest = stores
    manifest = json.loads((encoder.parent / "manifest.json").read_text())
    assert manifest["more"] == [at_rest.fingerprint()]
    assert len(manifest["trained_on"]) == 12
    audit = audit_run(task, RunConfig(encoder_weights=str(encoder)))
    assert audit.clean
    assert audit.fits["pretrained encoder"] == len(task.split.train)
    said = ["train", str(task.path), "out", "--dry-run", "--encoder-weights"]
    assert cli.main([*said, str(encoder)]) == 0
    assert "no record" not in capsys.readouterr().err
    assert cli.main([*said, str(encoder.with_name("gone"))]) == 1
    assert "encoder_weights must be a file" in capsys.readouterr().err


def test_pretraining_on_test_scans_or_test_people_is_a_leak(cohorts, stores, tmp_path, capsys):
    task, _ = stores
    # the runs of the task, taken as rest: other windows, another filter, the test person trains
    runs = read_runs_table(cohorts / "task" / "runs.tsv", need_events=False)

    plan = plan_rest(
        runs, split=third_person_trains, window_trs=3, mask=task.grid.mask, high_pass_s=None
    )
    store = write_store(plan, tmp_path / "swapped")
    train_scmbm(store, tmp_path / "run", ScmbmConfig.from_dict(SMALL))
    weights = tmp_path / "run" / "encoder.safetensors"
    audit = audit_run(task, RunConfig(encoder_weights=str(weights)))
    (leak,) = audit.findings
    assert (leak.kind, leak.parts) == ("fit", ("train", "test"))
    assert "pretrained encoder" in str(audit.summary())
    said = ["train", str(task.path), str(tmp_path / "out"), "--encoder-weights", str(weights)]
    assert cli.main(said) == 1
    assert "pretrained encoder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert cli.main([*said, "--dry-run", "--allow-leak", "shown on purpose"]) == 0
    # a copy without the record is not audited, and that is said
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(weights.read_bytes())
    assert audit_run(task, RunConfig(encoder_weights=str(alone))).clean
    capsys.readouterr()
    assert cli.main([*said[:-1], str(alone), "--dry-run"]) == 0
    assert "no record of the scans" in capsys.readouterr().err


def test_a_person_of_the_test_part_at_rest_is_a_leak(cohorts, stores, tmp_path):
    runs = read_runs_table(cohorts / "rest" / "runs.tsv", need_events=False)

    plan = plan_rest(runs, split=third_person_trains, grid_of=stores[0])
    store = write_store(plan, tmp_path / "swapped")
    first = train_scmbm(store, tmp_path / "run", ScmbmConfig.from_dict(SMALL))
    assert first.rows
    weights = tmp_path / "run" / "encoder.safetensors"
    assert not audit_run(stores[0], RunConfig(encoder_weights=str(weights))).clean
    # training that goes on from these weights keeps what they were trained on
    later = replace(ScmbmConfig.from_dict(SMALL), weights=str(weights))
    train_scmbm(stores[1], tmp_path / "later", later)
    weights = tmp_path / "later" / "encoder.safetensors"
    assert not audit_run(stores[0], RunConfig(encoder_weights=str(weights))).clean
