"""People as the model knows them: their table, a new person from a few runs, nobody by default."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from events import check_events
from safetensors.torch import load_file

from fastbrain.cli import main
from fastbrain.data import (
    CohortDesign,
    Split,
    WindowLoader,
    WindowSpec,
    prepare_store,
    read_runs_table,
    simulate_cohort,
    split_unseen,
)
from fastbrain.data.simulate.captions import QUESTION, all_meanings
from fastbrain.errors import CheckpointError, ConfigError, InputError, UnknownSubjectError
from fastbrain.llm4brain import (
    EncoderConfig,
    LLM4BrainConfig,
    QFormerConfig,
    decode_windows,
    from_pretrained,
)
from fastbrain.llm4brain.evaluate import evaluate_run, open_run
from fastbrain.llm4brain.training import LLM4BrainStage, RunConfig, adapt, preset, train_llm4brain
from fastbrain.lm import small_llm
from fastbrain.training import OptimConfig

pytest.importorskip("nilearn")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("subjects")
    design = CohortDesign(subjects=4, runs=3, trials=8, resolution_mm=8, snr=2.0)
    runs = read_runs_table(simulate_cohort(root / "cohort", design))
    return prepare_store(
        runs,
        root / "store",
        window=WindowSpec(4.0, 2),
        kernel=(4, 4, 4),
        split=lambda trials: split_unseen(trials, test_subjects=["03", "04"], val_fraction=0.3),
    )


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTBRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def recipe(kind: str | None) -> RunConfig:
    fast = {"epochs": 2, "batch_size": 8, "optim": OptimConfig(lr=1e-2)}
    config = RunConfig(
        prompts=(QUESTION,),
        stimulus="text",
        video=None,
        model=LLM4BrainConfig(
            encoder=EncoderConfig(dim=24, depth=1),
            qformer=QFormerConfig(dim=24, depth=1, n_queries=8),
        ),
        stage1=replace(preset("stage1"), keep_best=False, **fast),
        stage2=replace(preset("stage2"), keep_best=False, **fast),
    )
    return config.with_subjects(kind) if kind else config


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    train_llm4brain(store, out, recipe("affine"))
    return out


@pytest.fixture(scope="module")
def fitted(run, store, tmp_path_factory):
    out = tmp_path_factory.mktemp("fitted") / "run"
    options = ["--subject", "sub-04", "--runs", "2", "--epochs", "3"]
    options += ["--log", "tensorboard"]
    assert main(["adapt", str(run), str(store.path), str(out), *options]) == 0
    check_events(out)
    return out


def weights(run) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def test_the_table_is_trained_and_saved_by_label(run):
    saved = {k: v for k, v in weights(run).items() if k.startswith("subjects.")}
    parts, people = ("shift", "gain"), ("01", "02")
    assert set(saved) == {f"subjects.entries.{p}.sub-{s}" for p in parts for s in people}
    assert all(bool(v.any()) for v in saved.values())
    first, second = (saved[f"subjects.entries.shift.sub-{s}"] for s in people)
    assert not torch.equal(first, second)


def test_an_unknown_person_is_never_decoded_silently(run, store, capsys):
    test = WindowLoader(store, store.split.test, batch_size=4, shuffle=False)
    model, _, _ = open_run(run)
    with pytest.raises(UnknownSubjectError, match="fastbrain adapt"):
        decode_windows(model, test)
    with pytest.raises(InputError, match="must name the subject of each of 2 windows"):
        model.prefix(torch.zeros(2, 2, store.grid.n_tokens, store.grid.patch_voxels))
    assert main(["evaluate", str(run), "--no-bert"]) == 1
    assert "got 03" in capsys.readouterr().err
    # the neutral value is chosen in so many words, and is the mean of all entries
    model, _, _ = open_run(run, unknown_subject="mean")
    voxels = next(iter(test)).voxels
    tokens = model.tokenizer(voxels)
    both = [
        weights(run)[f"subjects.entries.{p}.sub-0{i}"] for p in ("gain", "shift") for i in (1, 2)
    ]
    gain, shift = (both[0] + both[1]) / 2, (both[2] + both[3]) / 2
    torch.testing.assert_close(model.tokens(voxels, ["03"] * 4), tokens * (1 + gain) + shift)
    result = evaluate_run(run, bert=False, unknown_subject="mean")
    assert result.facts["unknown_subject"] == "mean"
    assert {s.group for s in result.scores} >= {"subject 03", "subject 04", "people"}
    assert "| 03 | true brain |" in (run / "subjects.md").read_text()


def test_adaptation_moves_one_entry_and_no_other_byte(run, fitted):
    before, after = weights(run), weights(fitted)
    new = {f"subjects.entries.{p}.sub-04" for p in ("shift", "gain")}
    assert set(after) == set(before) | new
    assert all(torch.equal(before[k], after[k]) for k in before)
    log = [json.loads(x) for x in (fitted / "stages/adapt/log.jsonl").read_text().splitlines()]
    assert log[-1]["answer_loss"] < log[0]["answer_loss"]


def test_runs_that_were_fitted_on_are_recorded_and_never_scored(fitted, store):
    manifest = json.loads((fitted / "manifest.json").read_text())
    made = manifest["adapted"]
    assert (made["subject"], made["runs"]) == ("04", ["sub-04_run-01", "sub-04_run-02"])
    scored = {store.by_id[t].run_id for t in manifest["scored_trials"]}
    assert scored == {"sub-04_run-03"}
    assert {store.by_id[t].run_id for t in made["val"]} == {"sub-04_run-02"}
    split = Split.from_json(manifest["split"])
    assert set(split.train) == set(store.split.train) | set(made["train"])
    assert manifest["audit"]["clean"]
    assert manifest["audit"]["fits"]["entry of 04"] == len(made["train"])
    model = from_pretrained(fitted / "model")
    assert model.card.preprocessing["adapted"]["runs"] == made["runs"]


def test_a_fitted_person_is_evaluated(run, store, tmp_path):
    # three of the four runs that derangements need another run for
    adapt(run, store, tmp_path / "one", subject="04", runs=1, config=LLM4BrainStage(
        "adapt", epochs=1, groups=("subjects",)))  # fmt: skip
    result = evaluate_run(tmp_path / "one", bert=False)
    assert {s.subject for s in result.samples} == {"04"}
    assert result.facts["adapted"]["runs"] == ["sub-04_run-01"]
    assert "fitted to" in (tmp_path / "one" / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"subject": "09", "runs": 1}, InputError, "must be one of"),
        ({"subject": "04", "runs": 3}, InputError, "must leave one of the 3 runs"),
        ({"subject": "04", "runs": 0}, InputError, "must leave one"),
        ({"subject": "01", "runs": 1}, InputError, "test part"),
        (
            {"subject": "04", "runs": 2, "score_runs": ["sub-04_run-02"]},
            ConfigError,
            "fitted on or scored, not both",
        ),
        (
            {"subject": "04", "runs": 1, "score_runs": ["sub-01_run-02"]},
            ConfigError,
            "must be of 04's test part",
        ),
        ({"subject": "04", "runs": 1, "kind": "embedding"}, ConfigError, "that of the model"),
    ],
)
def test_what_cannot_be_adapted_is_refused_before_anything_is_written(
    run, store, tmp_path, options, error, message
):
    with pytest.raises(error, match=message):
        adapt(run, store, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_store_that_does_not_fit_is_refused(run, store, tmp_path):
    other = replace(store, info=replace(store.info, tr=1.5))
    with pytest.raises(CheckpointError, match=r"must have the TR of the model \(2.0\), got 1.5"):
        adapt(run, other, tmp_path / "out", subject="04", runs=1)


def test_a_model_that_tells_nobody_apart_can_learn_one_person(store, tmp_path):
    train_llm4brain(store, tmp_path / "run", recipe(None))
    with pytest.raises(ConfigError, match="--kind affine"):
        adapt(tmp_path / "run", store, tmp_path / "out", subject="03", runs=2)
    made = adapt(
        tmp_path / "run", store, tmp_path / "out", subject="03", runs=2, kind="embedding",
        adapters=True,
    )  # fmt: skip
    assert made.config.people == ("01", "02", "03")
    again = from_pretrained(tmp_path / "out" / "model")
    windows = WindowLoader(store, store.split.test[:4], batch_size=4, shuffle=False)
    batch = next(iter(windows))
    whose = ["03"] * 4
    assert torch.equal(made.prefix(batch.voxels, whose), again.prefix(batch.voxels, whose))
    before, after = weights(tmp_path / "run"), weights(tmp_path / "out")
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert all("adapter" in k for k in changed)
    assert main(["evaluate", str(tmp_path / "run"), "--no-bert", "--unknown-subject", "mean"]) == 1


def test_settings_that_train_no_table_are_refused(store, tmp_path):
    config = recipe(None)
    with pytest.raises(ConfigError, match="group 'subjects' must train"):
        replace(config, model=replace(config.model, subjects="affine"))
    assert "subjects" in recipe("embedding").stage2.groups
    assert RunConfig.from_dict(recipe("affine").to_dict()) == recipe("affine")


def test_every_person_is_left_out_once(store, tmp_path, capsys):
    corpus = [f"{QUESTION} {meaning.caption}" for meaning in all_meanings()[::16]]
    llm = str(small_llm(corpus, cache_dir=tmp_path, dim=32, steps=10))
    config = replace(recipe(None), stage1=None, llm=llm)
    config = replace(config, stage2=replace(config.stage2, epochs=1))
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps(config.to_dict()))
    cohort, out = str(store.path.parent / "cohort" / "runs.tsv"), str(tmp_path / "out")
    options = ["--kernel", "4", "4", "4", "--window", "2", "--folds", "2", "--no-bert"]
    command = ["leave-out", cohort, out, *options, "--val-fraction", "0.3"]
    assert main([*command, "--config", str(settings)]) == 0
    table = (tmp_path / "out" / "subjects.md").read_text()
    assert all(f"| {person} | true brain |" in table for person in ("01", "02", "03", "04", "mean"))
    shown = capsys.readouterr().out
    assert "pairwise accuracy over 4 people" in shown
    assert "| subject | n | pairwise accuracy |" in shown
    assert (tmp_path / "out" / "units.md").read_text() in shown
    tested = []
    for k in range(2):
        manifest = json.loads((tmp_path / f"out/fold-{k:02d}/run/manifest.json").read_text())
        split = Split.from_json(manifest["split"])
        people = [{t.split("_")[0] for t in getattr(split, part)} for part in ("train", "test")]
        assert not people[0] & people[1]
        # voxel statistics are those of this fold's training people
        assert {run.split("_")[0] for run in manifest["fit_runs"]} == people[0]
        tested += people[1]
    assert sorted(tested) == ["sub-01", "sub-02", "sub-03", "sub-04"]
    # finished folds are read, another configuration is refused
    assert main([*command, "--config", str(settings)]) == 0
    assert (tmp_path / "out" / "subjects.md").read_text() == table
    assert main([*command, "--preset", "paper-small"]) == 1
    assert "must keep its configuration" in capsys.readouterr().err
