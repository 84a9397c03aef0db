"""Segments of a story are found by models that have seen neither of the two compared."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from fastbrain.errors import CohortError

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.fixture
def retrieval(monkeypatch):
    monkeypatch.syspath_prepend(str(STUDIES))
    return runpy.run_path(str(STUDIES / "alice_retrieval.py"))


@pytest.fixture
def words(monkeypatch):
    monkeypatch.syspath_prepend(str(STUDIES))
    return runpy.run_path(str(STUDIES / "alice_words.py"))


def listeners(count, *, signal, seed=0, volumes=362, regions=3):
    rng = np.random.default_rng(seed)
    shared = signal * rng.standard_normal((volumes, regions))
    return {f"l{i}": shared + rng.standard_normal((volumes, regions)) for i in range(count)}


def test_no_response_and_no_word_of_a_compared_segment_is_in_training(retrieval):
    train, tested, which = retrieval["comparisons"](36)
    first, last = retrieval["RESPONSE"].start, retrieval["RESPONSE"].stop
    assert which.shape == (36, 36)
    for i, j in np.ndindex(which.shape):
        pair = which[i, j]
        assert tested[pair, [i, j]].all()
        for segment in (i, j):
            for learned in np.flatnonzero(train[pair]):
                # volumes of the two responses, and words up to 20 s + 10 s before a volume
                a, b = sorted([segment * 10, learned * 10])
                assert a + last <= b + first
                assert a + last <= b - 15 + last


def test_short_stories_are_refused(retrieval):
    with pytest.raises(CohortError, match="12 segments are too few"):
        retrieval["comparisons"](12)


def test_ranks_are_those_of_one_similarity_where_all_models_agree(retrieval):
    from fastbrain.evaluation import retrieval_scores

    rng = np.random.default_rng(0)
    similar = rng.standard_normal((20, 20))
    similar[3, 4] = similar[3, 3]
    found = retrieval["ranks"](similar[None], np.zeros((20, 20), dtype=int))
    np.testing.assert_allclose(found[0], retrieval_scores(similar)[0])
    # a tie is half a loss
    np.testing.assert_array_equal(found[1:, :3], retrieval_scores(similar)[1:, :3])


def test_whitening_finds_what_shared_noise_of_regions_hides(retrieval):
    rng = np.random.default_rng(1)
    people = listeners(6, signal=0.7, seed=1)
    for values in people.values():
        values += 3 * rng.standard_normal((len(values), 1)) * [1, 1, 1]
    people = {name: retrieval["segments"](values) for name, values in people.items()}
    metrics = retrieval["report"](people, people, 19)
    assert metrics["two_way"] > metrics["two_way_unfitted"] + 0.1
    assert metrics["p"] == 0.05
    assert metrics["two_way_chance"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("seed", [0, 1])
def test_listeners_without_a_common_signal_are_at_chance(retrieval, seed):
    people = listeners(6, signal=0.0, seed=seed)
    people = {name: retrieval["segments"](values) for name, values in people.items()}
    metrics = retrieval["report"](people, people, 19)
    # standard error of 36 segments of 6 listeners, four times: 4 * 0.29 / sqrt(216)
    for name in ("two_way", "two_way_halves"):
        assert metrics[name] == pytest.approx(0.5, abs=0.1)
    assert metrics["p"] > 0.05


def test_responses_that_follow_words_are_found_by_them(words):
    rng = np.random.default_rng(2)
    values = rng.standard_normal((362, 2))
    response = np.pad(values, ((3, 0), (0, 0)))[:362] @ rng.standard_normal((2, 3))
    noise = listeners(5, signal=0.0, seed=2)
    brains = {name: response + 2 * v for name, v in noise.items()}
    model = words["comparisons"](36)
    design = words["designs"](values, model[0])
    assert words["found"](brains, ["l0", "l2"], design, model)[0].mean() > 0.8
    assert words["found"](noise, ["l0", "l2"], design, model)[0].mean() == pytest.approx(
        0.5, abs=0.15
    )


def test_designs_have_not_seen_what_is_left_out(words):
    rng = np.random.default_rng(3)
    values = rng.standard_normal((362, 30))
    train = words["comparisons"](36)[0][:1]
    ((may, x),) = words["designs"](values, train)
    values[~may] += 5
    ((_, changed),) = words["designs"](values, train)
    # rows all of whose words were heard in training volumes
    within = np.array([v > 5 and may[v - 5 : v].all() for v in range(362)])
    np.testing.assert_allclose(x[within], changed[within])


@pytest.mark.slow
def test_words_of_the_story_find_its_listeners(words, monkeypatch, tmp_path, real_data):
    folder = real_data / "alice_fmri"
    if not folder.is_dir():
        pytest.skip("no alice_fmri among the real data")
    scope = words["main"].__globals__
    # word rates alone: the embedding needs a package and minutes
    monkeypatch.setitem(scope, "sentence_embeddings", lambda texts, _: np.ones((len(texts), 1, 9)))
    monkeypatch.setitem(scope, "default_bert", lambda: ("none", 0))
    full = scope["features"]
    monkeypatch.setitem(scope, "features", lambda *a: {"words": full(*a)["words"]})
    out = tmp_path / "metrics.json"
    monkeypatch.setattr(
        sys, "argv", ["x", "--data", str(folder), "--shifts", "1", "--out", str(out)]
    )
    scope["main"]()
    metrics = json.loads(out.read_text())
    # measured: 0.66 and 0.78
    assert metrics["two_way_words"] > 0.64
    assert metrics["two_way_words_group"] > 0.74
    assert metrics["two_way_words_p"] == 0.5
