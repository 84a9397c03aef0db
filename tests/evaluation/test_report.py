"""The report: one file, offline, escaped, complete."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest

from fastbrain import TokenGrid
from fastbrain.evaluation import ReportParts, Sample, evaluate_text, write_report
from fastbrain.evaluation.table import metrics_table

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def evaluation():
    samples = [
        Sample(f"t{i}", "01", f"run-{i % 3}", f"a ball {i}", "<script>alert('x')</script> & co")
        for i in range(9)
    ]
    return evaluate_text(samples, 1.0 - np.eye(9), bert=False)


@pytest.fixture(scope="module")
def html(evaluation, tmp_path_factory):
    grid = TokenGrid.from_mask(np.ones((5, 6, 7), dtype=bool), (2, 3, 3))
    parts = ReportParts(
        title="A <b>run</b>",
        data={"held out": "subject & stimulus"},
        history={
            "stage1": [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0, "val_loss": None}]
        },
        grid=grid,
        saliency=np.linspace(0, 1, grid.n_tokens),
        notes=["Mind <this>"],
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    return write_report(path, evaluation, parts).read_text()


def test_decoded_text_cannot_become_markup(html):
    assert "<script>" not in html
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; co" in html
    assert "A &lt;b&gt;run&lt;/b&gt;" in html
    assert "Mind &lt;this&gt;" in html


def test_nothing_is_loaded_from_anywhere(html):
    assert not re.search(r"""(src|href)=["'](?!data:)""", html)
    assert "@import" not in html
    assert "url(" not in html


def test_pictures_are_inside(html):
    images = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", html)
    assert len(images) == 2
    assert all(base64.b64decode(image).startswith(b"\x89PNG") for image in images)
    assert len(html) < 5_000_000


def test_every_score_has_its_chance(html, evaluation):
    for name in ("pairwise accuracy (teacher-forced)", "BLEU-1", "ROUGE-L F"):
        assert name in html
    table = metrics_table(evaluation.metrics)
    assert "deranged brain" in table.splitlines()[0]
    assert "n = 9 windows, 100 derangements" in table


def test_a_flat_slice_and_no_saliency_make_a_picture(evaluation, tmp_path):
    grid = TokenGrid.from_mask(np.ones((1, 8, 9), dtype=bool), (1, 4, 4))
    text = write_report(tmp_path / "r.html", evaluation, ReportParts(grid=grid)).read_text()
    assert "data:image/png;base64," in text


def test_equal_runs_give_equal_bytes(evaluation, tmp_path):
    one, two = (write_report(tmp_path / n, evaluation, ReportParts()) for n in ("a", "b"))
    assert one.read_bytes() == two.read_bytes()
