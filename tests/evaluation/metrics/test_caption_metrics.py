"""CIDEr-D and METEOR equal their reference programs."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.errors import InputError
from fastbrain.evaluation import cider_d, meteor, text_scores
from fastbrain.evaluation.metrics import meteor as meteor_module
from fastbrain.evaluation.metrics.caption_words import caption_words
from fastbrain.evaluation.metrics.registry import TEXT_METRICS

SAID = [
    "a man throws a ball in the park",
    "a dog hides a box",
    "the cat the cat the cat sat",
    "go",
    "a small red boat",
]
KNOWN = [
    ["a man kicks a ball in the park", "two men play with a ball"],
    ["a dog on a street hides a box", "the dog hides"],
    ["a cat sat on the mat"],
    ["go home now"],
    ["a small red boat on a lake", "a red boat", "the boat is small and red"],
]
# from pycocoevalcap 1.2 (Cider of these texts, which its tokenizer does not change)
CIDER = [3.460737093665685, 3.232520035681221, 1.175652079969216, 1.365374885039492,
         3.629146218721759]  # fmt: skip
CIDER_FIRST = [6.072838841794715, 3.731367528577722, 1.1537932864455973, 1.3653748850394916,
               6.042104915947085]  # fmt: skip
EXACT = 1e-12  # sums of a hundred float64


def test_cider_is_that_of_the_coco_captions():
    scores, signature = cider_d(SAID, KNOWN)
    np.testing.assert_allclose(scores, CIDER, rtol=EXACT)
    assert signature.startswith("CIDEr-D|n:4|sigma:6")


def test_cider_of_the_table_has_one_reference_and_a_fixed_rarity():
    metric = next(m for m in TEXT_METRICS if m.name == "cider_d")
    first = [each[0] for each in KNOWN]
    partners = np.array([np.roll(np.arange(5), k) for k in (1, 2)])
    found = text_scores(SAID, first, partners, metrics=[metric], resamples=2)["cider_d"]
    np.testing.assert_allclose(found.per_sample, CIDER_FIRST, rtol=EXACT)
    assert found.score.chance < found.score.value / 4


def test_a_single_sample_has_no_rarity():
    assert cider_d(["a ball"], [["a ball"]])[0].tolist() == [0.0]


def test_meteor_aligns_stems():
    # by hand: all three words match, the second by its stem, in one chunk
    score = 1 * (1 - 0.5 * (1 / 3) ** 3)
    assert meteor(["the dog runs"], [["the dogs run"]])[0][0] == pytest.approx(score)
    # by hand: one of two words in one of three; F = PR/(.9P + .1R), one chunk of one word
    p, r = 1 / 2, 1 / 3
    score = p * r / (0.9 * p + 0.1 * r) * 0.5
    assert meteor(["a box"], [["a red cat"]])[0][0] == pytest.approx(score)
    assert meteor(["a box"], [["cats", "a box"]])[0][0] > 0.9  # the best reference


def test_meteor_says_whether_synonyms_count(monkeypatch):
    class Lemma:
        def name(self):
            return "hound"

    class Net:
        def synsets(self, word):
            return [self] if word == "dog" else []

        def lemmas(self):
            return [Lemma()]

    monkeypatch.setattr(meteor_module, "_wordnet", lambda: None)
    plain, signature = meteor(["a dog"], [["a hound"]])
    assert "|exact+stem|" in signature
    monkeypatch.setattr(meteor_module, "_wordnet", Net)
    with_net, signature = meteor(["a dog"], [["a hound"]])
    assert "|exact+stem+wordnet|" in signature
    assert with_net[0] > plain[0]


@pytest.mark.parametrize("odd", ["", "  ", "...", "🧠 ok", "a " * 3000], ids=str)
def test_odd_captions_are_defined(odd):
    for metric in (cider_d, meteor):
        scores, _ = metric([odd, "a b"], [["a b"], [odd, "c"]])
        assert np.isfinite(scores).all()
        assert (scores >= 0).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A man's dog, isn't it?", "a man 's dog is n't it"),
        ("Nine red. fighter jets..", "nine red fighter jets"),
        ("a sign 'uncle bills'.", "a sign uncle bills"),
        ("A close-up (of) 3.5 mm", "a close-up of 3.5 mm"),
    ],
)
def test_caption_words_are_those_of_the_coco_tokenizer(text, words):
    assert " ".join(caption_words(text)) == words


@pytest.mark.parametrize("metric", [cider_d, meteor])
def test_lists_of_references_are_needed(metric):
    for references in ([["a"], ["b"]], ["a"], [[]]):
        with pytest.raises(InputError, match="references must be"):
            metric(["a"], references)
