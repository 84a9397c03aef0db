"""The nearest-text unigram model runs under the controls and prefers what is near."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.errors import InputError
from fastbrain.evaluation import NearestTextUnigram, nearest_text_unigram, run_controls
from fastbrain.stats import derangements

TEXTS = [
    "dog barks loud",
    "cat sleeps well",
    "ship sails far",
    "dog runs",
    "cat eats",
    "ship sinks",
]
TOPIC = np.eye(3)[[0, 1, 2, 0, 1, 2]]


def test_controls_and_preference():
    decoder = NearestTextUnigram(TOPIC, TEXTS)
    truth = ["dog barks", "cat sleeps", "ship sails", "dog zebra"]
    brains = np.eye(3)[[0, 1, 2, 0]] + 0.1
    found = run_controls(
        decoder,
        {"true brain": brains, "zero brain": TOPIC.mean(axis=0)[None]},
        truth,
        derangements(["a", "b", "c", "d"], count=20),
        blocks=["a", "b", "c", "d"],
        train_texts=TEXTS,
        train_brains=TOPIC,
    )
    assert found.pairwise("prompt alone").value == 1.0
    assert found.pairwise().value > 0.8
    # the training mean is as near to all texts as nothing is
    np.testing.assert_allclose(found["zero brain"].nll, found["prompt alone"].nll)
    assert found["true brain"].texts[0].split()[0] in ("dog", "barks", "loud", "runs")


def test_likelihood_by_hand():
    decoder = NearestTextUnigram(TOPIC, TEXTS)
    read = decoder.read(np.eye(3)[:1])
    words = sorted({w for t in TEXTS for w in t.split()})
    counts = np.array([[t.split().count(w) for w in words] + [0] for t in TEXTS])
    centred = TOPIC - TOPIC.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    log_p = nearest_text_unigram((unit[0] @ unit.T)[None], counts)[0]
    expected = -(log_p[words.index("cat")] + log_p[-1]) / 2
    found = decoder.score(read, ["cat zebra"], np.array([[0, 0]]))
    np.testing.assert_allclose(found, [expected])


def test_refusals():
    with pytest.raises(InputError, match="with M texts"):
        NearestTextUnigram(TOPIC, TEXTS[1:])
    with pytest.raises(InputError, match="must hold words"):
        NearestTextUnigram(TOPIC, TEXTS).score(TOPIC, [""], np.array([[0, 0]]))


def test_what_is_not_finite_is_refused():
    vectors, texts = np.eye(2), ["a b", "b c"]
    decoder = NearestTextUnigram(vectors, texts)
    with pytest.raises(InputError, match="brains must be finite"):
        decoder.read(np.full((2, 2), np.nan))
    with pytest.raises(InputError, match="train_vectors must be finite"):
        NearestTextUnigram(vectors * np.nan, texts)
