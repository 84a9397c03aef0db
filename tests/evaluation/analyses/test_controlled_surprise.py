"""The effect of surprise, where length or frequency explains it and where they do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest, rankdata

from fastbrain.evaluation import Conditions, Control
from fastbrain.evaluation.analyses.controlled_surprise import surprise_effect
from fastbrain.stats import derangements

TRAIN = ["a ball rolls", "a ball rolls away", "the ball"]


def conditions(surprise, gain, texts, *, seed=0, noise=1.0):
    rng = np.random.default_rng([seed, 1])
    n = len(texts)
    partners = derangements([i // 5 for i in range(n)], count=200, seed=seed)
    base = rng.normal(size=n)
    controls = (
        Control("true brain", tuple(texts), base - gain + noise * rng.normal(size=n)),
        Control("deranged brain", None, base + noise * rng.normal(size=(200, n))),
        Control("untuned model", None, np.asarray(surprise, dtype=float)),
    )
    blocks = tuple(str(i // 5) for i in range(n))
    return Conditions(tuple(texts), partners, blocks, {c.name: c for c in controls})


def texts_of(lengths) -> list[str]:
    return [" ".join(["ball"] * int(k)) for k in lengths]


def test_value_is_the_partial_correlation_of_ranks():
    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 9, 35)
    found = conditions(rng.normal(size=35), rng.normal(size=35), texts_of(lengths))
    score = surprise_effect(found, TRAIN)
    everything = np.vstack([found["true brain"].nll[None], found["deranged brain"].nll])
    gain = rankdata(everything.mean(axis=0) - found["true brain"].nll)
    level, words = rankdata(found["untuned model"].nll), rankdata(lengths)
    r = np.corrcoef([gain, level, words])  # all words are equally frequent
    partial = (r[0, 1] - r[0, 2] * r[1, 2]) / np.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2))
    assert score.value == pytest.approx(partial)
    assert (score.mode, score.control, score.n) == ("teacher-forced", "deranged brain", 35)


def test_help_with_long_texts_is_not_help_with_surprising_ones():
    rng = np.random.default_rng(4)
    lengths = rng.permutation(np.arange(80) % 16 + 1)
    surprise = lengths + rng.normal(size=80)
    by_length = surprise_effect(conditions(surprise, lengths / 2.0, texts_of(lengths)), TRAIN)
    assert by_length.p > 0.05
    by_surprise = surprise_effect(
        conditions(surprise, 2.0 * (surprise - lengths), texts_of(lengths)), TRAIN
    )
    assert by_surprise.p <= 0.01
    assert by_surprise.value > 0.4


def test_rare_words_are_controlled_for():
    texts = ["a ball rolls away", "the lamp", "a lamp rolls", "the ball"] * 15
    rare = np.array([0.0, 3.0, 2.0, 1.0] * 15)
    rng = np.random.default_rng(5)
    score = surprise_effect(conditions(rare + 0.1 * rng.normal(size=60), rare, texts), TRAIN)
    assert score.p > 0.05


def test_p_is_uniform_without_an_effect():
    rng = np.random.default_rng(6)
    lengths = rng.integers(1, 9, 30)
    found = [
        surprise_effect(conditions(lengths + rng.normal(size=30), 1.0, texts_of(lengths), seed=s),
                        TRAIN).p
        for s in range(60)
    ]  # fmt: skip
    assert kstest(found, "uniform").pvalue > 0.01


def test_what_cannot_be_computed_is_left_out():
    texts = texts_of(np.arange(1, 11))
    assert surprise_effect(conditions(np.arange(10.0), 1.0, texts), TRAIN) is None  # length alone
    assert surprise_effect(conditions(np.ones(10), 1.0, texts), TRAIN) is None
    whole = conditions(np.random.default_rng(0).normal(size=10), 1.0, texts)
    known = {name: control for name, control in whole.controls.items() if name != "untuned model"}
    assert surprise_effect(replace(whole, controls=known), TRAIN) is None


def test_a_decoder_that_never_gains_has_no_effect():
    found = conditions(np.random.default_rng(1).normal(size=20), 0.0, texts_of([1, 2] * 10))
    same = np.linspace(0.1, 3.3, 20)
    flat = {
        **found.controls,
        "true brain": Control("true brain", None, same),
        "deranged brain": Control("deranged brain", None, np.tile(same, (200, 1))),
    }
    score = surprise_effect(replace(found, controls=flat), TRAIN)
    assert (score.value, score.p) == (0.0, 1.0)
