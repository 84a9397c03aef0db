"""The report shows what was read and written in trial order, and warns of an ignored brain."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from known import made

from fastbrain.evaluation import ReportParts, evaluate_text, write_report
from fastbrain.evaluation.report import figures as pictures
from fastbrain.evaluation.report import written
from fastbrain.evaluation.report.print_style import saved
from fastbrain.evaluation.report.table import metrics_table
from fastbrain.evaluation.scores import Score

pytest.importorskip("matplotlib")
NOUNS = "cat dog boat kite train pizza clock horse".split()
TRUTH = [f"the {a} and the {b} number{i}" for i, (a, b) in enumerate(zip(NOUNS * 8, NOUNS[::-1] * 8,
         strict=True))]  # fmt: skip
COPY = [f"a {a} and a {b}" for a, b in zip(NOUNS * 8, NOUNS[::-1] * 8, strict=True)]


def _evaluated(decoded, **options):
    n = len(decoded)
    return evaluate_text(*made(decoded, 1.0 - np.eye(n), truth=TRUTH[:n]), bert=False, **options)


@pytest.fixture(scope="module")
def evaluation():
    return _evaluated(COPY, train_texts=[f"{t} x" for t in TRUTH[:20]])


def _html(evaluation, tmp_path):
    path = write_report(tmp_path / "report.html", evaluation, ReportParts())
    return path.read_text()


def test_pairs_are_all_samples_in_order(evaluation, tmp_path):
    rows = written.written_pairs(evaluation)
    assert [row["truth"] for row in rows] == TRUTH
    assert [row["permuted"] for row in rows] == list(evaluation.permuted)
    html = _html(evaluation, tmp_path)
    places = [html.index(f"number{i}</td>") for i in range(len(TRUTH))]
    assert places == sorted(places)
    assert "All windows" in html
    assert "The brain is ignored" not in html


def test_long_reports_keep_the_first_pairs(evaluation, monkeypatch, tmp_path):
    monkeypatch.setattr(written, "MOST_PAIRS", 7)
    assert len(written.written_pairs(evaluation)) == 7
    assert re.search(r"The first 7 of\s+64 windows", _html(evaluation, tmp_path))


def test_identification_is_in_scores_facts_and_report(evaluation, tmp_path):
    score = evaluation.score("words_top1_of_50")
    assert score.value > score.chance
    assert score.adjusted is not None
    facts = evaluation.to_json()["identification"]["words"]
    assert facts["curve"][0]["n"] == 64
    assert 0 < facts["ceiling"]["words_two_way"] <= 1
    html = _html(evaluation, tmp_path)
    assert "first of 50" in html
    assert ">best training text</th>" in html
    assert 'alt="identification by' in html
    assert "words_top1" in evaluation.per_sample
    assert "words_top1_of_50" not in evaluation.per_sample


def test_fluency_is_beside_that_of_the_true_texts(evaluation):
    facts = evaluation.facts["fluency"]
    assert facts["truth"]["copied"] > facts["decoded"]["copied"]
    assert facts["decoded"]["nll"] is None
    names = [row["name"] for row in written.fluency_rows(evaluation.facts)]
    assert names[:2] == ["decoded texts", "true texts"]


@pytest.mark.parametrize("nll", [None, 2.5])
def test_a_column_without_a_value_is_left_out(evaluation, tmp_path, nll):
    row = {"nll": nll, "distinct1": 0.5, "distinct2": 0.5, "copied": None}
    found = replace(evaluation, facts={**evaluation.facts, "fluency": {"decoded": row}})
    assert ("nats a word" in _html(found, tmp_path)) == (nll is not None)


def test_a_decoder_that_ignores_the_brain_is_named_at_the_top(tmp_path):
    ignoring = _evaluated(["a thing", "a man"] * 16)
    assert ignoring.facts["brain_use"]["ignored"]
    html = _html(ignoring, tmp_path)
    assert html.index("The brain is ignored") < html.index("Scores beside")
    table = metrics_table(ignoring.scores, derangements=100, facts=ignoring.facts)
    assert table.startswith("The written texts hardly depend on the brain: 2 different texts")


def test_the_legend_of_the_curves_covers_no_point():
    points = [
        {"k": k, "n": 9, "value": 0.9, "low": None, "high": None, "chance": k / 9, "uniform": k / 9}
        for k in (1, 9)
    ]
    figure = written.identification_curves({"identification": {"words": {"curve": points}}})
    (axis,) = figure.axes
    assert axis.get_legend() is None
    assert figure.legends[0].get_texts()[0].get_text() == "decoded text"
    saved(figure, "png")
    assert figure.legends[0].get_window_extent().y1 < axis.get_window_extent().y0


def test_a_long_title_of_the_forest_plot_is_inside():
    score = Score("meaning_top1", "retrieval", 0.5, 9, 0.1, "phase-randomised brain")
    names = ("pairwise", "bleu1", "meaning_top1")
    figure = pictures.forest([replace(score, metric=name) for name in names])
    saved(figure, "png")
    for axis in figure.axes:
        (title,) = (t for t in (axis.title, axis._left_title, axis._right_title) if t.get_text())
        extent = title.get_window_extent()
        assert 0 <= extent.x0 < extent.x1 <= figure.bbox.x1


def test_a_curve_needs_two_points():
    assert written.identification_curves({}) is None
    one = {"words": {"curve": [{"k": 1}], "ceiling": {}}}
    assert written.identification_curves({"identification": one}) is None
