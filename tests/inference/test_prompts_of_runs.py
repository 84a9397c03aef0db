"""Runs on trials with questions and prompts: training, evaluation, and decoding of new scans."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fastbrain.brainllm.evaluate import evaluate_brainllm_run, open_brainllm_run
from fastbrain.brainllm.training.pipeline import train_brainllm_run
from fastbrain.brainllm.training.run_config import BrainLLMRunConfig
from fastbrain.data import WindowSpec, prepare_store, split_by
from fastbrain.inference import decode
from fastbrain.lm import small_llm

pytestmark = pytest.mark.slow
QUESTIONS = ("what is there ?", "who is there ?")


def with_columns(events, out, **columns):
    """An events table with more columns; each is a function of the row number."""
    head, *rows = events.read_text().splitlines()
    lines = ["\t".join([head, *columns])]
    lines += ["\t".join([row, *(of(i) for of in columns.values())]) for i, row in enumerate(rows)]
    out.write_text("\n".join(lines) + "\n")
    return out


def test_new_scans_are_asked_the_questions_of_their_events(trained, tmp_path):
    (run,) = [run for run in trained.runs if run.run == "04"]
    events = with_columns(run.events, tmp_path / "a.tsv", instruction=lambda i: QUESTIONS[i % 2])
    run_folder = trained.run("llm4brain")
    found = decode(run_folder, run.bold, events=events)
    assert [w.prompt for w in found.windows[:3]] == [QUESTIONS[0], QUESTIONS[1], QUESTIONS[0]]
    rows = [line.split("\t") for line in found.to_tsv().splitlines()]
    assert rows[1][rows[0].index("prompt")] == QUESTIONS[0]
    plain = decode(run_folder, run.bold, events=run.events, confidence=False)
    card = json.loads((run_folder / "model" / "config.json").read_text())["card"]
    assert {w.prompt for w in plain.windows} == {card["prompt"]}
    same = with_columns(run.events, tmp_path / "b.tsv", instruction=lambda i: card["prompt"])
    again = decode(run_folder, run.bold, events=same, confidence=False)
    assert again.texts == plain.texts


def test_a_story_is_continued(trained, tmp_path):
    runs = [
        replace(
            run,
            events=with_columns(
                run.events,
                tmp_path / f"{run.run}.tsv",
                prompt=lambda i, run=run: f"part {run.run} of scene {i}",
            ),
        )
        for run in trained.runs
    ]
    store = prepare_store(
        runs,
        tmp_path / "store",
        window=WindowSpec(4.0, 2),
        kernel=(4, 4, 4),
        split=lambda trials: split_by(
            trials, "run", train=["01", "02"], val=["03"], test=["04", "05"], closed_set=True
        ),
    )
    stages = {name: {"name": name, "epochs": 1, "batch_size": 8} for name in ("warmup", "tune")}
    lengths = {"max_prompt_tokens": 16, "max_text_tokens": 32}
    corpus = [f"scene {i % 8} {trial.text}" for i, trial in enumerate(store.trials)]
    llm = str(small_llm(corpus, cache_dir=tmp_path / "llm", dim=32, steps=20))
    config = {"llm": llm, "features": 8, "prompt_length": 2, "width": 5}
    config["training"] = {**stages, **lengths}
    run = tmp_path / "run"
    reason = "texts recur in a cohort this small"
    train_brainllm_run(store, run, BrainLLMRunConfig.from_dict(config), allow_leak=reason)
    saved, _, _ = open_brainllm_run(run)
    assert (saved.card.before, saved.card.prompt_length) == ("prompt", 2)
    assert saved.model.config.width == 5
    found = decode(run, confidence=False)
    assert [w.prompt for w in found.windows[:2]] == ["scene 0", "scene 1"]
    assert found.facts["prompt"] == {"before": "prompt", "length": 2}
    result = evaluate_brainllm_run(run, bert=False)
    assert result.facts["prompt"] == {"before": "prompt", "length": 2}
    scenes = [f"scene {i}" for i in range(8)]
    assert result.conditions.prompts == (*scenes, *scenes)
    assert len(result.permuted) == 16
    assert result.score("rougeL_f").chance is not None
    assert result.score("pairwise").p is not None
