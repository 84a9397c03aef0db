"""Scores of sessions and of groups of people, and the test of equal scores."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from known import made, perfect
from scipy.stats import kstest

from fastbrain.data import Trial
from fastbrain.errors import CohortError, InputError
from fastbrain.evaluation import evaluate_text
from fastbrain.evaluation.analyses import by_group
from fastbrain.evaluation.analyses.by_group import Grouping, group_difference_p
from fastbrain.evaluation.grouped import groupings_of, with_groups
from fastbrain.evaluation.report.table import group_table

PEOPLE = "participant_id\tsex\tage\nsub-01\tF\t20\nsub-02\tM\t31\nsub-03\tF\t44\n"


def trial(subject: str, session: str = "", run: str = "01") -> Trial:
    run_id = f"sub-{subject}_run-{run}"
    return Trial(f"{run_id}_trial-001", run_id, subject, session, run, 0.0, 1.0, 0, 1, "", "a ball")


def test_groups_are_scored_as_their_samples_alone():
    samples, conditions = perfect()
    whole = evaluate_text(samples, conditions, bert=False)
    labels = tuple("late" if i >= 8 else "early" for i in range(len(samples)))
    units = tuple(s.run_id for s in samples)
    found = with_groups(whole, [Grouping("session", labels, units, ("",) * len(samples))])
    early = found.score("rougeL_f", group="session early")
    assert (early.n, early.value) == (8, 1.0)
    rows = np.arange(8)
    nll, other = conditions["true brain"].nll, conditions["deranged brain"].nll
    assert nll is not None
    assert other is not None
    own, others = nll[rows], other[:, rows]
    wins = ((own < others) + 0.5 * (own == others)).mean()
    assert found.score("pairwise", group="session early").value == pytest.approx(wins)
    # all scores are one family
    assert found.score("bleu1").adjusted != whole.score("bleu1").adjusted
    table = group_table(found.scores, found.facts)
    assert "session late" in table
    assert "## By session" in table
    assert group_table(whole.scores, whole.facts) == ""


@pytest.mark.parametrize("within", [("", "", "", "", ""), ("a", "a", "a", "b", "b")])
def test_difference_p_is_that_of_all_permutations(within):
    means = np.array([0.9, 0.8, 0.4, 0.5, 0.3])
    labels = ("x", "x", "y", "x", "y")
    values = np.repeat(means, 3) + np.tile([-0.1, 0.0, 0.1], 5)
    each = [tuple(np.repeat(v, 3)) for v in (labels, list("ABCDE"), within)]
    p, units = group_difference_p(values, Grouping("sex", *each))

    def between(given):
        parts = [means[[g == label for g in given]] for label in "xy"]
        return sum(len(part) * (part.mean() - means.mean()) ** 2 for part in parts)

    allowed = [
        order
        for order in permutations(range(5))
        if all(within[i] == within[j] for i, j in enumerate(order))
    ]
    null = [between([labels[j] for j in order]) for order in allowed]
    exact = np.mean(np.array(null) >= between(labels) - 1e-12)
    assert units == 5
    assert p == pytest.approx(exact, abs=0.02)  # 10,000 draws: standard error at most 0.005


def test_difference_p_is_uniform_without_a_difference(monkeypatch):
    # p is uniform for any number of permutations
    monkeypatch.setattr(by_group, "_PERMUTATIONS", 99)
    rng = np.random.default_rng(0)
    labels = tuple("ab"[i % 2] for i in range(12))
    grouping = Grouping("sex", labels, tuple(map(str, range(12))), ("",) * 12)
    found = [group_difference_p(rng.normal(size=12), grouping, seed=s)[0] for s in range(300)]
    # p moves in steps of 1 / 100: spread each step evenly before comparing
    assert kstest(found - rng.uniform(0, 0.01, 300), "uniform").pvalue > 0.01


def test_labels_that_cannot_be_exchanged_have_no_p():
    grouping = Grouping("sex", ("a", "b"), ("1", "2"), ("x", "y"))
    assert group_difference_p(np.array([0.1, 0.9]), grouping) == (None, 2)


def test_sessions_are_grouped_only_if_there_are_two():
    one = [trial("01", "01"), trial("02", "01")]
    assert groupings_of(one) == []
    (found,) = groupings_of([*one, trial("01", "02", "02")])
    assert (found.name, found.labels) == ("session", ("01", "01", "02"))
    assert found.within == ("01", "02", "01")


def test_people_are_grouped_by_columns(tmp_path):
    path = tmp_path / "participants.tsv"
    ages = "".join(f"sub-{i:02d}\tn/a\t{20 + i}\n" for i in range(4, 8))
    path.write_text(PEOPLE + ages)
    trials = [trial(f"{i:02d}") for i in range(1, 8)]
    sex, age = groupings_of(trials, path, ["sex", "age"])
    assert sex.labels == ("F", "M", "F", "", "", "", "")
    assert age.labels[:3] == ("up to 26", "above 26", "above 26")
    assert age.units == tuple(t.subject for t in trials)


@pytest.mark.parametrize(
    ("by", "people", "words"),
    [
        (["hand"], ["01"], "must have the columns hand, got participant_id, sex, age"),
        (["sex"], ["01", "04"], "row for every scored person, got none for sub-04"),
        (["sex"], ["01", "03"], "must divide the scored people, got \\['F'\\]"),
    ],
)
def test_people_that_cannot_be_grouped_are_refused(tmp_path, by, people, words):
    path = tmp_path / "participants.tsv"
    path.write_text(PEOPLE)
    with pytest.raises(CohortError, match=words):
        groupings_of([trial(p) for p in people], path, by)


def test_options_are_given_together(tmp_path):
    with pytest.raises(InputError, match="participants and by must be given together"):
        groupings_of([trial("01")], None, ["sex"])
    path = tmp_path / "participants.tsv"
    path.write_text("participant_id\tsession\nsub-01\ta\nsub-02\tb\n")
    with pytest.raises(InputError, match="other than the session"):
        groupings_of([trial("01", "01"), trial("02", "02")], path, ["session"])


def test_a_unit_has_one_label():
    with pytest.raises(InputError, match="one label of sex, got two"):
        group_difference_p(np.zeros(2), Grouping("sex", ("a", "b"), ("1", "1"), ("", "")))
    with pytest.raises(InputError, match="must not be 'subject'"):
        Grouping("subject", ("a",), ("a",), ("",))


def test_groups_of_another_number_of_samples_are_refused():
    result = evaluate_text(*made(["a ball"] * 16, np.zeros((16, 16))), bert=False)
    with pytest.raises(InputError, match="must be of the 16 samples, got 1"):
        with_groups(replace(result), [Grouping("sex", ("a",), ("1",), ("",))])
