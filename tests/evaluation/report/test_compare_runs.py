"""Runs side by side."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from known import made, perfect, sentences

from fastbrain.errors import InputError
from fastbrain.evaluation import LinearBaseline, compare_runs, evaluate_text, write_samples


def save(folder, samples, found, **facts):
    folder.mkdir()
    ridge = LinearBaseline(np.eye(len(samples)), "vectors", 1.0, "folds", 0.1, 5, "5 windows")
    result = evaluate_text(samples, found, bert=False, linear=ridge)
    write_samples(folder / "samples.parquet", result)
    known = {"split": {"keys": ["subject"]}, "audit": {"clean": True}, "adaptation": "inductive"}
    (folder / "metrics.json").write_text(json.dumps(result.to_json() | known | facts))
    return folder


@pytest.fixture
def runs(tmp_path):
    guess = ["a person sees a thing now"] * 64
    return [
        save(tmp_path / "guess", *made(guess, np.zeros((64, 64)), truth=sentences(64))),
        save(tmp_path / "perfect", *perfect(64)),
    ]


def test_the_better_run_is_found_by_every_metric(runs):
    found = compare_runs(runs)
    assert (found.n, found.n_blocks, found.notes) == (64, 4, ())
    by_metric = {d.metric: d for d in found.differences}
    assert by_metric["rougeL_f"].value == 1.0
    assert by_metric["rougeL_f"].interval.low > 0
    assert by_metric["wer"].value < by_metric["wer"].first
    # four blocks: two-sided sign flips cannot say more
    assert by_metric["pairwise"].p == pytest.approx(2 / 16)
    assert by_metric["pairwise"].adjusted >= by_metric["pairwise"].p
    assert found.values["rougeL_f"] == (by_metric["rougeL_f"].first, 1.0)
    json.dumps(found.to_json(), allow_nan=False)
    # the linear baseline is that of the data: no run has another
    assert not any(name.startswith("linear") for name in found.values)


@pytest.mark.parametrize("layers", [(17, 17), (17, 9)])
def test_scores_of_different_encoders_are_not_compared(runs, layers):
    for run, layer in zip(runs, layers, strict=True):
        table = pq.read_table(run / "samples.parquet")
        column = [layer / 100] * len(table)
        pq.write_table(table.append_column("score: bertscore_f", [column]), run / "samples.parquet")
        metrics = json.loads((run / "metrics.json").read_text())
        row = {"metric": "bertscore_f", "signature": f"roberta-large L{layer}"}
        metrics["scores"].append(metrics["scores"][0] | row)
        (run / "metrics.json").write_text(json.dumps(metrics))
    found = compare_runs(runs)
    same = layers[0] == layers[1]
    assert ("bertscore_f" in found.values) is same
    notes = () if same else ("Not compared, as their encoders differ: bertscore_f.",)
    assert found.notes == notes


def test_samples_are_matched_by_name(runs, tmp_path):
    samples, found = perfect(64)
    half = save(tmp_path / "half", *_some(samples, found, range(63, 31, -1)))
    same = compare_runs([runs[1], half])
    assert same.n == 32
    assert all(d.value == d.first for d in same.differences if d.metric != "pairwise")
    assert same.notes == (
        "The runs scored 64, 32 samples; 32 are shared.",
        "Not compared, as their encoders or candidates differ: words_two_way, words_top1, "
        "words_top5.",
    )


def _some(samples, found, rows):
    rows = list(rows)
    truth = [samples[i].truth for i in rows]
    _, part = made(truth, 1.0 - np.eye(len(rows)), truth=truth)
    object.__setattr__(part, "blocks", tuple(found.blocks[i] for i in rows))
    return [samples[i] for i in rows], part


def test_what_keeps_runs_from_being_compared_is_said(runs, tmp_path):
    leak = {"clean": False, "allowed": "a test"}
    other = save(tmp_path / "o", *perfect(64), split=None, audit=leak, adaptation="transductive")
    notes = " ".join(compare_runs([runs[0], other]).notes)
    assert "different splits" in notes
    assert "adapted to unlabelled" in notes
    assert "allowed because: a test" in notes


def test_bad_input_is_refused(runs, tmp_path):
    with pytest.raises(InputError, match="two or more different folders"):
        compare_runs(runs[:1])
    with pytest.raises(InputError, match="two or more different folders"):
        compare_runs([runs[0], runs[0]])
    with pytest.raises(InputError, match="must exist"):
        compare_runs([runs[0], tmp_path / "none"])
    other = made(["x"] * 64, np.zeros((64, 64)), truth=[f"word {i}" for i in range(64)])
    with pytest.raises(InputError, match="the same truth in every run"):
        compare_runs([runs[0], save(tmp_path / "other", *other)])
