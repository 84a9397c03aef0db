"""Pooled folds: every sample once, chance of its fold, units as the blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from known import made, sentences

from fastbrain._io import write_json
from fastbrain.errors import InputError
from fastbrain.evaluation import LinearBaseline, evaluate_text, write_samples
from fastbrain.evaluation.report.pooled import plural, pool_folds
from fastbrain.stats import bootstrap_interval, sign_flip_p


def fold(folder, k: int, right: float, count: int = 8):
    """An evaluated fold, in which a share of the samples is identified."""
    truth = sentences(count)
    told = np.arange(count) < right * count
    nll = np.array([[1.0 + (told[i] and a != b) for b in truth] for i, a in enumerate(truth)])
    samples, found = made(truth, nll.T)
    samples = [replace(s, trial_id=f"{k}-{s.trial_id}") for s in samples]
    ridge = LinearBaseline(np.eye(count), "vectors", 1.0, "folds", 0.1, 5, "5 windows")
    result = evaluate_text(samples, found, bert=False, linear=ridge)
    write_json(folder / "metrics.json", result.to_json())
    write_samples(folder / "samples.parquet", result)
    return result


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    """Three folds of 8, 8 and 16 samples in folders, and their evaluations."""
    root = tmp_path_factory.mktemp("folds")
    results = {
        root / str(k): fold(root / str(k), k, right, count)
        for k, (right, count) in enumerate([(1.0, 8), (0.5, 8), (0.25, 16)])
    }
    return results


def units_of(folds, labels) -> dict[str, str]:
    return {
        s.trial_id: label
        for result, label in zip(folds.values(), labels, strict=True)
        for s in result.samples
    }


def test_pooled_scores_are_means_over_all_samples(folds):
    units = units_of(folds, ["01", "02", "03"])
    pooled = pool_folds([*folds], units, unit="run")
    each = np.concatenate([r.per_sample["pairwise"] for r in folds.values()])
    labels = [units[s.trial_id] for r in folds.values() for s in r.samples]
    score = next(s for s in pooled.scores if s.metric == "pairwise" and not s.group)
    assert (score.value, score.n) == (pytest.approx(each.mean()), 32)
    assert score.chance == 0.5
    assert score.interval == bootstrap_interval(each, blocks=labels)
    sums = [(each[np.array(labels) == u] - 0.5).sum() for u in ("01", "02", "03")]
    assert score.p == sign_flip_p(sums) == 1 / 8
    means = [r.per_sample["pairwise"].mean() for r in folds.values()]
    singles = [s for s in pooled.scores if s.metric == "pairwise" and s.group.startswith("run ")]
    assert [s.value for s in singles] == pytest.approx(means)
    assert [s.n for s in singles] == [8, 8, 16]
    assert all(s.interval is None and s.p is None for s in singles)
    over = next(s for s in pooled.scores if s.metric == "pairwise" and s.group == "runs")
    assert (over.value, over.n) == (pytest.approx(np.mean(means)), 3)
    assert over.p == sign_flip_p(np.array(means) - 0.5)


def test_chance_is_that_of_each_fold(folds):
    pooled = pool_folds([*folds], units_of(folds, "abc"), unit="story")
    found = {s.group: s for s in pooled.scores if s.metric == "rougeL_f"}
    chances = [r.score("rougeL_f").chance for r in folds.values()]
    assert [found[f"story {u}"].chance for u in "abc"] == pytest.approx(chances)
    assert found[""].chance == pytest.approx(np.average(chances, weights=[8, 8, 16]))
    assert found["stories"].chance == pytest.approx(np.mean(chances))


def test_ratios_over_a_corpus_are_not_averaged(folds):
    pooled = pool_folds([*folds], units_of(folds, "abc"), unit="run")
    assert not {"bleu1", "wer"} & {s.metric for s in pooled.scores}


def test_a_single_unit_has_no_interval_and_no_mean(folds):
    pooled = pool_folds([*folds], units_of(folds, "aaa"), unit="session")
    for score in pooled.scores:
        assert score.interval is None
        assert score.group in ("", "session a")
    line = next(x for x in pooled.table().splitlines() if x.startswith("| pairwise accuracy |"))
    assert line.split("|")[3].strip() == "-"


def test_the_table_says_first_what_the_linear_baseline_does_better(folds):
    table = pool_folds([*folds], units_of(folds, "abc"), unit="run").table()
    assert table.startswith("The difference between a ridge regression on the same windows")
    assert "| run | n | pairwise accuracy |" in table
    assert "| mean | 3 runs |" in table
    assert "n = 32 windows in 3 runs" in table


def test_a_trial_is_scored_once_and_has_a_unit(folds):
    first = next(iter(folds))
    units = units_of(folds, "abc")
    with pytest.raises(InputError, match="8 trials scored again"):
        pool_folds([first, first], units, unit="run")
    with pytest.raises(InputError, match="1 trials without a unit"):
        pool_folds([*folds], {**units, "0-t0": ""}, unit="run")
    with pytest.raises(InputError, match="0 folds"):
        pool_folds([], units, unit="run")


def test_plurals():
    assert [plural(u) for u in ("subject", "story", "run")] == ["people", "stories", "runs"]
