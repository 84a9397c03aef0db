"""The read-out: nothing of a left-out text is seen, no direction from nothing, wrong input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.word_counts import SENTENCES, WordCounts, brains_of

from fastbrain.decoding.sentences import fit_evidence, fit_sentence_readout
from fastbrain.errors import InputError
from fastbrain.stats import fit_ridge, fold_means
from fastbrain.stats.unit_rows import unit_rows

ENCODER = WordCounts()
NEW = ENCODER.layers(SENTENCES)


def fitted(brain, texts=SENTENCES, groups=None, **options):
    groups = list(range(len(texts))) if groups is None else groups
    return fit_sentence_readout(brain, texts, groups=groups, encoder=ENCODER, **options)


@pytest.fixture(scope="module")
def readout():
    return fitted(brains_of(SENTENCES, 0.1))


def codes(runs, seed=0, noise=1.0):
    """Brains (runs · 48, 200) with a code of each sentence that has no meaning, and noise."""
    rng = np.random.default_rng(seed)
    code = rng.standard_normal((len(SENTENCES), 200))
    return np.tile(code, (runs, 1)) + noise * rng.standard_normal((runs * len(code), 200))


@pytest.mark.parametrize("spelled", [str, str.upper, "  {} ".format])
def test_texts_that_recur_over_runs_are_left_out_together(spelled):
    texts = [*SENTENCES, *map(spelled, SENTENCES), *SENTENCES]
    runs = np.repeat(["a", "b", "c"], len(SENTENCES)).tolist()
    readout = fitted(codes(3), texts, runs)
    # chance 0.5
    assert readout.two_way < 0.6
    evidence = fit_evidence(
        readout.out_of_fold, readout.vectors, readout.embed(SENTENCES), groups=readout.groups
    )
    assert evidence.weight == 0
    assert len(set(readout.groups)) == 5
    assert readout.groups[: len(SENTENCES)] == readout.groups[len(SENTENCES) :][: len(SENTENCES)]


def test_meaning_is_read_where_texts_recur():
    texts, runs = SENTENCES * 2, np.repeat([0, 1], len(SENTENCES)).tolist()
    readout = fitted(brains_of(texts, 0.1), texts, runs)
    assert readout.two_way > 0.9


def test_runs_that_share_a_text_are_one_group():
    texts = [*SENTENCES[:12], SENTENCES[0], *SENTENCES[12:]]
    readout = fitted(brains_of(texts, 0.1), texts, [i // 12 for i in range(len(texts))])
    assert readout.groups == ("0, 1",) * 24 + ("2",) * 12 + ("3",) * 12 + ("4",)


def test_without_repeats_the_groups_are_those_given(readout):
    brain, groups = brains_of(SENTENCES, 0.1), [i // 4 for i in range(len(SENTENCES))]
    readout = fitted(brain, groups=groups, penalties=[0.1])
    assert readout.groups == tuple(map(str, groups))
    rows = unit_rows(NEW[:, 1:] - NEW[:, 1:].mean(axis=0)).reshape(len(NEW), -1)
    rows = rows / np.sqrt(2)
    ridge = fit_ridge(brain, rows, groups=groups, penalties=[0.1])
    held = unit_rows(ridge.out_of_fold - fold_means(rows, groups=groups))
    np.testing.assert_array_equal(readout.out_of_fold, held)


@pytest.mark.parametrize("penalty", [1e-6, 0.1, 1e8])
def test_the_mean_brain_has_no_direction(penalty):
    brain = brains_of(SENTENCES, 0.1) * 1e3 + 1e5
    readout = fitted(brain, penalties=[penalty])
    mean = readout.ridge.x_mean
    near = np.stack([mean, mean * (1 + 1e-14), mean + 1e-9, *brain])
    found = np.linalg.norm(readout.predict(near), axis=1)
    np.testing.assert_array_equal(found[:3], 0)
    np.testing.assert_allclose(found[3:], 1, rtol=1e-12)
    # a weak response has one
    weak = readout.predict(mean + 1e-3 * (brain - mean))
    np.testing.assert_allclose(weak, readout.predict(brain), atol=1e-4)


@pytest.mark.parametrize("empty", ["", " \n"])
def test_empty_texts_are_refused(empty):
    with pytest.raises(InputError, match="texts must hold words, got an empty one in row 2"):
        fitted(brains_of(SENTENCES, 0.1), [*SENTENCES[:2], empty, *SENTENCES[3:]])


@pytest.mark.parametrize(
    "name", [float("nan"), np.float32("nan"), np.datetime64("NaT"), torch.tensor(1), torch.ones(2)]
)
def test_groups_need_names(name):
    groups = [0, name, *range(2, len(SENTENCES))]
    with pytest.raises(InputError, match=r"fit_sentence_readout: groups must be names, .*sample 1"):
        fitted(brains_of(SENTENCES, 0.1), groups=groups)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"groups": [0] * len(SENTENCES)}, "texts and groups must be two different"),
        ({"texts": SENTENCES[:1] * len(SENTENCES)}, "texts and groups must be two different"),
        ({"penalties": []}, "penalties must be"),
        ({"penalties": [1.0, 0.0]}, "penalties must be"),
        ({"brain": NEW[:, 0] + 1j}, "brain must be an array of real numbers"),
        ({"brain": np.where(np.arange(48) == 3, np.nan, NEW.reshape(48, -1))}, "in row 0"),
    ],
)
def test_wrong_input_of_the_fit_is_refused(changed, message, monkeypatch):
    # before the texts are embedded
    monkeypatch.setattr(WordCounts, "layers", lambda *_: pytest.fail("worked"))
    brain = np.random.default_rng(0).standard_normal((len(SENTENCES), 48))
    with pytest.raises(InputError, match=f"fit_sentence_readout: {message}|{message}"):
        fitted(**{"brain": brain, **changed})


@pytest.mark.parametrize(
    "brain",
    [
        "abc",
        None,
        np.ones(48),
        np.ones((2, 47)),
        np.ones((2, 48)) + 1j,
        torch.ones((2, 48), requires_grad=True),
        [[1.0, 2.0], [3.0]],
        [],
    ],
)
def test_what_is_no_brain_is_refused(readout, brain):
    with pytest.raises(
        InputError, match=r"SentenceReadout.predict: brain must be (an array|\(N, )"
    ):
        readout.predict(brain)


@pytest.mark.parametrize("texts", ["abc", None, [1], 3])
def test_what_is_no_text_is_refused(readout, texts):
    with pytest.raises(InputError, match=r"SentenceReadout.embed: texts must be"):
        readout.embed(texts)


def test_gradients_need_one_prediction(readout):
    with pytest.raises(InputError, match=r"SentenceReadout.gradient: predicted must be \(32,\)"):
        readout.gradient("a dog", np.ones((1, 32)))
