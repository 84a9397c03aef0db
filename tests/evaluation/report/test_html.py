"""The report: one file, offline, escaped, complete."""

from __future__ import annotations

import base64
import re
from dataclasses import replace

import numpy as np
import pytest
from known import made, perfect
from markupsafe import escape

from fastbrain import TokenGrid
from fastbrain.evaluation import LinearBaseline, ReportParts, evaluate_text, write_report
from fastbrain.evaluation.controls.conditions import DERANGED
from fastbrain.evaluation.report.methods_scoring import scoring_sentences
from fastbrain.evaluation.report.table import metrics_table

pytest.importorskip("matplotlib")

AUDIT = {
    "clean": False,
    "allowed": "a <reason>",
    "findings": [
        {
            "kind": "scan",
            "means": "the same scan",
            "parts": ["train", "test"],
            "pairs": 7,
            "affected": 3,
            "of": 9,
        }
    ],
    "guard_trs": 4,
    "closed_set": True,
    "texts": 8,
    "unchecked": ["story"],
    "fits": {"readout": 20},
}


@pytest.fixture(scope="module")
def evaluation():
    truth = [f"a ball {i}" for i in range(24)]
    decoded = ["<script>alert('x')</script> & co"] * 24
    return evaluate_text(*made(decoded, 1.0 - np.eye(24), truth=truth), bert=False)


@pytest.fixture(scope="module")
def html(evaluation, tmp_path_factory):
    grid = TokenGrid.from_mask(np.ones((5, 6, 7), dtype=bool), (2, 3, 3))
    parts = ReportParts(
        title="A <b>run</b>",
        data={"held out": "subject & stimulus", "adapted on": "8 unlabelled windows, not scored"},
        history={
            "stage1": [
                {"epoch": 1, "loss": 2.0, "l2l1_loss": 9.0},
                {
                    "epoch": 2,
                    "loss": 1.0,
                    "l2l1_loss": 8.0,
                    "val_l2l1_loss": 30.0,
                    "val_loss": None,
                },
            ]
        },
        grid=grid,
        saliency=np.linspace(0, 1, grid.n_tokens),
        notes=["Mind <this>"],
        quality=[{"run": "sub-<01>", "volumes": 100, "mean FD (mm)": None}],
        audit=AUDIT,
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    return write_report(path, evaluation, parts).read_text()


def test_decoded_text_cannot_become_markup(html):
    assert "<script>" not in html
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; co" in html
    assert "A &lt;b&gt;run&lt;/b&gt;" in html
    assert "Mind &lt;this&gt;" in html
    assert "sub-&lt;01&gt;" in html
    assert "because: a &lt;reason&gt;" in html


def test_nothing_is_loaded_from_anywhere(html):
    assert not re.search(r"""(src|href)=["'](?!data:)""", html)
    assert "@import" not in html
    assert "url(" not in html


def test_pictures_are_inside(html):
    images = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", html)
    # controls, identification, surprise, tokens and training
    assert len(images) == 5
    assert all(base64.b64decode(image).startswith(b"\x89PNG") for image in images)
    assert len(html) < 5_000_000


def test_every_score_has_its_chance(html, evaluation):
    for name in ("pairwise accuracy (teacher-forced)", "BLEU-1", "ROUGE-L F"):
        assert name in html
    table = metrics_table(evaluation.scores, derangements=100)
    # below that controls without a brain score higher, which they do here
    first, _, table = table.partition("\n\n")
    assert first.startswith("Without this brain")
    assert "deranged brain" in table.splitlines()[0]
    assert "n = 24 windows, 100 derangements" in table
    table = metrics_table(evaluation.scores, derangements=100, distinct=80)
    assert table.endswith("100 derangements (80 distinct)")


def test_equal_derangements_are_counted_once(evaluation, tmp_path):
    conditions = evaluation.conditions
    rows = conditions.partners.copy()
    rows[1::2] = rows[0]
    fewer = len({row.tobytes() for row in rows})
    twice = replace(evaluation, conditions=replace(conditions, partners=rows))
    html = write_report(tmp_path / "r.html", twice, ReportParts()).read_text()
    assert f"{len(rows)} derangements ({fewer} distinct): each text" in html


def test_partners_of_the_same_run_are_named(evaluation, tmp_path):
    facts = {**evaluation.facts, "partners": "the same run, two volumes away"}
    within = replace(evaluation, facts=facts)
    for found, run in ((evaluation, "another run"), (within, facts["partners"])):
        html = write_report(tmp_path / "r.html", found, ReportParts()).read_text()
        assert f"each text is paired with a brain of {run}." in html
        assert f"writes from a brain of {run.split(',')[0]}." in html


def test_methods_say_how_p_of_written_texts_is_computed(evaluation):
    again = {DERANGED: replace(evaluation.conditions[DERANGED], texts=("a",) * 24)}
    controls = {**evaluation.conditions.controls, **again}
    written = replace(evaluation, conditions=replace(evaluation.conditions, controls=controls))
    ranks, flips = (" ".join(scoring_sentences(each)) for each in (evaluation, written))
    assert "Against deranged brains, p is the one-sided rank" in ranks
    assert "p of a score of generated text is from sign flips" in flips


def test_no_two_columns_have_one_name(html):
    head = re.findall(r"<th[^>]*>([^<]*)", html[html.index("All scores (") :].split("</tr>")[0])
    assert "metric" in head
    assert len(head) == len(set(head))


def test_the_sentences_below_the_scores_are_apart(tmp_path):
    linear = LinearBaseline(np.eye(16), "vectors", 1.0, "folds", 0.1, 5, "5 windows")
    found = evaluate_text(*perfect(16), bert=False, linear=linear)
    html = write_report(tmp_path / "r.html", found, ReportParts()).read_text()
    assert re.search(r"without a language model\.\s+p is the exact", html)


def test_what_a_reader_cannot_guess_is_beside_it(html):
    text = " ".join(re.sub(r"<[^>]+>", " ", html).split())
    for said in (
        "24 windows (the model was adapted on 8 unlabelled windows, not scored), 100 derangements",
        "p (at least 0.0099) p adjusted (",
        "with so many derangements it cannot be below 0.0099",
        "l2l1_loss distance of a window's vectors",
        "stage1 brain windows are aligned with the clips",
        "because its readout was fitted to the training windows",
        "4 different texts in every 100 texts",
        "CIDEr-D (0 to 10)",
    ):
        assert str(escape(said)) in text, said
    assert "<td>None</td>" not in html
    assert "<td>n/a</td>" in html


@pytest.mark.parametrize("word", ["samples", "ceiling", "permuted brain", "truth"])
def test_one_thing_has_one_word(html, word):
    assert word not in re.sub(r"<code>.*?</code>", "", html[html.index("<body>") :])


def test_every_score_is_there_with_its_signature(html, evaluation):
    assert f"All scores ({len(evaluation.scores)})" in html
    for score in evaluation.scores:
        assert str(escape(score.signature)) in html


def test_leaks_and_what_is_not_known_are_said(html, evaluation, tmp_path):
    assert html.index("This split leaks.") < html.index("Scores beside")
    assert "the same scan: 3 of 9 windows, 7 pairs" in html
    assert "the 8 texts of the test part are known from training" in html
    assert "story: no window states them" in html
    assert "fitted: readout" in html
    without = write_report(tmp_path / "r.html", evaluation, ReportParts()).read_text()
    assert "trained without one" in without
    assert "This split leaks." not in without


@pytest.mark.slow
def test_a_whole_head_lies_on_a_glass_brain(evaluation, tmp_path, monkeypatch):
    pytest.importorskip("nilearn")
    from nilearn import plotting

    drawn = []
    plot = plotting.plot_glass_brain
    monkeypatch.setattr(
        plotting,
        "plot_glass_brain",
        lambda image, **options: drawn.append(image) or plot(image, **options),
    )
    mask = np.zeros((20, 22, 24), dtype=bool)
    mask[4:, 2:, 1:] = True
    grid = TokenGrid.from_mask(mask, (4, 4, 4))
    affine = np.diag([7.0, 7.0, 7.0, 1.0])
    value = np.zeros(grid.n_tokens)
    value[3] = 2.0
    parts = ReportParts(grid=grid, saliency=value, affine=affine)
    write_report(tmp_path / "r.html", evaluation, parts)
    (image,) = drawn
    assert image.shape == (24, 22, 20)
    z, y, x = grid.coords[3] * 4
    assert image.get_fdata()[x : x + 4, y : y + 4, z : z + 4].max() == 2.0
    # a slab is no head
    flat = ReportParts(grid=grid, saliency=value, affine=np.diag([1.0, 1.0, 1.0, 1.0]))
    write_report(tmp_path / "s.html", evaluation, flat)
    assert len(drawn) == 1


def test_a_flat_slice_and_no_saliency_make_a_picture(evaluation, tmp_path):
    grid = TokenGrid.from_mask(np.ones((1, 8, 9), dtype=bool), (1, 4, 4))
    text = write_report(tmp_path / "r.html", evaluation, ReportParts(grid=grid)).read_text()
    # controls, identification, surprise and tokens
    assert text.count("data:image/png;base64,") == 4


def test_equal_runs_give_equal_bytes(evaluation, tmp_path):
    one, two = (write_report(tmp_path / n, evaluation, ReportParts()) for n in ("a", "b"))
    assert one.read_bytes() == two.read_bytes()
