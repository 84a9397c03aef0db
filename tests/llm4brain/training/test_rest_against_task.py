"""The study of rest against task: what is pretrained on what, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from rest_and_task import third_person_trains

from fastbrain._io import write_json
from fastbrain.data import plan_rest, read_runs_table, write_store
from fastbrain.errors import ConfigError, InputError, LeakError
from fastbrain.experiments.rest_against_task import rest_against_task
from fastbrain.llm4brain.training import RunConfig


@pytest.fixture
def calls(monkeypatch):
    """What the study trains, without the training."""
    from fastbrain.experiments import rest_against_task as study

    found = {"scmbm": [], "train": []}

    def scmbm(store, out, config, *, more, resume, device):
        found["scmbm"].append((out.parent.name, config, [store, *more]))
        write_json(out / "manifest.json", {})

    def train(store, out, config, *, resume, device, allow_leak):
        found["train"].append((out.parent.name, config))
        write_json(out / "manifest.json", {})

    def compared(variants, out, *, seeds, train, evaluate, about):
        for seed in seeds:
            for variant in variants:
                variant.config.to_dict()
                train(variant, seed, out / variant.name / f"seed-{seed}", False)
        return about

    monkeypatch.setattr(study, "train_scmbm", scmbm)
    monkeypatch.setattr(study, "train_llm4brain", train)
    monkeypatch.setattr(study, "run_variants", compared)
    return found


def test_rest_against_task_pretrains_on_as_many_windows(stores, calls, tmp_path):
    task, at_rest = stores
    about = rest_against_task(at_rest, task, tmp_path / "out", seeds=(0, 5), epochs=2)
    assert about["rest"] == at_rest.fingerprint()
    assert [name for name, _, _ in calls["scmbm"]] == ["task", "rest", "rest-task"] * 2
    least = min(len(task.split.train), len(at_rest.split.train))
    assert {(c.windows, c.stage.epochs) for _, c, _ in calls["scmbm"]} == {(least, 2)}
    used = {name: [s.fingerprint() for s in given] for name, _, given in calls["scmbm"]}
    assert used["rest-task"] == [*used["task"], *used["rest"]]
    assert used["task"] == [task.fingerprint()]
    for seed, recipes in ((0, calls["train"][:4]), (5, calls["train"][4:])):
        assert {(c.seed, c.stage1.seed, c.stage2.seed) for _, c in recipes} == {(seed,) * 3}
        assert recipes[0][1].encoder_weights is None
        # nothing but the weights differs
        assert len({replace(c, encoder_weights=None) for _, c in recipes}) == 1
        assert all(f"/{n}/seed-{seed}/" in c.encoder_weights for n, c in recipes[1:])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"windows": 10_000}, ConfigError, "the smaller training part"),
        ({"config": RunConfig(encoder_weights="x")}, ConfigError, "encoder_weights must be None"),
        ({"derangements": 3}, InputError, "at least 100 derangements, got 3"),
    ],
)
def test_a_study_that_cannot_work_is_refused(stores, calls, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        rest_against_task(stores[1], stores[0], tmp_path / "out", **options)
    assert not calls["scmbm"]


def test_rest_of_the_people_tested_is_refused(cohorts, stores, calls, tmp_path):
    runs = read_runs_table(cohorts / "rest" / "runs.tsv", need_events=False)
    split = partial(third_person_trains, test=())
    store = write_store(plan_rest(runs, split=split, grid_of=stores[0]), tmp_path / "swapped")
    with pytest.raises(LeakError, match="pretrained encoder"):
        rest_against_task(store, stores[0], tmp_path / "out")
    assert not calls["scmbm"]
