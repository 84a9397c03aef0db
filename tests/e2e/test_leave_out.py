"""Cross-validation in one command: every window once, whatever the number of processes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial

import pytest

from fastbrain.cli import main
from fastbrain.data import (
    CohortDesign,
    VoxelStore,
    WindowSpec,
    plan_store,
    read_runs_table,
    simulate_cohort,
    write_fmriprep_derivative,
)
from fastbrain.data.simulate.captions import QUESTION, all_meanings
from fastbrain.errors import ConfigError, InputError, SplitError
from fastbrain.evaluation.threads import one_thread
from fastbrain.llm4brain import EncoderConfig, LLM4BrainConfig, QFormerConfig, leave_out
from fastbrain.llm4brain.training import RunConfig, pipeline, preset
from fastbrain.lm import small_llm
from fastbrain.training import OptimConfig

pytest.importorskip("nilearn")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Runs table of one person with three runs."""
    root = tmp_path_factory.mktemp("leave_out")
    return simulate_cohort(root / "cohort", CohortDesign(1, 3, 6, resolution_mm=8, snr=2.0))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> RunConfig:
    """One epoch of one stage, on a language model that has hardly read its corpus."""
    folder = tmp_path_factory.mktemp("llm")
    corpus = [f"{QUESTION} {meaning.caption}" for meaning in all_meanings()[::16]]
    llm = small_llm(corpus, cache_dir=folder, dim=32, steps=10)
    fast = {"epochs": 1, "batch_size": 8, "optim": OptimConfig(lr=1e-2)}
    return RunConfig(
        llm=str(llm),
        prompts=(QUESTION,),
        stimulus="text",
        video=None,
        model=LLM4BrainConfig(
            encoder=EncoderConfig(dim=24, depth=1),
            qformer=QFormerConfig(dim=24, depth=1, n_queries=4),
        ),
        stage1=None,
        stage2=replace(preset("stage2"), keep_best=False, **fast),
    )


def plan(table, split, **options):
    runs = read_runs_table(table)
    return plan_store(runs, window=WindowSpec(4.0, 2), kernel=(4, 4, 4), split=split, **options)


@pytest.mark.slow
def test_every_run_is_left_out_once_by_two_processes_or_one(
    table, recipe, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # one for each process
    settings, out = tmp_path / "config.json", tmp_path / "out"
    settings.write_text(json.dumps(recipe.to_dict()))
    command = ["leave-out", str(table), str(out), "--by", "run", "--config", str(settings)]
    command += ["--kernel", "4", "4", "4", "--window", "2", "--no-bert"]
    assert main([*command, "--parallel", "2"]) == 0
    shown = capsys.readouterr()
    assert (out / "units.md").read_text() == shown.out
    assert "| run | n | pairwise accuracy |" in shown.out
    assert "n = 18 windows in 3 runs, each scored by the model of its fold" in shown.out
    assert "Models and the runs that they were tested on: fold-00 on " in shown.out
    for k in range(3):
        assert f"fold-{k:02d}, of 3 folds, is tested on run " in shown.err
        assert f"fold-{k:02d}: pairwise accuracy" in shown.err
        assert "stage2 1/1" in (out / f"fold-{k:02d}" / "progress.txt").read_text()
    tested = []
    for k in range(3):
        facts = json.loads((out / f"fold-{k:02d}/run/metrics.json").read_text())
        tested += facts["split"]["test"]
        # one run has partners of its own only, and no p for them
        assert facts["partners_exclude"] == []
        deranged = [s for s in facts["scores"] if s["control"] == "deranged brain"]
        assert deranged
        assert all(s["p"] is None and s["interval"] is None for s in deranged)
    assert len(tested) == len(set(tested)) == 18
    # a fold that one process runs again, from the start, has the same bytes
    names = ("metrics.json", "samples.parquet", "subjects.md")
    folder = out / "fold-01"
    before = {name: (folder / "run" / name).read_bytes() for name in names}
    scores = (out / "scores.json").read_bytes()
    shutil.rmtree(folder)
    with one_thread():
        assert main(command) == 0
    for name, content in before.items():
        assert (folder / "run" / name).read_bytes() == content, name
    assert (out / "scores.json").read_bytes() == scores
    shown = capsys.readouterr().err
    assert "fold-01 starts" in shown
    assert "fold-00 starts" not in shown
    assert "confounds    none are regressed out" in shown
    # other folds in the same folder are refused
    assert main([*command, "--folds", "3"]) == 1
    assert "must keep its configuration" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"by": "voxel"}, InputError, "'subject'"),
        ({"by": "run", "val_fraction": 0.3}, ConfigError, "left out for run, got 0.2 and 0.3"),
        ({"by": "run", "folds": 4}, SplitError, "at most the 3 values of run"),
        ({"by": "session"}, SplitError, "session"),
        ({"by": "story"}, SplitError, "every trial must have a story"),
        ({"by": "subject"}, SplitError, "2..1"),
        ({"parallel": 0}, InputError, "1 or more"),
    ],
)
def test_what_cannot_be_left_out_is_refused_before_work(table, tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        leave_out(partial(plan, table), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_lambda_cannot_be_sent_to_a_process(table, recipe, tmp_path):
    with pytest.raises(ConfigError, match=r"functools\.partial"):
        leave_out(lambda split: plan(table, split), tmp_path / "out", recipe, by="run", parallel=2)


@pytest.mark.slow
def test_a_derivative_that_was_moved_is_prepared_trained_and_scored_by_one_line(
    recipe, tmp_path, monkeypatch, capsys
):
    design = CohortDesign(subjects=4, runs=2, trials=6, resolution_mm=8, snr=2.0)
    simulate_cohort(tmp_path / "simulated", design)
    write_fmriprep_derivative(tmp_path / "simulated", other_grids=0)
    (tmp_path / "simulated").rename(tmp_path / "my-study")
    (tmp_path / "run.json").write_text(json.dumps(replace(recipe, llm=None).to_dict()))
    monkeypatch.chdir(tmp_path)
    corpora = []

    def hardly_trained(corpus, **options):
        corpora.append(set(corpus))
        return small_llm(corpus, cache_dir=tmp_path / "llm", dim=32, steps=2)

    monkeypatch.setattr(pipeline, "small_llm", hardly_trained)
    line = "leave-out my-study runs/mine --derivatives fmriprep --folds 2 --no-bert --config"
    assert main([*line.split(), "run.json"]) == 0, capsys.readouterr().err
    assert "pairwise accuracy over 4 people" in capsys.readouterr().out
    for fold, corpus in zip(("fold-00", "fold-01"), corpora, strict=True):
        folder = tmp_path / "runs/mine" / fold
        assert (folder / "run" / "model").is_dir()
        assert (folder / "run" / "report.html").is_file()
        # without --llm the small language model of a fold is of its training texts alone
        store = VoxelStore.open(folder / "store")
        assert corpus == {f"{QUESTION} {store.by_id[i].text}" for i in store.split.train}
