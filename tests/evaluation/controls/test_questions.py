"""Questions that determine the style of their answers: noise must not score above chance."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastbrain.errors import InputError
from fastbrain.evaluation import (
    retrieval,
    run_controls,
    text_scores,
)
from fastbrain.evaluation.analyses.against_controls import texts_against_deranged
from fastbrain.evaluation.analyses.partners import partners_across_runs
from fastbrain.evaluation.analyses.semantic_retrieval import retrieval_scores_of
from fastbrain.evaluation.metrics.registry import TEXT_METRICS
from fastbrain.stats import derangements

QUESTIONS = {
    "which colour ?": ["the colour is red", "the colour is blue", "the colour is green"],
    "where is it ?": ["it stands outside", "it stands indoors", "it stands nearby"],
}
METRICS = [m for m in TEXT_METRICS if m.name in ("bleu1", "rougeL_f")]


class Styled:
    """A decoder that knows which answers a question has; `skill` is what it takes from the brain.

    A brain is (answer number, noise). Text j answers question j.
    """

    def __init__(self, prompts: list[str], skill: float) -> None:
        self.prompts, self.skill = prompts, skill

    def read(self, brains: Any) -> np.ndarray:
        return np.asarray(brains, dtype=float)

    def read_nothing(self) -> np.ndarray:
        return np.zeros((len(self.prompts), 4))

    def _scores(self, brain: np.ndarray, prompt: str) -> np.ndarray:
        return self.skill * np.eye(3)[int(brain[0])] + brain[1:4]

    def write(self, prefixes: np.ndarray) -> list[str]:
        assert len(prefixes) == len(self.prompts)
        return [
            QUESTIONS[p][int(self._scores(b, p).argmax())]
            for b, p in zip(prefixes, self.prompts, strict=True)
        ]

    def score(self, prefixes: np.ndarray, texts: Any, pairs: np.ndarray) -> np.ndarray:
        found = []
        for brain, text in pairs:
            known = QUESTIONS[self.prompts[text]]
            scores = self._scores(prefixes[brain], self.prompts[text])
            found.append(np.log(np.exp(scores).sum()) - scores[known.index(texts[text])])
        return np.array(found)

    def features(self, prefixes: np.ndarray) -> np.ndarray:
        return prefixes

    def untuned(self) -> AbstractContextManager[None] | None:
        return None


def experiment(seed: int, *, skill: float, runs: int = 6, length: int = 12):
    """Trials of several runs, each with a question, an answer in its style, and a noisy brain."""
    rng = np.random.default_rng(seed)
    asked = [list(QUESTIONS)[i] for i in rng.permutation(np.arange(runs * length) % 2)]
    answer = rng.integers(3, size=runs * length)
    brains = np.column_stack([answer, rng.normal(size=(runs * length, 3))])
    trials = [
        SimpleNamespace(run_id=f"run-{i // length}", text=QUESTIONS[q][a], instruction=q)
        for i, (q, a) in enumerate(zip(asked, answer, strict=True))
    ]
    return trials, asked, brains, Styled(asked, skill)


def conditions(seed: int, *, skill: float = 0.0, partners: Any = None):
    trials, asked, brains, decoder = experiment(seed, skill=skill)
    runs = [t.run_id for t in trials]
    if partners is None:
        partners = partners_across_runs(trials, ["run_id"], same=asked, count=100, seed=seed)
    else:
        partners = partners(runs)
    train, _, train_brains, _ = experiment(seed + 1000, skill=skill)
    return run_controls(
        decoder,
        {"true brain": brains},
        [t.text for t in trials],
        partners,
        blocks=runs,
        prompts=asked,
        train_texts=[t.text for t in train],
        train_prompts=[t.instruction for t in train],
        train_brains=train_brains,
    )


def across(runs):
    """Partners of any question."""
    return derangements(runs, count=100)


def evaluated(found):
    scores = texts_against_deranged(found["true brain"].texts, found, metrics=METRICS)
    return {"pairwise": found.pairwise(), **{n: r.score for n, r in scores.items()}}


def test_texts_of_other_questions_would_make_noise_significant():
    """The trap: re-indexed texts of partners with other questions are beaten by style alone."""
    found = conditions(0)
    wrong = text_scores(
        found["true brain"].texts, found.truth, across(found.blocks), metrics=METRICS
    )
    assert wrong["bleu1"].score.p < 0.02
    assert wrong["bleu1"].score.value > wrong["bleu1"].score.chance + 0.15


@pytest.mark.parametrize("partners", [None, across], ids=["same question", "any question"])
def test_noise_does_not_beat_chance(partners):
    wins: dict[str, list[float]] = {}
    gaps: dict[str, list[float]] = {}
    for seed in range(20):
        result = evaluated(conditions(seed, partners=partners))
        for name in ("pairwise", "bleu1", "rougeL_f"):
            score = result[name]
            if score.p is not None:  # BLEU of a corpus has no values per sample to flip
                wins.setdefault(name, []).append(score.p)
            gaps.setdefault(name, []).append(score.value - score.chance)
    for name, differences in gaps.items():
        assert abs(np.mean(differences)) < 0.03, name
    assert {"pairwise", "rougeL_f"} <= set(wins)
    for name, ps in wins.items():
        # 4 or more of 20 below 0.05 has a probability of 0.016
        assert sum(p <= 0.05 for p in ps) <= 3, name


@pytest.mark.parametrize("partners", [None, across], ids=["same question", "any question"])
def test_a_brain_that_tells_the_answer_beats_chance(partners):
    result = evaluated(conditions(3, skill=4.0, partners=partners))
    for name in ("pairwise", "bleu1", "rougeL_f"):
        score = result[name]
        # BLEU of a corpus has no values per sample, whose signs could be flipped
        assert (score.p is None) == (name == "bleu1" and partners is across)
        assert score.p is None or score.p < 0.04, name
        assert score.value > score.chance + 0.1, name


def test_partners_share_the_question_where_they_can():
    trials, asked, _, _ = experiment(0, skill=0.0)
    partners = partners_across_runs(trials, ["run_id"], same=asked, count=100)
    labels, runs = np.array(asked), np.array([t.run_id for t in trials])
    assert (labels[partners] == labels).all()
    assert not (runs[partners] == runs).any()
    assert (np.sort(partners, axis=1) == np.arange(len(trials))).all()
    # every question asked once
    alone = [str(i) for i in range(len(trials))]
    partners = partners_across_runs(trials, ["run_id"], same=alone, count=100)
    np.testing.assert_array_equal(partners, derangements(runs, count=100))
    # two trials a question, in two runs: one derangement within questions, so p could be nothing
    few = [SimpleNamespace(run_id=str(i // 8)) for i in range(16)]
    partners = partners_across_runs(few, ["run_id"], same=[str(i % 8) for i in range(16)], count=99)
    assert len(np.unique(partners, axis=0)) > 1


def test_baselines_without_a_brain_are_asked_the_same_question():
    found = conditions(1)
    for name in ("prompt alone", "majority text", "nearest training text"):
        for question, text in zip(found.prompts, found[name].texts, strict=True):
            assert text in QUESTIONS[question], name


def test_rewritten_texts_answer_the_question_of_their_sample():
    found = conditions(2, partners=across)
    for question, text in zip(found.prompts, found.deranged_texts(0), strict=True):
        assert text in QUESTIONS[question]
    assert found.questions == ()
    with pytest.raises(InputError, match="row must be 0"):
        found.deranged_texts(1)
    assert conditions(2).questions == conditions(2).prompts


def similarity_of_style(seed: int) -> tuple[np.ndarray, list[str], list[str], np.ndarray]:
    """Noise, plus 5 where query and candidate have the same question."""
    trials, asked, _, _ = experiment(seed, skill=0.0)
    labels = np.array(asked)
    noise = np.random.default_rng(seed).normal(size=(len(asked), len(asked)))
    runs = [t.run_id for t in trials]
    partners = partners_across_runs(trials, ["run_id"], same=asked, count=100, seed=seed)
    return noise + 5.0 * (labels[:, None] == labels), runs, asked, partners


def test_retrieval_is_among_candidates_of_the_same_question():
    values, ps = [], []
    for seed in range(20):
        similarity, runs, asked, partners = similarity_of_style(seed)
        naive = retrieval(similarity, runs, ks=(1,), count=100)
        assert naive.two_way.p < 0.05
        assert naive.two_way.value > 0.65
        scores, _ = retrieval_scores_of(
            "meaning", similarity, runs, "test", partners=partners, groups=asked
        )
        by_name = {score.metric: score for score in scores}
        values.append(by_name["meaning_two_way"].value)
        ps.append(by_name["meaning_two_way"].p)
        assert by_name["meaning_top1"].chance == pytest.approx(1 / 36, abs=0.01)
        assert "36 to 36 truths of the same question" in by_name["meaning_top1"].signature
    assert np.mean(values) == pytest.approx(0.5, abs=0.02)
    assert sum(p <= 0.05 for p in ps) <= 3


def test_one_group_is_the_retrieval_without_groups():
    similarity, runs, asked, partners = similarity_of_style(0)
    one = retrieval(similarity, runs, partners=partners, groups=["same"] * len(runs))
    plain = retrieval(similarity, runs, partners=partners)
    np.testing.assert_array_equal(one.two_way.per_query, plain.two_way.per_query)
    assert one.top[5].p == plain.top[5].p
    with pytest.raises(InputError, match="groups must"):
        retrieval(similarity, runs, partners=across(runs), groups=asked)
