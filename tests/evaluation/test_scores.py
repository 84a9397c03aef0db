"""A score with its chance level, p and interval."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.errors import InputError
from fastbrain.evaluation import Score, score_beside_null
from fastbrain.stats import Interval, bootstrap_interval, permutation_p

HOW = {"mode": "retrieval", "control": "deranged brain"}


def test_a_score_is_plain_json():
    score = Score("bleu1", "free-running", 0.5, 7, 0.2, "deranged brain", 0.01, Interval(0.4, 0.6))
    row = score.to_json()
    assert row["interval"] == {"low": 0.4, "high": 0.6, "level": 0.95}
    assert row["control"] == "deranged brain"


def test_a_chance_level_without_its_origin_is_refused():
    with pytest.raises(InputError, match="control must say"):
        Score("bleu1", "free-running", 0.5, 7, chance=0.2)


def test_an_unknown_mode_is_refused():
    with pytest.raises(InputError, match="mode must be one of"):
        Score("bleu1", "guessed", 0.5, 7)


def test_a_row_has_what_is_known():
    score = Score("bleu1", "free-running", 0.5, 7, 0.2, "deranged brain", 0.01, Interval(0.4, 0.6))
    beside = {"bleu1_chance": 0.2, "bleu1_p": 0.01, "bleu1_ci": [0.4, 0.6]}
    assert score.to_row() == {"bleu1": 0.5, **beside}
    assert Score("bleu1", "free-running", 0.5, 7).to_row() == {"bleu1": 0.5}


def test_a_score_beside_its_null_is_mean_chance_p_and_interval():
    rng = np.random.default_rng(0)
    values, null, blocks = rng.random(11), rng.random(39), [f"b{i // 3}" for i in range(11)]
    score = score_beside_null("top1", values, null, blocks=blocks, seed=3, **HOW)
    assert score.value == values.mean()
    assert score.n == 11
    assert score.chance == null.mean()
    assert score.p == permutation_p(values.mean(), null)
    assert score.interval == bootstrap_interval(values, blocks=blocks, seed=3)
    assert score_beside_null("top1", values, null, blocks=["b"] * 11, **HOW).interval is None


def test_equal_derangements_count_once_in_p():
    partners = np.array([[1, 0, 3, 2], [1, 0, 3, 2], [2, 3, 0, 1]])
    null = [0.5, 0.5, 0.25]
    score = score_beside_null("top1", np.ones(4), null, partners=partners, **HOW)
    assert score.p == pytest.approx(1 / 3)
    assert score.chance == pytest.approx(1.25 / 3)


def test_a_null_without_draws_or_of_other_partners_is_refused():
    for null in ([], [[0.5]], [0.5, 0.5]):
        with pytest.raises(InputError, match="score_beside_null: null must be"):
            score_beside_null("top1", [1.0], null, partners=np.zeros((1, 1), dtype=np.int64), **HOW)
    with pytest.raises(InputError, match="finite"):
        score_beside_null("top1", [1.0], [np.nan], **HOW)
    with pytest.raises(InputError, match="values must be"):
        score_beside_null("top1", [], [0.5], **HOW)
