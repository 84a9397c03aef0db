"""Scores of a preference test: known answers, random answers, and files that do not belong."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binomtest, kstest

from fastbrain.cli import main
from fastbrain.errors import InputError
from fastbrain.evaluation import score_human_study, write_human_study
from fastbrain.evaluation.human_study.answers import Answers
from fastbrain.evaluation.human_study.page import result_page
from fastbrain.evaluation.human_study.results import _agreement, _share


def right(true, pair):
    return str(true)


def wrong(true, pair):
    return str(3 - true)


@pytest.fixture
def study(evaluated, tmp_path):
    write_human_study(evaluated, tmp_path / "study", raters=3)
    return tmp_path / "study"


def test_known_answers(study, reply):
    files = [
        reply(study, "form-01", right),
        reply(study, "form-02", lambda true, pair: "0" if pair % 2 else str(true)),
        reply(study, "form-03", lambda true, pair: None if pair < 4 else str(3 - true)),
    ]
    found = score_human_study(study, files)
    assert found.counts == {
        "pairs": 22, "raters": 3, "answers": 62, "true": 33, "other": 18, "no_preference": 11,
        "unanswered": 4, "pairs_without_answer": 0,
    }  # fmt: skip
    share, exact = found.share, binomtest(33, 51)
    assert share["value"] == 33 / 51
    assert share["if_independent"]["p"] == pytest.approx(exact.pvalue)
    wide, narrow = share["interval"], share["if_independent"]["interval"]
    assert narrow == pytest.approx(list(exact.proportion_ci(method="exact")))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert share["with_no_preference_as_half"]["value"] == (33 + 5.5) / 62
    assert [row["share"] for row in found.raters] == [1, 1, 0]
    assert found.raters[0]["p"] == binomtest(22, 22).pvalue
    assert found.raters[1]["adjusted"] == binomtest(11, 11).pvalue
    # 18 pairs with three answers, of which two are equal where the second prefers a text
    assert found.agreement["pairs"] == 22
    assert found.agreement["kappa"] is None
    assert found.agreement["equal"] == pytest.approx((2 + 9) / (4 + 3 * 18))
    page = result_page(found)
    assert "0.647" in page
    assert "4 pairs on the answered forms were not answered" in page


def test_a_rater_who_is_always_right(study, reply):
    found = score_human_study(study, [reply(study, "form-02", right)])
    assert found.share["value"] == 1
    assert found.share["interval"] == [1, 1]
    assert found.share["p"] < 1e-3
    assert found.agreement == {"alpha": None, "kappa": None, "equal": None, "pairs": 0}
    assert found.facts["forms_without_answers"] == ["form-01", "form-03"]
    assert json.loads(json.dumps(found.to_json())) == found.to_json()
    worst = score_human_study(study, [reply(study, "form-02", wrong)])
    assert worst.share["value"] == 0
    assert worst.share["p"] == found.share["p"]


def test_raters_who_agree_about_texts_have_alpha_one():
    rng = np.random.default_rng(0)
    one = rng.integers(3, size=20).astype(float)
    assert _agreement(np.stack([one, one, one])) == {
        "alpha": 1, "kappa": 1, "equal": 1, "pairs": 20,
    }  # fmt: skip


def test_random_answers_have_uniform_p_and_intervals_over_one_half():
    """Raters who share an opinion of each text: their answers to one pair are not independent."""
    rng, p, simple, covered = np.random.default_rng(2), [], [], []
    blocks = {"pairs": [{"block": str(i // 10)} for i in range(40)]}
    for seed in range(150):
        better = rng.integers(2, size=40)  # which text is better, whatever the brain
        agrees = rng.random((5, 40)) < 0.8
        ratings = np.where(agrees, better, 1 - better).astype(float)
        ratings[rng.random((5, 40)) < 0.1] = 2.0
        ratings[rng.random((5, 40)) < 0.1] = np.nan
        found = Answers({}, blocks, tuple("abcde"), ratings, ratings > -1, ratings > -1)
        share = _share(found, (ratings == 0) | (ratings == 1), seed)
        p.append(share["p"])
        simple.append(share["if_independent"]["p"])
        covered.append(share["interval"][0] <= 0.5 <= share["interval"][1])
    assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) <= 0.1  # 0.05 and three standard errors
    assert np.mean(np.array(simple) <= 0.05) > 0.1
    assert np.mean(covered) >= 0.9


def test_one_form_answered_twice_is_refused(study, reply):
    again = [reply(study, "form-01", right), reply(study, "form-01", right, "other.json")]
    with pytest.raises(InputError, match="answered by one rater"):
        score_human_study(study, again)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"digest": "0" * 64}, "a form of another one"),
        ({"form": "form-09"}, "got 'form-09'"),
        ({"answers": {"23": "1"}}, "pairs 1 to 22"),
        ({"answers": {"1": "3"}}, "another 'answers'"),
        ({"answers": {"1": 1}}, "another 'answers'"),
        ({"answers": []}, "another 'answers'"),
        ({"answers": {}}, "at least once"),
        ({"answers": {"1": "0"}}, "at least once"),
        ({"format": "2"}, "another 'format'"),
    ],
)
def test_answers_that_do_not_belong_are_refused(study, reply, changes, match):
    with pytest.raises(InputError, match=match):
        score_human_study(study, [reply(study, "form-01", right, changes=changes)])


def test_a_study_that_was_edited_is_refused(study, reply, tmp_path):
    answers = [reply(study, "form-01", right)]
    page = study / "form-02.html"
    kept = page.read_bytes()
    page.write_bytes(kept.replace(b"truth", b"other", 1))
    with pytest.raises(InputError, match=r"form-02\.html must be as it was written"):
        score_human_study(study, answers)
    page.unlink()  # forms may be given away
    assert score_human_study(study, answers).share["value"] == 1
    key = study / "key" / "key.json"
    moved = key.rename(tmp_path / "key.json")
    with pytest.raises(InputError, match="--key"):
        score_human_study(study, answers)
    assert score_human_study(study, answers, key=moved).share["value"] == 1
    moved.write_text(moved.read_text().replace('"true": 1', '"true": 2', 1))
    with pytest.raises(InputError, match="edited"):
        score_human_study(study, answers, key=moved)


@pytest.mark.parametrize(("text", "match"), [("[]", "got list"), ("{", "readable JSON")])
def test_a_file_that_no_form_saved_is_refused(study, tmp_path, text, match):
    (tmp_path / "text.json").write_text(text)
    with pytest.raises(InputError, match=match):
        score_human_study(study, [tmp_path / "text.json"])


def test_the_commands(evaluated, reply, tmp_path, capsys):
    out, run = tmp_path / "forms", str(evaluated)
    assert main(["evaluate", run, "--human-study", str(out), "--raters", "2"]) == 0
    assert "22 pairs on 2 forms; left out: 2 equal texts" in capsys.readouterr().out
    assert main(["evaluate", run, "--human-study", str(out)]) == 1
    assert "must not exist" in capsys.readouterr().err
    assert main(["evaluate", run, "--human-study", f"{out}2", "--method", "beam"]) == 1
    assert "--method must be left out" in capsys.readouterr().err
    assert main(["evaluate", run, "--pairs-per-form", "2"]) == 1
    assert "--pairs-per-form must come with --human-study" in capsys.readouterr().err
    files = [str(reply(out, form, right)) for form in ("form-01", "form-02")]
    assert main(["human-study", str(out), *files]) == 0
    assert capsys.readouterr().out == (out / "results.md").read_text()
    assert json.loads((out / "results.json").read_text())["share"]["value"] == 1
    assert main(["human-study", str(out)]) == 1
    assert "one file or more" in capsys.readouterr().err
